//! [`BlockStore`]: a file on a block device, for blocks of a page and smaller ones.
//!
//! # What is on the device
//! A block is zeroed before it becomes the file's, so a block of the file never holds what another
//! one left there, after a crash neither. Writeback sends whole blocks, with zeros past the end of
//! the file. Truncation frees the blocks past the end and zeroes the rest of the last one there is.
//!
//! # Locks
//! One lock, which is held across calls of the device and of the map, orders writebacks, truncation
//! and sync: truncation reads a block, zeroes a part and writes it again, and a writeback of that
//! block in between would be lost. It also guards the one page of memory through which these pass.
//! Reads, and `write_begin`, do not take it: the page lock keeps both from their own page's other
//! changes, and the core zeroes what a read brings of bytes that are cut off meanwhile.
#![forbid(unsafe_code)]

mod locked;

use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Release;

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, Fallocate, FillBuf, MAX_FILE_SIZE,
    PAGE_SIZE, PageIndex, Reserved, Shift, SpinWait, StoreId, SyncKind, Wait, WritebackRun,
};

use super::tails::{Tail, Tails};
use super::{BlockDevice, BlockMap, is_block_size};
use crate::direct;
use crate::sleeping::WaitMutex;

/// Blocks of an extent that are looked for at once.
const EXTENT_BLOCKS: u64 = 256;

/// What fresh blocks are written with.
static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// The store of one file on a [`BlockDevice`], whose blocks a [`BlockMap`] finds.
///
/// - `write_begin` allocates the blocks of its bytes and no others, and zeroes them on the device:
///   the price of one more write for each new block buys that no map has to tell blocks with data
///   from those without.
/// - A full device gives a short write, or [`Errno::NoSpace`] for its first byte.
/// - Writeback skips blocks that were never allocated, and those past the end.
/// - [`fallocate`](AddressSpaceOperations::fallocate) zeroes what a hole has of the blocks at its
///   ends, and then has the map free those between them. A range that is to be zeroed is written
///   with zeros.
/// - [`sync`](AddressSpaceOperations::sync) flushes the device, has the map written, with the size,
///   and flushes again. After a crash the map's file is as long as its size says; what the last
///   block has behind that is to be zeroed before the file is opened again, by `truncate_blocks` of
///   the size.
/// - If the device fails while truncation zeroes the end of the last block, the bytes count as
///   zeros until they are; a sync fails as long as they are not. More than 8 such blocks at a time
///   make reads, writebacks and syncs of the file fail with [`Errno::Io`].
///
/// All methods may sleep, if the device or the map do, except
/// [`set_size`](AddressSpaceOperations::set_size). `W` is how a thread waits for the store's lock,
/// which is held while the device works: [`SpinWait`] only fits a device that never sleeps, such as
/// a [`RamDisk`](super::RamDisk), and the kernels that the
/// [crate's documentation](crate#which-locks-which-wait) says. The store has one page of memory,
/// inside itself.
///
/// ```
/// use faultless_page::{AddressSpaceOperations, Errno};
/// use faultless_parts::{BlockStore, FixedMap, RamDisk};
///
/// // A device of 16 blocks of 1 KiB; the file may have 4 of them, and holes up to 64 KiB.
/// let disk: RamDisk<_> = RamDisk::new([0xdb; 16 * 1024], 1024)?;
/// let map: FixedMap<64> = FixedMap::new(0..4);
/// let store: BlockStore<_, _> = BlockStore::new(&disk, &map)?;
/// assert_eq!(store.max_size(), 64 * 1024);
///
/// // 100 bytes at 1000 lie in the first block and the second.
/// assert_eq!(store.write_begin(1000, 100)?.len, 100);
/// assert_eq!(map.free(), 2);
/// # Ok::<(), Errno>(())
/// ```
pub struct BlockStore<D, M, W: Wait = SpinWait> {
    device: D,
    map: M,
    block_size: usize,
    state: WaitMutex<State, W>,
    /// Whether `State::tails` has something, so that reads need not ask.
    has_tails: AtomicBool,
}

