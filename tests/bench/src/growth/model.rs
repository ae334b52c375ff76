//! The model: what a call does, and what each part of it takes.

#![forbid(unsafe_code)]

use faultless_page::{PAGE_SIZE, PAGES_PER_LEAF};

/// Stripes of the read sections' counters.
const STRIPES: f64 = 16.0;
/// Bytes of a leaf that a random overwrite touches: its words, and one of four lines of frames.
const LEAF_BYTES: u64 = 64 + 4 * 64;
/// Children of a node, and bytes of each.
pub(super) const FANOUT: u64 = 64;
const CHILD_BYTES: u64 = 8;

/// How many sizes loads are measured among.
pub(super) const LOADS: usize = 5;

/// Nanoseconds that things take on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Primitives {
    /// A load that waits for the one before, by the bytes among which it is: from those that the
    /// first cache holds to those that no cache holds.
    pub(super) loads: [(u64, f64); LOADS],
    /// A locked operation on a line that nobody else has.
    pub(super) locked: f64,
    /// A line on its way from one core to another.
    pub(super) transfer: f64,
    /// A copy of a page in a cache, and of one in memory.
    pub(super) hot_copy: f64,
    pub(super) cold_copy: f64,
    /// What a hot 4 KiB overwrite takes beside its copy, two locked operations and the lookup.
    pub(super) rest: f64,
    /// The same of a hot 4 KiB read.
    pub(super) read_rest: f64,
    /// Lines that travel for each overwrite: of different leaves, and of one.
    pub(super) lines: [usize; 2],
}

/// How the cores share the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Apart,
    Anywhere,
}

impl Primitives {
    /// A load that the first cache answers.
    pub(super) fn hot_load(&self) -> f64 {
        self.loads[0].1
    }

    /// A load among so many bytes: between two measured ones in proportion to their logarithms.
    pub(super) fn load(&self, bytes: u64) -> f64 {
        let bytes = bytes.clamp(self.loads[0].0, self.loads[LOADS - 1].0);
        let pairs = self.loads.windows(2).map(|pair| (pair[0], pair[1]));
        let mut found = self.hot_load();
        for ((low, quick), (high, slow)) in pairs.filter(|((low, _), _)| *low <= bytes) {
            let part = (bytes as f64 / low as f64).ln() / (high as f64 / low as f64).ln();
            found = quick + part.min(1.0) * (slow - quick);
        }
        found
    }

    /// How cold so many bytes are: 0 in the first cache, 1 in memory.
    pub(super) fn coldness(&self, bytes: u64) -> f64 {
        let coldest = self.loads[LOADS - 1].1 - self.hot_load();
        ((self.load(bytes) - self.hot_load()) / coldest.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    /// Loads of the nodes on the way to a leaf: the root, and one a level.
    fn lookup(&self, leaves: u64) -> f64 {
        let mut nanoseconds = self.hot_load();
        let mut below = leaves;
        while below > 1 {
            nanoseconds += self.load(below * CHILD_BYTES);
            below = below.div_ceil(FANOUT);
        }
        nanoseconds
    }

    /// A random 4 KiB overwrite of `bytes` that are cached.
    pub(super) fn overwrite(&self, bytes: u64, cores: u32, sharing: Sharing) -> f64 {
        let leaves = bytes.div_ceil((PAGES_PER_LEAF * PAGE_SIZE) as u64);
        let others = f64::from(cores - 1) / f64::from(cores);
        let leaf_bytes = leaves * LEAF_BYTES;
        // A line that is in a cache is in that of the core which used it last.
        let [apart, together] = self.lines.map(|lines| lines as f64);
        let travels = match sharing {
            Sharing::Apart => apart,
            Sharing::Anywhere => together * others * (1.0 - self.coldness(leaf_bytes)),
        };
        let copy = self.hot_copy + self.coldness(bytes) * (self.cold_copy - self.hot_copy);
        // Two lines of it, the second one's load beside the first one's.
        let leaf = self.load(leaf_bytes) - self.hot_load() + travels * self.transfer;
        self.lookup(leaves) + leaf + 2.0 * self.locked + copy + self.rest
    }

    /// A 4 KiB read of a page that all cores read.
    pub(super) fn read(&self, bytes: u64, cores: u32) -> f64 {
        let leaves = bytes.div_ceil((PAGES_PER_LEAF * PAGE_SIZE) as u64);
        let levels = f64::from(leaves.max(2).ilog2()) / f64::from(FANOUT.ilog2());
        let sharers = (f64::from(cores) / STRIPES).max(1.0);
        // Each change waits for those of the others of the stripe.
        let counter = 2.0 * (sharers - 1.0) * self.transfer;
        levels.ceil() * self.hot_load()
            + 2.0 * self.locked
            + counter
            + self.hot_copy
            + self.read_rest
    }
}

/// The model beside what two cores do.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) modelled: f64,
    pub(super) measured: f64,
}

impl Primitives {
    /// With their names.
    pub(super) fn named(&self) -> [(&'static str, f64); 8] {
        [
            ("load, in the first cache", self.hot_load()),
            ("load, from memory", self.loads[LOADS - 1].1),
            ("locked operation", self.locked),
            ("line from core to core", self.transfer),
            ("copy of 4 KiB, hot", self.hot_copy),
            ("copy of 4 KiB, cold", self.cold_copy),
            ("rest of a 4 KiB overwrite", self.rest),
            ("rest of a 4 KiB read", self.read_rest),
        ]
    }
}
