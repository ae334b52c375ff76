//! The calls about names: what `open`, `mkdir`, `unlink`, `rename`, … do on the disk.
//!
//! Key type: [`Ext2`]. Each call takes the lock of the file system once and is whole for all other
//! calls; a commit comes before it or after it. A name is one component of a path, not empty, and
//! without `/`; walking paths is the caller's, as are permissions.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::{Errno, Kernel};

use crate::directory::{DirectoryEntry, Found};
use crate::error::Error;
use crate::layout::{FAST_LINK, INHERITED_FLAGS, Inode, Kind, LINK_MAX, POINTERS, get32};
use crate::mount::Ext2;
use crate::space::Room;
use crate::state::{File, Linking, Meta, Order};

/// The task that makes a call, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The owner of nodes that it makes.
    pub uid: u32,
    /// The group of nodes that it makes.
    pub gid: u32,
    /// Now, in nanoseconds since 1970.
    pub now: u64,
}

/// What `rename` does with a name that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It goes, as `rename(2)` says.
    Yes,
    /// The call fails (`RENAME_NOREPLACE`).
    No,
    /// The two change places (`RENAME_EXCHANGE`).
    Exchange,
}

/// What a new node has.
#[derive(Clone, Copy)]
enum New<'n> {
    /// Nothing, or what all directories have.
    Empty,
    /// The target of a symbolic link.
    Link(&'n [u8]),
    /// The number of a device.
    Device(u32),
}

type Result<T> = core::result::Result<T, Error>;

/// The result of a call that has looked a name up.
type Node<K> = Arc<File<K>>;

impl<K: Kernel> Ext2<K> {
    /// The node of a name in `directory`; `.` and `..` are names too, but in the root `..` is the
    /// root. A directory that was removed has `..` alone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NameTooLong`], [`Errno::Io`];
    /// [`Errno::NotSupported`] for a node of a kind that is not known.
    pub fn lookup(&self, directory: &File<K>, name: &[u8]) -> Result<Node<K>> {
        let mut meta = self.lock();
        if name == b".."
            && let Some(above) = meta.open.get(&directory.inode).and_then(|open| open.above.clone())
        {
            return Ok(above);
        }
        let inode = meta.directory(directory.inode)?;
        let found = meta.find_name(directory.inode, &inode, name)?.ok_or(Error::NotFound)?;
        self.node(&mut meta, found.inode)
    }

    /// One step of `getdents`: the entry at `cookie`, or else the next one; `None` at the end. A
    /// walk begins at 0 and goes on at [`DirectoryEntry::next`]. Names that come or go meanwhile
    /// may be seen or not.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::NotFound`] if it was removed; [`Errno::Io`].
    pub fn entry(&self, directory: &File<K>, cookie: u64) -> Result<Option<DirectoryEntry>> {
        let mut meta = self.lock();
        let inode = meta.directory(directory.inode)?;
        Ok(meta.entry_from(&inode, cookie)?)
    }

