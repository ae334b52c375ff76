//! Pages on their way to the store, as a request that the store ends.
//!
//! Neighbours: [`writeback`](crate::writeback) begins one, and has the marks;
//! [`writeback_run`](crate::WritebackRun) is what a store that copies is shown.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::request::{Raw, Segments};
use crate::writeback_run::HeldPages;
use crate::{Errno, PageIndex, PageRun, Trace, WritebackRun};

/// A writeback that has begun: its pages are marked as under writeback, and stay so until it ends.
/// Made by [`LockedRun::begin_writeback`](crate::LockedRun::begin_writeback) under the page lock;
/// used and ended without it, by any thread or in an interrupt handler.
///
/// [`complete`](Self::complete) says how it went. Dropping it is a failure with [`Errno::Io`]: a
/// store that panics leaves its pages dirty, and no waiter behind. A writeback ends once and for
/// its own pages only, because the request is consumed and nothing else clears the mark.
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

impl WritebackRequest {
    /// # Safety
    /// The invariant.
    pub(crate) unsafe fn new(raw: Raw, size: u64) -> Self {
        raw.trace(Trace::Acquired(raw.writeback_id()));
        // INVARIANT: the caller's promise.
        Self { raw, size, is_traced: true }
    }

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
        self.raw.len_before(self.size)
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
    pub fn complete(self, result: Result<(), Errno>) {
        // Before it ends: a wake that unwinds must not end it once more, by its drop.
        ManuallyDrop::new(self).finish(result);
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
