//! The loop over a write request: steps until it is done, and what growing the file takes.
//!
//! Neighbours: [`step`](super::step) has the single steps. It owns the position; locks are taken in
//! the steps, I by the caller.
#![forbid(unsafe_code)]

use core::mem;

use faultless_page::{Errno, Kernel, PageRun, SlotMask, Strategy};
use faultless_usercopy::UserMemory;

use super::request::{Attempt, Claim, Mode, Request, Stop};
use crate::drop_behind::DropBehind;
use crate::inode::Inode;
use crate::options::Retention;
use crate::options::Written;
use crate::ranges::ByteRange;
use crate::task::Task;
use crate::token::{InodeLocks, PageLocks};
use crate::uptodate::{Kept, Reading};

/// One request on its way, to a file that is borrowed for `'f`.
pub(super) struct Writer<'w, 'i, 'f, K: Kernel, U: UserMemory + ?Sized, T> {
    pub(super) inode: &'f Inode<K>,
    pub(super) request: Request<'w, 'i, U, T>,
    pub(super) claim: Claim<'w, K>,
    pub(super) mode: Mode,
    /// What was tried of the whole request before, until the first step takes it into account.
    tried: Option<Attempt>,
    /// Position of the next byte to land.
    pub(super) pos: u64,
    /// Bytes that the next step may use: what the last fault-in could reach.
    pub(super) reachable: usize,
    /// Rounds since a byte landed.
    pub(super) fruitless: u32,
    /// Frames that the next step needs before it locks anything (P3).
    pub(super) wanted_frames: u32,
    /// The last allocation of frames failed, and nothing could be prepared since.
    pub(super) refused_frames: bool,
    /// Pages that kept their new frames while some of them were read. Those that get nothing go
    /// when the write ends.
    pub(super) kept_frames: Option<PageRun>,
    /// A page that is being read for the next step.
    pub(super) reading: Option<Reading<'f, K>>,
    /// The store was asked for room past what landed: give it back at the end (W9).
    pub(super) overreached: bool,
    /// Pages that became dirty in the step that is under way.
    pub(super) dirtied: u32,
    /// What the open file drops behind its writes, if it does.
    behind: Option<&'w DropBehind<K>>,
    /// Bytes that the last copy moved and that were refused.
    pub(super) came: usize,
    /// What the next call has to know, if this one does not sleep.
    pub(super) kept: Kept<'w, 'f, K>,
}

/// Stands for a growing write that is under way, under I. Dropped by a callback that unwinds: bytes
/// may have been copied past the end that do not count, and room may have been made there. They go
/// before the file grows, as after a truncation that was left incomplete (P2, W9).
pub(super) struct Unwinding<'w, K: Kernel> {
    inode: &'w Inode<K>,
}

impl<'w, K: Kernel> Unwinding<'w, K> {
    #[inline(always)]
    pub(super) const fn of(inode: &'w Inode<K>) -> Self {
        Self { inode }
    }

    /// The write is over, and nothing has unwound.
    #[inline(always)]
    pub(super) fn forget(self) {
        mem::forget(self);
    }
}

impl<K: Kernel> Drop for Unwinding<'_, K> {
    #[cold]
    fn drop(&mut self) {
        self.inode.size_changes.cut_begins(self.inode.eof());
    }
}

