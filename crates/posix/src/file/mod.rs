//! Open file descriptions: a position, flags, and what the calls of a file descriptor mean.
#![forbid(unsafe_code)]

mod copy;
mod description;
mod locks;
mod position;
mod residency;
mod size;
mod sync;
mod tmpfs;
mod transfer;
mod volume;

pub use description::{AccessMode, Description};
pub use locks::{LockKind, RangeLock, RangeLocks};
pub use tmpfs::{Room, TmpfsStore};
pub use transfer::RwFlags;
pub use volume::Volume;
