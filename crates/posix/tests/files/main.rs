//! Open files: what each call of a file descriptor answers and leaves behind.

mod copy;
mod descriptors;
mod position;
mod size;
#[path = "../support/mod.rs"]
mod support;
mod sync;
mod tmpfs;
mod transfer;
mod volume;

/// Whether address spaces have M.
const LOCKS_AREAS: bool = false;
