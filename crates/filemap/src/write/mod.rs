//! `write`: user memory into the page cache, without ever faulting under a page lock.
//!
//! This module is the driver: limits, the choice between overwriting and growing, and the loop. Around it:
//! - [`hot`]: one run that needs no preparation;
//! - [`chunk`]: one locked run: prepare pages, settle what landed;
//! - [`step`]: the two strategies' single steps, and the temporary page they share.
//!
//! A write inside the size takes no inode lock. It begins as an *overwrite*; if it does not lie inside
//! the size (any more), it becomes a *growing* write, under I. What a byte passes on its way is in
//! `ARCHITECTURE.md`, with the lock order.
#![forbid(unsafe_code)]

mod chunk;
mod hot;
pub(crate) mod limits;
mod step;

use faultless_page::{AddressSpaceOperations, Errno, Kernel, PageRun, Strategy};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use crate::inode::Inode;
use crate::options::{Position, WriteOptions, Written};
use crate::ranges::{ByteRange, RangeGuard};
use crate::task::Task;

/// Rounds without a byte of progress after which a piece goes through a temporary page (W6).
const MAX_FRUITLESS_ROUNDS: u32 = 3;

/// Whether the size may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All bytes lie inside the size; I is not held.
    Overwrite,
    /// I is held.
    Grow,
}

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
struct Start<'w, K: Kernel> {
    pos: u64,
    landed: usize,
    /// Bytes for which the source did not answer at all: to be faulted in before anything else.
    unanswered: usize,
    /// Frames that are missing, if the pages are known not to be ready.
    missing: Option<u32>,
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
    /// Held once the request needs more than one step.
    range: Option<RangeGuard<'w, K>>,
    /// Bytes that the next step may use: what the last fault-in could reach.
    reachable: usize,
    /// Frames that the next step needs before it locks anything (P3).
    wanted_frames: u32,
    /// The last allocation of frames failed, and nothing could be prepared since.
    refused_frames: bool,
    /// The first run was found not to be ready for a straight copy.
    known_unready: bool,
    fruitless: u32,
    /// Bytes that landed before a restart (see [`Writer::hold_range`]).
    landed_before: usize,
    /// Space was begun past what landed: give it back at the end (W9).
    overreached: bool,
}

impl<K: Kernel> Inode<K> {
    /// Writes the bytes of `from`, which lie in `user`, to the file.
    ///
    /// Returns how many bytes landed: all of the (clipped) request, or exactly its readable prefix (W1), or
    /// what fitted (W9), or what landed before a fatal signal (W10). `from` has moved on by just that many;
    /// the rest of it is as it was. On an error nothing has changed, the size included.
    ///
    /// May sleep. No lock that the fault handler could want is held: `may` says so. Takes I when the
    /// file grows.
    ///
    /// # Errors
    /// - [`Errno::Fault`]: not even the first byte is readable (W1).
    /// - [`Errno::FileTooBig`]: the position is at or beyond a limit; with `SIGXFSZ` if it is the task's (W8).
    /// - [`Errno::NoSpace`], [`Errno::Io`], [`Errno::NoMemory`]: from the store or the frame allocator,
    ///   before the first byte landed (W9).
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
        if let Some(kind) = options.sync
            && written.bytes > 0
        {
            self.fsync_range(may, kind, written.end - written.bytes as u64..written.end)?;
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
        self.touch(task);
        let end = pos + len as u64;
        let mut writer = Start { pos, landed: 0, unanswered: 0, missing: None, range: None };
        if end <= self.size()
            && options.strategy.unwrap_or(self.strategy()) == Strategy::BeginEnd
            && !task.fatal_signal_pending()
            && let Some(run) = PageRun::covering_all(pos, len)
        {
            let place = hot::Place { mode: Mode::Overwrite, start: pos, pos, run, len };
            let tried = hot::attempt(self, may, user, from, &place, &mut writer.range);
            match tried {
                Ok(hot::Attempt::Landed(bytes)) if bytes == len => {
                    from.reexpand(asked - len);
                    return Ok(Written { bytes, end });
                }
                Ok(hot::Attempt::Landed(bytes)) => writer.landed = bytes,
                Ok(hot::Attempt::Nothing) => writer.unanswered = len,
                Ok(hot::Attempt::NotReady(missing)) => writer.missing = Some(missing),
                Ok(hot::Attempt::Again) | Err(_) => {}
            }
        }
        self.write_in_steps(may, user, from, writer, asked, options, task)
    }

