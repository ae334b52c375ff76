//! The initramfs: an archive of the format `newc`, which becomes the first files.

use alloc::sync::Arc;

use cpio_reader::Mode;
use faultless::prelude::{IovIter, KernelMemory, MayFault};
use faultless_posix::{Description, Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::files::in_tree::tree;
use crate::files::names::{make_directory, make_file};
use crate::memory::Open;
use crate::task::{Running, caller};

/// The bits of a mode that say what kind of file it is.
const KIND: u32 = linux::S_IFMT;

/// Makes the files of an archive.
///
/// # Errors
/// Those of the calls that make them.
pub(super) fn unpack(archive: &[u8]) -> Result<(), Errno> {
    for entry in cpio_reader::iter_files(archive) {
        let mode = entry.mode().bits();
        let path = absolute(entry.name().as_bytes());
        match mode & KIND {
            linux::S_IFDIR => {
                make_directory(&path, mode & !KIND)?;
            }
            linux::S_IFLNK => {
                tree().make_link(&caller(), entry.file(), tree().root(), &path)?;
            }
            linux::S_IFREG => file(&path, mode & !KIND, entry.file())?,
            // Devices are made by the kernel.
            _ => {}
        }
    }
    Ok(())
}

fn absolute(name: &[u8]) -> alloc::vec::Vec<u8> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    [b"/", name.strip_prefix(b"/").unwrap_or(name)].concat()
}

/// Makes a file of the tree, with its contents.
///
/// # Errors
/// Those of the calls that make it.
pub(super) fn file(path: &[u8], mode: u32, contents: &[u8]) -> Result<(), Errno> {
    let node = make_file(path, mode)?;
    let file = node.file().ok_or(Errno::ISDIR)?.clone();
    let open: Open = Arc::new(Description::new(file, linux::O_WRONLY));
    // SAFETY: a thread of the kernel, which holds no lock.
    let mut token = unsafe { MayFault::assert() };
    let mut rest = contents;
    while !rest.is_empty() {
        let memory = KernelMemory::readable(rest);
        let slice = memory.slice();
        let mut from = IovIter::from_slice(&memory, &slice);
        let done = open.write(&mut token, &mut from, RwFlags::empty(), &Running)?;
        rest = &rest[done..];
    }
    Ok(())
}

/// The crate knows the bits of modes under names of its own.
const _: fn(Mode) -> u32 = |mode| mode.bits();