    /// Makes an empty regular file.
    ///
    /// # Errors
    /// [`Error::Exists`] and those of [`lookup`](Self::lookup); [`Errno::NoSpace`],
    /// [`Errno::ReadOnly`].
    pub fn create(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
        mode: u32,
    ) -> Result<Node<K>> {
        self.make(caller, directory, name, (Kind::File, mode), New::Empty)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::TooManyLinks`].
    pub fn make_directory(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
        mode: u32,
    ) -> Result<Node<K>> {
        // The set-id bits of a new directory are its parent's to give.
        let mode = mode & 0o1777;
        self.make(caller, directory, name, (Kind::Directory, mode), New::Empty)
    }

    /// Makes a FIFO, a socket or a device (`mknod`). What is behind it is the caller's; a device
    /// has a number, as `st_rdev` has it.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Errno::Invalid`] for other kinds.
    pub fn make_special(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
        (kind, device): (Kind, u32),
        mode: u32,
    ) -> Result<Node<K>> {
        match kind {
            Kind::Fifo | Kind::Socket => {
                self.make(caller, directory, name, (kind, mode), New::Empty)
            }
            Kind::Characters | Kind::Blocks => {
                self.make(caller, directory, name, (kind, mode), New::Device(device))
            }
            Kind::File | Kind::Directory | Kind::Link => Err(Errno::Invalid.into()),
        }
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::NameTooLong`] for a target that does not fit in a
    /// block; [`Error::NotFound`] for an empty one.
    pub fn make_link(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
        target: &[u8],
    ) -> Result<Node<K>> {
        if target.is_empty() {
            return Err(Error::NotFound);
        }
        if target.len() >= self.volume().disk.block_size {
            return Err(Error::NameTooLong);
        }
        self.make(caller, directory, name, (Kind::Link, 0o777), New::Link(target))
    }

    fn make(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
        (kind, mode): (Kind, u32),
        new: New<'_>,
    ) -> Result<Node<K>> {
        let mut meta = self.lock();
        let mut parent = meta.directory_to_change(caller, directory, name)?;
        if meta.find_name(directory.inode, &parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        if kind == Kind::Directory && parent.links >= LINK_MAX {
            return Err(Error::TooManyLinks);
        }
        let number = meta.take_inode(directory.inode, kind)?;
        let mut inode = new_inode(caller, &parent, kind, mode);
        let filled = match new {
            New::Link(target) => meta.fill_link(number, &mut inode, target),
            New::Device(device) => {
                inode.set_device(device);
                Ok(())
            }
            New::Empty if kind == Kind::Directory => {
                meta.fill_directory((number, &mut inode), directory.inode)
            }
            New::Empty => Ok(()),
        };
        let named = filled.and_then(|()| {
            meta.put_new_inode(number, &inode)?;
            meta.add_name((directory.inode, &mut parent), name, (number, kind))
        });
        if named.is_ok() {
            parent.links += u16::from(kind == Kind::Directory);
            (parent.modified, parent.changed) = (caller.now, caller.now);
        }
        meta.put_inode(directory.inode, &parent)?;
        if let Err(errno) = named {
            meta.destroy(number, &mut inode)?;
            return Err(errno.into());
        }
        self.node(&mut meta, number)
    }

    /// Gives a node that is no directory one more name.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::IsDirectory`]; [`Error::TooManyLinks`];
    /// [`Error::NotFound`] for a node without names, unless it may get [one](Linking::Once).
    pub fn link(
        &self,
        caller: &Caller,
        node: &File<K>,
        directory: &File<K>,
        name: &[u8],
    ) -> Result<()> {
        let mut meta = self.lock();
        let mut parent = meta.directory_to_change(caller, directory, name)?;
        let mut inode = meta.inode(node.inode)?;
        let kind = inode.kind().ok_or(Errno::Io)?;
        if kind == Kind::Directory {
            return Err(Error::IsDirectory);
        }
        if meta.find_name(directory.inode, &parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        match inode.links {
            0 if meta.linking(node.inode) == Linking::Never => return Err(Error::NotFound),
            LINK_MAX.. => return Err(Error::TooManyLinks),
            _ => {}
        }
        let named = meta.add_name((directory.inode, &mut parent), name, (node.inode, kind));
        (parent.modified, parent.changed) = (caller.now, caller.now);
        meta.put_inode(directory.inode, &parent)?;
        named?;
        if let Some(open) = meta.open.get_mut(&node.inode) {
            open.linking = Linking::Never;
        }
        inode.links += 1;
        inode.changed = caller.now;
        Ok(meta.put_inode(node.inode, &inode)?)
    }

    /// Removes a name of a node that is no directory. The node goes with its last name, as soon as
    /// no handle of it is left.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup); [`Error::IsDirectory`]; [`Errno::ReadOnly`].
    pub fn unlink(&self, caller: &Caller, directory: &File<K>, name: &[u8]) -> Result<()> {
        self.remove(caller, directory, name, Kind::File)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup); [`Error::NotEmpty`]; [`Errno::Invalid`] for `.`, and
    /// [`Error::NotEmpty`] for `..`; [`Errno::ReadOnly`].
    pub fn remove_directory(
        &self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
    ) -> Result<()> {
        match name {
            b"." => Err(Errno::Invalid.into()),
            b".." => Err(Error::NotEmpty),
            _ => self.remove(caller, directory, name, Kind::Directory),
        }
    }

    fn remove(&self, caller: &Caller, directory: &File<K>, name: &[u8], kind: Kind) -> Result<()> {
        let mut meta = self.lock();
        let mut parent = meta.directory_to_change(caller, directory, name)?;
        let found = meta.find_name(directory.inode, &parent, name)?.ok_or(Error::NotFound)?;
        let inode = meta.inode(found.inode)?;
        match (inode.is_directory(), kind == Kind::Directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if meta.has_names(&inode)? => return Err(Error::NotEmpty),
            _ => {}
        }
        meta.remove_entry(directory.inode, name, &found)?;
        if inode.is_directory() {
            parent.links = parent.links.saturating_sub(1);
        }
        (parent.modified, parent.changed) = (caller.now, caller.now);
        meta.put_inode(directory.inode, &parent)?;
        Ok(meta.lose_name(found.inode, directory.inode, caller.now)?)
    }

    /// Gives a node another name, in the same directory or another one.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup) and [`create`](Self::create); [`Error::Exists`] with
    /// [`Replace::No`]; [`Error::NotFound`] with [`Replace::Exchange`] if a name is missing;
    /// [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::NotEmpty`] for what is to go;
    /// [`Errno::Invalid`] if a directory would come below itself; [`Errno::Busy`] for `.` and `..`.
    pub fn rename(
        &self,
        caller: &Caller,
        (from, old): (&File<K>, &[u8]),
        (to, new): (&File<K>, &[u8]),
        replace: Replace,
    ) -> Result<()> {
        if [old, new].iter().any(|name| *name == b"." || *name == b"..") {
            return Err(Errno::Busy.into());
        }
        let mut meta = self.lock();
        let parent = meta.directory_to_change(caller, from, old)?;
        let target = meta.directory_to_change(caller, to, new)?;
        let moved = meta.find_name(from.inode, &parent, old)?.ok_or(Error::NotFound)?;
        let replaced = meta.find_name(to.inode, &target, new)?;
        let inode = meta.inode(moved.inode)?;
        if inode.is_directory() {
            meta.need_outside(to.inode, moved.inode)?;
        }
        match (replaced, replace) {
            (Some(_), Replace::No) => Err(Error::Exists),
            (None, Replace::Exchange) => Err(Error::NotFound),
            (Some(other), _) if other.inode == moved.inode => Ok(()),
            (Some(other), Replace::Exchange) => {
                let below = meta.inode(other.inode)?;
                if below.is_directory() {
                    meta.need_outside(from.inode, other.inode)?;
                }
                meta.exchange(caller, (from.inode, moved), (to.inode, other))
            }
            (Some(other), _) => {
                let gone = meta.inode(other.inode)?;
                match (inode.is_directory(), gone.is_directory()) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    (true, true) if meta.has_names(&gone)? => return Err(Error::NotEmpty),
                    _ => {}
                }
                let kind = inode.kind().ok_or(Errno::Io)?;
                meta.set_entry(other.place, (moved.inode, kind))?;
                meta.count_directory(
                    to.inode,
                    caller.now,
                    if gone.is_directory() { -1 } else { 0 },
                )?;
                meta.lose_name(other.inode, to.inode, caller.now)?;
                meta.complete_move(caller, (from.inode, old), to.inode, moved)
            }
            (None, _) => {
                let kind = inode.kind().ok_or(Errno::Io)?;
                let moves = inode.is_directory() && from.inode != to.inode;
                if moves && target.links >= LINK_MAX {
                    return Err(Error::TooManyLinks);
                }
                let mut target = target;
                let named = meta.add_name((to.inode, &mut target), new, (moved.inode, kind));
                meta.put_inode(to.inode, &target)?;
                named?;
                meta.complete_move(caller, (from.inode, old), to.inode, moved)
            }
        }
    }

