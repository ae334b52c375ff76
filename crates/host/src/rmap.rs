//! The reverse map of a machine: from a page of a file to the address spaces that map it.
//!
//! Key type: [`HostUserMappings`]. Each address space keeps, under its page-table lock, which of
//! its entries show which page of which file; this module only asks them all. It takes no M and no
//! page lock.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use faultless_page::{PageIndex, Unmap, UserMappings};

/// Something with page-table entries that show pages of files.
pub(crate) trait ShowsFiles: Send + Sync {
    /// Applies `call` to the entries that show pages `first..end` of mapping `id`. Page-table lock
    /// only.
    fn apply(&self, id: u64, first: PageIndex, end: PageIndex, call: RmapCall);
}

/// A call of [`UserMappings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RmapCall {
    /// [`UserMappings::unmap`], with its reason.
    Unmap(Unmap),
    /// [`UserMappings::write_protect`].
    WriteProtect,
}

/// Is told of each call of [`UserMappings`] before it is carried out: the mapping, the first page,
/// the page behind the last, and what is asked.
pub type UnmapWatcher = Arc<dyn Fn(u64, PageIndex, PageIndex, RmapCall) + Send + Sync>;

/// The address spaces of a machine, for [`UserMappings`].
#[derive(Clone, Default)]
pub struct HostUserMappings {
    spaces: Arc<Mutex<Vec<Weak<dyn ShowsFiles>>>>,
    watcher: Arc<Mutex<Option<UnmapWatcher>>>,
}

impl HostUserMappings {
    /// `watcher` is told of each call from now on, in place of an earlier one. Page locks may be
    /// held when it is called: it must not take any. It may panic: that unwinds into the core.
    pub fn watch(&self, watcher: UnmapWatcher) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    /// No watcher is told any more.
    pub fn unwatch(&self) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Asks this address space too from now on, until it is dropped.
    pub(crate) fn register(&self, space: Weak<dyn ShowsFiles>) {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.retain(|space| space.strong_count() > 0);
        spaces.push(space);
    }
}

impl UserMappings for HostUserMappings {
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        self.apply(id, first, end, RmapCall::Unmap(why));
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        self.apply(id, first, end, RmapCall::WriteProtect);
    }
}

impl HostUserMappings {
    fn apply(&self, id: u64, first: PageIndex, end: PageIndex, call: RmapCall) {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(watcher) = watcher {
            watcher(id, first, end, call);
        }
        // Not under the lock: to drop the last handle of a space is to drop its files.
        let spaces: Vec<Arc<dyn ShowsFiles>> = {
            let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
            spaces.iter().filter_map(Weak::upgrade).collect()
        };
        for space in spaces {
            space.apply(id, first, end, call);
        }
    }
}

impl fmt::Debug for HostUserMappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostUserMappings")
    }
}
