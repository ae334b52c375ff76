//! Files without a name that programs share (`memfd_create`), and what is sealed of them.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::vnode::Vnode;
use crate::sync::Lock;
use crate::waits::SleepLock;

/// The seals that keep files from being written.
pub(crate) const NO_WRITES: u32 = linux::F_SEAL_WRITE | linux::F_SEAL_FUTURE_WRITE;

/// What a file without a name has beside its contents.
pub(crate) struct Memfd {
    name: Vec<u8>,
    /// Held while the file is written, cut or mapped: what is sealed then stays as it is.
    pub(crate) seals: SleepLock<u32>,
}

/// Those that are open, by the numbers of their nodes.
static MEMFDS: Lock<BTreeMap<(u64, u64), Weak<Memfd>>> = Lock::new(BTreeMap::new());

/// That of a node, if it is one.
pub(super) fn of_node(node: &dyn Vnode) -> Option<Arc<Memfd>> {
    MEMFDS.lock().get(&node.id())?.upgrade()
}

impl Memfd {
    /// That of a new file with this node.
    pub(super) fn new(node: &dyn Vnode, name: &[u8], seals: u32) -> Arc<Self> {
        let memfd = Arc::new(Self { name: name.into(), seals: SleepLock::new(seals) });
        let mut all = MEMFDS.lock();
        all.retain(|_, memfd| memfd.strong_count() > 0);
        all.insert(node.id(), Arc::downgrade(&memfd));
        memfd
    }

    /// What `/proc/self/fd` leads to.
    pub(super) fn path(&self) -> Vec<u8> {
        [b"/memfd:", &*self.name, b" (deleted)"].concat()
    }
}

/// How many of `len` bytes may be written at a position, of a file of this size.
///
/// # Errors
/// `EPERM`: none.
pub(super) fn writable(seals: u32, size: u64, position: u64, len: usize) -> Result<usize, Errno> {
    if seals & NO_WRITES != 0 {
        return Err(Errno::PERM);
    }
    if seals & linux::F_SEAL_GROW == 0 || position.saturating_add(len as u64) <= size {
        return Ok(len);
    }
    // As on Linux: page by page.
    let end = size - size % PAGE_SIZE as u64;
    match end.saturating_sub(position) {
        0 => Err(Errno::PERM),
        room => Ok(room as usize),
    }
}
