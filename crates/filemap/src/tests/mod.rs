//! Tests of the operations on one thread: a kernel whose parts are ready-made, a store that keeps a
//! record, user memory that faults where a test says so.
//!
//! - [`kernel`]: the seams, and a watch over the locks that are held;
//! - [`user`]: user memory;
//! - [`store`]: the store, and what it was asked;
//! - [`rig`]: one file over these, and what tests look at;
//! - the others: claims, in files named after the operation that they are about.
//!
//! Each rig looks, at its end, whether frames, locks and calls of the store are balanced (P5).

mod kernel;
mod rig;
mod store;
mod swap;
mod sync_files;
mod user;

mod append;
mod direct;
mod drop_behind;
mod evict;
mod fallocate;
mod fault;
mod fault_huge;
mod flush;
mod flusher;
mod fresh;
mod hot;
mod invalidate;
mod kernel_memory;
mod last_handle;
mod legacy;
mod limits;
mod migrate;
mod nonblocking;
mod nonblocking_sync;
mod open_file;
mod queued;
mod read;
mod reclaim;
mod residency;
mod seek;
mod shares;
mod shift;
mod throttle;
mod truncate;
mod write;
mod write_progress;
mod writeback;
mod zeros;

use rig::{PAGE, Rig, both, bytes, overlay};
