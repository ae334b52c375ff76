//! One step of a write: lock a run, admit, copy without faulting, commit; and what follows when
//! nothing came.
#![forbid(unsafe_code)]

use faultless_page::{
    Errno, FrameBatch, Kernel, LockContext, LockedRun, PageRun, SlotMask, Strategy, Trace,
};
use faultless_usercopy::UserMemory;

use super::chunk::{self, Committed, Halt, Plan};
use super::hot::{self, admit};
use super::request::{Attempt, Mode, Stop};
use super::writer::Writer;
use crate::inode::Inode;
use crate::ranges::ByteRange;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::{Bounce, MAX_FRUITLESS_ROUNDS, copy_in};
use crate::uptodate::Reading;

/// Where the bytes of a step come from.
#[derive(Clone, Copy)]
enum Source<'b, 'c, K: Kernel> {
    /// Straight from user memory, as far as the source answers.
    User,
    /// From a temporary page that was filled while nothing was locked.
    Temporary(&'b Bounce<'c, K>),
}

impl<'w, K, U, T> Writer<'w, '_, '_, K, U, T>
where
    K: Kernel,
    U: UserMemory<Token: InodeLocks> + ?Sized,
    T: Task,
{
    /// Strategy B: copy first, and fault in only what did not come. `tried` is what the fast path
    /// achieved with all of these bytes, if it was tried.
    #[inline]
    pub(super) fn step_begin_end(&mut self, tried: Option<Attempt>) -> Result<(), Stop> {
        let Some((run, len)) = self.next_chunk(self.reachable) else { return Ok(()) };
        self.claim_if_in_steps(len)?;
        // A page past the end is not there yet: looking for it would be a lock for nothing.
        let fresh = self.fresh_pages(run);
        let mut attempt = match tried {
            Some(attempt) => attempt,
            None if fresh > 0 || self.reading.is_some() => Attempt::NotReady(fresh),
            None => self.fast_path(run, len)?,
        };
        if let Attempt::NotReady(missing) = attempt {
            attempt = self.step_fresh(run, len, missing)?;
        }
        if let Attempt::NotReady(missing) = attempt {
            self.wanted_frames = self.wanted_frames.max(missing);
            attempt = self.prepare_and_copy(run, len, Source::User)?;
        }
        match attempt {
            Attempt::Landed(bytes) => self.progressed(bytes),
            Attempt::Nothing => self.fault_in_or_bounce(len)?,
            Attempt::Foreign => self.wait_for_claims(len)?,
            // The next step waits for what is being read, with the locks that it needs anyway.
            Attempt::NotReady(_) | Attempt::Reading => {}
        }
        Ok(())
    }

    /// Strategy A: fault in first, one page at a time; straight into an uptodate page, else by a
    /// temporary one, which becomes the page if that is new.
    pub(super) fn step_prepare_commit(&mut self) -> Result<(), Stop> {
        if self.step_prepare_fresh()? {
            return Ok(());
        }
        let Some(len) = self.next_piece() else { return Ok(()) };
        self.claim_if_in_steps(len)?;
        let reached = self.fault_in(len)?;
        let Some(run) = PageRun::covering(self.pos, reached) else { return Ok(()) };
        let mut attempt = Attempt::NotReady(0);
        if self.fresh_pages(run) == 0 {
            attempt = self.fast_path(run, reached)?;
            if matches!(attempt, Attempt::NotReady(_)) {
                attempt = self.prepare_and_copy(run, reached, Source::User)?;
            }
        }
        match attempt {
            Attempt::Landed(bytes) => self.progressed(bytes),
            Attempt::Foreign => self.wait_for_claims(reached)?,
            Attempt::NotReady(_) | Attempt::Reading => self.bounce(reached)?,
            Attempt::Nothing if !T::SLEEPS => self.refuse_or_bounce(reached)?,
            Attempt::Nothing => {
                self.fruitless += 1;
                if self.fruitless > MAX_FRUITLESS_ROUNDS {
                    self.bounce(reached)?;
                }
            }
        }
        Ok(())
    }

    /// Faults in what all the next pages take, if they are new, and lands it; whether a byte has.
    fn step_prepare_fresh(&mut self) -> Result<bool, Stop> {
        let Some((run, len)) = self.next_chunk(self.reachable) else { return Ok(false) };
        if self.fresh_pages(run) < run.pages() {
            return Ok(false);
        }
        self.claim_if_in_steps(len)?;
        let reached = self.fault_in(len)?;
        let Some(run) = PageRun::covering(self.pos, reached) else { return Ok(false) };
        let attempt = self.step_fresh(run, reached, run.pages())?;
        if let Attempt::Landed(bytes) = attempt {
            self.progressed(bytes);
        }
        Ok(matches!(attempt, Attempt::Landed(_)))
    }

    /// Claims the range of the whole request before a step of `len` bytes that is not all of it,
    /// and so before the page locks are let go of for the first time. No page lock is held.
    #[inline(always)]
    pub(super) fn claim_if_in_steps(&mut self, len: usize) -> Result<(), Stop> {
        if len < self.request.from.count() || self.pos > self.request.start {
            self.claim_all()?;
        }
        Ok(())
    }

    /// Claims the range of the whole request, unless it is claimed. Nothing of it has landed then,
    /// and no truncation cuts into it from here on: one that came before is seen now, so that an
    /// overwriter does not have to let its range go half way. No page lock is held.
    fn claim_all(&mut self) -> Result<(), Stop> {
        if self.claim.is_held() {
            return Ok(());
        }
        let all = self.all();
        self.claim.hold(self.inode, all, self.request.task)?;
        self.request.then = self.inode.size_changes.now();
        if self.mode == Mode::Overwrite && all.end > self.inode.size() {
            return Err(Stop::MustGrow);
        }
        Ok(())
    }

    /// Another writer claims some of the next `len` bytes: queues for the range of the request, or,
    /// holding it, waits for a claim that came ahead.
    #[cold]
    fn wait_for_claims(&mut self, len: usize) -> Result<(), Stop> {
        if !self.claim.is_held() {
            return self.claim_all();
        }
        // A shift that came before a claim ahead, and will find it.
        let inode = self.inode;
        inode.moving.wait(inode.mapping().cache().wait(), self.request.task)?;
        Ok(self.claim.wait(self.inode, self.next_bytes(len), self.request.task)?)
    }

    /// How many of the next bytes go to one page; `None` when there are none.
    fn next_piece(&self) -> Option<usize> {
        let (run, len) = self.next_chunk(self.reachable)?;
        Some(PageRun::single(run.first()).clip_len(self.pos, len))
    }

    /// Pages of `run` that lie wholly past the end, where only a growing write gets to.
    #[inline(always)]
    fn fresh_pages(&self, run: PageRun) -> u32 {
        if self.mode == Mode::Overwrite {
            return 0;
        }
        let first_new = self.inode.eof().page_from().max(run.first());
        run.end().get().saturating_sub(first_new.get()) as u32
    }

    /// Tries pages that need no preparation.
    #[inline]
    fn fast_path(&mut self, run: PageRun, len: usize) -> Result<Attempt, Stop> {
        self.came = 0;
        let bytes = self.next_bytes(len);
        hot::attempt(self.inode, &mut self.request, &mut self.claim, self.mode, run, bytes)
    }

    /// The page of the old end, if the bytes from the position on leave a gap behind it: it has to
    /// be locked with theirs while the end moves up, so that no mapping of it becomes writable
    /// meanwhile (P2).
    pub(super) fn end_page_before(&self, run: PageRun) -> Option<PageRun> {
        let size = self.inode.eof();
        let end_page = size.page();
        let leaves_gap =
            self.mode == Mode::Grow && size.offset_in_page() != 0 && end_page < run.first();
        leaves_gap.then(|| PageRun::single(end_page))
    }

    /// The general path, for as many pages as the task is promised. What it uses up of the promise
    /// is settled once the locks are gone.
    fn prepare_and_copy(
        &mut self,
        run: PageRun,
        len: usize,
        source: Source<'_, '_, K>,
    ) -> Result<Attempt, Stop> {
        if !self.inode.limits_dirty::<T>() {
            return self.prepare_and_copy_promised(run, len, source);
        }
        let task = self.request.task;
        let store = self.inode.mapping().store_id();
        let promised = match task.admit_dirty(store, run.pages()) {
            0 if !T::SLEEPS => return Err(Errno::WouldBlock.into()),
            0 => return Err(Errno::Interrupted.into()),
            pages => PageRun::new(run.first(), u64::from(pages.min(run.pages()))),
        };
        self.dirtied = 0;
        let len = promised.clip_len(self.pos, len);
        let attempt = self.prepare_and_copy_promised(promised, len, source);
        task.settle_dirty(self.dirtied);
        attempt
    }

    /// The general path: pages are prepared under their locks, then filled, and what came is
    /// committed.
    fn prepare_and_copy_promised(
        &mut self,
        run: PageRun,
        len: usize,
        source: Source<'_, '_, K>,
    ) -> Result<Attempt, Stop> {
        let inode = self.inode;
        // Strategy A copies only into pages that are uptodate; a page without a frame is not, and
        // gets one for the temporary page to land in.
        let uptodate_only =
            self.request.strategy == Strategy::PrepareCommit && matches!(source, Source::User);
        let mut batch = if uptodate_only { None } else { self.take_frames(run)? };
        let (before, bytes) = (self.end_page_before(run), self.next_bytes(len));
        let (mode, retention, piece) = (self.mode, self.retention(), (self.pos, len));
        let (token, task) = (&mut *self.request.token, self.request.task);
        let locked = lock_pages(inode, token.page_locks(), before, run, task);
        let no_memory = matches!(locked, Err(Errno::NoMemory));
        let locked = if no_memory && batch.take().is_some() {
            drop(locked);
            // The batch may be all the memory that there was, and a node of the index is missing:
            // the node goes first.
            lock_pages(inode, token.page_locks(), before, run, task)
        } else {
            locked
        };
        let (mut end_page, mut locked) = locked?;
        if let Some(end_page) = &end_page {
            inode.wait_stable(end_page, task)?;
        }
        inode.wait_stable(&locked, task)?;
        let then = self.request.then;
        if !admit(inode, self.mode, &self.claim, then, bytes)? {
            return Ok(Attempt::Foreign);
        }
        if let Some(reading) = self.reading.take() {
            reading.result(inode, &locked)?;
        }
        if uptodate_only && locked.uptodate() != locked.mask() {
            return Ok(Attempt::NotReady(0));
        }
        if self.mode == Mode::Grow {
            inode.write_protect_eof_page(end_page.as_mut().unwrap_or(&mut locked), inode.eof());
        }
        let claim = &self.claim;
        let is_cut = || claim.is_cut(inode, then);
        let plan = chunk::prepare(inode, mode, &mut locked, &mut batch, piece, retention, is_cut);
        let from = &mut *self.request.from;
        let copied = match source {
            Source::User => copy_in(&locked, from, self.pos, plan.len),
            Source::Temporary(page) => page.land(&locked, from, self.pos, plan.len),
        };
        if copied > 0 && !from.is_empty() {
            let end = self.pos + (copied + from.count()) as u64;
            self.claim.get_ahead(inode, ByteRange { start: self.request.start, end });
        }
        let Committed { accepted, dirtied } =
            plan.commit(inode, &mut locked, self.mode, copied, task);
        self.dirtied = dirtied;
        self.request.from.revert(copied - accepted);
        self.came = copied - accepted;
        if let Some(Halt::Unread(slots)) = plan.halt
            && plan.len == 0
        {
            drop(end_page);
            self.kept_frames = Some(locked.run());
            self.reading = submit(inode, locked, slots);
        } else {
            drop(locked);
            drop(end_page);
        }
        self.conclude(&plan, accepted)
    }

    /// What an attempt by `plan` has come to, of which `accepted` bytes landed.
    fn conclude(&mut self, plan: &Plan, accepted: usize) -> Result<Attempt, Stop> {
        self.overreached |= plan.overreached(accepted);
        self.refused_frames &= plan.len == 0;
        if let Some(Halt::Frames(missing)) = plan.halt {
            self.wanted_frames = missing;
        }
        match plan.halt {
            _ if accepted > 0 => Ok(Attempt::Landed(accepted)),
            _ if plan.len > 0 => Ok(Attempt::Nothing),
            Some(Halt::Failed(errno)) => Err(Stop::Failed(errno)),
            Some(Halt::Unread(_)) => Ok(Attempt::Reading),
            Some(Halt::Moving) => Ok(Attempt::Foreign),
            Some(Halt::Frames(missing)) => Ok(Attempt::NotReady(missing)),
            None => Ok(Attempt::NotReady(0)),
        }
    }

    /// Frames for `run`, allocated while nothing is locked (P3). A refusal is an error only when it
    /// comes twice without progress: the pages that are here already may take their bytes first
    /// (W9).
    fn take_frames(&mut self, run: PageRun) -> Result<Option<FrameBatch<'w, K>>, Stop> {
        let cache = self.inode.mapping().cache();
        let wanted = core::mem::take(&mut self.wanted_frames).max(self.fresh_pages(run));
        let locks = self.request.token.page_locks();
        match wanted {
            0 => Ok(None),
            pages => match cache.allocate_or_reclaim(locks, pages.min(run.pages())) {
                Ok(batch) => Ok(Some(batch)),
                Err(_) if !self.refused_frames => {
                    self.refused_frames = true;
                    Ok(None)
                }
                Err(errno) => Err(errno.into()),
            },
        }
    }

    /// Nothing came: make the source present, or, after too many rounds, carry the piece by hand.
    #[cold]
    fn fault_in_or_bounce(&mut self, len: usize) -> Result<(), Stop> {
        if !T::SLEEPS {
            return self.refuse_or_bounce(len);
        }
        self.fruitless += 1;
        if self.fruitless > MAX_FRUITLESS_ROUNDS {
            let piece = self.next_piece().unwrap_or(len);
            self.claim_if_in_steps(piece)?;
            return self.bounce(piece);
        }
        self.reachable = self.fault_in(len)?;
        Ok(())
    }

    /// Of a call that does not sleep: the next copy, of `len` bytes, came short. Says which byte of
    /// the source is missing. What lies before it goes through a temporary page, if the caller
    /// cannot help it, or has been asked too often (W1, W6).
    #[cold]
    fn refuse_or_bounce(&mut self, len: usize) -> Result<(), Stop> {
        let refused = self.would_fault(len);
        let kept = self.kept.as_mut();
        if self.came == 0 || kept.is_none_or(|kept| kept.is_worth_a_fault()) {
            return Err(refused);
        }
        self.bounce(self.next_piece().unwrap_or(len))
    }

    /// Of a call that does not sleep: the next copy, of `len` bytes, needs more of the source.
    #[cold]
    fn would_fault(&mut self, len: usize) -> Stop {
        let mut missing = self.request.from.clone();
        missing.advance(self.came);
        let range = missing.segment().prefix(len.saturating_sub(self.came));
        self.request.task.would_fault(range);
        if let Some(kept) = &mut self.kept {
            kept.missed(range.addr());
        }
        Errno::WouldBlock.into()
    }

    /// Faults in the next `len` bytes of the source, no more than the copy will use; how many can
    /// be read, not 0. A call that does not sleep leaves that to the copy.
    fn fault_in(&mut self, len: usize) -> Result<usize, Stop> {
        if !T::SLEEPS {
            return Ok(len);
        }
        K::trace(Trace::FaultIn(len));
        K::trace(Trace::MayFault);
        let missed = self.request.from.fault_in_readable(self.request.token, len);
        match len.saturating_sub(missed) {
            0 => Err(Stop::Failed(Errno::Fault)),
            reached => Ok(reached),
        }
    }

    /// Carries `len` bytes, which go to one page, through a temporary page: the copy may fault,
    /// since nothing is locked, and either moves bytes or fails for good (W6).
    #[cold]
    fn bounce(&mut self, len: usize) -> Result<(), Stop> {
        let inode = self.inode;
        let cache = inode.mapping().cache();
        let mut temporary = Bounce::allocate(cache, self.request.token)?;
        let request = &mut self.request;
        let got = if T::SLEEPS {
            temporary.fill_from(request.token, request.from, len)
        } else {
            temporary.fill_from_present(request.from, len)
        };
        request.from.revert(got);
        let Some(run) = PageRun::covering(self.pos, got) else {
            self.came = 0;
            return Err(if T::SLEEPS { Errno::Fault.into() } else { self.would_fault(len) });
        };
        loop {
            match self.prepare_and_copy(run, got, Source::Temporary(&temporary))? {
                Attempt::Landed(bytes) => {
                    self.progressed(bytes);
                    return Ok(());
                }
                Attempt::Foreign => return self.wait_for_claims(got),
                // A frame was missing, or the file was cut off: admission will say so. The bytes
                // are at hand: with a frame nothing else can come between (W6).
                Attempt::NotReady(_) | Attempt::Nothing | Attempt::Reading => {}
            }
        }
    }
}

