//! Files on a disk of the shim, and the system calls of a program that has one open.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use faultless::prelude::*;
use faultless_example_kernel::{Example, user_memory};
use faultless_host::stores::{BlockStore, Call, HookedStore};

use super::{Host, cpu, nothing_held, syscall};

/// Blocks of a page that a file may have.
const BLOCKS: usize = 64;

/// A handle of a file.
#[derive(Clone)]
pub(crate) struct File {
    inode: Arc<Inode<Example<Host>>>,
    store: &'static HookedStore<BlockStore>,
}

/// A file of these bytes, on a disk of its own, nothing of it in the cache.
pub(crate) fn new_file(bytes: &[u8]) -> File {
    let store = HookedStore::new(BlockStore::with_contents(PAGE_SIZE, BLOCKS, bytes));
    let store: &'static HookedStore<BlockStore> = Box::leak(Box::new(store));
    let size = bytes.len() as u64;
    let inode = Inode::<Example<Host>>::new(cpu().cache, store, Default::default(), size);
    let file = File { inode: Arc::new(inode), store };
    // For the checks of the hook.
    file.at_read(|| {});
    file
}

/// The first pages of the file, as its disk has them.
pub(crate) fn disk_bytes(file: &File, pages: usize) -> Vec<u8> {
    let mut bytes = file.store.inner().contents();
    bytes.truncate(pages * PAGE_SIZE);
    bytes
}

impl File {
    /// The user program writes from its memory.
    pub(crate) fn sys_write(&self, from: usize, len: usize, pos: u64) -> Result<usize, Errno> {
        let memory = user_memory::<Host>();
        syscall(|token| {
            let slice =
                UserSlice::new(&memory, UserAddr::new(from), len).map_err(|_| Errno::Fault)?;
            let mut bytes = IovIter::from_slice(&memory, &slice);
            let written = self.write(token, &mut bytes, &WriteOptions::at(pos), &NoTask)?;
            Ok(written.bytes)
        })
    }

    /// `ftruncate`.
    pub(crate) fn truncate(&self, size: u64) {
        syscall(|token| self.set_size(token, size, &NoTask)).expect("nothing fails");
    }

    /// `fsync`.
    pub(crate) fn sync(&self) {
        syscall(|token| self.fsync(token, SyncKind::All, &NoTask)).expect("nothing fails");
    }

    /// Drops the clean pages; how many.
    pub(crate) fn evict_all(&self) -> u64 {
        syscall(|token| self.evict(token, 0..u64::MAX))
    }

    /// Has another thread run at the next read of the disk, with the page locked. Every call of the
    /// store is checked for short locks.
    pub(crate) fn at_read(&self, other_thread: impl FnOnce() + Send + 'static) {
        let other_thread = Mutex::new(Some(other_thread));
        self.store.hook(move |at, below| {
            nothing_held("a disk is asked");
            // Not called under the lock: it may read from this disk.
            let due = match at.call {
                Call::Read => other_thread.lock().expect("no panic").take(),
                _ => None,
            };
            due.into_iter().for_each(|other_thread| other_thread());
            below()
        });
    }
}

impl Deref for File {
    type Target = Inode<Example<Host>>;
    fn deref(&self) -> &Self::Target {
        &self.inode
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if Arc::strong_count(&self.inode) == 1 {
            nothing_held("a file is dropped");
            assert!(self.store.inner().complaints().is_empty(), "data for a block not begun");
        }
    }
}
