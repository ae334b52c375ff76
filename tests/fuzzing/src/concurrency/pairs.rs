//! Any two operations, with one hand-over: the second comes in at each point of the first, in turn.
//!
//! A fuzzer gets to such an order by chance. Here are all of them, for operations that stand for
//! the others.

#![forbid(unsafe_code)]

use faultless_filemap::{DirtyVictims, Strategy};
use faultless_page::{Errno, Fallocate, Shift};

use super::super::Plant;
use super::play::play;
use super::scheduler::Wakes;
use super::script::{
    CELLS, Cached, FileNumber, Leaves, Op, Operation, PER_PAGE, Reclaims, Script, Setting,
};
use super::trouble::{Speed, Stores, Trouble};
use crate::quiet::quietly;

/// Cells of the two files: two and a half pages, and one.
const INITIAL: [usize; 2] = [2 * PER_PAGE + PER_PAGE / 2, PER_PAGE];

/// The operations. Most are done to the first file, whose last page is half full.
const OPERATIONS: &[OnFile] = &[
    (0, Operation::Write { at: 4, cells: PER_PAGE }),
    (0, Operation::Write { at: PER_PAGE, cells: PER_PAGE }),
    (0, Operation::Write { at: INITIAL[0] - 2, cells: 4 }),
    (0, Operation::Append { cells: 3 }),
    // From a mapping of the page that is written, of a later one, of the last one, of the other
    // file.
    (0, Operation::Copy { at: 0, cells: 4, from: 0, page: 0 }),
    (0, Operation::Copy { at: 2, cells: 4, from: 0, page: 1 }),
    (0, Operation::Copy { at: INITIAL[0] - 1, cells: 4, from: 0, page: 2 }),
    (0, Operation::Copy { at: 1, cells: 4, from: 1, page: 0 }),
    (1, Operation::Copy { at: 1, cells: 4, from: 0, page: 0 }),
    (0, Operation::Read { at: 0, cells: CELLS }),
    // In two pages, and in all.
    (0, Operation::WriteBehind { at: 4, cells: PER_PAGE }),
    (0, Operation::ReadBehind { at: 0, cells: CELLS }),
    (0, Operation::Truncate { cells: 0 }),
    (0, Operation::Truncate { cells: PER_PAGE + 3 }),
    (0, Operation::Truncate { cells: CELLS - 1 }),
    // A page and parts of two more; a part of one; zeros up to the end and past it; room there.
    (0, hole(PER_PAGE - 1, PER_PAGE + 3)),
    (0, hole(3, 3)),
    (0, zeros(INITIAL[0] - 3, PER_PAGE)),
    (0, Operation::Blocks { change: Fallocate::Allocate, at: 0, cells: CELLS }),
    // A page; blocks of the first page, so that everything moves by less than a page.
    (0, collapse(PER_PAGE, PER_PAGE)),
    (0, collapse(2, 2)),
    (0, insert(0, 2)),
    (0, Operation::Fsync),
    (0, Operation::Evict),
    (0, Operation::Invalidate),
    (0, Operation::Migrate { page: 0 }),
    (0, Operation::Direct { page: 1 }),
    (0, Operation::Reclaim { dirty: DirtyVictims::Leave }),
    (0, Operation::Reclaim { dirty: DirtyVictims::Send }),
    (0, Operation::Store { cell: 5 }),
    (0, Operation::Store { cell: INITIAL[0] - 1 }),
    (0, Operation::Load { page: 0 }),
    (0, Operation::Load { page: 2 }),
    (0, Operation::Remap { page: 0 }),
    (0, Operation::Populate { page: 0 }),
    (0, Operation::Steal),
    // Past the end, but in the last page.
    (0, Operation::Store { cell: INITIAL[0] + 2 }),
];

const fn hole(at: usize, cells: usize) -> Operation {
    Operation::Blocks { change: Fallocate::PunchHole, at, cells }
}

