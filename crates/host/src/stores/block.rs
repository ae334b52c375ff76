//! A store of blocks smaller than a page (or of its size) on a device with a capacity.
//!
//! Blocks are allocated when a write begins, poisoned on the device until they are written,
//! and read as zeros until then. What a correct core never does is recorded and can be asked for:
//! see [`BlockStore::complaints`].

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE,
    PageIndex, Reserved, Shift, SyncKind, WritebackRun,
};

use super::Medium;

/// What a block of the device holds that belongs to no file.
const STALE: u8 = 0xDB;

/// A store of blocks.
#[derive(Debug)]
pub struct BlockStore {
    block_size: usize,
    max_size: u64,
    thrift: Thrift,
    state: Mutex<BlockState>,
}

/// What becomes of room that a write asked for and did not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thrift {
    /// It stays until the file is cut off before it: the core has to see to that.
    Keep,
    /// It goes when the write ends, wherever it lies.
    GiveBack,
}

/// What a [`BlockStore`] holds.
#[derive(Clone, Debug)]
pub struct BlockState {
    block_size: usize,
    /// Its blocks, one behind the other.
    device: Vec<u8>,
    free: Vec<usize>,
    /// Blocks of the file.
    blocks: BTreeMap<u64, Block>,
    /// Blocks that were allocated for the write which began at this position and has not ended.
    begun: BTreeMap<u64, Vec<u64>>,
    size: u64,
    complaints: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    device: usize,
    written: Written,
}

/// Whether a block's bytes on the device are the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Not yet: it reads as zeros.
    No,
    Yes,
}

/// Since when a block has room.
enum Allocated {
    Before,
    New,
}

impl BlockStore {
    /// An empty file on a device of `capacity` blocks of `block_size` bytes.
    ///
    /// # Panics
    /// If the block size is not a power of two from 1 to the page size.
    #[must_use]
    pub fn new(block_size: usize, capacity: usize) -> Arc<Self> {
        assert!(block_size.is_power_of_two() && block_size <= PAGE_SIZE, "{block_size} B");
        Arc::new(Self {
            block_size,
            max_size: faultless_page::MAX_FILE_SIZE,
            thrift: Thrift::Keep,
            state: Mutex::new(BlockState {
                block_size,
                device: vec![STALE; block_size * capacity],
                free: (0..capacity).rev().collect(),
                blocks: BTreeMap::new(),
                begun: BTreeMap::new(),
                size: 0,
                complaints: Vec::new(),
            }),
        })
    }

    /// A store like [`new`](Self::new)'s, for files of at most `max_size` bytes.
    ///
    /// # Panics
    /// As [`new`](Self::new) does.
    #[must_use]
    pub fn with_max_size(block_size: usize, capacity: usize, max_size: u64) -> Arc<Self> {
        let mut store = Self::new(block_size, capacity);
        if let Some(store) = Arc::get_mut(&mut store) {
            store.max_size = max_size;
        }
        store
    }

    /// A store like [`new`](Self::new)'s, which gives a block back at once if nothing landed in it
    /// of the write that it was allocated for, as delayed allocation does.
    ///
    /// # Panics
    /// As [`new`](Self::new) does.
    #[must_use]
    pub fn thrifty(block_size: usize, capacity: usize) -> Arc<Self> {
        let mut store = Self::new(block_size, capacity);
        if let Some(store) = Arc::get_mut(&mut store) {
            store.thrift = Thrift::GiveBack;
        }
        store
    }

    /// A store like [`new`](Self::new)'s that holds `bytes`. Blocks of zeros are holes.
    ///
    /// # Panics
    /// As [`new`](Self::new) does, and if the device is too small.
    #[must_use]
    pub fn with_contents(block_size: usize, capacity: usize, bytes: &[u8]) -> Arc<Self> {
        let store = Self::new(block_size, capacity);
        let mut state = store.lock();
        for (block, piece) in (0..).zip(bytes.chunks(block_size)) {
            if piece.iter().any(|byte| *byte != 0) {
                state.allocate(block).expect("room for the contents");
                state.put(block, piece, piece.len());
                state.zero_part(block, piece.len()..block_size);
            }
        }
        state.size = bytes.len() as u64;
        drop(state);
        store
    }

