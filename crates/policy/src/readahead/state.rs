//! The streams of an open file.
#![forbid(unsafe_code)]

use super::around::around;
use super::limits::Limits;
use super::stream::{Fit, Shape, Stream, first_window};
use super::window::{Run, Window};

/// Streams that are told apart in one open file, if nothing else is said.
pub const STREAMS: usize = 12;
/// The largest distance between two accesses that is tried as a stride, in pages.
const MOST_STRIDE: u64 = 4096;
/// A recognised stream is kept until it was silent for as many times as long as a first access.
const PATIENCE: u32 = 8;
/// Faults on absent pages, more than those on present ones, after which nothing is read around.
const MOST_FAULTS: u8 = 32;

/// How a program says it will read: `fadvise` and `madvise` set it.
///
/// `WILLNEED` and `DONTNEED` act at once, see [`will_need`](super::will_need) and
/// [`whole_pages`](super::whole_pages). `NOREUSE` concerns which pages are kept, and changes
/// nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advice {
    /// Streams are recognised.
    #[default]
    #[doc(alias = "POSIX_FADV_NORMAL")]
    Normal,
    /// The first miss starts a stream, and windows may be twice as large.
    #[doc(alias = "POSIX_FADV_SEQUENTIAL")]
    Sequential,
    /// Nothing is read ahead or around.
    #[doc(alias = "POSIX_FADV_RANDOM")]
    Random,
}

/// The file at the time of an access.
#[derive(Clone, Copy, Debug)]
pub struct File<'l> {
    /// Pages up to the end of the file.
    pub pages: u64,
    /// Pages of the file that were ever read ahead and then dropped without a use. The cache
    /// counts them for each file; the policy looks at the difference to its last call. A count
    /// that does not change is allowed, and costs accuracy when memory is short.
    pub dropped_unused: u64,
    /// How much to read.
    pub limits: &'l Limits,
}

/// What is known of the accesses through one open file.
///
/// It takes 48 bytes for each of the `N` streams, and 32 more. Every call takes time proportional
/// to `N`, does not sleep and has no side effect but on `self`. Calls for one open file must not
/// overlap: the open file keeps this behind a lock of its own. A caller that finds the lock taken
/// may leave the call out; what is lost is a window, which a later miss makes up for.
#[derive(Clone, Debug)]
#[doc(alias = "file_ra_state")]
pub struct Readahead<const N: usize = STREAMS> {
    streams: [Stream; N],
    /// Calls so far.
    clock: u32,
    /// Pages of the largest window, as far as pages dropped unused allow.
    ceiling: u32,
    /// The count of pages dropped unused at the last call.
    dropped: Option<u64>,
    faults_missed: u8,
    advice: Advice,
}

