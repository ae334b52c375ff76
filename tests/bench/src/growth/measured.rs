//! What the model of growth is made of, measured on this machine, and cores to hold it against.
//!
//! All of it is measured in each of many rounds, and the model of a round is held against the
//! calls of that round: a machine that is slower for a while is so for both. What a core does alone
//! is measured again beside the other core, which does the same at that time: two cores that go to
//! memory hold each other up.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use faultless_filemap::WriteOptions;
use faultless_page::{PAGE_SIZE, PAGES_PER_LEAF};

use super::model::{Check, Costs, LOADS, Primitives, Sharing};
use crate::counts;
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Role, Sampled};
use crate::memory::{Arena, Copier, copy};
use crate::stats::{Dice, Spread};
use crate::teams::{Helper, Playing, Team};

const MIB: usize = 1 << 20;
/// Bytes of the file that the model is held against: far more than a cache of the CPU holds,
/// whatever its other users leave of it.
pub(super) const CHECKED: usize = 1024 * MIB;
/// Bytes among which loads are measured.
const LOADED: [usize; LOADS] = [16 << 10, 256 << 10, 4 << 20, 32 << 20, CHECKED];
const ROUNDS: usize = 31;

/// Something that one core does, or both.
struct Part {
    team: Playing,
    iterations: u64,
}

impl Part {
    fn new(helper: &Rc<Helper>, work: impl Fn(usize, u64) + Send + Sync + 'static) -> Self {
        let mut team = Team::new(Role::Subject, work).with(helper);
        let iterations = team.calibrate();
        Self { team, iterations }
    }

    /// Nanoseconds of one operation of one core alone, and of each of two.
    fn sample(&self) -> [f64; 2] {
        let (team, iterations) = (&self.team, self.iterations);
        [undisturbed(team, || team.by_one(iterations)), both(team, iterations)]
    }
}

/// Nanoseconds of one operation of each of two cores.
fn both(team: &Playing, iterations: u64) -> f64 {
    undisturbed(team, || team.together(iterations))
}

/// A sample in which no thread lost its CPU. On a machine that is never quiet, a disturbed one is
/// better than none.
fn undisturbed(team: &Playing, mut sample: impl FnMut() -> f64) -> f64 {
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let before = team.disturbances();
        let found = sample();
        if team.disturbances() == before {
            return found;
        }
    }
    sample()
}

/// Loads, each of which waits for the one before, in a cycle through `bytes`. Each core begins in a
/// place of its own.
fn loads(helper: &Rc<Helper>, bytes: usize) -> io::Result<Part> {
    const WORDS: usize = 64 / size_of::<u32>();
    let memory = Arena::new(bytes)?;
    let lines = bytes / 64;
    let mut order: Vec<u32> = (0..lines as u32).collect();
    Dice::new(0x10ad).shuffle(&mut order);
    for (at, line) in order.iter().enumerate() {
        let next = order[(at + 1) % lines];
        memory.words()[*line as usize * WORDS].store(next, Ordering::Relaxed);
    }
    let places = [order[0], order[lines / 2]].map(AtomicU32::new);
    Ok(Part::new(helper, move |member, n| {
        let mut at = places[member].load(Ordering::Relaxed);
        for _ in 0..n {
            at = memory.words()[at as usize * WORDS].load(Ordering::Relaxed);
        }
        places[member].store(at, Ordering::Relaxed);
    }))
}

/// A number on a line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Apart(AtomicU64);

/// Random numbers below `bound` for each of two cores: others each time.
struct Places([Apart; 2]);

impl Places {
    fn new() -> Self {
        Self([1, 2].map(|seed| Apart(AtomicU64::new(seed))))
    }

