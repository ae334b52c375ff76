//! A store with the files on it: `sync`, `syncfs`, and the flusher.
//!
//! Key type: [`Volume`]. The table of the files is the kernel's, as is the thread that calls
//! [`flush`](Volume::flush).
#![forbid(unsafe_code)]

use core::fmt;

use faultless::filemap::{Flushed, Flusher, Inodes, StoreErrors};
use faultless::page::Spin;
use faultless::prelude::{Errno as CacheErrno, Inode, PageLocks, Task};

use crate::errno::Errno;
use crate::file::description::Description;
use crate::system::System;

/// A mounted store: the table of its files, its failures, and when its files are flushed.
#[doc(alias = "super_block")]
pub struct Volume<S: System, F> {
    files: F,
    errors: StoreErrors<S::Kernel>,
    flusher: Flusher,
}

impl<S: System, F: Inodes<S::Kernel>> Volume<S, F> {
    /// A store without failures, whose files stand in the table `files`.
    #[must_use]
    pub fn new(files: F, flusher: Flusher) -> Self {
        Self { files, errors: StoreErrors::default(), flusher }
    }

    /// The table of the files.
    #[must_use]
    pub const fn files(&self) -> &F {
        &self.files
    }

    /// Opens a file of the table, as [`Description::new`] does. `syncfs` of the open file reports
    /// the failures from here on, and those that no caller was told of.
    #[must_use]
    pub fn open(&self, file: S::File, flags: u32) -> Description<S> {
        let mut open = Description::new(file, flags);
        open.store_errors = Spin::new(self.errors.cursor());
        open
    }

    /// `sync`, for this store; `sync_store` has the store sync. The system call reports nothing:
    /// failures of writebacks are reported by the `fsync` and `syncfs` of open files. May sleep. No
    /// page lock, no inode lock and no lock of the table is held.
    ///
    /// # Errors
    /// As [`StoreErrors::sync_files`].
    pub fn sync<T: Task>(
        &self,
        token: &mut impl PageLocks,
        sync_store: impl FnOnce() -> Result<(), CacheErrno>,
        task: &T,
    ) -> Result<(), Errno> {
        Ok(self.errors.sync_files(&self.files, token, sync_store, task)?)
    }

    /// `syncfs` of `open`, which was [opened](Self::open) here; `sync_store` has the store sync.
    /// May sleep. No page lock, no inode lock and no lock of the table is held.
    ///
    /// # Errors
    /// As [`StoreErrors::sync_files_since`]: each failure is reported to each open file once, or to
    /// all of its calls that ran at that time (F2).
    pub fn syncfs<T: Task>(
        &self,
        open: &Description<S>,
        token: &mut impl PageLocks,
        sync_store: impl FnOnce() -> Result<(), CacheErrno>,
        task: &T,
    ) -> Result<(), Errno> {
        let before = *open.store_errors.lock();
        let mut cursor = before;
        let files = &self.files;
        let synced = self.errors.sync_files_since(files, token, &mut cursor, sync_store, task);
        let mut errors = open.store_errors.lock();
        // Another thread may have reported meanwhile. What it has not is reported once more.
        if *errors == before {
            *errors = cursor;
        }
        drop(errors);
        Ok(synced?)
    }

    /// `file` is about to leave the table, closed or not: `syncfs` reports its failures still. Does
    /// not sleep. The table may be locked.
    pub fn leaves(&self, file: &Inode<S::Kernel>) {
        self.errors.leaves(file);
    }

    /// A step of the flusher: hands up to `budget_pages` pages of files that are of age, or of any
    /// while `dirty_pages` are too many, to the store, and waits for none. For a thread of the
    /// kernel, which calls it periodically and while writers pause. May sleep for room in the
    /// store's queue. No page lock and no lock of the table is held.
    ///
    /// [`Flushed::left`] is `Dirty` if another step is due; see [`Flusher::step`].
    pub fn flush<T: Task>(
        &self,
        token: &mut impl PageLocks,
        dirty_pages: u64,
        budget_pages: u32,
        task: &T,
    ) -> Flushed {
        self.flusher.step(&self.files, token, dirty_pages, budget_pages, task)
    }
}

impl<S: System, F: fmt::Debug> fmt::Debug for Volume<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("files", &self.files)
            .field("errors", &self.errors)
            .field("flusher", &self.flusher)
            .finish()
    }
}
