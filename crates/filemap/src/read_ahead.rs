//! Reading ahead: what the streams of an open file will ask for, and the pages around a fault.
//!
//! [`faultless_policy::readahead`] decides, when a read misses a page or uses one that carries a
//! marker; this module has the store read the pages. It waits for no page that is in the cache and
//! for no completion: what is not free at once is left out, and read when it is asked for. A guess
//! takes frames that are spare, and has no page given up.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::{Errno, FrameBatch, Kernel, Mark, PageIndex, PageRun, Spin, SpinLock, Word};
use faultless_policy::readahead::{
    Advice, File, Limits, Readahead, Run, Window, around, will_need,
};

use crate::inode::Inode;
use crate::options::Retention;
use crate::pos::FilePos;
use crate::token::PageLocks;
use crate::uptodate::pages_before;
use crate::writeback::pages;

/// The streams of one open file: what was read, and what will be read next. Shared by the threads
/// that use the open file; its lock is a short one, and not held across a call out of it.
#[doc(alias = "file_ra_state")]
pub struct ReadAhead<K: Kernel> {
    streams: SpinLock<K, Readahead>,
    limits: Limits,
}

impl<K: Kernel> ReadAhead<K> {
    /// No stream yet; windows of the size that suits most stores.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Limits::DEFAULT)
    }

    /// No stream yet. [`Limits::for_store`] has windows for a store of a known latency.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { streams: Spin::new(Readahead::new()), limits }
    }

    /// `posix_fadvise(2)` with `POSIX_FADV_NORMAL`, `SEQUENTIAL` or `RANDOM`.
    #[doc(alias = "posix_fadvise")]
    pub fn advise(&self, advice: Advice) {
        self.streams.lock().advise(advice);
    }

    /// A read of `len` bytes at `at`, the rest of a request, has missed the first page.
    #[cold]
    pub(crate) fn missed(
        &self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        at: FilePos,
        len: usize,
        retention: Retention,
    ) {
        let asked = asked(inode, at.page(), at, len);
        let window = self.streams.lock().miss(asked, &self.file(inode));
        let Some(window) = window else { return };
        // What was asked for comes first, so that the store has it first.
        let first = asked.clipped(Run::new(asked.first, MOST_ASKED));
        inode.submit_ahead(token, first, Ahead::Asked, retention);
        inode.submit_window(token, window, retention);
    }

    /// A read has used page `marked`, and asks for `len` bytes more.
    #[cold]
    pub(crate) fn used_marker(
        &self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        marked: PageIndex,
        len: usize,
    ) {
        if !inode.mapping().read_section(token.page_locks()).take_marker(marked) {
            return;
        }
        let asked = asked(inode, marked, FilePos::clipped(marked.start()), len.max(1));
        let window = self.streams.lock().marker(asked, &self.file(inode));
        if let Some(window) = window {
            inode.submit_window(token, window, Retention::Kept);
        }
    }

    /// A read that keeps nothing has used pages `used`, some of which have marks, and asks for
    /// `len` bytes more, at `at`. The marks stay: those of transient pages hide the markers of this
    /// open file, and other markers are others'.
    #[cold]
    pub(crate) fn used_transient(
        &self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        used: PageRun,
        at: FilePos,
        len: usize,
    ) {
        let asked = asked(inode, used.first(), at, len);
        let used = Run::new(used.first().get(), u64::from(used.pages()));
        let window = self.streams.lock().marker_among(used, asked, &self.file(inode));
        if let Some(window) = window {
            inode.submit_window(token, window, Retention::Transient);
        }
    }

    /// A fault on page `index` of a mapping of `mapped`, before it is resolved.
    pub(crate) fn faults(
        &self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        index: PageIndex,
        mapped: Run,
    ) {
        let (is_uptodate, is_marked) = {
            let section = inode.mapping().read_section(token.page_locks());
            (section.is_uptodate(index), section.take_marker(index))
        };
        let file = self.file(inode);
        let page = index.get();
        let window = match (is_uptodate, is_marked) {
            (false, _) => {
                // By itself, so that the fault does not wait for the pages around it.
                inode.submit_ahead(token, Run::new(page, 1), Ahead::Asked, Retention::Kept);
                self.streams.lock().fault_miss(page, mapped, &file)
            }
            (true, true) => self.streams.lock().marker(Run::new(page, 1), &file),
            (true, false) => {
                self.streams.lock().fault_hit();
                None
            }
        };
        if let Some(window) = window {
            inode.submit_window(token, window, Retention::Kept);
        }
    }

    /// The pages around a fault that may be installed with it.
    pub(crate) fn around(&self, inode: &Inode<K>, index: PageIndex, mapped: Run) -> Run {
        around(index.get(), self.limits.around, mapped, self.file(inode).pages)
    }

    fn file(&self, inode: &Inode<K>) -> File<'_> {
        let pages = inode.eof().page_from().get();
        let dropped_unused = inode.dropped_unused.load(Relaxed);
        File { pages, dropped_unused, limits: &self.limits }
    }
}