/// Hands pages of a locked run to the store, to be read. The first one stays in the cache until the
/// next step has locked it. `None` if it moves: the next step waits.
#[cold]
fn submit<'i, K: Kernel>(
    inode: &'i Inode<K>,
    locked: LockedRun<'_, K>,
    slots: SlotMask,
) -> Option<Reading<'i, K>> {
    let index = locked.run().leaf_base().plus(u64::from(slots.first()?));
    let reading = Reading::of(inode, &locked, index);
    inode.hand_over(locked, slots).contains(index.bit()).then_some(reading).flatten()
}

/// Locks the pages of a step, and makes their leaf, with the page of the old end before them if
/// there is one.
///
/// # Errors
/// [`Errno::NoMemory`] for a node of the index; [`Errno::Interrupted`].
fn lock_pages<'t, K: Kernel, T: Task>(
    inode: &'t Inode<K>,
    locks: LockContext<'t>,
    end_page: Option<PageRun>,
    run: PageRun,
    task: &T,
) -> Result<(Option<LockedRun<'t, K>>, LockedRun<'t, K>), Errno> {
    let killed = Caller(task);
    let mapping = inode.mapping();
    match end_page {
        None => Ok((None, mapping.lock_or_create_killable(locks, run, &killed)?)),
        Some(end_page) => {
            let (end_page, locked) = mapping.lock_both(locks, end_page, run, &killed)?;
            Ok((Some(end_page), locked))
        }
    }
}
