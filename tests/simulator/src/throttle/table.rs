//! The scenes with their bars, and the results.

#![forbid(unsafe_code)]

use faultless_policy::throttle::Limits;

use super::control::{Control, Ships};
use super::machine::{Burst, Outcome, Scene, Task, simulate};
use super::store::{Course, Disk, MIB, SECOND};

/// What is asked of a scene, beside the hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// All writers together get the bandwidth of the first store after the first second, within
    /// 5 %; the pauses are not longer than 200 ms.
    Throughput,
    /// As [`Throughput`](Self::Throughput), and all writers get the same within 10 %.
    Fair,
    /// As [`Throughput`](Self::Throughput), and the last writer gets 95 % of what it asks for and
    /// pauses for less than a hundredth of the time.
    Small,
    /// The writers of the first store get its bandwidth after the first second, within 5 %; the
    /// pauses are not longer than 200 ms.
    Fast,
    /// As [`Fast`](Self::Fast); the other store has more writers than it writes pages in 200 ms,
    /// so that only the pauses of the first store's writers count.
    Crowd,
    /// The pauses are not longer than 200 ms.
    Pauses,
    /// The hard limit alone.
    HardLimit,
}

/// The longest pause that is allowed, in nanoseconds.
pub const LONGEST_NS: u64 = 200_000_000;

/// A scene with its result.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was simulated.
    pub scene: Scene,
    /// What is asked.
    pub bar: Bar,
    /// What came out.
    pub out: Outcome,
}

impl Line {
    /// Pages per second of the writers of store `number` after the first second, of what the
    /// store writes. `None` if there is no such store.
    pub fn throughput(&self, number: usize) -> Option<f64> {
        let mib = self.scene.disks.get(number)?.mib;
        let tasks = self.scene.tasks.iter().zip(&self.out.tasks);
        let of_store = tasks.filter(|(task, _)| task.store == number);
        let pages: u64 = of_store.map(|(_, fate)| fate.pages - fate.pages_at_first).sum();
        Some(pages as f64 / ((self.scene.seconds - 1) * mib * MIB) as f64)
    }

    /// The pages of the slowest writer, of those of the fastest.
    pub fn fairness(&self) -> f64 {
        let pages = || self.out.tasks.iter().map(|fate| fate.pages - fate.pages_at_first);
        let (least, most) = (pages().min().unwrap_or(0), pages().max().unwrap_or(0));
        least as f64 / most.max(1) as f64
    }

    /// What the last writer got, of what it asked for. `None` if it asks without end.
    pub fn small(&self) -> Option<f64> {
        let burst = self.scene.tasks.last()?.burst?;
        let asked =
            burst.pages as f64 * (self.scene.seconds * SECOND) as f64 / burst.every_ns as f64;
        Some(self.out.tasks.last()?.pages as f64 / asked)
    }

    fn is_small_served(&self) -> bool {
        let time = self.scene.seconds * SECOND;
        let calm = self.out.tasks.last().is_some_and(|fate| fate.paused_ns < time / 100);
        calm && self.small().is_some_and(|part| part >= 0.95)
    }

    /// The longest pause of all writers, in nanoseconds.
    pub fn longest_ns(&self) -> u64 {
        (0..self.scene.disks.len()).map(|store| self.longest_of(store)).max().unwrap_or(0)
    }

    /// The longest pause of the writers of a store, in nanoseconds.
    fn longest_of(&self, store: usize) -> u64 {
        let tasks = self.scene.tasks.iter().zip(&self.out.tasks);
        let of_store = tasks.filter(|(task, _)| task.store == store);
        of_store.map(|(_, fate)| fate.longest_ns).max().unwrap_or(0)
    }

    /// Whether every bar is reached.
    pub fn is_reached(&self) -> bool {
        let limited = self.out.most_dirty <= self.scene.limits.hard();
        let full = self.throughput(0).is_some_and(|share| (0.95..=1.05).contains(&share));
        let short = self.longest_ns() <= LONGEST_NS;
        let rest = match self.bar {
            Bar::Throughput => full && short,
            Bar::Fair => full && short && self.fairness() >= 0.9,
            Bar::Small => full && short && self.is_small_served(),
            Bar::Fast => full && short,
            Bar::Crowd => full && self.longest_of(0) <= LONGEST_NS,
            Bar::Pauses => short,
            Bar::HardLimit => true,
        };
        limited && rest
    }
}

