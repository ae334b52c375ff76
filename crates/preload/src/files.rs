//! Which files are in Faultless: the regular files of one folder. Names are Linux's; a file is
//! known by its device and number, and kept from vanishing by a hidden link.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::fs;
use std::os::unix::fs::FileExt;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use faultless::filemap::{Flusher, Inodes};
use faultless::parts::{Answer, Call, FaultyStore, When};
use faultless::prelude::{
    AddressSpaceOperations, Errno as CacheErrno, InKernel, Inode, IovIter, KernelMemory, PAGE_SIZE,
    PageLocks, SyncKind, Task, Times,
};
use faultless_posix::{Errno, Volume};
use syscalls::Sysno;

use crate::arena::Part;
use crate::counters::{add, counters};
use crate::kernel::{File, FileHandle, Key, Mappings, Program, TheCache};
use crate::options::{Backing, folder, hidden_link, options};
use crate::raw;
use crate::stores::Backed;
use crate::sync::{Short, Words};
use crate::task::Running;

/// The files of the run.
pub(crate) static FILES: Part<Volume<Program, Files>> = Part::new(6);

/// The files of the run.
pub(crate) fn files() -> &'static Files {
    volume().files()
}

/// The files of the run, and what `syncfs` reports of them.
pub(crate) fn volume() -> &'static Volume<Program, Files> {
    FILES.get()
}

/// Nanoseconds after which a dirty file is sent, and between two looks for such files.
const AGE_NS: u64 = 1_000_000_000;
/// Pages that a look sends at most.
const PAGES_AT_ONCE: u32 = 1024;

/// A step of the flusher, if the last one was long enough ago. After a write that landed, with
/// nothing held (L6): a run has no thread of its own in the program that could call it.
pub(crate) fn flush_aged(token: &mut impl PageLocks) {
    let (now, flushed) = (Running.now(), &files().flushed);
    let last = flushed.load(Relaxed);
    if now.saturating_sub(last) >= AGE_NS
        && flushed.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    {
        // By age alone: what has no room in the cache is reclaimed.
        let _rest_is_later = volume().flush(token, 0, PAGES_AT_ONCE, &Running);
    }
}

/// Files by what Linux knows them by.
pub(crate) struct Files {
    known: Short<BTreeMap<Key, Arc<File>>>,
    /// When the flusher looked last.
    flushed: AtomicU64,
}

impl Files {
    /// No file.
    pub(crate) fn volume() -> Volume<Program, Self> {
        let files = Self { known: Short::new(BTreeMap::new()), flushed: AtomicU64::new(0) };
        Volume::new(files, Flusher::new(AGE_NS, u64::MAX))
    }

