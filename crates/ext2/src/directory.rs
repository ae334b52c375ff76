//! The entries of a directory.
//!
//! A directory is read from front to back, or where its [index](crate::index) in memory says. The
//! one on the disk that it may have (`dir_index`) is left alone until its entries change, and is
//! forgotten then, which its format provides for.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{Errno, Kernel};

use crate::error::Error;
use crate::index::{Index, MOST_BYTES, WORTH};
use crate::layout::{
    FLAG_INDEX, Inode, Kind, NAME_MAX, entries, get16, needed, set16, set32, write_entry,
};
use crate::space::Room;
use crate::state::{Meta, Order};

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The block of the directory.
    pub(crate) block: u64,
    /// The block of the disk, and where in it.
    pub(crate) place: (u32, usize),
    pub(crate) inode: u32,
}

/// A name of a directory, as `getdents64` returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name.
    pub name: Vec<u8>,
    /// The number of its inode.
    pub number: u32,
    /// What the inode is, if the directory says so.
    pub kind: Option<Kind>,
    /// Where the next entry is looked for.
    pub next: u64,
}

impl<K: Kernel> Meta<'_, K> {
    /// A directory that was not removed.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::NotFound`] if it was removed.
    pub(crate) fn directory(&mut self, number: u32) -> Result<Inode, Error> {
        let inode = self.inode(number)?;
        match inode.is_directory() {
            false => Err(Error::NotDirectory),
            true if inode.links == 0 => Err(Error::NotFound),
            true => Ok(inode),
        }
    }

    /// How many blocks a directory has.
    fn directory_blocks(&mut self, inode: &Inode) -> Result<u64, Errno> {
        let blocks = inode.size / self.disk().block_size as u64;
        if blocks > u64::from(self.disk().blocks) { Err(self.damaged()) } else { Ok(blocks) }
    }

    /// The block of the disk with a block of a directory, which has no holes.
    fn directory_block(&mut self, inode: &Inode, block: u64) -> Result<u32, Errno> {
        match self.find_block(inode, block)? {
            Some(at) => Ok(at),
            None => Err(self.damaged()),
        }
    }

    /// Looks a name up in the directory of that number.
    ///
    /// # Errors
    /// [`Error::NameTooLong`]; [`Errno::Io`].
    pub(crate) fn find_name(
        &mut self,
        number: u32,
        inode: &Inode,
        name: &[u8],
    ) -> Result<Option<Found>, Error> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let blocks = self.directory_blocks(inode)?;
        self.need_index(number, inode, blocks);
        match self.indexes.get(number).map(|index| index.blocks_of(name)) {
            Some(blocks) => self.find_in(inode, blocks, name),
            None => self.find_in(inode, 0..blocks, name),
        }
    }

    /// Looks a name up in some blocks of a directory.
    fn find_in(
        &mut self,
        inode: &Inode,
        blocks: impl IntoIterator<Item = u64>,
        name: &[u8],
    ) -> Result<Option<Found>, Error> {
        for block in blocks {
            let at = self.directory_block(inode, block)?;
            for entry in entries(self.block(at)?) {
                let entry = entry?;
                if entry.inode != 0 && entry.name == name {
                    return Ok(Some(Found { block, place: (at, entry.at), inode: entry.inode }));
                }
            }
        }
        Ok(None)
    }

    /// Makes the index of a directory that is worth one and has none. A directory that cannot be
    /// read gets none.
    fn need_index(&mut self, number: u32, inode: &Inode, blocks: u64) {
        let is_worth = blocks >= WORTH && inode.size <= MOST_BYTES;
        if !is_worth || self.indexes.get(number).is_some() {
            return;
        }
        let mut index = Index::default();
        for block in 0..blocks {
            let Ok(at) = self.directory_block(inode, block) else { return };
            if !self.block(at).is_ok_and(|bytes| index.push(bytes).is_ok()) {
                return;
            }
        }
        self.indexes.insert(number, index);
    }

    /// The entry at `cookie`, or else the next one: a cookie is a place in bytes.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn entry_from(
        &mut self,
        inode: &Inode,
        cookie: u64,
    ) -> Result<Option<DirectoryEntry>, Errno> {
        let size = self.disk().block_size as u64;
        for block in cookie / size..self.directory_blocks(inode)? {
            let at = self.directory_block(inode, block)?;
            for entry in entries(self.block(at)?) {
                let entry = entry?;
                if entry.inode != 0 && block * size + entry.at as u64 >= cookie {
                    return Ok(Some(DirectoryEntry {
                        name: entry.name.into(),
                        number: entry.inode,
                        kind: Kind::from_entry_type(entry.entry_type),
                        next: block * size + (entry.at + entry.len) as u64,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Whether a directory has names beside `.` and `..`.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn has_names(&mut self, inode: &Inode) -> Result<bool, Errno> {
        let mut cookie = 0;
        while let Some(entry) = self.entry_from(inode, cookie)? {
            if entry.name != b"." && entry.name != b".." {
                return Ok(true);
            }
            cookie = entry.next;
        }
        Ok(false)
    }

    /// The parent of a directory.
    ///
    /// # Errors
    /// [`Errno::Io`] if it says none.
    pub(crate) fn parent(&mut self, inode: &Inode) -> Result<Found, Error> {
        let blocks = self.directory_blocks(inode)?;
        match self.find_in(inode, 0..blocks, b"..")? {
            Some(found) => Ok(found),
            None => Err(self.damaged().into()),
        }
    }

    /// Adds a name that the directory does not have. The directory's inode is put back by the
    /// caller, also after an error.
    ///
    /// # Errors
    /// [`Errno::NoSpace`]; [`Errno::Io`].
    pub(crate) fn add_name(
        &mut self,
        directory: (u32, &mut Inode),
        name: &[u8],
        node: (u32, Kind),
    ) -> Result<(), Errno> {
        let (number, inode) = directory;
        inode.flags &= !FLAG_INDEX;
        let blocks = self.directory_blocks(inode)?;
        self.need_index(number, inode, blocks);
        let candidates = match self.indexes.get(number) {
            Some(index) => index.with_room(name.len()).map_or(0..0, |block| block..block + 1),
            None => 0..blocks,
        };
        for block in candidates {
            let at = self.directory_block(inode, block)?;
            if self.add_in(at, name, node)? {
                self.tell_index(number, at, |index, bytes| index.added(name, block, bytes));
                return Ok(());
            }
        }
        let size = self.disk().block_size;
        let mut bytes = vec![0; size];
        write_entry(&mut bytes, (0, size), node, name);
        self.make_path(inode, blocks)?;
        let goal = self.goal(number, inode, blocks);
        let at = self.take_block(goal, Room::Free)?;
        self.put(at, bytes.into(), Order::First);
        self.insert(inode, blocks, at)?;
        inode.size += size as u64;
        self.tell_index(number, at, |index, bytes| index.push(bytes));
        Ok(())
    }

    /// Adds a name to a block, if that has room for it; whether it has.
    fn add_in(&mut self, at: u32, name: &[u8], node: (u32, Kind)) -> Result<bool, Errno> {
        let wanted = needed(name.len());
        let mut room = None;
        for entry in entries(self.block(at)?) {
            let entry = entry?;
            if entry.len - entry.used() >= wanted {
                room = Some((entry.at, entry.used(), entry.len));
                break;
            }
        }
        let Some((from, used, len)) = room else { return Ok(false) };
        let bytes = self.change(at, Order::First)?;
        if used > 0 {
            set16(bytes, from + 4, used as u16);
        }
        write_entry(bytes, (from + used, len - used), node, name);
        Ok(true)
    }

    /// Tells the index of a directory, if there is one, of a block that has changed.
    fn tell_index(
        &mut self,
        directory: u32,
        at: u32,
        tell: impl FnOnce(&mut Index, &[u8]) -> Result<(), Errno>,
    ) {
        if self.indexes.get(directory).is_none() {
            return;
        }
        let bytes = self.block(at).map(<[u8]>::to_vec);
        let index = self.indexes.get_mut(directory);
        let told = bytes.and_then(|bytes| index.map_or(Ok(()), |index| tell(index, &bytes)));
        if told.is_err() {
            self.indexes.forget(directory);
        }
    }

    /// Removes the entry of a name: the one before it takes its bytes.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn remove_entry(
        &mut self,
        directory: u32,
        name: &[u8],
        found: &Found,
    ) -> Result<(), Errno> {
        let (at, place) = found.place;
        let mut before = None;
        for entry in entries(self.block(at)?) {
            let entry = entry?;
            if entry.at >= place {
                break;
            }
            before = Some(entry.at);
        }
        let bytes = self.change(at, Order::First)?;
        match before {
            None => set32(bytes, place, 0),
            Some(before) => {
                let len = get16(bytes, before + 4) + get16(bytes, place + 4);
                set16(bytes, before + 4, len);
            }
        }
        self.tell_index(directory, at, |index, bytes| index.removed(name, found.block, bytes));
        Ok(())
    }

    /// Has an entry lead to another inode.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn set_entry(
        &mut self,
        (block, at): (u32, usize),
        (inode, kind): (u32, Kind),
    ) -> Result<(), Errno> {
        let bytes = self.change(block, Order::First)?;
        set32(bytes, at, inode);
        bytes[at + 7] = kind.entry_type();
        Ok(())
    }

    /// Makes the first block of a new directory. The inode is put back by the caller.
    ///
    /// # Errors
    /// [`Errno::NoSpace`]; [`Errno::Io`].
    pub(crate) fn fill_directory(
        &mut self,
        directory: (u32, &mut Inode),
        parent: u32,
    ) -> Result<(), Errno> {
        let (number, inode) = directory;
        let size = self.disk().block_size;
        let mut bytes = vec![0; size];
        write_entry(&mut bytes, (0, 12), (number, Kind::Directory), b".");
        write_entry(&mut bytes, (12, size - 12), (parent, Kind::Directory), b"..");
        let goal = self.goal(number, inode, 0);
        let at = self.take_block(goal, Room::Free)?;
        self.put(at, bytes.into(), Order::First);
        self.insert(inode, 0, at)?;
        inode.size = size as u64;
        Ok(())
    }
}
