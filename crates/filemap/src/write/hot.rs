//! The hot path: every page of the request uptodate and backed, all in one leaf. Lock, copy, mark, unlock.
//!
//! Two locked operations, no allocation, no call into the store. Whatever is out of the ordinary is left to
//! [`step`](super::step).
#![forbid(unsafe_code)]

use faultless_page::{Kernel, PageRun, Trace};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use super::Mode;
use crate::inode::Inode;
use crate::ranges::{ByteRange, RangeGuard};
use crate::token::PageLocks;
use crate::transfer::copy_in;

/// Why a run that was just locked may not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Somebody holds a range over these bytes.
    Foreign(ByteRange),
    /// The bytes do not lie inside the size any more: truncation need not hold our locks (P6).
    OutsideSize,
}

/// What an attempt achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// This many bytes landed, not 0.
    Landed(usize),
    /// Nothing landed: the source did not answer.
    Nothing,
    /// Something had to be waited for, or got, without locks: try again.
    Again,
    /// Not every page is ready for this kind of attempt: so many of them have no frame.
    NotReady(u32),
}

/// Where an attempt writes.
pub(super) struct Place {
    pub(super) mode: Mode,
    /// Position of the request's first byte.
    pub(super) start: u64,
    /// Position of the first byte to copy.
    pub(super) pos: u64,
    /// The pages of the `len` bytes.
    pub(super) run: PageRun,
    pub(super) len: usize,
}

/// Tries to copy straight into pages that need no preparation. After a short copy the rest of the request is held in `range`,
/// if nobody else holds any of it.
///
/// # Errors
/// The run may not be written now; nothing has happened.
#[inline(always)]
pub(super) fn attempt<'w, K: Kernel, U: UserMemory>(
    inode: &'w Inode<K>,
    may: &mut MayFault,
    user: &U,
    from: &mut IovIter<'_>,
    place: &Place,
    range: &mut Option<RangeGuard<'w, K>>,
) -> Result<Attempt, Refused> {
    let Some(mut locked) = inode.mapping().lock(may.page_locks(), place.run) else {
        return Ok(Attempt::NotReady(place.run.pages()));
    };
    admit(inode, place.mode, range.as_ref(), place.pos, place.len)?;
    if locked.uptodate() & locked.backed() != locked.mask() {
        let absent = locked.mask() & !locked.present();
        return Ok(Attempt::NotReady(absent.count_ones()));
    }
    let copied = copy_in(&locked, user, from, place.pos, place.len);
    let landed = if copied == place.len {
        place.run
    } else {
        let Some(landed) = PageRun::covering(place.pos, copied) else {
            return Ok(Attempt::Nothing);
        };
        keep_rest(inode, range, place.start, place.pos + (copied + from.count()) as u64);
        landed
    };
    K::trace(Trace::Straight(landed.pages()));
    locked.set_dirty(landed.mask());
    if place.mode == Mode::Grow {
        locked.grow_size(place.pos + copied as u64);
    }
    Ok(Attempt::Landed(copied))
}

/// Looks again at what may have changed before the lock was ours (P6).
///
/// # Errors
/// Why the run may not be written now.
#[inline(always)]
pub(super) fn admit<K: Kernel>(
    inode: &Inode<K>,
    mode: Mode,
    own: Option<&RangeGuard<'_, K>>,
    pos: u64,
    len: usize,
) -> Result<(), Refused> {
    let range = ByteRange { start: pos, end: pos + len as u64 };
    if mode == Mode::Overwrite && range.end > inode.size() {
        Err(Refused::OutsideSize)
    } else if inode.ranges.conflicts(range, own) {
        Err(Refused::Foreign(range))
    } else {
        Ok(())
    }
}

/// Tries to hold the request from `start` to `end` while its first part is still locked, unless it is held already. Never waits: without
/// its range the request starts again once it has it.
///
/// To be called before the first part counts: what a file has grown by is an invitation to overwrite it, and an append that had
/// to start again for that would stand where the end no longer is.
#[cold]
pub(super) fn keep_rest<'w, K: Kernel>(
    inode: &'w Inode<K>,
    range: &mut Option<RangeGuard<'w, K>>,
    start: u64,
    end: u64,
) {
    if range.is_none() {
        let wait = inode.mapping().cache().wait();
        *range = inode.ranges.try_acquire(wait, ByteRange { start, end });
    }
}
