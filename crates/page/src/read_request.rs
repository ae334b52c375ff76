//! Pages on their way from the store.
//!
//! A read owns the locks of its pages from its submission to its end. A thread that wants them
//! waits for their lock, as for any other; the end marks what came as uptodate and unlocks.
//! Neighbour: [`submit`](crate::submit) makes requests.

use core::mem::ManuallyDrop;
use core::ptr;

use crate::request::{Raw, Segments};
use crate::{Errno, FillBuf, PAGE_SIZE, PageIndex, PageRun, SlotMask, Trace};

/// Where a file ends, in bytes, for reads of its pages from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEnd {
    /// The visible size: what lies behind it is zeroed.
    pub visible: u64,
    /// What the store has to have, at most the visible size: less is an error (F8).
    pub on_store: u64,
}

/// A run of pages to be read. It owns their locks; [`complete`](Self::complete),
/// [`fill`](Self::fill) or [`fail`](Self::fail) ends it, on any thread or in an interrupt handler,
/// and unlocks them. Dropping it is [`fail`](Self::fail) with [`Errno::Io`].
///
/// An end sleeps for nothing, takes no lock but a short one of the kernel's
/// [`SyncFamily`](crate::SyncFamily), and calls [`Wait::wake`](crate::Wait::wake),
/// [`Kernel::trace`](crate::Kernel::trace) and [`Kernel::count`](crate::Kernel::count).
///
/// [`mem::forget`](core::mem::forget) of a request leaves its pages locked: threads that want
/// them wait without end, and so does the drop of the mapping.
#[derive(Debug)]
#[must_use = "dropping it fails the read"]
pub struct ReadRequest {
    raw: Raw,
    end: FileEnd,
    holder: Holder,
}

/// Which thread holds the locks of a read, as traces say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// None; one that fills the pages will.
    None,
    /// The one that fills them.
    Thread,
    /// None, and none will: the I/O has them.
    Io,
}

impl ReadRequest {
    pub(crate) fn new(raw: Raw, end: FileEnd) -> Self {
        Self { raw, end, holder: Holder::None }
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

    /// How many bytes from there the store has to have. The rest of the last page may lie past the
    /// end of the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len_before(self.end.on_store)
    }

    /// Whether the store need have nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length in whole pages, in bytes.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.raw.padded_len()
    }

    /// The memory to fill, whole pages, front to back.
    pub fn segments(&mut self) -> Segments<'_> {
        self.raw.segments(self.padded_len())
    }

    /// Keeps the first `pages` pages, and gives the others as a request of their own: for a store
    /// whose pieces end one by one. `None`, with nothing changed, if one of the two would be empty.
    pub fn split_off(&mut self, pages: u32) -> Option<Self> {
        let raw = self.raw.split_off(pages)?;
        Some(Self { raw, end: self.end, holder: self.holder })
    }

    /// The request is not done in the call that it came with, and no thread holds its pages: what a
    /// store that completes its requests later calls first, for the sake of a lock checker. The
    /// thread that [fills](Self::fill) it may then lock pages of other files.
    pub fn let_go(&mut self) {
        self.holder = Holder::Io;
    }

    /// The first `filled` bytes of the [segments](Self::segments) are what the file has, and what
    /// follows is not there: pages that lie wholly before, and those that the store
    /// [need not have](Self::len) more of, are valid; the others have failed with [`Errno::Io`]
    /// (F8).
    ///
    /// # Safety
    /// That many bytes were written, and nothing writes to the memory any more. Otherwise recycled
    /// memory would be shown to users (W5).
    pub unsafe fn complete(self, filled: usize) {
        let mut good = SlotMask::EMPTY;
        for page in 0..self.run().pages() {
            let index = self.run().first().plus(u64::from(page));
            let filled = filled.saturating_sub(page as usize * PAGE_SIZE).min(PAGE_SIZE);
            if filled >= index.bytes_before(self.end.on_store) {
                self.define_rest(index, filled);
                good |= index.bit();
            }
        }
        self.end(good, Errno::Io);
    }

    /// The store has none of the pages.
    pub fn fail(self, errno: Errno) {
        self.end(SlotMask::EMPTY, errno);
    }

    /// Lets `read` fill the pages one after the other; one that fails costs only itself, and the
    /// first error stands for all of them. What a synchronous store needs:
    /// [`submit_read`](crate::AddressSpaceOperations::submit_read) is this by default.
    pub fn fill(mut self, mut read: impl FnMut(PageIndex, &mut FillBuf<'_>) -> Result<(), Errno>) {
        if self.holder == Holder::None {
            self.raw.trace(Trace::Acquired(self.raw.lock_id()));
            self.holder = Holder::Thread;
        }
        let run = self.run();
        let (mut good, mut failure) = (SlotMask::EMPTY, None);
        for page in 0..u64::from(run.pages()) {
            let index = run.first().plus(page);
            match self.fill_page(index, &mut read) {
                Ok(()) => good |= index.bit(),
                Err(errno) => failure = failure.or(Some(errno)),
            }
        }
        self.end(good, failure.unwrap_or(Errno::Io));
    }

    fn fill_page(
        &self,
        index: PageIndex,
        read: &mut impl FnMut(PageIndex, &mut FillBuf<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let memory = self.raw.page(index).ok_or(Errno::Invalid)?;
        let needed = index.bytes_before(self.end.on_store);
        // SAFETY: a page of this request, which is locked for it and not uptodate: no reader, no
        // user mapping and no writeback looks at it.
        let buf = unsafe { FillBuf::filled_by(memory, needed, |buf| read(index, buf)) }?;
        if buf.hole() > 0 {
            self.raw.trace(Trace::Zeroed(buf.hole()));
        }
        self.define_rest(index, buf.filled());
        Ok(())
    }

    /// Zeroes what follows the first `filled` bytes of a page, and what lies past the end of the
    /// file (P2).
    fn define_rest(&self, index: PageIndex, filled: usize) {
        let from = filled.min(index.bytes_before(self.end.visible));
        let Some(memory) = self.raw.page(index) else { return };
        if from < PAGE_SIZE {
            // SAFETY: the offset lies in the page.
            let rest = unsafe { memory.add(from) };
            // SAFETY: up to the end of a page of this request; as for `fill_page`.
            unsafe { ptr::write_bytes(rest.as_ptr(), 0, PAGE_SIZE - from) };
            self.raw.trace(Trace::Zeroed(PAGE_SIZE - from));
        }
    }

    fn end(self, good: SlotMask, errno: Errno) {
        // Before it ends: a wake that unwinds must not end it once more, by its drop.
        ManuallyDrop::new(self).finish(good, errno);
    }

    fn finish(&self, good: SlotMask, errno: Errno) {
        if self.holder == Holder::Thread {
            // Before another thread can have them, so that a checker sees the events in order.
            self.raw.trace(Trace::Released(self.raw.lock_id()));
        }
        let failed = self.run().mask() - good;
        self.raw.end_read(good, (!failed.is_empty()).then_some(errno));
    }
}

impl Drop for ReadRequest {
    fn drop(&mut self) {
        self.finish(SlotMask::EMPTY, Errno::Io);
    }
}
