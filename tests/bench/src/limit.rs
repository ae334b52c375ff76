//! The limit: a loop that does only what the design cannot do without.
//!
//! A write looks up the leaf, takes the pages' locks by one compare-and-swap, copies and gives them
//! back by one `fetch_and`. A read looks up the leaf and copies, inside a section of two locked
//! operations or of none. There is no size, no mark, no error and no check of the leaf: what the
//! product takes beyond that is what it can still lose. The leaves, the index and the frames have
//! the shape of the product's.

#![forbid(unsafe_code)]

use std::array;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use faultless_page::PAGE_SIZE;

use super::memory::{Arena, Copier, copy};

/// Pages of a leaf, and children of a node.
const FANOUT: usize = 64;

/// The part of a leaf that a hot call needs.
#[derive(Debug)]
#[repr(C, align(64))]
struct Leaf {
    locked: AtomicU64,
    /// Frame numbers. Frame 1 is the first of the arena.
    frames: [AtomicU32; FANOUT],
}

/// A node whose children are leaves.
#[derive(Debug)]
struct Node {
    children: [Option<Box<Leaf>>; FANOUT],
}

/// A read section as the built-in epoch makes it: counted in and out.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Readers(AtomicU64);

/// How a read section is entered and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// By nothing, as where the kernel has RCU.
    Free,
    /// By two locked operations.
    Counted,
}

/// A file of which all pages are cached, in frames that lie side by side.
#[derive(Debug)]
pub(super) struct Limit {
    nodes: [Option<Box<Node>>; FANOUT],
    frames: Arc<Arena>,
    readers: Readers,
    how: Copier,
}

impl Limit {
    /// A file that fills `frames`, at most 64 nodes of 64 leaves, whose bytes are copied this way.
    pub(super) fn new(frames: Arc<Arena>, how: Copier) -> Self {
        let pages = frames.bytes() / PAGE_SIZE;
        assert!(pages <= FANOUT * FANOUT * FANOUT, "the index has two levels");
        let leaf = |first: usize| {
            let frame = |slot: usize| AtomicU32::new((first + slot + 1) as u32);
            let leaf = || Leaf { locked: AtomicU64::new(0), frames: array::from_fn(frame) };
            (first < pages).then(|| Box::new(leaf()))
        };
        let node = |at: usize| {
            let first = at * FANOUT * FANOUT;
            let node = || Node { children: array::from_fn(|slot| leaf(first + slot * FANOUT)) };
            (first < pages).then(|| Box::new(node()))
        };
        Self { nodes: array::from_fn(node), frames, readers: Readers::default(), how }
    }

    #[inline]
    fn lookup(&self, page: usize) -> Option<&Leaf> {
        let number = page / FANOUT;
        let node = self.nodes.get(number / FANOUT)?.as_ref()?;
        node.children[number % FANOUT].as_deref()
    }

    /// Overwrites `len` bytes at `pos`, all in one leaf, by the first bytes of `from`. Whether that
    /// was done: not if a page is locked, or there is none.
    #[inline]
    pub(super) fn write(&self, pos: u64, from: &Arena, len: usize) -> bool {
        let (page, offset) = place(pos);
        let Some(leaf) = self.lookup(page) else { return false };
        let slot = page % FANOUT;
        let pages = (offset + len).div_ceil(PAGE_SIZE);
        let mask = (u64::MAX >> (FANOUT - pages)) << slot;
        let locked = leaf.locked.load(Relaxed);
        let taken = leaf.locked.compare_exchange(locked & !mask, locked | mask, Acquire, Relaxed);
        if taken.is_err() {
            return false;
        }
        let at = Self::address(leaf, slot) + offset;
        copy(self.how, (&self.frames, at), (from, 0), len);
        leaf.locked.fetch_and(!mask, Release);
        true
    }

