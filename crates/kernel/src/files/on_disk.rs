//! Nodes of the disk.

use core::any::Any;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::filemap::InKernel;
use faultless::prelude::Times;
use faultless_ext2 as ext2;
use faultless_ext2::{Access, Change, Replace};
use faultless_posix::{Errno, Kind, SetFlags, Status};
use linux_raw_sys::general as linux;

use crate::boot::options::options;
use crate::disk::{Disk, fail_one_in};
use crate::files::in_tree::root;
use crate::files::mount;
use crate::files::names::make_directory;
use crate::files::nodes::Attributes;
use crate::files::vnode::{Entry, Extent, Handle, New, NewTimes, Place, Space, Vnode};
use crate::files::volume::{Mounted, Node, errno, set_id, unmount};
use crate::memory::{FileHandle, Open};
use crate::sync::Lock;
use crate::task::{Running, Uninterrupted, caller};

/// The device number of the disk (`vda`).
const DEVICE: u64 = 0xfe00;

/// What `statfs` calls it.
const MAGIC: u64 = 0xef53;

/// Bytes of a sector.
const SECTOR: u32 = 512;

/// Where it is mounted.
const PLACE: &str = "/mnt";

/// What `df` and the like read of it.
const WHAT: [&str; 3] = ["/dev/vda", "ext2", "rw,noatime"];

static MOUNTED: Lock<Option<Arc<Mounted>>> = Lock::new(None);

/// A node of the disk.
struct OnDisk {
    mounted: Arc<Mounted>,
    node: Node,
    kind: Kind,
    place: Option<Place>,
}

/// Mounts the disk, which may fail from then on.
///
/// # Errors
/// Those of the disk and of names.
pub(super) fn init(disk: Arc<Disk>) -> Result<(), Errno> {
    let access = if disk.is_read_only() { Access::ReadOnly } else { Access::ReadWrite };
    let mounted = Mounted::mount(disk, access)?;
    make_directory(PLACE.as_bytes(), 0o755)?;
    let on = root().find(b"mnt")?.ok_or(Errno::NOENT)?;
    let top = OnDisk::handle(&mounted, mounted.ext2.root().map_err(errno)?)?;
    mount::mount(on, PLACE, top, WHAT);
    *MOUNTED.lock() = Some(mounted);
    fail_one_in(options().fail.unwrap_or(0));
    Ok(())
}

/// `sync`: everything on the disk becomes durable.
///
/// # Errors
/// `EIO`; `EINTR`.
pub(crate) fn sync() -> Result<(), Errno> {
    let Some(mounted) = MOUNTED.lock().clone() else { return Ok(()) };
    // SAFETY: in a system call nothing is held.
    let mut token = unsafe { InKernel::enter() };
    mounted.sync(&mut token, &Running)
}

/// Unmounts the disk, which fails no more: the end of the run.
pub(crate) fn shut_down() {
    fail_one_in(0);
    mount::unmount();
    let mounted = MOUNTED.lock().take();
    if let Some(mounted) = mounted {
        unmount(mounted);
    }
}

const fn kind(kind: ext2::Kind) -> Kind {
    match kind {
        ext2::Kind::File => Kind::File,
        ext2::Kind::Directory => Kind::Directory,
        ext2::Kind::Link => Kind::Link,
        ext2::Kind::Fifo => Kind::Fifo,
        ext2::Kind::Socket => Kind::Socket,
        ext2::Kind::Characters => Kind::Characters,
        ext2::Kind::Blocks => Kind::Blocks,
    }
}

/// The kinds of `mknod`.
const fn special(kind: Kind) -> Option<ext2::Kind> {
    match kind {
        Kind::Fifo => Some(ext2::Kind::Fifo),
        Kind::Socket => Some(ext2::Kind::Socket),
        Kind::Characters => Some(ext2::Kind::Characters),
        Kind::Blocks => Some(ext2::Kind::Blocks),
        Kind::File | Kind::Directory | Kind::Link => None,
    }
}

fn own_caller() -> ext2::Caller {
    let caller = caller();
    ext2::Caller { uid: caller.uid, gid: caller.gid, now: caller.now }
}

impl OnDisk {
    fn handle(mounted: &Arc<Mounted>, node: Node) -> Result<Handle, Errno> {
        let kind = kind(mounted.ext2.status(&node).map_err(errno)?.kind);
        Ok(Arc::new(Self { mounted: Arc::clone(mounted), node, kind, place: None }))
    }

    fn of(node: &dyn Vnode) -> Result<&Self, Errno> {
        node.as_any().downcast_ref::<Self>().ok_or(Errno::XDEV)
    }

    fn other(&self, node: Node) -> Result<Handle, Errno> {
        Self::handle(&self.mounted, node)
    }

