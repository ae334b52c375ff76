//! Pages on their way to the store: the token of a writeback, and what the store is shown.
//!
//! Neighbours: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) makes a token,
//! [`Mapping::wait_writeback`](crate::Mapping::wait_writeback) waits for its end. The order in which dirty and writeback
//! change, and in which they are read, is described at [`LockedRun::clean`](crate::LockedRun::clean). What a failure means for a
//! sync is filemap's.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use heapless::Vec;

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::{
    FrameNumber, Frames, Kernel, LockedRun, Mapping, PAGE_SIZE, PAGES_PER_LEAF, PageIndex, PageRun,
    SlotMask, Word, racing,
};

/// How a writeback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WritebackOutcome {
    /// The store has the bytes.
    Clean,
    /// The store does not have them: the pages are dirty again.
    Redirty,
}

/// A writeback that has begun: its pages are marked as under writeback, and stay so until the token ends. Made by
/// [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) under the page lock; used and ended without it, by any thread.
///
/// [`end`](Self::end) says how it went. Dropping the token instead is [`WritebackOutcome::Redirty`]: a store that panics
/// leaves its pages dirty, and no waiter behind. A writeback ends once and for its own pages only, because the token
/// is consumed and nothing else clears the mark.
///
/// ```compile_fail,E0382
/// # use faultless_page::{Kernel, Writeback, WritebackOutcome};
/// fn end_twice<K: Kernel>(writeback: Writeback<'_, K>) {
///     writeback.end(WritebackOutcome::Clean);
///     writeback.end(WritebackOutcome::Redirty);
/// }
/// ```
///
/// [`mem::forget`](core::mem::forget) of a token leaves its pages under writeback until the mapping is dropped: waits for
/// them do not return, they are not removed, and their frames are leaked.
///
/// # Invariants
/// The slots of `run` in `leaf`, which belongs to `mapping`, are marked as under writeback, and only this token clears the marks. So the
/// pages are present, and the leaf keeps its owner. One count of each frame of `frames` is owned; `addresses` are theirs.
#[must_use = "dropping it makes the pages dirty again"]
pub struct Writeback<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    leaf: &'t Leaf<K::Sync>,
    run: PageRun,
    size: u64,
    outcome: WritebackOutcome,
    frames: Vec<FrameNumber, PAGES_PER_LEAF>,
    addresses: Vec<NonNull<u8>, PAGES_PER_LEAF>,
}

// SAFETY: mappings and leaves are `Sync`, and frames are `Send + Sync`, so counts and memory can be given up by any
// thread; the addresses are only read through, as by `WritebackRun`, which is `Send`.
unsafe impl<K: Kernel> Send for Writeback<'_, K> {}
// SAFETY: through `&self` there is only the view, which is `Sync`.
unsafe impl<K: Kernel> Sync for Writeback<'_, K> {}

impl<'t, K: Kernel> LockedRun<'t, K> {
    /// Turns the dirty pages of `run` into pages under writeback, which the store will see with zeros past `size` (P2).
    /// All of them, or none: each has to lie in the locked run, and be uptodate, dirty and not under writeback.
    /// Otherwise `None`, and nothing has changed. Holds one count of each frame. Does not sleep.
    ///
    /// Writeback is set before dirty is cleared, so that a look from outside ([`Mark::Unclean`](crate::Mark::Unclean)) finds one of the
    /// two. Pages that are dirty but not uptodate, which takes a caller's mistake, are refused because their bytes may be
    /// undefined (P1).
    pub fn begin_writeback(&mut self, run: PageRun, size: u64) -> Option<Writeback<'t, K>> {
        let inside = self.run().contains(run.first()) && run.end() <= self.run().end();
        let slots = run.mask();
        // Writeback first: see `clean`.
        let busy = self.writeback();
        if !inside || slots & (self.uptodate() & self.dirty() & !busy) != slots {
            return None;
        }
        let mut frames = Vec::new();
        let mut addresses = Vec::new();
        let allocator = self.mapping.cache().frames();
        for page in 0..u64::from(run.pages()) {
            // Present, because marks are only set on present pages.
            let frame = self.frame(run.first().plus(page))?;
            // A run has at most as many pages as there is room for.
            let _fits = frames.push(frame);
            let _fits = addresses.push(allocator.address(frame));
        }
        frames.iter().for_each(|&frame| allocator.retain(frame));
        self.leaf.begin_writeback(slots);
        // INVARIANT: the slots were not under writeback, are now, and the counts were just added. Only the holder of the page
        // lock sets the mark, so no other token has these slots.
        Some(Writeback {
            mapping: self.mapping,
            leaf: self.leaf,
            run,
            size,
            outcome: WritebackOutcome::Redirty,
            frames,
            addresses,
        })
    }
}

impl<K: Kernel> Writeback<'_, K> {
    /// The pages.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.run
    }

    /// What the store is shown.
    #[must_use]
    pub fn view(&self) -> WritebackRun<'_> {
        let pos = self.run.start();
        let room = self.addresses.len() * PAGE_SIZE;
        let len = self.size.saturating_sub(pos).min(room as u64) as usize;
        WritebackRun { first: self.run.first(), pages: &self.addresses, len, frames: PhantomData }
    }

    /// Ends the writeback: with [`WritebackOutcome::Redirty`] the pages are dirty again first, then they are no longer under
    /// writeback, and waiters are woken. A caller that records a failure does so before (F2). Takes no page lock
    /// and never sleeps.
    pub fn end(mut self, outcome: WritebackOutcome) {
        self.outcome = outcome;
    }
}

