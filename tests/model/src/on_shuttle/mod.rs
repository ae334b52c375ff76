//! Shuttle: many threads, sequentially consistent, random and PCT schedules that can be replayed,
//! and all of them for small cases.
//!
//! The machine has an address space here, the host's [stepped](faultless_host::stepped) one, so
//! that whole system calls run against each other. [`scenarios`] has the models, [`explore`] runs
//! them. [`checker`] is the seam to shuttle.

pub mod bell;
pub mod checker;
pub mod explore;
pub mod failing;
pub mod held;
mod machine;
pub mod scenarios;
pub mod words;