    fn change(&self, change: &Change) -> Result<(), Errno> {
        self.mounted.ext2.change(&self.node, change, caller().now).map_err(errno)
    }

    fn change_extended(
        &self,
        name: &[u8],
        value: Option<&[u8]>,
        flags: SetFlags,
    ) -> Result<(), Errno> {
        let may = |found: Option<&[u8]>| flags.check(found);
        self.mounted.ext2.set_extended(&self.node, name, value, may, caller().now)
    }

    /// The name of the directory with this number.
    fn name_of(&self, number: u32) -> Result<Vec<u8>, Errno> {
        let mut cookie = 0;
        while let Some(entry) = self.mounted.ext2.entry(&self.node, cookie).map_err(errno)? {
            if entry.number == number && entry.name != b"." && entry.name != b".." {
                return Ok(entry.name);
            }
            cookie = entry.next;
        }
        Err(Errno::NOENT)
    }
}

impl Vnode for OnDisk {
    fn id(&self) -> (u64, u64) {
        (DEVICE, self.node.number().into())
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    fn at(&self, place: Option<Place>) -> Option<Handle> {
        let (mounted, node) = (Arc::clone(&self.mounted), Arc::clone(&self.node));
        Some(Arc::new(Self { mounted, node, kind: self.kind, place }))
    }

    /// Of a file that is in the cache, the size and the times are the cache's.
    fn attributes(&self) -> Result<Attributes, Errno> {
        let status = self.mounted.ext2.status(&self.node).map_err(errno)?;
        let mut known = Status {
            device: DEVICE,
            special: status.device.into(),
            number: status.number.into(),
            kind: self.kind,
            mode: status.mode,
            links: status.links.into(),
            uid: status.uid,
            gid: status.gid,
            size: status.size,
            accessed: status.accessed,
            modified: status.modified,
            changed: status.changed,
        };
        if let Some(file) = self.mounted.cached(&self.node) {
            let Times { modified, changed } = file.times();
            (known.size, known.modified) = (file.size(), modified);
            known.changed = known.changed.max(changed);
            if !file.is_set_id() {
                known.mode &= !set_id(known.mode);
            }
        }
        Ok(Attributes { status: known, sectors: status.sectors })
    }

    fn file(&self) -> Result<FileHandle, Errno> {
        match self.kind {
            Kind::File => self.mounted.file(&self.node),
            Kind::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    fn open(&self, flags: u32) -> Result<Open, Errno> {
        self.file()?;
        self.mounted.open(&self.node, flags)
    }

    fn target(&self) -> Result<Vec<u8>, Errno> {
        self.mounted.ext2.target(&self.node).map_err(errno)
    }

    fn find(&self, name: &[u8]) -> Result<Option<Handle>, Errno> {
        match self.mounted.ext2.lookup(&self.node, name) {
            Ok(node) => self.other(node).map(Some),
            Err(ext2::Error::NotFound) => Ok(None),
            Err(why) => Err(errno(why)),
        }
    }

    fn parent(&self) -> Result<Handle, Errno> {
        self.other(self.mounted.ext2.lookup(&self.node, b"..").map_err(errno)?)
    }

    /// From the directory up: the disk has no names in directories themselves.
    fn path(&self) -> Result<Vec<u8>, Errno> {
        let mut path = Vec::new();
        let mut below = self.node.number();
        let mut above = self.parent()?;
        loop {
            let directory = Self::of(&*above)?;
            if directory.node.number() == below {
                break;
            }
            let name = directory.name_of(below)?;
            path.splice(0..0, [b"/", &*name].concat());
            if path.len() >= linux::PATH_MAX as usize {
                return Err(Errno::NAMETOOLONG);
            }
            below = directory.node.number();
            above = directory.parent()?;
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    fn make(&self, name: &[u8], new: New<'_>) -> Result<Handle, Errno> {
        let (ext2, caller) = (&self.mounted.ext2, own_caller());
        let made = match new {
            New::File(mode) => ext2.create(&caller, &self.node, name, mode),
            New::Directory(mode) => ext2.make_directory(&caller, &self.node, name, mode),
            New::Link(target) => ext2.make_link(&caller, &self.node, name, target),
            New::Special(new, number, mode) => {
                let new = (special(new).ok_or(Errno::INVAL)?, number as u32);
                ext2.make_special(&caller, &self.node, name, new, mode)
            }
        };
        self.other(made.map_err(errno)?)
    }

    fn make_unnamed(&self, flags: u32, mode: u32) -> Result<Handle, Errno> {
        let linking =
            if flags & linux::O_EXCL == 0 { ext2::Linking::Once } else { ext2::Linking::Never };
        let made = self.mounted.ext2.create_unnamed(&own_caller(), &self.node, mode, linking);
        self.other(made.map_err(errno)?)
    }

    fn link(&self, node: &dyn Vnode, name: &[u8]) -> Result<(), Errno> {
        let node = Self::of(node)?;
        if node.kind == Kind::Directory {
            return Err(Errno::PERM);
        }
        self.mounted.ext2.link(&own_caller(), &node.node, &self.node, name).map_err(errno)
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        self.mounted.ext2.unlink(&own_caller(), &self.node, name).map_err(errno)
    }

    fn remove_directory(&self, name: &[u8]) -> Result<(), Errno> {
        self.mounted.ext2.remove_directory(&own_caller(), &self.node, name).map_err(errno)
    }

    fn rename(
        &self,
        old: &[u8],
        directory: &dyn Vnode,
        new: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let replace = match flags {
            0 => Replace::Yes,
            linux::RENAME_NOREPLACE => Replace::No,
            linux::RENAME_EXCHANGE => Replace::Exchange,
            _ => return Err(Errno::INVAL),
        };
        let (from, to) = ((&*self.node, old), (&*Self::of(directory)?.node, new));
        self.mounted.ext2.rename(&own_caller(), from, to, replace).map_err(errno)
    }

    fn entry(&self, cookie: u64, _end: u64) -> Result<Option<Entry>, Errno> {
        let entry = self.mounted.ext2.entry(&self.node, cookie).map_err(errno)?;
        Ok(entry.map(|entry| Entry {
            name: entry.name,
            number: entry.number.into(),
            kind: entry.kind.map_or(linux::DT_UNKNOWN as u8, |of| kind(of).entry_type()),
            next: entry.next,
        }))
    }

    fn end_cookie(&self) -> u64 {
        u64::MAX
    }

    fn extended(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let found = self.mounted.ext2.extended(&self.node, name).map_err(errno)?;
        found.ok_or(Errno::NODATA)
    }

    fn extended_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        self.mounted.ext2.extended_names(&self.node).map_err(errno)
    }

    fn set_extended(&self, name: &[u8], value: &[u8], flags: SetFlags) -> Result<(), Errno> {
        self.change_extended(name, Some(value), flags)
    }

    fn remove_extended(&self, name: &[u8]) -> Result<(), Errno> {
        self.change_extended(name, None, SetFlags::REPLACE)
    }

    fn flags(&self) -> Result<u32, Errno> {
        Ok(self.mounted.ext2.status(&self.node).map_err(errno)?.flags)
    }

    fn set_flags(&self, flags: u32) -> Result<(), Errno> {
        self.change(&Change { flags: Some(flags), ..Change::default() })
    }

    fn extent_from(&self, position: u64) -> Result<Option<Extent>, Errno> {
        let ext2 = &self.mounted.ext2;
        let size = u64::from(ext2.space().block_size);
        let found = ext2.extent_from(&self.node, position / size)?;
        Ok(found.map(|extent| Extent {
            position: extent.first * size,
            place: u64::from(extent.place) * size,
            len: extent.count * size,
        }))
    }

    fn direct_alignment(&self) -> u32 {
        SECTOR
    }

    fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        self.change(&Change { mode: Some(mode), ..Change::default() })?;
        if set_id(mode) != 0
            && let Some(file) = self.mounted.cached(&self.node)
        {
            file.mark_set_id();
        }
        Ok(())
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let mode = self.attributes()?.status.mode;
        let lost = if self.kind == Kind::Directory { 0 } else { set_id(mode) };
        let mode = (lost != 0).then_some(mode & !lost);
        self.change(&Change { mode, uid, gid, ..Change::default() })
    }

    fn set_times(&self, times: NewTimes) -> Result<(), Errno> {
        let NewTimes { accessed, modified } = times;
        self.change(&Change { accessed, modified, ..Change::default() })?;
        if let (Some(modified), Some(file)) = (modified, self.mounted.cached(&self.node)) {
            file.set_times(Times { modified, changed: caller().now });
        }
        Ok(())
    }

    /// The disk is mounted without times of access.
    fn accessed(&self) {}

    fn space(&self) -> Space {
        let space = self.mounted.ext2.space();
        Space {
            magic: MAGIC,
            block_size: space.block_size.into(),
            blocks: space.blocks.into(),
            free_blocks: space.free_blocks.into(),
            available_blocks: space.available_blocks.into(),
            inodes: space.inodes.into(),
            free_inodes: space.free_inodes.into(),
        }
    }

    fn sync_names(&self) -> Result<(), Errno> {
        Ok(self.mounted.ext2.sync()?)
    }

    fn sync_all(&self, open: Option<&Open>) -> Result<(), Errno> {
        // SAFETY: in a system call nothing is held.
        let mut token = unsafe { InKernel::enter() };
        match open {
            Some(open) => self.mounted.syncfs(&mut token, open),
            None => self.mounted.sync(&mut token, &Uninterrupted),
        }
    }
}
