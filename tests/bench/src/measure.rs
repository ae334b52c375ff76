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
/// Most rounds of a row whose rounds differ much, as a multiple of those wanted.
pub(super) const REPEATS: usize = 8;
/// The relative standard error of a median that is good enough.
const SETTLED: f64 = 0.01;
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
///
/// The least of some times counts: the first call of its kind takes page faults, and any may be
/// interrupted. A sample of too few operations would measure how cold the first ones are.
pub(super) fn filling(sample: Duration, most: u64, mut time: impl FnMut(u64) -> f64) -> u64 {
    const TRIES: u32 = 4;
    let wanted_ns = sample.as_nanos() as f64;
    let mut iterations = 1;
    loop {
        let mut took = time(iterations);
        for _ in 1..TRIES {
            if took >= wanted_ns / 2.0 || iterations >= most {
                took = took.min(time(iterations));
            }
        }
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

    /// With something that lasts as long as the contestant.
    pub(super) fn keeping(self, kept: impl Sized + 'static) -> Self {
        let mut run = self.run;
        let run = move |n| {
            let _kept = &kept;
            run(n);
        };
        Self { run: Box::new(run), ..self }
    }

    /// Does the operation so many times, unmeasured. Some machines have a part of their memory
    /// elsewhere until it is used again, and some hundred microseconds go by for each 2 MiB of it.
    pub(super) fn run_in(&mut self, times: u64) {
        if self.role != Role::NullSyscall {
            (self.run)(times);
        }
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

/// The rounds of one row.
pub(super) struct Measured {
    /// What the contestants play.
    roles: Vec<Role>,
    /// What the sample of each of them came to, in their order.
    rounds: Vec<Vec<f64>>,
    /// Rounds that were dropped for a switch of threads.
    pub(super) dropped: usize,
}

impl Measured {
    #[cfg(test)]
    pub(super) fn of(roles: &[Role], rounds: &[&[f64]]) -> Self {
        let rounds = rounds.iter().map(|round| round.to_vec()).collect();
        Self { roles: roles.to_vec(), rounds, dropped: 0 }
    }

    /// The subject's value relative to another's.
    pub(super) fn ratio(&self, role: Role) -> Option<Spread> {
        self.ratio_of(Role::Subject, role)
    }

    /// One's value relative to another's.
    pub(super) fn ratio_of(&self, one: Role, other: Role) -> Option<Spread> {
        let (one, other) = (self.best(one)?, self.reference(other)?);
        let ratio = |round: &Vec<f64>| Some(round[one] / other(round)?);
        Spread::of(self.rounds.iter().filter_map(ratio).collect())
    }

    /// The best of those who play a part: with the least median. The fastest of each round would
    /// be the luckiest, where the machine is noisy.
    fn best(&self, role: Role) -> Option<usize> {
        let median = |at: usize| Spread::of(self.rounds.iter().map(|round| round[at]).collect());
        let medians = self.roles.iter().enumerate().filter(|(_, played)| **played == role);
        let medians = medians.filter_map(|(at, _)| Some((at, median(at)?.median)));
        medians.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(at, _)| at)
    }

    /// What the subject is compared with, in a round. Tmpfs is what it takes beyond the system
    /// call.
    fn reference(&self, role: Role) -> Option<impl Fn(&Vec<f64>) -> Option<f64>> {
        let at = self.best(role)?;
        let is_call = matches!(role, Role::Tmpfs | Role::HugeTmpfs);
        let null = is_call.then(|| self.best(Role::NullSyscall)).flatten();
        Some(move |round: &Vec<f64>| {
            let time = round[at] - null.map_or(0.0, |null| round[null]);
            Some(time).filter(|time| !is_call || *time > 0.0)
        })
    }

    /// How far the median of a ratio to another may be off by chance: two standard errors.
    pub(super) fn error(&self, role: Role) -> Option<f64> {
        Some(2.0 * self.ratio(role)?.error_of_median(self.rounds.len()))
    }

    /// Whether more rounds would hardly move the medians of the ratios.
    fn is_settled(&self) -> bool {
        let rounds = self.rounds.len();
        let mut ratios = Role::COMPARED.iter().filter_map(|&role| self.ratio(role));
        ratios.all(|ratio| ratio.error_of_median(rounds) <= SETTLED * ratio.median)
    }

    /// The value of one of them.
    pub(super) fn time(&self, role: Role) -> Option<Spread> {
        let time = self.reference(role)?;
        Spread::of(self.rounds.iter().filter_map(time).collect())
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

/// Runs the rounds that are wanted, and as many again, up to [`REPEATS`] times as many in all,
/// while chance has too large a part in the medians, or `is_clear` does not yet know what they say.
/// `tick` is called after each, and told whether more of them were wanted from the beginning.
pub(super) fn measure(
    contestants: &mut [impl Sampled],
    wanted: usize,
    dice: &mut Dice,
    is_clear: impl Fn(&Measured) -> bool,
    mut tick: impl FnMut(bool),
) -> Measured {
    let iterations = calibrate(contestants);
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    let roles = contestants.iter().map(Sampled::role).collect();
    let mut measured = Measured { roles, rounds: Vec::with_capacity(wanted), dropped: 0 };
    let mut enough = wanted;
    while measured.rounds.len() < enough {
        dice.shuffle(&mut order);
        let switches = disturbances(contestants);
        let mut times = vec![0.0; contestants.len()];
        for &at in &order {
            times[at] = contestants[at].sample(iterations[at]);
        }
        // On a machine that is never quiet, a disturbed round is better than none.
        if disturbances(contestants) != switches && measured.dropped < wanted * PATIENCE {
            measured.dropped += 1;
            continue;
        }
        measured.rounds.push(times);
        tick(measured.rounds.len() <= wanted);
        let may_repeat = measured.rounds.len() == enough && enough < wanted * REPEATS;
        if may_repeat && !(measured.is_settled() && is_clear(&measured)) {
            enough += wanted;
        }
    }
    measured
}

fn disturbances(contestants: &[impl Sampled]) -> i64 {
    contestants.iter().map(Sampled::disturbances).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(roles: &[Role], rounds: &[&[f64]]) -> Measured {
        Measured::of(roles, rounds)
    }

    #[test]
    fn rounds_are_added_until_it_is_clear_what_they_say() {
        for (clear_at, ran) in [(0, 3), (7, 9), (usize::MAX, 3 * REPEATS)] {
            let mut contestants = [Contestant::new(Role::Subject, |_| ()).with_reset(9, || ())];
            let is_clear = |measured: &Measured| measured.rounds.len() >= clear_at;
            let measured = measure(&mut contestants, 3, &mut Dice::new(1), is_clear, |_| ());
            assert_eq!(measured.rounds.len(), ran, "clear at {clear_at}");
        }
    }

    #[test]
    fn ratios_are_taken_inside_a_round_and_against_the_best_copy() {
        let roles = [Role::Subject, Role::Memcpy, Role::Memcpy];
        let rounds: [&[f64]; 3] = [&[30.0, 50.0, 15.0], &[60.0, 20.0, 30.0], &[90.0, 50.0, 45.0]];
        let measured = measured(&roles, &rounds);
        assert_eq!(measured.ratio(Role::Memcpy), Spread::of(vec![2.0, 2.0, 2.0]));
        assert_eq!(measured.time(Role::Memcpy).map(|s| s.median), Some(30.0));
        assert_eq!(measured.ratio(Role::Tree), None);
    }

    #[test]
    fn tmpfs_is_counted_without_the_system_call() {
        for tmpfs in [Role::Tmpfs, Role::HugeTmpfs] {
            let roles = [Role::Subject, tmpfs, Role::NullSyscall];
            let measured = measured(&roles, &[&[10.0, 300.0, 100.0]]);
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
        measure(&mut contestants, 3, &mut Dice::new(1), |_| true, |_| rounds += 1);
        assert!((3..=3 * REPEATS).contains(&rounds), "{rounds}");
    }

    #[test]
    fn a_sample_is_filled_although_the_first_calls_are_slow() {
        let sample = Duration::from_micros(100);
        for slow in 0..8 {
            let mut calls = 0;
            let time = |iterations: u64| {
                calls += 1;
                if calls == slow { 1e6 } else { 100.0 * iterations as f64 }
            };
            assert_eq!(filling(sample, u64::MAX, time), 1000, "call {slow} is slow");
        }
        assert_eq!(filling(sample, 10, |iterations| 100.0 * iterations as f64), 10);
        assert_eq!(filling(sample, u64::MAX, |_| 1e6), 1, "slow always");
    }

    #[test]
    fn rows_that_differ_from_round_to_round_get_more_rounds() {
        let is_settled =
            |rounds: &[&[f64]]| measured(&[Role::Subject, Role::Memcpy], rounds).is_settled();
        let (slow, fast): (&[f64], &[f64]) = (&[30.0, 20.0], &[20.0, 20.0]);
        assert!(is_settled(&[slow; 10]));
        let both = [[slow; 10], [fast; 10]].concat();
        assert!(!is_settled(&both));
        assert!(is_settled(&both.repeat(200)), "the more, the better is it known");
    }
}
