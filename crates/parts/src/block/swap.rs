//! [`SwapStore`]: a swap area for a file in memory.
#![forbid(unsafe_code)]

use core::fmt;

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, Reserved, SpinWait, SyncKind, Wait, WritebackRun,
    forward_to_store,
};

use super::store::Holes;
use super::{BlockDevice, BlockMap, BlockStore};

/// The store of one file that lives in memory, and is swapped out to a [`BlockDevice`] page by page
/// when memory is short. What was never written reads as zeros.
///
/// - A write takes no room. A page that is swapped out takes some, which it keeps until the file is
///   cut off before it, or the store is dropped: its next time out goes to the same place.
/// - A full device refuses the writeback with [`Errno::NoSpace`]: the page stays in memory.
/// - Nothing is durable: a sync does nothing. The map is best one in memory, a
///   [`FixedMap`](super::FixedMap).
///
/// Methods sleep and wait as those of [`BlockStore`] do.
///
/// ```
/// use faultless_page::{AddressSpaceOperations, Errno};
/// use faultless_parts::{FixedMap, RamDisk, SwapStore};
///
/// let disk: RamDisk<_> = RamDisk::new([0xdb; 16 * 4096], 4096)?;
/// let map: FixedMap<64> = FixedMap::new(0..16);
/// let store: SwapStore<_, _> = SwapStore::new(&disk, &map)?;
/// assert_eq!(store.write_begin(5000, 100)?.len, 100);
/// assert_eq!((map.free(), store.is_swap()), (16, true));
/// # Ok::<(), Errno>(())
/// ```
#[doc(alias = "shmem")]
#[doc(alias = "tmpfs")]
pub struct SwapStore<D: BlockDevice, M: BlockMap, W: Wait = SpinWait>(BlockStore<D, M, W>);

impl<D: BlockDevice, M: BlockMap> SwapStore<D, M> {
    /// The store of an empty file, whose map is empty, which waits by [`SpinWait`].
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the device's block size is no power of two, or not 512 to 4096.
    pub fn new(device: D, map: M) -> Result<Self, Errno> {
        Self::with_wait(device, map, SpinWait)
    }
}

impl<D: BlockDevice, M: BlockMap, W: Wait> SwapStore<D, M, W> {
    /// As [`new`](SwapStore::new), which waits by `wait`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_wait(device: D, map: M, wait: W) -> Result<Self, Errno> {
        Ok(Self(BlockStore::with_wait(device, map, wait)?))
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &D {
        self.0.device()
    }

    /// The map.
    #[must_use]
    pub fn map(&self) -> &M {
        self.0.map()
    }
}

impl<D: BlockDevice, M: BlockMap, W: Wait> AddressSpaceOperations for SwapStore<D, M, W> {
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        Ok(Begun { len, contents: self.0.contents_of(pos)?, reserved: Reserved::Fully })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        (0..run.pages()).try_for_each(|page| self.0.send(&run.part(page, 1), Holes::Fill))
    }

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }

    fn is_swap(&self) -> bool {
        true
    }

    forward_to_store!(self => self.0; read, truncate_blocks, set_size, max_size, fallocate, extent);
    forward_to_store!(self => self.0; store_id);
}

impl<D: BlockDevice, M: BlockMap, W: Wait> Drop for SwapStore<D, M, W> {
    fn drop(&mut self) {
        self.0.map().truncate(0);
    }
}

impl<D: BlockDevice, M: BlockMap, W: Wait> fmt::Debug for SwapStore<D, M, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SwapStore").field(&self.0).finish()
    }
}
