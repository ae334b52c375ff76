//! The leaves that each CPU has used last, so that a hot call need not walk the tree.
//!
//! Neighbours: the tree is walked for a leaf that is not here, [`users`](crate::users) makes all
//! CPUs forget before the nodes go.
//!
//! # What a leaf that is remembered is worth
//! Nothing by itself: it may have been unlinked and given to another mapping since. So it is used
//! only if it says that it belongs to the mapping and the pages that are asked for:
//! - A thread that locks slots of it looks at its identity once more (P6).
//! - A reader in a section is safe in it, as it loses its owner by a sequentially consistent store
//!   *before* the grace period that ends its life, and the owner is loaded by such a load in the
//!   section: the grace period waits for each section that has seen it (see
//!   [`Epoch`](crate::Epoch)).
//!
//! It may be unlinked already, with its owner still in it, and another one linked in its place. As
//! it has no page then, and all its slots are locked, a reader or a locker finds nothing to do in
//! it, and walks.
use core::array;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;

use crate::leaf::Leaf;
use crate::node::Link;
use crate::{ConstSync, Initial, PageIndex, Replacement, SyncFamily, Word};

/// CPUs that remember. Those beyond walk, rather than share cache lines that they write to.
const CPUS: usize = 32;

/// What the CPUs remember of the leaves of one cache.
///
/// # Invariants
/// Each word is a [`Link`] to a leaf of this cache's pool, or empty.
pub(crate) struct RecentLeaves<S: SyncFamily, R: Replacement> {
    lines: [Line<S>; CPUS],
    leaves: PhantomData<fn() -> R>,
}

/// What one CPU remembers: a copy from file to file uses two leaves in turn.
///
/// The words do not begin the line, as those of the [`Epoch`](crate::Epoch) do: these are changed
/// right before a reader looks here, and a CPU takes words for one whose addresses have the same
/// lowest 12 bits, until the change is done.
#[repr(C, align(64))]
struct Line<S: SyncFamily> {
    apart: [u64; 2],
    read: S::Word64,
    locked: S::Word64,
}

impl<S: ConstSync> Line<S> {
    const NEW: Self = Self { apart: [0; 2], read: S::Word64::INITIAL, locked: S::Word64::INITIAL };
}

impl<S: SyncFamily, R: Replacement> RecentLeaves<S, R> {
    pub(crate) const fn new() -> Self
    where
        S: ConstSync,
    {
        Self { lines: [const { Line::NEW }; CPUS], leaves: PhantomData }
    }

    pub(crate) fn at_run_time() -> Self {
        Self {
            lines: array::from_fn(|_| Line {
                apart: [0; 2],
                read: Word::new(0),
                locked: Word::new(0),
            }),
            leaves: PhantomData,
        }
    }

    /// The leaf that `cpu` has read last, if it is that of mapping `owner` at `base`.
    #[inline(always)]
    pub(crate) fn read(&self, cpu: usize, owner: u64, base: PageIndex) -> Option<&Leaf<S, R>> {
        self.get(|line| &line.read, cpu, owner, base)
    }

    /// The leaf that `cpu` was to lock slots of last, if it is that of mapping `owner` at `base`.
    #[inline(always)]
    pub(crate) fn locked(&self, cpu: usize, owner: u64, base: PageIndex) -> Option<&Leaf<S, R>> {
        self.get(|line| &line.locked, cpu, owner, base)
    }

    #[inline(always)]
    fn get(
        &self,
        word: impl FnOnce(&Line<S>) -> &S::Word64,
        cpu: usize,
        owner: u64,
        base: PageIndex,
    ) -> Option<&Leaf<S, R>> {
        let link = Link::from_word(word(self.lines.get(cpu)?).load(Relaxed));
        if link.is_empty() {
            return None;
        }
        // SAFETY: by the invariant it is a leaf's; the caller has a mapping of the cache, so the
        // node is there.
        let leaf: &Leaf<S, R> = unsafe { link.leaf() };
        leaf.is(owner, base).then_some(leaf)
    }

    /// `cpu` has read `leaf`.
    pub(crate) fn set_read(&self, cpu: usize, leaf: &Leaf<S, R>) {
        if let Some(line) = self.lines.get(cpu) {
            line.read.store(Link::to_leaf(leaf).word(), Relaxed);
        }
    }

    /// `cpu` is to lock slots of `leaf`.
    pub(crate) fn set_locked(&self, cpu: usize, leaf: &Leaf<S, R>) {
        if let Some(line) = self.lines.get(cpu) {
            line.locked.store(Link::to_leaf(leaf).word(), Relaxed);
        }
    }

