//! The file system in memory: the nodes of [`Tree`].
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::parts::RamStore;
use faultless_posix::{
    Accessed, Description, Errno, Follow, Kind, Node, Room, SetFlags, TmpfsStore, Tree,
};
use spin::Once;

use crate::files::nodes::Attributes;
use crate::files::vnode::{APPEND, Entry, Handle, IMMUTABLE, New, NewTimes, Place, Space, Vnode};
use crate::memory::{FileHandle, Machine, Open, frames};
use crate::sync::Short;
use crate::task::{Uninterrupted, caller};

/// The device number of the tree.
const DEVICE: u64 = 0x10;

/// What `statfs` calls it: tmpfs.
const MAGIC: u64 = 0x0102_1994;
const BLOCK: u64 = 4096;

static TREE: Once<Tree<Machine>> = Once::new();

/// The root file system: a tree of names in memory.
pub(super) fn tree() -> &'static Tree<Machine> {
    TREE.call_once(|| Tree::new(DEVICE, &caller(), 0o755))
}

/// The root directory of all.
pub(crate) fn root() -> Handle {
    InTree::handle(Arc::clone(tree().root()))
}

/// The part of all frames that files of the tree may have, as a tmpfs.
const PART: u32 = 2;

static ROOM: Once<Room> = Once::new();

/// From here on files have a limit. Those that the initramfs has brought are not counted.
pub(super) fn limit() {
    ROOM.call_once(|| Room::new((frames().total() / PART).into()));
}

/// The flags that its nodes can have: those that forbid something, `FS_NODUMP_FL`, `FS_NOATIME_FL`.
const FLAGS: u32 = APPEND | IMMUTABLE | 0xc0;

/// An empty file of the tree.
pub(super) fn new_file() -> FileHandle {
    match ROOM.get() {
        Some(room) => FileHandle::new(Arc::new(TmpfsStore::<_, Short>::new(room)), 0, None),
        None => FileHandle::new(Arc::new(RamStore::new()), 0, None),
    }
}

/// What `st_blocks` counts by.
const SECTOR: u64 = 512;

/// Room of a file, without its holes, in units of 512 bytes.
fn sectors(file: &FileHandle) -> u64 {
    let size = file.size();
    let (mut at, mut bytes) = (0, 0);
    while at < size {
        let Ok(Some(start)) = file.seek_data(at) else { break };
        let end = file.seek_hole(start, &Uninterrupted).ok().flatten().unwrap_or(size);
        bytes += end.next_multiple_of(BLOCK) - start / BLOCK * BLOCK;
        at = end;
    }
    bytes / SECTOR
}

/// A node of the tree.
struct InTree(Arc<Node<Machine>>, Option<Place>);

impl InTree {
    fn handle(node: Arc<Node<Machine>>) -> Handle {
        Arc::new(Self(node, None))
    }

    /// A node that the caller knows to be of the tree.
    ///
    /// # Errors
    /// `EXDEV` if it is not.
    fn of(node: &dyn Vnode) -> Result<&Arc<Node<Machine>>, Errno> {
        node.as_any().downcast_ref::<Self>().map(|this| &this.0).ok_or(Errno::XDEV)
    }
}

impl Vnode for InTree {
    fn id(&self) -> (u64, u64) {
        (DEVICE, self.0.number())
    }

