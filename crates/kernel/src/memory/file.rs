//! Files as the cache knows them: counted handles, and the table by which reclaim finds them.
#![forbid(unsafe_code)]

use core::ops::Deref;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::filemap::Files;
use faultless::prelude::{AddressSpaceOperations, Inode};
use faultless_posix::ReverseMap;

use crate::memory::machine::{Machine, cache};
use crate::sync::Lock;

/// What becomes of a file when its last handle goes. A file without it is in memory alone: its
/// pages go.
pub(crate) trait Ends: Send + Sync {
    /// Closes or discards the file. May sleep: no lock is held.
    fn end(&self, inode: Inode<Machine>);
}

/// A file.
pub(crate) struct File {
    /// There until the file is dropped.
    inode: Option<Inode<Machine>>,
    ends: Option<Arc<dyn Ends>>,
}

/// The files whose pages can be had again, by the numbers of their mappings.
static PERSISTENT: Lock<BTreeMap<u64, Weak<File>>> = Lock::new(BTreeMap::new());

/// Files whose last handle reclaim has had: an allocation must not wait for their end.
static ENDED: Lock<Vec<File>> = Lock::new(Vec::new());

/// A counted handle of a file. Dropping the last one may sleep.
#[derive(Clone)]
pub(crate) struct FileHandle(Arc<File>);

/// A handle that does not keep the file.
#[derive(Clone)]
pub(crate) struct WeakFile(Weak<File>);

impl FileHandle {
    /// A file of `size` bytes on `store`.
    pub(crate) fn new(
        store: Arc<dyn AddressSpaceOperations>,
        size: u64,
        ends: Option<Arc<dyn Ends>>,
    ) -> Self {
        let is_persistent = store.is_persistent();
        let inode = Inode::<Machine>::new(cache(), store, ReverseMap::new(), size);
        let id = inode.mapping().id();
        let file = Arc::new(File { inode: Some(inode), ends });
        if is_persistent {
            PERSISTENT.lock().insert(id, Arc::downgrade(&file));
        }
        Self(file)
    }

    pub(crate) fn downgrade(&self) -> WeakFile {
        WeakFile(Arc::downgrade(&self.0))
    }
}

impl WeakFile {
    /// A handle, unless the last one has gone.
    pub(crate) fn upgrade(&self) -> Option<FileHandle> {
        self.0.upgrade().map(FileHandle)
    }
}

impl Deref for File {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        self.inode.as_ref().unwrap_or_else(|| unreachable!("a file is used while it is dropped"))
    }
}

impl Deref for FileHandle {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        &self.0
    }
}

impl core::fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FileHandle").field(&**self).finish()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(inode) = self.inode.take() else { return };
        let id = inode.mapping().id();
        match &self.ends {
            Some(ends) => ends.end(inode),
            None => inode.discard(),
        }
        let removed = PERSISTENT.lock().remove(&id);
        drop(removed);
    }
}

/// The table, as reclaim has it.
pub(super) struct Persistent;

/// A handle that reclaim has. If it is the last one, a thread of the kernel ends the file.
pub(super) struct Found(Option<Arc<File>>);

impl Files<Machine> for Persistent {
    type Handle = Found;

    fn find(&self, mapping: u64) -> Option<Found> {
        let file = PERSISTENT.lock().get(&mapping)?.upgrade()?;
        Some(Found(Some(file)))
    }
}

impl Deref for Found {
    type Target = Inode<Machine>;
    fn deref(&self) -> &Inode<Machine> {
        self.0.as_ref().unwrap_or_else(|| unreachable!("there until the drop"))
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(last) = self.0.take().and_then(Arc::into_inner) {
            ENDED.lock().push(last);
        }
    }
}

/// Ends the files whose last handles reclaim has had. For a thread that holds nothing.
pub(super) fn end_files() {
    let ended = core::mem::take(&mut *ENDED.lock());
    drop(ended);
}
