//! The index of a mapping: a 64-way radix tree of leaves, read without locks.
//!
//! Neighbours: [`node`](crate::node) has the nodes and links, [`prune`](crate::prune) the other
//! half: taking leaves away. The tree does not know which pages are present, and does not own
//! frames.
//!
//! # Walkers
//! Child words hold an address and a level in one. A child of a node of level `n` has level
//! `n - 1`; a walker that finds another level stands in a node that was reused meanwhile, and
//! starts again from the root. As levels strictly descend, each walk ends; as nodes are
//! type-stable, each step is sound.
//! - A walker in a read section sees only nodes that were linked at some time since the section
//!   began.
//! - Another walker may end up in a leaf that is no longer, or never was, the right one: it locks
//!   and then checks the leaf.
//! - An empty word means "no leaf": if the node it stood in was reused, then it was unlinked during
//!   the walk, and only empty nodes are unlinked, so at that moment there was no leaf.
//!
//! # Writers
//! All changes are made under the tree's short lock. New nodes are allocated before it is taken.

use core::marker::PhantomData;

use heapless::Vec;

use crate::leaf::Leaf;
use crate::node::{FANOUT_SHIFT, Inner, Link, MAX_LEVEL, Root, leaf_number, reaches, slot_at};
use crate::nodes::Nodes;
use crate::pool::Spare;
use crate::{Errno, Frames, PageIndex, Replacement, Spin, SyncFamily};

/// Most inner nodes that one leaf may need: a root raised to the top, and a new path down from
/// there.
const MAX_NEW: usize = 2 * MAX_LEVEL as usize;

/// The index. Everything it links to comes from the [`Nodes`] that are passed in.
///
/// # Invariants
/// Nodes linked here come from one cache's pools, which outlive the tree.
pub(crate) struct Tree<S: SyncFamily, R: Replacement> {
    pub(crate) root: Root<S>,
    pub(crate) lock: S::Spin<()>,
    leaves: PhantomData<fn() -> R>,
}

/// Nodes for a new leaf, allocated beforehand.
struct Preallocated<'c, S: SyncFamily, R: Replacement> {
    leaf: Option<Spare<'c, Leaf<S, R>>>,
    inner: Vec<Spare<'c, Inner<S>>, MAX_NEW>,
}

/// What a new leaf needs: this many inner nodes in all, and the leaf.
struct Needed {
    inner: usize,
}

impl<S: SyncFamily, R: Replacement> Tree<S, R> {
    pub(crate) fn new() -> Self {
        Self { root: Root::new(), lock: Spin::new(()), leaves: PhantomData }
    }

