//! One sequence of accesses: how an access fits it, and what follows.
#![forbid(unsafe_code)]

use super::limits::Limits;
use super::window::{Run, Window};

/// No page.
const NONE: u64 = u64::MAX;
/// Pages of a leaf.
const LEAF: u64 = 64;
/// Runs of a strided window.
const MOST_RUNS: u32 = 32;
/// Pages from which on a window has its marker on the page that is used first.
const SMALL: u32 = 32;
/// Equal distances after which accesses are a strided stream: that is four accesses.
const REPEATS_OF_STRIDE: u8 = 2;
/// Accesses, each just below the one before, after which they are a backward stream: that is
/// three accesses.
const REPEATS_DOWN: u8 = 1;

/// What is known of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The slot is free.
    Unused,
    /// Misses that may become a stream.
    Seen,
    /// Each access begins where the one before ends.
    Forward,
    /// Each access ends where the one before begins.
    Backward,
    /// Accesses of one length at one distance.
    Strided,
}

/// How a miss fits a stream, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It does not.
    Not,
    /// It is in a window of the stream: the page was dropped before its use.
    Lost,
    /// The accesses look like a stream, and one more may prove it.
    Repeats,
    /// The accesses are a stream from now on.
    Starts,
    /// It is the next access of the stream.
    Continues,
}

/// One sequence of accesses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) shape: Shape,
    /// How often the last two accesses had the same relation.
    repeats: u8,
    /// Pages of an access.
    run: u32,
    /// Pages of the last window.
    pub(super) window: u32,
    /// When the stream was used last, in calls of the policy.
    pub(super) used: u32,
    /// First page of the last access that is known.
    seen: u64,
    /// The first page of the next access that is not covered: the one after the last window, or
    /// the lowest page of a backward stream.
    edge: u64,
    /// From one access to the next, in pages. Zero if there is no earlier one.
    stride: i64,
    marker: u64,
}

impl Stream {
    pub(super) const UNUSED: Self = Self {
        shape: Shape::Unused,
        repeats: 0,
        run: 0,
        window: 0,
        used: 0,
        seen: 0,
        edge: 0,
        stride: 0,
        marker: NONE,
    };

    /// A first access, `stride` pages from the one before it.
    pub(super) fn seen(asked: Run, stride: i64) -> Self {
        Self {
            shape: Shape::Seen,
            run: short(asked.pages),
            seen: asked.first,
            edge: asked.end(),
            stride,
            ..Self::UNUSED
        }
    }

    /// A forward stream that has read to the end of `asked`.
    pub(super) fn forward(asked: Run) -> Self {
        Self { shape: Shape::Forward, ..Self::seen(asked, 0) }
    }

    /// Pages from the last access to page `first`; `None` if this is not a first access.
    pub(super) fn distance_to(&self, first: u64) -> Option<i64> {
        (self.shape == Shape::Seen).then_some(())?;
        distance(self.seen, first)
    }

    /// Whether `page` carries the stream's marker.
    pub(super) fn has_marker_at(&self, page: u64) -> bool {
        self.shape != Shape::Unused && self.marker == page && page != NONE
    }

    /// The page that carries the stream's marker, if it is one of `pages`.
    pub(super) fn marker_in(&self, pages: Run) -> Option<u64> {
        let is_among = pages.first <= self.marker && self.marker < pages.end();
        (is_among && self.has_marker_at(self.marker)).then_some(self.marker)
    }

    /// How a miss of `asked` fits.
    pub(super) fn fit(&self, asked: Run) -> Fit {
        let just_below = |edge: u64| asked.first < edge && asked.end() >= edge;
        match self.shape {
            Shape::Unused => Fit::Not,
            Shape::Seen => self.fit_of_seen(asked),
            Shape::Forward if asked.first == self.edge => Fit::Continues,
            Shape::Backward if just_below(self.edge) => Fit::Continues,
            Shape::Strided if asked.first == self.edge => Fit::Continues,
            Shape::Forward | Shape::Backward | Shape::Strided => self.fit_of_lost(asked),
        }
    }

    fn fit_of_seen(&self, asked: Run) -> Fit {
        let proven = |needed: u8| if self.repeats >= needed { Fit::Starts } else { Fit::Repeats };
        if asked.first == self.edge {
            Fit::Starts
        } else if self.is_just_below(asked) {
            let down = if self.is_just_below_before() { REPEATS_DOWN } else { u8::MAX };
            proven(down)
        } else if self.stride != 0 && self.seen.checked_add_signed(self.stride) == Some(asked.first)
        {
            proven(REPEATS_OF_STRIDE - 1)
        } else {
            Fit::Not
        }
    }

    /// Whether `asked` begins below the last access and reaches it.
    fn is_just_below(&self, asked: Run) -> bool {
        asked.first < self.seen && asked.end() >= self.seen
    }

    /// Whether the last access was just below the one before it.
    fn is_just_below_before(&self) -> bool {
        self.repeats > 0 && self.stride < 0 && self.stride.unsigned_abs() <= u64::from(self.run)
    }

    fn fit_of_lost(&self, asked: Run) -> Fit {
        let (low, high) = (self.seen.min(self.edge), self.seen.max(self.edge));
        let inside = low <= asked.first && asked.first < high && asked.first != self.seen;
        let on_the_way = match self.shape {
            Shape::Strided => {
                let stride = self.stride.unsigned_abs().max(1);
                asked.first.abs_diff(self.seen).is_multiple_of(stride)
            }
            _ => true,
        };
        if inside && on_the_way { Fit::Lost } else { Fit::Not }
    }

