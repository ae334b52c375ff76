//! One locked page, made ready for a write by a control, and settled afterwards.
//!
//! Dropping it, also in a panic, ends what the store began: a control that the watchdog takes down
//! leaves nothing behind.

#![forbid(unsafe_code)]

use std::ptr::NonNull;

use faultless_filemap::Inode;
use faultless_page::{
    AddressSpaceOperations, Contents, Errno, Kernel, LockContext, LockedRun, Mapping, OwnedFrame,
    PAGE_SIZE, PageIndex, PageRun,
};

/// What is in the page besides the bytes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Every byte of the page is defined.
    Valid,
    /// The page was a hole, or lay past the end: the rest is zero.
    Hole,
    /// The whole page, or all of it that the file holds, is about to be replaced.
    Replaced,
}

/// A page that is locked and ready for `len` bytes at `pos`.
pub(super) struct Prepared<'t, K: Kernel> {
    // Declared, and so dropped, before the lock: the store is told while the page is locked.
    begun: Begun<'t, K>,
    locked: LockedRun<'t, K>,
    rest: Rest,
}

/// What the store has begun, and must be told the end of.
struct Begun<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    pos: u64,
    len: usize,
    landed: usize,
}

impl<K: Kernel> Drop for Begun<'_, K> {
    fn drop(&mut self) {
        self.mapping.store().write_end(self.pos, self.len, self.landed);
    }
}

/// Bytes of `[pos, pos + len)` that lie in the first page.
pub(super) fn in_page(pos: u64, len: usize) -> usize {
    PageRun::single(PageIndex::containing(pos)).clip_len(pos, len)
}

/// Locks the page of `pos`, and gives it a frame if it has none, which is allocated with nothing
/// locked (P3).
///
/// # Errors
/// [`Errno::NoMemory`].
pub(super) fn lock_page<'t, K: Kernel>(
    inode: &'t Inode<K>,
    mut context: impl FnMut() -> LockContext<'t>,
    pos: u64,
) -> Result<LockedRun<'t, K>, Errno> {
    let mapping = inode.mapping();
    let index = PageIndex::containing(pos);
    let mut frame: Option<OwnedFrame<'_, K>> = None;
    loop {
        let mut locked = mapping.lock_or_create(context(), PageRun::single(index))?;
        if !locked.present().is_empty() {
            return Ok(locked);
        }
        if let Some(frame) = frame.take() {
            // The slot is absent and locked by us: the frame cannot be refused.
            let _ = locked.insert(index, frame);
            return Ok(locked);
        }
        drop(locked);
        frame = mapping.cache().allocate(1)?.take_first();
    }
}

impl<'t, K: Kernel> Prepared<'t, K> {
    /// Makes a locked, present page ready for `len` bytes at `pos`, which lie in it: asks the store
    /// for room, and gives the bytes around them a value.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn new(mut locked: LockedRun<'t, K>, pos: u64, len: usize) -> Result<Self, Errno> {
        let mapping = locked.mapping();
        let granted = mapping.store().write_begin(pos, len)?;
        let len = granted.len.clamp(1, len);
        let begun = Begun { mapping, pos, len, landed: 0 };
        let rest = define_rest(&mut locked, pos, len, granted.contents)?;
        Ok(Self { begun, locked, rest })
    }

    /// Bytes that may be copied.
    pub(super) fn len(&self) -> usize {
        self.begun.len
    }

    /// What is around them.
    pub(super) fn rest(&self) -> Rest {
        self.rest
    }

    /// Memory for them from byte `done` on.
    pub(super) fn span(&self, done: usize) -> Option<(NonNull<u8>, usize)> {
        let left = self.begun.len.checked_sub(done).filter(|left| *left > 0)?;
        self.locked.span(self.begun.pos + done as u64, left)
    }

    /// Zeroes them from byte `done` on.
    pub(super) fn zero_from(&mut self, done: usize) {
        self.locked.zero(self.begun.pos + done as u64, self.begun.len - done);
    }

    /// Commits the first `bytes` of them, 0 for none: uptodate, dirty, size (P7), store; unlocks.
    pub(super) fn commit(mut self, bytes: usize) {
        self.begun.landed = bytes;
        if bytes > 0 {
            let slot = self.locked.mask();
            self.locked.set_uptodate(slot);
            self.locked.set_dirty(slot);
            self.locked.grow_size(self.begun.pos + bytes as u64);
        } else if self.locked.uptodate().is_empty() {
            drop(self.locked.remove(self.locked.mask()));
        }
    }
}

/// Gives the bytes of the page around `len` at `pos` a value, unless all are about to be replaced.
fn define_rest<K: Kernel>(
    locked: &mut LockedRun<'_, K>,
    pos: u64,
    len: usize,
    contents: Contents,
) -> Result<Rest, Errno> {
    if !locked.uptodate().is_empty() {
        return Ok(Rest::Valid);
    }
    let mapping = locked.mapping();
    let index = PageIndex::containing(pos);
    let (size, end) = (mapping.size(), pos + len as u64);
    let before = (pos - index.start()) as usize;
    let after = PAGE_SIZE - before - len;
    if contents == Contents::Hole || index.start() >= size {
        locked.zero(index.start(), before);
        locked.zero(end, after);
        return Ok(Rest::Hole);
    }
    if before == 0 && (after == 0 || end >= size) {
        locked.zero(end, after);
        return Ok(Rest::Replaced);
    }
    locked.fill(index, 0, |buf| mapping.store().read(index, buf))?;
    let past_end = size.clamp(index.start(), index.plus(1).start());
    locked.zero(past_end, (index.plus(1).start() - past_end) as usize);
    locked.set_uptodate(locked.mask());
    Ok(Rest::Valid)
}
