//! Traces and simulated stores, replayed through the policies that ship.
//!
//! `cargo xtask bench reclaim`, `bench readahead` and `bench throttle` print what comes out; the
//! tests here assert the bars, which are counts and simulated time, so the same on each machine.

#![forbid(unsafe_code)]

pub mod random;
pub mod readahead;
pub mod reclaim;
pub mod throttle;
