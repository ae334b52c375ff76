//! Paired rounds: every contestant of a row runs in every round, in shuffled order.
//!
//! What counts is the ratio inside a round, so that a machine that speeds up or slows down does so
//! for all. Rounds in which the thread was made to give up the CPU are dropped.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::memory::involuntary_switches;
use super::stats::{Dice, Spread};

/// How long one sample of one contestant should take.
const SAMPLE: Duration = Duration::from_micros(150);
/// Rounds that may be dropped and repeated, as a multiple of those wanted.
const PATIENCE: usize = 4;

/// Something whose speed is measured.
pub(super) struct Contestant {
    pub(super) role: Role,
    /// Does the operation this many times.
    run: Box<dyn FnMut(u64)>,
    /// Puts everything back after a sample, unmeasured.
    reset: Box<dyn FnMut()>,
    /// The most operations that can be done before a reset.
    most: u64,
}

/// Which part a contestant plays in the ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What is measured.
    Subject,
    /// The same once more: its ratio to the subject must be 1.
    Control,
    /// One of the plain copies (or fills) of which the best counts.
    Memcpy,
    /// What the design cannot do without, and nothing else.
    Limit,
    /// The same with the two locked operations of a read section.
    CountedLimit,
    /// The subject without what the row is about.
    Twin,
    /// The cache in a `BTreeMap` under a mutex, or with an LRU list.
    Tree,
    /// The same with a copy of the request beforehand.
    TreeWithBounce,
    /// Linux tmpfs, including the system call.
    Tmpfs,
    /// The same with huge pages.
    HugeTmpfs,
    /// A system call that does nothing.
    NullSyscall,
}

impl Role {
    /// Those that the subject is compared with, in the order of the report.
    pub(super) const COMPARED: [Self; 9] = [
        Self::Limit,
        Self::CountedLimit,
        Self::Memcpy,
        Self::Tree,
        Self::TreeWithBounce,
        Self::Tmpfs,
        Self::HugeTmpfs,
        Self::Twin,
        Self::Control,
    ];

    /// Its name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Subject => "Faultless",
            Self::Control => "A/A",
            Self::Memcpy => "copy",
            Self::Limit => "limit",
            Self::CountedLimit => "limit + 2",
            Self::Twin => "twin",
            Self::Tree => "BTreeMap",
            Self::TreeWithBounce => "+ bounce",
            Self::Tmpfs => "tmpfs",
            Self::HugeTmpfs => "huge tmpfs",
            Self::NullSyscall => "null syscall",
        }
    }
}

/// What runs in rounds.
pub(super) trait Sampled {
    /// The part that it plays.
    fn role(&self) -> Role;
    /// How many operations fill a sample.
    fn calibrate(&mut self) -> u64;
    /// What a sample of so many operations comes to.
    fn sample(&mut self, iterations: u64) -> f64;
    /// How often its threads were made to give up their CPUs so far.
    fn disturbances(&self) -> i64 {
        involuntary_switches()
    }
}

/// How many operations fill a sample that takes about this long, at most `most`. `time` is told
/// how many to do, and says how many nanoseconds they took.
pub(super) fn filling(sample: Duration, most: u64, mut time: impl FnMut(u64) -> f64) -> u64 {
    let wanted_ns = sample.as_nanos() as f64;
    let mut iterations = 1;
    loop {
        let took = time(iterations);
        if took >= wanted_ns / 2.0 || iterations >= most {
            return ((iterations as f64 * wanted_ns / took.max(1.0)) as u64).clamp(1, most);
        }
        iterations = (iterations * 2).min(most);
    }
}

impl Contestant {
    pub(super) fn new(role: Role, run: impl FnMut(u64) + 'static) -> Self {
        Self { role, run: Box::new(run), reset: Box::new(|| {}), most: u64::MAX }
    }

    /// The same in another part.
    pub(super) fn playing(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// With something that lasts as long as the contestant.
    pub(super) fn keeping(self, kept: impl Sized + 'static) -> Self {
        let mut run = self.run;
        let run = move |n| {
            let _kept = &kept;
            run(n);
        };
        Self { run: Box::new(run), ..self }
    }

    /// With a clean-up that is not measured, due after at most `most` operations.
    pub(super) fn with_reset(mut self, most: u64, reset: impl FnMut() + 'static) -> Self {
        self.most = most;
        self.reset = Box::new(reset);
        self
    }
}

impl Sampled for Contestant {
    fn role(&self) -> Role {
        self.role
    }

    fn calibrate(&mut self) -> u64 {
        let most = self.most.saturating_sub(1).max(1);
        filling(SAMPLE, most, |iterations| self.sample(iterations) * iterations as f64)
    }

