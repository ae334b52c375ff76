//! A file on a `BlockStore` against a vector, with random operations, for every block size.

use core::ops::Range;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, FailedSync, Fallocate, Shift};

use super::{Rig, Rng, difference};
use crate::{BlockDevice, BlockMap, BlockStore, FixedMap, RamDisk};

/// Blocks that a file can have, and the device.
pub(super) const N: usize = 64;

/// What the device holds at first.
pub(super) const STALE: u8 = 0xdb;

/// A disk that fails every so many calls, while it is told to.
#[derive(Debug)]
pub(super) struct Flaky {
    disk: RamDisk<Vec<u8>>,
    calls: AtomicU64,
    /// 0: no call fails.
    every: AtomicU64,
}

impl Flaky {
    pub(super) fn leak(block_size: usize) -> &'static Self {
        let bytes = std::vec![STALE; N * block_size];
        let disk = RamDisk::new(bytes, block_size).expect("a block size");
        Box::leak(Box::new(Self { disk, calls: AtomicU64::new(0), every: AtomicU64::new(0) }))
    }

    /// From now on, each `every`-th call fails.
    pub(super) fn fail_every(&self, every: u64) {
        self.every.store(every, Ordering::Relaxed);
    }

    fn enter(&self) -> Result<(), Errno> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match self.every.load(Ordering::Relaxed) {
            0 => Ok(()),
            every if call.is_multiple_of(every) => Err(Errno::Io),
            _ => Ok(()),
        }
    }
}

impl BlockDevice for Flaky {
    fn block_size(&self) -> usize {
        self.disk.block_size()
    }
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.enter()?;
        self.disk.read(first, into)
    }
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        self.enter()?;
        self.disk.write(first, from)
    }
    fn flush(&self) -> Result<(), Errno> {
        self.enter()?;
        self.disk.flush()
    }
    fn failed_flush(&self) -> FailedSync {
        FailedSync::Keeps
    }
}

pub(super) type Map = FixedMap<N>;
pub(super) type Store = BlockStore<&'static Flaky, &'static Map>;

/// How a run of the check goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) block_size: usize,
    /// Blocks that the file may have at once.
    pub(super) capacity: u64,
    /// Each so-manyth call of the device fails; 0: none.
    pub(super) fail_every: u64,
    pub(super) seed: u64,
    pub(super) steps: u32,
}

struct Run<S: AddressSpaceOperations + 'static> {
    rig: Rig<S>,
    disk: &'static Flaky,
    map: &'static Map,
    model: Vec<u8>,
    rng: Rng,
    course: Course,
}

/// Random operations on a file whose store `make` makes; what went wrong first.
pub(super) fn check<S: AddressSpaceOperations + 'static>(
    course: Course,
    make: impl Fn(Store) -> S,
) -> Result<(), String> {
    let disk = Flaky::leak(course.block_size);
    let map: &'static Map = Box::leak(Box::new(Map::new(0..course.capacity)));
    let store = BlockStore::new(disk, map).expect("a block size");
    let rig = Rig::new(make(store), 0, 160);
    disk.fail_every(course.fail_every);
    let model = Vec::new();
    let mut run = Run { rig, disk, map, model, rng: Rng::new(course.seed), course };
    for step in 0..course.steps {
        run.step().map_err(|what| format!("step {step}: {what}"))?;
    }
    run.finish().map_err(|what| format!("at the end: {what}"))
}

