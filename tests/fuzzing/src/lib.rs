//! Fuzz bodies: what the targets in `fuzz/` and the replay of their seeds run.
//!
//! | target, and module | against |
//! |---|---|
//! | `partial_copy` | the contract U1–U7 at every offset; a model of the cursor |
//! | `tail` | the one legal value of each byte of a file |
//! | `ops` | the same, what fsync promised, and the other strategy |
//! | `concurrency` | the operations in some order, under a deterministic scheduler |
//! | `index` | a `BTreeMap` |
//! | `extable` | a list |
//!
//! A body reads a script from the input's bytes, plays it, and panics where the core breaks its
//! contract. It does the same for the same bytes each time. Every target has [planted bugs](Plant)
//! that it must find: `FAULTLESS_PLANT` names one.
//!
//! Key types: [`Target`], [`Plant`]; [`mod@search`] looks for a planted bug without a fuzzer.
//! Machines are kept between runs, one for each thread. With `FAULTLESS_SHOW` set, each step is
//! printed before it is done.

mod concurrency;
mod contents;
mod extable;
mod index;
mod ops;
mod partial_copy;
mod plant;
mod planted_user;
mod quiet;
mod reuse;
pub mod search;
mod show;
mod tail;
mod target;

pub use self::concurrency::{
    CASES, CRASHES, Cached, Case, Extent, Longest, killed_pairs, late_killed_pairs, late_pairs,
    late_rivals, pairs, reclaiming_pairs, rivals, troubled_pairs, twice,
};
pub use self::plant::Plant;
pub use self::search::{Find, search};
pub use self::target::{TARGETS, Target, play};
