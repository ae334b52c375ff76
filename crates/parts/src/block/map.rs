//! [`FixedMap`]: the map of one file, as a table in memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use faultless_page::{ConstSync, CoreSync, Errno, Initial, Shift, Spin, SyncFamily};
use heapless::Vec;

use super::BlockMap;

/// A [`BlockMap`] for a file of at most `N` blocks, in a range of at most `N` blocks of a device
/// that belongs to the file alone. Kept in memory, 24 bytes a block, and never written: what it
/// maps is gone with it. Never sleeps. `S` is the family of its short lock.
///
/// A large one is best a `static`: made at run time, it passes over the stack.
///
/// ```
/// use faultless_parts::{BlockMap, FixedMap};
///
/// static MAP: FixedMap<8> = FixedMap::new(100..104);
/// let block = MAP.allocate(5)?;
/// MAP.insert(5, block)?;
/// assert_eq!((MAP.find(5)?, MAP.find(4)?, MAP.free()), (Some(100), None, 3));
/// MAP.truncate(5);
/// assert_eq!((MAP.find(5)?, MAP.free()), (None, 4));
/// # Ok::<(), faultless_page::Errno>(())
/// ```
pub struct FixedMap<const N: usize, S: SyncFamily = CoreSync> {
    /// The device's blocks that the file may use, at most `N`.
    area: Range<u64>,
    table: S::Spin<Table<N>>,
}

struct Table<const N: usize> {
    /// The device's block for each of the file's.
    blocks: [Option<u64>; N],
    /// Blocks of the area, from its start on, that were allocated at some time.
    begun: u64,
    /// Those of them that are free again; the next to be used is the last.
    released: Vec<u64, N>,
    size: u64,
}

impl<const N: usize> Initial for Table<N> {
    const INITIAL: Self = Self { blocks: [None; N], begun: 0, released: Vec::new(), size: 0 };
}

impl<const N: usize> Table<N> {
    /// Makes holes of these entries, and frees what they had.
    fn free(&mut self, entries: Range<usize>) {
        let gone = self.blocks.get_mut(entries).unwrap_or_default();
        // Backwards, so that the blocks are used again in the order in which they were.
        for device_block in gone.iter_mut().rev().filter_map(Option::take) {
            // There are no more blocks than there is room for.
            let _fits = self.released.push(device_block);
        }
    }
}

/// The entries of a table that are those of `blocks`.
fn entries<const N: usize>(blocks: &Range<u64>) -> Range<usize> {
    let place = |block: u64| usize::try_from(block).unwrap_or(N).min(N);
    place(blocks.start)..place(blocks.end)
}

impl<const N: usize> FixedMap<N> {
    /// The map of an empty file, which may use the device's blocks `area`, with the locks of
    /// [`CoreSync`]. Blocks beyond `N` are left alone.
    #[must_use]
    pub const fn new(area: Range<u64>) -> Self {
        Self::with_locks(area)
    }
}

impl<const N: usize, S: ConstSync> FixedMap<N, S> {
    /// As [`new`](FixedMap::new), with the locks of `S`.
    #[must_use]
    pub const fn with_locks(area: Range<u64>) -> Self {
        let last = area.start.saturating_add(N as u64);
        let end = if area.end < last { area.end } else { last };
        Self { area: area.start..end, table: S::Free::<Table<N>>::INITIAL }
    }
}

impl<const N: usize, S: SyncFamily> FixedMap<N, S> {
    /// How many blocks of the device are free.
    #[must_use]
    pub fn free(&self) -> usize {
        let table = self.table.lock();
        self.never_used(&table) as usize + table.released.len()
    }

    /// The size that was recorded last, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.table.lock().size
    }

    /// How many blocks of the area were never allocated: at most `N`.
    fn never_used(&self, table: &Table<N>) -> u64 {
        self.area.end.saturating_sub(self.area.start).saturating_sub(table.begun)
    }
}

impl<const N: usize, S: SyncFamily> BlockMap for FixedMap<N, S> {
    fn find(&self, block: u64) -> Result<Option<u64>, Errno> {
        let table = self.table.lock();
        Ok(usize::try_from(block).ok().and_then(|at| *table.blocks.get(at)?))
    }

    fn find_from(&self, block: u64) -> Result<Option<u64>, Errno> {
        let table = self.table.lock();
        let first = usize::try_from(block).unwrap_or(N).min(N);
        let found = table.blocks[first..].iter().position(Option::is_some);
        Ok(found.map(|nth| (first + nth) as u64))
    }

    fn allocate(&self, block: u64) -> Result<u64, Errno> {
        if block >= N as u64 {
            return Err(Errno::NoSpace);
        }
        let mut table = self.table.lock();
        if let Some(device_block) = table.released.pop() {
            return Ok(device_block);
        }
        if self.never_used(&table) == 0 {
            return Err(Errno::NoSpace);
        }
        table.begun += 1;
        Ok(self.area.start + table.begun - 1)
    }

    fn release(&self, device_block: u64) {
        let kept = self.table.lock().released.push(device_block);
        debug_assert!(kept.is_ok(), "block {device_block} was released and never allocated");
    }

    fn insert(&self, block: u64, device_block: u64) -> Result<(), Errno> {
        let mut table = self.table.lock();
        let entry = table.blocks.get_mut(block as usize).ok_or(Errno::NoSpace)?;
        debug_assert!(entry.is_none(), "block {block} of the file was no hole");
        *entry = Some(device_block);
        Ok(())
    }

    fn truncate(&self, first: u64) {
        self.punch(first..N as u64);
    }

    fn punch(&self, blocks: Range<u64>) {
        self.table.lock().free(entries::<N>(&blocks));
    }

    fn can_shift(&self) -> bool {
        true
    }

    fn shift(&self, shift: Shift, blocks: Range<u64>, size: u64) -> Result<(), Errno> {
        let entries = entries::<N>(&blocks);
        let mut table = self.table.lock();
        let (first, len) = (entries.start, entries.len());
        match shift {
            Shift::Collapse => {
                table.free(entries);
                table.blocks[first..].rotate_left(len);
            }
            Shift::Insert => {
                // Those have no place in the table any more, and lie past the end.
                table.free(N.saturating_sub(len).max(first)..N);
                table.blocks[first..].rotate_right(len);
            }
        }
        table.size = size;
        Ok(())
    }

    fn set_size(&self, size: u64) {
        self.table.lock().size = size;
    }

    fn max_blocks(&self) -> u64 {
        N as u64
    }
}

impl<const N: usize, S: SyncFamily> fmt::Debug for FixedMap<N, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedMap")
            .field("blocks", &N)
            .field("free", &self.free())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