/// What the store's lock guards.
struct State {
    page: [u8; PAGE_SIZE],
    tails: Tails,
}

/// What a writeback does with blocks that have no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    /// They stay holes.
    Skip,
    /// They get room.
    Fill,
}

/// Consecutive blocks of the file that are consecutive on the device, or a hole.
struct Extent {
    blocks: u64,
    device_block: Option<u64>,
}

impl<D: BlockDevice, M: BlockMap> BlockStore<D, M> {
    /// The store of the file that `map` maps, which waits by [`SpinWait`].
    ///
    /// # Errors
    /// [`Errno::Invalid`] if the device's block size is no power of two, or not 512 to 4096.
    pub fn new(device: D, map: M) -> Result<Self, Errno> {
        Self::with_wait(device, map, SpinWait)
    }
}

impl<D: BlockDevice, M: BlockMap, W: Wait> BlockStore<D, M, W> {
    /// As [`new`](BlockStore::new), which waits by `wait`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_wait(device: D, map: M, wait: W) -> Result<Self, Errno> {
        let block_size = device.block_size();
        if !is_block_size(block_size) {
            return Err(Errno::Invalid);
        }
        let state = State { page: [0; PAGE_SIZE], tails: Tails::default() };
        let state = WaitMutex::new(state, wait);
        Ok(Self { device, map, block_size, state, has_tails: AtomicBool::new(false) })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The map.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }

    /// What the page of `pos` holds.
    pub(super) fn contents_of(&self, pos: u64) -> Result<Contents, Errno> {
        self.contents(self.blocks_of(PageIndex::containing(pos)))
    }

    /// Blocks of a page, those past the largest file excepted.
    fn blocks_of(&self, page: PageIndex) -> Range<u64> {
        let size = self.block_size as u64;
        let start = page.start() / size;
        start..(start + PAGE_SIZE as u64 / size).min(self.map.max_blocks())
    }

    /// The extent at the begin of `blocks`, which are not none.
    fn extent(&self, blocks: Range<u64>) -> Result<Extent, Errno> {
        let device_block = self.map.find(blocks.start)?;
        let continues = |block: u64| {
            let expected = device_block.map(|first| first + (block - blocks.start));
            // An error is reported when an extent begins there.
            self.map.find(block).is_ok_and(|found| found == expected)
        };
        let rest = (blocks.start + 1..blocks.end).take_while(|block| continues(*block));
        Ok(Extent { blocks: 1 + rest.count() as u64, device_block })
    }

    /// Whether any of these blocks has room.
    fn contents(&self, blocks: Range<u64>) -> Result<Contents, Errno> {
        for block in blocks {
            if self.map.find(block)?.is_some() {
                return Ok(Contents::Stored);
            }
        }
        Ok(Contents::Hole)
    }

    /// Gives block `block` room if it is a hole, with zeros in it.
    fn make_room(&self, block: u64) -> Result<(), Errno> {
        self.make_room_with(block, &ZEROS[..self.block_size])
    }

    /// The same with these bytes in it.
    fn make_room_with(&self, block: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.map.find(block)?.is_some() {
            return Ok(());
        }
        let device_block = self.map.allocate(block)?;
        // Before it is the file's: no reader sees what it held.
        let written = self.device.write(device_block, bytes);
        let inserted = written.and_then(|()| self.map.insert(block, device_block));
        if inserted.is_err() {
            self.map.release(device_block);
        }
        inserted
    }
}

