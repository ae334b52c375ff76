//! What `stat` says, of any kind of file.
#![forbid(unsafe_code)]

use faultless_posix::{Kind, Status};

use crate::task::caller;

/// What `stat` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) status: Status,
    /// Room that it takes, in units of 512 bytes.
    pub(crate) sectors: u64,
}

/// What an open file says of itself that has no node: a pipe, the console at the begin.
pub(crate) fn stream_attributes(kind: Kind, special: u64) -> Attributes {
    let now = caller().now;
    let status = Status {
        device: 0,
        special,
        number: 1,
        kind,
        mode: kind.mode_bits() | 0o600,
        links: 1,
        uid: 0,
        gid: 0,
        size: 0,
        accessed: now,
        modified: now,
        changed: now,
    };
    Attributes { status, sectors: 0 }
}
