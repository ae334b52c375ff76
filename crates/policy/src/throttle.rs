//! How long a task that dirties pages pauses.
//!
//! A task writes in steps. A step dirties at most as many pages as the task was promised before
//! it, [`MOST_STEP`] at most. After each step that landed, with no lock held, the task asks
//! [`Writer::landed`], sleeps for as long as the [`Step`] says, and gets pages promised for the
//! next step by [`Limits::admit`].
//!
//! The hard limit is exact: the counter `charged` holds the pages that are dirty and those that
//! are promised, and `admit` never lets it exceed the limit. That holds for any number of tasks if
//!
//! * reading the counter, `admit` and adding the result are one atomic step (a compare-exchange
//!   loop, or a lock);
//! * no step dirties more pages than its task holds promised; a step that needs more is cut;
//! * a page leaves the counter when its writeback ends, and promised pages leave it by
//!   [`Step::give_back`] and [`Writer::leave`].
//!
//! A task that is denied waits until writeback ends and asks again. One that overwrites dirty
//! pages uses up no promise, so that it does not touch the counter. Promises are kept between
//! steps only below the point where pauses begin, so that idle tasks cannot hold the rest. Pages
//! must be admitted by the limits of the cache, which is exact, and by the share of the store; if
//! the second gives fewer, the difference is given back.
//!
//! Pauses hold the dirty pages of a store between that point and its limit, and share the store's
//! bandwidth equally among its writers. Each store has a [`Store`] and a share of the limits
//! ([`Limits::share`]) in proportion to its bandwidth, so that a slow store cannot fill the limit
//! of a fast one.
//!
//! | module | what it holds |
//! |---|---|
//! | `rate` | [`Rate`]: pages in a time, in integers |
//! | `limits` | [`Limits`]: the two thresholds, what is admitted, and a store's share |
//! | `store` | [`Store`]: the bandwidth of a store, and the rate that is fair for a writer |
//! | `writer` | [`Writer`]: the pauses and the promised pages of one task |
//!
//! Counters, sleeping and writeback are the cache's. Times are nanoseconds of a clock that does
//! not run backward.
#![forbid(unsafe_code)]

mod limits;
mod rate;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use rate::Rate;
pub use store::{Counters, Store};
pub use writer::{LONGEST_PAUSE_NS, MOST_STEP, Step, Writer};
