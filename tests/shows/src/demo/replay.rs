//! The steps through the page cache, from a real mapping with real faults, to a real file.
//!
//! Before every write the source's pages are taken out of the page table, and before every pattern
//! the whole file out of the cache: source and destination are as cold as they can be.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faultless_filemap::{Inode, NoTask, Strategy, SyncKind, WriteOptions, Written};
use faultless_host::mm_real::RealMmu;
use faultless_host::mmu::Protection;
use faultless_host::space::AddressSpace;
use faultless_host::stores::FileStore;
use faultless_host::{Checked, Counters, HostKernel, Machine, MachineConfig, counting};
use faultless_page::{Errno, PAGE_SIZE, PageIndex};
use faultless_usercopy::IovIter;

use super::plan::{Pattern, Step, steps};

/// Frames besides those of the file: appended pages, index nodes, the temporary page.
const SPARE_FRAMES: usize = 2048;

/// One way to rewrite the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) strategy: Strategy,
    pub(super) chunk: usize,
}

impl Way {
    /// The letter of the strategy.
    pub(super) fn letter(self) -> char {
        match self.strategy {
            Strategy::PrepareCommit => 'A',
            Strategy::BeginEnd => 'B',
        }
    }
}

/// What a way cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    pub(super) writes: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) counters: Counters,
}

/// Where the cache did something else than the plain bytes say.
#[derive(Clone, Debug)]
pub(super) struct Difference(pub(super) String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a way ended.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) cost: Cost,
    pub(super) differences: Vec<Difference>,
}

/// A file that is mapped by a process, and the machine that runs both.
struct Rig {
    machine: Machine<RealMmu, Checked>,
    inode: Arc<Inode<HostKernel<Checked>>>,
    space: AddressSpace<RealMmu, Checked>,
    way: Way,
}

/// Rewrites the file at `path`, which holds `bytes`, in one way; makes it durable; then compares it
/// with plain bytes. `tick` gets the bytes written since it was called last.
///
/// # Errors
/// When the file cannot be opened or read back. What the cache gets wrong is no error but a
/// difference.
pub(super) fn rewrite(
    path: &Path,
    bytes: &[u8],
    way: Way,
    tick: &mut dyn FnMut(u64),
) -> Result<Rewritten> {
    let mut expected = bytes.to_vec();
    let rig = Rig::new(path, bytes.len(), way)?;
    let mut rewritten = Rewritten { cost: Cost::default(), differences: Vec::new() };
    // What the lock checker has to say becomes a difference, not a panic.
    let check = Arc::clone(rig.machine.check());
    let expecting = check.expect();
    let begin = Instant::now();
    let ((), counters) = counting(|| {
        for pattern in Pattern::ALL {
            rig.cool_down(&mut rewritten.differences);
            for step in steps(pattern, bytes.len(), way.chunk) {
                step.apply(&mut expected);
                match rig.step(step) {
                    Ok(()) => {
                        rewritten.cost.writes += 1;
                        rewritten.cost.bytes += step.readable() as u64;
                    }
                    Err(difference) => rewritten.differences.push(difference),
                }
                tick(step.source().len() as u64);
            }
        }
        rig.sync(&mut rewritten.differences);
    });
    rewritten.cost.took = begin.elapsed();
    rewritten.cost.counters = counters;
    rig.end();
    let reports = expecting.reports();
    rewritten.differences.extend(reports.iter().map(|report| Difference(report.to_string())));
    let found = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    rewritten.differences.extend(compare(&expected, &found));
    Ok(rewritten)
}

/// The bytes that a way will move, for the progress bar.
pub(super) fn bytes_to_move(size: usize, chunk: usize) -> u64 {
    let all = Pattern::ALL.into_iter().flat_map(|pattern| steps(pattern, size, chunk));
    all.map(|step| step.source().len() as u64).sum()
}

fn compare(expected: &[u8], found: &[u8]) -> Option<Difference> {
    if expected.len() != found.len() {
        let (found, expected) = (found.len(), expected.len());
        return Some(Difference(format!("{found} bytes on disk, {expected} expected")));
    }
    let at = expected.iter().zip(found).position(|(a, b)| a != b)?;
    let (found, expected) = (found[at], expected[at]);
    Some(Difference(format!("byte {at} on disk is {found:#04x}, {expected:#04x} expected")))
}

impl Rig {
    fn new(path: &Path, size: usize, way: Way) -> Result<Self> {
        let mapped_pages = size.div_ceil(PAGE_SIZE);
        // The file may double, and its index needs one page in forty.
        let frames = 2 * mapped_pages + mapped_pages / 16 + SPARE_FRAMES;
        let machine = Machine::with(MachineConfig::new().frames(frames));
        let store = File::options()
            .read(true)
            .write(true)
            .open(path)
            .and_then(FileStore::new)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let inode = machine.inode(&store, size as u64);
        let space = machine.space_of(mapped_pages);
        space.map_file(0, mapped_pages, &inode, PageIndex::ZERO, Protection::ReadWrite);
        Ok(Self { machine, inode, space, way })
    }

