//! Where files keep their contents: in the cache, in Linux's files, or on a disk in memory.

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use faultless::page::StoreId;
use faultless::parts::{BlockMap, BlockStore, QueueWait, RamDisk};
use faultless::prelude::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE,
    PageIndex, Reserved, Shift, Strategy, SyncKind, WritebackRun,
};

use crate::arena::{self, DISK, DISK_BYTES, Part};
use crate::counters::{add, counters};
use crate::options::{Backing, Plant, hidden_link, options};
use crate::sync::{Short, Words};
use crate::thread::Sleepers;

/// The store of one file.
pub(crate) enum Backed {
    Ram(Ram),
    Linux(Linux),
    Block(Box<BlockStore<OfDisk, Blocks, QueueWait<Sleepers, Words>>>),
}

impl Backed {
    /// The store of the file with this number, which has `size` bytes.
    ///
    /// # Errors
    /// No disk, or one of a size that no disk has.
    pub(crate) fn new(number: u64, size: u64) -> Result<Self, Errno> {
        let linux = Linux { number, size: AtomicU64::new(size) };
        Ok(match options().backing {
            Backing::Ram => Self::Ram(Ram::new(linux, size)),
            Backing::File => Self::Linux(linux),
            Backing::Block(_) => {
                let wait = QueueWait::with_locks(Sleepers);
                Self::Block(Box::new(BlockStore::with_wait(OfDisk, Blocks::default(), wait)?))
            }
        })
    }

    fn store(&self) -> &dyn AddressSpaceOperations {
        match self {
            Self::Ram(store) => store,
            Self::Linux(store) => store,
            Self::Block(store) => &**store,
        }
    }
}

/// A call of a store: takes as long as the options say.
fn begin() {
    let micros = options().latency;
    if micros > 0 {
        std::thread::sleep(Duration::from_micros(micros));
    }
}

impl AddressSpaceOperations for Backed {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        begin();
        self.store().read(index, buf)
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.store().write_begin(pos, len)
    }
    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.store().write_end(pos, len, copied);
    }
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        begin();
        add(&counters().written_back, u64::from(run.pages()));
        if options().plant == Some(Plant::LostDirty) {
            return Ok(());
        }
        self.store().writeback(run)
    }
    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        self.store().prepare_size(size)
    }
    fn truncate_blocks(&self, size: u64) {
        self.store().truncate_blocks(size);
    }
    fn set_size(&self, size: u64) {
        self.store().set_size(size);
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        begin();
        self.store().sync(kind)
    }
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        begin();
        self.store().fallocate(change, range)
    }
    fn shift_unit(&self) -> Option<u64> {
        self.store().shift_unit()
    }
    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        begin();
        self.store().shift(shift, range, size)
    }
    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        self.store().extent(pos)
    }

    /// The failures of a run are those of the store before this one: nothing has been sent by then.
    fn failed_sync(&self) -> FailedSync {
        FailedSync::Keeps
    }
    fn strategy(&self) -> Strategy {
        options().strategy
    }
    fn max_size(&self) -> u64 {
        self.store().max_size()
    }
    fn is_persistent(&self) -> bool {
        self.store().is_persistent()
    }
    fn is_swap(&self) -> bool {
        self.store().is_swap()
    }
    fn store_id(&self) -> StoreId {
        self.store().store_id()
    }

    fn wants_stable_pages(&self) -> bool {
        self.store().wants_stable_pages()
    }
}

/// A file whose only copy is the cache, but for what was in Linux's when it was opened.
pub(crate) struct Ram {
    linux: Linux,
    /// Bytes of Linux's file that are still the file's.
    valid: AtomicU64,
    /// Bytes of Linux's file that are not: where each hole begins and ends.
    holes: Short<BTreeMap<u64, u64>>,
}

impl Ram {
    fn new(linux: Linux, size: u64) -> Self {
        Self { linux, valid: AtomicU64::new(size), holes: Short::default() }
    }

    /// Zeroes what holes have of `bytes`, which lie at `pos`.
    fn apply_holes(&self, pos: u64, bytes: &mut [u8]) {
        let end = pos + bytes.len() as u64;
        for (from, to) in self.holes.lock().range(..end).filter(|(_, to)| **to > pos) {
            let (from, to) = ((*from).max(pos) - pos, (*to).min(end) - pos);
            bytes[from as usize..to as usize].fill(0);
        }
    }

    fn punch(&self, mut range: Range<u64>) {
        let mut holes = self.holes.lock();
        // Those that it touches become part of it.
        while let Some((from, to)) = holes.range(..=range.end).next_back().map(|(f, t)| (*f, *t))
            && to >= range.start
        {
            holes.remove(&from);
            range = range.start.min(from)..range.end.max(to);
        }
        holes.insert(range.start, range.end);
    }
}

