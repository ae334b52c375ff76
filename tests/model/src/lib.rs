//! The shipped code of `page` and `filemap` under two model checkers.
//!
//! Both crates reach words, short locks, waiting and memory through one seam,
//! [`faultless_page::Kernel`]. This crate implements the seam for loom (exhaustive, weak memory,
//! bounded preemptions) and for shuttle (sequentially consistent, many threads, replayable
//! schedules), so that what is explored is the code that ships.
//!
//! | module | what it is |
//! |---|---|
//! | [`checker`] | what a checker has to offer |
//! | [`kernel`] | the [`Kernel`](faultless_page::Kernel) made from it |
//! | [`memory`] | frames that notice a use after free, and bytes that a reader may see late |
//! | [`wait`] | the weakest waiting that the contract of [`Wait`](faultless_page::Wait) allows |
//! | [`store`] | a store of a few bytes |
//! | [`plant`] | the bugs that can be planted through the seam: each must be found |
//! | [`on_loom`] | the family for loom, and its models |
//! | [`on_shuttle`] | the family for shuttle, an address space, its models, and a historical control |
//! | [`catalogue`] | all models by name, with their bounds and the bugs that each must find |
//! | [`suite`] | runs them, each in a process of its own |
//!
//! A found deadlock ends a process under loom, so every model runs in one of its own: see
//! `main.rs`.

pub mod catalogue;
pub mod checker;
pub mod kernel;
pub mod memory;
pub mod on_loom;
pub mod on_shuttle;
pub mod plant;
pub mod store;
pub mod suite;
pub mod wait;