const fn zeros(at: usize, cells: usize) -> Operation {
    Operation::Blocks { change: Fallocate::ZeroRange, at, cells }
}

pub(super) const fn collapse(at: usize, cells: usize) -> Operation {
    Operation::Shift { shift: Shift::Collapse, at, cells }
}

pub(super) const fn insert(at: usize, cells: usize) -> Operation {
    Operation::Shift { shift: Shift::Insert, at, cells }
}

/// Hands over to the other thread, which then runs until it waits or ends.
const HAND_OVER: &[u8] = &[0x3f];

/// An operation on a file.
pub(super) type OnFile = (FileNumber, Operation);

/// All pairs of `operations`, in both orders. In the short extent, one strategy plays an operation
/// with itself and with those behind it, and the other one plays it with itself and with those
/// before it: each of the two plays every two of them in one order.
pub(super) fn square(
    operations: &[OnFile],
    strategy: Strategy,
    extent: Extent,
) -> impl Iterator<Item = [OnFile; 2]> {
    let numbered = || operations.iter().enumerate();
    let is_played = move |first: usize, second: usize| match (extent, strategy) {
        (Extent::Long, _) => true,
        (Extent::Short, Strategy::PrepareCommit) => first <= second,
        (Extent::Short, Strategy::BeginEnd) => first >= second,
    };
    numbered().flat_map(move |(nth, &first)| {
        let seconds = numbered().filter(move |&(other, _)| is_played(nth, other));
        seconds.map(move |(_, &second)| [first, second])
    })
}

/// The same where a pair takes long: in the short extent, every two operations are played once, by
/// one of the strategies.
pub(super) fn half_square(
    operations: &[OnFile],
    strategy: Strategy,
    extent: Extent,
) -> impl Iterator<Item = [OnFile; 2]> {
    let place = |one: OnFile| operations.iter().position(|other| *other == one).unwrap_or(0);
    let is_even = strategy == Strategy::PrepareCommit;
    square(operations, strategy, extent).filter(move |&[first, second]| {
        extent == Extent::Long || ((place(first) + place(second)) % 2 == 0) == is_even
    })
}

/// Plays all pairs by `strategy`, of files of which the cache holds so much; how many runs that
/// were. It is deterministic.
///
/// # Errors
/// The first pair whose run broke the contract, after how many points it was handed over, and what
/// was seen.
pub fn pairs(
    strategy: Strategy,
    extent: Extent,
    cached: Cached,
    plant: Plant,
) -> Result<u64, String> {
    let all = square(OPERATIONS, strategy, extent);
    all.map(|both| meet_in(strategy, (cached, Reclaims::Never), both, plant)).sum()
}

/// The same of files that are not cached, while allocations reclaim: then pages that an operation
/// has just brought in go while it allocates the next.
///
/// # Errors
/// As for [`pairs`].
pub fn reclaiming_pairs(strategy: Strategy, extent: Extent) -> Result<u64, String> {
    let all = || square(OPERATIONS, strategy, extent).filter(|[first, _]| allocates(first));
    let each = [Reclaims::Always, Reclaims::Short];
    let all = each.into_iter().flat_map(|reclaims| all().map(move |both| (reclaims, both)));
    all.map(|(reclaims, both)| meet_in(strategy, (Cached::No, reclaims), both, Plant::None)).sum()
}

/// One pair.
fn meet_in(
    strategy: Strategy,
    (cached, reclaims): (Cached, Reclaims),
    [first, second]: [OnFile; 2],
    plant: Plant,
) -> Result<u64, String> {
    let mut script = pair(cached, [first, second]);
    script.setting.reclaims = reclaims;
    meet(&script, strategy, plant).map_err(|(points, what)| {
        format!(
            "{strategy:?}, cached: {cached:?}, reclaims: {reclaims:?}, {first:?}, after {points} points {second:?}: {what}"
        )
    })
}