/// 16 MiB in the background, 64 MiB at most.
const LIMITS: Limits = Limits::new(16 * MIB, 64 * MIB);
/// A writer at 2 GiB/s.
const BIG: Task = Task { store: 0, page_ns: 2_000, burst: None };
/// A writer at 200 MiB/s.
const SLOW: Task = Task { store: 0, page_ns: 20_000, burst: None };
/// A writer that needs 1 MiB/s, in 8 pages each.
const SMALL: Task = Task { burst: Some(Burst { pages: 8, every_ns: SECOND * 8 / MIB }), ..BIG };

fn scene(name: &'static str, disks: &[Disk], tasks: Vec<Task>) -> Scene {
    Scene { name, limits: LIMITS, disks: disks.to_vec(), tasks, seconds: 6 }
}

/// Every scene with its bar.
pub fn scenes() -> Vec<(Scene, Bar)> {
    [one_store(), varying(), two_stores(), tiny()].concat()
}

fn one_store() -> Vec<(Scene, Bar)> {
    let hundred = [Disk::steady(100)];
    let and_small = |big: usize| [vec![BIG; big], vec![SMALL]].concat();
    vec![
        (scene("1 writer, 10 MiB/s", &[Disk::steady(10)], vec![BIG]), Bar::Throughput),
        (scene("1 writer, 100 MiB/s", &hundred, vec![BIG]), Bar::Throughput),
        (scene("1 writer, 1000 MiB/s", &[Disk::steady(1000)], vec![BIG]), Bar::Throughput),
        (scene("2 writers, 100 MiB/s", &hundred, vec![BIG, BIG]), Bar::Fair),
        (scene("2 writers of 2000 and 200 MiB/s", &hundred, vec![BIG, SLOW]), Bar::Fair),
        (scene("20 writers, 100 MiB/s", &hundred, vec![BIG; 20]), Bar::Fair),
        (scene("200 writers, 100 MiB/s", &hundred, vec![BIG; 200]), Bar::Fair),
        (scene("a writer of 1 MiB/s beside 1", &hundred, and_small(1)), Bar::Small),
        (scene("a writer of 1 MiB/s beside 20", &hundred, and_small(20)), Bar::Small),
    ]
}

fn varying() -> Vec<(Scene, Bar)> {
    let one = |name, course, bar| (scene(name, &[Disk { mib: 100, course }], vec![BIG; 2]), bar);
    let from = 3 * SECOND;
    vec![
        one("2 writers, jitter of 50 %", Course::Jitter, Bar::Fair),
        one("2 writers, a stall of 1 s", Course::Stall { from }, Bar::Pauses),
        one("2 writers, 100 then 10 MiB/s", Course::Change { from, mib: 10 }, Bar::Pauses),
        one("2 writers, 100 then 1000 MiB/s", Course::Change { from, mib: 1000 }, Bar::Pauses),
    ]
}

fn two_stores() -> Vec<(Scene, Bar)> {
    let beside = |name, fast: u64, other: Disk, writers: usize| {
        let tasks = [vec![BIG], vec![Task { store: 1, ..BIG }; writers]].concat();
        (scene(name, &[Disk::steady(fast), other], tasks), Bar::Fast)
    };
    let stalling = Disk { mib: 100, course: Course::Stall { from: 3 * SECOND } };
    let (crowd, _) = beside("100 and 1 MiB/s, 1 and 200 writers", 100, Disk::steady(1), 200);
    let limits = Limits::new(4 * MIB, 16 * MIB);
    vec![
        beside("1000 and 10 MiB/s, a writer each", 1000, Disk::steady(10), 1),
        beside("100 and 1 MiB/s, 1 and 10 writers", 100, Disk::steady(1), 10),
        beside("500 MiB/s, and 100 that stall for 1 s", 500, stalling, 1),
        (Scene { limits, seconds: 10, ..crowd }, Bar::Crowd),
    ]
}

/// So little memory that each writer cannot have a page.
fn tiny() -> Vec<(Scene, Bar)> {
    let with = |name, limits, writers: usize| {
        let scene = scene(name, &[Disk::steady(100)], vec![BIG; writers]);
        (Scene { limits, ..scene }, Bar::HardLimit)
    };
    vec![
        with("300 writers, hard limit of 256 pages", Limits::new(64, 256), 300),
        with("3 writers, hard limit of 1 page", Limits::new(0, 1), 3),
    ]
}

/// Simulates a scene with the policy that ships, or with a planted bug.
pub fn line(scene: &Scene, bar: Bar, control: &impl Control) -> Line {
    Line { scene: scene.clone(), bar, out: simulate(scene, control) }
}

/// Simulates every scene with the policy that ships.
pub fn lines() -> Vec<Line> {
    scenes().iter().map(|(scene, bar)| line(scene, *bar, &Ships)).collect()
}
