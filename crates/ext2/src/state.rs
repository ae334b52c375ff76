//! The mounted file system: its lock, and the metadata behind it.
//!
//! Key types: [`Volume`]; [`Meta`], the metadata with the lock held, on which all other modules
//! build; [`File`], an inode in use. A block of metadata is read once and stays in memory as a
//! buffer; what changes is written by `commit`, and by nothing else.
//!
//! The lock is a sleeping one: it is held while the device reads or writes metadata. The ends of
//! transfers take it never, so that a thread with the lock may wait for them. It is served in order
//! of arrival. No signal ends a wait for it: those before it wait for the device alone.
#![forbid(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::sync::atomic::AtomicU64;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;

use faultless::page::{LockId, SleepGuard, SleepMutex, Spin, SpinLock};
use faultless::prelude::{Errno, Kernel, Times};

use crate::device::{BlockDevice, Ended, WriteTransfer};
use crate::index::Indexes;
use crate::layout::{Geometry, Group, Inode};
use crate::waiting::{Awaited, DataWrite, Flight, read_now};

/// Clean buffers that are kept.
const BUFFERS: usize = 1024;

/// A mounted file system.
pub(crate) struct Volume<K: Kernel> {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) cache: K::Cache,
    pub(crate) disk: Geometry,
    pub(crate) flight: Arc<Flight<K>>,
    turn: SleepMutex<K>,
    /// Empty while a thread has the turn.
    state: SpinLock<K, Option<Box<State<K>>>>,
}

/// What the lock guards.
pub(crate) struct State<K: Kernel> {
    buffers: BTreeMap<u32, Buffer>,
    /// How many of them have changed since the last commit.
    pub(crate) dirty: usize,
    pub(crate) groups: Vec<Group>,
    /// The groups have changed since the last commit.
    pub(crate) counts_changed: bool,
    pub(crate) free_blocks: u32,
    pub(crate) free_inodes: u32,
    /// Blocks that were promised to writes, and have no place yet. At most `free_blocks`.
    pub(crate) reserved: u32,
    /// Free blocks that the disk may still have in use: not to be taken before the next commit.
    pub(crate) freed: BTreeSet<u32>,
    pub(crate) open: BTreeMap<u32, Open<K>>,
    pub(crate) indexes: Indexes,
    /// Blocks whose first bytes are under way.
    pub(crate) fresh: Vec<Fresh<K>>,
    pub(crate) access: Access,
    /// A flush has failed: what was written since the last good one may be gone.
    pub(crate) lost: Option<Errno>,
    /// The metadata contradicts itself, or some of it could not be read when it was to be freed.
    pub(crate) is_damaged: bool,
    /// The latest time that a call brought.
    pub(crate) now: u64,
}

/// What may be done with a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Reads alone: nothing is written to the device.
    ReadOnly,
}

/// An inode in use, as the state knows it.
pub(crate) struct Open<K: Kernel> {
    pub(crate) file: Weak<File<K>>,
    pub(crate) told: Arc<Told<K>>,
    /// Without names, whether it may get one.
    pub(crate) linking: Linking,
    /// Of a directory that was removed, the one that it was in, which `..` leads to. Never dropped
    /// with the lock held.
    pub(crate) above: Option<Arc<File<K>>>,
    /// Blocks of the file that were promised room and have none yet.
    pub(crate) reserved: BTreeSet<u32>,
    /// Those of them that `fallocate` has asked for: they get zeros once the file is that long.
    pub(crate) zeros: BTreeSet<u32>,
    /// The last block of the file as it will be when the file has shrunk.
    pub(crate) tail: Option<Tail>,
}

/// Whether a file without names can get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// It gets its first name by [`Ext2::link`](crate::Ext2::link).
    Once,
    /// Never: it had one, or was made so (`O_EXCL`).
    Never,
}

/// A block that is about to be cut.
pub(crate) struct Tail {
    /// The size that the file is to get.
    pub(crate) size: u64,
    pub(crate) block: u32,
    /// What the device has in it.
    pub(crate) bytes: Box<[u8]>,
}

/// What was told of a file without the lock; a commit puts it in the inode.
pub(crate) struct Told<K: Kernel> {
    /// [`u64::MAX`]: nothing.
    pub(crate) size: AtomicU64,
    pub(crate) times: SpinLock<K, Option<Times>>,
}

/// Blocks that got room for a write which is under way.
pub(crate) struct Fresh<K: Kernel> {
    pub(crate) write: Arc<DataWrite<K>>,
    pub(crate) inode: u32,
    /// Blocks of the file, and of the device.
    pub(crate) blocks: Vec<(u32, u32)>,
}

/// An inode in use: the store of a regular file's contents, and a handle that keeps any inode.
///
/// As long as there is one the inode is not freed. The last one of an inode without names frees it:
/// its drop may sleep, and is made with no lock held but that of a page cache's file.
pub struct File<K: Kernel> {
    pub(crate) volume: Arc<Volume<K>>,
    pub(crate) inode: u32,
    pub(crate) told: Arc<Told<K>>,
}

