//! Direct reclaim of a machine: an allocation that finds frames short drops the clean pages of the
//! machine's files, as an embedder's allocator may
//! ([`Frames::allocate`](faultless_page::Frames::allocate)).
//!
//! Key type: [`Files`], the files of a machine. It knows nothing of which pages are needed next: it
//! drops all that it can, which is the worst for the caller.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use faultless_filemap::{Inode, PageLocks};
use faultless_page::{Kernel, LockContext};

use crate::memory::PhysicalMemory;

/// The permission to lock pages inside an allocation.
#[derive(Debug)]
struct InAllocation(());

impl PageLocks for InAllocation {
    fn page_locks(&mut self) -> LockContext<'_> {
        // SAFETY: a frame is allocated with no page lock held and in no read section (P3): the
        // allocator asks the lock checker before it reclaims, and a context of the interrupted
        // operation, if there is one, has locked nothing yet. Eviction makes no access to user
        // memory, waits for no page lock, and has unlocked everything when it returns.
        unsafe { LockContext::new() }
    }
}

/// The files of a machine, which memory can be reclaimed from.
pub struct Files<K: Kernel> {
    inodes: Arc<Mutex<Vec<Weak<Inode<K>>>>>,
}

impl<K: Kernel> Files<K> {
    /// Memory is reclaimed from this file, too, until it is dropped.
    pub fn add(&self, inode: &Arc<Inode<K>>) {
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        inodes.retain(|inode| inode.strong_count() > 0);
        inodes.push(Arc::downgrade(inode));
    }

    /// Drops the clean pages of all files; how many.
    fn evict(&self) -> u64 {
        // Not under the lock: to drop the last handle of a file is to drop its pages.
        let inodes: Vec<Arc<Inode<K>>> = {
            let inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
            inodes.iter().filter_map(Weak::upgrade).collect()
        };
        inodes.iter().map(|inode| inode.evict(&mut InAllocation(()), 0..u64::MAX)).sum()
    }
}

impl<K: Kernel> Files<K> {
    /// From now on an allocation from `memory` that finds at least `above` frames in use drops the
    /// clean pages of these files before it answers, until [`PhysicalMemory::stop_reclaiming`].
    pub fn reclaim_above(&self, memory: &PhysicalMemory, above: usize) {
        let files = self.clone();
        let reclaim = Arc::new(move || {
            let _pages = files.evict();
        });
        memory.reclaim_above(above, reclaim);
    }
}

impl<K: Kernel> Default for Files<K> {
    fn default() -> Self {
        Self { inodes: Arc::default() }
    }
}

impl<K: Kernel> Clone for Files<K> {
    fn clone(&self) -> Self {
        Self { inodes: Arc::clone(&self.inodes) }
    }
}

impl<K: Kernel> fmt::Debug for Files<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}