    /// All files.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        self.known.lock().values().cloned().collect()
    }

    /// The file that Linux describes so, if it is in Faultless already.
    pub(crate) fn find(&self, stat: &libc::stat) -> Option<Arc<File>> {
        self.known.lock().get(&Key::of(stat)).cloned()
    }

    /// The file that Linux has just opened as `fd`, if it is one of the folder.
    ///
    /// # Errors
    /// No memory for it, or no hidden link.
    pub(crate) fn opened(&self, fd: usize) -> Result<Option<FileHandle>, Errno> {
        let Some(stat) = stat_of(fd) else { return Ok(None) };
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(None);
        }
        let key = Key::of(&stat);
        // Also one that has got a name elsewhere.
        if let Some(file) = self.known.lock().get(&key) {
            return Ok(Some(FileHandle(Arc::clone(file))));
        }
        if !is_inside(fd) {
            return Ok(None);
        }
        hide(fd, key.number)?;
        let file = Arc::new(new_file(key, &stat)?);
        let file = Arc::clone(self.known.lock().entry(key).or_insert(file));
        Ok(Some(FileHandle(file)))
    }

    /// A name of a file is gone. If it was the last one, the file goes with its last handle.
    pub(crate) fn lost_a_name(&self, key: Key) {
        let Some(file) = self.known.lock().get(&key).cloned() else { return };
        let hidden = hidden_link(key.number);
        let here = libc::AT_FDCWD as usize;
        let links = look(here, hidden.as_bytes(), 0).map_or(1, |stat| stat.st_nlink);
        if links == 1 {
            file.unlinked.store(true, Release);
            // Drops it now if nothing has it open.
            drop(FileHandle(file));
        }
    }

    /// Drops a file without a name, unless it was found again meanwhile.
    pub(crate) fn forget(&self, key: Key) {
        let removed = {
            let mut known = self.known.lock();
            // The caller's handle and the table's: it was not found again meanwhile.
            let last = known
                .get(&key)
                .is_some_and(|file| Arc::strong_count(file) == 2 && file.unlinked.load(Relaxed));
            if last { known.remove(&key) } else { None }
        };
        if removed.is_some() {
            let hidden = hidden_link(key.number);
            let args = [libc::AT_FDCWD as usize, hidden.as_ptr().addr(), 0, 0, 0, 0];
            raw::harmless(Sysno::unlinkat, args);
        }
    }

    /// Drops what can be dropped of all files, for frames; whether there was something. No page
    /// lock is held.
    pub(crate) fn reclaim(&self) -> bool {
        let files = self.all();
        // SAFETY: an allocation is made with no page lock held. It may hold locks of the inode or
        // of a range, which neither eviction nor writeback takes.
        let mut token = unsafe { InKernel::enter() };
        let evict = |token: &mut InKernel| -> u64 {
            files.iter().map(|file| file.inode().evict(token, 0..u64::MAX)).sum()
        };
        let mut pages = evict(&mut token);
        if pages == 0 {
            for file in &files {
                // A failure is in the file's sequence of errors: the next sync reports it.
                let _reported_later = file.inode().writeback(&mut token, 0..u64::MAX, &Running);
            }
            pages = evict(&mut token);
        }
        add(&counters().reclaimed, pages);
        pages > 0
    }

    /// Makes Linux's own files hold what programs and libraries hold: the dynamic linker reads
    /// those before this library is there.
    pub(crate) fn write_out_programs(&self) {
        for file in self.all().iter().filter(|file| is_program(file)) {
            // If that fails, Linux finds a program that it cannot run.
            let _found_by_linux = self.write_out(file);
        }
    }

    /// Makes Linux's own file hold what the file holds, if that was changed.
    ///
    /// # Errors
    /// Those of reading the one and writing the other.
    pub(crate) fn write_out(&self, file: &File) -> Result<(), Errno> {
        let changed = file.inode().times().modified;
        if file.written_out.load(Acquire) == changed {
            return Ok(());
        }
        self.write_all_out(file)?;
        file.written_out.store(changed, Release);
        Ok(())
    }

    fn write_all_out(&self, file: &File) -> Result<(), Errno> {
        // SAFETY: at the entry of a system call no lock is held.
        let mut token = unsafe { InKernel::enter() };
        if options().backing == Backing::File {
            return Ok(file.inode().fsync(&mut token, SyncKind::Data, &Running)?);
        }
        let path = hidden_link(file.key.number);
        let path = path.trim_end_matches('\0');
        let linux = fs::OpenOptions::new().write(true).open(path).map_err(|_| Errno::IO)?;
        let mut buffer = vec![0; 16 * PAGE_SIZE];
        let mut position = 0;
        loop {
            let read = {
                let memory = KernelMemory::<InKernel>::writable(&mut buffer);
                let slice = memory.slice();
                let mut to = IovIter::from_slice(&memory, &slice);
                file.inode().read(&mut token, &mut to, position, &Running)?
            };
            if read == 0 {
                return linux.set_len(position).map_err(|_| Errno::IO);
            }
            linux.write_all_at(&buffer[..read], position).map_err(|_| Errno::IO)?;
            position += read as u64;
        }
    }

    /// Writes all files back and makes them durable, at the end of the run.
    ///
    /// # Errors
    /// The first file's that failed.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        // SAFETY: at the entry of a system call no lock is held.
        let mut token = unsafe { InKernel::enter() };
        let mut result = Ok(());
        for file in self.all() {
            let synced = file.inode().fsync(&mut token, SyncKind::All, &Running);
            result = result.and(synced.map_err(Errno::from));
        }
        result
    }

    /// Syncs the stores of all files, each of which has one.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn sync_stores(&self) -> Result<(), CacheErrno> {
        let synced =
            self.all().into_iter().map(|file| file.inode().mapping().store().sync(SyncKind::All));
        synced.fold(Ok(()), Result::and)
    }
}