/// Whether it stands for the operations that allocate frames.
const fn allocates(operation: &OnFile) -> bool {
    matches!(
        operation,
        (0, Operation::Write { .. } | Operation::Append { .. } | Operation::Read { .. })
            | (0, Operation::WriteBehind { .. } | Operation::ReadBehind { .. })
            | (0, Operation::Copy { from: 1, .. } | Operation::Load { page: 0 })
    )
}

pub(super) fn pair(cached: Cached, operations: [OnFile; 2]) -> Script {
    let thread = |(tag, (file, operation))| vec![Op { file, operation, tag }];
    let threads = (1..).zip(operations).map(thread).collect();
    Script { initial: INITIAL, cached, leaves: Leaves::One, threads, setting: Setting::default() }
}

/// Lets the first thread run for no point, one point, two, … until it is not interrupted any more,
/// and hands over to the second one. If requests end later, once more, and hands over to the thread
/// of the stores. How often that was; or after how many points it went wrong, and what was seen.
pub(super) fn meet(
    script: &Script,
    strategy: Strategy,
    plant: Plant,
) -> Result<u64, (u32, String)> {
    let runs = hand_over(script, strategy, plant, HAND_OVER)?;
    if !script.setting.stores.are_late() {
        return Ok(runs);
    }
    // The thread of the stores comes behind all others.
    let between = script.threads.len() - 1 - script.setting.holders;
    let decision = HAND_OVER[0] | (between as u8) << 6;
    let ended = hand_over(script, strategy, plant, &[decision]);
    let ended = ended.map_err(|(points, what)| (points, format!("to the stores: {what}")));
    Ok(runs + ended?)
}

/// The same for hand-overs as `decisions` say.
pub(super) fn hand_over(
    script: &Script,
    strategy: Strategy,
    plant: Plant,
    decisions: &[u8],
) -> Result<u64, (u32, String)> {
    for points in 0.. {
        let run = || play(script.clone(), strategy, plant, points, decisions);
        let played = quietly(run).map_err(|what| (points, what))?;
        if played.used == 0 {
            return Ok(u64::from(points) + 1);
        }
    }
    unreachable!("a thread ends")
}

/// How much of a sweep is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What a test has time for.
    Short,
    /// All of it.
    Long,
}

/// How many calls fail in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failures {
    None,
    One,
    /// One, and all from a later one on.
    Two,
}

/// The operations that call the stores or wait for those that do.
const TROUBLED: &[OnFile] = &[
    (0, Operation::Fsync),
    (0, Operation::Flush),
    (0, Operation::SyncPage { page: 0 }),
    (0, Operation::SyncWrite { at: 2, cells: 2 * PER_PAGE }),
    (0, Operation::Evict),
    (0, Operation::Invalidate),
    (0, Operation::Reclaim { dirty: DirtyVictims::Send }),
    (0, Operation::Write { at: 4, cells: PER_PAGE }),
    (0, Operation::Write { at: INITIAL[0] - 2, cells: PER_PAGE }),
    (0, Operation::Append { cells: PER_PAGE }),
    (0, Operation::Truncate { cells: CELLS - 1 }),
    (0, Operation::Truncate { cells: PER_PAGE + 3 }),
    (0, hole(PER_PAGE - 1, PER_PAGE + 3)),
    (0, zeros(PER_PAGE + 1, PER_PAGE)),
    (0, collapse(2, 4)),
    (0, insert(PER_PAGE, PER_PAGE)),
    (0, Operation::Store { cell: INITIAL[0] - 1 }),
    (0, Operation::Read { at: 0, cells: CELLS }),
    (0, Operation::WriteBehind { at: 4, cells: PER_PAGE }),
    (0, Operation::ReadBehind { at: 0, cells: CELLS }),
    (0, Operation::Load { page: 2 }),
];

