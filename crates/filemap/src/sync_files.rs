//! `syncfs`: all files of one store, and which callers are told of its failures.
//!
//! A call passes over the embedder's table twice. First it sends the dirty pages of each file, up
//! to the size that was visible when the pass came there; then it waits for them. So the files are
//! on their way together. A file that leaves the table meanwhile was [closed](Inode::close): its
//! pages are with the store already, and its failures in the sequence
//! ([`leaves`](StoreErrors::leaves)). The store is synced once, behind them.
//!
//! Failed writebacks are counted by the files. The second pass adds those that are new to the
//! sequence of the store, in which each open file has a place of its own: what `syncfs` reports and
//! what `fsync` reports does not take from the other (F2).
//!
//! Neighbours: [`writeback`](crate::writeback) has the passes over one file,
//! [`flusher`](crate::flusher) the table.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::{AcqRel, Acquire};

use faultless_page::{ConstSync, Errno, Failures, Initial, Kernel, Word, Word64};

use crate::errors::reported;
use crate::flusher::{Inodes, each};
use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;

/// The failures of one store, as a sequence: writebacks of its files, and its own syncs.
///
/// One for each store, beside the table of its inodes. An inode belongs to one store.
#[doc(alias = "s_wb_err")]
pub struct StoreErrors<K: Kernel>(Word64<K>);

/// The place of an open file in the failures of its store: those before it have been reported.
///
/// The default is the start of the sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "f_sb_err")]
pub struct StoreCursor(u64);

impl<K: Kernel> StoreErrors<K> {
    /// No failure.
    #[must_use]
    pub const fn new() -> Self
    where
        K::Sync: ConstSync,
    {
        Self(<Word64<K> as Initial>::INITIAL)
    }

    /// The cursor of a new open file: it is told of a failure that no caller has been told of yet.
    #[must_use]
    pub fn cursor(&self) -> StoreCursor {
        let failures = self.failures();
        StoreCursor(if failures.is_seen() { failures.count() } else { 0 })
    }

    /// Makes all files of a store durable: `sync(2)`, for each store. `sync_store` has the store,
    /// or the device below all of `files`, sync; it does not unwind.
    ///
    /// On success every page of `files` that was dirty or under writeback when the call began has
    /// been with the store, with the size that was visible then, and `sync_store` came after that.
    /// Whether the writebacks succeeded is in the sequence, and not in the result.
    ///
    /// Ends however fast other tasks dirty pages (F4): of each file it owes the pages up to the
    /// size that it finds. New files do not hold it up if the table has an
    /// [end](Inodes::end).
    ///
    /// May sleep. No page lock and no I is held, nor a lock that [`Inodes::next`] takes. An inode
    /// leaves the table only after it was [closed](Inode::close) or
    /// [discarded](Inode::discard), or when it is clean. Not to be called from a call of a store.
    ///
    /// # Errors
    /// - That of `sync_store`, which is in the sequence then, or of an earlier sync that
    ///   [lost](faultless_page::FailedSync::Loses) pages of one of the files. If `sync_store` has
    ///   lost pages, it is each file's from then on.
    /// - [`Errno::Interrupted`]: a fatal signal; nothing is promised, and nothing is lost (L3).
    #[doc(alias = "sync_filesystem")]
    pub fn sync_files<I: Inodes<K>, T: Task>(
        &self,
        files: &I,
        token: &mut impl PageLocks,
        sync_store: impl FnOnce() -> Result<(), Errno>,
        task: &T,
    ) -> Result<(), Errno> {
        try_each(files, |file| file.send_all(token, task))?;
        try_each(files, |file| {
            let waited = file.wait_for_all(token, task);
            self.add_failures_of(file);
            waited
        })?;
        let synced = sync_store();
        if let Err(errno) = synced {
            self.add(errno);
        }
        // No caller is told Ok of pages that any sync has lost.
        let mut kept = Ok(());
        try_each(files, |file| {
            kept = kept.and(file.note_sync(synced));
            Ok(())
        })?;
        synced.and(kept)
    }

    /// As [`sync_files`](Self::sync_files), for an open file: `syncfs(2)`. `cursor` is its place in
    /// the sequence of failures, and moves past those that are reported.
    ///
    /// # Errors
    /// As `sync_files`, with every failure since `cursor`: of a writeback of one of the files, by
    /// whichever caller, or of a sync of the store. The pages of a failed writeback are dirty
    /// again, and the files behind were sent all the same. After [`Errno::Interrupted`] the cursor
    /// stays.
    #[doc(alias = "syncfs")]
    pub fn sync_files_since<I: Inodes<K>, T: Task>(
        &self,
        files: &I,
        token: &mut impl PageLocks,
        cursor: &mut StoreCursor,
        sync_store: impl FnOnce() -> Result<(), Errno>,
        task: &T,
    ) -> Result<(), Errno> {
        let synced = self.sync_files(files, token, sync_store, task);
        if synced == Err(Errno::Interrupted) {
            return synced;
        }
        self.report(cursor).and(synced)
    }

    /// The inode is about to leave the table: its failures that no call has added yet stay in the
    /// sequence. After [`close`](Inode::close) has succeeded or failed, and before
    /// [`discard`](Inode::discard). Does not sleep.
    pub fn leaves(&self, inode: &Inode<K>) {
        self.add_failures_of(inode);
    }

    fn failures(&self) -> Failures {
        Failures::from_raw(self.0.load(Acquire))
    }

    /// Changes the sequence.
    fn update(&self, next: impl Fn(Failures) -> Failures) {
        let mut now = self.0.load(Acquire);
        while let Err(other) =
            self.0.compare_exchange(now, next(Failures::from_raw(now)).raw(), AcqRel, Acquire)
        {
            now = other;
        }
    }

    fn add(&self, errno: Errno) {
        self.update(|failures| failures.and(errno));
    }

    /// Adds the failures of a file that no call has added yet, as one.
    fn add_failures_of(&self, file: &Inode<K>) {
        let failures = file.mapping().failures();
        let mut before = file.added.load(Acquire);
        while before < failures.count() {
            match file.added.compare_exchange(before, failures.count(), AcqRel, Acquire) {
                Ok(_) => return self.add(failures.latest()),
                Err(now) => before = now,
            }
        }
    }

    /// The latest failure since `cursor`, which moves past it.
    fn report(&self, cursor: &mut StoreCursor) -> Result<(), Errno> {
        let failures = self.failures();
        let result = reported(failures, cursor.0);
        if result.is_err() {
            // Unless there is another one by now.
            let _newer =
                self.0.compare_exchange(failures.raw(), failures.seen().raw(), AcqRel, Acquire);
        }
        cursor.0 = failures.count();
        result
    }
}

/// Calls `visit` with each file, until one fails.
fn try_each<K: Kernel>(
    files: &impl Inodes<K>,
    mut visit: impl FnMut(&Inode<K>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let visited = each(files, |_, file| match visit(file) {
        Ok(()) => ControlFlow::Continue(()),
        Err(errno) => ControlFlow::Break(errno),
    });
    visited.break_value().map_or(Ok(()), Err)
}

/// As [`new`](StoreErrors::new), also for words that are made at run time.
impl<K: Kernel> Default for StoreErrors<K> {
    fn default() -> Self {
        Self(Word::new(Failures::NONE.raw()))
    }
}

impl<K: Kernel> fmt::Debug for StoreErrors<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreErrors").field(&self.failures()).finish()
    }
}