    /// Empties the cache: every page is written back and dropped.
    fn cool_down(&self, differences: &mut Vec<Difference>) {
        self.sync(differences);
        self.machine.syscall(|token| self.inode.evict(token, 0..u64::MAX));
    }

    fn sync(&self, differences: &mut Vec<Difference>) {
        let synced = self.machine.syscall(|token| self.inode.fsync(token, SyncKind::All, &NoTask));
        if let Err(errno) = synced {
            differences.push(Difference(format!("fsync: {errno}")));
        }
    }

    /// One step: right if exactly the readable bytes are reported and, past a hole, EFAULT.
    fn step(&self, step: Step) -> Result<(), Difference> {
        let source = step.source();
        let first = source.start / PAGE_SIZE;
        self.space.evict(first, source.end.div_ceil(PAGE_SIZE) - first);
        if let Step::Holed { hole, .. } = step {
            self.space.unmap(hole, 1);
        }
        let (options, size) = (self.options(step), self.inode.size());
        let written = self.write(source.start, source.len(), options);
        let complain = |what: String| Err(Difference(format!("{step:?}: {what}")));
        if !matches!(written, Ok(written) if written.bytes == step.readable()) {
            return complain(format!("{written:?}, {} bytes expected", step.readable()));
        }
        let Step::Holed { hole, to, .. } = step else { return Ok(()) };
        // The next call begins in the hole: nothing is written, and nothing changes (W1).
        let rest = WriteOptions::at((to + step.readable()) as u64).with_strategy(self.way.strategy);
        let refused = self.write(hole * PAGE_SIZE, source.end - hole * PAGE_SIZE, rest);
        let index = PageIndex::new(hole as u64);
        self.space.map_file(hole, 1, &self.inode, index, Protection::ReadWrite);
        if refused != Err(Errno::Fault) || self.inode.size() != size {
            return complain(format!("{refused:?} in the hole, EFAULT expected"));
        }
        Ok(())
    }

    fn options(&self, step: Step) -> WriteOptions {
        let options = match step {
            Step::Copy { to, .. } | Step::Holed { to, .. } => WriteOptions::at(to as u64),
            Step::Append { .. } => WriteOptions::append(),
        };
        options.with_strategy(self.way.strategy)
    }

    /// The system call.
    fn write(&self, from: usize, len: usize, options: WriteOptions) -> Result<Written, Errno> {
        let slice = self.space.slice(from / PAGE_SIZE, from % PAGE_SIZE, len);
        self.machine.syscall(|token| {
            let mut from = IovIter::from_slice(&self.space, &slice);
            self.inode.write(token, &mut from, &options, &NoTask)
        })
    }

    /// Takes everything down; a frame that is still held is a bug of the cache.
    fn end(self) {
        let Self { machine, inode, space, .. } = self;
        drop((space, inode));
        machine.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::input::{Afterwards, Workshop};

    const WAY: Way = Way { strategy: Strategy::BeginEnd, chunk: 3000 };

    fn pattern() -> Vec<u8> {
        (0..20_000_u32).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_byte_that_is_wrong_on_disk_is_a_difference() {
        let workshop = Workshop::new(Afterwards::Remove).expect("a folder");
        let path = workshop.copy("wrong", &pattern()).expect("written");
        let mut other = pattern();
        other[12_345] ^= 1;
        let rewritten = rewrite(&path, &other, WAY, &mut |_| ()).expect("runs");
        assert_eq!(rewritten.differences.len(), 1, "{:?}", rewritten.differences);
        assert!(rewritten.differences[0].to_string().contains("byte "));
    }

    #[test]
    fn a_file_of_another_length_is_a_difference() {
        let found = compare(&[1, 2], &[1]).map(|difference| difference.to_string());
        assert_eq!(found.as_deref(), Some("1 bytes on disk, 2 expected"));
        assert!(compare(&[1], &[1]).is_none());
    }

    #[test]
    fn the_progress_adds_up_to_what_was_announced() {
        let workshop = Workshop::new(Afterwards::Remove).expect("a folder");
        let path = workshop.copy("right", &pattern()).expect("written");
        let mut moved = 0;
        let rewritten = rewrite(&path, &pattern(), WAY, &mut |bytes| moved += bytes).expect("runs");
        assert!(rewritten.differences.is_empty(), "{:?}", rewritten.differences);
        assert_eq!(moved, bytes_to_move(20_000, WAY.chunk));
        assert!(rewritten.cost.counters.faults > 0);
        assert_eq!(rewritten.cost.counters.faults_under_page_lock, 0);
    }
}
