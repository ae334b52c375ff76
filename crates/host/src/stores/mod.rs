//! Backing stores for tests, fuzzing and benches.
//!
//! | store | what it is for |
//! |---|---|
//! | [`MemoryStore`] | keeps whole pages; or nothing, as tmpfs: the cache is the only copy |
//! | [`FileStore`] | a real file of the host |
//! | [`BlockStore`] | blocks smaller than a page, holes, a capacity, poison |
//! | [`FaultyStore`] | any of them, failing, deferring, shortening, reordering, crashing on request |
//! | [`CrashStore`] | any of them, remembering each call, so that a crash can be played at each |
//! | [`PhasedStore`] | blocks, with points inside the calls, and writebacks that land later than their data were taken |
//! | [`DeferredStore`] | any of them, ending its requests later, on other threads, in any order, page by page |
//! | [`HookedStore`] | any of them, with a hook around each call: for all that is a test's own |
//! | [`StoreLock`] | any of them, under a lock of its own that its read takes too (DL4) |
//!
//! [`Medium`] is what a store has to offer so that a crash can be played on it.

#![forbid(unsafe_code)]

mod block;
mod crash;
mod deferred;
mod faulty;
mod file;
mod hooked;
mod image;
mod locking;
mod memory;
mod phased;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageIndex, Shift, WritebackRun};

pub use self::block::{BlockState, BlockStore};
pub use self::crash::{CrashStore, Fate, Lie, Moment, Spell};
pub use self::deferred::{DeferredStore, Workers};
pub use self::faulty::{Call, FaultyStore};
pub use self::file::FileStore;
pub use self::hooked::{At, Below, HookedStore};
pub use self::image::{Image, SECTOR, Sizing};
pub use self::locking::{StoreGuard, StoreLock};
pub use self::memory::{MemoryState, MemoryStore};
pub use self::phased::{Completion, Pace, PhasedStore};

/// A store whose state can be saved and brought back, and that takes single pages.
pub trait Medium: AddressSpaceOperations {
    /// All that it holds.
    type State: Clone + fmt::Debug + Send;

    /// A copy of what it holds.
    fn save(&self) -> Self::State;

    /// Goes back to what it held.
    fn restore(&self, state: &Self::State);

    /// Writes one page, of which the first `inside` bytes lie inside the file.
    ///
    /// # Errors
    /// As for a writeback.
    fn put_page(&self, index: PageIndex, page: &[u8], inside: usize) -> Result<(), Errno>;
}

/// Calls `put` with each page of the run, its bytes, and how many of them lie inside the file.
fn each_page(
    run: &WritebackRun<'_>,
    mut put: impl FnMut(PageIndex, &[u8], usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut bytes = vec![0; PAGE_SIZE];
    for page in 0..u64::from(run.pages()) {
        let offset = page as usize * PAGE_SIZE;
        run.copy_to(offset, &mut bytes);
        put(run.first().plus(page), &bytes, run.len().saturating_sub(offset).min(PAGE_SIZE))?;
    }
    Ok(())
}

/// The blocks that hold bytes of `range`, and which of their bytes those are.
fn parts(range: &Range<u64>, block_size: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let (start, end, size) = (range.start, range.end, block_size as u64);
    let blocks = if range.is_empty() { 0..0 } else { start / size..end.div_ceil(size) };
    blocks.map(move |block| {
        let from = start.saturating_sub(block * size);
        (block, from as usize..(end - block * size).min(size) as usize)
    })
}

/// Moves the blocks from the start of `range` on, by number; those that have gone.
fn shift_keys<B>(
    blocks: &mut BTreeMap<u64, B>,
    shift: Shift,
    range: &Range<u64>,
    block_size: usize,
) -> Vec<B> {
    let (start, end) = (range.start / block_size as u64, range.end / block_size as u64);
    let mut tail = blocks.split_off(&start);
    let (rest, gone) = match shift {
        Shift::Collapse => (tail.split_off(&end), tail),
        Shift::Insert => (tail, BTreeMap::new()),
    };
    blocks.extend(rest.into_iter().map(|(block, kept)| match shift {
        Shift::Collapse => (block - (end - start), kept),
        Shift::Insert => (block + (end - start), kept),
    }));
    gone.into_values().collect()
}

/// The bytes of the first of `blocks`, in ascending order, that ends past `pos`, and of those that
/// follow it without a gap.
fn first_stretch(blocks: &[u64], pos: u64, block_size: usize) -> Option<Range<u64>> {
    let size = block_size as u64;
    let later = &blocks[blocks.partition_point(|block| *block < pos / size)..];
    let first = *later.first()?;
    let len = later.iter().zip(first..).take_while(|(block, expected)| *block == expected).count();
    Some(first * size..(first + len as u64) * size)
}