impl AddressSpaceOperations for Ram {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let valid = self.valid.load(SeqCst).saturating_sub(index.start());
        let valid = usize::try_from(valid).unwrap_or(usize::MAX).min(PAGE_SIZE);
        if valid > 0 {
            let mut bytes = vec![0; valid];
            self.linux.fill(index.start(), &mut bytes)?;
            self.apply_holes(index.start(), &mut bytes);
            buf.write(&bytes);
        }
        buf.fill_hole();
        Ok(())
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let stored = PageIndex::containing(pos).start() < self.valid.load(SeqCst);
        let contents = if stored { Contents::Stored } else { Contents::Hole };
        Ok(Begun { len, contents, reserved: Reserved::Fully })
    }
    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}
    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn truncate_blocks(&self, size: u64) {
        self.valid.fetch_min(size, SeqCst);
    }
    fn set_size(&self, _size: u64) {}
    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if change != Fallocate::Allocate && !range.is_empty() {
            self.punch(range);
        }
        Ok(())
    }
    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let (valid, holes) = (self.valid.load(SeqCst), self.holes.lock());
        let before = holes.range(..=pos).next_back().map_or(0, |(_, end)| *end);
        let start = before.max(pos);
        let end = holes.range(start..).next().map_or(valid, |(start, _)| valid.min(*start));
        Ok((start < end).then_some(start..end))
    }
    fn is_persistent(&self) -> bool {
        false
    }
}

/// A file of Linux's, by its hidden link: each process can open that.
pub(crate) struct Linux {
    number: u64,
    /// As the core has recorded it.
    size: AtomicU64,
}

impl Linux {
    fn open(&self) -> Result<fs::File, Errno> {
        let path = hidden_link(self.number);
        let path = path.trim_end_matches('\0');
        let both = OpenOptions::new().read(true).write(true).open(path);
        both.or_else(|_| fs::File::open(path)).map_err(|error| errno(&error))
    }

    /// Fills `bytes` from `pos` on; with zeros past the end.
    fn fill(&self, pos: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let file = self.open()?;
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], pos + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(())
    }
}

impl AddressSpaceOperations for Linux {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let mut bytes = vec![0; buf.remaining()];
        self.fill(index.start(), &mut bytes)?;
        buf.write(&bytes);
        Ok(())
    }
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let file = self.open()?;
        let size = file.metadata().map_err(|error| errno(&error))?.len();
        let stored = PageIndex::containing(pos).start() < size;
        let contents = if stored { Contents::Stored } else { Contents::Hole };
        Ok(Begun { len, contents, reserved: Reserved::Fully })
    }
    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let file = self.open()?;
        let mut bytes = vec![0; run.len()];
        run.copy_to(0, &mut bytes);
        file.write_all_at(&bytes, run.pos()).map_err(|error| errno(&error))
    }
    fn truncate_blocks(&self, size: u64) {
        if let Ok(file) = self.open()
            && file.metadata().is_ok_and(|data| data.len() > size)
        {
            // What lies past the end is merely not given back.
            let _not_reported = file.set_len(size);
        }
    }
    fn set_size(&self, size: u64) {
        self.size.store(size, Relaxed);
    }
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let file = self.open()?;
        let size = self.size.load(Relaxed);
        let done = if file.metadata().is_ok_and(|data| data.len() == size) {
            Ok(())
        } else {
            file.set_len(size)
        };
        done.and_then(|()| match kind {
            SyncKind::Data => file.sync_data(),
            SyncKind::All => file.sync_all(),
        })
        .map_err(|error| errno(&error))
    }
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        let mode = libc::FALLOC_FL_KEEP_SIZE
            | match change {
                Fallocate::Allocate => 0,
                Fallocate::PunchHole => libc::FALLOC_FL_PUNCH_HOLE,
                Fallocate::ZeroRange => libc::FALLOC_FL_ZERO_RANGE,
            };
        change_blocks(&self.open()?, mode, &range)
    }
    /// What a `stat` says of the blocks. A file system that cannot says so when it is asked.
    fn shift_unit(&self) -> Option<u64> {
        let data = self.open().ok()?.metadata().ok()?;
        Some(data.blksize())
    }
    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let file = self.open()?;
        let (was, told) =
            (file.metadata().map_err(|error| errno(&error))?.len(), self.size.load(Relaxed));
        if was != told {
            file.set_len(told).map_err(|error| errno(&error))?;
        }
        let mode = match shift {
            Shift::Collapse => libc::FALLOC_FL_COLLAPSE_RANGE,
            Shift::Insert => libc::FALLOC_FL_INSERT_RANGE,
        };
        change_blocks(&file, mode, &range)?;
        self.size.store(size, Relaxed);
        Ok(())
    }
    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let file = self.open()?;
        let seek = |pos: u64, whence| {
            // SAFETY: moves the position of a file that is this call's own.
            match unsafe { libc::lseek(file.as_raw_fd(), pos as i64, whence) } {
                -1 => Err(io::Error::last_os_error()),
                to => Ok(to as u64),
            }
        };
        match seek(pos, libc::SEEK_DATA).and_then(|at| Ok(at..seek(at, libc::SEEK_HOLE)?)) {
            Ok(extent) => Ok(Some(extent)),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(errno(&error)),
        }
    }
}

