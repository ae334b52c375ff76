//! `read`: pages to user memory, without a lock.
//!
//! Uptodate pages are copied inside a read section, which keeps their frames from being reused; the
//! copy is atomic. A fault ends the section first, then faults in, then goes on where it stopped. A
//! page that is not uptodate is read by the store, and waited for with nothing locked.
//!
//! A round that brings nothing is repeated a bounded number of times: bytes that a truncation may
//! have cut off are read again with I held, so that no truncation runs; a page that reclaim takes
//! away before it is copied, or user memory that goes away before it is written, is served by a
//! temporary page (L1, L2, W6).
#![forbid(unsafe_code)]

use core::mem;

use faultless_page::{Count, Errno, Kernel, PageIndex, PageRun, SleepGuard, Trace, Usage};
use faultless_usercopy::{IovIter, UserMemory, UserSlice, WholeRequest};

use crate::buffers::{Buffers, Single};
use crate::drop_behind::DropBehind;
use crate::inode::Inode;
use crate::moving::Patience;
use crate::options::Retention;
use crate::pos::FilePos;
use crate::read_ahead::ReadAhead;
use crate::size_changes::Moment;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::{CopyEnd, MAX_FRUITLESS_ROUNDS, copy_out, copy_whole_out};
use crate::uptodate::{Brought, Kept, Unfinished};

/// Rounds that lose all their bytes to truncations before the reader takes I.
const MAX_RESTARTS: u32 = 3;

/// What becomes of a page that is not in the cache.
enum Missing<'a, K: Kernel> {
    /// It is read.
    Read,
    /// It is read, and others ahead of it for an open file.
    ReadAhead(&'a ReadAhead<K>),
    /// The same, and what this brings in is dropped behind the read.
    ReadBehind(&'a ReadAhead<K>, &'a DropBehind<K>),
    /// The read ends before it.
    WouldBlock,
}

impl<'a, K: Kernel> Missing<'a, K> {
    fn ahead(&self) -> Option<&'a ReadAhead<K>> {
        match self {
            Self::ReadAhead(ahead) | Self::ReadBehind(ahead, _) => Some(ahead),
            Self::Read | Self::WouldBlock => None,
        }
    }

    fn behind(&self) -> Option<&'a DropBehind<K>> {
        if let Self::ReadBehind(_, behind) = self { Some(behind) } else { None }
    }

    fn retention(&self) -> Retention {
        if self.behind().is_some() { Retention::Transient } else { Retention::Kept }
    }
}

/// What the first round of a read has copied, before anything is said of it.
struct Copied {
    copied: usize,
    end: CopyEnd,
    /// Before the look at the size.
    then: Moment,
}

/// What came of a [hot read](Inode::read_hot).
enum HotRead {
    /// All bytes arrived.
    Done,
    /// Some arrived, or none; or bytes may have been cut off.
    Round(Copied),
    /// Nothing was copied.
    Not,
}

/// Rounds without a byte of progress.
struct Rounds<'i, K: Kernel> {
    /// The page that was missing, so that it stays until it is copied.
    page: Option<Brought<'i, K>>,
    /// In which user memory or a page was not there.
    fruitless: u32,
    /// In which the page has moved. Never held across a fault, or when I is taken.
    patience: Patience<'i, K>,
    /// In which the bytes may have been cut off.
    restarts: u32,
    /// I, once there were too many restarts.
    size_lock: Option<SleepGuard<'i, K>>,
}

impl<K: Kernel> Rounds<'_, K> {
    const fn none() -> Self {
        let patience = Patience::new();
        Self { page: None, fruitless: 0, patience, restarts: 0, size_lock: None }
    }
}