impl<'w, 'i, 'f, K, U, T> Writer<'w, 'i, 'f, K, U, T>
where
    K: Kernel,
    U: UserMemory<Token: InodeLocks> + ?Sized,
    T: Task,
{
    #[inline]
    pub(super) fn new(
        inode: &'f Inode<K>,
        request: Request<'w, 'i, U, T>,
        claim: Claim<'w, K>,
        tried: Option<Attempt>,
        behind: Option<&'w DropBehind<K>>,
        mut kept: Kept<'w, 'f, K>,
    ) -> Self {
        let reading = kept.as_mut().and_then(|kept| kept.reading.take());
        Self {
            inode,
            pos: request.start,
            request,
            claim,
            mode: Mode::Overwrite,
            tried,
            reachable: usize::MAX,
            fruitless: 0,
            wanted_frames: 0,
            refused_frames: false,
            kept_frames: None,
            reading,
            overreached: false,
            dirtied: 0,
            behind,
            came: 0,
            kept,
        }
    }

    /// Writes inside the size, without I.
    pub(super) fn overwrite(&mut self) -> Result<(), Stop> {
        if let Some(Attempt::Landed(bytes)) = self.tried {
            self.progressed(bytes);
            self.tried = None;
        }
        if self.rest().end > self.inode.size() {
            return Err(Stop::MustGrow);
        }
        self.run()
    }

    /// Writes under I. The store learns of the new size with the next writeback or sync.
    pub(super) fn grow(&mut self) -> Result<(), Stop> {
        self.mode = Mode::Grow;
        // What an earlier truncation left past the end must not come back (P2).
        self.inode.complete_cut(self.request.token, self.request.task)?;
        let unwinding = Unwinding::of(self.inode);
        let stop = self.run();
        unwinding.forget();
        if self.overreached {
            self.inode.give_back(self.request.token, self.request.task);
        }
        stop
    }

    /// The loop: each round lands a byte, resolves a fault, waits, or ends (W6). The first round
    /// goes on from the attempt that was made, if any.
    #[inline]
    fn run(&mut self) -> Result<(), Stop> {
        loop {
            if self.request.task.fatal_signal_pending() {
                return Err(Stop::Failed(Errno::Interrupted));
            }
            let begin = self.pos;
            match self.request.strategy {
                Strategy::BeginEnd => {
                    let tried = self.tried.take();
                    self.step_begin_end(tried)?;
                }
                Strategy::PrepareCommit => self.step_prepare_commit()?,
            }
            if let Some(behind) = self.behind
                && begin < self.pos
            {
                behind.wrote(begin, self.pos);
            }
            if self.request.from.is_empty() {
                return Ok(());
            }
            self.request.task.throttle();
            if let Some(behind) = self.behind {
                behind.work(self.inode, self.request.token, self.request.task);
            }
        }
    }

    /// Whether the pages are to stay in the cache.
    pub(super) fn retention(&self) -> Retention {
        if self.behind.is_some() { Retention::Transient } else { Retention::Kept }
    }

    /// Goes back to the first byte that a truncation has cut off since the request began. Before
    /// that, what landed stays, and what other writers have made of it.
    #[cold]
    pub(super) fn go_back_to_the_cut(&mut self) {
        let cut = self.inode.size_changes.lowest_cut_since(self.request.then);
        let cut = cut.get().max(self.request.start);
        if cut < self.pos {
            self.request.from.revert((self.pos - cut) as usize);
            self.pos = cut;
        }
    }

    /// Takes frames back that were kept for bytes which did not come (W9). What is not uptodate is
    /// in use by a thread that has it locked, or by none.
    #[cold]
    fn take_back_kept(&mut self, run: PageRun) {
        let mapping = self.inode.mapping();
        let mut rest = Some(run);
        while let Some(piece) = rest {
            let locks = self.request.token.page_locks();
            let Some(mut locked) = mapping.try_lock_free(locks, piece) else { return };
            // A page that the next call waits for keeps its frame.
            let read = self.reading.as_ref().map_or(SlotMask::EMPTY, |page| page.slot_in(&locked));
            let unused = locked.present() - locked.uptodate() - read;
            drop(locked.remove(unused));
            let left = piece.end().get() - locked.run().end().get();
            rest = (left > 0).then(|| PageRun::new(locked.run().end(), left));
        }
    }

    /// The result, with the iterator standing just behind what landed.
    #[inline]
    pub(super) fn finish(mut self, stop: Result<(), Stop>) -> Result<Written, Errno> {
        if let (Err(_), Some(run)) = (&stop, self.kept_frames) {
            self.take_back_kept(run);
        }
        if let Some(kept) = self.kept {
            kept.reading = self.reading;
            if self.pos > self.request.start {
                kept.progressed();
            }
        }
        let Request { from, start, asked, .. } = self.request;
        debug_assert!(start <= self.pos, "a write goes back to its begin at most");
        let bytes = (self.pos - start) as usize;
        debug_assert!(bytes <= asked, "no more lands than was asked for");
        from.reexpand(asked - bytes);
        match stop {
            Err(Stop::Failed(errno)) if bytes == 0 => Err(errno),
            // A growing write does not ask to grow again; the arm is for the type.
            Err(Stop::Failed(_) | Stop::MustGrow) | Ok(()) => Ok(Written { bytes, end: self.pos }),
        }
    }

    /// The bytes of the request: those that landed, and the rest.
    pub(super) fn all(&self) -> ByteRange {
        self.request.range_to(self.rest().end)
    }

    /// The bytes that have not landed.
    fn rest(&self) -> ByteRange {
        self.next_bytes(self.request.from.count())
    }

    /// The run of pages and the number of bytes that the next step works on.
    #[inline(always)]
    pub(super) fn next_chunk(&self, most: usize) -> Option<(PageRun, usize)> {
        let len = self.request.from.count().min(most);
        let run = PageRun::covering(self.pos, len)?;
        Some((run, run.clip_len(self.pos, len)))
    }

    /// The next `len` bytes.
    #[inline(always)]
    pub(super) fn next_bytes(&self, len: usize) -> ByteRange {
        ByteRange { start: self.pos, end: self.pos + len as u64 }
    }

    /// Moves on by `bytes` that landed.
    #[inline(always)]
    pub(super) fn progressed(&mut self, bytes: usize) {
        debug_assert!(bytes > 0, "a round that lands nothing is no progress");
        self.pos += bytes as u64;
        self.reachable = usize::MAX;
        self.fruitless = 0;
    }
}
