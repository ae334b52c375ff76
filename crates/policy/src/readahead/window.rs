//! Runs of pages, and what is read ahead at once.
#![forbid(unsafe_code)]

/// Consecutive pages of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Number of the first page.
    pub first: u64,
    /// Pages in the run. Zero is an empty run.
    pub pages: u64,
}

impl Run {
    /// `pages` pages from page `first` on.
    #[must_use]
    pub const fn new(first: u64, pages: u64) -> Self {
        Self { first, pages }
    }

    /// The pages `first..end`. Empty if `end` is not above `first`.
    #[must_use]
    pub const fn between(first: u64, end: u64) -> Self {
        Self { first, pages: end.saturating_sub(first) }
    }

    /// The page after the last one; the largest number at most.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.pages)
    }

    /// Whether the run has no pages.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.pages == 0
    }

    /// The pages of this run that lie in `other`.
    #[must_use]
    pub fn clipped(self, other: Self) -> Self {
        Self::between(self.first.max(other.first), self.end().min(other.end()))
    }
}

/// What to read ahead at once: one or more runs of one length, at one distance from each other,
/// and the page that gets a marker.
///
/// Pages that are in the cache already are skipped. The marker is set on its page whether or not
/// that page was in the cache.
///
/// # Invariants
/// At least one page, and every page lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    first: Run,
    stride: i64,
    runs: u32,
    file_pages: u64,
    marker: Option<u64>,
}

impl Window {
    /// One run, cut at the end of the file. `None` if nothing is left.
    pub(super) fn one(run: Run, file_pages: u64, marker: Option<u64>) -> Option<Self> {
        Self::strided(run, 0, 1, file_pages, marker)
    }

    /// `runs` runs, the next one `stride` pages from the one before it. Runs that do not begin in
    /// the file are left out. `None` if nothing is left.
    pub(super) fn strided(
        first: Run,
        stride: i64,
        runs: u32,
        file_pages: u64,
        marker: Option<u64>,
    ) -> Option<Self> {
        let first = first.clipped(Run::new(0, file_pages));
        if first.is_empty() || runs == 0 {
            return None;
        }
        let room = match stride {
            0 => 0,
            1.. => (file_pages - 1 - first.first) / stride.unsigned_abs(),
            _ => first.first / stride.unsigned_abs(),
        };
        // INVARIANT: the last run begins at `first + room * stride` at most, which is in the file.
        let runs = u64::from(runs).min(room.saturating_add(1)) as u32;
        let marker = marker.filter(|page| *page < file_pages);
        Some(Self { first, stride, runs, file_pages, marker })
    }

    /// The runs to read, in the order in which they are expected to be used. At most 32.
    #[must_use]
    pub fn runs(&self) -> Runs {
        Runs { window: *self, next: 0 }
    }

    /// The page whose first use asks for the next window. `None` if there is nothing after this
    /// window.
    #[must_use]
    pub const fn marker(&self) -> Option<u64> {
        self.marker
    }

    /// Pages in all runs.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.runs().map(|run| run.pages).sum()
    }
}

/// The runs of a [`Window`].
#[derive(Clone, Debug)]
pub struct Runs {
    window: Window,
    next: u32,
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let Window { first, stride, runs, file_pages, .. } = self.window;
        if self.next >= runs {
            return None;
        }
        let offset = stride.saturating_mul(i64::from(self.next));
        self.next += 1;
        let at = first.first.saturating_add_signed(offset);
        Some(Run::new(at, first.pages).clipped(Run::new(0, file_pages)))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_window_is_cut_at_the_end_of_the_file() {
        let window = Window::one(Run::new(6, 8), 10, Some(11)).expect("pages");
        assert_eq!(window.runs().collect::<Vec<_>>(), [Run::new(6, 4)]);
        assert_eq!((window.pages(), window.marker()), (4, None));
        assert_eq!(Window::one(Run::new(10, 8), 10, None), None);
    }

    #[test]
    fn strided_runs_stay_in_the_file_in_both_directions() {
        let up = Window::strided(Run::new(10, 2), 10, 9, 31, None).expect("pages");
        let expected = [Run::new(10, 2), Run::new(20, 2), Run::new(30, 1)];
        assert_eq!(up.runs().collect::<Vec<_>>(), expected);
        let down = Window::strided(Run::new(25, 2), -10, 9, 31, None).expect("pages");
        let expected = [Run::new(25, 2), Run::new(15, 2), Run::new(5, 2)];
        assert_eq!(down.runs().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        for stride in [i64::MIN, -1, 0, 1, i64::MAX] {
            let first = Run::new(u64::MAX - 1, u64::MAX);
            let window = Window::strided(first, stride, u32::MAX, u64::MAX, Some(u64::MAX));
            assert!(window.expect("one page").runs().take(5).all(|run| run.pages <= 2));
        }
    }
}