    fn kind(&self) -> Kind {
        self.0.kind()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Option<&Place> {
        self.1.as_ref()
    }

    fn at(&self, place: Option<Place>) -> Option<Handle> {
        Some(Arc::new(Self(Arc::clone(&self.0), place)))
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let sectors = self.0.file().map_or(0, sectors);
        Ok(Attributes { status: self.0.status(), sectors })
    }

    fn file(&self) -> Result<FileHandle, Errno> {
        match self.0.kind() {
            Kind::Directory => Err(Errno::ISDIR),
            _ => self.0.file().cloned().ok_or(Errno::INVAL),
        }
    }

    fn open(&self, flags: u32) -> Result<Open, Errno> {
        Ok(Arc::new(Description::new(self.file()?, flags)))
    }

    fn target(&self) -> Result<Vec<u8>, Errno> {
        self.0.target(&caller()).map(<[u8]>::to_vec)
    }

    fn find(&self, name: &[u8]) -> Result<Option<Handle>, Errno> {
        match tree().lookup(&caller(), &self.0, name, Follow::NotLast) {
            Ok(node) => Ok(Some(Self::handle(node))),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn parent(&self) -> Result<Handle, Errno> {
        tree().lookup(&caller(), &self.0, b"..", Follow::Last).map(Self::handle)
    }

    fn path(&self) -> Result<Vec<u8>, Errno> {
        tree().path(&self.0)
    }

    fn make(&self, name: &[u8], new: New<'_>) -> Result<Handle, Errno> {
        let (tree, caller) = (tree(), caller());
        let made = match new {
            New::File(mode) => tree.make_file(&caller, &self.0, name, mode, || Ok(new_file())),
            New::Directory(mode) => tree.make_directory(&caller, &self.0, name, mode),
            New::Link(target) => tree.make_link(&caller, target, &self.0, name),
            New::Special(kind, device, mode) => {
                tree.make_special(&caller, &self.0, name, mode, (kind, device))
            }
        };
        made.map(Self::handle)
    }

    fn make_unnamed(&self, flags: u32, mode: u32) -> Result<Handle, Errno> {
        let opened = tree().open(&caller(), &self.0, b".", flags, mode, || Ok(new_file()))?;
        Ok(Self::handle(opened.node))
    }

    fn link(&self, node: &dyn Vnode, name: &[u8]) -> Result<(), Errno> {
        tree().link(&caller(), Self::of(node)?, &self.0, name)
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        tree().unlink(&caller(), &self.0, name)
    }

    fn remove_directory(&self, name: &[u8]) -> Result<(), Errno> {
        tree().remove_directory(&caller(), &self.0, name)
    }

    fn rename(
        &self,
        old: &[u8],
        directory: &dyn Vnode,
        new: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        tree().rename(&caller(), (&self.0, old), (Self::of(directory)?, new), flags)
    }

    fn entry(&self, cookie: u64, end: u64) -> Result<Option<Entry>, Errno> {
        let entry = self.0.entry(cookie, end)?;
        Ok(entry.map(|entry| Entry {
            name: entry.name().to_vec(),
            number: entry.number,
            kind: entry.kind.entry_type(),
            next: entry.next,
        }))
    }

    fn end_cookie(&self) -> u64 {
        self.0.end_cookie()
    }

    fn extended(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.0.extended(name).map(|value| value.to_vec())
    }

    fn extended_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.0.extended_names().iter().map(|name| name.to_vec()).collect())
    }

    fn set_extended(&self, name: &[u8], value: &[u8], flags: SetFlags) -> Result<(), Errno> {
        self.0.set_extended(&caller(), name, value, flags)
    }

    fn remove_extended(&self, name: &[u8]) -> Result<(), Errno> {
        self.0.remove_extended(&caller(), name)
    }

    fn flags(&self) -> Result<u32, Errno> {
        Ok(self.0.flags())
    }

    fn set_flags(&self, flags: u32) -> Result<(), Errno> {
        if flags & !FLAGS != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        self.0.set_flags(&caller(), flags);
        Ok(())
    }

    fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        self.0.set_mode(&caller(), mode)
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        self.0.set_owner(&caller(), uid, gid);
        Ok(())
    }

    fn set_times(&self, times: NewTimes) -> Result<(), Errno> {
        self.0.set_times(&caller(), times.accessed, times.modified);
        Ok(())
    }

    fn accessed(&self) {
        self.0.accessed_at(Accessed::Now(caller().now));
    }

    fn space(&self) -> Space {
        let (blocks, free) = ROOM.get().map_or((0, 0), |room| (room.pages(), room.left()));
        Space {
            magic: MAGIC,
            block_size: BLOCK,
            blocks,
            free_blocks: free,
            available_blocks: free,
            inodes: 0,
            free_inodes: 0,
        }
    }

    /// Files in memory have no store that could lack anything.
    fn sync_names(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn sync_all(&self, _open: Option<&Open>) -> Result<(), Errno> {
        Ok(())
    }
}