    /// Blocks that the file has.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.lock().blocks.len()
    }

    /// Blocks that can still be allocated.
    #[must_use]
    pub fn free(&self) -> usize {
        self.lock().free.len()
    }

    /// Blocks that the file has although they lie wholly at or past `size` (C2: must be 0 after
    /// every call).
    #[must_use]
    pub fn blocks_past(&self, size: u64) -> usize {
        self.lock().blocks.range(size.div_ceil(self.block_size as u64)..).count()
    }

    /// The size that the core recorded last.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// What the core did that a correct one never does: data sent for a block that was never begun,
    /// or was given back (C3).
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// The file as it would be read after a remount.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let state = self.lock();
        let blocks = state.size.div_ceil(self.block_size as u64);
        let mut bytes = Vec::with_capacity(blocks as usize * self.block_size);
        for block in 0..blocks {
            match state.bytes(block) {
                Some(data) => bytes.extend_from_slice(data),
                None => bytes.resize(bytes.len() + self.block_size, 0),
            }
        }
        bytes.truncate(state.size as usize);
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, BlockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks of the page, those past the largest size excepted.
    fn blocks_of(&self, page: PageIndex) -> Range<u64> {
        let size = self.block_size as u64;
        let end = page.plus(1).start().min(self.max_size.div_ceil(size).saturating_mul(size));
        page.start() / size..end.div_ceil(size)
    }
}

impl BlockState {
    /// Where a part of a block of the device lies.
    fn place(&self, device: usize, part: Range<usize>) -> Range<usize> {
        let start = device * self.block_size;
        start + part.start..start + part.end
    }

    /// The bytes of a block that has been written.
    fn bytes(&self, block: u64) -> Option<&[u8]> {
        let block = self.blocks.get(&block).filter(|block| block.written == Written::Yes)?;
        Some(&self.device[self.place(block.device, 0..self.block_size)])
    }

    /// Gives a block room, if there is some.
    fn allocate(&mut self, block: u64) -> Result<Allocated, Errno> {
        if self.blocks.contains_key(&block) {
            return Ok(Allocated::Before);
        }
        let device = self.free.pop().ok_or(Errno::NoSpace)?;
        self.blocks.insert(block, Block { device, written: Written::No });
        Ok(Allocated::New)
    }

    fn give_back(&mut self, block: u64) {
        if let Some(Block { device, .. }) = self.blocks.remove(&block) {
            self.free_device(device);
        }
    }

    fn free_device(&mut self, device: usize) {
        let place = self.place(device, 0..self.block_size);
        self.device[place].fill(STALE);
        self.free.push(device);
    }

    /// Zeroes the block in which a file of `size` bytes ends, from there on (P2).
    fn zero_from(&mut self, size: u64) {
        let from = (size % self.block_size as u64) as usize;
        self.zero_part(size / self.block_size as u64, from..self.block_size);
    }

    fn zero_part(&mut self, block: u64, part: Range<usize>) {
        if let Some(&Block { device, written: Written::Yes }) = self.blocks.get(&block) {
            let place = self.place(device, part);
            self.device[place].fill(0);
        }
    }

    /// Writes a block from its start on, of which the first `inside` bytes lie inside the file.
    fn put(&mut self, block: u64, bytes: &[u8], inside: usize) {
        if let Some(found) = self.blocks.get_mut(&block) {
            found.written = Written::Yes;
            let device = found.device;
            let place = self.place(device, 0..bytes.len());
            self.device[place].copy_from_slice(bytes);
        } else if bytes[..inside].iter().any(|byte| *byte != 0) {
            self.complaints.push(format!("data for block {block}, which has no room"));
        }
        if bytes[inside..].iter().any(|byte| *byte != 0) {
            self.complaints
                .push(format!("block {block} is not zero past the end of the file (P2)"));
        }
    }
}

