//! The file system of the disk, mounted: ext2, the files of it that are in the cache, and the
//! thread that sends what programs have written.
//!
//! Key type: [`Mounted`]. An inode of the disk has one file in the cache, however often it is open.
//! Its end, with the last handle, is the last one's: until that is over no other file is made of
//! the inode, so that what is read then is what was written.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::filemap::{Flusher, InKernel, Inodes, Left};
use faultless::prelude::{AddressSpaceOperations, Inode, PageLocks, Task, Times, Wait};
use faultless_ext2::{Access, BlockDevice, Change, Error, Ext2, File};
use faultless_posix::{Errno, Volume};

use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::arch::serial::say;
use crate::memory::{DISK, Ends, FileHandle, Machine, Open, WeakFile, cache, dirty_limit};
use crate::sched;
use crate::sync::Lock;
use crate::task::{Running, Uninterrupted};
use crate::waits::{SleepLock, key_of, waits, wake};

/// Nanoseconds after which what was written is sent, and names are committed.
const AGE_NS: u64 = 3_000_000_000;
const COMMIT_NS: u64 = 5_000_000_000;
/// Nanoseconds from one look of the flusher to the next.
const LOOK_NS: u64 = 5_000_000;
/// Pages that a step of the flusher sends.
const STEP: u32 = 512;
/// How long the end of the run waits for programs that use the disk.
const LAST_USE_NS: u64 = 10_000_000_000;

/// The bits of a mode that a write clears: set-group-id only with the group's right to execute.
pub(super) const fn set_id(mode: u32) -> u32 {
    let group = if mode & linux::S_IXGRP == 0 { 0 } else { linux::S_ISGID };
    mode & (linux::S_ISUID | group)
}

/// A handle of an inode of the disk.
pub(super) type Node = Arc<File<Machine>>;

/// The mounted file system.
pub(super) struct Mounted {
    pub(super) ext2: Ext2<Machine>,
    volume: Volume<Machine, Files>,
    /// Held while a file is looked for in the table, and made.
    opening: SleepLock<()>,
}

/// The files that are in the cache, by the numbers of their inodes. A file whose last handle is
/// gone stays until it has ended.
pub(super) struct Files(Lock<BTreeMap<u32, WeakFile>>);

/// What the table has of a number.
enum Found {
    File(FileHandle),
    /// A file that is about to end.
    Ending,
    Nothing,
}

impl Files {
    fn get(&self, number: u32) -> Found {
        match self.0.lock().get(&number) {
            None => Found::Nothing,
            Some(file) => file.upgrade().map_or(Found::Ending, Found::File),
        }
    }

    fn is_ending(&self, number: u32) -> bool {
        // Without a handle, whose drop may be the last one: this is asked while a wait looks.
        self.0.lock().get(&number).is_some_and(|file| !file.has_handles())
    }

    /// Waits until a file that is about to end has ended.
    fn wait_for_end(&self, number: u32) {
        waits().wait_until(key_of(self), &mut || !self.is_ending(number));
    }

    /// Waits for all files that are about to end now.
    fn wait_for_ends(&self) {
        let numbers: Vec<u32> = self.0.lock().keys().copied().collect();
        numbers.into_iter().for_each(|number| self.wait_for_end(number));
    }
}

impl Inodes<Machine> for Files {
    type Handle = FileHandle;

    fn next(&self, from: u64) -> Option<(u64, FileHandle)> {
        let from = u32::try_from(from).ok()?;
        let files = self.0.lock();
        files.range(from..).find_map(|(number, file)| Some(((*number).into(), file.upgrade()?)))
    }
}

/// The end of a file of the disk.
struct End {
    mounted: Arc<Mounted>,
    node: Node,
}

impl Ends for End {
    fn end(&self, mut inode: Inode<Machine>) {
        let ext2 = &self.mounted.ext2;
        let status = ext2.status(&self.node);
        if status.is_ok_and(|status| status.links == 0) {
            inode.discard();
        } else {
            if let Ok(status) = status
                && set_id(status.mode) != 0
                && !inode.is_set_id()
            {
                let mode = Some(status.mode & !set_id(status.mode));
                let change = Change { mode, ..Change::default() };
                // The next write would clear them again.
                let _not_cleared = ext2.change(&self.node, &change, inode.times().changed);
            }
            // SAFETY: the last handle of a file is dropped with nothing held.
            let mut token = unsafe { InKernel::enter() };
            let closed = inode.close(&mut token, &Uninterrupted);
            self.mounted.volume.leaves(&inode);
            match closed {
                Ok(()) => drop(inode),
                Err(why) => {
                    say!("kernel: file {} could not be written: {why}", self.node.number());
                    inode.discard();
                }
            }
        }
        let files = self.mounted.volume.files();
        let removed = files.0.lock().remove(&self.node.number());
        drop(removed);
        wake(key_of(files));
    }
}