    /// Goes on where the first attempt ended.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the request as it stands, taken apart")]
    fn write_in_steps<U: UserMemory, T: Task>(
        &self,
        may: &mut MayFault,
        user: &U,
        from: &mut IovIter<'_>,
        start: Start<'_, K>,
        asked: usize,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        let unanswered = start.unanswered;
        let mut writer = Writer::new(self, may, user, from, start, options, task);
        let stop = if writer.request().end <= self.size() {
            writer.fault_in_unanswered(unanswered).and_then(|()| writer.run())
        } else {
            Err(Stop::MustGrow)
        };
        let stop = match stop {
            Err(Stop::MustGrow) => {
                writer.let_go();
                let _size_lock = self.lock.lock(self.mapping().cache().wait());
                writer.grow()
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
        let size_lock = self.lock.lock(self.mapping().cache().wait());
        let pos = self.size();
        let asked = from.count();
        let len = limits::clip(self.max_size(), pos, asked, task)?;
        from.truncate(len);
        self.touch(task);
        let start = Start { pos, landed: 0, unanswered: 0, missing: None, range: None };
        let mut writer = Writer::new(self, may, user, from, start, options, task);
        let stop = writer.grow();
        let written = writer.finish(stop, asked);
        drop(size_lock);
        written
    }
}

impl<'w, 'i, K: Kernel, U: UserMemory, T: Task> Writer<'w, 'i, K, U, T> {
    #[inline]
    fn new(
        inode: &'w Inode<K>,
        may: &'w mut MayFault,
        user: &'w U,
        from: &'w mut IovIter<'i>,
        start: Start<'w, K>,
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
            range: start.range,
            reachable: usize::MAX,
            wanted_frames: start.missing.unwrap_or(0),
            refused_frames: false,
            known_unready: start.missing.is_some(),
            fruitless: 0,
            landed_before: 0,
            overreached: false,
        }
    }

    /// The loop: each round lands a byte, resolves a fault, waits for somebody, or ends (W6).
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

    /// The loop under I: first what lies between the old end and the new bytes, at the end what the
    /// store has to know.
    fn grow(&mut self) -> Result<(), Stop> {
        self.mode = Mode::Grow;
        let old_size = self.inode.size();
        let end = self.pos + self.from.count() as u64;
        if end > old_size {
            self.inode.seal_end(self.may, old_size);
        }
        let stop = self.run();
        if self.overreached {
            self.inode.give_back(self.may);
        }
        self.inode.give_back_spare_room(self.may);
        let size = self.inode.size();
        if size != old_size {
            self.inode.mapping().store().set_size(size);
        }
        stop
    }

    /// Lets the range go, before I is taken: I ranks first.
    #[cold]
    fn let_go(&mut self) {
        self.range = None;
    }

    /// The result, with the iterator standing just behind what landed. `asked` is the count before clipping.
    #[inline]
    fn finish(self, stop: Result<(), Stop>, asked: usize) -> Result<Written, Errno> {
        let bytes = self.landed();
        if bytes > (self.pos - self.start) as usize {
            self.from.advance(bytes - (self.pos - self.start) as usize);
        }
        self.from.reexpand(asked - bytes);
        match stop {
            Err(Stop::Failed(errno)) if bytes == 0 => Err(errno),
            // A growing write does not ask to grow again; the arm is for the type.
            Err(Stop::Failed(_) | Stop::MustGrow) | Ok(()) => {
                Ok(Written { bytes, end: self.start + bytes as u64 })
            }
        }
    }

    /// Bytes that have landed, wherever a restart put the position.
    fn landed(&self) -> usize {
        self.landed_before.max((self.pos - self.start) as usize)
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

    /// Takes the range of the whole request, before the page locks are let go of for the first time. No page lock is held.
    #[cold]
    fn hold_range(&mut self) {
        if self.range.is_none() {
            // Whoever got in between since this request's first bytes landed has overwritten them in
            // part: start again, so that the two writes do not end up interleaved.
            self.restart();
            let wait = self.inode.mapping().cache().wait();
            self.range = Some(self.inode.ranges.acquire(wait, self.request()));
        }
    }

    fn restart(&mut self) {
        self.landed_before = self.landed();
        self.from.revert((self.pos - self.start) as usize);
        self.pos = self.start;
    }

    /// Moves on by `bytes` that landed.
    #[inline(always)]
    fn progressed(&mut self, bytes: usize) {
        self.pos += bytes as u64;
        self.reachable = usize::MAX;
        self.fruitless = 0;
    }
}
