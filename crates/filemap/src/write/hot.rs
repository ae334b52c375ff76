//! The hot path: every page of the request uptodate and backed, all in one leaf. Lock, copy, mark,
//! unlock.
//!
//! Two locked operations, no allocation, no call into the store. Whatever is out of the ordinary is
//! left to [`step`](super::step).
#![forbid(unsafe_code)]

use faultless_page::{Kernel, LockedRun, PageRun, Trace};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use super::mode::Mode;
use crate::inode::Inode;
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::Task;
use crate::token::PageLocks;
use crate::transfer::copy_in;

/// Why a run may not be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another writer claims these bytes.
    Foreign(ByteRange),
    /// The bytes do not lie inside the size any more: truncation need not hold our locks (P6).
    OutsideSize,
    /// A fatal signal came while the run was waited for (L3).
    Killed,
}

/// What an attempt achieved.
#[derive(Debug)]
pub(super) enum Tried<'t, K: Kernel> {
    /// Every byte landed.
    Landed,
    /// Only so many bytes were copied, not 0; they do not count yet. See [`mark_short`].
    Short(LockedRun<'t, K>, usize),
    /// Nothing landed: the source did not answer.
    Nothing,
    /// Not every page is ready for this kind of attempt: so many of them have no frame.
    NotReady(u32),
}

/// Where an attempt writes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) mode: Mode,
    /// Position of the first byte to copy.
    pub(super) pos: u64,
    /// The pages of the `len` bytes.
    pub(super) run: PageRun,
    pub(super) len: usize,
}

/// Tries to copy straight into pages that need no preparation.
///
/// # Errors
/// The run may not be written now; nothing has happened.
#[inline(always)]
pub(super) fn attempt<'t, K: Kernel, U: UserMemory, T: Task>(
    inode: &'t Inode<K>,
    may: &'t mut MayFault,
    user: &U,
    from: &mut IovIter<'_>,
    place: &Place,
    range: Option<&RangeGuard<'_, K>>,
    task: &T,
) -> Result<Tried<'t, K>, Refused> {
    let killed = || task.fatal_signal_pending();
    let mut locked = match inode.mapping().lock_killable(may.page_locks(), place.run, &killed) {
        Ok(Some(locked)) => locked,
        Ok(None) => return Ok(Tried::NotReady(place.run.pages())),
        Err(_) => return Err(Refused::Killed),
    };
    admit(inode, place.mode, range, place.pos, place.len)?;
    if locked.uptodate() & locked.reserved() != locked.mask() {
        let absent = locked.mask() & !locked.present();
        return Ok(Tried::NotReady(absent.count_ones()));
    }
    if place.mode == Mode::Grow {
        inode.write_protect_eof_page(&mut locked, inode.size());
    }
    let copied = copy_in(&locked, user, from, place.pos, place.len);
    if copied < place.len {
        return Ok(if copied == 0 { Tried::Nothing } else { Tried::Short(locked, copied) });
    }
    mark_landed(&mut locked, place, copied);
    Ok(Tried::Landed)
}

/// Counts the bytes of a copy that came short, and unlocks. If more of the request is to follow,
/// its range has been claimed by now: see
/// [`RangeLock::get_ahead`](crate::ranges::RangeLock::get_ahead).
#[cold]
pub(super) fn mark_short<K: Kernel>(mut locked: LockedRun<'_, K>, place: &Place, copied: usize) {
    mark_landed(&mut locked, place, copied);
}

#[inline(always)]
fn mark_landed<K: Kernel>(locked: &mut LockedRun<'_, K>, place: &Place, copied: usize) {
    debug_assert!(copied <= place.len, "no more arrives than was asked for");
    let Some(landed) = PageRun::covering(place.pos, copied) else { return };
    debug_assert!(landed.mask() & !locked.mask() == 0, "what landed is locked");
    K::trace(Trace::FastPath(landed.pages()));
    locked.set_dirty(landed.mask());
    if place.mode == Mode::Grow {
        locked.grow_size(place.pos + copied as u64);
    }
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
