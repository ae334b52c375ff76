//! Files without a name, and their seals: `memfd_create`, `F_ADD_SEALS`, `F_GET_SEALS`.
#![forbid(unsafe_code)]

use faultless::prelude::MayFault;
use faultless_posix::{AccessMode, Errno, Sharing};
use linux_raw_sys::general as linux;

use crate::files::{self, Directory, How, NO_WRITES, OpenFile, Regular};
use crate::process::all_processes;

/// All seals.
const SEALS: u32 =
    linux::F_SEAL_SEAL | linux::F_SEAL_SHRINK | linux::F_SEAL_GROW | linux::F_SEAL_EXEC | NO_WRITES;

/// Where they are made.
const PLACE: &[u8] = b"/dev/shm";

/// `memfd_create`.
///
/// # Errors
/// `ENOSPC`.
pub(super) fn memfd(
    token: &mut MayFault,
    at: &Directory,
    name: &[u8],
    flags: u32,
) -> Result<OpenFile, Errno> {
    let is_program = flags & linux::MFD_NOEXEC_SEAL == 0;
    let mode = if is_program { 0o777 } else { 0o666 };
    let file = files::open(token, at, PLACE, How::plain(linux::O_TMPFILE | linux::O_RDWR, mode))?;
    let regular = file.regular().ok_or(Errno::INVAL)?;
    let seals = match flags & (linux::MFD_ALLOW_SEALING | linux::MFD_NOEXEC_SEAL) {
        0 => linux::F_SEAL_SEAL,
        linux::MFD_ALLOW_SEALING => 0,
        _ => linux::F_SEAL_EXEC,
    };
    regular.become_memfd(name, seals);
    Ok(file)
}

/// `F_GET_SEALS`.
///
/// # Errors
/// `EINVAL` for a file that has none.
pub(super) fn seals(file: &Regular) -> Result<u32, Errno> {
    Ok(*file.memfd().ok_or(Errno::INVAL)?.seals.lock())
}

/// `F_ADD_SEALS`.
///
/// # Errors
/// `EPERM`: the file is not open for writing, or its seals are sealed; `EINVAL`; `EBUSY`: it is
/// mapped so that it can be written.
pub(super) fn add_seals(file: &Regular, more: u32) -> Result<(), Errno> {
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
