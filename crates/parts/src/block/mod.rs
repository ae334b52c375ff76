//! Files on block devices: [`BlockStore`] and [`SwapStore`], and the two traits that they stand on.
//!
//! [`BlockDevice`] moves blocks; [`BlockMap`] says which blocks are the file's. [`RamDisk`] and
//! [`FixedMap`] are the smallest implementors of each, for tests and first boots.
#![forbid(unsafe_code)]

mod disk;
mod map;
mod store;
mod swap;
mod tails;

pub use disk::RamDisk;
pub use map::FixedMap;
pub use store::BlockStore;
pub use swap::SwapStore;

use core::ops::Range;

use faultless_page::{Errno, FailedSync, Shift, StoreId, SyncKind};

/// A device of blocks, which several files may share. Every method may sleep.
///
/// The trait is safe: a device that lies loses data and shows no memory that it was not given.
pub trait BlockDevice: Send + Sync {
    /// Bytes in a block: a power of two, 512 to 4096. Always the same.
    fn block_size(&self) -> usize;

    /// How many blocks the device has.
    fn blocks(&self) -> u64;

    /// Reads blocks from `first` on, as many as fill `into`, whose length is a multiple of the
    /// block size and at most a page. A page of the cache is locked in most calls.
    ///
    /// # Errors
    /// [`Errno::Io`], for blocks past the end too. What `into` holds then is not used.
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno>;

    /// Writes blocks from `first` on; `from` is as long as in [`read`](Self::read). They may be
    /// durable only after a [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`Errno::Io`], for blocks past the end too. Any part may have been written.
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno>;

    /// Makes durable what was written by calls that had returned before this one began.
    ///
    /// # Errors
    /// [`Errno::Io`]: some of it may not be durable. A device that loses what it had, and that
    /// several files share, fails the later flushes for the others as well.
    fn flush(&self) -> Result<(), Errno>;

    /// What a [`flush`](Self::flush) that fails leaves of what was written before it.
    fn failed_flush(&self) -> FailedSync {
        FailedSync::Loses
    }

    /// The number of the device among the kernel's stores:
    /// [`AddressSpaceOperations::store_id`](faultless_page::AddressSpaceOperations::store_id) of
    /// the files on it. Always the same.
    fn store_id(&self) -> StoreId {
        StoreId::default()
    }
}

/// Which blocks of a device a file has. One map is one file's; a file system hands out views of its
/// own tables.
///
/// Locks for itself, inside each call, and calls nothing of the page cache. Methods may sleep
/// unless said otherwise. Calls for different blocks of the file may come at the same time; those
/// that change one block do not.
///
/// The trait is safe: a map that lies mixes up blocks of its device.
pub trait BlockMap: Send + Sync {
    /// The device's block that holds block `block` of the file; `None` in a hole.
    ///
    /// # Errors
    /// The map could not be read.
    fn find(&self, block: u64) -> Result<Option<u64>, Errno>;

    /// The first block of the file from `block` on that is no hole; `None` if there is none. The
    /// default [finds](Self::find) one after the other.
    ///
    /// # Errors
    /// The map could not be read.
    fn find_from(&self, block: u64) -> Result<Option<u64>, Errno> {
        for block in block..self.max_blocks() {
            if self.find(block)?.is_some() {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Takes a free block of the device, near which block `block` of the file would best be kept.
    /// It is not the file's before [`insert`](Self::insert): the store zeroes it first.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if no block is free; [`Errno::Io`].
    fn allocate(&self, block: u64) -> Result<u64, Errno>;

    /// Gives back a block that was allocated and not inserted. Must not fail.
    fn release(&self, device_block: u64);

    /// Makes `device_block`, which was allocated, block `block` of the file, a hole up to now.
    ///
    /// # Errors
    /// There is no room for the entry: the file is as before.
    fn insert(&self, block: u64, device_block: u64) -> Result<(), Errno>;

    /// Makes all blocks of the file from `first` on holes, and frees what they had. Must not fail:
    /// a map that cannot reach its tables notes what is to be done.
    fn truncate(&self, first: u64);

    /// Makes these blocks of the file holes, and frees what they had. Must not fail, as
    /// [`truncate`](Self::truncate) must not.
    fn punch(&self, blocks: Range<u64>);

    /// Whether it can [`shift`](Self::shift). The default cannot.
    fn can_shift(&self) -> bool {
        false
    }

    /// Moves all blocks of the file from `blocks.end` on down to `blocks.start`, and frees what
    /// `blocks` had; or moves all blocks from `blocks.start` on up to `blocks.end`, so that
    /// `blocks` are holes. The file has `size` bytes then. Blocks past its end may be freed.
    ///
    /// # Errors
    /// The file is as before, also after a crash. [`Errno::NotSupported`] is the default.
    fn shift(&self, shift: Shift, blocks: Range<u64>, size: u64) -> Result<(), Errno> {
        let _unknown_here = (shift, blocks, size);
        Err(Errno::NotSupported)
    }

    /// The file has `size` bytes now. Never sleeps.
    fn set_size(&self, size: u64);

    /// Writes the map and the size to where they are kept. The store has flushed the device just
    /// before, so that no block is found after a crash whose bytes are not there, and flushes it
    /// again afterwards. A map that is kept in memory only does nothing, which is the default.
    ///
    /// # Errors
    /// Some of it may not be durable.
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let _all_in_memory = kind;
        Ok(())
    }

    /// How many blocks a file can have, holes included.
    fn max_blocks(&self) -> u64;
}

impl<D: BlockDevice + ?Sized> BlockDevice for &D {
    fn block_size(&self) -> usize {
        (**self).block_size()
    }
    fn blocks(&self) -> u64 {
        (**self).blocks()
    }
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        (**self).read(first, into)
    }
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        (**self).write(first, from)
    }
    fn flush(&self) -> Result<(), Errno> {
        (**self).flush()
    }

    fn failed_flush(&self) -> FailedSync {
        (**self).failed_flush()
    }

    fn store_id(&self) -> StoreId {
        (**self).store_id()
    }
}

impl<M: BlockMap + ?Sized> BlockMap for &M {
    fn find(&self, block: u64) -> Result<Option<u64>, Errno> {
        (**self).find(block)
    }
    fn find_from(&self, block: u64) -> Result<Option<u64>, Errno> {
        (**self).find_from(block)
    }
    fn allocate(&self, block: u64) -> Result<u64, Errno> {
        (**self).allocate(block)
    }
    fn release(&self, device_block: u64) {
        (**self).release(device_block);
    }
    fn insert(&self, block: u64, device_block: u64) -> Result<(), Errno> {
        (**self).insert(block, device_block)
    }
    fn truncate(&self, first: u64) {
        (**self).truncate(first);
    }
    fn punch(&self, blocks: Range<u64>) {
        (**self).punch(blocks);
    }
    fn can_shift(&self) -> bool {
        (**self).can_shift()
    }
    fn shift(&self, shift: Shift, blocks: Range<u64>, size: u64) -> Result<(), Errno> {
        (**self).shift(shift, blocks, size)
    }
    fn set_size(&self, size: u64) {
        (**self).set_size(size);
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        (**self).sync(kind)
    }
    fn max_blocks(&self) -> u64 {
        (**self).max_blocks()
    }
}

/// Whether a device may have blocks of this size.
const fn is_block_size(bytes: usize) -> bool {
    bytes.is_power_of_two() && 512 <= bytes && bytes <= faultless_page::PAGE_SIZE
}
