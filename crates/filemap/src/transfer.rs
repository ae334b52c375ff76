//! Bytes in motion: the only place of this crate that touches memory.
//!
//! Between user memory and locked or pinned pages there is only the atomic copy; the faulting copy
//! has a temporary page on its other end. User space may map the pages and race with every copy:
//! none of them is ever a Rust reference.

use core::ptr::NonNull;

use faultless_page::{
    Errno, FrameBatch, Kernel, LockedBytes, LockedRun, OwnedFrame, PAGE_SIZE, PageCache, PageIndex,
    PageRun, ReadSection, SlotMask, Trace, Usage,
};
use faultless_usercopy::{IovIter, UserMemory, WholeRequest, copy_kernel};

use crate::token::PageLocks;

/// Rounds without a byte of progress after which a piece goes through a temporary page (W6).
pub(crate) const MAX_FRUITLESS_ROUNDS: u32 = 3;

/// Copies up to `len` bytes of `from` into the locked pages from `pos` on, without faulting; how
/// many arrived. `from` moves on by as many. Bytes that did not arrive leave the pages as they were
/// (U1).
#[inline(always)]
pub(crate) fn copy_in<K: Kernel, U: UserMemory + ?Sized>(
    locked: &LockedRun<'_, K>,
    from: &mut IovIter<'_, U>,
    pos: u64,
    len: usize,
) -> usize {
    let mut copied = 0;
    while copied < len {
        let Some((page, room)) = locked.span(pos + copied as u64, len - copied) else { break };
        // SAFETY: `span` gave `room` bytes of frames whose pages are locked and so stay with this
        // file; there is no Rust reference to them.
        let got = unsafe { from.copy_from_atomic(page.as_ptr(), room) };
        copied += got;
        if got < room {
            K::trace(Trace::ShortCopy);
            break;
        }
    }
    K::trace(Trace::Copied(copied));
    copied
}

/// [`copy_in`] of all that remains of a request, from `pos`, which lies in the first page, on; how
/// many bytes did *not* arrive. The cursor of the request stays.
#[inline(always)]
pub(crate) fn copy_whole_in<K: Kernel, U: UserMemory + ?Sized>(
    locked: &LockedRun<'_, K>,
    from: &WholeRequest<'_, U>,
    pos: u64,
) -> usize {
    let pages = locked.bytes();
    let Some((page, room)) = pages.first_bytes(pos, from.len()) else { return from.len() };
    if from.len() > room {
        return copy_across_pages_in(pages, *from, pos);
    }
    // SAFETY: memory of pages that are locked and so stay with this file; there is no Rust
    // reference to it. The request needs no more.
    let left = unsafe { from.copy_all_from_atomic(page) };
    if left > 0 {
        K::trace(Trace::ShortCopy);
    }
    K::trace(Trace::Copied(from.len().saturating_sub(left)));
    left
}

/// The same for more than one page.
#[inline(never)]
fn copy_across_pages_in<K: Kernel, U: UserMemory + ?Sized>(
    pages: LockedBytes<'_, K>,
    from: WholeRequest<'_, U>,
    pos: u64,
) -> usize {
    let mut copied = 0;
    while copied < from.len()
        && let Some((page, room)) = pages.span(pos + copied as u64, from.len() - copied)
    {
        // SAFETY: `room` bytes of frames whose pages are locked and so stay with this file; there
        // is no Rust reference to them. The request has as many from `copied` on.
        let got = unsafe { from.copy_from_atomic(copied, page.as_ptr(), room) };
        copied += got;
        if got < room {
            K::trace(Trace::ShortCopy);
            break;
        }
    }
    K::trace(Trace::Copied(copied));
    from.len() - copied
}

/// Fills frames that are in no file yet, and are as many as that takes: from byte `offset` on,
/// which lies in the first one, with all that remains of a request, and with zeros around that, if
/// all of it comes. Does not fault. How many bytes of it did not come. The cursor of the request
/// stays.
#[inline(always)]
pub(crate) fn fill_whole<K: Kernel, U: UserMemory + ?Sized>(
    frames: &mut FrameBatch<'_, K>,
    from: &WholeRequest<'_, U>,
    offset: usize,
) -> usize {
    let len = from.len();
    let Some(memory) = room_in(frames, offset, len) else { return len };
    // SAFETY: the frames have room for the request there, and belong to the batch alone.
    let left = unsafe { from.copy_all_from_atomic(memory) };
    K::trace(Trace::Copied(len.saturating_sub(left)));
    match left {
        0 => zero_around(frames, offset, len),
        _ => K::trace(Trace::ShortCopy),
    }
    left
}

