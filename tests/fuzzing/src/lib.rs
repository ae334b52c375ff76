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
mod reuse;
pub mod search;
mod show;
mod tail;

use std::sync::OnceLock;

use arbitrary::Unstructured;

pub use self::concurrency::{
    CASES, CRASHES, Case, Extent, Longest, killed_pairs, pairs, rivals, troubled_pairs, twice,
};
pub use self::plant::Plant;
pub use self::search::{Find, search};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the program and of the folder of its seeds.
    pub name: &'static str,
    /// What it compares with what.
    pub about: &'static str,
    /// Bytes of input beyond which nothing new is to be expected.
    pub max_len: usize,
    body: Body,
}

type Body = fn(&mut Unstructured<'_>, Plant) -> arbitrary::Result<()>;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "partial_copy",
        about: "copies, cursor, fault-in and import against U1-U7 and W7",
        max_len: 256,
        body: partial_copy::body,
    },
    Target {
        name: "tail",
        about: "the end of a file, holes and recycled memory against the one legal value of each byte",
        max_len: 160,
        body: tail::body,
    },
    Target {
        name: "ops",
        about: "sequences of operations with faults, failures and crashes, by both strategies",
        max_len: 512,
        body: ops::body,
    },
    Target {
        name: "concurrency",
        about: "threads interrupted anywhere: no deadlock, no byte out of nowhere, some order of the writes",
        max_len: 128,
        body: concurrency::body,
    },
    Target {
        name: "index",
        about: "pages of a mapping against a BTreeMap",
        max_len: 512,
        body: index::body,
    },
    Target {
        name: "extable",
        about: "search and sorting of exception tables against a list",
        max_len: 512,
        body: extable::body,
    },
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Plays one input on the correct code, or with a bug planted.
    ///
    /// # Panics
    /// If the contract is broken: with what was seen.
    pub fn play(&self, input: &[u8], plant: Plant) {
        let mut input = Unstructured::new(input);
        // An input that ends too early has played what it could.
        let _ = (self.body)(&mut input, plant);
    }

    /// The bugs that can be planted here.
    pub fn plants(&self) -> impl Iterator<Item = Plant> {
        let name = self.name;
        Plant::ALL.iter().copied().filter(move |plant| plant.target() == name)
    }
}

/// What a fuzz program does with an input: the bug that the environment names is planted, if it is
/// one of this target.
///
/// # Panics
/// If there is no such target, or the environment names no bug; else as [`Target::play`].
pub fn play(target: &str, input: &[u8]) {
    static PLANT: OnceLock<Plant> = OnceLock::new();
    let plant = *PLANT.get_or_init(Plant::from_environment);
    Target::find(target).expect("a target").play(input, plant);
}
