//! What a `BlockStore` does under its lock: writeback, and the zeroing of ends.
//!
//! Neighbours: [`store`](super) says what the lock is for, [`tails`](crate::block::tails) keeps
//! what a device could not zero.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Release};

use faultless_page::{Errno, PAGE_SIZE, Wait, WritebackRun};

use super::super::tails::{Tail, Tails};
use super::super::{BlockDevice, BlockMap};
use super::{BlockStore, Extent, State};

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
        let Some(device_block) = self.map.find(tail.block)? else { return Ok(()) };
        let bytes = &mut page[..self.block_size];
        self.device.read(device_block, bytes)?;
        if bytes[tail.from..].iter().any(|byte| *byte != 0) {
            bytes[tail.from..].fill(0);
            self.device.write(device_block, bytes)?;
        }
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

    /// Writes the blocks of one page that have room and lie inside the file.
    pub(super) fn send(&self, view: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let State { page, tails } = &mut *state;
        tails.are_complete()?;
        view.copy_to(0, page);
        let first = view.pos() / self.block_size as u64;
        let end = first + view.len().div_ceil(self.block_size) as u64;
        let mut at = first;
        while at < end {
            let Extent { blocks, device_block } = self.extent(at..end)?;
            if let Some(device_block) = device_block {
                let start = (at - first) as usize * self.block_size;
                let len = blocks as usize * self.block_size;
                self.device.write(device_block, &page[start..start + len])?;
                (at..at + blocks).for_each(|block| tails.forget(block));
            }
            at += blocks;
        }
        self.has_tails.store(!tails.is_empty(), Release);
        Ok(())
    }
}
