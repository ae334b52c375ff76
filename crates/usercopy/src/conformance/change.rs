//! How mappings change while a copy runs.
#![forbid(unsafe_code)]

use core::fmt;

use super::Layout;

/// Which of the two neighbouring read-write pages, the third and fourth of the layout, are
/// accessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // named after the accessible pages
pub enum Present {
    Both,
    First,
    Second,
    Neither,
}

impl Present {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Both, Self::First, Self::Second, Self::Neither];

    /// Whether the first of the two is accessible.
    #[must_use]
    pub const fn first(self) -> bool {
        matches!(self, Self::Both | Self::First)
    }

    /// Whether the second of the two is accessible.
    #[must_use]
    pub const fn second(self) -> bool {
        matches!(self, Self::Both | Self::Second)
    }
}

/// One change of the mappings during an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pages that are accessible when the access begins.
    pub before: Present,
    /// The point of the access at which that changes; the first is 0.
    pub point: usize,
    /// The pages that are accessible from then on.
    pub after: Present,
    /// Bytes of the access that lie in the first page.
    pub in_first: usize,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in the first page, pages present {:?}, from point {} on {:?}",
            self.in_first, self.before, self.point, self.after
        )
    }
}

/// A layout whose third and fourth page can be unmapped and mapped again, also at chosen points of
/// a copy. The bytes of a page survive that.
///
/// A point is a moment inside a copy at which another CPU may change a mapping. The layout defines
/// where its points are, and numbers them from 0. With a single-step trap there is one before each
/// instruction. Without, the fault handler is one: a fault of a copy has come in, and neither has
/// its fix-up run nor has the access been repeated. Faults suffice as far as a copy depends on
/// mappings only by which of its accesses fault: the suite places the border of the two pages at
/// every access in turn, so each access is once the first that faults, and each change follows.
pub trait MovingLayout: Layout {
    /// Makes exactly these of the two pages accessible, now.
    fn set(&self, pages: Present);

    /// Counts points from here on, from 0, and makes exactly `after` accessible when it comes to
    /// `point`.
    fn arm(&self, point: usize, after: Present);

    /// No longer does what [`arm`](Self::arm) began; whether the point was reached.
    fn disarm(&self) -> bool;
}
