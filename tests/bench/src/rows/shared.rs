//! What rows of every kind share: sizes, the user's memory, and contestants that are always there.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use crate::measure::{Contestant, Role};
use crate::memory::{Arena, null_syscall};

/// One KiB.
pub(super) const KIB: usize = 1024;
/// One MiB.
pub(super) const MIB: usize = 1024 * KIB;
/// What the user's memory has room for.
const USER: usize = 2 * MIB;

/// The subject and its control: the same twice.
pub(super) const TWICE: [Role; 2] = [Role::Subject, Role::Control];

/// Memory that holds what user programs hold.
pub(super) fn user_memory() -> io::Result<Arc<Arena>> {
    Ok(Arc::new(Arena::new(USER)?))
}

/// What a system call costs that does nothing.
pub(super) fn nothing() -> Contestant {
    Contestant::new(Role::NullSyscall, |n| {
        for _ in 0..n {
            null_syscall();
        }
    })
}