/// The same with the next `len` bytes of `from`, which moves on by what came; how many did. There
/// are zeros in the rest of their pages.
#[inline]
pub(crate) fn fill<K: Kernel, U: UserMemory + ?Sized>(
    frames: &mut FrameBatch<'_, K>,
    from: &mut IovIter<'_, U>,
    offset: usize,
    len: usize,
) -> usize {
    let Some(memory) = room_in(frames, offset, len) else { return 0 };
    // SAFETY: the frames have room for `len` bytes there, and belong to the batch alone.
    let came = unsafe { from.copy_from_atomic(memory, len) };
    K::trace(Trace::Copied(came));
    if came < len {
        K::trace(Trace::ShortCopy);
    }
    if came > 0 {
        zero_around(frames, offset, came);
    }
    came
}

/// Where byte `offset` of frames is, and `len` bytes from there on, if all of them are in the
/// frames.
#[inline(always)]
fn room_in<K: Kernel>(
    frames: &mut FrameBatch<'_, K>,
    offset: usize,
    len: usize,
) -> Option<*mut u8> {
    let has_room = offset + len <= frames.len() * PAGE_SIZE;
    debug_assert!(has_room, "there is room for the bytes");
    // SAFETY: inside the frames, which are one object.
    has_room.then(|| unsafe { frames.as_ptr().add(offset) }.as_ptr())
}

/// Zeroes what is before the `len` bytes from `offset` on in their frames, and behind them.
#[inline(always)]
fn zero_around<K: Kernel>(frames: &mut FrameBatch<'_, K>, offset: usize, len: usize) {
    let end = offset + len;
    frames.zero(0..offset);
    frames.zero(end..end.next_multiple_of(PAGE_SIZE));
}

/// Copies up to `len` bytes of uptodate pages from `pos` on into `to`, without faulting, inside a
/// read section; what `usage` of the pages that is. How many arrived,
/// whether the pages or the user memory ended it, and whether the use of a page is to be noticed.
#[inline]
pub(crate) fn copy_out<K: Kernel, U: UserMemory + ?Sized>(
    section: &ReadSection<'_, K>,
    to: &mut IovIter<'_, U>,
    pos: u64,
    len: usize,
    usage: Usage,
) -> (usize, CopyEnd, bool) {
    let mut copied = 0;
    let mut marked = false;
    let mut end = CopyEnd::Done;
    while copied < len {
        let at = pos + copied as u64;
        let Some((page, room, markers)) = section.marked_span(at, len - copied, usage) else {
            end = CopyEnd::NotUptodate;
            break;
        };
        if !markers.is_empty() {
            marked |= are_marked(at, room, markers);
        }
        // SAFETY: the frames behind `span` are not reused while the section lasts.
        let got = unsafe { to.copy_to_atomic(page.as_ptr(), room) };
        copied += got;
        if got < room {
            K::trace(Trace::ShortCopy);
            end = CopyEnd::UserMemory;
            break;
        }
    }
    K::trace(Trace::Copied(copied));
    (copied, end, marked)
}

/// Copies uptodate pages from `pos` on to all that remains of a request, whose cursor stays; how
/// many bytes the user memory did *not* take. `None`, with nothing copied, if the pages do not lie
/// side by side in memory, one is not uptodate, or the use of one is to be noticed.
#[inline(always)]
pub(crate) fn copy_whole_out<K: Kernel, U: UserMemory + ?Sized>(
    section: &ReadSection<'_, K>,
    to: &WholeRequest<'_, U>,
    pos: u64,
) -> Option<usize> {
    let pages = section.whole_span(pos, to.len())?;
    // SAFETY: the frames behind the span are not reused while the section lasts; it has as many
    // bytes as the request.
    let left = unsafe { to.copy_all_to_atomic(pages) };
    if left > 0 {
        K::trace(Trace::ShortCopy);
    }
    K::trace(Trace::Copied(to.len().saturating_sub(left)));
    Some(left)
}

/// Whether one of the pages of `[pos, pos + len)`, all in one leaf, is among `markers`.
#[cold]
fn are_marked(pos: u64, len: usize, markers: SlotMask) -> bool {
    PageRun::covering(pos, len).is_some_and(|run| markers.intersects(run.mask()))
}

/// What ended [`copy_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyEnd {
    /// Everything arrived.
    Done,
    /// The next page is absent or not uptodate.
    NotUptodate,
    /// The next byte of user memory did not take its value.
    UserMemory,
}

