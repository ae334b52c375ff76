//! Nodes of the tree that stand for something else than the file that they have: devices.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;

use faultless_posix::{Kind, Node, Status};
use linux_raw_sys::general as linux;

use crate::memory::Machine;
use crate::sync::Lock;
use crate::task::caller;

/// What `stat` says, of any kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) status: Status,
    /// `st_rdev`, of a device.
    pub(crate) device: u64,
    /// Room on the disk, in units of 512 bytes; unknown for files in memory.
    pub(crate) sectors: Option<u64>,
}

/// The devices, by the numbers of their nodes: each with its own number (`st_rdev`).
static SPECIAL: Lock<BTreeMap<u64, Special>> = Lock::new(BTreeMap::new());

/// What a node stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Special {
    pub(super) device: u64,
}

/// Lets a node stand for a device.
pub(super) fn mark(node: &Node<Machine>, special: Special) {
    SPECIAL.lock().insert(node.number(), special);
}

/// What `stat` says of a node.
pub(super) fn attributes(node: &Node<Machine>) -> Attributes {
    let mut status = node.status();
    let device = SPECIAL.lock().get(&node.number()).map(|special| special.device);
    if device.is_some() {
        status.mode = status.mode & !linux::S_IFMT | linux::S_IFCHR;
    }
    Attributes { status, device: device.unwrap_or(0), sectors: None }
}

/// What an open device says of itself that has no node at hand.
pub(crate) fn stream_attributes(kind: u32, device: u64) -> Attributes {
    let now = caller().now;
    let status = Status {
        device: 0,
        number: 1,
        kind: Kind::File,
        mode: kind | 0o666,
        links: 1,
        uid: 0,
        gid: 0,
        size: 0,
        accessed: now,
        modified: now,
        changed: now,
    };
    Attributes { status, device, sectors: None }
}