    /// The leaf that covers `index`, if there seems to be one. Check its identity under a lock, or
    /// in a read section.
    #[inline(always)]
    pub(crate) fn lookup(&self, index: PageIndex) -> Option<&Leaf<S, R>> {
        let number = leaf_number(index);
        'restart: loop {
            let mut link = self.root.get();
            let mut shift = link.shift();
            if number >> shift != 0 {
                return None;
            }
            while shift > 0 {
                // SAFETY: the level is not 0; the pools outlive the tree and so `&self`.
                let inner: &Inner<S> = unsafe { link.inner() };
                shift -= FANOUT_SHIFT;
                link = inner.child((number >> shift) as u32);
                if link.shift() != shift {
                    if link.is_empty() {
                        return None;
                    }
                    S::relax();
                    continue 'restart;
                }
            }
            if link.is_empty() {
                return None;
            }
            // SAFETY: the level is 0 and the link is not empty; the pools outlive the tree and so
            // `&self`.
            return Some(unsafe { link.leaf() });
        }
    }

    /// The first leaf with a number in `number..=last`, and its number. The caller is in a read
    /// section, or excludes others.
    pub(crate) fn next_leaf(&self, mut number: u64, last: u64) -> Option<(u64, &Leaf<S, R>)> {
        'restart: while number <= last {
            let mut link = self.root.get();
            let mut level = link.level();
            if link.is_empty() || !reaches(level, number) {
                return None;
            }
            while level > 0 {
                // SAFETY: the level is not 0; the pools outlive the tree and so `&self`.
                let inner: &Inner<S> = unsafe { link.inner() };
                let slot = slot_at(number, level);
                let Some(slot) = first_set(inner.occupied(), slot) else {
                    number = after(number, level);
                    continue 'restart;
                };
                number = at_child(number, level, slot);
                link = inner.child(slot);
                level -= 1;
                if link.is_empty() {
                    // Just being linked or unlinked.
                    number = after(number, level);
                    continue 'restart;
                }
                if link.level() != level {
                    S::relax();
                    continue 'restart;
                }
            }
            if number > last {
                return None;
            }
            // SAFETY: the level is 0 and the link is not empty; the pools outlive the tree and so
            // `&self`.
            return Some((number, unsafe { link.leaf() }));
        }
        None
    }

    /// The leaf that covers `index`, made for the mapping `owner` if there is none. Allocates: no
    /// page lock held. On failure nothing stays behind (P8).
    pub(crate) fn lookup_or_insert_leaf<'a>(
        &'a self,
        owner: u64,
        index: PageIndex,
        nodes: Nodes<'a, S, R, impl Frames>,
    ) -> Result<&'a Leaf<S, R>, Errno> {
        let mut preallocated = Preallocated { leaf: None, inner: Vec::new() };
        let result = loop {
            match self.insert_leaf(owner, index, &mut preallocated) {
                Ok(leaf) => break Ok(leaf),
                Err(needed) => {
                    if let Err(error) = preallocated.fill(&needed, nodes) {
                        break Err(error);
                    }
                }
            }
        };
        // What was never linked was never seen: no grace period.
        preallocated.leaf.into_iter().for_each(|leaf| nodes.leaves.put(leaf));
        preallocated.inner.into_iter().for_each(|inner| nodes.inners.put(inner));
        result
    }

    /// Finds or makes the leaf under the short lock, with nodes from the preallocated.
    fn insert_leaf<'a>(
        &'a self,
        owner: u64,
        index: PageIndex,
        preallocated: &mut Preallocated<'a, S, R>,
    ) -> Result<&'a Leaf<S, R>, Needed> {
        let number = leaf_number(index);
        let _held = self.lock.lock();
        let gap = match self.descend(number) {
            Descent::Leaf(leaf) => return Ok(leaf),
            Descent::Gap(gap) => gap,
        };
        let needed = Needed { inner: (gap.raise + gap.branch) as usize };
        if preallocated.inner.len() < needed.inner {
            return Err(needed);
        }
        let Some(leaf) = preallocated.leaf.take() else { return Err(needed) };
        leaf.claim(owner, index.leaf_base());
        let leaf = leaf.into_linked();
        self.attach(number, leaf, &gap, preallocated);
        Ok(leaf)
    }

    /// Follows the way to leaf `number` as far as it exists. Under the tree's lock.
    fn descend(&self, number: u64) -> Descent<'_, S, R> {
        let root = self.root.get();
        let lowest = lowest_reaching(number);
        if root.is_empty() {
            return Descent::Gap(Gap { parent: Link::EMPTY, branch: lowest, raise: 0 });
        }
        if root.level() < lowest {
            let raise = lowest - root.level();
            return Descent::Gap(Gap { parent: Link::EMPTY, branch: lowest - 1, raise });
        }
        let mut link = root;
        while link.level() > 0 {
            // SAFETY: the level is not 0; the pools outlive the tree and so `&self`.
            let inner: &Inner<S> = unsafe { link.inner() };
            let child = inner.child(slot_at(number, link.level()));
            if child.is_empty() {
                return Descent::Gap(Gap { parent: link, branch: link.level() - 1, raise: 0 });
            }
            link = child;
        }
        // SAFETY: the level is 0 and the link is not empty; the pools outlive the tree and so
        // `&self`.
        Descent::Leaf(unsafe { link.leaf() })
    }

    /// Links the leaf into the gap, bottom-up: each node is complete when it becomes visible.
    fn attach(
        &self,
        number: u64,
        leaf: &Leaf<S, R>,
        gap: &Gap,
        preallocated: &mut Preallocated<'_, S, R>,
    ) {
        let mut branch = Link::to_leaf(leaf);
        for level in 1..=gap.branch {
            branch = preallocated.wrap(branch, slot_at(number, level), level);
        }
        let root = self.root.get();
        if root.is_empty() {
            return self.root.set(branch);
        }
        let mut parent = gap.parent;
        if gap.raise > 0 {
            parent = root;
            for level in root.level() + 1..=root.level() + gap.raise {
                parent = preallocated.wrap(parent, 0, level);
            }
        }
        // SAFETY: the parent of a gap, and a root that was raised, are of a level above 0.
        let inner: &Inner<S> = unsafe { parent.inner() };
        inner.set_child(slot_at(number, parent.level()), branch);
        if gap.raise > 0 {
            self.root.set(parent);
        }
    }
}

/// How far the way to a leaf exists.
enum Descent<'a, S: SyncFamily, R: Replacement> {
    Leaf(&'a Leaf<S, R>),
    Gap(Gap),
}

/// What is missing.
struct Gap {
    /// The deepest node on the way; empty if there is none.
    parent: Link,
    /// Inner nodes to make above the leaf and below the parent.
    branch: u32,
    /// Inner nodes to make above the root.
    raise: u32,
}

impl<'c, S: SyncFamily, R: Replacement> Preallocated<'c, S, R> {
    fn fill(&mut self, needed: &Needed, nodes: Nodes<'c, S, R, impl Frames>) -> Result<(), Errno> {
        if self.leaf.is_none() {
            self.leaf = Some(nodes.take_leaf()?);
        }
        while self.inner.len() < needed.inner {
            let inner = nodes.take_inner()?;
            if let Err(extra) = self.inner.push(inner) {
                nodes.inners.put(extra);
                break;
            }
        }
        Ok(())
    }

    /// A new node of `level` around `child`; `child` itself if the preallocated is empty, which the
    /// caller has excluded.
    fn wrap(&mut self, child: Link, slot: u32, level: u32) -> Link {
        match self.inner.pop() {
            Some(inner) => {
                inner.set_child(slot, child);
                Link::to_inner(inner.into_linked(), level)
            }
            None => child,
        }
    }
}

/// The lowest level of a topmost node that reaches `number`.
fn lowest_reaching(number: u64) -> u32 {
    let mut level = 0;
    while !reaches(level, number) {
        level += 1;
    }
    level
}

fn first_set(word: u64, from: u32) -> Option<u32> {
    let rest = word >> from;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

/// The first leaf number beyond the node of `level` that covers `number`.
fn after(number: u64, level: u32) -> u64 {
    let shift = FANOUT_SHIFT * level;
    ((number >> shift) + 1) << shift
}

/// The smallest leaf number, from `number` on, under child `slot` of the node of `level` that
/// covers `number`.
fn at_child(number: u64, level: u32, slot: u32) -> u64 {
    let shift = FANOUT_SHIFT * (level - 1);
    let first =
        (number >> (shift + FANOUT_SHIFT) << (shift + FANOUT_SHIFT)) | u64::from(slot) << shift;
    first.max(number)
}
