//! The turns: each worker takes the checker that has waited longest, plays a round of it and puts
//! it back.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use faultless_host::rng::Rng;
use indicatif::{ProgressBar, ProgressStyle};

use super::checker::{Checker, Find, Round};

/// A round of a checker that can choose how long it takes.
const SLICE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(20);
/// Turns that each checker should have at least.
const TURNS: u32 = 2;

/// How long, and from which seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) time: Duration,
    pub(super) jobs: usize,
}

/// What a checker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) rounds: u64,
    pub(super) inputs: u64,
    /// Rounds that found something. Those that found the same again count too.
    pub(super) finds: u64,
}

/// What all have done.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) rows: Vec<Row>,
    /// Finds that differ.
    pub(super) finds: Vec<Find>,
    /// Checkers that could not go on, and why.
    pub(super) errors: Vec<String>,
    pub(super) took: Duration,
}

struct State {
    waiting: VecDeque<(usize, Box<dyn Checker>)>,
    outcome: Outcome,
    known: BTreeSet<String>,
}

/// Plays the checkers in turns until the time is over.
pub(super) fn play(checkers: Vec<Box<dyn Checker>>, plan: Plan) -> Outcome {
    let begin = Instant::now();
    let turns = TURNS.saturating_mul(u32::try_from(checkers.len()).unwrap_or(u32::MAX)).max(1);
    let share = plan.time * u32::try_from(plan.jobs).unwrap_or(u32::MAX) / turns;
    let slice = share.clamp(*SLICE.start(), *SLICE.end());
    let names = checkers.iter().map(|checker| checker.name().to_owned());
    let rows = names.map(|name| Row { name, ..Row::default() }).collect();
    let state = Mutex::new(State {
        outcome: Outcome { rows, ..Outcome::default() },
        waiting: checkers.into_iter().enumerate().collect(),
        known: BTreeSet::new(),
    });
    let bar = bar(plan.time);
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| work(&state, plan, slice, begin, &bar));
        }
    });
    bar.finish_and_clear();
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Outcome { took: begin.elapsed(), ..state.outcome }
}

fn work(state: &Mutex<State>, plan: Plan, slice: Duration, begin: Instant, bar: &ProgressBar) {
    loop {
        let left = plan.time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return;
        }
        let Some((nth, mut checker)) = lock(state).waiting.pop_front() else { return };
        let (name, number) = (checker.name().to_owned(), lock(state).outcome.rows[nth].rounds);
        bar.set_position(begin.elapsed().as_secs());
        bar.set_message(name.clone());
        let result = checker.round(seed(plan.seed, &name, number), slice.min(left));
        let mut state = lock(state);
        match result {
            Ok(round) => {
                if let Some(line) = state.count(nth, round) {
                    bar.suspend(|| println!("{line}"));
                }
                state.waiting.push_back((nth, checker));
            }
            Err(error) => {
                let line = format!("{name} cannot go on: {error:#}");
                bar.suspend(|| println!("{line}"));
                state.outcome.errors.push(line);
            }
        }
    }
}

impl State {
    /// Takes a round in; what is to be printed of it.
    fn count(&mut self, nth: usize, round: Round) -> Option<String> {
        let row = &mut self.outcome.rows[nth];
        row.rounds += 1;
        row.inputs += round.inputs;
        let find = round.find?;
        row.finds += 1;
        let line = format!("FOUND by {}: {}\n    replay: {}", row.name, find.what, find.replay);
        // The same thing is often found again, with other numbers.
        let what: String = find.what.chars().filter(|c| !c.is_ascii_digit()).collect();
        let is_new = self.known.insert(format!("{} {what}", row.name));
        if is_new {
            self.outcome.finds.push(find);
        }
        is_new.then_some(line)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of a round: the same for the same seed of the run, checker and number, whatever the
/// others do. Below 2³¹: libFuzzer takes no larger one, and tests add to it.
fn seed(run: u64, checker: &str, number: u64) -> u32 {
    let mix = |seed: u64, value: u64| Rng::new(seed ^ value).next();
    let of_checker = checker.bytes().fold(mix(run, 0), |seed, byte| mix(seed, u64::from(byte)));
    (mix(of_checker, number) >> 33) as u32
}

fn bar(time: Duration) -> ProgressBar {
    let bar = ProgressBar::new(time.as_secs());
    let style = "{bar:40} {human_pos} of {human_len} s  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    struct Fake {
        name: &'static str,
        play: fn(u32) -> anyhow::Result<Round>,
    }

    impl Checker for Fake {
        fn name(&self) -> &str {
            self.name
        }
        fn round(&mut self, seed: u32, _: Duration) -> anyhow::Result<Round> {
            thread::sleep(Duration::from_millis(1));
            (self.play)(seed)
        }
    }

    #[test]
    fn a_find_is_kept_once_and_the_others_go_on() {
        let fake = |name, play| Box::new(Fake { name, play }) as Box<dyn Checker>;
        let find = |seed| Find { what: format!("W1: got {seed}"), replay: "x".into() };
        let checkers = vec![
            fake("good", |_| Ok(Round { inputs: 2, find: None })),
            fake("bad", |seed| {
                let find = Find { what: format!("W1: got {seed}"), replay: "x".into() };
                Ok(Round { inputs: 1, find: Some(find) })
            }),
            fake("broken", |_| bail!("planted")),
        ];
        let plan = Plan { seed: 7, time: Duration::from_millis(300), jobs: 2 };
        let outcome = play(checkers, plan);
        let [good, bad, broken] = outcome.rows.as_slice() else { panic!("{outcome:?}") };
        assert!(good.rounds > 1 && bad.rounds > 1, "{outcome:?}");
        assert_eq!((good.inputs, good.finds), (2 * good.rounds, 0));
        assert_eq!((bad.finds, broken.rounds), (bad.rounds, 0));
        assert_eq!(outcome.finds, [find(seed(7, "bad", 0))]);
        assert_eq!(outcome.errors, ["broken cannot go on: planted"]);
    }

    #[test]
    fn seeds_differ_between_rounds_checkers_and_runs_and_are_the_same_again() {
        let seeds = [seed(1, "a", 0), seed(1, "a", 1), seed(1, "b", 0), seed(2, "a", 0)];
        assert_eq!(seeds.iter().collect::<BTreeSet<_>>().len(), seeds.len());
        assert_eq!(seed(1, "a", 1), seeds[1]);
        assert!(seeds.iter().all(|seed| *seed < 1 << 31));
    }
}