/// Any two operations that meet in a store, one call of which fails while the other operation comes
/// in at any point; how many runs that were, and for each pair that broke the contract how. The
/// call that fails takes as long as it can: so the second operation also comes in *inside* it, and
/// is itself interrupted at each of its points. It is deterministic.
#[must_use]
pub fn troubled_pairs(strategy: Strategy, extent: Extent) -> (u64, Vec<String>) {
    let (mut runs, mut found) = (0, Vec::new());
    let caches: &[Cached] = match extent {
        Extent::Short => &[Cached::Dirty],
        Extent::Long => &[Cached::Dirty, Cached::No, Cached::Yes],
    };
    for &cached in caches {
        for [first, second] in half_square(TROUBLED, strategy, extent) {
            let script = pair(cached, [first, second]);
            match trouble(&script, strategy, extent, Failures::One, Plant::None) {
                Ok(more) => runs += more,
                Err(what) => found.push(format!(
                    "{strategy:?}, cached: {cached:?}, {first:?}, {second:?}: {what}"
                )),
            }
        }
    }
    (runs, found)
}

/// Any two operations that may wait for each other, the second of which is killed once it waits, or
/// has ended; how many runs that were. It is deterministic.
///
/// # Errors
/// As for [`pairs`].
pub fn killed_pairs(strategy: Strategy, extent: Extent) -> Result<u64, String> {
    killed(strategy, extent, &Stores::Phased(Vec::new()))
}

/// The same on stores that end their requests later: what a killed thread has waited for goes on.
///
/// # Errors
/// As for [`pairs`].
pub fn late_killed_pairs(strategy: Strategy, extent: Extent) -> Result<u64, String> {
    killed(strategy, extent, &Stores::Late(Vec::new()))
}

fn killed(strategy: Strategy, extent: Extent, stores: &Stores) -> Result<u64, String> {
    let mut runs = 0;
    for [first, second] in half_square(TROUBLED, strategy, extent) {
        let mut script = pair(Cached::Dirty, [first, second]);
        // A truncation to page 1 that is killed finds it mapped.
        script.threads[1].insert(0, Op { file: 0, operation: Operation::Load { page: 1 }, tag: 4 });
        script.threads.push(vec![Op { file: 0, operation: Operation::Kill { thread: 1 }, tag: 3 }]);
        script.setting.stores = stores.clone();
        runs += meet(&script, strategy, Plant::None).map_err(|(points, what)| {
            format!(
                "{strategy:?}, {first:?}, after {points} points {second:?}, which is killed: {what}"
            )
        })?;
    }
    Ok(runs)
}

/// Plays a script with each call of its stores failing in turn, and with none.
///
/// # Errors
/// Which trouble broke the contract, after how many points, and how.
pub(super) fn trouble(
    script: &Script,
    strategy: Strategy,
    extent: Extent,
    failures: Failures,
    plant: Plant,
) -> Result<u64, String> {
    let with = |troubles, wakes| {
        let stores = script.setting.stores.with(troubles);
        let setting = Setting { stores, wakes, ..script.setting.clone() };
        Script { setting, ..script.clone() }
    };
    let first =
        quietly(|| play(with(Vec::new(), Wakes::Lazy), strategy, plant, u32::MAX, &[]).calls);
    let calls = first.map_err(|what| format!("one after the other: {what}"))?;
    let mut runs = 1;
    let errnos: &[Option<Errno>] = match extent {
        Extent::Short => &[None, Some(Errno::Io)],
        Extent::Long => &[None, Some(Errno::Io), Some(Errno::NoSpace)],
    };
    let mut troubles = vec![Vec::new()];
    for call in 0..calls {
        for &errno in errnos {
            let one = |call, speed| Trouble { calls: call..call + 1, speed, errno };
            match failures {
                Failures::None => {}
                Failures::One => {
                    troubles.push(vec![one(call, Speed::Stalls)]);
                    // The other operation comes in behind the failure, too.
                    troubles.extend(errno.map(|_| vec![one(call, Speed::Quick)]));
                }
                // A call that is made again is one more call.
                Failures::Two => troubles.extend((call + 1..calls + 4).map(|again| {
                    let rest = Trouble { calls: again..u32::MAX, speed: Speed::Quick, errno };
                    vec![one(call, Speed::Quick), rest]
                })),
            }
        }
    }
    for trouble in troubles {
        let fails = trouble.iter().any(|trouble| trouble.errno.is_some());
        let eager = (fails || failures == Failures::None).then_some(Wakes::Eager);
        for wakes in [Some(Wakes::Lazy), eager].into_iter().flatten() {
            let script = with(trouble.clone(), wakes);
            runs += meet(&script, strategy, plant).map_err(|(points, what)| {
                format!("{trouble:?}, wakes {wakes:?}, handed over after {points} points: {what}")
            })?;
        }
    }
    Ok(runs)
}