impl<K: Kernel> Inode<K> {
    /// Reads from byte `pos` on into `to`.
    ///
    /// Returns how many bytes arrived; 0 at the end of the file. `to` has moved on by just that
    /// many. Every byte was in the file at some moment during the call (W5). Takes no inode lock,
    /// unless truncations cut off what it reads again and again.
    ///
    /// May sleep. No lock that the fault handler could want is held: `token` says so.
    ///
    /// # Errors
    /// - [`Errno::Invalid`]: `pos` is above [`MAX_FILE_SIZE`](faultless_page::MAX_FILE_SIZE).
    /// - Before the first byte arrived: [`Errno::Fault`] for a bad address, the store's error or
    ///   [`Errno::NoMemory`] for a page that cannot be filled, [`Errno::Interrupted`] for a fatal
    ///   signal.
    #[doc(alias = "generic_file_read_iter")]
    #[inline]
    pub fn read<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, pos, &Missing::Read, None, task)
    }

    /// As [`read`](Self::read), but waits for no page, no store and no other task: `RWF_NOWAIT`.
    /// May fault in the memory of `to`.
    ///
    /// # Errors
    /// As `read`; [`Errno::WouldBlock`] if the first byte is not in the cache, or cannot be had
    /// without a wait. Nothing has been started then.
    #[doc(alias = "RWF_NOWAIT")]
    pub fn try_read<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, pos, &Missing::WouldBlock, None, task)
    }

    /// As [`read`](Self::read), and reads ahead what the streams of `ahead`, an open file's, are
    /// likely to ask for next. A store that completes its requests later does so meanwhile; the
    /// caller of a synchronous one waits for what is read ahead, in larger pieces.
    ///
    /// # Errors
    /// As `read`. What is read ahead has no error: its pages are read again when they are asked
    /// for.
    #[doc(alias = "page_cache_sync_ra")]
    pub fn read_ahead<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        ahead: &ReadAhead<K>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, pos, &Missing::ReadAhead(ahead), None, task)
    }

    /// As [`read_behind`](Self::read_behind), of a store whose pages may go.
    pub(crate) fn read_transient<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        ahead: &ReadAhead<K>,
        behind: &DropBehind<K>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, pos, &Missing::ReadBehind(ahead, behind), None, task)
    }

    /// As [`read`](Self::read), for a task that does not sleep.
    pub(crate) fn read_keeping<'i, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'i self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        kept: &mut Unfinished<'i, K>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_with(token, to, pos, &Missing::Read, Some(kept), task)
    }

    /// As [`read`](Self::read) into one buffer, for system calls that have one (`pread64`): needs
    /// no cursor as long as nothing is in its way. A buffer beyond
    /// [`MAX_RW_COUNT`](faultless_usercopy::MAX_RW_COUNT) bytes is clipped to that.
    ///
    /// # Errors
    /// As `read`.
    #[doc(alias = "pread64")]
    #[inline]
    pub fn read_slice<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        user: &U,
        slice: &UserSlice,
        pos: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        let whole = WholeRequest::new(user, *slice);
        let to = move || Single { user, slice: *slice };
        self.read_buffers(token, whole, to, pos, &Missing::Read, None, task)
    }

    #[inline]
    fn read_with<'i, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'i self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        missing: &Missing<'_, K>,
        reading: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<usize, Errno> {
        self.read_buffers(token, IovIter::whole(to), || to, pos, missing, reading, task)
    }

    /// A read into all that `to` makes, which is `whole`, if it is one piece in the user range.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn read_buffers<'i, U, B: Buffers<U>, T: Task>(
        &'i self,
        token: &mut U::Token,
        whole: Option<WholeRequest<'_, U>>,
        to: impl FnOnce() -> B,
        pos: u64,
        missing: &Missing<'_, K>,
        reading: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<usize, Errno>
    where
        U: UserMemory<Token: InodeLocks> + ?Sized,
    {
        let pos = FilePos::new(pos)?;
        let mut begun = None;
        if let Some(whole) = whole
            && missing.behind().is_none()
            && !task.fatal_signal_pending()
        {
            match self.read_hot(token, &whole, pos) {
                HotRead::Done => {
                    to().finish_whole();
                    return Ok(whole.len());
                }
                other => begun = Some(other),
            }
        }
        to().with_cursor(move |to| {
            self.read_in_rounds(token, to, pos, begun, missing, reading, task)
        })
    }

    /// The first round of a read, if its bytes lie inside the size, and the first ones are in the
    /// cache with nothing to be noticed.
    #[inline(always)]
    fn read_hot<U: UserMemory<Token: InodeLocks> + ?Sized>(
        &self,
        token: &mut U::Token,
        whole: &WholeRequest<'_, U>,
        pos: FilePos,
    ) -> HotRead {
        let then = self.size_changes.now();
        if pos.get() + whole.len() as u64 > self.size() {
            return HotRead::Not;
        }
        let section = self.mapping().read_section(token.page_locks());
        let Some(left) = copy_whole_out(&section, whole, pos.get()) else {
            return HotRead::Not;
        };
        drop(section);
        // After a truncation the bytes may be zeros that never were in the file.
        if left > 0 || self.size_changes.now() != then {
            let copied = whole.len().saturating_sub(left);
            let end = if left > 0 { CopyEnd::UserMemory } else { CopyEnd::Done };
            return HotRead::Round(Copied { copied, end, then });
        }
        self.mapping().count(Count::Used, PageIndex::touched(pos.get(), whole.len()) as u32);
        HotRead::Done
    }

    /// A read from `pos` on. `begun` is what came of a hot read: the first round, if it has copied,
    /// and before it the task was asked whether it is to die.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a read, as it stands")]
    fn read_in_rounds<'i, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'i self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: FilePos,
        begun: Option<HotRead>,
        missing: &Missing<'_, K>,
        mut reading: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<usize, Errno> {
        let mut has_asked = begun.is_some();
        let mut first = if let Some(HotRead::Round(copied)) = begun { Some(copied) } else { None };
        let mut done = 0;
        let mut rounds = Rounds::none();
        while !to.is_empty() {
            if !mem::take(&mut has_asked) && task.fatal_signal_pending() {
                return if done == 0 { Err(Errno::Interrupted) } else { Ok(done) };
            }
            let first = first.take();
            let then = first.as_ref().map_or_else(|| self.size_changes.now(), |first| first.then);
            let at = pos.plus(done);
            // Bytes that were copied before a cut are looked at below.
            if at >= self.eof() && first.as_ref().is_none_or(|first| first.copied == 0) {
                break;
            }
            let Some(run) = at.run(to.count()) else { break };
            let wanted = self.bytes_before_end(at, run.clip_len(at.get(), to.count()));
            let behind = missing.behind();
            let (copied, end, is_marked, marked) = if let Some(Copied { copied, end, .. }) = first {
                to.advance(copied);
                (copied, end, false, None)
            } else {
                let section = self.mapping().read_section(token.page_locks());
                let is_first = rounds.page.is_some() || behind.is_some();
                let usage = if is_first { Usage::First } else { Usage::Again };
                let (copied, end, is_marked) = copy_out(&section, to, at.get(), wanted, usage);
                let kept = at.run(copied).filter(|_| is_marked && behind.is_none());
                (copied, end, is_marked, kept.and_then(|run| section.keep(run)))
            };
            // A truncation may have zeroed what was just read: what lies before its size is good.
            let uncut = self.size_changes.lowest_cut_since(then).since(at);
            let kept = copied.min(uncut);
            done += kept;
            if let (Missing::ReadAhead(ahead), Some(marked)) = (missing, marked) {
                ahead.used_marker(self, token, marked, to.count());
            }
            if let (Missing::ReadBehind(ahead, _), true, Some(used)) =
                (missing, is_marked, at.run(copied))
            {
                ahead.used_transient(self, token, used, at.plus(copied), to.count());
            }
            if kept > 0 {
                let pages = at.run(kept).map_or(0, PageRun::pages);
                self.mapping().count(Count::Used, pages);
                to.revert(copied - kept);
                rounds = Rounds::none();
                if let Some(behind) = behind {
                    behind.has_read(self, token, at, at.plus(kept));
                }
                continue;
            }
            to.revert(copied);
            // Zeros need no wait. A task that does not sleep may not fault either.
            if T::SLEEPS && copied == 0 && end == CopyEnd::NotUptodate {
                match self.read_hole(token, to, at, wanted) {
                    Ok(0) => {}
                    Ok(zeros) => {
                        done += zeros;
                        rounds = Rounds::none();
                        continue;
                    }
                    Err(errno) if done == 0 => return Err(errno),
                    Err(_) => break,
                }
            }
            if let (Some(ahead), CopyEnd::NotUptodate) = (missing.ahead(), end) {
                ahead.missed(self, token, at, to.count(), missing.retention());
            }
            let would_block = matches!(missing, Missing::WouldBlock)
                && (copied > 0
                    || end == CopyEnd::NotUptodate
                    || rounds.fruitless >= MAX_FRUITLESS_ROUNDS);
            let next = if would_block {
                Err(Errno::WouldBlock)
            } else if copied > 0 {
                self.start_again(&mut rounds, task)
            } else {
                self.resolve(
                    token,
                    to,
                    at,
                    wanted,
                    end,
                    missing.retention(),
                    &mut rounds,
                    reading.as_deref_mut(),
                    task,
                )
                .map(|bytes| done += bytes)
            };
            match next {
                Ok(()) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// All bytes of a round may have been cut off. Too often: no truncation runs from now on.
    #[cold]
    fn start_again<'i, T: Task>(
        &'i self,
        rounds: &mut Rounds<'i, K>,
        task: &T,
    ) -> Result<(), Errno> {
        rounds.restarts += 1;
        rounds.patience.let_go();
        if rounds.restarts >= MAX_RESTARTS && rounds.size_lock.is_none() {
            let wait = self.mapping().cache().wait();
            let killed = Caller(task);
            rounds.size_lock = Some(self.lock.lock_killable(wait, &killed)?);
        }
        Ok(())
    }

    /// Nothing was copied: gets the page, or the user memory, that was missing. How many bytes
    /// arrived on the way.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "one round of a read, as it stands")]
    fn resolve<'i, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'i self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        at: FilePos,
        wanted: usize,
        end: CopyEnd,
        retention: Retention,
        rounds: &mut Rounds<'i, K>,
        kept: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<usize, Errno> {
        rounds.fruitless += 1;
        if rounds.fruitless > MAX_FRUITLESS_ROUNDS {
            rounds.patience.let_go();
            return self.read_by_hand(token, to, at, wanted, retention, kept, task);
        }
        match end {
            // Cut off meanwhile: the loop finds that out.
            _ if wanted == 0 => {}
            CopyEnd::NotUptodate => {
                let patience = &mut rounds.patience;
                if rounds.page.is_some() {
                    patience.overtaken();
                }
                if let Some(run) = at.run(wanted) {
                    rounds.page = Some(self.bring_in(token, run, retention, kept, patience, task)?);
                }
            }
            CopyEnd::UserMemory if !T::SLEEPS => return Err(would_fault(to, wanted, task)),
            CopyEnd::UserMemory => {
                rounds.patience.let_go();
                fault_in::<K, U>(token, to, wanted)?;
            }
            CopyEnd::Done => {}
        }
        Ok(0)
    }

    /// How many of `len` bytes at `pos` lie before the end.
    pub(crate) fn bytes_before_end(&self, pos: FilePos, len: usize) -> usize {
        len.min(self.eof().since(pos))
    }
}

/// Of a call that does not sleep: the next `len` bytes of user memory have to be there first.
#[cold]
pub(crate) fn would_fault<U: UserMemory + ?Sized, T: Task>(
    to: &IovIter<'_, U>,
    len: usize,
    task: &T,
) -> Errno {
    task.would_fault(to.segment().prefix(len));
    Errno::WouldBlock
}

/// Makes the next `len` bytes of user memory writable, if they can be.
fn fault_in<K: Kernel, U: UserMemory<Token: InodeLocks> + ?Sized>(
    token: &mut U::Token,
    to: &IovIter<'_, U>,
    len: usize,
) -> Result<(), Errno> {
    K::trace(Trace::FaultIn(len));
    K::trace(Trace::MayFault);
    let missed = to.fault_in_writeable(token, len);
    if missed >= len { Err(Errno::Fault) } else { Ok(()) }
}
