//! Files: names, open files of every kind, and what the machine begins with.
//!
//! | what | module |
//! |---|---|
//! | what an open file can do: [`File`] | `file` |
//! | regular files and directories of a tree of names | `regular`, `directory` |
//! | devices: nodes of the tree that stand for something else | `devices`, `console` |
//! | pipes | `pipe` |
//! | paths, `open`, and what else makes names | `names` |
//! | the initramfs | `initramfs` |
//!
//! To add a kind of open file, implement [`File`]. To add a device, add a line to the table in
//! `devices`. A file system that is mounted is found in `names`, which is the only module that
//! looks paths up.

mod console;
mod devices;
mod directory;
mod file;
mod initramfs;
mod names;
mod nodes;
mod pipe;
mod regular;

use alloc::sync::Arc;

use faultless_posix::Errno;

use crate::memory::Module;

pub(crate) use console::tick as console_tick;
pub(crate) use devices::{ZERO, random_bytes};
pub(crate) use directory::Directory;
pub(crate) use file::{File, OpenFile, Ready};
pub(crate) use names::{
    absolute, attributes_at, first_directory, look_up, make_directory, make_file, open,
    open_program, opens_as, read_link, resolve_by, tree,
};
pub(crate) use nodes::{Attributes, stream_attributes};
pub(crate) use pipe::pipe;
pub(crate) use regular::Regular;

/// Makes the tree of names, with the files of the initramfs.
///
/// # Errors
/// A file cannot be made.
pub(crate) fn init(module: Option<Module>) -> Result<(), Errno> {
    devices::init()?;
    module.map_or(Ok(()), |module| initramfs::unpack(module.bytes()))
}

/// The console, open for reading and writing.
pub(crate) fn console() -> OpenFile {
    Arc::new(console::Console::default())
}
