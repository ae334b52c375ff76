//! What the model of growth is made of, measured on this machine, and two cores to hold it against.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faultless_filemap::WriteOptions;
use faultless_page::{PAGE_SIZE, PAGES_PER_LEAF};

use super::model::{Check, FANOUT, LOADS, Primitives, Sharing};
use crate::counts;
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Role, filling};
use crate::memory::{Arena, Copier, copy};
use crate::stats::{Dice, Spread};
use crate::teams::{Helper, Team};

const MIB: usize = 1 << 20;
/// Bytes of the file that the model is held against.
const CHECKED: usize = 256 * MIB;
/// Samples of each primitive. That counts which a tenth of them do not reach: what disturbs a
/// sample makes it longer.
const SAMPLES: usize = 31;
/// Bytes among which loads are measured.
const LOADED: [usize; LOADS] = [16 << 10, 256 << 10, 4 << 20, 32 << 20, CHECKED];

/// Nanoseconds of samples that little has disturbed.
fn undisturbed(mut sample: impl FnMut() -> f64) -> f64 {
    Spread::of((0..SAMPLES).map(|_| sample()).collect()).map_or(0.0, |spread| spread.p10)
}

/// Nanoseconds of each of many calls.
fn each(mut call: impl FnMut()) -> f64 {
    const SAMPLE: Duration = Duration::from_micros(500);
    let mut time = |n: u64| {
        let began = Instant::now();
        for _ in 0..n {
            call();
        }
        began.elapsed().as_nanos() as f64
    };
    let iterations = filling(SAMPLE, u64::MAX, &mut time);
    undisturbed(|| time(iterations) / iterations as f64)
}

/// Nanoseconds of a load which the next one waits for, in a cycle through `bytes`.
fn load(bytes: usize) -> f64 {
    const STEP: usize = 64;
    let lines = bytes / STEP;
    let mut order: Vec<u32> = (0..lines as u32).collect();
    Dice::new(0x10ad).shuffle(&mut order);
    // One entry in each line.
    let mut next = vec![0_u32; lines * STEP / size_of::<u32>()];
    let entry = |line: u32| line as usize * STEP / size_of::<u32>();
    for (at, line) in order.iter().enumerate() {
        next[entry(*line)] = order[(at + 1) % lines];
    }
    let mut at = 0;
    let nanoseconds = each(|| at = next[entry(at)]);
    black_box(at);
    nanoseconds
}

/// Nanoseconds that a line takes from one thread to the other: they count it up in turns.
fn transfer(helper: &Rc<Helper>) -> f64 {
    let word = Arc::new(AtomicU64::new(0));
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
    let team = team.with(helper);
    undisturbed(|| team.together(2_000) / 2.0)
}

/// A file of which all is cached.
pub(super) fn filled() -> io::Result<Arc<Rig>> {
    let memory = Arc::new(Arena::new(2 * MIB)?);
    let rig = Rig::new(Arena::new(CHECKED + CHECKED / 4)?, Layout::Contiguous, memory);
    for pos in (0..CHECKED).step_by(MIB) {
        rig.write(&WriteOptions::at(pos as u64), MIB);
    }
    Ok(Arc::new(rig))
}

/// Measures what the model is made of.
pub(super) fn primitives(rig: &Rig, helper: &Rc<Helper>) -> io::Result<Primitives> {
    let word = AtomicU64::new(0);
    let plain = Arena::new(CHECKED)?;
    let mut dice = Dice::new(0xc01d);
    let pages = (CHECKED / PAGE_SIZE) as u64;
    let copies = |how, at: usize| {
        copy(how, (&plain, at), (rig.memory(), 0), black_box(PAGE_SIZE));
    };
    let best = |mut at: Box<dyn FnMut() -> usize>| {
        let times = [Copier::Libc, Copier::RepMovsb].map(|how| each(|| copies(how, at())));
        times[0].min(times[1])
    };
    let found = Primitives {
        loads: LOADED.map(|bytes| (bytes as u64, load(bytes))),
        locked: each(|| {
            word.fetch_add(1, Ordering::SeqCst);
        }),
        transfer: transfer(helper),
        hot_copy: best(Box::new(|| 0)),
        cold_copy: best(Box::new(move || dice.below(pages) as usize * PAGE_SIZE)),
        rest: 0.0,
        read_rest: 0.0,
        lines: counts::travelling_lines()?,
    };
    let middle = black_box(CHECKED as u64 / 2);
    let levels = ((CHECKED / PAGE_SIZE / PAGES_PER_LEAF) as u64).ilog2().div_ceil(FANOUT.ilog2());
    let lookup = f64::from(levels + 1) * found.hot_load();
    let fixed = lookup + 2.0 * found.locked + found.hot_copy;
    let write = each(|| rig.write(&WriteOptions::at(middle), PAGE_SIZE));
    let read = each(|| rig.read(middle, PAGE_SIZE));
    Ok(Primitives { rest: (write - fixed).max(0.0), read_rest: (read - fixed).max(0.0), ..found })
}

/// Holds the model against two cores.
pub(super) fn checks(rig: &Arc<Rig>, helper: &Rc<Helper>, found: &Primitives) -> Vec<Check> {
    const PAGES: u64 = (CHECKED / PAGE_SIZE) as u64;
    let random = |role, base: fn(usize) -> u64, pages: u64| {
        // Each time other pages, or they would be in a cache.
        let (rig, turns) = (rig.clone(), AtomicU64::new(1));
        Team::new(role, move |member, n| {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            let mut dice = Dice::new(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..n {
                let pos = (base(member) + dice.below(pages)) * PAGE_SIZE as u64;
                rig.write_from(member * MIB, &WriteOptions::at(pos), PAGE_SIZE);
            }
        })
    };
    let half = |member: usize| member as u64 * PAGES / 2;
    let (reader, apart) = (rig.clone(), random(Role::Subject, half, PAGES / 2));
    let read = Team::new(Role::Subject, move |member, n| {
        for _ in 0..n {
            reader.read_to(member * MIB, black_box(0), PAGE_SIZE);
        }
    });
    let measured = |team: Team| {
        let team = team.with(helper);
        undisturbed(|| team.together(1_000))
    };
    let bytes = CHECKED as u64;
    let mut dice = Dice::new(0x0a10);
    vec![
        Check {
            what: "overwrite, one core",
            modelled: found.overwrite(bytes, 1, Sharing::Apart),
            measured: each(|| {
                let pos = dice.below(PAGES) * PAGE_SIZE as u64;
                rig.write(&WriteOptions::at(pos), PAGE_SIZE);
            }),
        },
        Check {
            what: "overwrite, apart",
            modelled: found.overwrite(bytes, 2, Sharing::Apart),
            measured: measured(apart),
        },
        Check {
            what: "overwrite, anywhere",
            modelled: found.overwrite(bytes, 2, Sharing::Anywhere),
            measured: measured(random(Role::Subject, |_| 0, PAGES)),
        },
        Check {
            what: "read of one page",
            modelled: found.read(bytes, 2),
            measured: measured(read),
        },
    ]
}