impl<S: AddressSpaceOperations + 'static> Run<S> {
    fn step(&mut self) -> Result<(), String> {
        let max = (N * self.course.block_size) as u64;
        match self.rng.below(14) {
            0..=3 => {
                let end = if self.rng.below(8) == 0 { max } else { self.model.len() as u64 + 600 };
                let pos = self.rng.below(end.min(max));
                let longest = if self.rng.below(3) == 0 { 9000 } else { 700 };
                let len = 1 + self.rng.below(longest);
                self.write(pos, len as usize)
            }
            4 => {
                let end = self.model.len() as u64 + 2000;
                let size = self.rng.below(end.min(max));
                self.set_size(size)
            }
            5 => {
                let size = self.rng.below(self.model.len() as u64 + 1);
                self.set_size(size)
            }
            6 => {
                let done = self.rig.fsync();
                self.expect(done, "fsync")
            }
            7 => {
                self.rig.evict();
                Ok(())
            }
            8 if self.course.fail_every == 0 => self.reopen(),
            9..=11 => {
                let longest = if self.rng.below(3) == 0 { 9000 } else { 700 };
                let start = self.rng.below(max);
                let end = start + 1 + self.rng.below(longest);
                self.fallocate(start..end.min(max))
            }
            12 => {
                let blocks = self.model.len() as u64 / self.course.block_size as u64;
                let (start, len) = (self.rng.below(blocks + 1), 1 + self.rng.below(4));
                self.shift(start, len)
            }
            _ => self.read(),
        }
    }

    fn write(&mut self, pos: u64, len: usize) -> Result<(), String> {
        let bytes = self.rng.bytes(len);
        match self.rig.write(pos, &bytes) {
            Ok(landed) => {
                let end = pos as usize + landed;
                self.model.resize(self.model.len().max(end), 0);
                self.model[pos as usize..end].copy_from_slice(&bytes[..landed]);
                Ok(())
            }
            Err(Errno::NoSpace) if self.map.free() == 0 => Ok(()),
            Err(errno) => self.expect(Err(errno), "write"),
        }?;
        self.blocks()
    }

    /// A hole, zeros, or room.
    fn fallocate(&mut self, range: Range<u64>) -> Result<(), String> {
        let change = [Fallocate::PunchHole, Fallocate::ZeroRange, Fallocate::Allocate];
        let change = change[self.rng.below(3) as usize];
        let done = self.rig.fallocate(change, range.clone());
        if done == Ok(()) && change != Fallocate::PunchHole {
            self.model.resize(self.model.len().max(range.end as usize), 0);
        }
        let len = self.model.len();
        let (start, end) = (len.min(range.start as usize), len.min(range.end as usize));
        match done {
            Ok(()) if change == Fallocate::Allocate => {}
            Ok(()) => self.model[start..end].fill(0),
            // What was made past the end has gone again.
            Err(Errno::NoSpace) if self.course.capacity < N as u64 => {
                self.adopt_zeros(start..end)?;
            }
            Err(errno) => {
                self.expect(Err(errno), "fallocate")?;
                self.adopt_zeros(start..end)?;
            }
        }
        self.blocks()
    }

    /// Takes blocks out, or puts holes in.
    fn shift(&mut self, first: u64, blocks: u64) -> Result<(), String> {
        let block_size = self.course.block_size as u64;
        let range = first * block_size..(first + blocks) * block_size;
        let (start, end) = (range.start as usize, range.end as usize);
        let collapses = self.rng.below(2) == 0;
        let shift = if collapses { Shift::Collapse } else { Shift::Insert };
        let done = self.rig.shift(shift, range);
        let (len, most) = (self.model.len(), N * self.course.block_size);
        match (done, shift) {
            (Ok(()), Shift::Collapse) => drop(self.model.drain(start..end)),
            (Ok(()), Shift::Insert) => {
                drop(self.model.splice(start..start, core::iter::repeat_n(0, end - start)));
            }
            (Err(Errno::Invalid), Shift::Collapse) if end >= len => {}
            (Err(Errno::Invalid), Shift::Insert) if start >= len => {}
            (Err(Errno::FileTooBig), _) if end > most || len + (end - start) > most => {}
            (Err(errno), _) => self.expect(Err(errno), "shift")?,
        }
        self.blocks()
    }

    /// Bytes of `range` may have become zeros, and none has changed besides.
    fn adopt_zeros(&mut self, range: Range<usize>) -> Result<(), String> {
        self.disk.fail_every(0);
        let found = self.rig.read_all().map_err(|errno| format!("after a failure: {errno}"))?;
        self.disk.fail_every(self.course.fail_every);
        for at in range.filter(|at| found.get(*at) == Some(&0)) {
            self.model[at] = 0;
        }
        difference(&found, &self.model).map_err(|what| format!("after a failure: {what}"))
    }

    fn set_size(&mut self, size: u64) -> Result<(), String> {
        self.rig.set_size(size).map_err(|errno| format!("set_size: {errno}"))?;
        self.model.resize(size as usize, 0);
        self.blocks()
    }

    fn read(&mut self) -> Result<(), String> {
        let pos = self.rng.below(self.model.len() as u64 + 1);
        let len = 1 + self.rng.below(9000) as usize;
        let end = self.model.len().min(pos as usize + len);
        match self.rig.read(pos, len) {
            // A read that fails midway is short.
            Ok(found) if self.course.fail_every > 0 && pos as usize + found.len() < end => {
                difference(&found, &self.model[pos as usize..pos as usize + found.len()])
            }
            Ok(found) => difference(&found, &self.model[pos as usize..end]),
            Err(errno) => return self.expect(Err(errno), "read"),
        }
        .map_err(|what| format!("read at {pos}: {what}"))
    }

    /// What is not synced is lost by that, so it is synced.
    fn reopen(&mut self) -> Result<(), String> {
        self.rig.fsync().map_err(|errno| format!("fsync: {errno}"))?;
        if self.map.size() != self.model.len() as u64 {
            return Err(format!("the map has recorded {} bytes", self.map.size()));
        }
        self.rig.reopen(self.map.size());
        let found = self.rig.read_all().map_err(|errno| format!("reopened: {errno}"))?;
        difference(&found, &self.model).map_err(|what| format!("reopened: {what}"))
    }

    /// No block lies past the end, and none is lost.
    fn blocks(&self) -> Result<(), String> {
        let end = (self.model.len() as u64).div_ceil(self.course.block_size as u64);
        let has = |block: &u64| self.map.find(*block).is_ok_and(|found| found.is_some());
        if let Some(block) = (end..N as u64).find(has) {
            return Err(format!("block {block} lies past the end"));
        }
        let used = (0..N as u64).filter(has).count();
        let all = self.map.free() + used;
        if all as u64 != self.course.capacity {
            return Err(format!("{all} blocks and not {}", self.course.capacity));
        }
        Ok(())
    }

    /// A device that fails may fail a call.
    fn expect(&self, done: Result<(), Errno>, what: &str) -> Result<(), String> {
        match done {
            Err(Errno::Io) if self.course.fail_every > 0 => Ok(()),
            other => other.map_err(|errno| format!("{what}: {errno}")),
        }
    }

    /// With a device that works again nothing is lost, whatever failed before.
    fn finish(&mut self) -> Result<(), String> {
        self.disk.fail_every(0);
        self.course.fail_every = 0;
        // The first one may report what failed before.
        let _reported = self.rig.fsync();
        self.reopen()?;
        let size = self.rng.below(self.model.len() as u64 + 1);
        self.set_size(size)?;
        self.set_size((N * self.course.block_size) as u64)?;
        self.reopen()
    }
}

const SIZES: [usize; 4] = [512, 1024, 2048, 4096];

#[test]
fn a_file_on_blocks_of_any_size_is_the_vector() {
    for block_size in SIZES {
        for seed in 0..4 {
            let course = Course { block_size, capacity: 64, fail_every: 0, seed, steps: 400 };
            check(course, |store| store).unwrap_or_else(|what| panic!("{course:?}: {what}"));
        }
    }
}

#[test]
fn a_full_device_gives_short_writes_and_loses_no_block() {
    for block_size in SIZES {
        for seed in 0..4 {
            let capacity = 5 + seed * 4;
            let course = Course { block_size, capacity, fail_every: 0, seed, steps: 400 };
            check(course, |store| store).unwrap_or_else(|what| panic!("{course:?}: {what}"));
        }
    }
}

#[test]
fn a_device_that_fails_now_and_then_loses_no_byte() {
    for block_size in SIZES {
        for seed in 0..6 {
            let (fail_every, capacity) = (3 + seed * 4, 64 - seed * 8);
            let course = Course { block_size, capacity, fail_every, seed, steps: 400 };
            check(course, |store| store).unwrap_or_else(|what| panic!("{course:?}: {what}"));
        }
    }
}
