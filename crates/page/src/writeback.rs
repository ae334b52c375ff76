//! Pages on their way to the store: the token of a writeback, and what the store is shown.
//!
//! Neighbours: [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) makes a token,
//! [`Mapping::wait_writeback`](crate::Mapping::wait_writeback) waits for its end. The order in
//! which dirty and writeback change, and in which they are read, is described at
//! [`LockedRun::clean`](crate::LockedRun::clean). What a failure means for a sync is filemap's.

use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::kernel::count;
use crate::leaf::Leaf;
use crate::request::{Raw, Segments};
use crate::writeback_run::HeldPages;
use crate::{
    Count, Errno, Kernel, LockedRun, PAGE_SIZE, PageCache, PageIndex, PageRun, SlotMask, Trace,
    WritebackRun,
};

/// A writeback that has begun: its pages are marked as under writeback, and stay so until it ends.
/// Made by [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) under the page lock;
/// used and ended without it, by any thread or in an interrupt handler.
///
/// [`complete`](Self::complete) says how it went. Dropping it is a failure with [`Errno::Io`]: a
/// store that panics leaves its pages dirty, and no waiter behind. A writeback ends once and for its
/// own pages only, because the request is consumed and nothing else clears the mark.
///
/// ```compile_fail,E0382
/// # use faultless_page::{Errno, WritebackRequest};
/// fn end_twice(writeback: WritebackRequest) {
///     writeback.complete(Ok(()));
///     writeback.complete(Err(Errno::Io));
/// }
/// ```
///
/// [`mem::forget`](core::mem::forget) of a request leaves its pages under writeback: waits for them
/// do not return, nor does the drop of the mapping.
///
/// # Invariants
/// The pages of `raw` are marked as under writeback, and only this request clears the marks. So the
/// pages are present, the leaf keeps its owner and each slot its frame.
#[derive(Debug)]
#[must_use = "dropping it makes the pages dirty again"]
pub struct WritebackRequest {
    raw: Raw,
    size: u64,
    /// A thread has the writeback in its hands, as traces say.
    is_traced: bool,
}

impl<K: Kernel> LockedRun<'_, K> {
    /// Turns the dirty pages of `run` into pages under writeback, which the store will see with
    /// zeros past `size` (P2). All of them, or none: each has to lie in the locked run, and be
    /// uptodate, dirty and not under writeback. Otherwise `None`, and nothing has changed. Does not
    /// sleep.
    ///
    /// Writeback is set before dirty is cleared, so that a look from outside
    /// ([`Mark::Unclean`](crate::Mark::Unclean)) finds one of the two. Pages that are dirty but not
    /// uptodate, which takes a caller's mistake, are refused because their bytes may be undefined
    /// (P1).
    pub fn begin_writeback(&mut self, run: PageRun, size: u64) -> Option<WritebackRequest> {
        let inside = self.run().contains(run.first()) && run.end() <= self.run().end();
        let slots = run.mask();
        // Writeback first: see `clean`.
        let busy = self.writeback();
        if !inside || !(self.uptodate() & self.dirty() & !busy).contains(slots) {
            return None;
        }
        self.leaf.begin_writeback(slots);
        count::<K>(Count::WritebackBegun, slots);
        count::<K>(Count::Cleaned, slots);
        // SAFETY: the pages are present, because marks are only set on present pages; they were not
        // under writeback, and are now. Only the holder of the page lock sets the mark, so no other
        // request has these slots.
        let raw = unsafe { Raw::new(self.mapping, self.leaf, run) }?;
        raw.trace(Trace::Acquired(raw.writeback_id()));
        // INVARIANT: as above.
        Some(WritebackRequest { raw, size, is_traced: true })
    }
}

