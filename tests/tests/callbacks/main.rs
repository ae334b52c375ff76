//! What the core calls, how often, and what an operation costs.
//!
//! | claims | module |
//! |---|---|
//! | callbacks that unwind, with a fuse that blows | [`panics`], [`fuse`] |
//! | the throttle (L6) | [`throttle`] |
//! | unmaps and their reasons | [`unmaps`] |
//! | clocks (F7) | [`times`] |
//! | calls that are not made | [`counts`] |
//! | locked instructions, copies and locks, exactly | [`counters`], [`counters_reads`], [`counters_reclaim`] |

mod counters;
mod counters_reads;
mod counters_reclaim;
mod counts;
mod fuse;
mod panics;
mod throttle;
mod times;
mod unmaps;
