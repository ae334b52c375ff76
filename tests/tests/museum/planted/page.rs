//! One page of the planted path: locked, begun, its rest defined, filled as far as the source is
//! there, ended.

use faultless::page::{
    Begun, Contents, Errno, LockContext, LockedRun, Mapping, OwnedFrame, PAGE_SIZE, PageIndex,
    PageRun, Reserved,
};
use faultless::usercopy::{IovIter, MayFault, UserMemory};
use faultless_tests::Kernel;

use super::Bug;

/// What is in a page besides the bytes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Every byte is defined.
    Valid,
    /// Zeros.
    Hole,
    /// Nothing that counts: all of it is about to be replaced.
    Replaced,
}

/// A page that is ready for `len` bytes at `pos`.
pub(super) struct Page<'t> {
    bug: Bug,
    locked: LockedRun<'t, Kernel>,
    pos: u64,
    len: usize,
    rest: Rest,
    reserved: Reserved,
}

/// What a round achieved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landed {
    /// Bytes that are in the page.
    pub(super) accepted: usize,
    /// Bytes that B12's path takes to be behind it.
    pub(super) imagined: usize,
}

/// Locks a page, which gets `frame` if it has none.
pub(super) fn lock<'t>(
    mapping: &'t Mapping<Kernel>,
    context: LockContext<'t>,
    index: PageIndex,
    frame: Option<OwnedFrame<'_, Kernel>>,
) -> Result<LockedRun<'t, Kernel>, Errno> {
    let mut locked = mapping.lock_or_create(context, PageRun::single(index))?;
    if locked.present().is_empty()
        && let Some(frame) = frame
    {
        // The slot is absent and locked by us: the frame cannot be refused.
        let _ = locked.insert(index, frame);
    }
    Ok(locked)
}

/// Takes a page out whose bytes nobody has defined.
fn drop_undefined(locked: &mut LockedRun<'_, Kernel>) {
    if locked.uptodate().is_empty() {
        drop(locked.remove(locked.mask()));
    }
}

impl<'t> Page<'t> {
    /// Asks the store, and defines what is around the bytes to come.
    pub(super) fn begin(
        bug: Bug,
        mut locked: LockedRun<'t, Kernel>,
        pos: u64,
        len: usize,
    ) -> Result<Self, Errno> {
        if bug == Bug::UptodateEarly {
            locked.set_uptodate(locked.mask());
        }
        let trusted = bug == Bug::KeepsBacked && !locked.reserved().is_empty();
        let begun = if trusted || bug == Bug::StaleMapping {
            Begun { len, contents: Contents::Stored, reserved: Reserved::Partly }
        } else {
            let begun = locked.mapping().store().write_begin(pos, len);
            begun.inspect_err(|_| drop_undefined(&mut locked))?
        };
        let len = begun.len.clamp(1, len);
        let mut page = Self { bug, locked, pos, len, rest: Rest::Valid, reserved: begun.reserved };
        match page.define_rest(begun.contents) {
            Ok(rest) => page.rest = rest,
            Err(errno) => {
                page.tell_store(0);
                drop_undefined(&mut page.locked);
                return Err(errno);
            }
        }
        Ok(page)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives the bytes of the page around the ones to come a value, unless all are about to be
    /// replaced.
    fn define_rest(&mut self, contents: Contents) -> Result<Rest, Errno> {
        if !self.locked.uptodate().is_empty() {
            return Ok(Rest::Valid);
        }
        if self.bug == Bug::RestUndefined {
            return Ok(Rest::Replaced);
        }
        let mapping = self.locked.mapping();
        let index = PageIndex::containing(self.pos);
        let (size, end) = (mapping.size(), self.pos + self.len as u64);
        let before = (self.pos - index.start()) as usize;
        let after = PAGE_SIZE - before - self.len;
        if contents == Contents::Hole || index.start() >= size {
            self.locked.zero(index.start(), before);
            self.locked.zero(end, after);
            return Ok(Rest::Hole);
        }
        if before == 0 && (after == 0 || end >= size) {
            self.locked.zero(end, after);
            return Ok(Rest::Replaced);
        }
        self.locked.fill(index, 0, |buf| mapping.store().read(index, buf))?;
        let past_end = size.clamp(index.start(), index.plus(1).start());
        self.locked.zero(past_end, (index.plus(1).start() - past_end) as usize);
        self.locked.set_uptodate(self.locked.mask());
        Ok(Rest::Valid)
    }

    /// The atomic copy; `from` moves on by what came.
    pub(super) fn copy<U: UserMemory<Token = MayFault>>(&self, from: &mut IovIter<'_, U>) -> usize {
        let Some((memory, room)) = self.locked.span(self.pos, self.len) else { return 0 };
        // SAFETY: `room` bytes of a page that stays locked, to which nobody has a Rust reference.
        unsafe { from.copy_from_atomic(memory.as_ptr(), room) }
    }

    /// Commits as many of the `copied` bytes as can count, and unlocks. `left` bytes of the request
    /// are still to come.
    pub(super) fn end(mut self, copied: usize, left: usize) -> Landed {
        let accepted = self.accept(copied);
        self.commit(accepted);
        let mut imagined = 0;
        if self.bug == Bug::OneMapForAll && accepted == self.len {
            imagined = left.min(PAGE_SIZE);
            self.locked.grow_size(self.pos + (accepted + imagined) as u64);
        }
        self.tell_store(if self.bug == Bug::CommitsAsked { self.len } else { accepted });
        if self.bug == Bug::KeepsBacked && self.reserved == Reserved::Fully {
            self.locked.set_reserved(self.locked.mask());
        }
        Landed { accepted, imagined }
    }

    /// How many of the copied bytes count.
    fn accept(&mut self, copied: usize) -> usize {
        let undefined = matches!(self.bug, Bug::RestUndefined | Bug::CommitsAsked);
        if copied == self.len || undefined {
            return copied;
        }
        match self.rest {
            Rest::Valid => copied,
            Rest::Hole => {
                if self.bug != Bug::DirtyOnZero {
                    self.locked.zero(self.pos + copied as u64, self.len - copied);
                }
                copied
            }
            Rest::Replaced => 0,
        }
    }

    /// Uptodate, dirty, size.
    fn commit(&mut self, accepted: usize) {
        if accepted == 0 && self.bug != Bug::DirtyOnZero {
            drop_undefined(&mut self.locked);
            return;
        }
        let committed = match self.bug {
            Bug::CommitsAsked => self.len,
            Bug::CommitsSectors if accepted < self.len => accepted / 512 * 512,
            _ => accepted,
        };
        let slot = self.locked.mask();
        if !(self.bug == Bug::NeverUptodate && self.len == PAGE_SIZE) {
            self.locked.set_uptodate(slot);
        }
        self.locked.set_dirty(slot);
        if committed > 0 {
            self.locked.grow_size(self.pos + committed as u64);
        }
    }

    /// The store learns that what it began is over.
    fn tell_store(&self, landed: usize) {
        if self.bug == Bug::StaleMapping {
            return;
        }
        let pos = match self.bug {
            Bug::InPageOffset => self.pos % PAGE_SIZE as u64,
            _ => self.pos,
        };
        self.locked.mapping().store().write_end(pos, self.len, landed);
    }
}