    /// Reads `len` bytes at `pos`, all in one leaf, to the first bytes of `to`. Whether that was
    /// done: not if there is no page.
    #[inline]
    pub(super) fn read(&self, section: Section, pos: u64, to: &Arena, len: usize) -> bool {
        if section == Section::Counted {
            self.readers.0.fetch_add(1, SeqCst);
        }
        let (page, offset) = place(pos);
        let leaf = self.lookup(page);
        if let Some(leaf) = leaf {
            let at = Self::address(leaf, page % FANOUT) + offset;
            copy(self.how, (to, 0), (&self.frames, at), len);
        }
        if section == Section::Counted {
            self.readers.0.fetch_sub(1, Release);
        }
        leaf.is_some()
    }

    /// Where the frame in `slot` begins, as an offset into the arena.
    #[inline]
    fn address(leaf: &Leaf, slot: usize) -> usize {
        (leaf.frames[slot].load(Acquire) as usize - 1) * PAGE_SIZE
    }
}

/// The page of a position, and the offset in it.
#[inline]
fn place(pos: u64) -> (usize, usize) {
    let pos = pos as usize;
    (pos / PAGE_SIZE, pos % PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::memory::{bytes_of, fill};

    const PAGES: usize = 5000;

    fn limit(how: Copier) -> io::Result<(Limit, Arc<Arena>, Arena)> {
        let frames = Arc::new(Arena::new(PAGES * PAGE_SIZE)?);
        Ok((Limit::new(frames.clone(), how), frames, Arena::new(4 * PAGE_SIZE)?))
    }

    /// Every bit of every lock word.
    fn locked(limit: &Limit) -> u64 {
        let leaves = limit.nodes.iter().flatten().flat_map(|node| node.children.iter().flatten());
        leaves.fold(0, |all, leaf| all | leaf.locked.load(Relaxed))
    }

    #[test]
    fn a_write_changes_its_bytes_and_no_other_and_a_read_brings_them_back() {
        for how in [Copier::Libc, Copier::RepMovsb] {
            let (limit, frames, user) = limit(how).expect("memory");
            fill((&user, 0), 2 * PAGE_SIZE);
            for (pos, len) in [(0, 1), (4999 * 4096 + 4095, 1), (64 * 4096 + 7, 64), (4096, 8192)] {
                let before = bytes_of(&frames, 0, frames.bytes());
                assert!(limit.write(pos as u64, &user, len), "{len} bytes at {pos}");
                let mut expected = before;
                expected[pos..pos + len].fill(0);
                assert!(bytes_of(&frames, 0, frames.bytes()) == expected, "{len} bytes at {pos}");
                assert_eq!(locked(&limit), 0, "unlocked again");
                for section in [Section::Free, Section::Counted] {
                    let to = Arena::new(4 * PAGE_SIZE).expect("memory");
                    assert!(limit.read(section, pos as u64, &to, len));
                    assert_eq!(bytes_of(&to, 0, len), vec![0; len]);
                    assert_eq!(bytes_of(&to, len, 1), [0xa5], "no byte more");
                }
                assert_eq!(limit.readers.0.load(Relaxed), 0, "no reader is left");
            }
        }
    }

    #[test]
    fn a_write_to_a_locked_page_copies_nothing() {
        let (limit, frames, user) = limit(Copier::Libc).expect("memory");
        fill((&user, 0), 1);
        let leaf = limit.lookup(70).expect("a leaf");
        leaf.locked.fetch_or(1 << 6, Relaxed);
        assert!(!limit.write(70 * 4096, &user, 1));
        assert!(!limit.write(69 * 4096, &user, 2 * PAGE_SIZE), "one of two pages");
        assert_eq!(bytes_of(&frames, 70 * PAGE_SIZE, 1), [0xa5]);
        assert!(limit.write(71 * 4096, &user, 1), "another page of the leaf");
        assert_eq!(leaf.locked.load(Relaxed), 1 << 6);
    }

    #[test]
    fn outside_the_file_there_is_nothing() {
        let (limit, _, user) = limit(Copier::Libc).expect("memory");
        assert!(!limit.write(1 << 40, &user, 1));
        assert!(!limit.read(Section::Free, 1 << 40, &user, 1));
    }
}