impl Inodes<Program> for Files {
    type Handle = FileHandle;

    fn next(&self, from: u64) -> Option<(u64, FileHandle)> {
        let known = self.known.lock();
        let later = known.values().filter(|file| file.id >= from);
        later.min_by_key(|file| file.id).map(|file| (file.id, FileHandle(Arc::clone(file))))
    }

    fn end(&self) -> u64 {
        self.known.lock().values().map(|file| file.id + 1).max().unwrap_or(0)
    }
}

/// Whether a file begins as a program or a library does.
fn is_program(file: &File) -> bool {
    let mut start = [0; 4];
    let memory = KernelMemory::<InKernel>::writable(&mut start);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    // SAFETY: at the entry of a system call no lock is held.
    let mut token = unsafe { InKernel::enter() };
    let read = file.inode().read(&mut token, &mut to, 0, &Running);
    read == Ok(4) && start == *b"\x7fELF"
}

fn new_file(key: Key, stat: &libc::stat) -> Result<File, CacheErrno> {
    let size = stat.st_size as u64;
    let store = Backed::new(key.number, size)?;
    let store = Box::new(FaultyStore::with_locks(store));
    plan(&store)?;
    let inode = Inode::new(TheCache, store, Mappings::new(), size);
    inode.set_times(times_of(stat));
    Ok(File::new(key, inode))
}

/// Whether an open file lies in the folder.
fn is_inside(fd: usize) -> bool {
    let name = alloc::format!("/proc/self/fd/{fd}\0");
    let mut path = [0_u8; libc::PATH_MAX as usize];
    let args =
        [libc::AT_FDCWD as usize, name.as_ptr().addr(), path.as_mut_ptr().addr(), path.len(), 0, 0];
    // SAFETY: the buffer is ours.
    let length = unsafe { raw::call(Sysno::readlinkat, args) };
    let path = &path[..usize::try_from(length).unwrap_or(0)];
    let rest = path.strip_prefix(folder().as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// Keeps an open file from vanishing.
fn hide(fd: usize, number: u64) -> Result<(), Errno> {
    let from = alloc::format!("/proc/self/fd/{fd}\0");
    let to = hidden_link(number);
    let here = libc::AT_FDCWD as usize;
    let follow = libc::AT_SYMLINK_FOLLOW as usize;
    let args = [here, from.as_ptr().addr(), here, to.as_ptr().addr(), follow, 0];
    match raw::harmless(Sysno::linkat, args) {
        // Another thread was faster.
        0 => Ok(()),
        error if error == -(libc::EEXIST as isize) => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Makes the store fail as the options say.
fn plan(store: &FaultyStore<Backed, Words>) -> Result<(), CacheErrno> {
    let options = options();
    if options.fail > 0 {
        let often = When::EveryNth(options.fail);
        store.plan(Call::Read, often, Answer::Fail(CacheErrno::Io))?;
        store.plan(Call::WriteBegin, often, Answer::Fail(CacheErrno::NoSpace))?;
        store.plan(Call::Writeback, often, Answer::Fail(CacheErrno::Io))?;
        store.plan(Call::Sync, often, Answer::Fail(CacheErrno::Io))?;
    }
    Ok(())
}

/// The times of a file as Linux describes it.
pub(crate) const fn times_of(stat: &libc::stat) -> Times {
    Times {
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

const fn nanoseconds(seconds: i64, rest: i64) -> u64 {
    (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(rest as u64)
}

/// What Linux says of an open file.
pub(crate) fn stat_of(fd: usize) -> Option<libc::stat> {
    // SAFETY: integers, for which zero is a value.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the structure is ours.
    let result = unsafe { raw::call(Sysno::fstat, [fd, (&raw mut stat).addr(), 0, 0, 0, 0]) };
    (result == 0).then_some(stat)
}

/// What Linux says of a name, which ends with a NUL; nothing if there is none.
pub(crate) fn look(folder: usize, path: &[u8], flags: i32) -> Option<libc::stat> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    let args = [folder, path.as_ptr().addr(), stat.as_mut_ptr().addr(), flags as usize, 0, 0];
    // SAFETY: the structure is ours.
    let result = unsafe { raw::call(Sysno::newfstatat, args) };
    // SAFETY: Linux has filled it in.
    (result == 0).then(|| unsafe { stat.assume_init() })
}