    /// Makes all CPUs forget. No thread uses the cache.
    pub(crate) fn forget(&self) {
        for word in self.lines.iter().flat_map(|line| [&line.read, &line.locked]) {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Node;
    use crate::testing::{Machine, cx, populate, run};
    use crate::{CoreSync, LEAF_SIZE, Mapping};

    type Kernel = crate::testing::Test;

    /// Whether this thread's CPU has locked pages of that leaf last; locks nothing in the end.
    fn is_recent(mapping: &Mapping<Kernel>, page: u64) -> bool {
        mapping.try_lock_recent(cx(), run(page, 1)).is_ok_and(|locked| locked.is_some())
    }

    fn remembers(machine: &Machine) -> bool {
        let lines = &machine.cache.recent().lines;
        lines.iter().any(|line| line.read.load(Relaxed) != 0 || line.locked.load(Relaxed) != 0)
    }

    #[test]
    fn the_leaf_that_was_locked_last_is_at_hand() {
        let machine: Machine = Machine::new(16);
        let (file, other) = (machine.mapping(), machine.mapping());
        for mapping in [&file, &other] {
            drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
            drop(mapping.lock_or_create(cx(), run(64, 1)).unwrap());
        }
        assert!(!is_recent(&file, 0), "nothing was tried");
        drop(file.try_lock(cx(), run(3, 2)).unwrap());
        assert!(is_recent(&file, 0) && is_recent(&file, 63), "any page of it");
        assert!(!is_recent(&file, 64), "another leaf");
        assert!(!is_recent(&other, 0), "the same pages of another file");
        drop(other.try_lock(cx(), run(64, 1)).unwrap());
        assert!(is_recent(&other, 64) && !is_recent(&file, 0), "one is remembered");
        let held = other.lock(cx(), run(64, 1)).unwrap();
        assert!(!is_recent(&other, 64), "locked");
        assert!(is_recent(&other, 65));
        drop(held);
        other.prune(run(64, 1).first(), run(64, 1).end());
        assert!(!is_recent(&other, 64), "it is gone");
        drop((file, other));
        machine.assert_balanced();
    }

    #[test]
    fn a_leaf_that_changed_hands_is_not_read_for_its_old_file() {
        let machine: Machine = Machine::new(16);
        let (file, other) = (machine.mapping(), machine.mapping());
        populate(&file, run(0, 1), |_| 1);
        let read = |mapping: &Mapping<Kernel>| {
            mapping.read_section(cx()).whole_span(0, 1).map(|byte| byte.addr())
        };
        let own = read(&file);
        assert!(own.is_some());
        let mut locked = file.lock(cx(), run(0, 1)).unwrap();
        let removed = locked.remove(run(0, 1).mask());
        drop(locked);
        drop(removed);
        file.prune(run(0, 1).first(), run(0, 1).end());
        // The pool gives out last what it got last.
        populate(&other, run(0, 1), |_| 2);
        assert_eq!(read(&file), None, "the page of another file");
        assert!(read(&other).is_some());
        drop((file, other));
        machine.assert_balanced();
    }

    #[test]
    fn nothing_is_remembered_of_nodes_that_are_gone() {
        let machine: Machine = Machine::new(16);
        let file = machine.mapping();
        populate(&file, run(0, 1), |_| 1);
        drop(file.try_lock(cx(), run(0, 1)).unwrap());
        assert!(file.read_section(cx()).whole_span(0, 1).is_some());
        assert!(remembers(&machine));
        drop(file);
        assert!(!remembers(&machine), "their memory is another's");
        machine.assert_balanced();
    }

    #[test]
    fn a_cpu_beyond_the_last_line_remembers_nothing() {
        let recent = RecentLeaves::<CoreSync, ()>::new();
        let leaf = Leaf::<CoreSync, ()>::fresh();
        let base = PageIndex::containing(3 * LEAF_SIZE as u64);
        leaf.claim(7, base);
        for cpu in [CPUS, usize::MAX] {
            recent.set_locked(cpu, &leaf);
            recent.set_read(cpu, &leaf);
            assert!(recent.locked(cpu, 7, base).is_none() && recent.read(cpu, 7, base).is_none());
        }
        recent.set_read(CPUS - 1, &leaf);
        assert!(recent.read(CPUS - 1, 7, base).is_some());
        assert!(recent.locked(CPUS - 1, 7, base).is_none(), "read, and not locked");
        assert!(recent.read(CPUS - 1, 7, PageIndex::ZERO).is_none());
        assert!(recent.read(CPUS - 1, 6, base).is_none());
    }
}
