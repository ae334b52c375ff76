//! Operations of a program on its file: fixed sequences, each around one promise, and random ones.
#![forbid(unsafe_code)]

use std::ops::Range;

use faultless::filemap::SyncKind;
use faultless::page::{Errno, Fallocate, Shift};
use faultless_host::rng::Rng;

use super::BYTES;
use crate::PAGE;

/// An operation. What it writes follows from its number in the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `pwrite` of so many bytes.
    Write(usize, usize),
    /// `write` with `O_APPEND`.
    Append(usize),
    /// `pwritev` of three segments.
    Writev(usize, [usize; 3]),
    /// `pwrite` with `O_SYNC` or `O_DSYNC`.
    SyncWrite(usize, usize, SyncKind),
    /// A store through the shared mapping, inside the file.
    Store(usize, usize),
    /// A store through the shared mapping to the rest of the last page: nobody must ever see it.
    Scribble,
    /// `ftruncate`.
    Truncate(usize),
    /// `fallocate`: a hole, or zeros that have room, inside the file.
    Blocks(Fallocate, usize, usize),
    /// `fallocate` that moves what lies behind a range, of whole blocks, if the file allows it.
    Shift(Shift, usize, usize),
    /// Clean pages leave the cache.
    Evict,
    /// Dirty pages are sent.
    Writeback(Range<usize>),
    /// Dirty pages are sent, and their ends not waited for.
    Send,
    /// As far as the store takes them: the first run fails.
    FailedWriteback(Errno),
    /// `fsync` or `fdatasync`.
    Fsync(SyncKind),
    /// The store cannot.
    FailedFsync(Errno),
    /// While somebody else's writeback is on its way.
    FsyncDuringWriteback(SyncKind),
    /// `msync(MS_SYNC)`.
    Msync(Range<usize>),
    /// `pread` of everything.
    Read,
}

/// A sequence of operations.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it is about.
    pub name: String,
    /// The operations.
    pub ops: Vec<Op>,
}

/// All of the file.
pub const ALL: Range<usize> = 0..BYTES;

impl Script {
    fn new(name: &str, ops: impl IntoIterator<Item = Op>) -> Self {
        Self { name: name.into(), ops: ops.into_iter().collect() }
    }

    /// The fixed scripts.
    #[must_use]
    pub fn fixed() -> Vec<Self> {
        use Op::{
            Append, Blocks, Evict, FailedFsync, FailedWriteback, Fsync, FsyncDuringWriteback,
            Msync, Read, Scribble, Send, Store, SyncWrite, Truncate, Write, Writeback, Writev,
        };
        let (all, data) = (Fsync(SyncKind::All), Fsync(SyncKind::Data));
        let odd = 2 * PAGE + 1234;
        vec![
            Self::new(
                "append, then fsync",
                [Append(odd), all.clone(), Append(700), all.clone(), Append(PAGE), Writeback(ALL)],
            ),
            Self::new(
                "overwrite without fsync after fsync",
                [Write(0, odd), all.clone(), Write(100, odd - 300), Writeback(ALL), Read],
            ),
            Self::new(
                "mapped store, then msync",
                [
                    Write(0, odd),
                    all.clone(),
                    Store(300, 900),
                    Msync(0..PAGE),
                    Store(500, 100),
                    Store(PAGE + 7, 1000),
                    Msync(ALL),
                    Store(600, 9),
                    Msync(ALL),
                    Store(602, 3),
                ],
            ),
            Self::new(
                "truncate, then fsync",
                [
                    Write(0, odd),
                    all.clone(),
                    Truncate(PAGE + 77),
                    all.clone(),
                    Truncate(3 * PAGE),
                    data.clone(),
                    Write(2 * PAGE, 50),
                    Truncate(0),
                    Truncate(PAGE),
                    Evict,
                    all.clone(),
                ],
            ),
            Self::new(
                "a hole filled, then fdatasync",
                [
                    Truncate(4 * PAGE + 10),
                    all.clone(),
                    Write(PAGE + 100, 2 * PAGE),
                    data.clone(),
                    Evict,
                    Append(600),
                    data.clone(),
                    Write(3 * PAGE + 5, 20),
                ],
            ),
            Self::new(
                "holes in what was synced, and writes into them",
                [
                    Write(0, 4 * PAGE + 600),
                    all.clone(),
                    Blocks(Fallocate::PunchHole, PAGE - 700, PAGE + 900),
                    all.clone(),
                    Write(PAGE + 10, 1500),
                    Blocks(Fallocate::ZeroRange, 3 * PAGE + 5, PAGE + 500),
                    Writeback(ALL),
                    Store(3 * PAGE + 100, 50),
                    data.clone(),
                    Blocks(Fallocate::PunchHole, 0, BYTES),
                    Append(700),
                    Evict,
                    all.clone(),
                ],
            ),
            Self::new(
                "ranges that go and come in what was synced, and writes behind them",
                [
                    Write(0, 3 * PAGE + 600),
                    all.clone(),
                    Op::Shift(Shift::Collapse, PAGE, PAGE),
                    Write(PAGE + 10, 1500),
                    data.clone(),
                    Store(100, 50),
                    Op::Shift(Shift::Insert, 0, PAGE),
                    all.clone(),
                    Append(700),
                    Op::Shift(Shift::Insert, 2 * PAGE, 512),
                    Op::Shift(Shift::Collapse, 0, 512),
                    Writeback(ALL),
                    Evict,
                    Read,
                    all.clone(),
                ],
            ),
            Self::new(
                "a write after a failed writeback",
                [
                    Write(0, odd),
                    all.clone(),
                    Write(0, odd),
                    FailedWriteback(Errno::Io),
                    Write(PAGE, 900),
                    all.clone(),
                    all.clone(),
                    Append(2000),
                    FailedWriteback(Errno::NoSpace),
                    Truncate(PAGE),
                    all.clone(),
                    all.clone(),
                ],
            ),
            Self::new(
                "a sync that fails, and one that does not",
                [
                    Write(0, odd),
                    FailedFsync(Errno::Io),
                    Write(200, 300),
                    all.clone(),
                    Store(0, 100),
                    FailedFsync(Errno::NoSpace),
                    data.clone(),
                ],
            ),
            Self::new(
                "synchronous writes",
                [
                    Write(0, odd),
                    SyncWrite(PAGE - 100, 200, SyncKind::Data),
                    SyncWrite(odd - 10, PAGE, SyncKind::All),
                    Writev(50, [1, 600, PAGE]),
                    SyncWrite(4 * PAGE, 100, SyncKind::Data),
                ],
            ),
            Self::new(
                "stores past the end, then growth",
                [
                    Write(0, 1500),
                    Store(0, 10),
                    Scribble,
                    Writeback(ALL),
                    Scribble,
                    Append(100),
                    all.clone(),
                    Scribble,
                    Truncate(2 * PAGE + 9),
                    all.clone(),
                    Store(PAGE, 2000),
                    Scribble,
                    Write(3 * PAGE, 10),
                    data.clone(),
                ],
            ),
            Self::new(
                "pages that were sent and not waited for",
                [
                    Write(0, odd),
                    Send,
                    Write(10, PAGE),
                    all.clone(),
                    Append(1000),
                    Send,
                    Truncate(PAGE + 9),
                    data.clone(),
                    Store(0, 500),
                    Send,
                    Evict,
                    Msync(ALL),
                ],
            ),
            Self::new(
                "fsync while a writeback is on its way",
                [
                    Write(0, odd),
                    FsyncDuringWriteback(SyncKind::All),
                    Write(10, PAGE),
                    Append(1000),
                    FsyncDuringWriteback(SyncKind::Data),
                    Read,
                ],
            ),
        ]
    }

