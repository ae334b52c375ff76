//! The entries of a directory.
//!
//! A directory is read from front to back. An index that a directory may have (`dir_index`) is left
//! alone until its entries change, and is forgotten then, which its format provides for.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{Errno, Kernel};

use crate::error::Error;
use crate::layout::{
    FLAG_INDEX, Inode, Kind, NAME_MAX, entries, get16, needed, set16, set32, write_entry,
};
use crate::space::Room;
use crate::state::{Meta, Order};

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
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

    /// Looks a name up.
    ///
    /// # Errors
    /// [`Error::NameTooLong`]; [`Errno::Io`].
    pub(crate) fn find_name(&mut self, inode: &Inode, name: &[u8]) -> Result<Option<Found>, Error> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        for block in 0..self.directory_blocks(inode)? {
            let at = self.directory_block(inode, block)?;
            for entry in entries(self.block(at)?) {
                let entry = entry?;
                if entry.inode != 0 && entry.name == name {
                    return Ok(Some(Found { place: (at, entry.at), inode: entry.inode }));
                }
            }
        }
        Ok(None)
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
        match self.find_name(inode, b"..")? {
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
        let wanted = needed(name.len());
        let blocks = self.directory_blocks(inode)?;
        for block in 0..blocks {
            let at = self.directory_block(inode, block)?;
            let mut room = None;
            for entry in entries(self.block(at)?) {
                let entry = entry?;
                if entry.len - entry.used() >= wanted {
                    room = Some((entry.at, entry.used(), entry.len));
                    break;
                }
            }
            if let Some((from, used, len)) = room {
                let bytes = self.change(at, Order::First)?;
                if used > 0 {
                    set16(bytes, from + 4, used as u16);
                }
                write_entry(bytes, (from + used, len - used), node, name);
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
        Ok(())
    }

    /// Removes an entry: the one before it takes its bytes.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub(crate) fn remove_entry(&mut self, (block, at): (u32, usize)) -> Result<(), Errno> {
        let mut before = None;
        for entry in entries(self.block(block)?) {
            let entry = entry?;
            if entry.at >= at {
                break;
            }
            before = Some(entry.at);
        }
        let bytes = self.change(block, Order::First)?;
        match before {
            None => set32(bytes, at, 0),
            Some(before) => {
                let len = get16(bytes, before + 4) + get16(bytes, at + 4);
                set16(bytes, before + 4, len);
            }
        }
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
