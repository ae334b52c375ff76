//! A program that performs a script's operations on one file over a [`CrashStore`], and knows what
//! each has promised.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use faultless::filemap::{FileSize, Inode, MsyncKind, NoTask, Strategy, SyncKind, WriteOptions};
use faultless::page::{AddressSpaceOperations, Errno, Fallocate, PageIndex, Shift};
use faultless::usercopy::UserSlice;
use faultless_host::stores::{Call, CrashStore, DeferredStore, Lie, Workers};
use faultless_host::{AddressSpace, Machine, Mmu, Protection, UserFault, syscall};

use super::promise::{Promise, SCRIBBLE};
use super::script::{ALL, Op};
use super::{BYTES, Disk, PAGES};
use crate::{File, PAGE, Store};

/// Where sources lie, the file is mapped, and reads go.
const SOURCE: usize = 0;
const MAPPED: usize = PAGES + 1;
pub(super) const WINDOW: usize = 2 * PAGES + 2;
/// Where the sweep maps the file that it mounts.
pub(super) const REMAPPED: usize = 4 * PAGES + 4;

/// Which syncs the program uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncs {
    /// Those of the core.
    #[default]
    Core,
    /// Planted: the store syncs, and no page is sent, so that what was stored through a mapping is
    /// forgotten.
    SendNothing,
    /// Planted: pages are sent, and the store is not asked to keep them.
    OnlySend,
    /// Planted: pages that somebody else is sending are not waited for.
    WaitForNobody,
}

/// When the store ends its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requests {
    /// In the call that they come with.
    #[default]
    AtOnce,
    /// On another thread, page by page and in an order drawn from this seed.
    Later(u64),
}

/// The program.
#[derive(Debug)]
pub struct Player<'m, M: Mmu> {
    machine: &'m Machine<M>,
    pub(super) space: AddressSpace<M>,
    file: File,
    pub(super) store: Arc<CrashStore>,
    /// Ends requests later, if they do. Dropped behind the file.
    _workers: Option<Workers<CrashStore>>,
    /// What is below, to look at its books.
    below: Store,
    strategy: Strategy,
    syncs: Syncs,
    pub(super) promise: Promise,
    /// A failed writeback has not been reported yet.
    owed: Option<Errno>,
    number: usize,
}

impl<'m, M: Mmu> Player<'m, M> {
    /// A program with an empty file.
    #[must_use]
    pub fn new(
        machine: &'m Machine<M>,
        disk: Disk,
        strategy: Strategy,
        lie: Lie,
        syncs: Syncs,
        requests: Requests,
    ) -> Self {
        let below = disk.make();
        let inner = Arc::clone(below.operations());
        let store = CrashStore::new(inner, disk.sizing(), lie, machine.watchdog());
        let (file, workers) = match requests {
            Requests::AtOnce => (machine.inode(&store, 0), None),
            Requests::Later(seed) => {
                let queue = DeferredStore::new(Arc::clone(&store), seed);
                (machine.inode(&queue, 0), Some(queue.workers(1)))
            }
        };
        let space = machine.space();
        for (page, pages) in [(SOURCE, PAGES), (WINDOW, PAGES + 2)] {
            space.map_anonymous(page, pages, Protection::ReadWrite);
        }
        space.map_file(MAPPED, PAGES, &file, PageIndex::ZERO, Protection::ReadWrite);
        let promise = Promise::new(disk.sizing());
        let (owed, number) = (None, 0);
        Self {
            machine,
            space,
            file,
            store,
            _workers: workers,
            below,
            strategy,
            syncs,
            promise,
            owed,
            number,
        }
    }

