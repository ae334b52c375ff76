//! The store of a file: [`AddressSpaceOperations`] for [`File`].
//!
//! A write is promised room when it begins, with the indirect blocks on the way, so that a full
//! disk is told by the write; the room itself is found when the pages are written back. A block of
//! the file whose bytes change without a page, at the ends of a hole or of a file that was cut,
//! becomes a buffer of the metadata, and is written by the next commit.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Release};

use alloc::boxed::Box;
use alloc::vec::Vec;

use faultless::page::{
    AddressSpaceOperations, Begun, Contents, FailedSync, Fallocate, FillBuf, PageIndex,
    ReadRequest, Reserved, Spin, StoreId, SyncKind, WritebackRequest, WritebackRun,
};
use faultless::prelude::{Errno, Kernel, PAGE_SIZE, Times};

use crate::layout::Inode;
use crate::mount::Ext2;
use crate::space::Room;
use crate::state::{File, Meta, Order, Tail};

/// Blocks that are looked for at once.
const EXTENT: u64 = 1024;

impl<K: Kernel> File<K> {
    /// The number of the inode (`st_ino`).
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.inode
    }
}

/// Blocks of a file that lie one behind the other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one, as a block of the file.
    pub first: u64,
    /// The same, as a block of the disk.
    pub place: u32,
    /// How many.
    pub count: u64,
}

impl<K: Kernel> Ext2<K> {
    /// Where blocks of a file are on the disk, from `block` on (`FIBMAP`, `FIEMAP`): those that
    /// were written back. `None` if there are no more. May sleep.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub fn extent_from(&self, node: &File<K>, block: u64) -> Result<Option<Extent>, Errno> {
        let mut meta = self.lock();
        let inode = meta.inode(node.inode)?;
        let max = meta.disk().max_blocks();
        let Some(first) = meta.next_block(&inode, block, max)? else { return Ok(None) };
        let Some(place) = meta.find_block(&inode, first)? else { return Ok(None) };
        let mut count = 1;
        while count < EXTENT
            && meta.find_block(&inode, first + count)? == place.checked_add(count as u32)
        {
            count += 1;
        }
        Ok(Some(Extent { first, place, count }))
    }
}

impl<K: Kernel> AddressSpaceOperations for File<K> {
    /// Requests go by [`submit_read`](Self::submit_read) alone.
    fn read(&self, _index: PageIndex, _buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        Err(Errno::NotSupported)
    }

    /// Requests go by [`submit_writeback`](Self::submit_writeback) alone.
    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), Errno> {
        Err(Errno::NotSupported)
    }

    fn submit_read(&self, request: ReadRequest) {
        self.read_pages(request);
    }

    fn submit_writeback(&self, request: WritebackRequest) {
        self.write_pages(request);
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let mut meta = self.volume.lock();
        meta.make_room_for_call()?;
        let mut inode = meta.inode(self.inode)?;
        let blocks = meta.blocks(pos..pos + len as u64);
        let promised = blocks.clone().try_for_each(|block| {
            let promised = meta.promise(self.inode, &mut inode, block);
            promised.map_err(|errno| (block, errno))
        });
        meta.put_inode(self.inode, &inode)?;
        let len = match promised {
            Ok(()) => len,
            Err((block, errno)) if block == blocks.start => return Err(errno),
            Err((block, _)) => (block * meta.disk().block_size as u64 - pos) as usize,
        };
        let page = PageIndex::containing(pos).start();
        let all = meta.blocks(page..page + PAGE_SIZE as u64);
        let (mut contents, mut reserved) = (Contents::Hole, Reserved::Fully);
        for block in all {
            if meta.find_block(&inode, block)?.is_some() {
                contents = Contents::Stored;
            } else if !meta.is_promised(self.inode, block) {
                reserved = Reserved::Partly;
            }
        }
        Ok(Begun { len, contents, reserved })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    /// Reads what a cut will change, which cannot fail then: the last block that stays.
    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        let mut meta = self.volume.lock();
        meta.make_room_for_call()?;
        let block_size = meta.disk().block_size as u64;
        if !size.is_multiple_of(block_size) {
            // The block may be on its way.
            meta.settle();
        }
        let inode = meta.inode(self.inode)?;
        let mut tail = None;
        if !size.is_multiple_of(block_size)
            && let Some(block) = meta.find_block(&inode, size / block_size)?
        {
            let bytes = meta.block(block)?.into();
            tail = Some(Tail { size, block, bytes });
        }
        if let Some(open) = meta.open.get_mut(&self.inode) {
            open.tail = tail;
        }
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        let mut meta = self.volume.lock();
        let first = size.div_ceil(meta.disk().block_size as u64);
        meta.break_promises(self.inode, first..u64::MAX);
        let Ok(mut inode) = meta.inode(self.inode) else {
            meta.damaged();
            return;
        };
        let max = meta.disk().max_blocks();
        meta.cut(self.inode, &mut inode, &(first..max));
        if meta.put_inode(self.inode, &inode).is_err() {
            meta.damaged();
        }
        meta.zero_tail(self.inode, &inode, size);
    }

    fn set_size(&self, size: u64) {
        self.told.size.store(size, Release);
    }

    fn set_times(&self, modified: u64, changed: u64) {
        *self.told.times.lock() = Some(Times { modified, changed });
    }

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        self.volume.lock().commit()
    }

    fn failed_sync(&self) -> FailedSync {
        match self.volume.lock().lost {
            Some(_) => FailedSync::Loses,
            None => FailedSync::Keeps,
        }
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        let mut meta = self.volume.lock();
        meta.make_room_for_call()?;
        let mut inode = meta.inode(self.inode)?;
        if let Some(open) = meta.open.get_mut(&self.inode) {
            open.tail = None;
        }
        let changed = match change {
            Fallocate::Allocate => meta.fill_holes(self.inode, &mut inode, &range),
            Fallocate::ZeroRange => {
                let zeroed = meta.zero_range(&inode, &range);
                zeroed.and_then(|()| meta.fill_holes(self.inode, &mut inode, &range))
            }
            Fallocate::PunchHole => meta.punch(self.inode, &mut inode, &range),
        };
        meta.put_inode(self.inode, &inode).and(changed)
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let mut meta = self.volume.lock();
        let inode = meta.inode(self.inode)?;
        let size = meta.disk().block_size as u64;
        let Some(first) = meta.next_block(&inode, pos / size, meta.disk().max_blocks())? else {
            return Ok(None);
        };
        let mut end = first + 1;
        while end < first + EXTENT && meta.find_block(&inode, end)?.is_some() {
            end += 1;
        }
        Ok(Some(first * size..end * size))
    }

    fn store_id(&self) -> StoreId {
        self.volume.device.store_id()
    }

    fn max_size(&self) -> u64 {
        self.volume.disk.max_size()
    }
}