const RECLAIM: Operation = Operation::Reclaim { dirty: DirtyVictims::Send };

/// Pairs for which one hand-over is not enough: one waits for what the other has, or looks twice at
/// what the other changes.
const TWICE: &[[OnFile; 2]] = &[
    [(0, Operation::Write { at: 4, cells: 4 }), (0, Operation::Write { at: 2, cells: 4 })],
    [(0, Operation::Flush), (0, Operation::Evict)],
    [(0, RECLAIM), (0, RECLAIM)],
    [(0, RECLAIM), (0, Operation::Truncate { cells: PER_PAGE + 3 })],
    [(0, Operation::Store { cell: 5 }), (0, RECLAIM)],
    [(0, Operation::Flush), (0, Operation::Fsync)],
    [(0, Operation::Store { cell: INITIAL[0] - 1 }), (0, Operation::Append { cells: 3 })],
    [
        (0, Operation::Truncate { cells: PER_PAGE + 3 }),
        (0, Operation::Read { at: 0, cells: CELLS }),
    ],
    [
        (0, Operation::Write { at: 4, cells: PER_PAGE }),
        (0, Operation::Truncate { cells: PER_PAGE + 3 }),
    ],
    [(0, Operation::Truncate { cells: PER_PAGE + 3 }), (0, Operation::Flush)],
    [(0, hole(PER_PAGE - 1, PER_PAGE + 3)), (0, Operation::Read { at: 0, cells: CELLS })],
    [(0, hole(PER_PAGE - 1, PER_PAGE + 3)), (0, Operation::Store { cell: PER_PAGE + 1 })],
    [(0, hole(PER_PAGE - 1, PER_PAGE + 3)), (0, Operation::Flush)],
];

/// Points after which the second hand-over comes, at most.
const SECOND: u8 = 63;

/// Plays pairs with two hand-overs: the second thread comes in at each point of the first, and is
/// interrupted at each of its first points itself. How many runs that were. It is deterministic.
///
/// # Errors
/// As for [`pairs`].
pub fn twice(strategy: Strategy, extent: Extent, plant: Plant) -> Result<u64, String> {
    let caches: &[Cached] = match extent {
        Extent::Short => &[Cached::Dirty],
        Extent::Long => &[Cached::Dirty, Cached::No, Cached::Yes],
    };
    let mut runs = 0;
    for (&cached, &operations) in
        caches.iter().flat_map(|cached| TWICE.iter().map(move |p| (cached, p)))
    {
        let mut script = pair(cached, operations);
        script.setting.stores = Stores::Phased(Vec::new());
        for first in 0.. {
            let mut used = 0;
            for second in 0..SECOND {
                let run = || play(script.clone(), strategy, plant, first, &[second, HAND_OVER[0]]);
                let played = quietly(run).map_err(|what| {
                    format!("{strategy:?}, cached: {cached:?}, {operations:?}, after {first} points and {second}: {what}")
                })?;
                runs += 1;
                used = used.max(played.used);
                if played.used < 2 {
                    break;
                }
            }
            if used == 0 {
                break;
            }
        }
    }
    Ok(runs)
}