impl<K: Kernel> Drop for Writeback<'_, K> {
    fn drop(&mut self) {
        let cache = self.mapping.cache();
        // Before the marks go: eviction, which looks for pages that are clean and held once, never sees the counts of a
        // writeback that is over.
        for &frame in &self.frames {
            // SAFETY: by the invariant the count is ours; views have ended. (The page still has its own.)
            unsafe { cache.frames().release(frame) };
        }
        self.leaf.end_writeback(self.run.mask(), self.outcome, cache.wait());
    }
}

/// The marks.
impl<S: crate::SyncFamily> Leaf<S> {
    /// Marks `slots`, locked, dirty and not under writeback, as under writeback and no longer dirty, in this order.
    fn begin_writeback(&self, slots: SlotMask) {
        // Release: `unclean` reads dirty first; if it reads it cleared, it reads writeback set.
        self.writeback.fetch_or(slots, AcqRel);
        self.dirty.fetch_and(!slots, AcqRel);
    }

    /// Clears writeback, after dirty is set if the pages are to be sent again. Without the page lock.
    fn end_writeback(&self, slots: SlotMask, outcome: WritebackOutcome, wait: &impl crate::Wait) {
        if outcome == WritebackOutcome::Redirty {
            // Under writeback, so present. Before writeback is cleared: pairs with `clean`.
            self.dirty.fetch_or(slots, Release);
        }
        self.clear_writeback(slots, wait);
    }

    /// Present slots that are neither dirty nor under writeback. The caller has `slots` locked.
    pub(crate) fn clean(&self, slots: SlotMask) -> SlotMask {
        // Acquire: if it reads a mark cleared by `end_writeback`, the load of dirty reads what was set before.
        let writeback = self.writeback.load(Acquire);
        let dirty = self.dirty.load(Relaxed);
        slots & self.present() & !(writeback | dirty)
    }

    /// Slots that are dirty or under writeback, for a look without locks. See [`Mark::Unclean`](crate::Mark::Unclean).
    pub(crate) fn unclean(&self) -> SlotMask {
        // Acquire: if it reads a mark cleared by `begin_writeback`, the load of writeback reads what was set before.
        let dirty = self.dirty.load(Acquire);
        dirty | self.writeback.load(Acquire)
    }
}

/// A run of pages as the store sees it: bytes of the file, then zeros to the end of the last page (P2).
///
/// Writers and user mappings may change the bytes while they are read. Each byte copied is one that was there, and
/// [`copy_to`](Self::copy_to) looks at it once, so a store that needs the same bytes twice (a checksum, a second
/// mirror) works on its copy. Pages that change are dirty again, and are sent once more.
///
/// # Invariants
/// Each of `pages` is valid for reads of a page for `'a`; `len` is at most their size.
#[derive(Clone, Copy, Debug)]
pub struct WritebackRun<'a> {
    first: PageIndex,
    pages: &'a [NonNull<u8>],
    len: usize,
    frames: PhantomData<&'a [u8]>,
}

// SAFETY: a shared view of frames that are held for `'a`; it only reads.
unsafe impl Send for WritebackRun<'_> {}
// SAFETY: as above.
unsafe impl Sync for WritebackRun<'_> {}

impl WritebackRun<'_> {
    /// First page of the run.
    #[must_use]
    pub fn first(&self) -> PageIndex {
        self.first
    }

    /// Pages in the run.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Position in the file of the first byte.
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.first.start()
    }

    /// Bytes of the run that lie inside the file. 0 if all of it is past the end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte lies inside the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The length in whole pages, in bytes.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// Pages `skip..skip + pages` of the run, clipped: for stores that write in pieces.
    #[must_use]
    pub fn part(&self, skip: u32, pages: u32) -> Self {
        let from = (skip as usize).min(self.pages.len());
        let to = from.saturating_add(pages as usize).min(self.pages.len());
        let len = self.len.saturating_sub(from * PAGE_SIZE).min((to - from) * PAGE_SIZE);
        Self { first: self.first.plus(from as u64), pages: &self.pages[from..to], len, ..*self }
    }

    /// Fills `out` with the bytes from `offset` of the run on: those of the file, then zeros (P2). Each byte is looked at once.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) {
        let real = self.len.saturating_sub(offset).min(out.len());
        let (data, rest) = out.split_at_mut(real);
        rest.fill(0);
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let start = at % PAGE_SIZE;
            let (piece, left) = data.split_at_mut(data.len().min(PAGE_SIZE - start));
            // SAFETY: `start` is below the size of the page.
            let from = unsafe { self.pages[at / PAGE_SIZE].add(start) };
            // SAFETY: the piece ends inside the page, which is valid for reads by the invariant; kernel buffers
            // don't overlap frames of the cache, and `piece` is a unique borrow. Locked writers use racing-safe copies.
            unsafe { racing::copy_out(from.as_ptr(), piece.as_mut_ptr(), piece.len()) };
            at += piece.len();
            data = left;
        }
    }
}

kernel_debug!(Writeback<'_, K>, |this| { run: this.run, size: this.size });
