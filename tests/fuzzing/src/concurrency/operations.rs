//! What the threads do, and what each call must return.

#![forbid(unsafe_code)]

use faultless_filemap::{
    Dirty, FileSize, MsyncKind, NoTask, ReadAheadLimits, Reclaimed, Reclaimer, SyncKind, Task,
    WriteOptions,
};
use faultless_page::{Errno, Fallocate, PAGE_SIZE, PageIndex, Shift, UserMappings};
use faultless_usercopy::{IovIter, UserSlice};

use super::super::Plant;
use super::kernel::Area;
use super::ledger::range_of;
use super::look::{GONE, is_uniform, lock_page};
use super::order;
use super::owed::Owed;
use super::reclaim::Table;
use super::scheduler;
use super::script::{CELL, CELLS, FileNumber, Leaves, Op, Operation, PAGES, PER_PAGE, Reclaims};
use super::world::{MAPPED, STEPS, WINDOW, WINDOWS, World, enter};
use faultless_controls::{ControlFile, Request};
use faultless_host::Access;

/// The task of a thread.
struct Mortal<'w> {
    world: &'w World,
    thread: usize,
}

impl Task for Mortal<'_> {
    fn fatal_signal_pending(&self) -> bool {
        self.world.killed.get() >> self.thread & 1 == 1
    }
}

