//! What processes share that `clone` was told to: descriptors, and where paths begin.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicU32, AtomicUsize};

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Descriptors;

use crate::files::{Directory, OpenFile};
use crate::sync::{Guard, Lock};

/// The descriptors of one process or several, which own its locks of records together.
pub(crate) struct OpenFiles {
    /// The process that they were made for, by its number.
    pub(crate) owner: u32,
    processes: AtomicUsize,
    descriptors: Lock<Descriptors<OpenFile>>,
}

impl OpenFiles {
    /// Those of one process.
    pub(crate) const fn new(owner: u32, descriptors: Descriptors<OpenFile>) -> Self {
        let descriptors = Lock::new(descriptors);
        Self { owner, processes: AtomicUsize::new(1), descriptors }
    }

    /// The table. What is taken out of it is dropped with its lock free: that may sleep.
    pub(crate) fn lock(&self) -> Guard<'_, Descriptors<OpenFile>> {
        self.descriptors.lock()
    }

    /// A copy of them, for another process.
    pub(crate) fn copy(&self, owner: u32) -> Arc<Self> {
        let descriptors = self.lock().fork();
        Arc::new(Self::new(owner, descriptors))
    }

    /// Another process has them, too.
    pub(crate) fn share(self: &Arc<Self>) -> Arc<Self> {
        self.processes.fetch_add(1, Relaxed);
        Arc::clone(self)
    }

    /// Whether several processes have them.
    pub(crate) fn is_shared(&self) -> bool {
        self.processes.load(Acquire) > 1
    }

    /// A process has them no more: what is closed with the last one.
    pub(super) fn leave(&self) -> Vec<OpenFile> {
        let is_last = self.processes.fetch_sub(1, AcqRel) == 1;
        if is_last { self.lock().remove_if(|_, _| true) } else { Vec::new() }
    }
}

/// Where the paths of one process or several begin, and what their new files do not let others do.
pub(crate) struct Place {
    pub(crate) cwd: Lock<Directory>,
    pub(crate) umask: AtomicU32,
}

impl Place {
    pub(crate) const fn new(cwd: Directory, umask: u32) -> Self {
        Self { cwd: Lock::new(cwd), umask: AtomicU32::new(umask) }
    }

    /// A copy of it, for another process.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let cwd = self.cwd.lock().clone();
        Arc::new(Self::new(cwd, self.umask.load(Relaxed)))
    }
}