    /// What a symbolic link stands for.
    ///
    /// # Errors
    /// [`Errno::Invalid`] for any other node; [`Errno::Io`].
    pub fn target(&self, node: &File<K>) -> Result<Vec<u8>> {
        let mut meta = self.lock();
        let inode = meta.inode(node.inode)?;
        if inode.kind() != Some(Kind::Link) {
            return Err(Errno::Invalid.into());
        }
        if inode.is_fast_link() {
            let bytes = inode.pointers.iter().flat_map(|word| word.to_le_bytes());
            return Ok(bytes.take(inode.size as usize).collect());
        }
        let block = meta.find_block(&inode, 0)?.ok_or(Errno::Io)?;
        let target = meta.block(block)?.get(..inode.size as usize).map(<[u8]>::to_vec);
        target.ok_or(Error::Other(Errno::Io))
    }
}

/// The inode of a node that is made in `parent`.
pub(crate) fn new_inode(caller: &Caller, parent: &Inode, kind: Kind, mode: u32) -> Inode {
    let mut inode = Inode {
        mode: (mode as u16 & 0o7777) | kind.mode_bits() as u16,
        links: if kind == Kind::Directory { 2 } else { 1 },
        uid: caller.uid,
        gid: caller.gid,
        accessed: caller.now,
        changed: caller.now,
        modified: caller.now,
        flags: parent.flags & INHERITED_FLAGS & kind.flags(),
        ..Inode::default()
    };
    if parent.mode & 0o2000 != 0 {
        inode.gid = parent.gid;
        let may = caller.uid == 0 || caller.gid == parent.gid;
        if kind == Kind::Directory {
            inode.mode |= 0o2000;
        } else if inode.mode & 0o2010 == 0o2010 && !may {
            // The caller cannot make a program that runs as a group that it is not in.
            inode.mode &= !0o2000;
        }
    }
    inode
}

