//! Reads, writes and faults that neither sleep nor fault: for kernels whose tasks are futures.
//! Neighbour: [`nonblocking_sync`](crate::nonblocking_sync) has syncs and changes of the size.
//!
//! [`NonBlocking`] runs the same code as the calls that sleep, for a [`Task`] that does not
//! ([`Task::SLEEPS`]). Where that code would sleep, it looks once more after the task was told the
//! key, and ends; where it would fault memory in, it ends. What has landed by then is the result.
//!
//! # What a caller does
//! It calls until the request is done. After [`NotYet::WouldWait`] it returns to its executor, to
//! be polled again when the [`Wait`](faultless_page::Wait) seam wakes the key; its
//! [`Task::would_wait`] has registered it. After [`NotYet::WouldFault`] it makes the memory
//! resident as its fault handler does, by [`NonBlocking::fault`] if that is a page of a file.
//!
//! # What is kept between two calls
//! The count of what has landed, which the caller has; how far a sync or a truncation is; and the
//! page that is being read, with a count of its frame, so that reclaim does not take it before the
//! next call and a failed read is reported to this caller (F8). No lock is kept, no range, and no
//! place in a queue: a task that is not polled again holds up no other. So each call is a write of
//! its own to other writers, whose bytes may come between those of two calls; and each call of an
//! append goes to the end that the file has by then.
//!
//! # How often a call is refused (L1)
//! A call does not wait for others in a loop, so it ends. After a wake it is refused again only if
//! another caller was faster: those that sleep in a queue always are. If all callers of a file are
//! of this kind, and its tasks are polled one at a time, then a page lock, a range or I is never
//! held when a call begins, but for pages that the store reads. Such a page is kept for the caller,
//! so that each page of a request refuses it once for its read, and once for a writeback of a store
//! that [wants stable pages](faultless_page::AddressSpaceOperations::wants_stable_pages).
//!
//! After `WouldFault` for the next byte of the request the next call lands at least that one, or is
//! refused for a page, if the byte stays resident until that call has returned: by a count of its
//! frame, or because no other task runs in between. Without that there is no bound on the calls
//! (W6). Four calls that are refused for a later byte are enough for those before it to land.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;

use faultless_page::{Errno, Kernel, OwnedFrame, PageIndex, StoreId, WaitKey};
use faultless_usercopy::{IovIter, UserMemory, UserSlice};

use crate::fault::{Access, FaultError, MappedFrame};
use crate::inode::Inode;
use crate::options::{WriteOptions, Written};
use crate::syncing::Syncing;
use crate::task::Task;
use crate::token::{InFault, InodeLocks};
use crate::uptodate::Unfinished;

/// Why a call that does not sleep has done nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet<E = Errno> {
    /// A page is locked or under I/O, or a range or the inode is taken: after a wake of the key the
    /// call is worth another try. The task was told the key before the last look.
    WouldWait(WaitKey),
    /// User memory is not there, from the start of the range on, which is no longer than what the
    /// next copy can use. It may begin behind the next byte of the request: a page of the file that
    /// is not in the cache and is to be replaced takes all of its bytes or none.
    ///
    /// If the first byte of the range cannot be had and is the next one of the request, the request
    /// ends, with `EFAULT` if nothing has landed. Otherwise the call is to be repeated, and lands
    /// what lies before it (W1).
    WouldFault(UserSlice),
    /// The error of the call that sleeps.
    Failed(E),
}

/// Calls on a file that neither sleep nor fault, of one task: [`Inode::nonblocking`].
///
/// One for each request: it keeps the page that the last call was refused for. Dropping it at any
/// time is fine. The cache's [`Wait`](faultless_page::Wait) is still called to wait for readers on
/// other CPUs that are inside a section, which do not sleep; [`SpinWait`](faultless_page::SpinWait)
/// does. Calls of the store are made as they are: those that complete requests later, and do not
/// sleep otherwise, do not make these calls sleep.
pub struct NonBlocking<'i, K: Kernel> {
    pub(crate) inode: &'i Inode<K>,
    unfinished: Unfinished<'i, K>,
    /// A sync that was refused.
    pub(crate) syncing: Option<Syncing>,
    /// The size has changed, and something is left past the end.
    pub(crate) has_cut: bool,
}

/// A task whose calls do not sleep, and why the last one ended.
pub(crate) struct NoSleep<'t, T> {
    task: &'t T,
    refused: Cell<Option<NotYet>>,
}

impl<K: Kernel> Inode<K> {
    /// The calls that do not sleep, for one request.
    #[must_use]
    #[doc(alias = "IOCB_NOWAIT")]
    pub const fn nonblocking(&self) -> NonBlocking<'_, K> {
        let unfinished = Unfinished::nothing();
        NonBlocking { inode: self, unfinished, syncing: None, has_cut: false }
    }
}