impl AddressSpaceOperations for BlockStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let state = self.lock();
        for block in self.blocks_of(index) {
            match state.bytes(block) {
                Some(data) => buf.write(data),
                None => buf.skip_zero(self.block_size),
            };
        }
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let size = self.block_size as u64;
        let mut state = self.lock();
        let page = PageIndex::containing(pos);
        let stored = self.blocks_of(page).any(|block| state.bytes(block).is_some());
        let (first, last) = (pos / size, (pos + len as u64 - 1) / size);
        let (mut end, mut new) = (pos, Vec::new());
        for block in first..=last {
            match state.allocate(block) {
                Ok(Allocated::New) => new.push(block),
                Ok(Allocated::Before) => {}
                Err(errno) if block == first => return Err(errno),
                Err(_) => break,
            }
            end = (block + 1) * size;
        }
        state.begun.insert(pos, new);
        let whole = self.blocks_of(page).all(|block| state.blocks.contains_key(&block));
        Ok(Begun {
            len: len.min((end - pos) as usize),
            contents: if stored { Contents::Stored } else { Contents::Hole },
            reserved: if whole { Reserved::Fully } else { Reserved::Partly },
        })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let mut state = self.lock();
        if copied > len {
            let complaint = format!("write_end at {pos} landed {copied} of {len} bytes (B14)");
            state.complaints.push(complaint);
        }
        let landed = (pos + copied as u64).div_ceil(self.block_size as u64);
        for block in state.begun.remove(&pos).unwrap_or_default() {
            if self.thrift == Thrift::GiveBack && block >= landed {
                state.give_back(block);
            }
        }
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        super::each_page(run, |index, bytes, inside| self.put_page(index, bytes, inside))
    }

    fn truncate_blocks(&self, size: u64) {
        let mut state = self.lock();
        let first = size.div_ceil(self.block_size as u64);
        let past: Vec<u64> = state.blocks.range(first..).map(|(block, _)| *block).collect();
        past.into_iter().for_each(|block| state.give_back(block));
        state.zero_from(size);
    }

    fn set_size(&self, size: u64) {
        self.lock().size = size;
    }

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        let mut state = self.lock();
        let parts: Vec<_> = super::parts(&range, self.block_size).collect();
        if change != Fallocate::PunchHole {
            for (block, _) in &parts {
                state.allocate(*block)?;
            }
        }
        if change != Fallocate::Allocate {
            for (block, part) in parts {
                let is_whole = part.len() == self.block_size;
                match change {
                    Fallocate::PunchHole if is_whole => state.give_back(block),
                    _ => state.zero_part(block, part),
                }
            }
        }
        Ok(())
    }

    fn shift_unit(&self) -> Option<u64> {
        Some(self.block_size as u64)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let mut state = self.lock();
        if state.begun.range(range.start..).any(|(_, new)| !new.is_empty()) {
            state.complaints.push(format!("a shift from {} on beside a write", range.start));
        }
        for block in super::shift_keys(&mut state.blocks, shift, &range, self.block_size) {
            state.free_device(block.device);
        }
        state.size = size;
        Ok(())
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let blocks = self.lock().blocks.keys().copied().collect::<Vec<_>>();
        Ok(super::first_stretch(&blocks, pos, self.block_size))
    }

    fn failed_sync(&self) -> FailedSync {
        FailedSync::Keeps
    }

    fn max_size(&self) -> u64 {
        self.max_size
    }
}

impl Medium for BlockStore {
    type State = BlockState;

    fn save(&self) -> BlockState {
        self.lock().clone()
    }

    fn restore(&self, state: &BlockState) {
        *self.lock() = state.clone();
    }

    fn put_page(&self, index: PageIndex, page: &[u8], inside: usize) -> Result<(), Errno> {
        let mut state = self.lock();
        for (nth, block) in self.blocks_of(index).enumerate() {
            let offset = nth * self.block_size;
            let inside = inside.saturating_sub(offset).min(self.block_size);
            state.put(block, &page[offset..offset + self.block_size], inside);
        }
        Ok(())
    }
}
