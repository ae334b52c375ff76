//! Mounting and unmounting, and inodes that come into use and go out of it.
//!
//! Key type: [`Ext2`].
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::AtomicU64;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::page::Spin;
use faultless::prelude::{Errno, Kernel};

use crate::commit::Mark;
use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{Geometry, Group, Inode, Kind, ROOT, SUPERBLOCK, SUPERBLOCK_LEN};
use crate::state::{Access, File, Linking, Meta, Open, Told, Volume};
use crate::waiting::read_now;

/// Changed blocks of metadata after which a call commits before it begins.
const MOST_DIRTY: usize = 512;

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// A mounted file system. The inodes in use keep it; [`unmount`](Self::unmount) is called when none
/// is left.
pub struct Ext2<K: Kernel> {
    volume: Arc<Volume<K>>,
}

/// What `statfs` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks of the file system.
    pub blocks: u32,
    /// Blocks that are free, and promised to no file.
    pub free_blocks: u32,
    /// Of those, what callers other than root are to have.
    pub available_blocks: u32,
    /// Inodes.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
}

impl<K: Kernel> Ext2<K> {
    /// Mounts the file system on `device`; read-only if it is asked for, or if the image has
    /// features that allow no more. May sleep. `cache` is the one that its files will be in.
    ///
    /// # Errors
    /// [`Errno::Invalid`]: not ext2. [`Errno::NotSupported`]: a feature that is not known. Known
    /// are revision 1 with blocks of 1, 2 and 4 KiB, inodes of 128 and 256 bytes, `filetype`,
    /// `sparse_super` and `large_file`. [`Errno::Io`]: the device failed, or the image contradicts
    /// itself.
    pub fn mount(
        device: Arc<dyn BlockDevice>,
        cache: K::Cache,
        access: Access,
    ) -> Result<Self, Errno> {
        if device.size() < SUPERBLOCK + SUPERBLOCK_LEN as u64 {
            return Err(Errno::Invalid);
        }
        let superblock = read_now::<K>(&*device, &cache, SUPERBLOCK, SUPERBLOCK_LEN)?;
        let disk = Geometry::parse(&superblock, device.size())?;
        let access = if disk.is_read_only { Access::ReadOnly } else { access };
        let volume = Arc::new(Volume::new(device, cache, disk, access));
        let mut meta = volume.lock();
        meta.read_groups()?;
        if !meta.inode(ROOT)?.is_directory() {
            return Err(Errno::Io);
        }
        if access == Access::ReadWrite {
            meta.mark(Mark::InUse)?;
            meta.commit()?;
        }
        drop(meta);
        Ok(Self { volume })
    }

    /// Whether the file system was unmounted before it was mounted. If not, `e2fsck` should see it
    /// first.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.volume.disk.was_clean
    }

    /// What may be done with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.lock().access
    }

    /// The root directory.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub fn root(&self) -> Result<Arc<File<K>>, Error> {
        self.node(&mut self.lock(), ROOT)
    }

    /// Makes everything durable that the page cache has sent, and all names: what `sync` asks of a
    /// file system, and what its flusher calls every few seconds. May sleep.
    ///
    /// # Errors
    /// [`Errno::Io`]; after a flush that has lost what was sent, each time.
    pub fn sync(&self) -> Result<(), Errno> {
        self.lock().commit()
    }

    /// `statfs`.
    #[must_use]
    pub fn space(&self) -> Space {
        let meta = self.lock();
        let disk = meta.disk();
        let free_blocks = meta.free_blocks - meta.reserved;
        Space {
            block_size: disk.block_size as u32,
            blocks: disk.blocks,
            free_blocks,
            available_blocks: free_blocks.saturating_sub(disk.root_blocks),
            inodes: disk.inodes,
            free_inodes: meta.free_inodes,
        }
    }

    /// Unmounts: commits, and says in the superblock that all is well. The caller has dropped all
    /// handles of inodes.
    ///
    /// # Errors
    /// [`Errno::Busy`] if there is a handle, with the file system; [`Errno::Io`]: it stays marked
    /// as in use, and `e2fsck` will look at it.
    pub fn unmount(self) -> Result<(), (Errno, Self)> {
        let unmounted = {
            let mut meta = self.lock();
            if meta.open.values().any(|open| open.file.strong_count() > 0) {
                Err(Errno::Busy)
            } else if meta.access == Access::ReadOnly {
                Ok(())
            } else {
                // First all that the mark vouches for.
                let committed = meta.commit();
                committed.and_then(|()| meta.mark(Mark::Clean)).and_then(|()| meta.commit())
            }
        };
        unmounted.map_err(|errno| (errno, self))
    }

    pub(crate) fn volume(&self) -> &Volume<K> {
        &self.volume
    }

    /// Takes the lock, and commits if much has changed.
    pub(crate) fn lock(&self) -> Meta<'_, K> {
        let mut meta = self.volume.lock();
        if meta.dirty > MOST_DIRTY {
            // A failure is the next sync's: what could not be written stays.
            let _told_later = meta.commit();
        }
        meta
    }

    /// The handle of an inode: the one that there is, or a new one.
    pub(crate) fn node(&self, meta: &mut Meta<'_, K>, number: u32) -> Result<Arc<File<K>>, Error> {
        if let Some(file) = meta.open.get(&number).and_then(|open| open.file.upgrade()) {
            return Ok(file);
        }
        let inode = meta.inode(number)?;
        if inode.links == 0 {
            return Err(meta.damaged().into());
        }
        if inode.kind().is_none() {
            return Err(Errno::NotSupported.into());
        }
        Ok(self.open_node(meta, number))
    }

    /// A new handle of an inode that has none.
    pub(crate) fn open_node(&self, meta: &mut Meta<'_, K>, number: u32) -> Arc<File<K>> {
        // The last handle may be gone, and its drop not be here yet.
        meta.break_promises(number, 0..u64::MAX);
        let told = Told { size: AtomicU64::new(u64::MAX), times: Spin::new(None) };
        let told = Arc::new(told);
        let volume = Arc::clone(&self.volume);
        let file = Arc::new(File { volume, inode: number, told: Arc::clone(&told) });
        let weak = Arc::downgrade(&file);
        let (reserved, zeros) = (BTreeSet::new(), BTreeSet::new());
        let linking = Linking::Never;
        let open = Open { file: weak, told, linking, above: None, reserved, zeros, tail: None };
        meta.open.insert(number, open);
        file
    }
}

