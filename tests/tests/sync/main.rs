//! What syncs promise, and what failing stores and crashes leave of it (F1 to F8, W4, W9, W11).
//!
//! | claims | module |
//! |---|---|
//! | what is durable, and who hears of an error | [`writeback`] |
//! | failing stores beside other threads | [`syncs`] |
//! | a failure at each call of a sequence | [`fault_sweep`] |
//! | a crash at each call of the store | [`crash`] |

mod crash;
mod fault_sweep;
mod syncs;
mod writeback;