struct Buffer {
    bytes: Box<[u8]>,
    dirty: Option<Order>,
}

/// In which order a commit writes blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Before the inodes that lead to them: indirect blocks, directories, data.
    First,
    /// Inodes, and what counts them.
    Last,
}

impl<K: Kernel> Volume<K> {
    pub(crate) fn new(
        device: Arc<dyn BlockDevice>,
        cache: K::Cache,
        disk: Geometry,
        access: Access,
    ) -> Self {
        let state = State {
            buffers: BTreeMap::new(),
            dirty: 0,
            groups: Vec::new(),
            counts_changed: false,
            free_blocks: 0,
            free_inodes: 0,
            reserved: 0,
            freed: BTreeSet::new(),
            open: BTreeMap::new(),
            indexes: Indexes::default(),
            fresh: Vec::new(),
            access,
            lost: None,
            is_damaged: false,
            now: 0,
        };
        let flight = Flight::new(cache.clone());
        let state = Spin::new(Some(Box::new(state)));
        let turn = SleepMutex::new(LockId::Store(device.store_id().0.into()));
        Self { device, cache, disk, flight, turn, state }
    }

    /// Takes the lock. May sleep. No short lock is held.
    pub(crate) fn lock(&self) -> Meta<'_, K> {
        let turn = self.turn.lock(self.cache.wait());
        let state = self.state.lock().take();
        Meta { volume: self, state, _turn: turn }
    }

    /// Where a block is on the device, in bytes.
    pub(crate) fn position(&self, block: u32) -> u64 {
        u64::from(block) * self.disk.block_size as u64
    }
}

/// The metadata, locked. Dropping it unlocks.
pub(crate) struct Meta<'v, K: Kernel> {
    pub(crate) volume: &'v Volume<K>,
    /// `None` only inside `drop`.
    state: Option<Box<State<K>>>,
    /// Ends behind `drop`.
    _turn: SleepGuard<'v, K>,
}

impl<K: Kernel> Deref for Meta<'_, K> {
    type Target = State<K>;
    fn deref(&self) -> &State<K> {
        self.state.as_ref().expect("there until the drop")
    }
}

impl<K: Kernel> DerefMut for Meta<'_, K> {
    fn deref_mut(&mut self) -> &mut State<K> {
        self.state.as_mut().expect("there until the drop")
    }
}

impl<K: Kernel> Drop for Meta<'_, K> {
    fn drop(&mut self) {
        *self.volume.state.lock() = self.state.take();
    }
}

