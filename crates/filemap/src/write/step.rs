//! One step of a write: lock a run, admit, copy without faulting, commit; and what follows when
//! nothing came.
#![forbid(unsafe_code)]

use faultless_page::{
    Errno, FrameBatch, Kernel, LockContext, LockedRun, PAGE_SIZE, PageIndex, PageRun, Strategy,
    Trace,
};
use faultless_usercopy::UserMemory;

use super::chunk::{self, Outcome};
use super::hot::{self, Place, Refused, Tried, admit};
use super::mode::Mode;
use super::{Stop, Writer};
use crate::inode::Inode;
use crate::ranges::ByteRange;
use crate::task::Task;
use crate::token::PageLocks;
use crate::transfer::{Bounce, MAX_FRUITLESS_ROUNDS, copy_in};

/// What a step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// This many bytes landed, not 0.
    Landed(usize),
    /// Nothing landed: the source did not answer.
    Nothing,
    /// Something had to be waited for, or got, without locks: try again.
    Again,
    /// Not every page is ready for this kind of attempt: so many of them have no frame.
    NotReady(u32),
}

/// Where the bytes of a step come from.
#[derive(Clone, Copy)]
enum Source<'b, 'c, K: Kernel> {
    /// Straight from user memory, as far as the source answers.
    User,
    /// From a temporary page that was filled while nothing was locked.
    Temporary(&'b Bounce<'c, K>),
}