/// `fallocate` of the file below.
fn change_blocks(file: &fs::File, mode: libc::c_int, range: &Range<u64>) -> Result<(), Errno> {
    let (offset, len) = (range.start as i64, (range.end - range.start) as i64);
    // SAFETY: changes blocks of a file, and no memory.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } {
        0 => Ok(()),
        _ => Err(errno(&io::Error::last_os_error())),
    }
}

fn errno(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => Errno::NoSpace,
        Some(libc::EFBIG) => Errno::FileTooBig,
        Some(libc::EINVAL) => Errno::Invalid,
        Some(libc::ENOMEM) => Errno::NoMemory,
        Some(libc::EROFS) => Errno::ReadOnly,
        Some(libc::EOPNOTSUPP) => Errno::NotSupported,
        _ => Errno::Io,
    }
}

/// The disk of the machine, if it has one.
pub(crate) static DISK_OF_MACHINE: Part<Option<Disk>> = Part::new(2);

/// A disk.
pub(crate) struct Disk {
    device: RamDisk<&'static mut [u8], Words>,
    free: Short<Free>,
}

/// Blocks that no file has: those that had one, and all from `next` on.
struct Free {
    given_back: Vec<u64>,
    next: u64,
    blocks: u64,
}

impl Disk {
    pub(crate) fn new(backing: Backing) -> Option<Self> {
        let Backing::Block(size) = backing else { return None };
        // SAFETY: a region of the arena that is used for nothing else, and begins as zeros.
        let bytes = unsafe { core::slice::from_raw_parts_mut(arena::pointer(DISK), DISK_BYTES) };
        let device = RamDisk::with_locks(bytes, size).ok()?;
        let blocks = (DISK_BYTES / size) as u64;
        Some(Self { device, free: Short::new(Free { given_back: Vec::new(), next: 0, blocks }) })
    }

    fn give_back(&self, blocks: impl Iterator<Item = u64>) {
        self.free.lock().given_back.extend(blocks);
    }
}

fn disk() -> Result<&'static Disk, Errno> {
    DISK_OF_MACHINE.get().as_ref().ok_or(Errno::Io)
}

/// The device of the disk, wherever a process finds it.
pub(crate) struct OfDisk;

impl faultless::parts::BlockDevice for OfDisk {
    fn block_size(&self) -> usize {
        disk().map_or(0, |disk| disk.device.block_size())
    }
    fn blocks(&self) -> u64 {
        disk().map_or(0, |disk| disk.device.blocks())
    }
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        disk()?.device.read(first, into)
    }
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        disk()?.device.write(first, from)
    }
    fn flush(&self) -> Result<(), Errno> {
        disk()?.device.flush()
    }
}

/// The blocks of a file.
#[derive(Default)]
pub(crate) struct Blocks(Short<BTreeMap<u64, u64>>);

impl BlockMap for Blocks {
    fn find(&self, block: u64) -> Result<Option<u64>, Errno> {
        Ok(self.0.lock().get(&block).copied())
    }
    fn allocate(&self, _block: u64) -> Result<u64, Errno> {
        let mut free = disk()?.free.lock();
        if let Some(block) = free.given_back.pop() {
            return Ok(block);
        }
        if free.next == free.blocks {
            return Err(Errno::NoSpace);
        }
        free.next += 1;
        Ok(free.next - 1)
    }
    fn release(&self, device_block: u64) {
        if let Ok(disk) = disk() {
            disk.give_back(core::iter::once(device_block));
        }
    }
    fn insert(&self, block: u64, device_block: u64) -> Result<(), Errno> {
        self.0.lock().insert(block, device_block);
        Ok(())
    }
    fn truncate(&self, first: u64) {
        let cut = self.0.lock().split_off(&first);
        if let Ok(disk) = disk() {
            disk.give_back(cut.into_values());
        }
    }
    fn find_from(&self, block: u64) -> Result<Option<u64>, Errno> {
        Ok(self.0.lock().range(block..).next().map(|(block, _)| *block))
    }
    fn punch(&self, blocks: Range<u64>) {
        let mut map = self.0.lock();
        let gone: Vec<_> = map.range(blocks).map(|(block, _)| *block).collect();
        let gone: Vec<_> = gone.iter().filter_map(|block| map.remove(block)).collect();
        drop(map);
        if let Ok(disk) = disk() {
            disk.give_back(gone.into_iter());
        }
    }
    fn set_size(&self, _size: u64) {}
    fn max_blocks(&self) -> u64 {
        u64::MAX / PAGE_SIZE as u64
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.truncate(0);
    }
}
