//! Files without a name that programs share (`memfd_create`), and what is sealed of them.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::prelude::{MayFault, PAGE_SIZE};
use faultless_posix::{AccessMode, Errno, Sharing};
use linux_raw_sys::general as linux;

use crate::files::directory::Directory;
use crate::files::file::OpenFile;
use crate::files::names::open;
use crate::files::regular::Regular;
use crate::files::vnode::Vnode;
use crate::process::all_processes;
use crate::sync::Lock;
use crate::waits::SleepLock;

/// The seals that keep files from being written.
pub(crate) const NO_WRITES: u32 = linux::F_SEAL_WRITE | linux::F_SEAL_FUTURE_WRITE;

/// All seals.
const SEALS: u32 =
    linux::F_SEAL_SEAL | linux::F_SEAL_SHRINK | linux::F_SEAL_GROW | linux::F_SEAL_EXEC | NO_WRITES;

/// Where they are made.
const PLACE: &[u8] = b"/dev/shm";

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

/// `memfd_create`.
///
/// # Errors
/// `ENOSPC`.
pub(crate) fn memfd(
    token: &mut MayFault,
    at: &Directory,
    name: &[u8],
    flags: u32,
) -> Result<OpenFile, Errno> {
    let is_program = flags & linux::MFD_NOEXEC_SEAL == 0;
    let mode = if is_program { 0o777 } else { 0o666 };
    let file = open(token, at, PLACE, linux::O_TMPFILE | linux::O_RDWR, mode)?;
    let regular = file.regular().ok_or(Errno::INVAL)?;
    let seals = match flags & (linux::MFD_ALLOW_SEALING | linux::MFD_NOEXEC_SEAL) {
        0 => linux::F_SEAL_SEAL,
        linux::MFD_ALLOW_SEALING => 0,
        _ => linux::F_SEAL_EXEC,
    };
    let memfd = Arc::new(Memfd { name: name.into(), seals: SleepLock::new(seals) });
    {
        let mut all = MEMFDS.lock();
        all.retain(|_, memfd| memfd.strong_count() > 0);
        all.insert(regular.node().id(), Arc::downgrade(&memfd));
    }
    regular.become_memfd(memfd);
    Ok(file)
}

impl Memfd {
    /// What `/proc/self/fd` leads to.
    pub(super) fn path(&self) -> Vec<u8> {
        [b"/memfd:", &*self.name, b" (deleted)"].concat()
    }
}

/// `F_GET_SEALS`.
///
/// # Errors
/// `EINVAL` for a file that has none.
pub(crate) fn seals(file: &Regular) -> Result<u32, Errno> {
    Ok(*file.memfd().ok_or(Errno::INVAL)?.seals.lock())
}

/// `F_ADD_SEALS`.
///
/// # Errors
/// `EPERM`: the file is not open for writing, or its seals are sealed; `EINVAL`; `EBUSY`: it is
/// mapped so that it can be written.
pub(crate) fn add_seals(file: &Regular, more: u32) -> Result<(), Errno> {
    let memfd = file.memfd();
    if !file.description().mode().contains(AccessMode::WRITE) {
        return Err(Errno::PERM);
    }
    if more & !SEALS != 0 {
        return Err(Errno::INVAL);
    }
    let memfd = memfd.ok_or(Errno::INVAL)?;
    let mut seals = memfd.seals.lock();
    if *seals & linux::F_SEAL_SEAL != 0 {
        return Err(Errno::PERM);
    }
    if more & linux::F_SEAL_WRITE & !*seals != 0 && is_mapped_to_write(file) {
        return Err(Errno::BUSY);
    }
    let is_program = file.node().attributes()?.status.mode & 0o111 != 0;
    let implied = if more & linux::F_SEAL_EXEC != 0 && is_program {
        linux::F_SEAL_SHRINK | linux::F_SEAL_GROW | NO_WRITES
    } else {
        0
    };
    *seals |= more | implied;
    Ok(())
}

/// Whether a process has a shared mapping that is writable, or can be made so.
fn is_mapped_to_write(file: &Regular) -> bool {
    let own = file.description().inode().mapping().id();
    let memories = all_processes().into_iter().filter_map(|process| process.memory().ok());
    memories.flat_map(|memory| memory.space().areas()).any(|area| {
        area.sharing == Sharing::Shared
            && area.inode().mapping().id() == own
            && area.description.mode().contains(AccessMode::WRITE)
    })
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
