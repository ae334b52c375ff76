//! Shuttle: many threads, sequentially consistent, random and PCT schedules that can be replayed,
//! and all of them for small cases.
//!
//! The machine has an address space here: [`space`] is a scripted MMU with the lock M, page tables
//! and a fault handler, so that whole system calls run against each other. [`scenarios`] has the
//! models, [`explore`] runs them. [`checker`] is the seam to shuttle.

pub mod bell;
pub mod checker;
pub mod explore;
pub mod failing;
pub mod held;
pub mod lock;
pub mod rmap;
pub mod scenarios;
pub mod space;
pub mod user;
pub mod words;
