//! A tree of names in memory, as a kernel has it for its root file system: what Linux's tmpfs means
//! to a program.
//!
//! Key types: [`Tree`], [`Node`]. The contents of files are the kernel's: the tree holds its
//! handles ([`System::File`](crate::System::File)), and makes none. Open files are
//! [`Description`](crate::Description)s.
//!
//! | calls | module |
//! |---|---|
//! | path walking, `stat`, `readlink`, `getdents`, `getcwd` | `walk`, `read` |
//! | `open` | `open` |
//! | `mkdir`, `symlink`, `link`, `mknod`; `unlink`, `rmdir`; `rename` | `add`, `remove`, `rename` |
//! | `fstat`, `chmod`, `chown`, `utimensat` | `status` |
//! | extended attributes, flags | `extended` |
//! | nodes, and a directory's names | `node`, `entries` |
//!
//! # Locks
//! Two kinds, both short: the lock of the tree, and below it one in each node. The first is held
//! while names change and links are counted. The second guards the attributes and the names of its
//! node; no two of them are held at once. A look at one node takes the second kind only, so that a
//! walk does not wait for changes elsewhere. With either of them memory is allocated (for a name:
//! nodes of two maps; new tree nodes, names and buffers are allocated before). Below them are only
//! the atomic words of an inode.
//!
//! With a lock held no handle is dropped that may be the last one, no file is made, and nothing
//! sleeps. A handle moves out before it is dropped; the drop of a node frees the nodes that only it
//! had, one after the other.
//!
//! # Unlike Linux
//! - Permissions are not checked: each call is made as root. A kernel with users looks at
//!   [`Status`] before it calls.
//! - There are no mounts, and no `RENAME_WHITEOUT`; nor `chroot`: the root is
//!   the tree's. Device nodes, FIFOs and sockets are names: what opening them means is the
//!   kernel's.
//! - Directories and files are as many as there is memory.
#![forbid(unsafe_code)]

mod add;
mod entries;
mod extended;
mod node;
mod open;
mod read;
mod remove;
mod rename;
mod status;
mod tree;
mod walk;

pub use extended::SetFlags;
pub use node::{Caller, Kind, Node};
pub use open::{Opened, Origin};
pub use read::DirectoryEntry;
pub use status::{Accessed, Status};
pub use tree::Tree;
pub use walk::Follow;