    /// Says what the next operation may do, so that a crash in the middle of it can be judged.
    pub fn announce(&mut self, op: &Op) {
        self.number += 1;
        let size = self.promise.size();
        match op {
            Op::Write(at, len) | Op::SyncWrite(at, len, _) => self.announce_write(*at, *len),
            Op::Append(len) => self.announce_write(size, *len),
            Op::Writev(at, lens) => self.announce_write(*at, lens.iter().sum()),
            Op::Store(at, len) => {
                let range = self.inside(*at, *len);
                self.promise.may_write(range.start, &self.data(range.clone()));
            }
            Op::Truncate(size) => self.promise.may_resize(*size),
            Op::Blocks(_, at, len) => {
                let range = self.inside(*at, *len);
                self.promise.may_write(range.start, &vec![0; range.len()]);
            }
            Op::Shift(shift, at, len) => {
                if let Some(range) = self.movable(*shift, *at, *len) {
                    self.promise.may_shift(*shift, &range);
                }
            }
            _ => {}
        }
    }

    fn announce_write(&mut self, at: usize, len: usize) {
        let range = at..(at + len).min(BYTES);
        if !range.is_empty() {
            self.promise.may_write(range.start, &self.data(range.clone()));
        }
    }

    /// Performs it.
    ///
    /// # Panics
    /// If it does not do what it ought to.
    #[track_caller]
    pub fn perform(&mut self, op: &Op) {
        self.machine.check().adopt();
        let at = WriteOptions::at;
        match *op {
            Op::Write(pos, len) => self.write(pos, &[len], at(pos as u64)),
            Op::Append(len) => self.write(self.promise.size(), &[len], WriteOptions::append()),
            Op::Writev(pos, lens) => self.write(pos, &lens, at(pos as u64)),
            Op::SyncWrite(pos, len, kind) => {
                self.write(pos, &[len], at(pos as u64).with_sync(kind));
            }
            Op::Store(pos, len) => self.store_mapped(self.inside(pos, len)),
            Op::Scribble => self.scribble(),
            Op::Truncate(size) => {
                assert_eq!(self.space.sys_truncate(&self.file, size as u64), Ok(()));
                self.promise.resized(size);
            }
            Op::Blocks(change, at, len) => self.change_blocks(change, self.inside(at, len)),
            Op::Shift(shift, at, len) => self.shift(shift, at, len),
            Op::Evict => {
                let _ = syscall(|token| self.file.evict(token, 0..u64::MAX));
            }
            Op::Writeback(ref range) => {
                let range = range.start as u64..range.end as u64;
                assert_eq!(syscall(|token| self.file.writeback(token, range, &NoTask)), Ok(()));
            }
            Op::Send => drop(syscall(|token| self.file.flush(token, u32::MAX, &NoTask))),
            Op::FailedWriteback(errno) => self.failed_writeback(errno),
            Op::Fsync(kind) => {
                let synced = self.fsync(kind);
                self.judge_sync(synced, ALL);
            }
            Op::FailedFsync(errno) => {
                self.store.fail_next(Call::Sync, errno);
                assert!(self.space.sys_fsync(&self.file, SyncKind::All).is_err(), "{op:?}");
                self.owed = None;
            }
            Op::FsyncDuringWriteback(kind) => self.fsync_during_writeback(kind),
            Op::Msync(ref range) => self.msync(range.clone()),
            Op::Read => self.check_contents(),
        }
        self.check();
    }

    /// Sends everything, and looks at the file once more.
    ///
    /// # Panics
    /// If it is not what it ought to be.
    #[track_caller]
    pub fn finish(mut self) {
        if self.owed.take().is_some() {
            assert!(self.space.sys_fsync(&self.file, SyncKind::All).is_err(), "W4: reported");
        }
        assert_eq!(self.space.sys_fsync(&self.file, SyncKind::All), Ok(()));
        self.space.unmap(MAPPED, PAGES);
        let _ = syscall(|token| self.file.evict(token, 0..u64::MAX));
        assert_eq!(self.file.mapping().cached_pages(), 0, "a page stays in the cache");
        self.check_contents();
        self.check();
    }

    /// What the operation with the present number writes there.
    fn data(&self, range: Range<usize>) -> Vec<u8> {
        let mixed = |at: usize| (at * 31 + self.number * 7919 + at / 509) % 0x7E;
        range.map(|at| 1 + mixed(at) as u8).collect()
    }

