//! The fast path: every page of the request uptodate and reserved, all in one leaf. Lock, copy,
//! mark, unlock.
//!
//! Two locked operations, no allocation, no call into the store. Whatever is out of the ordinary is
//! left to [`step`](super::step).
#![forbid(unsafe_code)]

use faultless_page::{Count, Kernel, LockedRun, PageRun, Trace};
use faultless_usercopy::UserMemory;

use super::request::{Attempt, Claim, Mode, Request, Stop};
use crate::inode::Inode;
use crate::ranges::ByteRange;
use crate::size_changes::Moment;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::copy_in;

/// Tries to copy `bytes` straight into the pages of `run`, if they need no preparation. If the
/// source comes short, the rest of the request is claimed before the pages are unlocked.
///
/// # Errors
/// Nothing has happened: the file ends before `bytes` do, or the task is to die (L3).
#[inline(always)]
pub(super) fn attempt<'w, K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &'w Inode<K>,
    request: &mut Request<'_, '_, U, T>,
    claim: &mut Claim<'w, K>,
    mode: Mode,
    run: PageRun,
    bytes: ByteRange,
) -> Result<Attempt, Stop> {
    let task = request.task;
    let killed = Caller(task);
    let locked = inode.mapping().lock_killable(request.token.page_locks(), run, &killed)?;
    let Some(mut locked) = locked else { return Ok(Attempt::NotReady(run.pages())) };
    if !admit(inode, mode, claim, request.then, bytes)? {
        return Ok(Attempt::Foreign);
    }
    // A page that is dirty stays dirty while it is locked: it needs no promise.
    let needs_promise = inode.limits_dirty::<T>() && locked.dirty() != locked.mask();
    if inode.are_unstable(&locked) {
        return Ok(Attempt::NotReady(0));
    }
    if needs_promise || locked.uptodate() & locked.reserved() != locked.mask() {
        let absent = locked.mask() - locked.present();
        return Ok(Attempt::NotReady(absent.count()));
    }
    if mode == Mode::Grow {
        inode.write_protect_eof_page(&mut locked, inode.eof());
    }
    let copied = copy_in(&locked, request.from, bytes.start, bytes.len());
    if copied < bytes.len() {
        if copied == 0 {
            return Ok(Attempt::Nothing);
        }
        let end = bytes.start + (copied + request.from.count()) as u64;
        claim.get_ahead(inode, ByteRange { start: request.start, end });
    }
    mark_landed(inode, &mut locked, mode, (bytes.start, copied), task);
    Ok(Attempt::Landed(copied))
}

#[inline(always)]
fn mark_landed<K: Kernel, T: Task>(
    inode: &Inode<K>,
    locked: &mut LockedRun<'_, K>,
    mode: Mode,
    (pos, copied): (u64, usize),
    task: &T,
) {
    let Some(landed) = PageRun::covering(pos, copied) else { return };
    debug_assert!(locked.mask().contains(landed.mask()), "what landed is locked");
    K::trace(Trace::FastPath(landed.pages()));
    inode.mapping().count(Count::Used, landed.pages());
    let dirtied = inode.set_dirty(locked, landed.mask(), task);
    locked.mark_used(dirtied);
    if mode == Mode::Grow {
        locked.grow_size(pos + copied as u64);
    }
}

/// Looks again at what may have changed before the lock was ours (P6): whether `bytes` may be
/// written now, as far as other writers are concerned.
///
/// # Errors
/// [`Stop::MustGrow`]: they do not lie inside the size any more, or bytes of the request that have
/// landed were cut off.
#[inline(always)]
pub(super) fn admit<K: Kernel>(
    inode: &Inode<K>,
    mode: Mode,
    claim: &Claim<'_, K>,
    then: Moment,
    bytes: ByteRange,
) -> Result<bool, Stop> {
    if mode == Mode::Overwrite && (bytes.end > inode.size() || claim.is_cut(inode, then)) {
        return Err(Stop::MustGrow);
    }
    Ok(!claim.is_refused(inode, bytes))
}
