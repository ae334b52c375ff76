//! The policy that ships, on leaves that are plain words.

use std::collections::{HashMap, VecDeque};

use faultless_policy::replacement::{
    Identity, Leaves, Marks, Offer, Origin, Outcome, Queue, Replacement, ShadowWords, Shadows,
};

use super::policy::{Costs, Policy};
use super::trace::{Dice, Trace};

/// Which leaf and slot a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Page `p` of the trace has slot `p % 64` of leaf `p / 64`.
    Natural,
    /// Each page has a leaf of its own.
    Scattered,
    /// The pages of the trace change places at random, 64 of them in each leaf.
    Shuffled,
}

#[derive(Clone, Debug, Default)]
struct Leaf {
    present: u64,
    marks: Marks,
    queued: [bool; 2],
}

/// Leaves, queues and the shadows' memory.
#[derive(Debug, Default)]
struct Books {
    leaves: Vec<Leaf>,
    queues: [VecDeque<u32>; 2],
    shadows: Vec<u64>,
    used_leaves: usize,
    most_leaves: usize,
    most_queued: usize,
}

impl Leaves for Books {
    type Leaf = u32;

    fn present(&self, leaf: u32) -> u64 {
        self.leaves[leaf as usize].present
    }

    fn marks(&self, leaf: u32) -> Marks {
        self.leaves[leaf as usize].marks
    }

    fn change(&mut self, leaf: u32, clear: Marks, set: Marks) {
        let marks = &mut self.leaves[leaf as usize].marks;
        marks.main = marks.main & !clear.main | set.main;
        marks.referenced = marks.referenced & !clear.referenced | set.referenced;
        marks.extra = marks.extra & !clear.extra | set.extra;
    }

    fn is_queued(&self, queue: Queue, leaf: u32) -> bool {
        self.leaves[leaf as usize].queued[queue as usize]
    }

    fn push_back(&mut self, queue: Queue, leaf: u32) {
        self.leaves[leaf as usize].queued[queue as usize] = true;
        self.queues[queue as usize].push_back(leaf);
        let queued = self.queues.iter().map(VecDeque::len).sum();
        self.most_queued = self.most_queued.max(queued);
    }

    fn pop_front(&mut self, queue: Queue) -> Option<u32> {
        let leaf = self.queues[queue as usize].pop_front()?;
        self.leaves[leaf as usize].queued[queue as usize] = false;
        Some(leaf)
    }
}

impl ShadowWords for Books {
    fn word(&mut self, index: u32) -> Option<&mut u64> {
        self.shadows.get_mut(index as usize)
    }
}

/// A cache under the policy that ships.
#[derive(Debug)]
pub struct Faultless {
    books: Books,
    policy: Replacement<u32>,
    /// Leaf and slot of each page.
    places: Vec<(u32, u32)>,
    batch: u32,
    costs: Costs,
}

impl Faultless {
    /// A cache of `capacity` pages for the pages of `trace`.
    #[must_use]
    pub fn new(trace: &Trace, capacity: usize, layout: Layout) -> Self {
        Self::batched(trace, capacity, layout, 1)
    }

    /// The same, where up to `batch` pages of a leaf are dropped at once.
    #[must_use]
    pub fn batched(trace: &Trace, capacity: usize, layout: Layout, batch: u32) -> Self {
        let places = places(trace, layout);
        let leaves = places.iter().map(|(leaf, _)| *leaf as usize + 1).max().unwrap_or(0);
        let shadows = Shadows::new(Shadows::words_for(capacity as u64));
        let books = Books {
            leaves: vec![Leaf::default(); leaves],
            shadows: vec![0; shadows.words() as usize],
            ..Books::default()
        };
        let policy = Replacement::new(capacity as u64, shadows);
        Self { books, policy, places, batch, costs: Costs::default() }
    }

    /// What it took so far.
    #[must_use]
    pub fn costs(&self) -> Costs {
        let books = &self.books;
        let per_page = |bytes: usize| bytes as f64 / self.policy.capacity() as f64;
        Costs {
            visits: self.policy.visits(),
            marks_per_page: per_page(books.most_leaves * 24),
            beside_per_page: per_page(
                size_of_val(books.shadows.as_slice()) + books.most_queued * 8,
            ),
            ..self.costs
        }
    }

    fn evict(&mut self) {
        let before = self.policy.visits();
        let victims = loop {
            match self.policy.victims(&mut self.books, self.batch, 16) {
                Offer::Victims(victims) => break victims,
                Offer::Again => {}
                Offer::Nothing => return,
            }
        };
        let leaf = &mut self.books.leaves[victims.leaf as usize];
        leaf.present &= !victims.slots;
        self.books.used_leaves -= usize::from(leaf.present == 0);
        let outcome = Outcome { dropped: victims.slots, referenced: 0 };
        self.policy.settle(&mut self.books, victims, first(victims.leaf), outcome);
        self.costs.evictions += u64::from(victims.slots.count_ones());
        self.costs.longest = self.costs.longest.max(self.policy.visits() - before);
    }
}

impl Policy for Faultless {
    fn request(&mut self, page: u32) -> bool {
        let (leaf, slot) = self.places[page as usize];
        let words = &mut self.books.leaves[leaf as usize];
        if words.present >> slot & 1 == 1 {
            let hit = words.marks.hit(1 << slot);
            words.marks.referenced |= hit.referenced;
            words.marks.extra |= hit.extra;
            self.costs.hits += 1;
            self.costs.writes += u64::from(!hit.is_empty());
            return true;
        }
        if self.policy.pages() >= self.policy.capacity() {
            self.evict();
        }
        let words = &mut self.books.leaves[leaf as usize];
        self.books.used_leaves += usize::from(words.present == 0);
        self.books.most_leaves = self.books.most_leaves.max(self.books.used_leaves);
        words.present |= 1 << slot;
        self.policy.insert(&mut self.books, leaf, 1 << slot, first(leaf), Origin::Demand);
        false
    }

    fn costs(&self) -> Option<Costs> {
        Some(Self::costs(self))
    }
}

/// The leaf's first page, in one mapping.
fn first(leaf: u32) -> Identity {
    Identity { mapping: 1, page: u64::from(leaf) * 64 }
}

/// Leaf and slot of each page.
fn places(trace: &Trace, layout: Layout) -> Vec<(u32, u32)> {
    let pages = trace.pages() as u32;
    match layout {
        Layout::Natural => {
            let mut leaves = HashMap::new();
            let place = |number: &u64| {
                let fresh = leaves.len() as u32;
                (*leaves.entry(number / 64).or_insert(fresh), (number % 64) as u32)
            };
            trace.numbers().iter().map(place).collect()
        }
        Layout::Scattered => (0..pages).map(|page| (page, page % 64)).collect(),
        Layout::Shuffled => {
            let mut order: Vec<u32> = (0..pages).collect();
            Dice::new(11).shuffle(&mut order);
            order.iter().map(|place| (place / 64, place % 64)).collect()
        }
    }
}
