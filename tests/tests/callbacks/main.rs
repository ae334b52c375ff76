//! What the core calls, and how often: callbacks that unwind, the throttle, unmaps and their
//! reasons, clocks, and calls that are not made.

mod counts;
mod fuse;
mod panics;
mod throttle;
mod times;
mod unmaps;