impl<K: Kernel> Meta<'_, K> {
    /// The blocks of a file that hold bytes of `range`.
    fn blocks(&self, range: Range<u64>) -> Range<u64> {
        let disk = self.disk();
        let size = disk.block_size as u64;
        range.start / size..range.end.div_ceil(size).min(disk.max_blocks())
    }

    /// The blocks that lie in `range` as a whole.
    fn whole_blocks(&self, range: &Range<u64>) -> Range<u64> {
        let size = self.disk().block_size as u64;
        range.start.div_ceil(size)..range.end / size
    }

    fn is_promised(&self, number: u32, block: u64) -> bool {
        self.open.get(&number).is_some_and(|open| open.reserved.contains(&(block as u32)))
    }

    /// Promises room to a block of a file, unless it has room.
    ///
    /// # Errors
    /// [`Errno::NoSpace`], [`Errno::Io`].
    fn promise(&mut self, number: u32, inode: &mut Inode, block: u64) -> Result<(), Errno> {
        if self.is_promised(number, block) || self.find_block(inode, block)?.is_some() {
            return Ok(());
        }
        self.reserve()?;
        if let Err(errno) = self.make_path(inode, block) {
            self.reserved -= 1;
            return Err(errno);
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.reserved.insert(block as u32);
        }
        Ok(())
    }

    /// Takes back what was promised to blocks of a file.
    pub(crate) fn break_promises(&mut self, number: u32, blocks: Range<u64>) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let place = |block: u64| u32::try_from(block).unwrap_or(u32::MAX);
        let range = place(blocks.start)..place(blocks.end);
        let gone: Vec<u32> = open.reserved.range(range).copied().collect();
        for block in &gone {
            open.reserved.remove(block);
            open.zeros.remove(block);
        }
        self.reserved -= gone.len() as u32;
    }

    /// Zeroes what the last block of a file has behind `size`, if `prepare_size` has asked for
    /// that: otherwise there is nothing but zeros.
    fn zero_tail(&mut self, number: u32, inode: &Inode, size: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let Some(tail) = open.tail.take_if(|tail| tail.size == size) else { return };
        let block_size = self.disk().block_size as u64;
        if self.find_block(inode, size / block_size) != Ok(Some(tail.block)) {
            return;
        }
        let mut bytes = match self.buffered(tail.block) {
            Some(bytes) => Box::from(bytes),
            None => tail.bytes,
        };
        bytes[(size % block_size) as usize..].fill(0);
        self.put(tail.block, bytes, Order::First);
    }

    /// Zeroes bytes of blocks that are there. Pages of the range are locked, and none is under
    /// writeback.
    fn zero_range(&mut self, inode: &Inode, range: &Range<u64>) -> Result<(), Errno> {
        let size = self.disk().block_size as u64;
        let whole = self.whole_blocks(range);
        let mut zeros = Vec::new();
        for block in self.blocks(range.clone()) {
            let Some(at) = self.find_block(inode, block)? else { continue };
            if whole.contains(&block) {
                zeros.push(at);
                continue;
            }
            let from = range.start.saturating_sub(block * size) as usize;
            let to = (range.end - block * size).min(size) as usize;
            self.change(at, Order::First)?[from..to].fill(0);
        }
        self.write_zeros(&zeros)
    }

    /// Gives every block of `range` that has none a block with zeros. ext2 has no blocks past the
    /// end of a file: those are promised, for as long as the file is in use.
    fn fill_holes(
        &mut self,
        number: u32,
        inode: &mut Inode,
        range: &Range<u64>,
    ) -> Result<(), Errno> {
        let end = self.end_of(number, inode).div_ceil(self.disk().block_size as u64);
        let blocks = self.blocks(range.clone());
        for block in blocks.clone() {
            self.promise(number, inode, block)?;
        }
        let Some(open) = self.open.get_mut(&number) else { return Ok(()) };
        for block in blocks.start.max(end)..blocks.end {
            if open.reserved.contains(&(block as u32)) {
                open.zeros.insert(block as u32);
            }
        }
        let inside: Vec<u32> =
            (blocks.start..blocks.end.min(end)).map(|block| block as u32).collect();
        self.fill_with_zeros(number, inode, &inside)
    }

    /// The size that the file system knows.
    fn end_of(&self, number: u32, inode: &Inode) -> u64 {
        match self.open.get(&number).map(|open| open.told.size.load(Acquire)) {
            None | Some(u64::MAX) => inode.size,
            Some(size) => size,
        }
    }

    /// Gives blocks with zeros to those that `fallocate` has asked for, and that lie in the file by
    /// now. Whether the inode has changed.
    pub(crate) fn fill_promised(&mut self, number: u32, inode: &mut Inode) -> bool {
        let end = inode.size.div_ceil(self.disk().block_size as u64);
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let Some(open) = self.open.get_mut(&number) else { return false };
        let inside: Vec<u32> = open.zeros.range(..end).copied().collect();
        if inside.is_empty() || self.fill_with_zeros(number, inode, &inside).is_err() {
            return false;
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.zeros.retain(|block| *block >= end);
        }
        true
    }

    /// Gives blocks with zeros to those of `blocks` that were promised room.
    fn fill_with_zeros(
        &mut self,
        number: u32,
        inode: &mut Inode,
        blocks: &[u32],
    ) -> Result<(), Errno> {
        let mut made: Vec<(u32, u32)> = Vec::new();
        let mut taken = Ok(());
        for block in blocks {
            if !self.is_promised(number, u64::from(*block)) {
                continue;
            }
            let goal = match made.last() {
                Some((_, before)) => before + 1,
                None => self.goal(number, inode, u64::from(*block)),
            };
            match self.take_block(goal, Room::Reserved) {
                Ok(at) => made.push((*block, at)),
                Err(errno) => {
                    taken = Err(errno);
                    break;
                }
            }
        }
        let places: Vec<u32> = made.iter().map(|(_, at)| *at).collect();
        // Before they are the file's: no reader sees what they held.
        let written = taken.and_then(|()| self.write_zeros(&places));
        for (block, at) in made {
            let inserted = written.and_then(|()| self.insert(inode, u64::from(block), at));
            if inserted.is_ok() {
                self.kept_promise(number, block);
            } else {
                // Promised still.
                self.free_block(at);
                self.reserved += 1;
            }
        }
        written
    }

    /// A block has the room that it was promised.
    fn kept_promise(&mut self, number: u32, block: u32) {
        if let Some(open) = self.open.get_mut(&number) {
            open.reserved.remove(&block);
        }
    }

    fn punch(&mut self, number: u32, inode: &mut Inode, range: &Range<u64>) -> Result<(), Errno> {
        let whole = self.whole_blocks(range);
        // The blocks at the ends first: that can fail.
        if whole.is_empty() {
            return self.zero_range(inode, range);
        }
        let size = self.disk().block_size as u64;
        self.zero_range(inode, &(range.start..whole.start * size))?;
        self.zero_range(inode, &(whole.end * size..range.end))?;
        self.break_promises(number, whole.clone());
        self.cut(number, inode, &whole);
        Ok(())
    }
}

impl<K: Kernel> fmt::Debug for File<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("inode", &self.inode).finish_non_exhaustive()
    }
}
