//! Which block of the disk has which block of a file: the pointers of an inode, and its indirect
//! blocks.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::vec;

use faultless::prelude::{Errno, Kernel};

use crate::layout::{DIRECT, Geometry, Inode, POINTERS, get32, set32};
use crate::space::Room;
use crate::state::{Fresh, Meta, Order};

/// The way from an inode to a block: the pointer in the inode, then one in each indirect block.
struct Path {
    first: usize,
    /// How many of `rest` there are.
    levels: usize,
    rest: [usize; 3],
}

impl Path {
    /// The way to block `block` of a file; `None` past the largest one.
    fn to(block: u64, disk: &Geometry) -> Option<Self> {
        let per_block = disk.pointers();
        let mut rest = [0; 3];
        let Some(mut at) = block.checked_sub(u64::from(DIRECT)) else {
            return Some(Self { first: block as usize, levels: 0, rest });
        };
        let mut span = per_block;
        for levels in 1..=3 {
            if at < span {
                for index in rest[..levels].iter_mut().rev() {
                    *index = (at % per_block) as usize;
                    at /= per_block;
                }
                return Some(Self { first: DIRECT as usize + levels - 1, levels, rest });
            }
            at -= span;
            span *= per_block;
        }
        None
    }
}

/// What becomes of missing indirect blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Stop,
    Make,
}

/// Blocks of a file that one pointer leads to.
struct Tree {
    /// The file's inode.
    number: u32,
    /// Indirect blocks on the way.
    level: u32,
    /// The first of the blocks.
    start: u64,
}

/// Where a pointer stands.
enum Spot {
    Inode(usize),
    /// In a block, at a byte.
    Block(u32, usize),
}

