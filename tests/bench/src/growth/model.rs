//! The model: what a call does, and what each part of it takes.

#![forbid(unsafe_code)]

use faultless_page::{PAGE_SIZE, PAGES_PER_LEAF};

use crate::stats::Spread;

/// Stripes of the read sections' counters.
const STRIPES: f64 = 16.0;
/// Children of a node, and bytes of each.
const FANOUT: u64 = 64;
const CHILD_BYTES: u64 = 8;
const LINE_BYTES: u64 = 64;

/// How many sizes loads are measured among.
pub(super) const LOADS: usize = 5;

/// Nanoseconds that things take a core of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// A load that waits for the one before, by the bytes among which it is: from those that the
    /// first cache holds to those that no cache holds.
    pub(super) loads: [(u64, f64); LOADS],
    /// A locked operation on a line that nobody else has.
    pub(super) locked: f64,
    /// A copy of a page in a cache, and of one in memory.
    pub(super) hot_copy: f64,
    pub(super) cold_copy: f64,
    /// What a hot 4 KiB overwrite takes beside its copy, two locked operations and the lookup. Less
    /// than nothing if the CPU does some of them at the same time.
    pub(super) rest: f64,
    /// The same of a hot 4 KiB read.
    pub(super) read_rest: f64,
}

/// What the model is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Primitives {
    /// While the other core is idle, and while it does the same.
    pub(super) alone: Costs,
    pub(super) beside: Costs,
    /// A line on its way from one core to another.
    pub(super) transfer: f64,
    /// Lines that travel for each overwrite: of different leaves, and of one.
    pub(super) lines: [usize; 2],
}

/// How the cores share the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Apart,
    Anywhere,
}

impl Costs {
    /// A load that the first cache answers.
    pub(super) fn hot_load(&self) -> f64 {
        self.loads[0].1
    }

    /// A load that memory answers.
    pub(super) fn cold_load(&self) -> f64 {
        self.loads[LOADS - 1].1
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
        let coldest = self.cold_load() - self.hot_load();
        ((self.load(bytes) - self.hot_load()) / coldest.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    /// The same of nodes that the first cache holds.
    pub(super) fn hot_lookup(&self, leaves: u64) -> f64 {
        let levels = leaves.max(2).ilog2().div_ceil(FANOUT.ilog2());
        f64::from(levels + 1) * self.hot_load()
    }

    /// Loads of the nodes on the way to a leaf: the root, and one a level.
    fn lookup(&self, leaves: u64) -> f64 {
        let mut nanoseconds = self.hot_load();
        let mut below = leaves;
        while below > 1 {
            nanoseconds += self.load(between_uses((below * CHILD_BYTES).div_ceil(LINE_BYTES)));
            below = below.div_ceil(FANOUT);
        }
        nanoseconds
    }
}

/// Bytes that random overwrites touch between two uses of a line, if each uses one of so many: the
/// pages that are copied to push it out of the caches.
const fn between_uses(lines: u64) -> u64 {
    lines * PAGE_SIZE as u64
}

impl Primitives {
    /// What things take while so many cores are busy.
    pub(super) fn costs(&self, cores: u32) -> &Costs {
        if cores > 1 { &self.beside } else { &self.alone }
    }

    /// A random 4 KiB overwrite of `bytes` that are cached.
    pub(super) fn overwrite(&self, bytes: u64, cores: u32, sharing: Sharing) -> f64 {
        let costs = self.costs(cores);
        let leaves = bytes.div_ceil((PAGES_PER_LEAF * PAGE_SIZE) as u64);
        let others = f64::from(cores - 1) / f64::from(cores);
        let leaf_bytes = between_uses(leaves);
        // A line that is in a cache is in that of the core which used it last.
        let [apart, together] = self.lines.map(|lines| lines as f64);
        let travels = match sharing {
            Sharing::Apart => apart,
            Sharing::Anywhere => together * others * (1.0 - costs.coldness(leaf_bytes)),
        };
        let copy = costs.hot_copy + costs.coldness(bytes) * (costs.cold_copy - costs.hot_copy);
        // Two lines of it, the second one's load beside the first one's.
        let leaf = costs.load(leaf_bytes) - costs.hot_load() + travels * self.transfer;
        costs.lookup(leaves) + leaf + 2.0 * costs.locked + copy + costs.rest
    }

    /// A 4 KiB read of a page that all cores read.
    pub(super) fn read(&self, bytes: u64, cores: u32) -> f64 {
        let costs = self.costs(cores);
        let leaves = bytes.div_ceil((PAGES_PER_LEAF * PAGE_SIZE) as u64);
        let sharers = (f64::from(cores) / STRIPES).max(1.0);
        // Each change waits for those of the others of the stripe.
        let counter = 2.0 * (sharers - 1.0) * self.transfer;
        costs.hot_lookup(leaves) + 2.0 * costs.locked + counter + costs.hot_copy + costs.read_rest
    }
}

/// The model beside what cores do.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) modelled: f64,
    pub(super) measured: f64,
    /// The first relative to the second, in the same round.
    pub(super) ratio: Spread,
}

impl Primitives {
    /// Names, with what each takes alone and beside the other core.
    pub(super) fn named(&self) -> [(&'static str, [f64; 2]); 8] {
        let both = |of: fn(&Costs) -> f64| [of(&self.alone), of(&self.beside)];
        [
            ("load, in the first cache", both(Costs::hot_load)),
            ("load, from memory", both(Costs::cold_load)),
            ("locked operation", both(|costs| costs.locked)),
            ("copy of 4 KiB, hot", both(|costs| costs.hot_copy)),
            ("copy of 4 KiB, cold", both(|costs| costs.cold_copy)),
            ("rest of a 4 KiB overwrite", both(|costs| costs.rest)),
            ("rest of a 4 KiB read", both(|costs| costs.read_rest)),
            ("line from core to core", [self.transfer; 2]),
        ]
    }
}
