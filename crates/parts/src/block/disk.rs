//! [`RamDisk`]: a block device in memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use faultless_page::{CoreSync, Errno, Spin, SyncFamily};

use super::{BlockDevice, is_block_size};

/// A [`BlockDevice`] over bytes in memory: a `&'static mut [u8]`, an array, a `Vec` where there is
/// one. Never sleeps; copies at most a page with its short lock held. `S` is the lock's family.
///
/// ```
/// use faultless_parts::{BlockDevice, RamDisk};
///
/// let disk: RamDisk<_> = RamDisk::new([0xdb; 8192], 1024)?;
/// assert_eq!(disk.blocks(), 8);
/// disk.write(7, &[1; 1024])?;
/// let mut block = [0; 1024];
/// disk.read(7, &mut block)?;
/// assert_eq!(block, [1; 1024]);
/// # Ok::<(), faultless_page::Errno>(())
/// ```
pub struct RamDisk<B = &'static mut [u8], S: SyncFamily = CoreSync>
where
    B: Send,
{
    block_size: usize,
    blocks: u64,
    bytes: S::Spin<B>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Send> RamDisk<B> {
    /// A disk of blocks of `block_size` bytes, which hold what `bytes` does, with the locks of
    /// [`CoreSync`]. What is left over at the end of `bytes` is not used.
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the block size is no power of two, or not 512 to 4096.
    pub fn new(bytes: B, block_size: usize) -> Result<Self, Errno> {
        Self::with_locks(bytes, block_size)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Send, S: SyncFamily> RamDisk<B, S> {
    /// As [`new`](RamDisk::new), with the locks of `S`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_locks(bytes: B, block_size: usize) -> Result<Self, Errno> {
        if !is_block_size(block_size) {
            return Err(Errno::Invalid);
        }
        let blocks = (bytes.as_ref().len() / block_size) as u64;
        Ok(Self { block_size, blocks, bytes: Spin::new(bytes) })
    }

    /// Where `len` bytes from block `first` on are.
    fn place(&self, first: u64, len: usize) -> Result<Range<usize>, Errno> {
        let end = first.checked_add((len / self.block_size) as u64);
        if !len.is_multiple_of(self.block_size) || end.is_none_or(|end| end > self.blocks) {
            return Err(Errno::Io);
        }
        let start = first as usize * self.block_size;
        Ok(start..start + len)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Send, S: SyncFamily> BlockDevice for RamDisk<B, S> {
    fn block_size(&self) -> usize {
        self.block_size
    }

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        let place = self.place(first, into.len())?;
        let bytes = self.bytes.lock();
        into.copy_from_slice(bytes.as_ref().get(place).ok_or(Errno::Io)?);
        Ok(())
    }

    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        let place = self.place(first, from.len())?;
        let mut bytes = self.bytes.lock();
        (*bytes).as_mut().get_mut(place).ok_or(Errno::Io)?.copy_from_slice(from);
        Ok(())
    }

    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
}

impl<B: Send, S: SyncFamily> fmt::Debug for RamDisk<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamDisk")
            .field("block_size", &self.block_size)
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}
