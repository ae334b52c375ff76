//! The bug museum: real failures of real write paths, each a named test that passes on Faultless
//! and, beside it, the same exhibit shown to a planted copy of the bug, where the failure is
//! asserted.
//!
//! Exhibits are functions of a [`Subject`](harness::Subject), the write path that they are shown
//! to: Faultless with either strategy; the historical controls; or a small [planted](planted) path
//! with one bug at a time. Without a bug the planted path passes everywhere, so what is caught is
//! the bug and not the path. Exhibits of letter E are functions of a sync, an eviction, a read:
//! Faultless's, or those of the core as it was. Other bugs sit in a lying [copier](copier) or a
//! lying [store](stores). `docs/museum.md` lists the exhibits with their sources; ids of commits
//! are Linux's unless said.
//!
//! Beside the exhibits stand the historical controls themselves: the [deadlocks] that they have,
//! and the [defects] of the first cure.

mod a_faults;
mod a_loops;
mod b_bytes;
mod b_pages;
mod c_blocks;
mod c_counts;
mod catalogue;
mod copier;
mod d_deadlocks;
mod deadlocks;
mod defects;
mod e_edges;
mod e_pages;
mod e_reclaim;
mod e_remote;
mod e_stores;
mod e_syncs;
mod e_waits;
mod failure;
mod harness;
mod kernels;
mod planted;
mod stores;
mod threads;