impl<'w, K: Kernel, U: UserMemory, T: Task> Writer<'w, '_, K, U, T> {
    /// Strategy B: copy first, and fault in only what did not come.
    #[inline]
    pub(super) fn step_begin_end(&mut self) -> Result<(), Stop> {
        let Some((run, len)) = self.next_chunk(self.reachable) else { return Ok(()) };
        if self.takes_steps(len) {
            self.hold_range()?;
        }
        // A page past the end is not there yet: looking for it would be a lock for nothing.
        let fresh = self.fresh_pages(run);
        let known = core::mem::take(&mut self.known_unready);
        let attempt =
            if fresh > 0 || known { Attempt::NotReady(fresh) } else { self.fast_path(run, len)? };
        match attempt {
            Attempt::Landed(bytes) => {
                self.progressed(bytes);
                Ok(())
            }
            other => self.prepare_or_fault_in(other, run, len),
        }
    }

    fn prepare_or_fault_in(
        &mut self,
        attempt: Attempt,
        run: PageRun,
        len: usize,
    ) -> Result<(), Stop> {
        let attempt = match attempt {
            Attempt::NotReady(missing) => {
                self.wanted_frames = self.wanted_frames.max(missing);
                self.prepare_and_copy(run, len, Source::User)?
            }
            other => other,
        };
        match attempt {
            Attempt::Landed(bytes) => self.progressed(bytes),
            Attempt::Nothing => self.fault_in_or_bounce(len)?,
            Attempt::Again | Attempt::NotReady(_) => {}
        }
        Ok(())
    }

    /// Strategy A: fault in first, one page at a time; straight into an uptodate page, else by a
    /// temporary one.
    pub(super) fn step_prepare_commit(&mut self) -> Result<(), Stop> {
        let Some(len) = self.next_piece() else { return Ok(()) };
        if self.takes_steps(len) {
            self.hold_range()?;
        }
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
            Attempt::Again => {}
            Attempt::NotReady(_) => self.bounce(reached)?,
            Attempt::Nothing => {
                self.fruitless += 1;
                if self.fruitless > MAX_FRUITLESS_ROUNDS {
                    self.bounce(reached)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a step of `len` bytes is not all of the request: it then has to hold its range.
    #[inline(always)]
    fn takes_steps(&self, len: usize) -> bool {
        len < self.from.count() || self.pos > self.start
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
        let first_new = self.inode.size().div_ceil(PAGE_SIZE as u64).max(run.first().get());
        run.end().get().saturating_sub(first_new) as u32
    }

    /// The hot path, tried first: every page uptodate and backed.
    #[inline]
    fn fast_path(&mut self, run: PageRun, len: usize) -> Result<Attempt, Stop> {
        let place = Place { mode: self.mode, pos: self.pos, run, len };
        let whole = self.request();
        let range = self.claimed.range.as_ref();
        let inode = self.inode;
        let task = self.task;
        let refused = match hot::attempt(inode, self.may, self.user, self.from, &place, range, task)
        {
            Ok(Tried::Landed) => return Ok(Attempt::Landed(len)),
            Ok(Tried::Short(locked, copied)) => {
                self.claimed.get_ahead(inode, whole);
                hot::mark_short(locked, &place, copied);
                return Ok(Attempt::Landed(copied));
            }
            Ok(Tried::Nothing) => return Ok(Attempt::Nothing),
            Ok(Tried::NotReady(missing)) => return Ok(Attempt::NotReady(missing)),
            Err(refused) => refused,
        };
        self.wait_for_admission(refused)
    }

    /// The page of the old end, if the bytes from the position on leave a gap behind it: it has to
    /// be locked with theirs while the end moves up, so that no mapping of it becomes writable
    /// meanwhile (P2).
    fn end_page_before(&self, run: PageRun) -> Option<PageRun> {
        let size = self.inode.size();
        let end_page = PageIndex::containing(size);
        let leaves_gap = self.mode == Mode::Grow
            && !size.is_multiple_of(PAGE_SIZE as u64)
            && end_page < run.first();
        leaves_gap.then(|| PageRun::single(end_page))
    }

    /// The general path: pages are prepared under their locks, then filled, and what came is
    /// committed.
    fn prepare_and_copy(
        &mut self,
        run: PageRun,
        len: usize,
        source: Source<'_, '_, K>,
    ) -> Result<Attempt, Stop> {
        let inode = self.inode;
        // Strategy A copies only into pages that are uptodate; a page without a frame is not, and
        // gets one for the temporary page to land in.
        let uptodate_only =
            self.strategy == Strategy::PrepareCommit && matches!(source, Source::User);
        let mut batch = if uptodate_only { None } else { self.take_frames(run)? };
        let (task, before) = (self.task, self.end_page_before(run));
        let locked = lock_pages(inode, self.may.page_locks(), before, run, task);
        let no_memory = matches!(locked, Err(Errno::NoMemory));
        let locked = if no_memory && batch.take().is_some() {
            drop(locked);
            // The batch may be all the memory that there was, and a node of the index is missing:
            // the node goes first.
            lock_pages(inode, self.may.page_locks(), before, run, task)
        } else {
            locked
        };
        let (mut end_page, mut locked) = locked?;
        let range = self.claimed.range.as_ref();
        if let Err(refused) = admit(inode, self.mode, range, self.pos, len) {
            drop(locked);
            drop(end_page);
            return self.wait_for_admission(refused);
        }
        if uptodate_only && locked.uptodate() != locked.mask() {
            return Ok(Attempt::NotReady(0));
        }
        if self.mode == Mode::Grow {
            inode.write_protect_eof_page(end_page.as_mut().unwrap_or(&mut locked), inode.size());
        }
        let plan = chunk::prepare(inode, self.mode, &mut locked, &mut batch, self.pos, len);
        let copied = match source {
            Source::User => copy_in(&locked, self.user, self.from, self.pos, plan.len),
            Source::Temporary(page) => page.land(&locked, self.from, self.pos, plan.len),
        };
        if copied > 0 && !self.from.is_empty() {
            let end = self.pos + (copied + self.from.count()) as u64;
            self.claimed.get_ahead(inode, ByteRange { start: self.start, end });
        }
        let (outcome, removed) = plan.commit(inode, &mut locked, self.mode, copied);
        self.from.revert(copied - outcome.accepted);
        drop(locked);
        drop(end_page);
        drop(removed);
        self.attempt_from(outcome)
    }

    fn attempt_from(&mut self, outcome: Outcome) -> Result<Attempt, Stop> {
        self.overreached |= outcome.overreached;
        self.wanted_frames = outcome.missing;
        self.refused_frames &= outcome.offered == 0;
        match outcome {
            Outcome { accepted: 1.., .. } => Ok(Attempt::Landed(outcome.accepted)),
            Outcome { offered: 1.., .. } => Ok(Attempt::Nothing),
            Outcome { error: Some(errno), .. } => Err(Stop::Failed(errno)),
            Outcome { .. } => Ok(Attempt::NotReady(outcome.missing)),
        }
    }

    /// Frames for `run`, allocated while nothing is locked (P3). A refusal is an error only when it
    /// comes twice without progress: the pages that are here already may take their bytes first
    /// (W9).
    fn take_frames(&mut self, run: PageRun) -> Result<Option<FrameBatch<'w, K>>, Stop> {
        match core::mem::take(&mut self.wanted_frames).max(self.fresh_pages(run)) {
            0 => Ok(None),
            pages => match self.inode.mapping().cache().allocate(pages.min(run.pages())) {
                Ok(batch) => Ok(Some(batch)),
                Err(_) if !self.refused_frames => {
                    self.refused_frames = true;
                    Ok(None)
                }
                Err(errno) => Err(errno.into()),
            },
        }
    }

    /// Queues for the range of the request, or, holding it, waits for a claim that came ahead.
    #[cold]
    fn wait_for_admission(&mut self, refused: Refused) -> Result<Attempt, Stop> {
        match (refused, &self.claimed.range) {
            (Refused::OutsideSize, _) => return Err(Stop::MustGrow),
            (Refused::Killed, _) => return Err(Stop::Failed(Errno::Interrupted)),
            (Refused::Foreign(range), Some(own)) => {
                self.inode.ranges.wait_for(range, own, self.task)?;
            }
            (Refused::Foreign(_), None) => self.hold_range()?,
        }
        Ok(Attempt::Again)
    }

    /// What the first attempt could not read is faulted in before the second one.
    pub(super) fn fault_in_unanswered(&mut self, len: usize) -> Result<(), Stop> {
        if len == 0 { Ok(()) } else { self.fault_in_or_bounce(len) }
    }

    /// Nothing came: make the source present, or, after too many rounds, carry the piece by hand.
    #[cold]
    fn fault_in_or_bounce(&mut self, len: usize) -> Result<(), Stop> {
        self.fruitless += 1;
        if self.fruitless > MAX_FRUITLESS_ROUNDS {
            let piece = self.next_piece().unwrap_or(len);
            if self.takes_steps(piece) {
                self.hold_range()?;
            }
            return self.bounce(piece);
        }
        self.reachable = self.fault_in(len)?;
        Ok(())
    }

    /// Faults in the next `len` bytes of the source, no more than the copy will use; how many can
    /// be read, not 0.
    fn fault_in(&mut self, len: usize) -> Result<usize, Stop> {
        K::trace(Trace::FaultIn(len));
        K::trace(Trace::MayFault);
        let missed = self.from.fault_in_readable(self.user, self.may, len);
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
        let mut temporary = Bounce::allocate(cache)?;
        let got = temporary.fill_from(self.user, self.may, self.from, len);
        self.from.revert(got);
        let Some(run) = PageRun::covering(self.pos, got) else {
            return Err(Stop::Failed(Errno::Fault));
        };
        loop {
            match self.prepare_and_copy(run, got, Source::Temporary(&temporary))? {
                Attempt::Landed(bytes) => {
                    self.progressed(bytes);
                    return Ok(());
                }
                Attempt::Again => return Ok(()),
                // A frame was missing, or the file was cut off: admission will say so. The bytes
                // are at hand: with a frame nothing else can come between (W6).
                Attempt::NotReady(_) | Attempt::Nothing => {}
            }
        }
    }
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
    let killed = || task.fatal_signal_pending();
    let mapping = inode.mapping();
    match end_page {
        None => Ok((None, mapping.lock_or_create_killable(locks, run, &killed)?)),
        Some(end_page) => {
            let (end_page, locked) = mapping.lock_both(locks, end_page, run, &killed)?;
            Ok((Some(end_page), locked))
        }
    }
}