impl<D: BlockDevice, M: BlockMap, W: Wait> AddressSpaceOperations for BlockStore<D, M, W> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let tails = self.tails()?;
        let Range { start: mut at, end } = self.blocks_of(index);
        while at < end {
            let Extent { blocks, device_block } = self.extent(at..end)?;
            // A buffer that is shorter than a page gets the whole blocks that fit.
            let room = (buf.remaining() / self.block_size).min(blocks as usize);
            if room == 0 {
                return Ok(());
            }
            let len = room * self.block_size;
            match device_block {
                None => {
                    buf.skip_zero(len);
                }
                Some(device_block) => direct::fill(buf, len, |bytes| {
                    self.device.read(device_block, bytes)?;
                    tails.apply(at, bytes, self.block_size);
                    Ok(len)
                })?,
            }
            at += room as u64;
        }
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.write_begin_run(pos, len)
    }

    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let size = self.block_size as u64;
        let [first, last] = PageIndex::first_and_last(pos, len);
        let pages = self.blocks_of(first).start..self.blocks_of(last).end;
        let contents = self.contents(pages.clone())?;
        let (first, end) = (pos / size, (pos + len as u64).div_ceil(size));
        let mut room_end = pos;
        for block in first..end {
            match self.make_room(block) {
                Ok(()) => room_end = (block + 1) * size,
                Err(errno) if block == first => return Err(errno),
                Err(_) => break,
            }
        }
        let is_whole = pages.clone().all(|block| matches!(self.map.find(block), Ok(Some(_))));
        let reserved = if is_whole { Reserved::Fully } else { Reserved::Partly };
        Ok(Begun { len: len.min((room_end - pos) as usize), contents, reserved })
    }

    /// Does nothing: room past the end comes back by `truncate_blocks`, and room inside the file
    /// reads as zeros, as the hole did.
    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        (0..run.pages()).try_for_each(|page| self.send(&run.part(page, 1), Holes::Skip))
    }

    fn truncate_blocks(&self, size: u64) {
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        let first_gone = size.div_ceil(self.block_size as u64);
        self.map.truncate(first_gone);
        tails.forget_from(first_gone);
        let (block, from) = (size / self.block_size as u64, size % self.block_size as u64);
        if from != 0 {
            // An earlier truncation of the block may have left more to do.
            let from = tails.of(block).map_or(from as usize, |left| left.min(from as usize));
            let tail = Tail { block, from };
            match self.zero(page, tail) {
                Ok(()) => tails.forget(block),
                Err(_) => tails.note(tail),
            }
        }
        self.has_tails.store(!tails.is_empty(), Release);
    }

    fn set_size(&self, size: u64) {
        self.map.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.settle_tails()?;
        self.device.flush()?;
        self.map.sync(kind)?;
        self.device.flush()
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        match change {
            Fallocate::PunchHole => self.punch(&range),
            Fallocate::ZeroRange => self.zero_range(&range),
            Fallocate::Allocate => {
                let size = self.block_size as u64;
                let mut blocks = range.start / size..range.end.div_ceil(size);
                blocks.try_for_each(|block| self.make_room(block))
            }
        }
    }

    fn shift_unit(&self) -> Option<u64> {
        self.map.can_shift().then_some(self.block_size as u64)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        // Notes of blocks that move.
        self.settle_tails()?;
        let block_size = self.block_size as u64;
        self.map.shift(shift, range.start / block_size..range.end / block_size, size)
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let size = self.block_size as u64;
        let Some(first) = self.map.find_from(pos / size)? else { return Ok(None) };
        let mut end = first + 1;
        while end - first < EXTENT_BLOCKS && self.map.find(end)?.is_some() {
            end += 1;
        }
        Ok(Some(first * size..end * size))
    }

    fn failed_sync(&self) -> FailedSync {
        self.device.failed_flush()
    }

    fn store_id(&self) -> StoreId {
        self.device.store_id()
    }

    fn max_size(&self) -> u64 {
        self.map.max_blocks().saturating_mul(self.block_size as u64).min(MAX_FILE_SIZE)
    }
}

impl<D, M, W: Wait> fmt::Debug for BlockStore<D, M, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockStore").field("block_size", &self.block_size).finish_non_exhaustive()
    }
}