impl<K: Kernel> Meta<'_, K> {
    fn read_groups(&mut self) -> Result<(), Errno> {
        let disk = self.disk();
        let mut groups = Vec::new();
        for number in 0..disk.groups {
            let (block, at) = disk.descriptor_place(number);
            let group = Group::parse(&self.block(block)?[at..]);
            let first = disk.first_block_of(number);
            let blocks = first..first + disk.blocks_in(number);
            let table_end = group.inode_table.checked_add(disk.table_blocks()).ok_or(Errno::Io)?;
            let places = [group.block_bitmap, group.inode_bitmap, group.inode_table, table_end - 1];
            let sound = places.iter().all(|place| blocks.contains(place))
                && u32::from(group.free_blocks) <= disk.blocks_in(number)
                && u32::from(group.free_inodes) <= disk.inodes_per_group;
            if !sound {
                return Err(Errno::Io);
            }
            groups.push(group);
        }
        self.free_blocks = groups.iter().map(|group| u32::from(group.free_blocks)).sum();
        self.free_inodes = groups.iter().map(|group| u32::from(group.free_inodes)).sum();
        self.groups = groups;
        Ok(())
    }

    /// Frees an inode without names, and all that it has.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn destroy(&mut self, number: u32, inode: &mut Inode) -> Result<(), Errno> {
        self.break_promises(number, 0..u64::MAX);
        self.indexes.forget(number);
        let kind = inode.kind().unwrap_or(Kind::File);
        if inode.has_blocks() {
            let max = self.disk().max_blocks();
            self.cut(number, inode, &(0..max));
        }
        self.free_extended(inode);
        inode.size = 0;
        inode.links = 0;
        // A small number would be taken for that of an inode.
        inode.deleted = ((self.now / SECOND) as u32).max(self.disk().inodes + 1);
        self.put_inode(number, inode)?;
        self.free_inode(number, kind)
    }
}

impl<K: Kernel> File<K> {
    /// Takes the inode out of use, if that was not done; the directory that a removed one was in.
    fn end(&self) -> Option<Arc<Self>> {
        let mut meta = self.volume.lock();
        let is_last =
            meta.open.get(&self.inode).is_some_and(|open| Arc::ptr_eq(&open.told, &self.told));
        if !is_last {
            return None;
        }
        let freed = meta.release(self);
        let above = meta.open.remove(&self.inode).and_then(|open| open.above);
        if freed.is_err() {
            meta.damaged();
        }
        above
    }
}

/// Directory by directory, up a chain of removed ones: a drop that called itself could need a stack
/// as deep as that.
impl<K: Kernel> Drop for File<K> {
    fn drop(&mut self) {
        let mut above = self.end();
        while let Some(file) = above {
            above = Arc::into_inner(file).and_then(|file| file.end());
        }
    }
}

impl<K: Kernel> Meta<'_, K> {
    /// The last handle of an inode goes.
    fn release(&mut self, file: &File<K>) -> Result<(), Errno> {
        if self.need_writable().is_err() {
            return Ok(());
        }
        let told = self.record_told_of(file.inode, &file.told);
        self.break_promises(file.inode, 0..u64::MAX);
        told?;
        let mut inode = self.inode(file.inode)?;
        if inode.links == 0 {
            self.destroy(file.inode, &mut inode)?;
        }
        Ok(())
    }
}

impl<K: Kernel> fmt::Debug for Ext2<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext2").field("disk", &self.volume.disk).finish_non_exhaustive()
    }
}
