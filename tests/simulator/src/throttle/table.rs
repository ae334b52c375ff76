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
    /// As [`Throughput`](Self::Throughput), and the last writer gets 95 % of what it asks for.
    Small,
    /// The writers of the first store get its bandwidth after the first second, within 5 %.
    Fast,
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
    /// Pages per second of the writers of the first store after the first second, of what the
    /// store writes.
    pub fn throughput(&self) -> f64 {
        let of_first = self.scene.tasks.iter().zip(&self.out.tasks);
        let pages: u64 = of_first
            .filter(|(task, _)| task.store == 0)
            .map(|(_, fate)| fate.pages - fate.pages_at_first)
            .sum();
        let mib = self.scene.disks.first().map_or(1, |disk| disk.mib);
        pages as f64 / ((self.scene.seconds - 1) * mib * MIB) as f64
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
        let asked = burst.pages as f64 * (self.scene.seconds * SECOND) as f64 / burst.every_ns as f64;
        Some(self.out.tasks.last()?.pages as f64 / asked)
    }

    /// The longest pause in nanoseconds.
    pub fn longest_ns(&self) -> u64 {
        self.out.tasks.iter().map(|fate| fate.longest_ns).max().unwrap_or(0)
    }

    /// Whether every bar is reached.
    pub fn is_reached(&self) -> bool {
        let limited = self.out.most_dirty <= self.scene.limits.hard();
        let full = (0.95..=1.05).contains(&self.throughput());
        let short = self.longest_ns() <= LONGEST_NS;
        let rest = match self.bar {
            Bar::Throughput => full && short,
            Bar::Fair => full && short && self.fairness() >= 0.9,
            Bar::Small => full && short && self.small().is_some_and(|part| part >= 0.95),
            Bar::Fast => full,
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
const SMALL: Task =
    Task { burst: Some(Burst { pages: 8, every_ns: SECOND * 8 / MIB }), ..BIG };

fn scene(name: &'static str, disks: &[Disk], tasks: Vec<Task>) -> Scene {
    Scene { name, limits: LIMITS, disks: disks.to_vec(), tasks, seconds: 6 }
}

/// Every scene with its bar.
pub fn scenes() -> Vec<(Scene, Bar)> {
    let on = |store: usize, task: Task| Task { store, ..task };
    let disk = |mib: u64, course: Course| Disk { mib, course };
    let hundred = [Disk::steady(100)];
    let change = |from: u64, mib: u64| disk(100, Course::Change { from: from * SECOND, mib });
    vec![
        (scene("1 writer, 10 MiB/s", &[Disk::steady(10)], vec![BIG]), Bar::Throughput),
        (scene("1 writer, 100 MiB/s", &hundred, vec![BIG]), Bar::Throughput),
        (scene("1 writer, 1000 MiB/s", &[Disk::steady(1000)], vec![BIG]), Bar::Throughput),
        (scene("2 writers, 100 MiB/s", &hundred, vec![BIG, BIG]), Bar::Fair),
        (scene("2 writers of 2048 and 200 MiB/s", &hundred, vec![BIG, SLOW]), Bar::Fair),
        (scene("20 writers, 100 MiB/s", &hundred, vec![BIG; 20]), Bar::Fair),
        (scene("200 writers, 100 MiB/s", &hundred, vec![BIG; 200]), Bar::Fair),
        (scene("a small writer beside a big one", &hundred, vec![BIG, SMALL]), Bar::Small),
        (scene("a small writer beside 20", &hundred, [vec![BIG; 20], vec![SMALL]].concat()), Bar::Small),
        (scene("2 writers, jitter", &[disk(100, Course::Jitter)], vec![BIG; 2]), Bar::Fair),
        (scene("2 writers, a stall of 1 s", &[disk(100, Course::Stall { from: 3 * SECOND })], vec![BIG; 2]), Bar::Pauses),
        (scene("2 writers, 100 then 10 MiB/s", &[change(3, 10)], vec![BIG; 2]), Bar::Pauses),
        (scene("2 writers, 100 then 1000 MiB/s", &[change(3, 1000)], vec![BIG; 2]), Bar::Pauses),
        (scene("1000 and 10 MiB/s, a writer each", &[Disk::steady(1000), Disk::steady(10)], vec![BIG, on(1, BIG)]), Bar::Fast),
        (scene("100 and 1 MiB/s, 1 and 10 writers", &[Disk::steady(100), Disk::steady(1)], [vec![BIG], vec![on(1, BIG); 10]].concat()), Bar::Fast),
        (scene("500 MiB/s and a store that stalls", &[Disk::steady(500), disk(100, Course::Stall { from: 3 * SECOND })], vec![BIG, on(1, BIG)]), Bar::Fast),
        (Scene { limits: Limits::new(64, 256), ..scene("300 writers, 1 MiB of memory", &hundred, vec![BIG; 300]) }, Bar::HardLimit),
        (Scene { limits: Limits::new(0, 1), ..scene("3 writers, 1 page of memory", &hundred, vec![BIG; 3]) }, Bar::HardLimit),
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

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn show() {
        for l in lines() {
            println!("{:40} {:5} thr {:.3} fair {:.3} small {:?} longest {:.1} ms most {} charged {} /{} denied {} end {}",
                l.scene.name, l.is_reached(), l.throughput(), l.fairness(), l.small(), l.longest_ns() as f64 / 1e6,
                l.out.most_dirty, l.out.most_charged, l.scene.limits.hard(), l.out.denied, l.out.dirty);
        }
    }
}