impl<K: Kernel> Meta<'_, K> {
    /// The block of the disk for a block of a file; `None` in a hole.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn find_block(&mut self, inode: &Inode, block: u64) -> Result<Option<u32>, Errno> {
        let mut copy = *inode;
        match self.spot(&mut copy, block, Missing::Stop)? {
            None => Ok(None),
            Some(spot) => self.pointer(inode, &spot),
        }
    }

    /// Makes the indirect blocks on the way to a block of a file.
    ///
    /// # Errors
    /// [`Errno::FileTooBig`], [`Errno::NoSpace`], [`Errno::Io`]: some may have been made.
    pub(crate) fn make_path(&mut self, inode: &mut Inode, block: u64) -> Result<(), Errno> {
        self.spot(inode, block, Missing::Make)?.map(drop).ok_or(Errno::FileTooBig)
    }

    /// Gives a file a block of the disk. The path is there.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn insert(&mut self, inode: &mut Inode, block: u64, at: u32) -> Result<(), Errno> {
        let spot = self.spot(inode, block, Missing::Make)?.ok_or(Errno::FileTooBig)?;
        self.set_pointer(inode, &spot, at)?;
        inode.sectors += self.disk().sectors();
        Ok(())
    }

    /// Where a new block of a file is best: behind the one before it, or near the inode.
    pub(crate) fn goal(&mut self, number: u32, inode: &Inode, block: u64) -> u32 {
        let before = block.checked_sub(1).and_then(|before| self.find_block(inode, before).ok()?);
        let disk = self.disk();
        let near = disk.first_block_of((number - 1) / disk.inodes_per_group);
        before.map_or(near, |before| before + 1)
    }

    /// Takes blocks from a file, and gives them back. A block of pointers that cannot be read is
    /// lost, with what it leads to: the file has holes there all the same.
    pub(crate) fn cut(&mut self, number: u32, inode: &mut Inode, range: &Range<u64>) {
        let mut start = 0;
        for at in 0..POINTERS {
            let level = (at + 1).saturating_sub(DIRECT as usize) as u32;
            let tree = Tree { number, level, start };
            inode.pointers[at] = self.cut_tree(inode, inode.pointers[at], &tree, range);
            start += self.disk().pointers().pow(level);
        }
    }

    /// The pointer that remains of `pointer`, which leads to `tree`.
    fn cut_tree(
        &mut self,
        inode: &mut Inode,
        pointer: u32,
        tree: &Tree,
        range: &Range<u64>,
    ) -> u32 {
        let Tree { number, level, start } = *tree;
        let span = self.disk().pointers().pow(level);
        if pointer == 0 || start >= range.end || start + span <= range.start {
            return pointer;
        }
        if level > 0 {
            // A block that is free already has been here before: the image has a circle.
            if !self.is_used(pointer) {
                self.damaged();
                return 0;
            }
            let Ok(bytes) = self.block(pointer).map(<[u8]>::to_vec) else {
                self.damaged();
                return 0;
            };
            let mut left = bytes.clone();
            for (at, child) in left.chunks_exact_mut(4).enumerate() {
                let first = start + at as u64 * (span / self.disk().pointers());
                let below = Tree { number, level: level - 1, start: first };
                let remains = self.cut_tree(inode, get32(child, 0), &below, range);
                set32(child, 0, remains);
            }
            if left.iter().any(|byte| *byte != 0) || self.has_promise(number, start..start + span) {
                if left != bytes {
                    self.put(pointer, left.into(), Order::First);
                }
                return pointer;
            }
        }
        self.free_block(pointer);
        inode.sectors = inode.sectors.saturating_sub(self.disk().sectors());
        0
    }

    /// Whether blocks of the file in that range were promised room: the way to them stays.
    fn has_promise(&self, number: u32, range: Range<u64>) -> bool {
        let place = |block: u64| u32::try_from(block).unwrap_or(u32::MAX);
        let Some(open) = self.open.get(&number) else { return false };
        open.reserved.range(place(range.start)..place(range.end)).next().is_some()
    }

    /// The first block of a file from `block` on that is no hole, before `end`.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn next_block(
        &mut self,
        inode: &Inode,
        block: u64,
        end: u64,
    ) -> Result<Option<u64>, Errno> {
        let mut at = block;
        while at < end {
            let mut copy = *inode;
            match self.spot(&mut copy, at, Missing::Stop)? {
                Some(spot) if self.pointer(inode, &spot)?.is_some() => return Ok(Some(at)),
                Some(_) => at += 1,
                // Nothing below the pointer that is missing.
                None => at = self.behind_missing(inode, at)?,
            }
        }
        Ok(None)
    }

    /// The first block that the missing pointer on the way to `block` does not lead to.
    fn behind_missing(&mut self, inode: &Inode, block: u64) -> Result<u64, Errno> {
        let per_block = self.disk().pointers();
        let Some(path) = Path::to(block, &self.disk()) else { return Ok(u64::MAX) };
        let mut pointer = inode.pointers[path.first];
        let mut span = per_block.pow(path.levels as u32);
        for index in &path.rest[..path.levels] {
            if pointer == 0 {
                break;
            }
            pointer = get32(self.block(pointer)?, index * 4);
            span /= per_block;
        }
        // Stretches of pointers are aligned behind the blocks of the levels before.
        let base = (0..path.levels.saturating_sub(1) as u32)
            .fold(u64::from(DIRECT), |base, level| base + per_block.pow(level + 1));
        let base = if path.levels == 0 { 0 } else { base };
        Ok(base + ((block - base) / span + 1) * span)
    }

    /// Where the pointer to a block stands. `None` if an indirect block is missing, and for a block
    /// past the largest one.
    fn spot(
        &mut self,
        inode: &mut Inode,
        block: u64,
        missing: Missing,
    ) -> Result<Option<Spot>, Errno> {
        let Some(path) = Path::to(block, &self.disk()) else { return Ok(None) };
        let mut spot = Spot::Inode(path.first);
        for index in &path.rest[..path.levels] {
            let next = match self.pointer(inode, &spot)? {
                Some(next) => next,
                None if missing == Missing::Stop => return Ok(None),
                None => self.make_indirect(inode, &spot)?,
            };
            spot = Spot::Block(next, index * 4);
        }
        Ok(Some(spot))
    }

    fn make_indirect(&mut self, inode: &mut Inode, spot: &Spot) -> Result<u32, Errno> {
        let goal = inode.pointers.iter().copied().find(|pointer| *pointer != 0).unwrap_or(0);
        let made = self.take_block(goal, Room::Free)?;
        self.put(made, vec![0; self.disk().block_size].into(), Order::First);
        self.set_pointer(inode, spot, made)?;
        inode.sectors += self.disk().sectors();
        Ok(made)
    }

    fn pointer(&mut self, inode: &Inode, spot: &Spot) -> Result<Option<u32>, Errno> {
        let pointer = match *spot {
            Spot::Inode(at) => inode.pointers[at],
            Spot::Block(block, at) => get32(self.block(block)?, at),
        };
        match pointer {
            0 => Ok(None),
            _ if self.is_data(pointer) => Ok(Some(pointer)),
            _ => Err(self.damaged()),
        }
    }

    fn set_pointer(&mut self, inode: &mut Inode, spot: &Spot, to: u32) -> Result<(), Errno> {
        match *spot {
            Spot::Inode(at) => inode.pointers[at] = to,
            Spot::Block(block, at) => set32(self.change(block, Order::First)?, at, to),
        }
        Ok(())
    }

    /// A write has failed that was to give blocks their first bytes: they are the file's no more,
    /// and promised to it again.
    pub(crate) fn take_back(&mut self, fresh: &Fresh<K>) {
        let Ok(mut inode) = self.inode(fresh.inode) else { return };
        for (block, at) in &fresh.blocks {
            let place = u64::from(*block);
            if self.find_block(&inode, place) != Ok(Some(*at)) {
                // It was cut off meanwhile.
                continue;
            }
            // The path stays: a block that was promised has one.
            let Ok(Some(spot)) = self.spot(&mut inode, place, Missing::Stop) else { continue };
            if self.set_pointer(&mut inode, &spot, 0).is_ok() {
                self.free_block(*at);
                inode.sectors = inode.sectors.saturating_sub(self.disk().sectors());
                if let Some(open) = self.open.get_mut(&fresh.inode)
                    && open.reserved.insert(*block)
                {
                    self.reserved += 1;
                }
            }
        }
        if self.put_inode(fresh.inode, &inode).is_err() {
            self.damaged();
        }
    }
}
