//! The fast path: every page of the request uptodate and reserved, all in one leaf. Lock, copy,
//! mark, unlock.
//!
//! Two locked operations, no allocation, no call into the store. Whatever is out of the ordinary is
//! left to [`step`](super::step). [`overwrite`] is tried first, for a request whose source is one
//! segment: it has neither claim nor cursor, and the guard of its pages stays in registers.
//! [`attempt`] does the same as a step of the general path.
#![forbid(unsafe_code)]

use core::mem::ManuallyDrop;

use faultless_page::{Count, Kernel, LockedRun, PageRun, Trace};
use faultless_usercopy::{IovIter, UserMemory};

use super::request::{Attempt, Claim, Mode, Request, Stop};
use crate::inode::Inode;
use crate::limits;
use crate::ranges::ByteRange;
use crate::size_changes::Moment;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::{copy_in, copy_whole_in};

/// What came of [`overwrite`].
pub(super) enum Overwrite<'t, K: Kernel> {
    /// All bytes landed.
    Landed,
    /// Nothing happened but the stamps; what the first attempt of the general path comes to, if
    /// that is known.
    Left(Option<Attempt>),
    /// The source came short after so many bytes, not 0. The pages are locked, and not marked.
    Short(ManuallyDrop<LockedRun<'t, K>>, usize),
}

/// Overwrites `bytes` by all of `from`, which lies in one segment, if they lie inside the size and
/// their pages are free and need no preparation. `from` moves on by what came.
#[inline(always)]
pub(super) fn overwrite<'t, K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &'t Inode<K>,
    token: &'t mut U::Token,
    from: &mut IovIter<'_, U>,
    bytes: ByteRange,
    task: &T,
) -> Overwrite<'t, K> {
    let Some(whole) = from.whole() else { return Overwrite::Left(None) };
    if bytes.end > inode.size().min(limits::end(inode.max_size().get(), task)) {
        return Overwrite::Left(None);
    }
    let Some(run) = PageRun::covering_all(bytes.start, whole.len()) else {
        return Overwrite::Left(None);
    };
    inode.file_modified(task);
    let Some(locked) = inode.mapping().try_lock(token.page_locks(), run) else {
        return Overwrite::Left(None);
    };
    // The size again, now that truncation cannot pass the pages (P6).
    if bytes.end > inode.size() || !inode.ranges.are_free() {
        locked.unlock();
        return Overwrite::Left(None);
    }
    if let Some(attempt) = needs_more::<K, T>(inode, &locked) {
        locked.unlock();
        return Overwrite::Left(Some(attempt));
    }
    let copied = copy_whole_in(&locked, &whole, bytes.start);
    if copied < whole.len() {
        from.advance(copied);
        if copied > 0 {
            return Overwrite::Short(ManuallyDrop::new(locked.moved()), copied);
        }
        locked.unlock();
        return Overwrite::Left(Some(Attempt::Nothing));
    }
    from.finish_whole();
    if locked.dirty() == locked.mask() {
        K::trace(Trace::FastPath(run.pages()));
        inode.mapping().count(Count::Used, run.pages());
        locked.unlock();
    } else {
        make_dirty(inode, locked.moved(), (bytes.start, copied), task);
    }
    Overwrite::Landed
}

/// The end of an overwrite of pages some of which were clean.
#[inline(never)]
fn make_dirty<K: Kernel, T: Task>(
    inode: &Inode<K>,
    mut locked: LockedRun<'_, K>,
    landed: (u64, usize),
    task: &T,
) {
    mark_landed(inode, &mut locked, Mode::Overwrite, landed, task);
}

/// The end of an overwrite whose source came short after `copied` bytes: the rest, up to `end`, is
/// claimed before the pages are unlocked.
#[cold]
#[inline(never)]
pub(super) fn claim_the_rest<'w, K: Kernel, T: Task>(
    inode: &'w Inode<K>,
    mut locked: LockedRun<'_, K>,
    claim: &mut Claim<'w, K>,
    bytes: ByteRange,
    copied: usize,
    task: &T,
) {
    claim.get_ahead(inode, bytes);
    mark_landed(inode, &mut locked, Mode::Overwrite, (bytes.start, copied), task);
}

/// Why the locked pages cannot take bytes as they are, if so.
#[inline(always)]
fn needs_more<K: Kernel, T: Task>(inode: &Inode<K>, locked: &LockedRun<'_, K>) -> Option<Attempt> {
    if inode.are_unstable(locked) {
        return Some(Attempt::NotReady(0));
    }
    // A page that is dirty stays dirty while it is locked: it needs no promise.
    let needs_promise = inode.limits_dirty::<T>() && locked.dirty() != locked.mask();
    if needs_promise || locked.uptodate() & locked.reserved() != locked.mask() {
        let absent = locked.mask() - locked.present();
        return Some(Attempt::NotReady(absent.count()));
    }
    None
}

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
    if let Some(attempt) = needs_more::<K, T>(inode, &locked) {
        return Ok(attempt);
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