    fn inside(&self, at: usize, len: usize) -> Range<usize> {
        let size = self.promise.size();
        at.min(size)..(at + len).min(size)
    }

    fn write(&mut self, pos: usize, lens: &[usize], options: WriteOptions) {
        let asked: usize = lens.iter().sum();
        let bytes = self.data(pos..(pos + asked).min(BYTES));
        if bytes.is_empty() {
            return;
        }
        self.space.store(self.space.at(SOURCE, 0), &bytes).expect("the source");
        let (mut from, mut segments) = (0, Vec::<UserSlice>::new());
        for len in lens {
            let len = (*len).min(bytes.len() - from);
            segments.push(self.space.slice(SOURCE, from, len));
            from += len;
        }
        let options = options.with_strategy(self.strategy);
        let written = self.space.sys_write(&self.file, &segments, &options);
        self.promise.wrote(pos, &bytes);
        if options.sync().is_none() {
            assert_eq!(written.map(|written| written.bytes), Ok(bytes.len()), "W1");
        } else {
            self.judge_sync(written.map(|_| ()), pos..pos + bytes.len());
        }
    }

    fn store_mapped(&mut self, range: Range<usize>) {
        let bytes = self.data(range.clone());
        let stored = self.space.store(self.space.at(MAPPED, range.start), &bytes);
        assert_eq!(stored, Ok(()), "a store inside the file");
        self.promise.wrote(range.start, &bytes);
    }

    /// A hole or zeros, where the store can: that of 2007 cannot.
    fn change_blocks(&mut self, change: Fallocate, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (bytes, file) = (range.start as u64..range.end as u64, &self.file);
        let changed = syscall(|token| match change {
            Fallocate::PunchHole => file.punch_hole(token, bytes, &NoTask),
            Fallocate::ZeroRange => file.zero_range(token, bytes, FileSize::Stays, &NoTask),
            Fallocate::Allocate => file.allocate(token, bytes, FileSize::Stays, &NoTask),
        });
        if changed != Err(Errno::NotSupported) {
            assert_eq!(changed, Ok(()), "{change:?} of {range:?}");
            if change != Fallocate::Allocate {
                self.promise.wrote(range.start, &vec![0; range.len()]);
            }
        }
    }

    /// The range of whole blocks that may go or come there, if the store can and the file has, or
    /// keeps, a length for it.
    fn movable(&self, shift: Shift, at: usize, len: usize) -> Option<Range<usize>> {
        let (unit, size) = (self.store.shift_unit()? as usize, self.promise.size());
        let start = at / unit * unit;
        let range = start..start + len.next_multiple_of(unit);
        let fits = match shift {
            Shift::Collapse => range.end < size,
            Shift::Insert => range.start < size && size + range.len() <= BYTES,
        };
        fits.then_some(range)
    }

    fn shift(&mut self, shift: Shift, at: usize, len: usize) {
        let Some(range) = self.movable(shift, at, len) else { return };
        let (bytes, file) = (range.start as u64..range.end as u64, &self.file);
        let moved = syscall(|token| match shift {
            Shift::Collapse => file.collapse_range(token, bytes, &NoTask),
            Shift::Insert => file.insert_range(token, bytes, &NoTask),
        });
        assert_eq!(moved, Ok(()), "{shift:?} of {range:?}");
        self.promise.shifted(shift, &range);
    }

    /// Stores to all of the last page that lies past the end.
    fn scribble(&self) {
        let size = self.promise.size();
        let rest = size.next_multiple_of(PAGE) - size;
        let stored: Result<(), UserFault> =
            self.space.store(self.space.at(MAPPED, size), &vec![SCRIBBLE; rest]);
        assert_eq!(stored, Ok(()), "a store to the last page");
    }

