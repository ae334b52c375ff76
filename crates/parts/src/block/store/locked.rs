//! What a `BlockStore` does under its lock: writeback, and the zeroing of ends.
//!
//! Neighbours: [`store`](super) says what the lock is for, [`tails`](crate::block::tails) keeps
//! what a device could not zero.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Release};

use faultless_page::{Errno, PAGE_SIZE, Wait, WritebackRun};

use super::super::tails::{Tail, Tails};
use super::super::{BlockDevice, BlockMap};
use super::{BlockStore, Extent, Holes, State, ZEROS};

impl<D: BlockDevice, M: BlockMap, W: Wait> BlockStore<D, M, W> {
    /// The notes that a read has to mind.
    pub(super) fn tails(&self) -> Result<Tails, Errno> {
        // Acquire: pairs with the store after a truncation, which has returned before the file
        // grows over the tail.
        if !self.has_tails.load(Acquire) {
            return Ok(Tails::default());
        }
        let tails = self.state.lock().tails.clone();
        tails.are_complete()?;
        Ok(tails)
    }

    /// Zeroes a block on the device from a byte on, if it has room.
    pub(super) fn zero(&self, page: &mut [u8; PAGE_SIZE], tail: Tail) -> Result<(), Errno> {
        self.zero_part(page, tail.block, tail.from..self.block_size)
    }

    /// Zeroes a part of a block on the device, if it has room.
    fn zero_part(
        &self,
        page: &mut [u8; PAGE_SIZE],
        block: u64,
        part: Range<usize>,
    ) -> Result<(), Errno> {
        let Some(device_block) = self.map.find(block)? else { return Ok(()) };
        if part.len() == self.block_size {
            return self.device.write(device_block, &ZEROS[..self.block_size]);
        }
        let bytes = &mut page[..self.block_size];
        self.device.read(device_block, bytes)?;
        if bytes[part.clone()].iter().any(|byte| *byte != 0) {
            bytes[part].fill(0);
            self.device.write(device_block, bytes)?;
        }
        Ok(())
    }

    /// Gives the blocks back that lie wholly in `range`, once the rest of it is zero: that can
    /// fail, and giving back cannot.
    pub(super) fn punch(&self, range: &Range<u64>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        tails.are_complete()?;
        let size = self.block_size as u64;
        let whole = range.start.div_ceil(size)..range.end / size;
        for (block, part) in parts(range, self.block_size) {
            if !whole.contains(&block) {
                self.zero_part(page, block, part)?;
            }
        }
        if !whole.is_empty() {
            self.map.punch(whole.clone());
            whole.for_each(|block| tails.forget(block));
        }
        self.has_tails.store(!tails.is_empty(), Release);
        Ok(())
    }

    /// Zeroes the bytes of `range`, whose blocks all have room afterwards.
    pub(super) fn zero_range(&self, range: &Range<u64>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        tails.are_complete()?;
        for (block, part) in parts(range, self.block_size) {
            let is_whole = part.len() == self.block_size;
            match self.map.find(block)? {
                Some(_) => self.zero_part(page, block, part)?,
                None => self.make_room(block)?,
            }
            if is_whole {
                tails.forget(block);
            }
        }
        self.has_tails.store(!tails.is_empty(), Release);
        Ok(())
    }

    /// Zeroes what truncations could not.
    pub(super) fn settle_tails(&self) -> Result<(), Errno> {
        if !self.has_tails.load(Acquire) {
            return Ok(());
        }
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        tails.are_complete()?;
        while let Some(tail) = tails.any() {
            self.zero(page, tail)?;
            tails.forget(tail.block);
        }
        self.has_tails.store(false, Release);
        Ok(())
    }

    /// Writes the blocks of one page that lie inside the file; those of `holes` by what it says.
    ///
    /// # Errors
    /// The device's and the map's: any part may have been written.
    pub(in crate::block) fn send(
        &self,
        view: &WritebackRun<'_>,
        holes: Holes,
    ) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        tails.are_complete()?;
        view.copy_to(0, page);
        let first = view.pos() / self.block_size as u64;
        let end = first + view.len().div_ceil(self.block_size) as u64;
        let mut at = first;
        while at < end {
            let Extent { blocks, device_block } = self.extent(at..end)?;
            let start = (at - first) as usize * self.block_size;
            let bytes = &page[start..start + blocks as usize * self.block_size];
            match (device_block, holes) {
                (Some(device_block), _) => {
                    self.device.write(device_block, bytes)?;
                    (at..at + blocks).for_each(|block| tails.forget(block));
                }
                (None, Holes::Fill) => {
                    let blocks = (at..).zip(bytes.chunks(self.block_size));
                    for (block, bytes) in blocks {
                        self.make_room_with(block, bytes)?;
                    }
                }
                (None, Holes::Skip) => {}
            }
            at += blocks;
        }
        self.has_tails.store(!tails.is_empty(), Release);
        Ok(())
    }
}

/// The blocks that hold bytes of `range`, and which of their bytes those are.
fn parts(range: &Range<u64>, block_size: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let (start, end, size) = (range.start, range.end, block_size as u64);
    (start / size..end.div_ceil(size)).map(move |block| {
        let from = start.saturating_sub(block * size);
        let to = (end - block * size).min(size);
        (block, from as usize..to as usize)
    })
}
