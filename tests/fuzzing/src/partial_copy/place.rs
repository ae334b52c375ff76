//! Where in user memory a range begins.

#![forbid(unsafe_code)]

use arbitrary::Arbitrary;

/// A place in user memory.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Place {
    /// So many bytes before or behind the begin of a page.
    Edge(u8, i8),
    Any(u16),
}

impl Place {
    /// The place, from the first of so many pages on.
    pub(super) fn get(self, pages: usize) -> isize {
        match self {
            Self::Edge(page, by) => {
                (usize::from(page) % (pages + 1) * 4096) as isize + isize::from(by)
            }
            Self::Any(at) => usize::from(at) as isize % (pages * 4096) as isize,
        }
    }
}
