//! Pages with their marks, in bounded or unbounded memory.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

/// A leaf: one bit for each of its 64 pages, and when each page arrives.
#[derive(Debug)]
struct Leaf {
    present: u64,
    marked: u64,
    /// Read ahead and not used yet.
    unused: u64,
    arrivals: [u64; 64],
}

impl Leaf {
    const EMPTY: Self = Self { present: 0, marked: 0, unused: 0, arrivals: [0; 64] };
}

/// The pages of one file.
#[derive(Debug)]
pub struct Cache {
    leaves: HashMap<u64, Leaf>,
    /// Present pages, the oldest first, if memory is bounded.
    order: VecDeque<u64>,
    room: Option<usize>,
    /// Pages that were read ahead and dropped without a use.
    pub dropped_unused: u64,
}

/// Why a page comes into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The reader asked for it.
    Asked,
    /// It is read ahead.
    Ahead,
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No page.
    Absent,
    /// A page that is there from this time on.
    Present {
        /// Nanoseconds.
        arrival: u64,
    },
    /// The same, and it carried a marker, which is now cleared.
    Marked {
        /// Nanoseconds.
        arrival: u64,
    },
}

impl Cache {
    /// An empty cache with room for `room` pages.
    pub fn new(room: Option<usize>) -> Self {
        Self { leaves: HashMap::new(), order: VecDeque::new(), room, dropped_unused: 0 }
    }

    fn leaf(&mut self, page: u64) -> (&mut Leaf, u64) {
        (self.leaves.entry(page / 64).or_insert(Leaf::EMPTY), 1 << (page % 64))
    }

    /// Whether the page is there or on its way.
    pub fn has(&self, page: u64) -> bool {
        self.leaves.get(&(page / 64)).is_some_and(|leaf| leaf.present >> (page % 64) & 1 == 1)
    }

    /// Uses a page.
    pub fn take(&mut self, page: u64) -> Found {
        let (leaf, bit) = self.leaf(page);
        if leaf.present & bit == 0 {
            return Found::Absent;
        }
        leaf.unused &= !bit;
        let arrival = leaf.arrivals[(page % 64) as usize];
        if leaf.marked & bit == 0 {
            return Found::Present { arrival };
        }
        leaf.marked &= !bit;
        Found::Marked { arrival }
    }

    /// Puts in a page that is absent. The oldest page leaves if there is no room.
    pub fn put(&mut self, page: u64, arrival: u64, reason: Reason) {
        let (leaf, bit) = self.leaf(page);
        leaf.present |= bit;
        leaf.arrivals[(page % 64) as usize] = arrival;
        if reason == Reason::Ahead {
            leaf.unused |= bit;
        }
        let Some(room) = self.room else { return };
        self.order.push_back(page);
        if self.order.len() > room
            && let Some(oldest) = self.order.pop_front()
        {
            self.drop_page(oldest);
        }
    }

    /// Sets the marker of a page.
    pub fn mark(&mut self, page: u64) {
        let (leaf, bit) = self.leaf(page);
        leaf.marked |= bit;
    }

    fn drop_page(&mut self, page: u64) {
        let (leaf, bit) = self.leaf(page);
        let unused = leaf.unused & bit != 0;
        leaf.present &= !bit;
        leaf.marked &= !bit;
        leaf.unused &= !bit;
        self.dropped_unused += u64::from(unused);
    }

    /// Pages that were read ahead, are still there, and were not used.
    pub fn still_unused(&self) -> u64 {
        self.leaves.values().map(|leaf| u64::from(leaf.unused.count_ones())).sum()
    }
}