    /// A random one.
    #[must_use]
    pub fn random(seed: u64, ops: usize) -> Self {
        let mut rng = Rng::new(seed);
        let ops = (0..ops).map(|_| op(&mut rng)).collect();
        Self { name: format!("random, seed {seed}"), ops }
    }
}

/// A place that is as a rule near something: a page, a block, a sector.
fn place(rng: &mut Rng) -> usize {
    let near = rng.range(0..BYTES / 512) * 512;
    let at = match rng.below(4) {
        0 => near,
        1 => near + rng.range(0..3),
        2 => near.saturating_sub(rng.range(0..3)),
        _ => near + rng.range(0..512),
    };
    at.min(BYTES - 1)
}

fn len(rng: &mut Rng) -> usize {
    match rng.below(3) {
        0 => rng.range(1..100),
        1 => rng.range(1..PAGE),
        _ => rng.range(1..3 * PAGE),
    }
}

fn sync_kind(rng: &mut Rng) -> SyncKind {
    if rng.below(2) == 0 { SyncKind::All } else { SyncKind::Data }
}

fn some_range(rng: &mut Rng) -> Range<usize> {
    let start = place(rng);
    start..start + len(rng)
}

fn op(rng: &mut Rng) -> Op {
    let errno = if rng.below(2) == 0 { Errno::Io } else { Errno::NoSpace };
    match rng.below(32) {
        0..=4 => Op::Write(place(rng), len(rng)),
        5..=6 => Op::Append(len(rng)),
        7 => Op::Writev(place(rng), [len(rng), rng.range(0..50), len(rng)]),
        8 => Op::SyncWrite(place(rng), len(rng), sync_kind(rng)),
        9..=11 => Op::Store(place(rng), len(rng)),
        12..=13 => Op::Scribble,
        14..=16 => Op::Truncate(place(rng)),
        17 => Op::Evict,
        18..=19 => Op::Writeback(some_range(rng)),
        20 => Op::Writeback(ALL),
        21 => Op::FailedWriteback(errno),
        22 => Op::FailedFsync(errno),
        23..=24 => Op::Fsync(sync_kind(rng)),
        25 => Op::FsyncDuringWriteback(sync_kind(rng)),
        26 => Op::Msync(some_range(rng)),
        27 => Op::Blocks(Fallocate::PunchHole, place(rng), len(rng)),
        28 => Op::Blocks(Fallocate::ZeroRange, place(rng), len(rng)),
        29 => Op::Send,
        30 => {
            let shift = if rng.below(2) == 0 { Shift::Collapse } else { Shift::Insert };
            Op::Shift(shift, place(rng), len(rng))
        }
        _ => Op::Read,
    }
}