impl<K: Kernel> NonBlocking<'_, K> {
    /// As [`Inode::write`], without sleeping, faulting or throttling. A result that is shorter than
    /// the request is what landed before something was not ready, or before an error: the next
    /// call, with the rest, says which. The caller syncs and pauses by its own means.
    ///
    /// The token is not used to fault; it says that no lock is held that the caller's fault handler
    /// could want, and that pages may be locked until the call returns.
    ///
    /// # Errors
    /// Nothing has landed. [`NotYet`]; what [`Inode::write`] returns is in it. [`Errno::Invalid`]
    /// for [`WriteOptions::sync`].
    pub fn write<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, NotYet> {
        if options.sync().is_some() {
            return Err(NotYet::Failed(Errno::Invalid));
        }
        let task = NoSleep::of(task);
        let kept = Some(&mut self.unfinished);
        let written = self.inode.write_with(token, from, options, None, kept, &task);
        let written = written.map_err(|errno| task.refusal(errno))?;
        self.unfinished.passed(written.end);
        Ok(written)
    }

    /// As [`Inode::read`], without sleeping or faulting. A result that is shorter than the request
    /// is what arrived before something was not ready, or before the end of the file; 0 at the end.
    ///
    /// # Errors
    /// Nothing has arrived. [`NotYet`]; what [`Inode::read`] returns is in it.
    pub fn read<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &mut self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        task: &T,
    ) -> Result<usize, NotYet> {
        let task = NoSleep::of(task);
        let read = self.inode.read_keeping(token, to, pos, &mut self.unfinished, &task);
        let bytes = read.map_err(|errno| task.refusal(errno))?;
        self.unfinished.passed(pos + bytes as u64);
        Ok(bytes)
    }

    /// As [`Inode::fault`], without sleeping. The caller looks the area up before each call. It
    /// holds no lock that sleeps when it returns to its executor; `install` looks, under the lock
    /// of the page table, whether the area is still there.
    ///
    /// # Errors
    /// `install` was not called. [`NotYet::WouldWait`], or what [`Inode::fault`] returns.
    pub fn fault<T: Task, R>(
        &mut self,
        fault: &mut InFault,
        index: PageIndex,
        access: Access,
        task: &T,
        install: impl FnOnce(MappedFrame<'_, K>) -> R,
    ) -> Result<R, NotYet<FaultError>> {
        let task = NoSleep::of(task);
        let kept = Some(&mut self.unfinished);
        let resolved = self.inode.fault_with(fault, index, access, kept, &task, install);
        resolved.map_err(|error| task.fault_refusal(error))
    }

    /// As [`Inode::fault_copy`], without sleeping; otherwise as [`fault`](Self::fault). The frame
    /// is freed if the call is refused.
    ///
    /// # Errors
    /// As `fault`.
    pub fn fault_copy<'f, T: Task, R>(
        &mut self,
        fault: &mut InFault,
        index: PageIndex,
        copy: OwnedFrame<'f, K>,
        task: &T,
        install: impl FnOnce(OwnedFrame<'f, K>) -> R,
    ) -> Result<R, NotYet<FaultError>> {
        let task = NoSleep::of(task);
        let kept = Some(&mut self.unfinished);
        let resolved = self.inode.fault_copy_with(fault, index, copy, kept, &task, install);
        resolved.map_err(|error| task.fault_refusal(error))
    }
}

impl<'t, T: Task> NoSleep<'t, T> {
    pub(crate) const fn of(task: &'t T) -> Self {
        Self { task, refused: Cell::new(None) }
    }

    /// What stands behind an error: a refusal says `WouldBlock`, as a store may.
    pub(crate) fn refusal(&self, errno: Errno) -> NotYet {
        match self.refused.take() {
            Some(refused) if errno == Errno::WouldBlock => refused,
            _ => NotYet::Failed(errno),
        }
    }

    fn fault_refusal(&self, error: FaultError) -> NotYet<FaultError> {
        match (error, self.refused.take()) {
            (FaultError::Failed(Errno::WouldBlock), Some(NotYet::WouldWait(key))) => {
                NotYet::WouldWait(key)
            }
            _ => NotYet::Failed(error),
        }
    }
}

impl<T: Task> Task for NoSleep<'_, T> {
    const SLEEPS: bool = false;
    const LIMITS_DIRTY_PAGES: bool = T::LIMITS_DIRTY_PAGES;

    fn now(&self) -> u64 {
        self.task.now()
    }

    fn fatal_signal_pending(&self) -> bool {
        self.task.fatal_signal_pending()
    }

    fn file_size_limit(&self) -> u64 {
        self.task.file_size_limit()
    }

    fn file_size_exceeded(&self) {
        self.task.file_size_exceeded();
    }

    fn keeps_set_id(&self) -> bool {
        self.task.keeps_set_id()
    }

    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        self.task.try_admit_dirty(store, wanted, &|key| self.would_wait(key))
    }

    fn settle_dirty(&self, dirtied: u32) {
        self.task.settle_dirty(dirtied);
    }

    fn would_wait(&self, key: WaitKey) {
        self.refused.set(Some(NotYet::WouldWait(key)));
        self.task.would_wait(key);
    }

    fn would_fault(&self, range: UserSlice) {
        self.refused.set(Some(NotYet::WouldFault(range)));
        self.task.would_fault(range);
    }
}

impl<K: Kernel> fmt::Debug for NonBlocking<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonBlocking")
            .field("inode", &self.inode)
            .field("is_reading", &self.unfinished.reading.is_some())
            .finish()
    }
}