impl World {
    /// The task of the thread that runs.
    fn task(&self) -> Mortal<'_> {
        Mortal { world: self, thread: scheduler::current() }
    }

    fn is_killed(&self) -> bool {
        self.task().fatal_signal_pending()
    }

    /// Whether an operation of the thread that runs may fail.
    fn may_fail(&self) -> bool {
        self.troubles.came() || self.is_killed() || self.is_short()
    }

    /// Whether frames are few: then an operation may find none.
    fn is_short(&self) -> bool {
        self.script.setting.reclaims == Reclaims::Short
    }

    /// A fatal signal for a thread.
    fn kill(&self, thread: usize) {
        self.killed.set(self.killed.get() | 1 << thread);
        scheduler::signal(thread);
        scheduler::point();
    }

    pub(super) fn thread(&self, thread: usize) {
        let holders = self.script.setting.holders;
        if holders > 0 && thread == holders {
            scheduler::arm(self.first.get());
        }
        for op in &self.script.threads[thread] {
            self.perform(thread, op);
            self.returned.borrow_mut().push(op.tag);
        }
        self.requests.left();
    }

    pub(super) fn perform(&self, thread: usize, op: &Op) {
        self.was_idle.set(false);
        let file = &self.files[op.file];
        let mapped = MAPPED + op.file * PAGES;
        match op.operation {
            Operation::Write { at, cells } | Operation::WriteBehind { at, cells } => {
                let slice = self.slice(self.source(thread, op), cells * CELL);
                self.write(op, slice, WriteOptions::at(self.pos(at)));
            }
            Operation::SyncWrite { at, cells } => self.write_through(thread, op, at, cells),
            Operation::Append { cells } => {
                let end = scheduler::quietly(|| file.size());
                let slice = self.slice(self.source(thread, op), cells * CELL);
                self.write(op, slice, WriteOptions::append());
                if self.plant == Plant::WritesTwice {
                    let slice = self.slice(self.source(thread, op), CELL);
                    self.write(op, slice, WriteOptions::at(end));
                }
            }
            Operation::Copy { at, cells, from, page } => {
                let slice = self.slice((MAPPED + from * PAGES + page, 0), cells * CELL);
                self.write(op, slice, WriteOptions::at(self.pos(at)));
            }
            Operation::Read { at, cells } | Operation::ReadBehind { at, cells } => {
                self.read(op, thread, at, cells);
            }
            Operation::Truncate { cells } => {
                let changed = file.set_size(&mut enter(), self.pos(cells), &self.task());
                let is_short = self.is_short() && changed == Err(Errno::NoMemory);
                assert!(changed.is_ok() || self.is_killed() || is_short, "truncation: {changed:?}");
                if changed.is_err() {
                    // It has not happened.
                    self.landed.borrow_mut().insert(op.tag, 0);
                }
            }
            Operation::Blocks { change, at, cells } => self.blocks(op, change, at, cells),
            Operation::Shift { shift, at, cells } => self.shift(op, shift, at, cells),
            Operation::Fsync | Operation::SyncPage { .. } => self.sync(op),
            Operation::Flush => {
                let sent = file.writeback(&mut enter(), 0..u64::MAX, &self.task());
                assert!(sent.is_ok() || self.may_fail(), "writeback: {sent:?}");
            }
            Operation::Send => drop(file.flush(&mut enter(), u32::MAX, &self.task())),
            Operation::Ahead => {
                let bytes = (CELLS * CELL) as u64;
                file.will_need(&mut enter(), self.pos(0), bytes, &ReadAheadLimits::DEFAULT);
            }
            Operation::Evict if self.plant == Plant::EvictAsksTwice => self.evict_asking_twice(op),
            Operation::Evict => drop(file.evict(&mut enter(), 0..u64::MAX)),
            Operation::Invalidate => self.invalidate(op),
            Operation::Migrate { page } => self.migrate(op, page),
            Operation::Direct { page } => self.direct(op, page),
            Operation::Reclaim { dirty } => {
                let (cache, files) = (file.mapping().cache(), Table::of(&self.files));
                let pages = 2 * PAGES as u32;
                let step = Reclaimer::new(dirty);
                let done = step.step(cache, &files, &mut enter(), pages, &self.task());
                self.was_idle.set(done == Reclaimed::default());
            }
            Operation::Store { cell } => self.store(op, mapped, cell),
            Operation::Load { page } => self.load(op, mapped + page, page),
            Operation::Remap { page } => {
                self.space.map(mapped + page, Area::Nothing);
                let index = PageIndex::new(self.script.leaves.origin() + page as u64);
                self.space.map(mapped + page, Area::File(file.clone(), index));
            }
            Operation::Populate { page } => {
                let _ = self.space.populate(mapped + page, Access::Read);
            }
            Operation::Steal => self.space.steal(),
            Operation::Kill { thread } => self.kill(thread),
        }
    }

    /// A hole, zeros or room.
    fn blocks(&self, op: &Op, change: Fallocate, at: usize, cells: usize) {
        let (file, task) = (&self.files[op.file], &self.task());
        let (range, token) = (self.pos(at)..self.pos(at + cells), &mut enter());
        let changed = match change {
            Fallocate::PunchHole => file.punch_hole(token, range, task),
            Fallocate::ZeroRange => file.zero_range(token, range, FileSize::Stays, task),
            Fallocate::Allocate => file.allocate(token, range, FileSize::Stays, task),
        };
        assert!(changed.is_ok() || self.may_fail(), "{op:?}: {changed:?}");
        match self.script.leaves {
            _ if changed.is_ok() => {}
            // It has not happened.
            Leaves::One => drop(self.landed.borrow_mut().insert(op.tag, 0)),
            // It may have, in the first of the two.
            Leaves::Two => self.unknown.borrow_mut().push(op.file),
        }
    }

    /// Everything behind these cells moves, or nothing.
    fn shift(&self, op: &Op, shift: Shift, at: usize, cells: usize) {
        let (file, task) = (&self.files[op.file], &self.task());
        let (range, token) = (self.pos(at)..self.pos(at + cells), &mut enter());
        scheduler::quietly(|| self.observe());
        let sizes = self.sizes.borrow()[op.file].len() - 1;
        let moved = match shift {
            Shift::Collapse => file.collapse_range(token, range, task),
            Shift::Insert => file.insert_range(token, range, task),
        };
        let needed = match shift {
            Shift::Collapse => self.pos(at + cells),
            Shift::Insert => self.pos(at),
        };
        scheduler::quietly(|| self.observe());
        let sizes = &self.sizes.borrow()[op.file][sizes..];
        let may_be = |fits: bool| sizes.iter().any(|size| (needed < *size) == fits);
        assert!(moved.is_err() || may_be(true), "{op:?}: past the end, which was at {sizes:?}");
        let is_past = moved == Err(Errno::Invalid) && may_be(false);
        assert!(moved.is_ok() || is_past || self.may_fail(), "{op:?}: {moved:?}");
        if moved.is_err() {
            self.landed.borrow_mut().insert(op.tag, 0);
        }
    }

    /// A sync, which keeps its promise.
    fn sync(&self, op: &Op) {
        let file = &self.files[op.file];
        let (what, range) = match op.operation {
            Operation::SyncPage { page } => ("msync", range_of(self, page)),
            _ => ("fsync", 0..u64::MAX),
        };
        let owed = scheduler::quietly(|| Owed::begin(self, op.file, what, range.clone()));
        let synced = match op.operation {
            Operation::SyncPage { .. } => {
                file.msync(&mut enter(), range, MsyncKind::Sync, &self.task())
            }
            _ => file.fsync(&mut enter(), SyncKind::All, &self.task()),
        };
        if synced == Err(Errno::Interrupted) && self.is_killed() {
            return;
        }
        // What is planted: nothing is asked of the writebacks.
        let believed = self.plant == Plant::SyncsBelieve;
        self.check_sync(op.file, owed, if believed { Ok(()) } else { synced });
    }

    /// Nothing is lost, and what stays is said.
    fn invalidate(&self, op: &Op) {
        let file = &self.files[op.file];
        let dropped = file.invalidate(&mut enter(), 0..u64::MAX, Dirty::WriteBack, &self.task());
        let may_stay = dropped == Err(Errno::Busy) || self.may_fail();
        assert!(dropped.is_ok() || may_stay, "invalidation: {dropped:?}");
    }

    fn migrate(&self, op: &Op, page: usize) {
        let file = &self.files[op.file];
        let Ok(mut batch) = file.mapping().cache().allocate(1) else { return };
        let frame = batch.take_first().expect("a frame");
        let index = PageIndex::new(self.script.leaves.origin() + page as u64);
        let moved = file.migrate(&mut enter(), index, frame, &self.task());
        let why = moved.map_err(|stayed| stayed.errno);
        let may_stay = matches!(why, Err(Errno::Busy | Errno::Invalid)) || self.is_killed();
        assert!(why.is_ok() || may_stay, "migration: {why:?}");
    }

    fn direct(&self, op: &Op, page: usize) {
        let (file, range) = (&self.files[op.file], range_of(self, page));
        let written = file.direct_write(&mut enter(), range.clone(), &self.task(), |_| {
            let stat = scheduler::quietly(|| file.residency(range.clone()));
            assert!(stat.dirty <= stat.cached, "{stat:?}");
            scheduler::point();
        });
        let refused = matches!(written, Err(Errno::Busy | Errno::Invalid)) || self.may_fail();
        assert!(written.is_ok() || refused, "direct write: {written:?}");
    }

    /// What is planted: the pages that are not dirty, and then not on their way, are dropped.
    fn evict_asking_twice(&self, op: &Op) {
        let mapping = self.files[op.file].mapping();
        let first = PageIndex::new(self.script.leaves.origin());
        for index in (0..PAGES).map(|page| first.plus(page as u64)) {
            let Some(mut locked) = lock_page(mapping, index) else { continue };
            let clean = locked.present() - locked.dirty() - locked.writeback();
            if !clean.is_empty() {
                mapping.user_mappings().unmap(mapping.id(), index, index.plus(1), GONE);
                drop(locked.remove(clean));
            }
        }
    }

    fn check_sync(&self, file: FileNumber, owed: Owed, synced: Result<(), Errno>) {
        if self.control().is_some() {
            return;
        }
        scheduler::quietly(|| owed.end(self, synced));
        if synced.is_ok() {
            self.promises.borrow_mut().push((self.stores[file].moments(), owed));
        }
    }

    /// A write with `O_DSYNC`: what has landed is durable when it returns.
    fn write_through(&self, thread: usize, op: &Op, at: usize, cells: usize) {
        let owed = scheduler::quietly(|| Owed::by_write(self, op, at, cells));
        let slice = self.slice(self.source(thread, op), cells * CELL);
        let options = WriteOptions::at(self.pos(at)).with_sync(SyncKind::Data);
        if let Some(landed) = self.write(op, slice, options) {
            self.check_sync(op.file, owed.of_first(self, landed), Ok(()));
        } else {
            // Some of it may have landed, or all: the sync's error hides how much.
            self.unknown.borrow_mut().push(op.file);
        }
    }

    /// A store of a cell through the mapping. One that lands past the end must leave no trace (P2).
    fn store(&self, op: &Op, mapped: usize, cell: usize) {
        let (page, offset) = (mapped + cell / PER_PAGE, cell % PER_PAGE * CELL);
        let stored = self.space.store(page, offset, &[op.tag; CELL]);
        let size = scheduler::quietly(|| self.files[op.file].size());
        // Where it is then, a shift decides.
        let is_past = size <= self.pos(cell) && !order::moves(&self.script, op.file);
        if stored.is_err() || is_past {
            self.landed.borrow_mut().insert(op.tag, 0);
        }
    }

    /// A write; how many cells landed, if it says so.
    fn write(&self, op: &Op, slice: UserSlice, options: WriteOptions) -> Option<usize> {
        let file = &self.files[op.file];
        let options = options.with_strategy(self.strategy);
        if let Some(control) = self.control() {
            let request = Request { control, segments: &[slice], options, steps: STEPS };
            let _ = ControlFile::new(file).write(&request, &mut enter(), &self.space, &NoTask);
            return None;
        }
        let mut from = IovIter::from_slice(&self.space, &slice);
        let (token, behind) = (&mut enter(), &self.behind[op.file]);
        let written = match op.operation {
            Operation::WriteBehind { .. } => {
                let task = &self.task();
                let written = file.write_behind(token, &mut from, &options, behind, task);
                behind.finish(file, token, task);
                written
            }
            _ => file.write(token, &mut from, &options, &self.task()),
        };
        let written = written.map(|written| written.bytes);
        if matches!(op.operation, Operation::Copy { .. }) {
            return None;
        }
        let landed = written.unwrap_or(0);
        assert!(written == Ok(slice.len()) || self.may_fail(), "W1: {op:?}: {written:?}");
        assert!(landed.is_multiple_of(CELL) && landed <= slice.len(), "W9: {op:?}: {written:?}");
        self.landed.borrow_mut().insert(op.tag, landed / CELL);
        (written.is_ok() || options.sync().is_none()).then_some(landed / CELL)
    }

    fn read(&self, op: &Op, thread: usize, at: usize, cells: usize) {
        let window = WINDOWS + (thread - self.script.setting.holders) * WINDOW;
        let slice = self.slice((window, 0), cells * CELL);
        let mut to = IovIter::from_slice(&self.space, &slice);
        let file = &self.files[op.file];
        let (token, pos, task) = (&mut enter(), self.pos(at), &self.task());
        let read = match op.operation {
            Operation::ReadBehind { .. } => {
                let (ahead, behind) = (&self.ahead[op.file], &self.behind[op.file]);
                file.read_behind(token, &mut to, pos, ahead, behind, task)
            }
            _ => file.read(token, &mut to, pos, task),
        };
        let got = match read {
            Ok(got) => got,
            Err(_) if self.may_fail() => return,
            Err(errno) => panic!("{op:?}: {errno}"),
        };
        let mut bytes = vec![0; got];
        self.space.load(window, 0, &mut bytes).expect("the program's own memory");
        for (cell, bytes) in bytes.chunks(CELL).enumerate() {
            self.check_seen(op.file, at + cell, bytes, "a read");
        }
    }

    fn load(&self, op: &Op, mapped: usize, page: usize) {
        let mut bytes = vec![0; PAGE_SIZE];
        if self.space.load(mapped, 0, &mut bytes).is_ok() {
            for (cell, bytes) in bytes.chunks(CELL).enumerate() {
                self.check_seen(op.file, page * PER_PAGE + cell, bytes, "a mapping");
            }
        }
    }

    /// Every byte is one that the cell may have had at some time (W5).
    fn check_seen(&self, file: FileNumber, cell: usize, bytes: &[u8], what: &str) {
        if self.control().is_some() {
            return;
        }
        let values = order::values(&self.script, file, cell);
        // Nearly always the same byte.
        let bytes = if is_uniform(bytes) { &bytes[..bytes.len().min(1)] } else { bytes };
        if let Some(odd) = bytes.iter().find(|byte| !values.contains(byte)) {
            panic!(
                "W5: {what} shows {odd:#x} in cell {cell} of file {file}, not one of {values:x?}"
            );
        }
    }
}
