//! Address spaces: what each call on memory answers, and what programs see afterwards.

mod advice;
mod calls;
mod changes;
mod forks;
mod maps;
mod races;
#[path = "../support/mod.rs"]
mod support;
mod syncs;

use faultless_posix::Rights;

/// Loads only.
const R: Rights = Rights::READ;
/// Loads and stores.
const RW: Rights = Rights::READ.union(Rights::WRITE);
/// Nothing (`PROT_NONE`).
const NONE: Rights = Rights::empty();

/// Whether address spaces have M.
const LOCKS_AREAS: bool = false;
