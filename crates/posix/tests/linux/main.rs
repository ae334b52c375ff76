//! Random sequences of calls here and on the Linux that the tests run on: results, errors,
//! positions, sizes and contents have to be the same.
#![cfg(target_os = "linux")]

mod buffers;
mod files;
mod memory;
mod real;
#[path = "../support/mod.rs"]
mod support;

/// Whether address spaces have M.
const LOCKS_AREAS: bool = false;