    /// Nanoseconds for one operation, after a warm-up call.
    fn sample(&mut self, iterations: u64) -> f64 {
        (self.run)(1);
        let begin = Instant::now();
        (self.run)(iterations);
        let took = begin.elapsed();
        (self.reset)();
        took.as_nanos() as f64 / iterations as f64
    }
}

/// What each contestant's sample came to, in one round.
#[derive(Clone, Debug)]
struct Round(Vec<(Role, f64)>);

impl Round {
    /// The best time of those who play a part.
    fn best(&self, role: Role) -> Option<f64> {
        let times = self.0.iter().filter(|(played, _)| *played == role).map(|(_, time)| *time);
        times.reduce(f64::min)
    }

    /// What the subject is compared with. Tmpfs is what it takes beyond the system call.
    fn reference(&self, role: Role) -> Option<f64> {
        let time = self.best(role)?;
        if !matches!(role, Role::Tmpfs | Role::HugeTmpfs) {
            return Some(time);
        }
        Some(time - self.best(Role::NullSyscall).unwrap_or(0.0)).filter(|time| *time > 0.0)
    }
}

/// The rounds of one row.
pub(super) struct Measured {
    rounds: Vec<Round>,
    /// Rounds that were dropped for a switch of threads.
    pub(super) dropped: usize,
}

impl Measured {
    /// The subject's value relative to another's.
    pub(super) fn ratio(&self, role: Role) -> Option<Spread> {
        self.ratio_of(Role::Subject, role)
    }

    /// One's value relative to another's.
    pub(super) fn ratio_of(&self, one: Role, other: Role) -> Option<Spread> {
        let ratio = |round: &Round| Some(round.best(one)? / round.reference(other)?);
        Spread::of(self.rounds.iter().filter_map(ratio).collect())
    }

    /// The value of one of them.
    pub(super) fn time(&self, role: Role) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.reference(role)).collect())
    }
}

/// How many operations fill a sample of each contestant. The subject and its control do as many:
/// what an operation takes may depend on how many went before it since the reset.
fn calibrate(contestants: &mut [impl Sampled]) -> Vec<u64> {
    let mut all: Vec<u64> = contestants.iter_mut().map(Sampled::calibrate).collect();
    if let Some(subject) = contestants.iter().position(|c| c.role() == Role::Subject) {
        let same = all[subject];
        for (iterations, contestant) in all.iter_mut().zip(contestants) {
            if contestant.role() == Role::Control {
                *iterations = same;
            }
        }
    }
    all
}

/// Runs the rounds. `tick` is called after each.
pub(super) fn measure(
    contestants: &mut [impl Sampled],
    wanted: usize,
    dice: &mut Dice,
    mut tick: impl FnMut(),
) -> Measured {
    let iterations = calibrate(contestants);
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    let mut measured = Measured { rounds: Vec::with_capacity(wanted), dropped: 0 };
    while measured.rounds.len() < wanted {
        dice.shuffle(&mut order);
        let switches = disturbances(contestants);
        let times = order
            .iter()
            .map(|&at| (contestants[at].role(), contestants[at].sample(iterations[at])))
            .collect();
        // On a machine that is never quiet, a disturbed round is better than none.
        if disturbances(contestants) != switches && measured.dropped < wanted * PATIENCE {
            measured.dropped += 1;
            continue;
        }
        measured.rounds.push(Round(times));
        tick();
    }
    measured
}

fn disturbances(contestants: &[impl Sampled]) -> i64 {
    contestants.iter().map(Sampled::disturbances).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rounds: &[&[(Role, f64)]]) -> Measured {
        Measured { rounds: rounds.iter().map(|r| Round(r.to_vec())).collect(), dropped: 0 }
    }

    #[test]
    fn ratios_are_taken_inside_a_round_and_against_the_best_copy() {
        let measured = measured(&[
            &[(Role::Subject, 30.0), (Role::Memcpy, 20.0), (Role::Memcpy, 15.0)],
            &[(Role::Subject, 60.0), (Role::Memcpy, 30.0), (Role::Memcpy, 40.0)],
        ]);
        assert_eq!(measured.ratio(Role::Memcpy).map(|s| s.median), Some(2.0));
        assert_eq!(measured.ratio(Role::Tree), None);
    }

    #[test]
    fn tmpfs_is_counted_without_the_system_call() {
        for tmpfs in [Role::Tmpfs, Role::HugeTmpfs] {
            let measured =
                measured(&[&[(Role::Subject, 10.0), (tmpfs, 300.0), (Role::NullSyscall, 100.0)]]);
            assert_eq!(measured.ratio(tmpfs).map(|s| s.median), Some(0.05));
            assert_eq!(measured.time(tmpfs).map(|s| s.median), Some(200.0));
        }
    }

    #[test]
    fn a_contestant_is_never_asked_for_more_than_it_can_do_before_a_reset() {
        let left = std::rc::Rc::new(std::cell::Cell::new(100_u64));
        let (run, reset) = (left.clone(), left);
        let mut contestants = [Contestant::new(Role::Subject, move |n| {
            run.set(run.get().checked_sub(n).expect("more than can be done"));
        })
        .with_reset(100, move || reset.set(100))];
        let mut rounds = 0;
        measure(&mut contestants, 3, &mut Dice::new(1), || rounds += 1);
        assert_eq!(rounds, 3);
    }
}