impl<K: Kernel> Meta<'_, K> {
    /// A directory whose names are about to change.
    fn directory_to_change(
        &mut self,
        caller: &Caller,
        directory: &File<K>,
        name: &[u8],
    ) -> Result<Inode> {
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(Errno::Invalid.into());
        }
        self.make_room_for_call()?;
        self.at(caller.now);
        self.directory(directory.inode)
    }

    fn linking(&self, number: u32) -> Linking {
        self.open.get(&number).map_or(Linking::Never, |open| open.linking)
    }

    fn fill_link(
        &mut self,
        number: u32,
        inode: &mut Inode,
        target: &[u8],
    ) -> core::result::Result<(), Errno> {
        inode.size = target.len() as u64;
        if target.len() <= FAST_LINK {
            let mut bytes = [0; POINTERS * 4];
            bytes[..target.len()].copy_from_slice(target);
            for (at, pointer) in inode.pointers.iter_mut().enumerate() {
                *pointer = get32(&bytes, at * 4);
            }
            return Ok(());
        }
        let goal = self.goal(number, inode, 0);
        let at = self.take_block(goal, Room::Free)?;
        let mut bytes = target.to_vec();
        bytes.resize(self.disk().block_size, 0);
        self.put(at, bytes.into(), Order::First);
        self.insert(inode, 0, at)
    }

    /// A node has a name less, in the directory `parent`. Directories have two for themselves.
    fn lose_name(&mut self, number: u32, parent: u32, now: u64) -> core::result::Result<(), Errno> {
        let mut inode = self.inode(number)?;
        inode.links = if inode.is_directory() { 0 } else { inode.links.saturating_sub(1) };
        inode.changed = now;
        self.put_inode(number, &inode)?;
        let is_open = self.open.get(&number).is_some_and(|open| open.file.strong_count() > 0);
        if inode.is_directory() && is_open {
            // The caller has a handle of the parent, so that this is not the last one.
            let above = self.open.get(&parent).and_then(|open| open.file.upgrade());
            if let Some(open) = self.open.get_mut(&number) {
                open.above = above;
            }
        }
        if inode.links == 0 && !is_open {
            self.destroy(number, &mut inode)?;
        }
        Ok(())
    }

    /// Checks that `directory` is not `root` or below it.
    fn need_outside(&mut self, directory: u32, root: u32) -> Result<()> {
        let mut at = directory;
        // An image may have a circle.
        for _ in 0..self.disk().inodes {
            if at == root {
                return Err(Errno::Invalid.into());
            }
            let inode = self.inode(at)?;
            let above = self.parent(&inode)?.inode;
            if above == at {
                return Ok(());
            }
            at = above;
        }
        Err(self.damaged().into())
    }

    /// Stamps a directory, and changes its number of links.
    fn count_directory(
        &mut self,
        number: u32,
        now: u64,
        links: i16,
    ) -> core::result::Result<(), Errno> {
        let mut inode = self.inode(number)?;
        inode.links = inode.links.saturating_add_signed(links);
        (inode.modified, inode.changed) = (now, now);
        self.put_inode(number, &inode)
    }

    /// A node has its new name: takes the old one, and tells a directory its parent.
    fn complete_move(
        &mut self,
        caller: &Caller,
        (from, old): (u32, &[u8]),
        to: u32,
        moved: Found,
    ) -> Result<()> {
        // The new name may have split the old entry: its place is looked up again.
        let parent = self.inode(from)?;
        let entry = self.find_name(from, &parent, old)?.ok_or(Errno::Io)?;
        self.remove_entry(from, old, &entry)?;
        let links = self.tell_parent(moved.inode, from, to)?;
        self.count_directory(from, caller.now, -links)?;
        self.count_directory(to, caller.now, links)?;
        self.stamp_change(moved.inode, caller.now)
    }

    /// Tells a directory that its parent is `to` and not `from`; by how much that changes the links
    /// of the two.
    fn tell_parent(&mut self, number: u32, from: u32, to: u32) -> Result<i16> {
        let inode = self.inode(number)?;
        if !inode.is_directory() || from == to {
            return Ok(0);
        }
        let entry = self.parent(&inode)?;
        self.set_entry(entry.place, (to, Kind::Directory))?;
        Ok(1)
    }

    fn stamp_change(&mut self, number: u32, now: u64) -> Result<()> {
        let mut inode = self.inode(number)?;
        inode.changed = now;
        Ok(self.put_inode(number, &inode)?)
    }

    fn exchange(
        &mut self,
        caller: &Caller,
        (from, first): (u32, Found),
        (to, second): (u32, Found),
    ) -> Result<()> {
        let kinds = [first, second].map(|found| self.inode(found.inode).map(|inode| inode.kind()));
        let [first_kind, second_kind] = kinds;
        let first_kind = first_kind?.ok_or(Errno::Io)?;
        let second_kind = second_kind?.ok_or(Errno::Io)?;
        self.set_entry(second.place, (first.inode, first_kind))?;
        self.set_entry(first.place, (second.inode, second_kind))?;
        let came = self.tell_parent(first.inode, from, to)?;
        let went = self.tell_parent(second.inode, to, from)?;
        self.count_directory(from, caller.now, went - came)?;
        self.count_directory(to, caller.now, came - went)?;
        self.stamp_change(first.inode, caller.now)?;
        self.stamp_change(second.inode, caller.now)
    }
}
