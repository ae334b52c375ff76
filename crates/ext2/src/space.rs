//! Which blocks and inodes are free.
//!
//! A block that is freed is not used again before the next commit: until then the disk may still
//! lead from its old owner to it.
#![forbid(unsafe_code)]

use faultless::prelude::{Errno, Kernel};

use crate::layout::Kind;
use crate::state::{Meta, Order};

/// More blocks than a call takes: those of 64 pages, and what leads to them.
const MOST_BLOCKS: usize = 64 * 4 + 16;

/// Which free blocks may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// One that was promised to the caller: it gives the promise back.
    Reserved,
    /// One that is promised to no file.
    Free,
}

impl<K: Kernel> Meta<'_, K> {
    /// Promises a block to a later write.
    ///
    /// # Errors
    /// [`Errno::NoSpace`].
    pub(crate) fn reserve(&mut self) -> Result<(), Errno> {
        if self.reserved >= self.free_blocks {
            return Err(Errno::NoSpace);
        }
        self.reserved += 1;
        Ok(())
    }

    /// Lets the next call take blocks: commits if most of those that are free were in use a short
    /// time ago. May sleep. Call before an inode is looked at: a commit changes inodes.
    ///
    /// # Errors
    /// Those of the commit.
    pub(crate) fn make_room_for_call(&mut self) -> Result<(), Errno> {
        self.need_writable()?;
        let usable = self.free_blocks as usize - self.freed.len().min(self.free_blocks as usize);
        if usable < MOST_BLOCKS && !self.freed.is_empty() { self.commit() } else { Ok(()) }
    }

    /// Takes a block, at `goal` or behind it if there is one.
    ///
    /// # Errors
    /// [`Errno::NoSpace`]; [`Errno::Io`].
    pub(crate) fn take_block(&mut self, goal: u32, room: Room) -> Result<u32, Errno> {
        if room == Room::Free && self.reserved >= self.free_blocks {
            return Err(Errno::NoSpace);
        }
        let block = self.find_free(goal)?;
        let (group, at) = self.group_of(block);
        let bitmap = self.groups[group].block_bitmap;
        self.change(bitmap, Order::Last)?[at / 8] |= 1 << (at % 8);
        self.groups[group].free_blocks -= 1;
        self.free_blocks -= 1;
        self.counts_changed = true;
        if room == Room::Reserved {
            self.reserved -= 1;
        }
        Ok(block)
    }

    fn find_free(&mut self, goal: u32) -> Result<u32, Errno> {
        let disk = self.disk();
        let goal = if self.is_data(goal) { goal } else { disk.first_block };
        let (start, first) = self.group_of(goal);
        let groups = self.groups.len();
        for step in 0..=groups {
            let number = (start + step) % groups;
            let group = self.groups[number];
            if group.free_blocks == 0 {
                continue;
            }
            let base = disk.first_block_of(number as u32);
            let len = disk.blocks_in(number as u32) as usize;
            let mut at = if step == 0 { first } else { 0 };
            while let Some(free) = next_zero(self.block(group.block_bitmap)?, at, len) {
                let block = base + free as u32;
                if !self.freed.contains(&block) && !group.uses(block, &disk) {
                    return Ok(block);
                }
                at = free + 1;
            }
        }
        // The counts say that there is one.
        if self.freed.is_empty() { Err(self.damaged()) } else { Err(Errno::NoSpace) }
    }

    /// Gives a block back. Bytes of it that are in a buffer go.
    pub(crate) fn free_block(&mut self, block: u32) {
        self.forget(block);
        if !self.is_data(block) {
            self.damaged();
            return;
        }
        let (group, at) = self.group_of(block);
        let bitmap = self.groups[group].block_bitmap;
        let Ok(bytes) = self.change(bitmap, Order::Last) else {
            self.damaged();
            return;
        };
        let was_used = bytes[at / 8] & 1 << (at % 8) != 0;
        bytes[at / 8] &= !(1 << (at % 8));
        if !was_used || self.groups[group].free_blocks == u16::MAX {
            self.damaged();
            return;
        }
        self.groups[group].free_blocks += 1;
        self.free_blocks += 1;
        self.freed.insert(block);
        self.counts_changed = true;
    }

    /// Whether a file may have the block.
    pub(crate) fn is_data(&self, block: u32) -> bool {
        let disk = self.disk();
        let inside = (disk.first_block.max(1)..disk.blocks).contains(&block);
        inside && !self.groups[self.group_of(block).0].uses(block, &disk)
    }

    /// Whether a file may have the block, and the bitmap says that one has.
    pub(crate) fn is_used(&mut self, block: u32) -> bool {
        if !self.is_data(block) {
            return false;
        }
        let (group, at) = self.group_of(block);
        let bitmap = self.groups[group].block_bitmap;
        self.block(bitmap).is_ok_and(|bytes| bytes[at / 8] & 1 << (at % 8) != 0)
    }

    /// The group of a block, and its place in the bitmap.
    fn group_of(&self, block: u32) -> (usize, usize) {
        let disk = self.disk();
        let at = block - disk.first_block;
        ((at / disk.blocks_per_group) as usize, (at % disk.blocks_per_group) as usize)
    }

    /// Takes an inode for a node of `kind` in `directory`.
    ///
    /// # Errors
    /// [`Errno::NoSpace`]; [`Errno::Io`].
    pub(crate) fn take_inode(&mut self, directory: u32, kind: Kind) -> Result<u32, Errno> {
        let disk = self.disk();
        if self.free_inodes == 0 {
            return Err(Errno::NoSpace);
        }
        let near = ((directory - 1) / disk.inodes_per_group) as usize;
        let groups = self.groups.len();
        let start = match kind {
            // Directories are spread, so that there is room for what will be in them.
            Kind::Directory => {
                (0..groups).max_by_key(|at| self.groups[*at].free_blocks).unwrap_or(near)
            }
            _ => near,
        };
        for step in 0..groups {
            let number = (start + step) % groups;
            if self.groups[number].free_inodes == 0 {
                continue;
            }
            let first = number as u32 * disk.inodes_per_group + 1;
            let from = disk.first_inode.saturating_sub(first) as usize;
            let bitmap = self.groups[number].inode_bitmap;
            let len = disk.inodes_per_group as usize;
            let Some(at) = next_zero(self.block(bitmap)?, from, len) else { continue };
            self.change(bitmap, Order::Last)?[at / 8] |= 1 << (at % 8);
            self.count_inode(number, kind, Change::Taken);
            return Ok(first + at as u32);
        }
        Err(self.damaged())
    }

    /// Gives an inode back.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn free_inode(&mut self, inode: u32, kind: Kind) -> Result<(), Errno> {
        let disk = self.disk();
        let group = ((inode - 1) / disk.inodes_per_group) as usize;
        let at = ((inode - 1) % disk.inodes_per_group) as usize;
        let bitmap = self.groups[group].inode_bitmap;
        let bytes = self.change(bitmap, Order::Last)?;
        if bytes[at / 8] & 1 << (at % 8) == 0 {
            return Err(self.damaged());
        }
        bytes[at / 8] &= !(1 << (at % 8));
        self.count_inode(group, kind, Change::Freed);
        Ok(())
    }

    fn count_inode(&mut self, group: usize, kind: Kind, change: Change) {
        let is_directory = u16::from(kind == Kind::Directory);
        let group = &mut self.groups[group];
        // Counts of an image that contradicts itself may be too small.
        let total = match change {
            Change::Taken => {
                group.free_inodes -= 1;
                group.directories = group.directories.saturating_add(is_directory);
                u32::wrapping_sub
            }
            Change::Freed => {
                group.free_inodes = group.free_inodes.saturating_add(1);
                group.directories = group.directories.saturating_sub(is_directory);
                u32::wrapping_add
            }
        };
        self.free_inodes = total(self.free_inodes, 1);
        self.counts_changed = true;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Taken,
    Freed,
}

/// The first bit from `from` on that is 0, of the first `len`.
fn next_zero(bitmap: &[u8], from: usize, len: usize) -> Option<usize> {
    let mut at = from;
    while at < len {
        let byte = bitmap[at / 8] | !(0xff << (at % 8));
        if byte != 0xff {
            let found = at / 8 * 8 + byte.trailing_ones() as usize;
            return Some(found).filter(|found| *found < len);
        }
        at = (at / 8 + 1) * 8;
    }
    None
}
