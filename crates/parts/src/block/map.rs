//! [`FixedMap`]: the map of one file, as a table in memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use faultless_page::{CoreSync, Errno, Spin, SyncFamily};
use heapless::Vec;

use super::BlockMap;

/// A [`BlockMap`] for a file of at most `N` blocks, in a range of at most `N` blocks of a device
/// that belongs to the file alone. Kept in memory, 16 bytes a block, and never written: what it
/// maps is gone with it. Never sleeps. `S` is the family of its short lock.
///
/// ```
/// use faultless_parts::{BlockMap, FixedMap};
///
/// let map: FixedMap<8> = FixedMap::new(100..104);
/// let block = map.allocate(5)?;
/// map.insert(5, block)?;
/// assert_eq!((map.find(5)?, map.find(4)?, map.free()), (Some(100), None, 3));
/// map.truncate(5);
/// assert_eq!((map.find(5)?, map.free()), (None, 4));
/// # Ok::<(), faultless_page::Errno>(())
/// ```
pub struct FixedMap<const N: usize, S: SyncFamily = CoreSync> {
    table: S::Spin<Table<N>>,
}

struct Table<const N: usize> {
    /// The device's block for each of the file's.
    blocks: [Option<u64>; N],
    /// Free blocks of the device; the next to be used is the last.
    free: Vec<u64, N>,
    size: u64,
}

impl<const N: usize> FixedMap<N> {
    /// The map of an empty file, which may use the device's blocks `area`, with the locks of
    /// [`CoreSync`]. Blocks beyond `N` are left alone.
    #[must_use]
    pub fn new(area: Range<u64>) -> Self {
        Self::with_locks(area)
    }
}

impl<const N: usize, S: SyncFamily> FixedMap<N, S> {
    /// As [`new`](FixedMap::new), with the locks of `S`.
    #[must_use]
    pub fn with_locks(area: Range<u64>) -> Self {
        let used = area.start..area.end.min(area.start.saturating_add(N as u64));
        let free = used.rev().collect();
        Self { table: Spin::new(Table { blocks: [None; N], free, size: 0 }) }
    }

    /// How many blocks of the device are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.table.lock().free.len()
    }

    /// The size that was recorded last, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.table.lock().size
    }
}

impl<const N: usize, S: SyncFamily> BlockMap for FixedMap<N, S> {
    fn find(&self, block: u64) -> Result<Option<u64>, Errno> {
        let table = self.table.lock();
        Ok(usize::try_from(block).ok().and_then(|at| *table.blocks.get(at)?))
    }

    fn allocate(&self, block: u64) -> Result<u64, Errno> {
        if block >= N as u64 {
            return Err(Errno::NoSpace);
        }
        self.table.lock().free.pop().ok_or(Errno::NoSpace)
    }

    fn release(&self, device_block: u64) {
        let kept = self.table.lock().free.push(device_block);
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
        let mut table = self.table.lock();
        let Table { blocks, free, .. } = &mut *table;
        let first = usize::try_from(first).unwrap_or(N).min(N);
        // Backwards, so that the blocks are used again in the order in which they were.
        for device_block in blocks[first..].iter_mut().rev().filter_map(Option::take) {
            // There are no more blocks than there is room for.
            let _fits = free.push(device_block);
        }
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