impl<K: Kernel> Meta<'_, K> {
    pub(crate) fn disk(&self) -> Geometry {
        self.volume.disk
    }

    /// Checks that the file system may change.
    ///
    /// # Errors
    /// [`Errno::ReadOnly`]: it is mounted so, or a flush has failed.
    pub(crate) fn need_writable(&self) -> Result<(), Errno> {
        let writable = self.access == Access::ReadWrite && self.lost.is_none();
        if writable { Ok(()) } else { Err(Errno::ReadOnly) }
    }

    /// Notes the time that a call brings.
    pub(crate) fn at(&mut self, now: u64) {
        self.now = now.max(self.now);
    }

    /// The metadata contradicts itself: `e2fsck` has to look at it. The error for the caller.
    pub(crate) fn damaged(&mut self) -> Errno {
        self.is_damaged = true;
        Errno::Io
    }

    /// The bytes of a block of metadata. May sleep.
    ///
    /// # Errors
    /// [`Errno::Io`] for a block that the device does not have, or cannot read.
    pub(crate) fn block(&mut self, block: u32) -> Result<&[u8], Errno> {
        self.load(block).map(|buffer| &*buffer.bytes)
    }

    /// The same, to be changed: the next commit writes it.
    ///
    /// # Errors
    /// As for `block`.
    pub(crate) fn change(&mut self, block: u32, order: Order) -> Result<&mut [u8], Errno> {
        let was_dirty = self.load(block)?.dirty.is_some();
        self.dirty += usize::from(!was_dirty);
        let buffer = self.load(block)?;
        buffer.dirty = Some(order);
        Ok(&mut buffer.bytes)
    }

    /// Gives a block new bytes.
    pub(crate) fn put(&mut self, block: u32, bytes: Box<[u8]>, order: Order) {
        self.forget(block);
        self.buffers.insert(block, Buffer { bytes, dirty: Some(order) });
        self.dirty += 1;
    }

    /// The buffer of a block, if there is one.
    pub(crate) fn buffered(&self, block: u32) -> Option<&[u8]> {
        self.buffers.get(&block).map(|buffer| &*buffer.bytes)
    }

    /// The block has another use from here on, or is written in another way.
    pub(crate) fn forget(&mut self, block: u32) {
        let gone = self.buffers.remove(&block);
        self.dirty -= usize::from(gone.is_some_and(|buffer| buffer.dirty.is_some()));
    }

    fn load(&mut self, block: u32) -> Result<&mut Buffer, Errno> {
        let disk = self.disk();
        if block < disk.first_block || block >= disk.blocks {
            return Err(self.damaged());
        }
        if !self.buffers.contains_key(&block) {
            let volume = self.volume;
            let position = volume.position(block);
            let bytes = read_now::<K>(&*volume.device, &volume.cache, position, disk.block_size)?;
            self.make_room();
            self.buffers.insert(block, Buffer { bytes, dirty: None });
        }
        self.buffers.get_mut(&block).ok_or(Errno::Io)
    }

    /// Drops all clean buffers if there are many.
    fn make_room(&mut self) {
        if self.buffers.len() >= BUFFERS {
            self.buffers.retain(|_, buffer| buffer.dirty.is_some());
        }
    }

    /// Writes the changed blocks of `order`, which stay dirty, and waits for that; how many.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn write_buffers(&self, order: Order) -> Result<usize, Errno> {
        let dirty = || self.buffers.iter().filter(|(_, buffer)| buffer.dirty == Some(order));
        let count = dirty().count();
        let volume = self.volume;
        let awaited = Awaited::<K>::new(&volume.cache, count);
        for (block, buffer) in dirty() {
            let (position, bytes) = (volume.position(*block), buffer.bytes.clone());
            let call: Arc<dyn Ended> = awaited.clone();
            volume.device.write(WriteTransfer::buffer(position, bytes, 0, call));
        }
        awaited.wait()?;
        Ok(count)
    }

    /// All buffers are on the disk.
    pub(crate) fn all_written(&mut self) {
        for buffer in self.buffers.values_mut() {
            buffer.dirty = None;
        }
        self.dirty = 0;
    }

    /// Writes zeros to blocks, which are not the file's yet or lie in locked pages, and waits.
    ///
    /// # Errors
    /// The device's: any part may be zero.
    pub(crate) fn write_zeros(&mut self, blocks: &[u32]) -> Result<(), Errno> {
        let mut runs: Vec<(u32, usize)> = Vec::new();
        for block in blocks {
            self.forget(*block);
            match runs.last_mut() {
                Some((first, len)) if *first + *len as u32 == *block => *len += 1,
                _ => runs.push((*block, 1)),
            }
        }
        let volume = self.volume;
        let awaited = Awaited::<K>::new(&volume.cache, runs.len());
        for (first, len) in runs {
            let bytes = vec![0; len * volume.disk.block_size].into();
            let call: Arc<dyn Ended> = awaited.clone();
            volume.device.write(WriteTransfer::buffer(volume.position(first), bytes, 0, call));
        }
        awaited.wait()
    }

    /// Waits for writes of data that are under way, and takes the blocks of those that failed back:
    /// they hold what an earlier use has left, and their pages are dirty again. May sleep.
    pub(crate) fn settle(&mut self) {
        self.volume.flight.wait();
        self.volume.flight.take_failure();
        for fresh in core::mem::take(&mut self.fresh) {
            if fresh.write.has_failed() {
                self.take_back(&fresh);
            }
        }
    }

    /// The inode of a number that stands on the disk.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn inode(&mut self, number: u32) -> Result<Inode, Errno> {
        let size = self.disk().inode_size;
        let (block, at) = self.inode_place(number)?;
        Ok(Inode::parse(&self.block(block)?[at..at + size]))
    }

    /// Puts an inode back.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn put_inode(&mut self, number: u32, inode: &Inode) -> Result<(), Errno> {
        let size = self.disk().inode_size;
        let (block, at) = self.inode_place(number)?;
        inode.write(&mut self.change(block, Order::Last)?[at..at + size]);
        Ok(())
    }

    /// As `put_inode`, for one that was not in use.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn put_new_inode(&mut self, number: u32, inode: &Inode) -> Result<(), Errno> {
        let size = self.disk().inode_size;
        let (block, at) = self.inode_place(number)?;
        let bytes = &mut self.change(block, Order::Last)?[at..at + size];
        Inode::clear(bytes);
        inode.write(bytes);
        Ok(())
    }

    fn inode_place(&mut self, number: u32) -> Result<(u32, usize), Errno> {
        let disk = self.disk();
        if number == 0 || number > disk.inodes {
            return Err(self.damaged());
        }
        let (group, at) =
            ((number - 1) / disk.inodes_per_group, (number - 1) % disk.inodes_per_group);
        let per_block = (disk.block_size / disk.inode_size) as u32;
        let block = self.groups[group as usize].inode_table + at / per_block;
        Ok((block, (at % per_block) as usize * disk.inode_size))
    }
}