impl<const N: usize> Readahead<N> {
    /// The state of a file that was just opened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            streams: [Stream::UNUSED; N],
            clock: 0,
            ceiling: u32::MAX,
            dropped: None,
            faults_missed: 0,
            advice: Advice::Normal,
        }
    }

    /// Follows `advice` from now on.
    pub fn advise(&mut self, advice: Advice) {
        self.advice = advice;
        self.ceiling = u32::MAX;
        self.faults_missed = 0;
    }

    /// A read found page `asked.first` absent. `asked` are the pages that the reader needs from
    /// there on; the caller reads those of them that are absent.
    ///
    /// Returns what to read besides. `None` for nothing.
    pub fn miss(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        let (start, most) = self.begin(file);
        if self.advice == Advice::Random || asked.is_empty() {
            return None;
        }
        let best = self.best_fit(asked);
        let starts_at_once = self.advice == Advice::Sequential || asked.first == 0;
        let Some((at, fit)) = best else {
            let stride = self.stride_to(asked.first);
            let mut stream = Stream::seen(asked, stride);
            if starts_at_once {
                stream = Stream::forward(asked);
                stream.window = first_window(asked.pages.min(1 << 20) as u32, start, most);
            }
            let stream = self.put(stream)?;
            return stream.after(asked, file.pages).filter(|_| starts_at_once);
        };
        let clock = self.clock;
        let stream = &mut self.streams[at];
        stream.used = clock;
        stream.take(asked, fit, start, most);
        if fit == Fit::Repeats { None } else { stream.after(asked, file.pages) }
    }

    /// A read or a fault used page `asked.first`, which is in the cache and carried a marker; the
    /// caller has cleared the marker. `asked` are the pages that the reader needs from there on.
    ///
    /// Returns what to read, without waiting for it. `None` for nothing.
    pub fn marker(&mut self, asked: Run, file: &File<'_>) -> Option<Window> {
        let (start, most) = self.begin(file);
        if self.advice == Advice::Random {
            return None;
        }
        let clock = self.clock;
        let mut streams = self.streams.iter_mut();
        if let Some(stream) = streams.find(|stream| stream.has_marker_at(asked.first)) {
            stream.used = clock;
            return stream.at_marker(asked, file.pages, (start, most));
        }
        self.put(Stream::forward(asked))?.adopted(asked, file.pages, start.min(most))
    }

    /// A read used pages `used`, the first ones of `asked`, which were in the cache with marks that
    /// hide whether one carries the marker of a stream. As [`marker`](Self::marker) from that page
    /// on, if a stream of this open file has its marker among them; nothing happens otherwise.
    pub fn marker_among(&mut self, used: Run, asked: Run, file: &File<'_>) -> Option<Window> {
        let marked = self.streams.iter().find_map(|stream| stream.marker_in(used))?;
        self.marker(Run::between(marked, asked.end()), file)
    }

    /// A fault found page `page` absent. `mapped` are the pages that the mapping covers.
    ///
    /// Returns what to read, page `page` included: the next window of a stream, or the pages
    /// around the fault. `None` for page `page` alone.
    #[doc(alias = "do_sync_mmap_readahead")]
    pub fn fault_miss(&mut self, page: u64, mapped: Run, file: &File<'_>) -> Option<Window> {
        let asked = Run::new(page, 1);
        if self.advice == Advice::Sequential || self.best_fit(asked).is_some() {
            return self.miss(asked, file);
        }
        let (_, most) = self.begin(file);
        if self.advice == Advice::Random || self.faults_missed >= MOST_FAULTS {
            return None;
        }
        self.faults_missed += 1;
        let run = around(page, file.limits.around.min(most), mapped, file.pages);
        self.put(Stream::seen(run, 0))?;
        Window::one(run, file.pages, None)
    }

    /// A fault found its page in the cache. Such faults outweigh those that missed: pages are read
    /// around again.
    pub fn fault_hit(&mut self) {
        self.faults_missed = self.faults_missed.saturating_sub(1);
    }

    /// Begins a call: the pages of the first and of the largest window.
    fn begin(&mut self, file: &File<'_>) -> (u32, u32) {
        self.clock = self.clock.wrapping_add(1);
        let allowed = match self.advice {
            Advice::Sequential => file.limits.most.saturating_mul(2),
            Advice::Normal | Advice::Random => file.limits.most,
        };
        let start = file.limits.start.min(allowed);
        let before = self.dropped.replace(file.dropped_unused);
        let lost = file.dropped_unused.saturating_sub(before.unwrap_or(file.dropped_unused));
        let ceiling = self.ceiling.min(allowed);
        self.ceiling = if lost == 0 {
            ceiling.saturating_add(ceiling / 64 + 1).min(allowed)
        } else if lost > u64::from(ceiling / 4) {
            (ceiling / 2).max(start)
        } else {
            ceiling.saturating_sub(lost as u32).max(start)
        };
        (start, self.ceiling)
    }

    /// The stream that a miss of `asked` fits best.
    fn best_fit(&self, asked: Run) -> Option<(usize, Fit)> {
        let fits = self.streams.iter().enumerate().map(|(at, stream)| (at, stream.fit(asked)));
        fits.filter(|(_, fit)| *fit != Fit::Not).max_by_key(|(_, fit)| *fit)
    }

    /// The distance from the nearest first access to page `first`; zero if none is near.
    fn stride_to(&self, first: u64) -> i64 {
        let distances = self.streams.iter().filter_map(|stream| stream.distance_to(first));
        let near = distances.filter(|distance| distance.unsigned_abs() <= MOST_STRIDE);
        near.min_by_key(|distance| distance.unsigned_abs()).unwrap_or(0)
    }

    /// Puts a stream in the place of one that is unused or was silent for longest. `None` if there
    /// are no places.
    fn put(&mut self, stream: Stream) -> Option<&mut Stream> {
        let clock = self.clock;
        let silence = |stream: &Stream| match stream.shape {
            Shape::Unused => u32::MAX,
            Shape::Seen => clock.wrapping_sub(stream.used),
            _ => clock.wrapping_sub(stream.used) / PATIENCE,
        };
        let place = self.streams.iter_mut().max_by_key(|stream| silence(stream))?;
        *place = stream;
        place.used = clock;
        Some(place)
    }
}

impl<const N: usize> Default for Readahead<N> {
    fn default() -> Self {
        Self::new()
    }
}