/// Up to a page of bytes on the way between user memory and a page, in a frame of its own.
pub(crate) struct Bounce<'c, K: Kernel> {
    frame: OwnedFrame<'c, K>,
    /// Bytes that were put in: only these ever come out.
    filled: usize,
}

impl<'c, K: Kernel> Bounce<'c, K> {
    /// Gets the frame for it. No page lock is held (P3).
    pub(crate) fn allocate(
        cache: &'c PageCache<K>,
        token: &mut impl PageLocks,
    ) -> Result<Self, Errno> {
        let frame = cache
            .allocate_or_reclaim(token.page_locks(), 1)?
            .take_first()
            .ok_or(Errno::NoMemory)?;
        Ok(Self { frame, filled: 0 })
    }

    /// Fills it with the next `len` bytes of `from`, at most a page, faulting as needed. `from`
    /// moves on by what came.
    pub(crate) fn fill_from<U: UserMemory + ?Sized>(
        &mut self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        len: usize,
    ) -> usize {
        K::trace(Trace::MayFault);
        let len = len.min(PAGE_SIZE);
        // SAFETY: the frame is ours alone, and a page long.
        self.filled = unsafe { from.copy_from(token, self.address(), len) };
        K::trace(Trace::Bounced(self.filled));
        self.filled
    }

    /// As [`fill_from`](Self::fill_from), without faulting: with what of `from` is there.
    pub(crate) fn fill_from_present<U: UserMemory + ?Sized>(
        &mut self,
        from: &mut IovIter<'_, U>,
        len: usize,
    ) -> usize {
        let len = len.min(PAGE_SIZE);
        // SAFETY: the frame is ours alone, and a page long.
        self.filled = unsafe { from.copy_from_atomic(self.address(), len) };
        K::trace(Trace::Bounced(self.filled));
        self.filled
    }

    /// Fills it with `len` bytes at `pos` of a locked page, at most a page; how many came: none if
    /// it is not uptodate.
    pub(crate) fn fill_from_locked(
        &mut self,
        locked: &LockedRun<'_, K>,
        pos: u64,
        len: usize,
    ) -> usize {
        self.filled = 0;
        if locked.uptodate().contains(PageIndex::containing(pos).bit())
            && let Some((page, room)) = locked.span(pos, len.min(PAGE_SIZE))
        {
            // SAFETY: `room`, at most a page, bytes of a page that stays while it is locked, and
            // are not in our frame, which belongs to no file.
            unsafe { copy_kernel(self.address(), page.as_ptr(), room) };
            self.filled = room;
        }
        K::trace(Trace::Bounced(self.filled));
        self.filled
    }

    /// Copies its first `len` bytes into the locked pages at `pos`, which lie in one page; how
    /// many, which is `len` unless fewer were filled in. Never faults. `from`, which they were read
    /// from, moves on by as many.
    pub(crate) fn land<U: UserMemory + ?Sized>(
        &self,
        locked: &LockedRun<'_, K>,
        from: &mut IovIter<'_, U>,
        pos: u64,
        len: usize,
    ) -> usize {
        let len = len.min(self.filled);
        if len == 0 {
            return 0;
        }
        if let Some((page, room)) = locked.span(pos, len) {
            // SAFETY: `room`, at most `filled`, bytes of a page that is locked; our frame is
            // another one.
            unsafe { copy_kernel(page.as_ptr(), self.address(), room) };
        }
        K::trace(Trace::Copied(len));
        from.advance(len);
        len
    }

    /// Sends its bytes to `to`, faulting as needed; how many arrived. `to` moves on by as many.
    pub(crate) fn send_to<U: UserMemory + ?Sized>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
    ) -> usize {
        K::trace(Trace::MayFault);
        // SAFETY: `filled` bytes of our own frame, which were all written.
        let sent = unsafe { to.copy_to(token, self.address(), self.filled) };
        K::trace(Trace::Copied(sent));
        sent
    }

    /// As [`send_to`](Self::send_to), without faulting: to what of `to` is there.
    pub(crate) fn send_to_present<U: UserMemory + ?Sized>(&self, to: &mut IovIter<'_, U>) -> usize {
        // SAFETY: `filled` bytes of our own frame, which were all written.
        let sent = unsafe { to.copy_to_atomic(self.address(), self.filled) };
        K::trace(Trace::Copied(sent));
        sent
    }

    fn address(&self) -> *mut u8 {
        NonNull::as_ptr(self.frame.as_ptr())
    }
}
