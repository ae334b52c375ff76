//! The rows of the scoreboard, and the contestants of those that compare times.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_filemap::WriteOptions;
use faultless_page::PAGE_SIZE;

use super::board::{Goal, Line};
use super::counts;
use super::frames::Layout;
use super::kernel::Rig;
use super::limit::{Limit, Section};
use super::measure::{Contestant, Role};
use super::memory::{Arena, Copier, Cpus, bytes_of, copy};
use super::rivals::{filled_tmpfs, filled_tree, pread, pwrite};
use super::simulated;
use super::stats::Dice;
use super::teams::Team;
use super::waits::{self, Effort};

mod growing;
mod reclaim;
mod removal;
mod segments;
mod shared;
mod threads;

use reclaim::Call;
use shared::{COLD, KIB, MIB, TWICE, nothing, user_memory};

/// A file whose index has some depth.
const HOT: usize = 64 * MIB;
/// Of plain copies the best counts.
const COPIERS: [Copier; 2] = [Copier::Libc, Copier::RepMovsb];

/// A row of the scoreboard, or a part of one.
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
}

/// How a row is measured.
pub(super) enum Kind {
    /// Times of one thread.
    Timed(&'static [Goal], fn(Cpus) -> io::Result<Vec<Contestant>>),
    /// What two threads do, of what one does.
    Paired(&'static [Goal], fn() -> io::Result<Vec<Team>>),
    /// Single waits, beside other threads.
    Waits(fn(Cpus, Effort) -> io::Result<Vec<Line>>),
    /// Counted or simulated: the same each time.
    Exact(fn() -> io::Result<Vec<Line>>),
}

const fn timed(
    number: u32,
    title: &'static str,
    goals: &'static [Goal],
    contestants: fn(Cpus) -> io::Result<Vec<Contestant>>,
) -> Row {
    Row { number, title, kind: Kind::Timed(goals, contestants) }
}

const fn paired(
    number: u32,
    title: &'static str,
    goals: &'static [Goal],
    teams: fn() -> io::Result<Vec<Team>>,
) -> Row {
    Row { number, title, kind: Kind::Paired(goals, teams) }
}

const fn waits(
    number: u32,
    title: &'static str,
    lines: fn(Cpus, Effort) -> io::Result<Vec<Line>>,
) -> Row {
    Row { number, title, kind: Kind::Waits(lines) }
}

const fn exact(number: u32, title: &'static str, lines: fn() -> io::Result<Vec<Line>>) -> Row {
    Row { number, title, kind: Kind::Exact(lines) }
}

const fn copy_bar(must: f64, stretch: f64) -> Goal {
    Goal::at_most(Role::Memcpy, must, stretch)
}

const fn twin_bar(must: f64, stretch: f64) -> Goal {
    Goal::at_most(Role::Twin, must, stretch)
}

/// The limit's bar for hot writes, and for reads whose section costs nothing.
const LIMIT: Goal = Goal::at_most(Role::Limit, 1.2, 1.05);

const SMALL: &[Goal] = &[
    Goal::at_most(Role::Tmpfs, 1.0 / 12.0, 0.0).only_must(),
    Goal::at_most(Role::Tree, 0.0, 1.0).only_stretch(),
    LIMIT,
];
/// A read whose section is counted in and out.
const COUNTED: Goal = Goal::at_most(Role::CountedLimit, 1.2, 1.2).only_must();
const SCALING: &[Goal] = &[Goal::at_least(Role::Twin, 0.9, 0.97)];
const SAME_PAGE: &[Goal] = &[Goal::at_least(Role::Subject, 0.6, 0.9)];
const RECLAIM: &[Goal] = &[Goal::at_most(Role::Tree, 0.25, 0.25).only_must()];
const ALL_ON: &[Goal] = &[twin_bar(1.05, 1.0)];

/// All rows, in the order of the scoreboard.
pub(super) const ROWS: &[Row] = &[
    timed(1, "1 B overwrite, hot", SMALL, |_| hot(1)),
    timed(1, "64 B overwrite, hot", SMALL, |_| hot(64)),
    exact(1, "locked operations of a hot overwrite", counts::overwrite),
    timed(2, "4 KiB overwrite, hot", &[copy_bar(1.8, 1.5), LIMIT], |_| hot(4 * KIB)),
    timed(3, "4 KiB overwrite, cold random", &[copy_bar(1.35, 1.2)], |_| cold(4 * KIB)),
    timed(4, "64 KiB overwrite, hot", &[copy_bar(1.05, 1.02)], |_| hot(64 * KIB)),
    timed(5, "64 KiB overwrite, scattered frames", &[copy_bar(1.08, 1.0)], |_| scattered()),
    timed(6, "64 KiB overwrite, cold", &[copy_bar(1.12, 1.05)], |_| cold(64 * KIB)),
    timed(6, "1 MiB overwrite, cold", &[copy_bar(1.06, 1.02)], |_| cold(MIB)),
    timed(7, "append 4 KiB", &[copy_bar(1.2, 1.1)], |_| growing::append(4 * KIB)),
    timed(8, "append 64 KiB", &[copy_bar(1.25, 1.1)], |_| growing::append(64 * KIB)),
    timed(8, "append 1 MiB", &[copy_bar(1.05, 1.02)], |_| growing::append(MIB)),
    timed(9, "1 B into a new page (vs memset)", &[copy_bar(1.15, 1.08)], |_| growing::new_page()),
    timed(10, "writev of 64 × 64 B, hot", &[copy_bar(2.0, 1.3)], |_| segments::writev(64, 64)),
    timed(10, "writev of 512 × 8 B, hot", &[copy_bar(2.0, 1.0)], |_| segments::writev(512, 8)),
    exact(10, "locked operations of a writev in one page", counts::segments),
    paired(11, "2 threads, one file, 1 B each", SCALING, || threads::disjoint(1)),
    paired(11, "2 threads, one file, 4 KiB each", SCALING, || threads::disjoint(4 * KIB)),
    paired(11, "2 threads, one file, 64 KiB each", SCALING, || threads::disjoint(64 * KIB)),
    paired(12, "2 threads, same page, 64 B each", SAME_PAGE, || threads::same_page_write(64)),
    paired(12, "2 threads, same page, 4 KiB each", SAME_PAGE, || threads::same_page_write(4 * KIB)),
    waits(12, "2 threads, same page: waits", waits::same_page),
    timed(13, "4 KiB hot at 512 GiB vs at 0", &[twin_bar(1.05, 1.02)], |_| flat(1)),
    timed(13, "4 KiB cold at 512 GiB vs at 0", &[twin_bar(1.15, 1.02)], |_| {
        flat(FLAT / (4 * KIB) as u64)
    }),
    timed(14, "read 4 KiB, hot", &[copy_bar(1.8, 1.3), COUNTED], |_| read(4 * KIB)),
    timed(14, "read 64 KiB, hot", &[copy_bar(1.05, 1.02)], |_| read(64 * KIB)),
    exact(15, "instructions of a 1 B overwrite", counts::instructions_of_one_byte),
    exact(16, "instructions of a further page", counts::instructions_of_a_page),
    timed(17, "append 64 KiB, strategy A vs B", &[twin_bar(1.5, 1.35)], |_| growing::strategies()),
    exact(18, "user touches", counts::user_touches),
    exact(19, "metadata", counts::metadata),
    exact(20, "allocations", counts::allocations),
    exact(21, "short-copy injector", counts::injector),
    exact(22, "reclaim: hit ratios", simulated::hit_ratios),
    timed(23, "reclaim: 12,288 looks in vain", RECLAIM, |_| reclaim::looks()),
    timed(23, "reclaim: 64 pages freed", RECLAIM, |_| reclaim::freed()),
    exact(23, "reclaim: locked operations", counts::looks),
    exact(24, "reclaim: state", counts::state_for_reclaim),
    timed(25, "64 B overwrite, hot, all on", ALL_ON, |_| reclaim::all_on(Call::Write(64))),
    timed(25, "4 KiB overwrite, hot, all on", ALL_ON, |_| reclaim::all_on(Call::Write(4 * KIB))),
    timed(25, "64 B read, hot, all on", ALL_ON, |_| reclaim::all_on(Call::Read(64))),
    timed(25, "4 KiB read, hot, all on", ALL_ON, |_| reclaim::all_on(Call::Read(4 * KIB))),
    exact(25, "locked operations more, all on", counts::all_on),
    paired(26, "2 threads read one page, 64 B", SCALING, || threads::same_page_read(64)),
    paired(26, "2 threads read one page, 4 KiB", SCALING, || threads::same_page_read(4 * KIB)),
    exact(26, "lines shared by reads", counts::lines_of_reads),
    exact(27, "lines shared by overwrites", counts::lines_of_overwrites),
    exact(28, "cold read", simulated::cold_reads),
    timed(29, "truncate, each other page", &[twin_bar(3.0, 1.5)], removal::truncate),
    timed(29, "evict, each other page", &[twin_bar(3.0, 1.5)], removal::evict),
    waits(30, "4 KiB write, single waits", waits::beside),
];

/// Where the operations of a contestant go.
#[derive(Debug)]
struct Places {
    dice: Dice,
    slots: u64,
    bytes: u64,
    base: u64,
}

impl Clone for Places {
    /// The same kind of places in another order: who follows in the steps of another finds them
    /// warm.
    fn clone(&self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let seed = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { dice: Dice::new(seed), ..*self }
    }
}

impl Places {
    /// Any of `slots` pieces of `bytes` each.
    fn new(slots: u64, bytes: usize) -> Self {
        Self { dice: Dice::new(0xd1ce), slots, bytes: bytes as u64, base: 0 }
    }

    /// The one place at `base`.
    fn only(base: u64) -> Self {
        Self { base, ..Self::new(1, 0) }
    }

    /// The same, shifted.
    fn from(mut self, base: u64) -> Self {
        self.base = base;
        self
    }

    #[inline]
    fn next(&mut self) -> u64 {
        if self.slots == 1 {
            return black_box(self.base);
        }
        self.base + self.dice.below(self.slots) * self.bytes
    }
}

/// A rig with `bytes` of a file in the cache, and room for the index beside them.
fn filled(bytes: usize, layout: Layout) -> io::Result<Rc<Rig>> {
    let frames = Arena::new(bytes + bytes / 8 + 4 * MIB)?;
    let rig = Rig::new(frames, layout, user_memory()?);
    fill_file(&rig, 0, bytes);
    Ok(Rc::new(rig))
}

fn fill_file(rig: &Rig, base: u64, bytes: usize) {
    let step = bytes.min(MIB);
    for pos in (0..bytes).step_by(step) {
        rig.write(&WriteOptions::at(base + pos as u64), step);
    }
}

/// Overwrites of a cached file, twice.
fn overwrites(rig: &Rc<Rig>, places: &Places, len: usize) -> Vec<Contestant> {
    TWICE.map(|role| overwriter(role, rig, places, len)).into()
}

fn overwriter(role: Role, rig: &Rc<Rig>, places: &Places, len: usize) -> Contestant {
    let (rig, mut at) = (rig.clone(), places.clone());
    Contestant::new(role, move |n| {
        for _ in 0..n {
            rig.write(&WriteOptions::at(at.next()), len);
        }
    })
}

/// Always the same place, in the middle of a file that is cached whole: an index with one entry
/// would flatter.
fn hot(len: usize) -> io::Result<Vec<Contestant>> {
    let middle = HOT as u64 / 2;
    let mut all = overwrite(len, HOT, &Places::only(middle))?;
    let (frames, source) = (Arc::new(Arena::new(HOT)?), user_memory()?);
    for how in COPIERS {
        let (limit, source) = (Limit::new(frames.clone(), how), source.clone());
        all.push(Contestant::new(Role::Limit, move |n| {
            for _ in 0..n {
                assert!(limit.write(black_box(middle), &source, black_box(len)));
            }
        }));
    }
    Ok(all)
}

fn cold(len: usize) -> io::Result<Vec<Contestant>> {
    overwrite(len, COLD, &Places::new((COLD / len) as u64, len))
}

fn overwrite(len: usize, bytes: usize, places: &Places) -> io::Result<Vec<Contestant>> {
    let rig = filled(bytes, Layout::Contiguous)?;
    let source = bytes_of(rig.memory(), 0, len);
    let mut all = overwrites(&rig, places, len);
    let plain = Rc::new(Arena::new(bytes)?);
    all.extend(plain_copies(&plain, rig.memory(), places, len));
    all.extend(tree_writes(places, bytes, &source));
    all.extend(tmpfs_writes(places, bytes, source)?);
    Ok(all)
}

/// Both kinds of `memcpy` to the same places of plain memory.
fn plain_copies(
    to: &Rc<Arena>,
    from: &Arc<Arena>,
    places: &Places,
    len: usize,
) -> impl Iterator<Item = Contestant> {
    COPIERS
        .map(|how| {
            let (to, from, mut at) = (to.clone(), from.clone(), places.clone());
            Contestant::new(Role::Memcpy, move |n| {
                for _ in 0..n {
                    copy(how, (&to, at.next() as usize), (&from, 0), black_box(len));
                }
            })
        })
        .into_iter()
}

fn tree_writes(places: &Places, bytes: usize, source: &[u8]) -> [Contestant; 2] {
    let tree = Rc::new(filled_tree(bytes));
    let (plain, mut at, data) = (tree.clone(), places.clone(), source.to_vec());
    let (bounced, mut bounced_at, bounced_data) = (tree, places.clone(), source.to_vec());
    [
        Contestant::new(Role::Tree, move |n| {
            for _ in 0..n {
                plain.write(at.next(), black_box(&data));
            }
        }),
        Contestant::new(Role::TreeWithBounce, move |n| {
            for _ in 0..n {
                bounced.write_with_bounce(bounced_at.next(), black_box(&bounced_data));
            }
        }),
    ]
}

fn tmpfs_writes(places: &Places, bytes: usize, source: Vec<u8>) -> io::Result<[Contestant; 2]> {
    let file = filled_tmpfs(bytes)?;
    let mut at = places.clone();
    let tmpfs = Contestant::new(Role::Tmpfs, move |n| {
        for _ in 0..n {
            pwrite(&file, at.next(), &source);
        }
    });
    Ok([tmpfs, nothing()])
}

/// 64 KiB at once against one `memcpy` for each of its 16 pages, neither lying side by side.
fn scattered() -> io::Result<Vec<Contestant>> {
    const LEN: usize = 64 * KIB;
    let rig = filled(LEN, Layout::Scattered)?;
    let places = Places::only(0);
    let mut all = overwrites(&rig, &places, LEN);
    let plain = Rc::new(Arena::new(4 * MIB)?);
    let mut pages: Vec<usize> = (0..plain.bytes() / PAGE_SIZE).collect();
    Dice::new(0x5ca7).shuffle(&mut pages);
    pages.truncate(LEN / PAGE_SIZE);
    for how in COPIERS {
        let (to, from, pages) = (plain.clone(), rig.memory().clone(), pages.clone());
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                for (at, page) in pages.iter().enumerate() {
                    let (to, from) = ((&*to, page * PAGE_SIZE), (&*from, at * PAGE_SIZE));
                    copy(how, to, from, black_box(PAGE_SIZE));
                }
            }
        }));
    }
    let source = bytes_of(rig.memory(), 0, LEN);
    all.extend(tree_writes(&places, LEN, &source));
    all.extend(tmpfs_writes(&places, LEN, source)?);
    Ok(all)
}

