//! Operations beside each other: none waits for ever (L1 to L3), and what they leave is right.
//!
//! | claims | module |
//! |---|---|
//! | any two, the second at every point of the first | [`pairs`] |
//! | each ends while others go on without pause | [`liveness`] |
//! | threads without a plan: the write of DL1, and everything at once | [`stress_cold`], [`stress_mixed`] |
//! | the same on a store that ends its requests later, and fails some | [`deferred`] |
//! | files of several memories, beside threads that reclaim | [`short_of_memory`] |
//! | several stores under one limit of dirty pages, one of which is stuck | [`shares`] |
//! | a file on a file, as behind a loop device | [`stacked`] |
//! | each operation on a page whose request is under way | [`under_way`] |

mod deferred;
mod liveness;
mod pairs;
mod shares;
mod short_of_memory;
mod stacked;
mod stress_cold;
mod stress_mixed;
mod under_way;
