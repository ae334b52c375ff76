//! Writers and stores of some bandwidth.
//!
//! | module | what it is |
//! |---|---|
//! | [`control`] | the decisions that are simulated: those that ship, or some with a planted bug |
//! | [`store`] | a store with a bandwidth that may vary |
//! | [`machine`] | writers, counters and stores, event by event |
//! | [`table`] | the scenes with their bars, and the results |

#![forbid(unsafe_code)]

pub mod control;
pub mod machine;
pub mod store;
pub mod table;
