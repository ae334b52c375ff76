//! Inner nodes of a mapping's tree, and links: tagged words that lead from node to node.
//!
//! Neighbours: [`tree`](crate::tree) walks and inserts, [`prune`](crate::prune) takes away,
//! [`pool`](crate::pool) supplies. This module owns the one place where a word becomes a reference.

use core::array;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::leaf::Leaf;
use crate::pool::Node;
use crate::{PAGES_PER_LEAF, Replacement, SyncFamily, Word};

/// log2 of the children of an inner node.
pub(crate) const FANOUT_SHIFT: u32 = 6;
/// Children of an inner node.
pub(crate) const FANOUT: usize = 1 << FANOUT_SHIFT;
/// The highest level: its node reaches every leaf number, which have 58 bits.
pub(crate) const MAX_LEVEL: u32 = 10;

/// Low bits of a link that hold the level, times [`FANOUT_SHIFT`]: nodes are aligned to 64 bytes.
const SHIFT_MASK: u64 = 0x3f;
const _: () = assert!((MAX_LEVEL * FANOUT_SHIFT) as u64 <= SHIFT_MASK, "the shift fits");

/// What a child word holds: nothing, or a node's address and its level in one word, so that they
/// can't disagree.
///
/// # Invariants
/// A link of level 0 that is not empty was made from a `&Leaf<S, R>`, one of another level from an
/// `&Inner<S>`, of the pools of the cache whose mappings it is found in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(u64);

impl Link {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn to_leaf<S: SyncFamily, R: Replacement>(leaf: &Leaf<S, R>) -> Self {
        // INVARIANT: level 0. The address is a multiple of 64.
        Self(ptr::from_ref(leaf).expose_provenance() as u64)
    }

    pub(crate) fn to_inner<S: SyncFamily>(inner: &Inner<S>, level: u32) -> Self {
        debug_assert!((1..=MAX_LEVEL).contains(&level));
        // INVARIANT: level 1 or more, and its shift below 64.
        let shift = u64::from(level * FANOUT_SHIFT);
        Self(ptr::from_ref(inner).expose_provenance() as u64 | shift)
    }

    /// The link that [`word`](Self::word) gave the word of.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Self {
        // INVARIANT: as that of the link that it was.
        Self(word)
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The node's level: 0 for a leaf (and for an empty link).
    #[inline]
    pub(crate) fn level(self) -> u32 {
        self.shift() / FANOUT_SHIFT
    }

    /// How many low bits of a leaf's number the node's children do not tell apart, and those of
    /// their children: [`FANOUT_SHIFT`] times its level.
    #[inline(always)]
    pub(crate) fn shift(self) -> u32 {
        (self.0 & SHIFT_MASK) as u32
    }

    /// The leaf.
    ///
    /// # Safety
    /// The link has level 0, is not empty, and was read from a tree of a cache with sync family `S`
    /// that outlives `'c`.
    #[inline]
    pub(crate) unsafe fn leaf<'c, S: SyncFamily, R: Replacement>(self) -> &'c Leaf<S, R> {
        let leaf: *const Leaf<S, R> = ptr::with_exposed_provenance(self.0 as usize);
        // SAFETY: by the type's invariant and the caller's promise this was a leaf of a pool that
        // outlives `'c`; node memory is type-stable, so it still is one, and leaves are only
        // shared.
        unsafe { &*leaf }
    }

    /// The inner node.
    ///
    /// # Safety
    /// The link has a level of 1 or more, and was read from a tree of a cache with sync family `S`
    /// that outlives `'c`.
    #[inline]
    pub(crate) unsafe fn inner<'c, S: SyncFamily>(self) -> &'c Inner<S> {
        let address = (self.0 & !SHIFT_MASK) as usize;
        let inner: *const Inner<S> = ptr::with_exposed_provenance(address);
        // SAFETY: as for `leaf`, with the pool of inner nodes.
        unsafe { &*inner }
    }
}

/// A node with 64 children. Changed under its tree's short lock only; read without.
#[repr(C, align(64))]
pub(crate) struct Inner<S: SyncFamily> {
    children: [S::Word64; FANOUT],
    /// Bit `c` set: child `c` is linked, or about to be.
    occupied: S::Word64,
    next: S::Word64,
}

impl<S: SyncFamily> Node for Inner<S> {
    type Word = S::Word64;

    fn fresh() -> Self {
        Self {
            children: array::from_fn(|_| Word::new(0)),
            occupied: Word::new(0),
            next: Word::new(0),
        }
    }

    fn next(&self) -> &S::Word64 {
        &self.next
    }
}

impl<S: SyncFamily> Inner<S> {
    /// The link in `slot`. Sequentially consistent, for readers inside a read section: see
    /// [`Epoch`](crate::Epoch).
    #[inline]
    pub(crate) fn child(&self, slot: u32) -> Link {
        Link(self.children[slot as usize % FANOUT].load(SeqCst))
    }

    pub(crate) fn occupied(&self) -> u64 {
        self.occupied.load(Acquire)
    }

    /// Links `child`. Under the tree's lock, or before the node itself is linked.
    pub(crate) fn set_child(&self, slot: u32, child: Link) {
        let bit = 1 << (slot % FANOUT as u32);
        self.occupied.store(self.occupied.load(Relaxed) | bit, Relaxed);
        self.children[slot as usize % FANOUT].store(child.0, Release);
    }

    /// Unlinks what is in `slot`, under the tree's lock. Sequentially consistent: a grace period
    /// follows.
    pub(crate) fn clear_child(&self, slot: u32) {
        self.children[slot as usize % FANOUT].store(0, SeqCst);
        let bit = 1 << (slot % FANOUT as u32);
        self.occupied.store(self.occupied.load(Relaxed) & !bit, Release);
    }
}

/// A word that holds the link to a tree's topmost node.
pub(crate) struct Root<S: SyncFamily>(S::Word64);

impl<S: SyncFamily> Root<S> {
    pub(crate) fn new() -> Self {
        Self(Word::new(0))
    }

    /// See [`Inner::child`].
    #[inline]
    pub(crate) fn get(&self) -> Link {
        Link(self.0.load(SeqCst))
    }

    /// Under the tree's lock.
    pub(crate) fn set(&self, link: Link) {
        self.0.store(link.0, SeqCst);
    }
}

/// The place of leaf number `number` among the children of a node of level `level` (1 or more).
#[inline]
pub(crate) fn slot_at(number: u64, level: u32) -> u32 {
    ((number >> (FANOUT_SHIFT * (level - 1))) % FANOUT as u64) as u32
}

/// Whether a tree whose topmost node has `level` reaches leaf number `number`.
#[inline]
pub(crate) fn reaches(level: u32, number: u64) -> bool {
    number >> (FANOUT_SHIFT * level) == 0
}

/// The number of the leaf that covers page `index`.
#[inline]
pub(crate) fn leaf_number(index: crate::PageIndex) -> u64 {
    index.get() / PAGES_PER_LEAF as u64
}