impl<K: Kernel> Default for ReadAhead<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel> fmt::Debug for ReadAhead<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Why pages are submitted.
#[derive(Clone, Copy, Debug)]
enum Ahead {
    /// They were asked for.
    Asked,
    /// They may be asked for. The use of one page, if any, asks for more.
    Guessed(Option<u64>),
}

/// Pages of a request that are submitted at once, before the window.
const MOST_ASKED: u64 = 512;

/// The pages from `first` on of a request for `len` bytes at `at`.
fn asked<K: Kernel>(inode: &Inode<K>, first: PageIndex, at: FilePos, len: usize) -> Run {
    let len = len.min(inode.eof().since(at)).max(1);
    let last = PageIndex::containing(at.get() + (len as u64 - 1));
    Run::between(first.get(), last.get() + 1)
}

impl<K: Kernel> Inode<K> {
    /// Has the store read the pages that hold bytes of `[pos, pos + len)`, and does not wait for
    /// that: `POSIX_FADV_WILLNEED`. Pages that are locked, and those for which no memory is
    /// [spare](faultless_page::Frames::allocate_spare), are left out. May sleep in the store. No
    /// page lock is held.
    #[doc(alias = "POSIX_FADV_WILLNEED")]
    #[doc(alias = "force_page_cache_readahead")]
    pub fn will_need(&self, token: &mut impl PageLocks, pos: u64, len: u64, limits: &Limits) {
        let (first, end) = pages(&(pos..pos.saturating_add(len)));
        let file_pages = self.eof().page_from().get();
        for run in will_need(Run::between(first.get(), end.get()), file_pages, limits) {
            self.submit_ahead(token, run, Ahead::Guessed(None), Retention::Kept);
        }
    }

    fn submit_window(&self, token: &mut impl PageLocks, window: Window, retention: Retention) {
        for run in window.runs() {
            self.submit_ahead(token, run, Ahead::Guessed(window.marker()), retention);
        }
    }

    /// Hands the pages of `run` that are neither uptodate nor locked to the store, and puts the
    /// marker on its page if that is among them.
    fn submit_ahead(&self, token: &mut impl PageLocks, run: Run, why: Ahead, retention: Retention) {
        if self.mapping().holes_are_zeros() {
            // There is nothing to wait for.
            return;
        }
        let end = PageIndex::new(run.end());
        let mut from = PageIndex::new(run.first);
        while from < end {
            let piece = PageRun::new(from, end.get() - from.get());
            match self.submit_piece(token, piece, why, retention) {
                Some(next) => from = next,
                None => return,
            }
        }
    }

    /// The same for pages of one leaf; where to go on, unless there is no memory.
    fn submit_piece(
        &self,
        token: &mut impl PageLocks,
        piece: PageRun,
        why: Ahead,
        retention: Retention,
    ) -> Option<PageIndex> {
        let mapping = self.mapping();
        let absent = self.absent(piece);
        let mut batch = match absent {
            0 => None,
            pages => Some(self.frames_for(token, pages, why).ok()?),
        };
        // Pages that were absent may have been sent for meanwhile: their locks are the store's.
        let locked = mapping.try_lock_free_or_create(token.page_locks(), piece).ok()?;
        let Some(mut locked) = locked else { return Some(piece.end()) };
        let next = locked.run().end();
        let end = self.eof().min(self.moving.first());
        let inside = locked.mask() & pages_before(locked.run(), end);
        if let Some(frames) = &mut batch {
            let inserted = match why {
                Ahead::Asked => locked.insert_batch(inside, frames),
                Ahead::Guessed(_) => locked.insert_ahead(inside, frames),
            };
            retention.mark(&mut locked, inserted);
        }
        let missing = inside - locked.present();
        if let Ahead::Guessed(Some(marker)) = why
            && locked.run().contains(PageIndex::new(marker))
        {
            locked.set_marker(PageIndex::new(marker).bit());
        }
        // Frames that could not be had at once are asked for once more.
        let next = match PageRun::first_of(piece.leaf_base(), missing) {
            Some(first) if first.first() > piece.first() => first.first(),
            _ => next,
        };
        self.hand_over(locked, inside);
        Some(next)
    }

    /// Frames for `pages` pages. A guess pushes no page out.
    fn frames_for(
        &self,
        token: &mut impl PageLocks,
        pages: u32,
        why: Ahead,
    ) -> Result<FrameBatch<'_, K>, Errno> {
        let cache = self.mapping().cache();
        match why {
            Ahead::Asked => cache.allocate_or_reclaim(token.page_locks(), pages),
            Ahead::Guessed(_) => cache.allocate_spare(pages),
        }
    }

    /// How many of the pages are not in the cache, at this moment.
    fn absent(&self, piece: PageRun) -> u32 {
        let mut absent = piece.pages();
        let mut from = piece.first();
        while let Some(run) = self.mapping().find(from, piece.end(), Mark::Present) {
            absent = absent.saturating_sub(run.pages());
            from = run.end();
        }
        absent
    }
}