    /// Takes a miss that fits as `fit` into account. `start` and `most` are the pages of the first
    /// and of the largest window. What is to be read ahead is said by [`after`](Self::after).
    pub(super) fn take(&mut self, asked: Run, fit: Fit, start: u32, most: u32) {
        let run = short(asked.pages);
        match fit {
            Fit::Not => *self = Self::seen(asked, 0),
            Fit::Repeats => {
                let stride = distance(self.seen, asked.first).unwrap_or(0);
                let repeats = self.repeats.saturating_add(1);
                *self = Self { repeats, ..Self::seen(asked, stride) };
            }
            Fit::Starts => {
                self.shape = self.shape_with(asked);
                self.stride = distance(self.seen, asked.first).unwrap_or(0);
                self.window = first_window(run, start, most);
            }
            Fit::Continues => self.grow(start, most),
            Fit::Lost => self.window = (self.window / 4).max(start).min(most),
        }
        self.run = run;
        self.seen = asked.first;
    }

    /// The shape of a stream that starts with `asked`.
    fn shape_with(&self, asked: Run) -> Shape {
        if asked.first == self.edge || self.shape == Shape::Forward {
            Shape::Forward
        } else if self.is_just_below(asked) {
            Shape::Backward
        } else {
            Shape::Strided
        }
    }

    /// Makes the window larger, from `start` to `most` pages: twice as large; on a store of long
    /// latency four times, up to a quarter of the largest, as a page too many takes little of the
    /// time that one window more would be waited for.
    fn grow(&mut self, start: u32, most: u32) {
        let is_slow = start > Limits::DEFAULT.start;
        let times = if is_slow && self.window < most / 4 { 4 } else { 2 };
        self.window = self.window.saturating_mul(times).max(start).min(most);
    }

    /// What to read ahead after a miss of `asked`, which the reader reads itself.
    pub(super) fn after(&mut self, asked: Run, file_pages: u64) -> Option<Window> {
        self.edge = match self.shape {
            Shape::Backward => asked.first,
            Shape::Strided => self.step_from(asked.first, 1),
            _ => asked.end(),
        };
        self.next_window(Run::new(asked.first, 0), file_pages)
    }

    /// What to read ahead after the use of the marker, at the beginning of `asked`: the pages that
    /// the reader is about to use.
    pub(super) fn at_marker(
        &mut self,
        asked: Run,
        file_pages: u64,
        (start, most): (u32, u32),
    ) -> Option<Window> {
        self.grow(start, most);
        self.seen = asked.first;
        self.next_window(asked, file_pages)
    }

    /// What to read ahead of a reader whose stream was forgotten, and which is found again by a
    /// marker. The end of its last window is not known, so that the first windows may be in the
    /// cache already; they double until they are not.
    pub(super) fn adopted(&mut self, asked: Run, file_pages: u64, start: u32) -> Option<Window> {
        self.window = start.saturating_mul(2);
        self.next_window(asked, file_pages)
    }

    /// Pages from the beginning of a window to its marker. A large window is asked for as early as
    /// possible, to hide the latency of the store. A small one belongs to a stream that may end
    /// soon: half of it must be used before more is read.
    fn lead(&self) -> u64 {
        if self.window < SMALL { u64::from(self.window / 2) } else { 0 }
    }

    /// Pages from the last boundary between leaves to page `end`; zero for a window that is not
    /// large. Large windows begin and end at such boundaries: each request covers a whole leaf.
    fn past_leaf(&self, end: u64) -> u64 {
        if self.window >= 2 * LEAF as u32 { end % LEAF } else { 0 }
    }

    /// Pages from page `low` to the next boundary, in the same way.
    fn up_to_leaf(&self, low: u64) -> u64 {
        if self.window >= 2 * LEAF as u32 { (LEAF - low % LEAF) % LEAF } else { 0 }
    }

    /// Reads on from the edge.
    fn next_window(&mut self, asked: Run, file_pages: u64) -> Option<Window> {
        match self.shape {
            Shape::Unused | Shape::Seen => None,
            Shape::Forward => {
                let begin = self.edge.max(asked.end());
                let marker = begin.saturating_add(self.lead());
                let end = begin.saturating_add(u64::from(self.window));
                let end = (end - self.past_leaf(end)).min(file_pages);
                let run = Run::between(self.edge, end);
                (self.marker, self.edge) = (marker, self.edge.max(end));
                Window::one(run, file_pages, Some(marker))
            }
            Shape::Backward => {
                let end = self.edge;
                let low = end.saturating_sub(u64::from(self.window));
                self.edge = end.min(low.saturating_add(self.up_to_leaf(low)));
                self.marker = end.checked_sub(1 + self.lead()).unwrap_or(NONE);
                Window::one(Run::between(self.edge, end), file_pages, Some(self.marker))
            }
            Shape::Strided => {
                let first = self.edge;
                let runs = (self.window / self.run.max(1)).clamp(1, MOST_RUNS);
                self.edge = self.step_from(first, runs);
                self.marker = first;
                let run = Run::new(first, u64::from(self.run));
                Window::strided(run, self.stride, runs, file_pages, Some(first))
            }
        }
    }

    /// The page `steps` strides from `page`; [`NONE`] if there is no such page.
    fn step_from(&self, page: u64, steps: u32) -> u64 {
        let distance = self.stride.saturating_mul(i64::from(steps));
        page.checked_add_signed(distance).unwrap_or(NONE)
    }
}

/// Pages of a stream's first window: room for two accesses of `run` pages.
pub(super) fn first_window(run: u32, start: u32, most: u32) -> u32 {
    run.saturating_mul(2).max(start).min(most)
}

/// Pages from `from` to `to`; `None` if the number is too large.
fn distance(from: u64, to: u64) -> Option<i64> {
    i64::try_from(i128::from(to) - i128::from(from)).ok()
}

fn short(pages: u64) -> u32 {
    pages.min(u64::from(u32::MAX)) as u32
}
