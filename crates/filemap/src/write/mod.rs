//! `write`: user memory into the page cache, without ever faulting under a page lock.
//!
//! This module is the driver: limits, the choice between overwriting and growing, and the loop.
//! Around it:
//! - [`hot`]: one run that needs no preparation;
//! - [`chunk`]: one locked run: prepare pages, commit what landed;
//! - [`step`]: the two strategies' single steps, and the temporary page they share.
//!
//! A write never starts again: what has landed is not written twice, unless a truncation has cut it
//! off meanwhile. See [`ranges`](crate::ranges).
//!
//! A write inside the size takes no inode lock. It begins as an *overwrite*; if it does not lie
//! inside the size (any more), it becomes a *growing* write, under I. What a byte passes on its way
//! is in `ARCHITECTURE.md`, with the lock order.
#![forbid(unsafe_code)]

mod chunk;
mod hot;
mod mode;
mod step;

use core::mem;
use core::pin::{Pin, pin};

use faultless_page::{Errno, Kernel, PageRun, Strategy};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use crate::inode::Inode;
use crate::limits;
use crate::options::{Position, WriteOptions, Written};
use crate::ranges::{ByteRange, RangeGuard, RangeRequest};
use crate::size_changes::Moment;
use crate::task::Task;

use hot::Tried;
use mode::Mode;

/// Why the loop ended before the request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The request no longer lies inside the size: go on under I.
    MustGrow,
    /// An error; what landed before it stands.
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// Where a request begins, and how far its first attempt came.
struct Start {
    pos: u64,
    /// Before the first look at the size.
    then: Moment,
    landed: usize,
    /// Bytes for which the source did not answer at all: to be faulted in before anything else.
    unanswered: usize,
    /// Frames that are missing, if the pages are known not to be ready.
    missing: Option<u32>,
}

/// Stands for a growing write that is under way, under I. Dropped by a callback that unwinds: bytes
/// may have been copied past the end that do not count, and room may have been made there. They go
/// before the file grows, as after a truncation that was left incomplete (P2, W9).
struct Unwinding<'i, K: Kernel> {
    inode: &'i Inode<K>,
}

impl<K: Kernel> Drop for Unwinding<'_, K> {
    #[cold]
    fn drop(&mut self) {
        self.inode.size_changes.cut_begins(self.inode.size());
    }
}

/// A writer's claim on the bytes of its request.
struct Claimed<'w, K: Kernel> {
    /// Its entry in the queue of claims.
    request: Pin<&'w RangeRequest<'w, K>>,
    /// Held once the request needs more than one step.
    range: Option<RangeGuard<'w, K>>,
}

/// One request on its way.
struct Writer<'w, 'i, K: Kernel, U, T> {
    inode: &'w Inode<K>,
    may: &'w mut MayFault,
    user: &'w U,
    from: &'w mut IovIter<'i>,
    task: &'w T,
    strategy: Strategy,
    mode: Mode,
    /// Position of the request's first byte, and of the next one to land.
    start: u64,
    pos: u64,
    /// When the request began: what was cut off since has to be written again.
    then: Moment,
    claimed: Claimed<'w, K>,
    /// Bytes that the next step may use: what the last fault-in could reach.
    reachable: usize,
    /// Frames that the next step needs before it locks anything (P3).
    wanted_frames: u32,
    /// The last allocation of frames failed, and nothing could be prepared since.
    refused_frames: bool,
    /// The first run was found not to be ready for the fast path.
    known_unready: bool,
    fruitless: u32,
    /// Space was begun past what landed: give it back at the end (W9).
    overreached: bool,
}

impl<K: Kernel> Inode<K> {
    /// Writes the bytes of `from`, which lie in `user`, to the file.
    ///
    /// Returns how many bytes landed: all of the (clipped) request, or exactly its readable prefix
    /// (W1), or what fitted (W9), or what landed before a fatal signal (W10). `from` has moved on
    /// by just that many; the rest of it is as it was. On an error no byte of the file and not its
    /// size has changed; the times may have been stamped (W12).
    ///
    /// May sleep. No lock that the fault handler could want is held: `may` says so. Takes I when
    /// the file grows. Asks the task to [throttle](Task::throttle) after what landed, with nothing
    /// held (L6).
    ///
    /// # Errors
    /// - [`Errno::Fault`]: not even the first byte is readable (W1).
    /// - [`Errno::FileTooBig`]: the position is at or beyond a limit; with `SIGXFSZ` if it is the
    ///   task's (W8).
    /// - [`Errno::NoSpace`], [`Errno::Io`], [`Errno::NoMemory`]: from the store or the frame
    ///   allocator, before the first byte landed (W9).
    /// - [`Errno::Interrupted`]: a fatal signal, before the first byte landed (W10).
    /// - With [`WriteOptions::sync`], whatever syncing returned, even though bytes landed (W11).
    #[doc(alias = "generic_file_write_iter")]
    #[inline]
    pub fn write<U: UserMemory, T: Task>(
        &self,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        if from.is_empty() {
            let end = match options.position {
                Position::At(pos) => pos,
                Position::Append => self.size(),
            };
            return Ok(Written { bytes: 0, end });
        }
        let written = match options.position {
            Position::At(pos) => self.write_at(may, user, from, pos, options, task)?,
            Position::Append => self.append(may, user, from, options, task)?,
        };
        if written.bytes > 0 {
            task.throttle();
            if let Some(kind) = options.sync {
                let range = written.end - written.bytes as u64..written.end;
                self.fsync_range(may, kind, range, task)?;
            }
        }
        Ok(written)
    }

