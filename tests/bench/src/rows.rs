//! The rows of the scoreboard, with their bars.

#![forbid(unsafe_code)]

use std::io;

use super::board::{Goal, Line};
use super::kernel::{Bare, Preemptible};
use super::measure::{Contestant, Role};
use super::memory::Cpus;
use super::teams::Team;
use super::waits::{self, Effort};
use super::{counts, simulated};

mod calls;
mod growing;
mod reclaim;
mod removal;
mod segments;
mod shared;
mod threads;

pub(super) use calls::{FLAT, flat_at, hot};

use calls::{cold, flat, random, read, scattered};
use reclaim::Call;
pub(crate) use reclaim::ReadThrough;
use shared::{KIB, MIB};

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
    timed(3, "4 KiB overwrite, random over 256 MiB", &[copy_bar(1.35, 1.2)], |_| random(4 * KIB)),
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
    timed(14, "read 4 KiB, hot", &[copy_bar(1.8, 1.3), COUNTED], |_| read::<Bare>(4 * KIB)),
    timed(14, "read 64 KiB, hot", &[copy_bar(1.05, 1.02)], |_| read::<Bare>(64 * KIB)),
    timed(14, "read 4 KiB, hot, sections of the kernel's own", &[LIMIT], |_| {
        read::<Preemptible>(4 * KIB)
    }),
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
