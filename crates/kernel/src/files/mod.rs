//! Files: names, open files of every kind, and what the machine begins with.
//!
//! | what | module |
//! |---|---|
//! | what an open file can do: [`File`] | `file` |
//! | regular files and directories, open | `regular`, `directory` |
//! | a node of a file system, of which there are two: [`Vnode`] | `vnode` |
//! | the one in memory, the one of the disk | `in_tree`, `on_disk` |
//! | the disk, mounted: its files in the cache, its flusher | `volume` |
//! | paths across mounts | `walk`, `mount` |
//! | devices, and the nodes that the tree begins with | `devices`, `console`, `first` |
//! | what the console makes of keys | `discipline` |
//! | places without contents (`O_PATH`), what a name of a FIFO or a device stands for | `path_only` |
//! | what is written, and what runs: not both | `uses` |
//! | what programs are told of that happens to files | `watches`, `notices` |
//! | pipes and FIFOs; sockets, what waits in them, and their names | `pipe`, `socket`, `inbox`, `bound` |
//! | how sockets find each other; what they send and receive | `connections`, `transfers` |
//! | sets of files, and when they tell of one again; counters, timers, signals, processes | `epoll`, `edges`, `timer`, `signal_file`, `process_file` |
//! | the flags of files without a place in the tree | `stream_flags` |
//! | files without a name, and their seals | `memfd` |
//! | texts that are made when they are opened | `text` |
//! | paths from the root | `paths` |
//! | what paths lead to, `open`, and what changes names | `names`, `open`, `change` |
//! | the initramfs | `initramfs` |
//!
//! To add a kind of open file, implement [`File`]. To add a device, add a line to the table in
//! `devices`. To add a file system, implement [`Vnode`].

mod bound;
mod change;
mod connections;
mod console;
mod devices;
mod directory;
mod discipline;
mod edges;
mod epoll;
mod file;
mod first;
mod in_tree;
mod inbox;
mod initramfs;
mod memfd;
mod mount;
mod names;
mod nodes;
mod notices;
mod on_disk;
mod open;
mod path_only;
mod paths;
mod pipe;
mod process_file;
mod regular;
mod signal_file;
mod socket;
mod stream_flags;
mod text;
mod timer;
mod transfers;
mod uses;
mod vnode;
mod volume;
mod walk;
mod watches;

use alloc::sync::Arc;

use faultless_posix::Errno;

use crate::arch::serial::say;
use crate::disk;
use crate::memory::Module;

pub(crate) use bound::find as find_socket;
pub(crate) use change::{link, make, remove_directory, rename, unlink};
pub(crate) use console::{set_foreground, tick as console_tick, typed_signals};
pub(crate) use devices::{ZERO, random_bytes};
pub(crate) use directory::Directory;
pub(crate) use epoll::{Epoll, epoll};
pub(crate) use file::{File, OpenFile, Ready};
pub(crate) use in_tree::root;
pub(crate) use inbox::{Passed, Sender, Taking};
pub(crate) use memfd::NO_WRITES;
pub(crate) use mount::{is_mount_root, mount, mount_number, path, table as mounts};
pub(crate) use names::{
    attributes_at, first_directory, look_up, make_directory, open, open_program, program_path,
    read_link,
};
pub(crate) use nodes::Attributes;
pub(crate) use notices::{Notices, notices};
pub(crate) use on_disk::{shut_down, sync};
pub(crate) use open::How;
pub(crate) use paths::absolute;
pub(crate) use pipe::{PipeEnd, pipe};
pub(crate) use process_file::{ProcessFile, process_file};
pub(crate) use regular::Regular;
pub(crate) use signal_file::{SignalFile, signal_file};
pub(crate) use socket::{Along, ROOM, Socket, Type, Waits, Way, socket, socket_pair};
pub(crate) use timer::{Clock, Counts, Setting, TimerFile, count_one, counter, is_counter, timer};
pub(crate) use uses::Use;
pub(crate) use vnode::{
    APPEND, Entry, Extent, Handle, IMMUTABLE, New, NewTimes, Space, Vnode, need_changeable,
};
pub(crate) use walk::Resolve;
pub(crate) use watches::notify;

/// Makes the tree of names, with the files of the initramfs, and mounts the disk if there is one.
///
/// # Errors
/// A file cannot be made. A disk that cannot be mounted is told, and left alone.
pub(crate) fn init(module: Option<Module>) -> Result<(), Errno> {
    first::init()?;
    module.map_or(Ok(()), |module| initramfs::unpack(module.bytes()))?;
    in_tree::limit();
    if let Some(disk) = disk::init()
        && let Err(why) = on_disk::init(disk)
    {
        say!("kernel: the disk cannot be mounted: {why}");
    }
    Ok(())
}

/// The console, open for reading and writing.
pub(crate) fn console() -> OpenFile {
    Arc::new(console::Console::default())
}