    fn failed_writeback(&mut self, errno: Errno) {
        // The failure is this call's.
        let idle = syscall(|token| self.file.wait_writeback(token, 0..u64::MAX, &NoTask));
        assert_eq!(idle, Ok(()));
        self.store.fail_next(Call::Writeback, errno);
        match syscall(|token| self.file.writeback(token, 0..u64::MAX, &NoTask)) {
            Ok(()) => self.store.heal(),
            Err(got) => {
                assert_eq!(got, errno, "W4");
                // A sequence: who has not been told of several failures is told of the latest (F2).
                self.owed = Some(errno);
            }
        }
    }

    fn fsync(&self, kind: SyncKind) -> Result<(), Errno> {
        match self.syncs {
            Syncs::Core | Syncs::WaitForNobody => self.space.sys_fsync(&self.file, kind),
            Syncs::SendNothing => self.store.sync(kind),
            Syncs::OnlySend => syscall(|token| self.file.writeback(token, 0..u64::MAX, &NoTask)),
        }
    }

    fn msync(&mut self, range: Range<usize>) {
        let bytes = range.start as u64..range.end as u64;
        let synced = match self.syncs {
            Syncs::Core | Syncs::WaitForNobody => {
                syscall(|token| self.file.msync(token, bytes, MsyncKind::Sync, &NoTask))
            }
            Syncs::SendNothing => self.store.sync(SyncKind::Data),
            Syncs::OnlySend => syscall(|token| self.file.writeback(token, bytes, &NoTask)),
        };
        self.judge_sync(synced, range);
    }

    /// A sync returned: it promises its range, or reports an error that is owed, once (W4).
    fn judge_sync(&mut self, synced: Result<(), Errno>, range: Range<usize>) {
        match (synced, self.owed.take()) {
            (Ok(()), None) => self.promise.synced(range),
            (Err(got), Some(owed)) => assert_eq!(got, owed, "W4: the error that is owed"),
            (Ok(()), Some(owed)) if self.syncs != Syncs::Core => self.owed = Some(owed),
            (got, owed) => panic!("W4: a sync returns {got:?}, and owed was {owed:?}"),
        }
    }

    fn fsync_during_writeback(&mut self, kind: SyncKind) {
        self.store.hold();
        let store = Arc::clone(&self.store);
        let synced = std::thread::scope(|scope| {
            let sender = crate::threads::spawn_in(scope, || {
                self.machine.syscall(|token| self.file.writeback(token, 0..u64::MAX, &NoTask))
            });
            while !store.is_holding_one() && !sender.is_finished() {
                std::thread::yield_now();
            }
            let synced = if self.syncs == Syncs::WaitForNobody {
                store.sync(kind)
            } else {
                crate::threads::spawn_in(scope, || {
                    // Time for whoever does not wait to get on; whoever waits is not in a hurry.
                    (0..50).for_each(|_| std::thread::yield_now());
                    store.release();
                });
                self.fsync(kind)
            };
            store.release();
            assert_eq!(sender.join().expect("a writeback"), Ok(()));
            synced
        });
        self.judge_sync(synced, ALL);
    }

    /// The size, and the store's books.
    #[track_caller]
    fn check(&self) {
        let size = self.promise.size() as u64;
        assert_eq!(self.file.size(), size, "W3: size");
        self.below.assert_in_order(size);
    }

    /// The file, read: it is what it ought to be (W2, P2).
    #[track_caller]
    fn check_contents(&self) {
        let slice = self.space.slice(WINDOW, 0, BYTES + PAGE);
        let got = self.space.sys_read(&self.file, &[slice], 0).expect("a read");
        let bytes = self.space.read_vec(slice.addr(), got).expect("the window");
        crate::assert_same(&bytes, self.promise.contents(), "the file");
    }
}

/// A file of what a crash left.
pub(super) fn inode<M: Mmu>(machine: &Machine<M>, store: &Store, size: u64) -> File {
    let (cache, operations) = (Arc::clone(machine.cache()), Arc::clone(store.operations()));
    Arc::new(Inode::new(cache, operations, machine.user_mappings().clone(), size))
}
