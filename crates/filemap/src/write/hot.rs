//! The fast path: every page of the request uptodate and reserved, all in one leaf. Lock, copy,
//! mark, unlock.
//!
//! Two locked operations, no allocation, no call into the store. Whatever is out of the ordinary is
//! left to [`step`](super::step). [`overwrite`] is tried first, for a request whose source is one
//! segment: it has neither claim nor cursor, and the guard of its pages stays in registers.
//! [`overwrite_pieces`] is the same of several segments. [`attempt`] does it as a step of the
//! general path.
#![forbid(unsafe_code)]

use core::mem::ManuallyDrop;

use faultless_page::{Count, Kernel, LockContext, LockedRun, PageIndex, PageRun, Trace};
use faultless_usercopy::{IovIter, UserMemory, WholeRequest};

use super::request::{Attempt, Claim, Mode, Request, Stop};
use crate::inode::Inode;
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
    /// The source came short.
    Short(Short<'t, K>),
}

/// Where the bytes of an overwrite come from.
pub(super) trait WholeSource {
    /// How many they are, not 0.
    fn bytes(&self) -> usize;

    /// Copies all of them to the locked pages from `pos` on, which lies in the first, without
    /// faulting; how many did *not* arrive.
    fn copy_in<K: Kernel>(&mut self, locked: &LockedRun<'_, K>, pos: u64) -> usize;
}

impl<U: UserMemory + ?Sized> WholeSource for WholeRequest<'_, U> {
    #[inline(always)]
    fn bytes(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn copy_in<K: Kernel>(&mut self, locked: &LockedRun<'_, K>, pos: u64) -> usize {
        copy_whole_in(locked, self, pos)
    }
}

/// Moves on by what arrived.
impl<U: UserMemory + ?Sized> WholeSource for &mut IovIter<'_, U> {
    #[inline(always)]
    fn bytes(&self) -> usize {
        self.count()
    }

    #[inline(always)]
    fn copy_in<K: Kernel>(&mut self, locked: &LockedRun<'_, K>, pos: u64) -> usize {
        let len = self.count();
        len - copy_in(locked, self, pos, len)
    }
}

/// An overwrite whose source came short. The pages are locked, and not marked.
pub(super) struct Short<'t, K: Kernel> {
    /// Dropped by [`claim_the_rest`](Self::claim_the_rest), which its owner calls at once. So the
    /// token is free again from there on.
    locked: ManuallyDrop<LockedRun<'t, K>>,
    /// The bytes of the request.
    bytes: ByteRange,
    /// How many landed, not 0.
    copied: usize,
    /// Before the look at the size that counts.
    then: Moment,
}

/// Overwrites the bytes from `start` on by all of `whole`, if they lie inside the size and their
/// pages are free and need no preparation. The inode is [plain](Inode::is_plain).
#[inline(always)]
pub(super) fn overwrite<'t, K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
    inode: &'t Inode<K>,
    token: &'t mut U::Token,
    whole: &WholeRequest<'_, U>,
    start: u64,
    task: &T,
) -> Overwrite<'t, K> {
    // Of one page and without a walk there is neither a call nor a loop before the copy: all that
    // is needed stays in registers. A word that was stored right before a locked operation is
    // loaded only after it.
    let mut cx = token.page_locks();
    if whole.len() <= PageIndex::bytes_from(start) && is_inside(inode, start, whole.len(), task) {
        let page = PageRun::single(PageIndex::containing(start));
        inode.file_modified(task);
        match inode.mapping().try_lock_recent(cx, page) {
            Ok(Some(locked)) => return overwrite_locked(inode, locked, *whole, start, task),
            Ok(None) => return Overwrite::Left(None),
            Err(back) => cx = back,
        }
    }
    overwrite_slowly(inode, cx, whole, start, task)
}

/// Whether `len` bytes from `start` on, all in one leaf and at least one, lie inside the size and
/// the limits.
#[inline(always)]
fn is_inside<K: Kernel, T: Task>(inode: &Inode<K>, start: u64, len: usize, task: &T) -> bool {
    // In the leaf of `start`, so it does not wrap; the end of the leaf may.
    let last = start + (len as u64 - 1);
    // The size does not grow past the largest size.
    last < inode.size().min(task.file_size_limit())
}

/// [`overwrite`] of any pages of a leaf, which is looked for.
#[inline(never)]
fn overwrite_slowly<'t, K: Kernel, U: UserMemory + ?Sized, T: Task>(
    inode: &'t Inode<K>,
    cx: LockContext<'t>,
    whole: &WholeRequest<'_, U>,
    start: u64,
    task: &T,
) -> Overwrite<'t, K> {
    let Some(run) = PageRun::covering_all(start, whole.len()) else {
        return Overwrite::Left(None);
    };
    if !is_inside(inode, start, whole.len(), task) {
        return Overwrite::Left(None);
    }
    inode.file_modified(task);
    let recent = inode.mapping().try_lock_recent(cx, run);
    match recent.unwrap_or_else(|cx| inode.mapping().try_lock(cx, run)) {
        Some(locked) => overwrite_locked(inode, locked, *whole, start, task),
        None => Overwrite::Left(None),
    }
}