impl Mounted {
    /// Mounts the disk, and starts its flusher.
    ///
    /// # Errors
    /// Those of [`Ext2::mount`]; no memory for the thread.
    pub(super) fn mount(device: Arc<dyn BlockDevice>, access: Access) -> Result<Arc<Self>, Errno> {
        let ext2 = Ext2::mount(device, cache(), access)?;
        if !ext2.was_clean() {
            say!("kernel: the disk was not unmounted: e2fsck -p comes first");
        }
        let files = Files(Lock::new(BTreeMap::new()));
        let volume = Volume::new(files, Flusher::new(AGE_NS, 0));
        let mounted = Arc::new(Self { ext2, volume, opening: SleepLock::new(()) });
        let weak = Arc::downgrade(&mounted);
        sched::spawn(move || flush(&weak))?;
        Ok(mounted)
    }

    /// The file in the cache of a regular file, made if there is none.
    ///
    /// # Errors
    /// `EIO`.
    pub(super) fn file(self: &Arc<Self>, node: &Node) -> Result<FileHandle, Errno> {
        let (number, files) = (node.number(), self.volume.files());
        loop {
            {
                let _one = self.opening.lock();
                match files.get(number) {
                    Found::File(file) => return Ok(file),
                    Found::Nothing => {
                        let file = self.new_file(node)?;
                        let replaced = files.0.lock().insert(number, file.downgrade());
                        drop(replaced);
                        return Ok(file);
                    }
                    Found::Ending => {}
                }
            }
            files.wait_for_end(number);
        }
    }

    fn new_file(self: &Arc<Self>, node: &Node) -> Result<FileHandle, Errno> {
        let status = self.ext2.status(node).map_err(errno)?;
        let ends = End { mounted: Arc::clone(self), node: Arc::clone(node) };
        let store: Arc<dyn AddressSpaceOperations> = Arc::<File<Machine>>::clone(node);
        let file = FileHandle::new(store, status.size, Some(Arc::new(ends)));
        file.set_times(Times { modified: status.modified, changed: status.changed });
        if set_id(status.mode) != 0 {
            file.mark_set_id();
        }
        Ok(file)
    }

    /// The file in the cache, if there is one.
    pub(super) fn cached(&self, node: &Node) -> Option<FileHandle> {
        match self.volume.files().get(node.number()) {
            Found::File(file) => Some(file),
            Found::Ending | Found::Nothing => None,
        }
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// `EIO`; `EINVAL` for flags that mean nothing.
    pub(super) fn open(self: &Arc<Self>, node: &Node, flags: u32) -> Result<Open, Errno> {
        Ok(Arc::new(self.volume.open(self.file(node)?, flags)))
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// `EIO`; `EINTR`.
    pub(super) fn sync<T: Task>(&self, token: &mut impl PageLocks, task: &T) -> Result<(), Errno> {
        self.volume.files().wait_for_ends();
        self.volume.sync(token, || self.ext2.sync(), task)
    }

    /// `syncfs` of a file that was opened here.
    ///
    /// # Errors
    /// `EIO`, once for each open file; `EINTR`.
    pub(super) fn syncfs(&self, token: &mut impl PageLocks, open: &Open) -> Result<(), Errno> {
        self.volume.files().wait_for_ends();
        self.volume.syncfs(open, token, || self.ext2.sync(), &Running)
    }
}

/// Sends what is of age, and what is more than the background threshold, and commits names: a
/// thread of the kernel, until the file system is gone.
fn flush(mounted: &Weak<Mounted>) {
    let mut committed = clock::monotonic();
    // SAFETY: a thread of the kernel, which holds nothing.
    let mut token = unsafe { InKernel::enter() };
    while let Some(mounted) = mounted.upgrade() {
        loop {
            let dirty = dirty_limit().to_flush(DISK);
            let flushed = mounted.volume.flush(&mut token, dirty, STEP, &Uninterrupted);
            if flushed.pages == 0 || flushed.left == Left::Nothing {
                break;
            }
        }
        let now = clock::monotonic();
        if now - committed >= COMMIT_NS {
            committed = now;
            // A failure is told to the next sync of a program.
            let _told_later = mounted.ext2.sync();
        }
        drop(mounted);
        sched::park_until(now + LOOK_NS);
    }
}

/// Unmounts the file system, once no program uses it any more.
pub(super) fn unmount(mut mounted: Arc<Mounted>) {
    let until = clock::monotonic() + LAST_USE_NS;
    // SAFETY: at the end of the run nothing is held.
    let mut token = unsafe { InKernel::enter() };
    while clock::monotonic() < until {
        mounted.volume.files().wait_for_ends();
        mounted = match Arc::try_unwrap(mounted) {
            Ok(last) => {
                if let Err((why, _ext2)) = last.ext2.unmount() {
                    say!("kernel: the disk could not be unmounted: {why}");
                }
                return;
            }
            Err(used) => used,
        };
        sched::park_until(clock::monotonic() + LOOK_NS);
    }
    say!("kernel: the disk is still in use, and was not unmounted");
    // What is on it is whole all the same.
    let _not_more = mounted.sync(&mut token, &Uninterrupted);
}

/// The number of an error of the file system.
pub(super) fn errno(error: Error) -> Errno {
    match error {
        Error::NotFound => Errno::NOENT,
        Error::Exists => Errno::EXIST,
        Error::NotDirectory => Errno::NOTDIR,
        Error::IsDirectory => Errno::ISDIR,
        Error::NotEmpty => Errno::NOTEMPTY,
        Error::NameTooLong => Errno::NAMETOOLONG,
        Error::TooManyLinks => Errno::MLINK,
        Error::Other(errno) => errno.into(),
    }
}
