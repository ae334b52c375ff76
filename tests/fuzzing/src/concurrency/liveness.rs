//! L1: one operation against two threads that repeat another one without pause, and get far in each
//! of their turns while it gets nowhere in its own. It has to end all the same: without much more
//! work than it has alone, and no wait of it may see more than a few operations of the others end.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;

use faultless_filemap::{DirtyVictims, Strategy};
use faultless_page::{Fallocate, Shift};

use super::super::Plant;
use super::scheduler::{self, Favour, Wakes};
use super::script::{
    CELLS, Cached, Leaves, Op, Operation, PER_BLOCK, PER_PAGE, Reclaims, Script, Setting,
};
use super::trouble::Stores;
use super::world::{FRAMES, World};
use crate::quiet::quietly;
use faultless_host::memory::{FrameOrder, PhysicalMemory, Poisoning};

/// Cells of the first file: two and a half pages. The others end as they began.
const SIZE: usize = 2 * PER_PAGE + PER_PAGE / 2;

/// Blocks come, and go again: all pages move.
const INSERT: Operation = Operation::Shift { shift: Shift::Insert, at: 0, cells: PER_BLOCK };
const COLLAPSE: Operation = Operation::Shift { shift: Shift::Collapse, at: 0, cells: PER_BLOCK };

/// The operations that have to end. A program's own load or store is none of them: see "Liveness"
/// in `docs/semantics.md`.
const VICTIMS: &[Operation] = &[
    Operation::Write { at: 4, cells: 1 },
    Operation::Write { at: 0, cells: SIZE },
    Operation::Write { at: SIZE - 2, cells: 4 },
    Operation::Append { cells: 3 },
    Operation::Copy { at: 0, cells: 4, from: 0, page: 0 },
    Operation::Read { at: 0, cells: CELLS },
    Operation::Truncate { cells: PER_PAGE + 3 },
    Operation::Truncate { cells: CELLS - 1 },
    Operation::Blocks { change: Fallocate::PunchHole, at: 3, cells: PER_PAGE + 2 },
    COLLAPSE,
    Operation::ReadBehind { at: 0, cells: CELLS },
    Operation::WriteBehind { at: 4, cells: PER_PAGE },
    Operation::Fsync,
    Operation::SyncPage { page: 0 },
    Operation::SyncWrite { at: 2, cells: 2 * PER_PAGE },
    Operation::Flush,
    Operation::Evict,
    Operation::Invalidate,
    Operation::Migrate { page: 0 },
    Operation::Direct { page: 0 },
    Operation::Reclaim { dirty: DirtyVictims::Leave },
    Operation::Reclaim { dirty: DirtyVictims::Send },
    Operation::Populate { page: 0 },
];

/// What is repeated, by each of the two.
const RIVALS: &[[&[Operation]; 2]] = &[
    both(&[Operation::Write { at: 4, cells: 1 }]),
    both(&[Operation::Write { at: 0, cells: SIZE }]),
    both(&[Operation::Append { cells: 3 }, Operation::Truncate { cells: SIZE }]),
    both(&[Operation::Truncate { cells: 3 }, Operation::Write { at: 0, cells: SIZE }]),
    both(&[Operation::Read { at: 0, cells: SIZE }]),
    both(&[Operation::Write { at: 4, cells: 1 }, Operation::Fsync]),
    both(&[Operation::SyncWrite { at: PER_PAGE, cells: 2 }]),
    both(&[Operation::Write { at: PER_PAGE, cells: PER_PAGE }, Operation::Flush]),
    both(&[Operation::Evict]),
    both(&[Operation::Evict, Operation::Read { at: 0, cells: SIZE }]),
    both(&[Operation::Invalidate]),
    both(&[Operation::Migrate { page: 0 }]),
    both(&[Operation::Reclaim { dirty: DirtyVictims::Send }]),
    both(&[
        Operation::Reclaim { dirty: DirtyVictims::Send },
        Operation::Read { at: 0, cells: SIZE },
    ]),
    both(&[Operation::Store { cell: 5 }, Operation::SyncPage { page: 0 }]),
    both(&[Operation::Copy { at: 2, cells: 4, from: 0, page: 1 }]),
    both(&[INSERT, COLLAPSE]),
    // Of the pages that an operation wants, one is locked at most times.
    [
        &[Operation::Write { at: 0, cells: PER_PAGE }],
        &[Operation::Write { at: PER_PAGE, cells: PER_PAGE }],
    ],
];

const fn both(operations: &'static [Operation]) -> [&'static [Operation]; 2] {
    [operations, operations]
}

/// How the turns are shared out.
const FAVOURS: [Favour; 6] = [
    favour(3, 61),
    favour(7, 17),
    favour(3, 30),
    favour(7, 64),
    // One point at a time: a loop of compare-and-swaps never wins.
    favour(0, 6),
    favour(0, 7),
];

const fn favour(own: u32, others: u32) -> Favour {
    Favour { victim: 0, own, others }
}

/// Operations of the others that may end while the victim sleeps in one wait: of each of the two
/// the one that is under way, and one that went first.
const WAIT: u64 = 4;
/// Points that the victim may pass for each one that it passes alone: rounds are repeated at most
/// three times.
const FACTOR: u64 = 6;
/// Points that it may pass besides: queues, hand-overs, reads and faults of pages that were taken.
const BESIDES: u64 = 1500;
/// Finds after which the sweep ends.
const ENOUGH: usize = 8;
/// Operations of the others after which the victim is taken for starved.
const LIMIT: u64 = 8_000;