impl WritebackRequest {
    /// The pages, all in one leaf.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.raw.run()
    }

    /// Position in the file of the first byte.
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.run().start()
    }

    /// Bytes of the run that lie inside the file. 0 if all of it is past the end.
    #[must_use]
    pub fn len(&self) -> usize {
        let room = self.run().pages() as usize * PAGE_SIZE;
        self.size.saturating_sub(self.pos()).min(room as u64) as usize
    }

    /// Whether no byte lies inside the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a store that copies is shown.
    #[must_use]
    pub fn view(&self) -> WritebackRun<'_> {
        WritebackRun::new(self, self.run(), self.len())
    }

    /// The memory of the bytes that lie inside the file, front to back. Writers and user mappings
    /// may change it meanwhile; a page that changes is dirty again, and is sent once more. A device
    /// that writes whole blocks takes what follows the last byte from elsewhere: zeros (P2).
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        self.raw.segments(self.len())
    }

    /// Keeps the first `pages` pages, and gives the others as a request of their own. `None`, with
    /// nothing changed, if one of the two would be empty.
    pub fn split_off(&mut self, pages: u32) -> Option<Self> {
        self.let_go();
        let raw = self.raw.split_off(pages)?;
        // INVARIANT: the marks of these pages are this request's alone.
        Some(Self { raw, size: self.size, is_traced: false })
    }

    /// The thread that began the writeback goes on, and the I/O has it: what a store that completes
    /// its requests later calls first, for the sake of a lock checker.
    pub fn let_go(&mut self) {
        if self.is_traced {
            self.is_traced = false;
            self.raw.trace(Trace::Released(self.raw.writeback_id()));
        }
    }

    /// Ends the writeback. A failure is recorded first (F2), then the pages are dirty again, then
    /// they are no longer under writeback, and waiters are woken. Takes no page lock and never
    /// sleeps.
    pub fn complete(mut self, result: Result<(), Errno>) {
        self.finish(result);
        // It has ended, which is all that its drop is for.
        mem::forget(self);
    }

    fn finish(&mut self, result: Result<(), Errno>) {
        // Traced before another one can begin, so that a checker sees the events in order.
        self.let_go();
        self.raw.end_writeback(result);
    }
}

impl Drop for WritebackRequest {
    fn drop(&mut self) {
        self.finish(Err(Errno::Io));
    }
}

// SAFETY: the request keeps its pages, by its invariant.
unsafe impl HeldPages for WritebackRequest {
    fn page(&self, index: PageIndex) -> Option<NonNull<u8>> {
        self.raw.page(index)
    }
}

/// The marks.
impl<S: crate::SyncFamily> Leaf<S> {
    /// Marks `slots`, locked, dirty and not under writeback, as under writeback and no longer
    /// dirty, in this order.
    fn begin_writeback(&self, slots: SlotMask) {
        // Release: `unclean` reads dirty first; if it reads it cleared, it reads writeback set.
        self.writeback.fetch_or(slots, AcqRel);
        self.dirty.fetch_and(!slots, AcqRel);
    }

    /// Clears writeback, after dirty is set if the pages are to be sent again. Without the page
    /// lock.
    pub(crate) fn end_writeback<K: Kernel<Sync = S>>(
        &self,
        cache: &PageCache<K>,
        slots: SlotMask,
        result: Result<(), Errno>,
    ) {
        if result.is_err() {
            // Under writeback, so present. Before writeback is cleared: pairs with `clean`.
            let dirtied = slots - self.dirty.fetch_or(slots, Release);
            // Before the end is counted: the sum of both levels does not fall in between.
            count::<K>(Count::Dirtied, dirtied);
        }
        count::<K>(Count::WritebackEnded, slots);
        self.clear_writeback(slots, cache.wait());
    }

    /// Present slots that are neither dirty nor under writeback. The caller has `slots` locked.
    pub(crate) fn clean(&self, slots: SlotMask) -> SlotMask {
        // Acquire: if it reads a mark cleared by `end_writeback`, the load of dirty reads what was
        // set before.
        let writeback = self.writeback.load(Acquire);
        let dirty = self.dirty.load(Relaxed);
        slots & self.present() & !(writeback | dirty)
    }

    /// Slots that are dirty or under writeback, for a look without locks. See
    /// [`Mark::Unclean`](crate::Mark::Unclean).
    pub(crate) fn unclean(&self) -> SlotMask {
        // Acquire: if it reads a mark cleared by `begin_writeback`, the load of writeback reads
        // what was set before.
        let dirty = self.dirty.load(Acquire);
        dirty | self.writeback.load(Acquire)
    }
}
