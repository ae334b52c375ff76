//! A cache of a few leaves in plain words.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use crate::replacement::{
    Identity, Leaves, Marks, Offer, Origin, Outcome, Queue, Replacement, ShadowWords, Shadows,
    Victims,
};

#[derive(Clone, Default)]
pub(super) struct Leaf {
    pub(super) present: u64,
    pub(super) marks: Marks,
    pub(super) accessed: u64,
    queued: [bool; 2],
}

pub(super) struct Books {
    pub(super) leaves: Vec<Leaf>,
    queues: [VecDeque<usize>; 2],
    shadows: Vec<u64>,
    /// Every page is hit between any two looks at its marks.
    pub(super) is_hot: bool,
}

impl Leaves for Books {
    type Leaf = usize;

    fn present(&self, leaf: usize) -> u64 {
        self.leaves[leaf].present
    }

    fn marks(&self, leaf: usize) -> Marks {
        let Leaf { present, mut marks, .. } = self.leaves[leaf];
        marks.referenced |= if self.is_hot { present } else { 0 };
        marks
    }

    fn change(&mut self, leaf: usize, clear: Marks, set: Marks) {
        let marks = &mut self.leaves[leaf].marks;
        for (word, clear, set) in [
            (&mut marks.main, clear.main, set.main),
            (&mut marks.referenced, clear.referenced, set.referenced),
            (&mut marks.extra, clear.extra, set.extra),
        ] {
            assert_eq!(clear & set, 0, "a bit is set and cleared at once");
            *word = *word & !clear | set;
        }
    }

    fn take_accessed(&mut self, leaf: usize, slots: u64) -> u64 {
        let accessed = self.leaves[leaf].accessed & slots;
        self.leaves[leaf].accessed &= !slots;
        accessed
    }

    fn is_queued(&self, queue: Queue, leaf: usize) -> bool {
        self.leaves[leaf].queued[queue as usize]
    }

    fn push_back(&mut self, queue: Queue, leaf: usize) {
        assert!(!self.is_queued(queue, leaf), "a leaf is queued twice");
        self.leaves[leaf].queued[queue as usize] = true;
        self.queues[queue as usize].push_back(leaf);
    }

    fn pop_front(&mut self, queue: Queue) -> Option<usize> {
        let leaf = self.queues[queue as usize].pop_front()?;
        self.leaves[leaf].queued[queue as usize] = false;
        Some(leaf)
    }
}

impl ShadowWords for Books {
    fn word(&mut self, index: u32) -> Option<&mut u64> {
        self.shadows.get_mut(index as usize)
    }
}

/// The policy and its leaves, for a cache of one mapping: page `p` is slot `p % 64` of leaf
/// `p / 64`.
pub(super) struct Cache {
    pub(super) books: Books,
    pub(super) policy: Replacement<usize>,
}

impl Cache {
    pub(super) fn new(capacity: u64, leaves: usize) -> Self {
        let shadows = Shadows::new(Shadows::words_for(capacity));
        let words = vec![0; shadows.words() as usize];
        let leaves = vec![Leaf::default(); leaves];
        let books = Books { leaves, queues: Default::default(), shadows: words, is_hot: false };
        Self { books, policy: Replacement::new(capacity, shadows) }
    }

    pub(super) fn insert(&mut self, page: usize, origin: Origin) {
        let (leaf, slots) = place(page);
        self.books.leaves[leaf].present |= slots;
        self.policy.insert(&mut self.books, leaf, slots, first(leaf), origin);
    }

    pub(super) fn insert_all(&mut self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            self.insert(page, Origin::Demand);
        }
    }

    pub(super) fn hit(&mut self, page: usize) {
        let (leaf, slots) = place(page);
        let marks = &mut self.books.leaves[leaf].marks;
        let hit = marks.hit(slots);
        marks.referenced |= hit.referenced;
        marks.extra |= hit.extra;
    }

    pub(super) fn remove(&mut self, page: usize) {
        let (leaf, slots) = place(page);
        self.policy.removed(&mut self.books, leaf, slots);
        self.books.leaves[leaf].present &= !slots;
    }

    pub(super) fn settle(&mut self, victims: Victims<usize>, outcome: Outcome) {
        self.books.leaves[victims.leaf].present &= !(victims.slots & outcome.dropped);
        self.policy.settle(&mut self.books, victims, first(victims.leaf), outcome);
    }

    /// The next victim; `None` if there is none.
    pub(super) fn victim(&mut self) -> Option<(usize, Victims<usize>)> {
        match self.policy.victims(&mut self.books, 1, 1000) {
            Offer::Victims(victims) => {
                let page = victims.leaf * 64 + victims.slots.trailing_zeros() as usize;
                Some((page, victims))
            }
            Offer::Again => panic!("1000 leaves without a victim"),
            Offer::Nothing => None,
        }
    }

    /// Drops the next victim; which it was.
    pub(super) fn drop_one(&mut self) -> Option<usize> {
        let (page, victims) = self.victim()?;
        self.settle(victims, Outcome { dropped: victims.slots, referenced: 0 });
        Some(page)
    }

    pub(super) fn is_main(&self, page: usize) -> bool {
        let (leaf, slots) = place(page);
        self.books.leaves[leaf].marks.main & slots != 0
    }
}

pub(super) fn place(page: usize) -> (usize, u64) {
    (page / 64, 1 << (page % 64))
}

fn first(leaf: usize) -> Identity {
    Identity { mapping: 7, page: leaf as u64 * 64 }
}
