//! Address spaces whose areas have a sleeping lock: the tests of memory once more, and the lock.

mod areas;
#[path = "../memory/calls.rs"]
mod calls;
#[path = "../memory/changes.rs"]
mod changes;
#[path = "../memory/forks.rs"]
mod forks;
#[path = "../memory/maps.rs"]
mod maps;
#[path = "../support/mod.rs"]
mod support;
#[path = "../memory/syncs.rs"]
mod syncs;

use faultless_posix::Rights;

/// Whether address spaces have M.
const LOCKS_AREAS: bool = true;

/// Loads only.
const R: Rights = Rights::READ;
/// Loads and stores.
const RW: Rights = Rights::READ.union(Rights::WRITE);
/// Nothing (`PROT_NONE`).
const NONE: Rights = Rights::empty();