    #[inline]
    fn write_at<U: UserMemory, T: Task>(
        &self,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        pos: u64,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        let asked = from.count();
        let len = limits::clip(self.max_size(), pos, asked, task)?;
        from.truncate(len);
        self.file_modified(task);
        let then = self.size_changes.now();
        let mut start = Start { pos, then, landed: 0, unanswered: 0, missing: None };
        let end = pos + len as u64;
        let mut slot = pin!(None);
        let mut claimed = None;
        if end <= self.size()
            && options.strategy.unwrap_or(self.strategy()) == Strategy::BeginEnd
            && !task.fatal_signal_pending()
            && let Some(run) = PageRun::covering_all(pos, len)
        {
            let place = hot::Place { mode: Mode::Overwrite, pos, run, len };
            match hot::attempt(self, may, user, from, &place, None, task) {
                Ok(Tried::Landed) => {
                    from.reexpand(asked - len);
                    return Ok(Written { bytes: len, end });
                }
                Ok(Tried::Short(locked, copied)) => {
                    slot.set(Some(self.ranges.request()));
                    claimed = slot.into_ref().as_pin_ref().map(|request| {
                        Claimed::ahead(self, request, ByteRange { start: pos, end })
                    });
                    hot::mark_short(locked, &place, copied);
                    start.landed = copied;
                }
                Ok(Tried::Nothing) => start.unanswered = len,
                Ok(Tried::NotReady(missing)) => start.missing = Some(missing),
                Err(_) => {}
            }
        }
        if let Some(claimed) = claimed {
            return self.write_in_steps(may, user, from, start, claimed, asked, options, task);
        }
        let request = pin!(self.ranges.request());
        let claimed = Claimed { request: request.as_ref(), range: None };
        self.write_in_steps(may, user, from, start, claimed, asked, options, task)
    }

    /// Goes on where the first attempt ended.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the request as it stands, taken apart")]
    fn write_in_steps<'w, U: UserMemory, T: Task>(
        &'w self,
        may: &'w mut MayFault,
        user: &'w U,
        from: &'w mut IovIter<'_>,
        start: Start,
        claimed: Claimed<'w, K>,
        asked: usize,
        options: &WriteOptions,
        task: &'w T,
    ) -> Result<Written, Errno> {
        let unanswered = start.unanswered;
        let mut writer = Writer::new(self, may, user, from, start, claimed, options, task);
        let stop = if writer.request().end <= self.size() {
            writer.fault_in_unanswered(unanswered).and_then(|()| writer.run())
        } else {
            Err(Stop::MustGrow)
        };
        let stop = match stop {
            Err(Stop::MustGrow) => {
                writer.release_range();
                let killed = || task.fatal_signal_pending();
                match self.lock.lock_killable(self.mapping().cache().wait(), &killed) {
                    Ok(_size_lock) => {
                        writer.go_back_to_the_cut();
                        writer.grow()
                    }
                    Err(errno) => {
                        // What was cut off meanwhile is not in the file, and not reported.
                        writer.go_back_to_the_cut();
                        Err(errno.into())
                    }
                }
            }
            other => other,
        };
        writer.finish(stop, asked)
    }

    fn append<U: UserMemory, T: Task>(
        &self,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        let killed = || task.fatal_signal_pending();
        let size_lock = self.lock.lock_killable(self.mapping().cache().wait(), &killed)?;
        let pos = self.size();
        let asked = from.count();
        let len = limits::clip(self.max_size(), pos, asked, task)?;
        from.truncate(len);
        self.file_modified(task);
        let then = self.size_changes.now();
        let start = Start { pos, then, landed: 0, unanswered: 0, missing: None };
        let request = pin!(self.ranges.request());
        let claimed = Claimed { request: request.as_ref(), range: None };
        let mut writer = Writer::new(self, may, user, from, start, claimed, options, task);
        let stop = writer.grow();
        let written = writer.finish(stop, asked);
        drop(size_lock);
        written
    }
}

impl<'w, K: Kernel> Claimed<'w, K> {
    /// A claim that has got ahead.
    #[cold]
    fn ahead(inode: &'w Inode<K>, request: Pin<&'w RangeRequest<'w, K>>, range: ByteRange) -> Self {
        let mut claimed = Self { request, range: None };
        claimed.get_ahead(inode, range);
        claimed
    }

