//! The fuzz targets, and how an input of one is played.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use arbitrary::Unstructured;

use super::plant::Plant;
use super::{concurrency, extable, index, ops, partial_copy, tail};

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