    /// The dice of a sample.
    fn dice(&self, member: usize) -> Dice {
        let turn = self.0[member].0.fetch_add(2, Ordering::Relaxed);
        Dice::new(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Copies of a page of the user's memory to one of so many.
fn copies(helper: &Rc<Helper>, how: Copier, to: &Arc<Arena>, from: &Rig, pages: usize) -> Part {
    let (to, from, places) = (to.clone(), from.memory().clone(), Places::new());
    Part::new(helper, move |member, n| {
        let mut dice = places.dice(member);
        for _ in 0..n {
            let page = member * pages + dice.below(pages as u64) as usize;
            copy(how, (&to, page * PAGE_SIZE), (&from, member * MIB), black_box(PAGE_SIZE));
        }
    })
}

/// What is measured in each round.
pub(super) struct Parts {
    loads: Vec<Part>,
    locked: Part,
    /// Copies to one page, and to half of all, in each way.
    hot_copies: Vec<Part>,
    cold_copies: Vec<Part>,
    /// Hot calls of each core to a page of its own.
    write: Part,
    read: Part,
    transfer: Playing,
    lines: [usize; 2],
    /// Calls that the model is held against.
    apart: Part,
    anywhere: Part,
    one_page: Part,
}

impl Parts {
    /// All of it, beside the thread of `helper`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(helper: &Rc<Helper>) -> io::Result<Self> {
        const PAGES: usize = CHECKED / PAGE_SIZE;
        let rig = filled()?;
        let plain = Arc::new(Arena::new(CHECKED)?);
        let words: [Apart; 2] = Default::default();
        let ways = |pages| {
            [Copier::Libc, Copier::RepMovsb].map(|how| copies(helper, how, &plain, &rig, pages))
        };
        let hot = |call: fn(&Rig, usize, u64)| {
            let rig = rig.clone();
            Part::new(helper, move |member, n| {
                let pos = black_box((CHECKED / 4 + member * CHECKED / 2) as u64);
                (0..n).for_each(|_| call(&rig, member * MIB, pos));
            })
        };
        let overwrites = |base: usize, pages: usize| {
            let (rig, places) = (rig.clone(), Places::new());
            Part::new(helper, move |member, n| {
                let mut dice = places.dice(member);
                for _ in 0..n {
                    let page = (member * base) as u64 + dice.below(pages as u64);
                    let options = WriteOptions::at(page * PAGE_SIZE as u64);
                    rig.write_from(member * MIB, &options, PAGE_SIZE);
                }
            })
        };
        let reader = rig.clone();
        Ok(Self {
            loads: LOADED
                .into_iter()
                .map(|bytes| loads(helper, bytes))
                .collect::<Result<_, _>>()?,
            locked: Part::new(helper, move |member, n| {
                for _ in 0..n {
                    words[member].0.fetch_add(1, Ordering::SeqCst);
                }
            }),
            hot_copies: ways(1).into(),
            cold_copies: ways(PAGES / 2).into(),
            write: hot(|rig, from, pos| rig.write_from(from, &WriteOptions::at(pos), PAGE_SIZE)),
            read: hot(|rig, to, pos| rig.read_to(to, pos, PAGE_SIZE)),
            transfer: transfer(helper),
            lines: counts::travelling_lines()?,
            apart: overwrites(PAGES / 2, PAGES / 2),
            anywhere: overwrites(0, PAGES),
            one_page: Part::new(helper, move |member, n| {
                for _ in 0..n {
                    reader.read_to(member * MIB, black_box(0), PAGE_SIZE);
                }
            }),
        })
    }

    /// One round of what the model is made of.
    fn primitives(&self) -> Primitives {
        let loads: Vec<[f64; 2]> = self.loads.iter().map(Part::sample).collect();
        let best = |ways: &[Part]| {
            let times = ways.iter().map(Part::sample);
            times.fold([f64::MAX; 2], |best, time| [0, 1].map(|at| best[at].min(time[at])))
        };
        let (hot_copy, cold_copy) = (best(&self.hot_copies), best(&self.cold_copies));
        let [locked, write, read] = [&self.locked, &self.write, &self.read].map(Part::sample);
        let [alone, beside] = [0, 1].map(|at| {
            let costs = Costs {
                loads: std::array::from_fn(|nth| (LOADED[nth] as u64, loads[nth][at])),
                locked: locked[at],
                hot_copy: hot_copy[at],
                cold_copy: cold_copy[at],
                rest: 0.0,
                read_rest: 0.0,
            };
            let lookup = costs.hot_lookup((CHECKED / PAGE_SIZE / PAGES_PER_LEAF) as u64);
            let fixed = lookup + 2.0 * costs.locked + costs.hot_copy;
            Costs { rest: write[at] - fixed, read_rest: read[at] - fixed, ..costs }
        });
        Primitives { alone, beside, transfer: both(&self.transfer, 2_000) / 2.0, lines: self.lines }
    }

    /// What calls take that the model is held against.
    fn calls(&self) -> [f64; CALLS.len()] {
        let [_, apart] = self.apart.sample();
        let [one, anywhere] = self.anywhere.sample();
        let [_, one_page] = self.one_page.sample();
        [one, apart, anywhere, one_page]
    }

    /// Measures all rounds: the middle of each primitive, and how far off the model is.
    pub(super) fn measure(&self) -> (Primitives, Vec<Check>) {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (self.primitives(), self.calls())).collect();
        let checks = CALLS.iter().enumerate().map(|(nth, (what, model))| Check {
            what,
            modelled: middle(&rounds, |(found, _)| model(found)),
            measured: middle(&rounds, |(_, calls)| calls[nth]),
            ratio: spread(&rounds, |(found, calls)| model(found) / calls[nth]),
        });
        let checks = checks.collect();
        let rounds: Vec<Primitives> = rounds.into_iter().map(|(found, _)| found).collect();
        (middles(&rounds), checks)
    }
}

/// Nanoseconds of a call by the model.
type Model = fn(&Primitives) -> f64;

/// Calls that the model is held against, in the order in which they are measured.
const CALLS: [(&str, Model); 4] = [
    ("overwrite, one core", |found| found.overwrite(CHECKED as u64, 1, Sharing::Apart)),
    ("overwrite, apart", |found| found.overwrite(CHECKED as u64, 2, Sharing::Apart)),
    ("overwrite, anywhere", |found| found.overwrite(CHECKED as u64, 2, Sharing::Anywhere)),
    ("read of one page", |found| found.read(CHECKED as u64, 2)),
];

/// Primitives each of which is the middle of those of all rounds.
fn middles(rounds: &[Primitives]) -> Primitives {
    let costs = |of: fn(&Primitives) -> &Costs| {
        let middle = |value: fn(&Costs) -> f64| middle(rounds, |found| value(of(found)));
        Costs {
            loads: std::array::from_fn(|nth| {
                (LOADED[nth] as u64, self::middle(rounds, |found| of(found).loads[nth].1))
            }),
            locked: middle(|costs| costs.locked),
            hot_copy: middle(|costs| costs.hot_copy),
            cold_copy: middle(|costs| costs.cold_copy),
            rest: middle(|costs| costs.rest),
            read_rest: middle(|costs| costs.read_rest),
        }
    };
    Primitives {
        alone: costs(|found| &found.alone),
        beside: costs(|found| &found.beside),
        transfer: middle(rounds, |found| found.transfer),
        lines: rounds.first().map_or([0; 2], |found| found.lines),
    }
}

fn spread<R>(rounds: &[R], value: impl Fn(&R) -> f64) -> Spread {
    let nothing = Spread { p10: 0.0, median: 0.0, p90: 0.0 };
    Spread::of(rounds.iter().map(value).collect()).unwrap_or(nothing)
}

fn middle<R>(rounds: &[R], value: impl Fn(&R) -> f64) -> f64 {
    spread(rounds, value).median
}

/// Two threads that count a word up in turns.
fn transfer(helper: &Rc<Helper>) -> Playing {
    let word = AtomicU64::new(0);
    let team = Team::new(Role::Subject, move |member, n| {
        for _ in 0..n {
            let mut found = word.load(Ordering::Acquire);
            // A member that is alone does not wait for the other.
            for _ in 0..10_000 {
                if found as usize % 2 == member {
                    break;
                }
                std::hint::spin_loop();
                found = word.load(Ordering::Acquire);
            }
            word.store(found + 1, Ordering::Release);
        }
    });
    team.with(helper)
}

/// A file of which all is cached, and memory of a user for each of two cores.
fn filled() -> io::Result<Arc<Rig>> {
    let memory = Arc::new(Arena::new(2 * MIB)?);
    let rig = Rig::new(Arena::new(CHECKED + CHECKED / 4)?, Layout::Contiguous, memory);
    for pos in (0..CHECKED).step_by(MIB) {
        rig.write(&WriteOptions::at(pos as u64), MIB);
    }
    Ok(Arc::new(rig))
}