    /// Claims a request ahead of all others, whose pages are all locked and of which a part is
    /// about to land.
    fn get_ahead(&mut self, inode: &'w Inode<K>, range: ByteRange) {
        if self.range.is_none() {
            let wait = inode.mapping().cache().wait();
            self.range = Some(inode.ranges.get_ahead(self.request, wait, range));
        }
    }
}

impl<'w, 'i, K: Kernel, U: UserMemory, T: Task> Writer<'w, 'i, K, U, T> {
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the request as it stands, taken apart")]
    fn new(
        inode: &'w Inode<K>,
        may: &'w mut MayFault,
        user: &'w U,
        from: &'w mut IovIter<'i>,
        start: Start,
        claimed: Claimed<'w, K>,
        options: &WriteOptions,
        task: &'w T,
    ) -> Self {
        let strategy = options.strategy.unwrap_or(inode.strategy());
        Self {
            inode,
            may,
            user,
            from,
            task,
            strategy,
            mode: Mode::Overwrite,
            start: start.pos,
            pos: start.pos + start.landed as u64,
            then: start.then,
            claimed,
            reachable: usize::MAX,
            wanted_frames: start.missing.unwrap_or(0),
            refused_frames: false,
            known_unready: start.missing.is_some(),
            fruitless: 0,
            overreached: false,
        }
    }

    /// The loop: each round lands a byte, resolves a fault, waits, or ends (W6).
    #[inline]
    fn run(&mut self) -> Result<(), Stop> {
        loop {
            if self.task.fatal_signal_pending() {
                return Err(Stop::Failed(Errno::Interrupted));
            }
            match self.strategy {
                Strategy::BeginEnd => self.step_begin_end()?,
                Strategy::PrepareCommit => self.step_prepare_commit()?,
            }
            if self.from.is_empty() {
                return Ok(());
            }
            self.task.throttle();
        }
    }

    /// The loop under I. The store learns of the new size with the next writeback or sync.
    fn grow(&mut self) -> Result<(), Stop> {
        self.mode = Mode::Grow;
        // What an earlier truncation left past the end must not come back (P2).
        self.inode.complete_cut(self.may, self.task)?;
        let unwinding = Unwinding { inode: self.inode };
        let stop = self.run();
        mem::forget(unwinding);
        if self.overreached {
            self.inode.give_back(self.may, self.task);
        }
        stop
    }

    /// Lets the range go, before I is taken: I ranks first.
    #[cold]
    fn release_range(&mut self) {
        self.claimed.range = None;
    }

    /// Goes back to the first byte that a truncation has cut off since the request began. Before
    /// that, what landed stays, and what other writers have made of it.
    #[cold]
    fn go_back_to_the_cut(&mut self) {
        let cut = self.inode.size_changes.lowest_cut_since(self.then).max(self.start);
        if cut < self.pos {
            self.from.revert((self.pos - cut) as usize);
            self.pos = cut;
        }
    }

    /// The result, with the iterator standing just behind what landed. `asked` is the count before
    /// clipping.
    #[inline]
    fn finish(self, stop: Result<(), Stop>, asked: usize) -> Result<Written, Errno> {
        debug_assert!(self.start <= self.pos, "a write goes back to its begin at most");
        let bytes = (self.pos - self.start) as usize;
        debug_assert!(bytes <= asked, "no more lands than was asked for");
        self.from.reexpand(asked - bytes);
        match stop {
            Err(Stop::Failed(errno)) if bytes == 0 => Err(errno),
            // A growing write does not ask to grow again; the arm is for the type.
            Err(Stop::Failed(_) | Stop::MustGrow) | Ok(()) => Ok(Written { bytes, end: self.pos }),
        }
    }

    /// The whole request as a range.
    fn request(&self) -> ByteRange {
        ByteRange { start: self.start, end: self.pos + self.from.count() as u64 }
    }

    /// The run of pages and the number of bytes that the next step works on.
    #[inline(always)]
    fn next_chunk(&self, most: usize) -> Option<(PageRun, usize)> {
        let len = self.from.count().min(most);
        let run = PageRun::covering(self.pos, len)?;
        Some((run, run.clip_len(self.pos, len)))
    }

    /// Claims the range of the whole request, before the page locks are let go of for the first
    /// time. No page lock is held.
    #[cold]
    fn hold_range(&mut self) -> Result<(), Stop> {
        if self.claimed.range.is_none() {
            let wait = self.inode.mapping().cache().wait();
            let (request, range) = (self.claimed.request, self.request());
            let held = self.inode.ranges.acquire(request, wait, range, self.task)?;
            self.claimed.range = Some(held);
        }
        Ok(())
    }

    /// Moves on by `bytes` that landed.
    #[inline(always)]
    fn progressed(&mut self, bytes: usize) {
        debug_assert!(bytes > 0, "a round that lands nothing is no progress");
        self.pos += bytes as u64;
        self.reachable = usize::MAX;
        self.fruitless = 0;
    }
}