/// Bytes of the small file, and of what is cached of the large one.
const FLAT: u64 = 128 * MIB as u64;

/// A piece of a 1 TiB file in its middle, against a file of that piece only.
fn flat(slots: u64) -> io::Result<Vec<Contestant>> {
    const LEN: usize = 4 * KIB;
    const MIDDLE: u64 = 512 << 30;
    let near = filled(FLAT as usize, Layout::Contiguous)?;
    let far = Rig::new(Arena::new(FLAT as usize + 32 * MIB)?, Layout::Contiguous, user_memory()?);
    far.set_size(1 << 40);
    fill_file(&far, MIDDLE, FLAT as usize);
    let mut all = overwrites(&Rc::new(far), &Places::new(slots, LEN).from(MIDDLE), LEN);
    all.push(overwriter(Role::Twin, &near, &Places::new(slots, LEN), LEN));
    Ok(all)
}

fn read(len: usize) -> io::Result<Vec<Contestant>> {
    let rig = filled(HOT, Layout::Contiguous)?;
    let middle = HOT as u64 / 2;
    let reader = |role| {
        let rig = rig.clone();
        Contestant::new(role, move |n| {
            for _ in 0..n {
                rig.read(black_box(middle), len);
            }
        })
    };
    let mut all: Vec<Contestant> = TWICE.map(reader).into();
    let plain = Arc::new(Arena::new(len)?);
    for how in COPIERS {
        let (to, from) = (rig.memory().clone(), plain.clone());
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                copy(how, (&to, 0), (&from, black_box(0)), black_box(len));
            }
        }));
    }
    let frames = Arc::new(Arena::new(HOT)?);
    let sections = [(Role::Limit, Section::Free), (Role::CountedLimit, Section::Counted)];
    for (role, section) in sections {
        for how in COPIERS {
            let (limit, to) = (Limit::new(frames.clone(), how), user_memory()?);
            all.push(Contestant::new(role, move |n| {
                for _ in 0..n {
                    assert!(limit.read(section, black_box(middle), &to, black_box(len)));
                }
            }));
        }
    }
    let tree = filled_tree(HOT);
    let mut target = vec![0; len];
    all.push(Contestant::new(Role::Tree, move |n| {
        for _ in 0..n {
            tree.read(black_box(middle), &mut target);
        }
    }));
    let file = filled_tmpfs(HOT)?;
    let mut target = vec![0; len];
    all.push(Contestant::new(Role::Tmpfs, move |n| {
        for _ in 0..n {
            pread(&file, black_box(middle), &mut target);
        }
    }));
    all.push(nothing());
    Ok(all)
}
