//! Streams of reads, and a store with a latency.
//!
//! | module | what it is |
//! |---|---|
//! | [`workload`] | generated sequences of reads |
//! | [`store`] | a store with a latency, a queue and a transfer rate |
//! | [`cache`] | pages with their marks, in bounded or unbounded memory |
//! | [`replay`] | a reader that follows a policy, and what comes out |
//! | [`table`] | the workloads with their bars, and the results |

#![forbid(unsafe_code)]

pub mod cache;
pub mod replay;
pub mod store;
pub mod table;
pub mod workload;