/// The longest that a victim had to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Longest {
    /// Runs.
    pub runs: u64,
    /// Operations of the others that ended during one wait.
    pub wait: u64,
    /// Operations of the others that ended before the victim did.
    pub operations: u64,
}

/// Plays each operation against each repeated one by `strategy`; how long it took, and which of
/// them was starved. It is deterministic.
///
/// # Panics
/// Never: what a run panics with is a find.
#[must_use]
pub fn rivals(strategy: Strategy, plant: Plant) -> (Longest, Vec<String>) {
    against(strategy, plant, &Stores::Phased(Vec::new()))
}

/// The same on stores that end their requests later, on a thread that has its turns as the others
/// have.
///
/// # Panics
/// Never: what a run panics with is a find.
#[must_use]
pub fn late_rivals(strategy: Strategy) -> (Longest, Vec<String>) {
    against(strategy, Plant::None, &Stores::Late(Vec::new()))
}

fn against(strategy: Strategy, plant: Plant, stores: &Stores) -> (Longest, Vec<String>) {
    let (mut longest, mut found) = (Longest::default(), Vec::new());
    for &victim in VICTIMS {
        if found.len() >= ENOUGH {
            break;
        }
        let alone = match quietly(|| run(script(victim, &[], stores), FAVOURS[0], strategy, plant))
        {
            Ok(run) => run.points,
            Err(what) => {
                found.push(format!("{victim:?} alone: {what}"));
                continue;
            }
        };
        for rival in RIVALS {
            for favour in FAVOURS {
                let played = quietly(|| {
                    let run = run(script(victim, rival, stores), favour, strategy, plant);
                    let most = FACTOR * alone + BESIDES;
                    assert!(run.points <= most, "L1: {} points, alone {alone}", run.points);
                    run
                });
                longest.runs += 1;
                match played {
                    Ok(run) => {
                        longest.wait = longest.wait.max(run.wait);
                        longest.operations = longest.operations.max(run.operations);
                    }
                    Err(what) => {
                        found.push(format!(
                            "{strategy:?}, {victim:?} against {rival:?}, {favour:?}: {what}"
                        ));
                    }
                }
            }
        }
    }
    (longest, found)
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
struct Run {
    points: u64,
    wait: u64,
    operations: u64,
}

/// What the rivals know of the victim.
#[derive(Debug, Default)]
struct Race {
    over: Cell<bool>,
    operations: Cell<u64>,
    /// Operations that ended since the victim began its wait.
    in_wait: Cell<u64>,
    longest: Cell<u64>,
}

impl Race {
    /// An operation of a rival has ended.
    fn operation(&self, world: &World) {
        if self.over.get() {
            return;
        }
        self.operations.set(self.operations.get() + 1);
        assert!(self.operations.get() < LIMIT, "L1: no end after {LIMIT} operations of the others");
        if world.was_idle.get() {
            // It has overtaken no operation.
            return;
        }
        let waits = scheduler::waiting() & 1 != 0;
        self.in_wait.set(if waits { self.in_wait.get() + 1 } else { 0 });
        self.longest.set(self.longest.get().max(self.in_wait.get()));
        let wait = self.in_wait.get();
        assert!(wait <= WAIT, "L1: {wait} operations of the others went first in one wait");
    }
}

fn run(script: Script, favour: Favour, strategy: Strategy, plant: Plant) -> Run {
    let memory = PhysicalMemory::new(FRAMES, FrameOrder::Contiguous, Poisoning::Off);
    let world = Rc::new(World::new(&memory, script, strategy, plant));
    let race = Rc::new(Race::default());
    let threads = (0..world.script.threads.len()).map(|thread| -> scheduler::Work {
        let (world, race) = (Rc::clone(&world), Rc::clone(&race));
        Box::new(move || {
            if thread == 0 {
                world.perform(0, &world.script.threads[0][0]);
                race.over.set(true);
            }
            while !race.over.get() {
                for op in &world.script.threads[thread] {
                    world.perform(thread, op);
                    race.operation(&world);
                }
            }
            world.requests.left();
        })
    });
    let threads = threads.chain(world.server());
    let order =
        scheduler::Order { first: 0, decisions: &[], wakes: Wakes::Lazy, favour: Some(favour) };
    let _used = world.run(threads.collect(), order);
    world.space.tear_down();
    Run {
        points: scheduler::passed(0),
        wait: race.longest.get(),
        operations: race.operations.get(),
    }
}

fn script(victim: Operation, rivals: &[&[Operation]], stores: &Stores) -> Script {
    let mut tags = 1..;
    let mut op =
        |operation: Operation| Op { file: 0, operation, tag: tags.next().unwrap_or(u8::MAX) };
    let mut threads = vec![vec![op(victim)]];
    threads.extend(rivals.iter().map(|rival| rival.iter().copied().map(&mut op).collect()));
    let setting =
        Setting { stores: stores.clone(), reclaims: Reclaims::Never, ..Setting::default() };
    Script { initial: [SIZE, PER_PAGE], cached: Cached::Yes, leaves: Leaves::One, threads, setting }
}
