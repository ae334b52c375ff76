//! Commits: how metadata reaches the disk.
//!
//! A commit writes all changed metadata, in an order that a power cut may interrupt anywhere:
//! 1. Writes of data that are under way are waited for, and the device is flushed: no pointer on
//!    the disk leads to a block whose bytes are not there.
//! 2. Indirect blocks, directories, and data that was zeroed; a flush.
//! 3. Inodes, bitmaps, counts; a flush.
//!
//! A cut between two steps leaves the free counts wrong, and perhaps nodes without names: what
//! `e2fsck -p` repairs. What an earlier commit has written and no call has changed since is whole.
//! The lock is held all the time, so that nothing changes meanwhile.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Acquire;

use alloc::vec::Vec;

use faultless::page::{FailedSync, Spin};
use faultless::prelude::{Errno, Kernel};

use crate::layout::{get16, set16, set32};
use crate::state::{Access, Meta, Order, Told};

/// The file system was unmounted, and nothing is wrong with it.
const STATE_VALID: u16 = 1;
/// It contradicts itself.
const STATE_ERRORS: u16 = 2;

/// What the superblock says of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is mounted.
    InUse,
    /// It is unmounted.
    Clean,
}

impl<K: Kernel> Meta<'_, K> {
    /// Makes durable what was written, and all metadata. May sleep.
    ///
    /// # Errors
    /// [`Errno::Io`]: what could not be written is written by the next commit, unless a flush has
    /// lost it. After that no commit succeeds.
    pub(crate) fn commit(&mut self) -> Result<(), Errno> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        if let Some(errno) = self.lost {
            return Err(errno);
        }
        self.settle();
        self.record_told()?;
        self.record_counts()?;
        self.flush()?;
        if self.write_buffers(Order::First)? > 0 {
            self.flush()?;
        }
        if self.write_buffers(Order::Last)? > 0 {
            self.flush()?;
        }
        self.all_written();
        self.freed.clear();
        Ok(())
    }

    /// Has the superblock say whether the file system is in use. The next commit writes it.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn mark(&mut self, mark: Mark) -> Result<(), Errno> {
        let (block, at) = self.disk().superblock_place();
        let is_damaged = self.is_damaged;
        let bytes = &mut self.change(block, Order::Last)?[at..];
        let mut state = get16(bytes, 58) & !STATE_VALID;
        if is_damaged {
            state |= STATE_ERRORS;
        }
        if mark == Mark::Clean && state & STATE_ERRORS == 0 {
            state |= STATE_VALID;
        }
        set16(bytes, 58, state);
        Ok(())
    }

    /// Puts sizes and times in the inodes that they were told of. Room that `fallocate` has made
    /// past the old end, and which is in the file now, becomes blocks.
    ///
    /// # Errors
    /// [`Errno::Io`].
    fn record_told(&mut self) -> Result<(), Errno> {
        let open = self.open.iter();
        let told: Vec<_> = open.map(|(number, open)| (*number, open.told.clone())).collect();
        told.into_iter().try_for_each(|(number, told)| self.record_told_of(number, &told))
    }

    /// The same for one inode.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn record_told_of(&mut self, number: u32, told: &Told<K>) -> Result<(), Errno> {
        let mut inode = self.inode(number)?;
        let before = (inode.size, inode.modified, inode.changed);
        match told.size.load(Acquire) {
            u64::MAX => {}
            size => inode.size = size,
        }
        if let Some(times) = told.times.lock().take() {
            inode.modified = times.modified;
            // The time of a `chmod` is not told to the cache.
            inode.changed = inode.changed.max(times.changed);
        }
        // If there is no room or no reading just now: by the next commit.
        let gets_room = self.fill_promised(number, &mut inode);
        if gets_room || before != (inode.size, inode.modified, inode.changed) {
            self.put_inode(number, &inode)?;
        }
        Ok(())
    }

    /// Puts the free counts in the descriptors and the superblock.
    ///
    /// # Errors
    /// [`Errno::Io`].
    fn record_counts(&mut self) -> Result<(), Errno> {
        if !self.counts_changed {
            return Ok(());
        }
        for number in 0..self.groups.len() {
            let group = self.groups[number];
            let (block, at) = self.disk().descriptor_place(number as u32);
            let old = &self.block(block)?[at..at + 18];
            let mut new: [u8; 18] = old.try_into().map_err(|_| Errno::Io)?;
            group.write_counts(&mut new);
            if new != *old {
                self.change(block, Order::Last)?[at..at + 18].copy_from_slice(&new);
            }
        }
        let (blocks, inodes) = (self.free_blocks, self.free_inodes);
        let (block, at) = self.disk().superblock_place();
        let bytes = &mut self.change(block, Order::Last)?[at..];
        set32(bytes, 12, blocks);
        set32(bytes, 16, inodes);
        self.counts_changed = false;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        let volume = self.volume;
        let flushed = volume.device.flush();
        if let Err(errno) = flushed
            && volume.device.failed_flush() == FailedSync::Loses
        {
            self.lost = Some(errno);
        }
        flushed
    }
}