/// [`overwrite`] by all that remains of a request, which is more than one segment, and moves on by
/// what landed.
#[inline(never)]
pub(super) fn overwrite_pieces<
    't,
    K: Kernel,
    U: UserMemory<Token: InodeLocks> + ?Sized,
    T: Task,
>(
    inode: &'t Inode<K>,
    token: &'t mut U::Token,
    from: &mut IovIter<'_, U>,
    start: u64,
    task: &T,
) -> Overwrite<'t, K> {
    let Some(run) = PageRun::covering_all(start, from.count()) else {
        return Overwrite::Left(None);
    };
    if !is_inside(inode, start, from.count(), task) {
        return Overwrite::Left(None);
    }
    inode.file_modified(task);
    let recent = inode.mapping().try_lock_recent(token.page_locks(), run);
    match recent.unwrap_or_else(|cx| inode.mapping().try_lock(cx, run)) {
        Some(locked) => overwrite_locked(inode, locked, from, start, task),
        None => Overwrite::Left(None),
    }
}

/// The rest of it, with the pages locked.
#[inline(always)]
fn overwrite_locked<'t, K: Kernel, S: WholeSource, T: Task>(
    inode: &'t Inode<K>,
    locked: LockedRun<'t, K>,
    mut source: S,
    start: u64,
    task: &T,
) -> Overwrite<'t, K> {
    let len = source.bytes();
    let last = start + (len as u64 - 1);
    let then = inode.size_changes.now();
    // The size again, now that truncation cannot pass the pages (P6).
    if last >= inode.size() || !inode.ranges.are_free() {
        return back_out(locked.moved(), None);
    }
    let steady = locked.uptodate() & locked.reserved() & locked.dirty();
    if steady != locked.mask() {
        return overwrite_unsteady(inode, locked.moved(), source, start, then, task);
    }
    let left = source.copy_in(&locked, start);
    if left > 0 {
        return come_short(locked.moved(), start, len, left, then);
    }
    K::trace(Trace::FastPath(locked.mask().count()));
    inode.mapping().count(Count::Used, locked.mask().count());
    locked.unlock();
    Overwrite::Landed
}

/// As [`overwrite`], of pages that are clean, or may have to be left alone.
#[cold]
#[inline(never)]
fn overwrite_unsteady<'t, K: Kernel, S: WholeSource, T: Task>(
    inode: &Inode<K>,
    mut locked: LockedRun<'t, K>,
    mut source: S,
    start: u64,
    then: Moment,
    task: &T,
) -> Overwrite<'t, K> {
    if let Some(attempt) = needs_more::<K, T>(inode, &locked) {
        return back_out(locked, Some(attempt));
    }
    let len = source.bytes();
    let left = source.copy_in(&locked, start);
    if left > 0 {
        return come_short(locked, start, len, left, then);
    }
    mark_landed(inode, &mut locked, Mode::Overwrite, (start, len), task);
    Overwrite::Landed
}

/// The pages stay as they are.
#[cold]
#[inline(never)]
fn back_out<'t, K: Kernel>(locked: LockedRun<'t, K>, attempt: Option<Attempt>) -> Overwrite<'t, K> {
    drop(locked);
    Overwrite::Left(attempt)
}

/// After a copy of `len` bytes to `start` that ended with `left` of them not copied.
#[cold]
#[inline(never)]
fn come_short<K: Kernel>(
    locked: LockedRun<'_, K>,
    start: u64,
    len: usize,
    left: usize,
    then: Moment,
) -> Overwrite<'_, K> {
    let copied = len.saturating_sub(left);
    if copied == 0 {
        return back_out(locked, Some(Attempt::Nothing));
    }
    let bytes = ByteRange { start, end: start + len as u64 };
    Overwrite::Short(Short { locked: ManuallyDrop::new(locked), bytes, copied, then })
}

impl<K: Kernel> Short<'_, K> {
    /// Marks what landed, and claims the rest of the request before the pages are unlocked. How
    /// much landed, not 0, and when the request began.
    #[cold]
    #[inline(never)]
    pub(super) fn claim_the_rest<'w, T: Task>(
        self,
        inode: &'w Inode<K>,
        claim: &mut Claim<'w, K>,
        task: &T,
    ) -> (usize, Moment) {
        let Self { locked, bytes, copied, then } = self;
        let mut locked = ManuallyDrop::into_inner(locked);
        claim.get_ahead(inode, bytes);
        mark_landed(inode, &mut locked, Mode::Overwrite, (bytes.start, copied), task);
        (copied, then)
    }
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
