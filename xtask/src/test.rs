//! `cargo xtask test`: everything that can be checked, one line a step, and a summary.
//!
//! What a step prints is shown only when it fails; what it counted is kept for `report` in the
//! run's [`record`]. A step that this machine lacks a tool for is skipped and says
//! so; where `CI=true`, that is a failure.

#![forbid(unsafe_code)]

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::record::{self, Record};
use step::{Company, Outcome, Pace, Step};
use steps::STEPS;

mod package;
mod step;
mod steps;

/// What to run.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Run only these steps (see --list). May be given several times.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave out the slow steps.
    #[arg(long, conflicts_with = "only")]
    quick: bool,
    /// List the steps and stop.
    #[arg(long)]
    list: bool,
}

/// What to make of a step that cannot be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skips {
    /// Say so.
    Tolerated,
    /// It is a failure: nobody reads the output of a green CI.
    Forbidden,
}

/// Sums of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Summary {
    /// The closing line.
    fn line(&self) -> String {
        let mut line = format!("Summary: {} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }

    fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

/// `cargo xtask test`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for step in STEPS {
            let slow = if step.pace == Pace::Slow { " (not with --quick)" } else { "" };
            println!("{:<12} {}{slow}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    LazyLock::force(&faultless_tools::process::SELF);
    let chosen = choose(options)?;
    let skips = if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        Skips::Forbidden
    } else {
        Skips::Tolerated
    };
    let is_chosen = |step: &&Step| chosen.iter().any(|other| other.name == step.name);
    let (planned, left_out): (Vec<&Step>, Vec<&Step>) = STEPS.iter().partition(is_chosen);
    let names = |steps: Vec<&Step>| steps.iter().map(|step| step.name.to_owned()).collect();
    let mut record = Record::begin(names(planned), names(left_out));
    record.write()?;
    let summary = run_steps(&chosen, skips, &mut |step| {
        record.steps.push(step);
        record.write()
    })?;
    if options.quick {
        let left_out: Vec<&str> =
            STEPS.iter().filter(|s| s.pace == Pace::Slow).map(|s| s.name).collect();
        println!("NOT RUN because of --quick: {}", left_out.join(", "));
    }
    println!("{}", summary.line());
    Ok(if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(options: &Options) -> Result<Vec<&'static Step>> {
    for name in &options.only {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("there is no step {name}; there are {}", names.join(", "));
        }
    }
    let wanted = |step: &&Step| {
        (options.only.is_empty() || options.only.iter().any(|name| name == step.name))
            && !(options.quick && step.pace == Pace::Slow)
    };
    Ok(STEPS.iter().filter(wanted).collect())
}

/// Runs the steps, prints a line of each, and has it kept.
fn run_steps(
    steps: &[&Step],
    skips: Skips,
    keep: &mut (dyn FnMut(record::Step) -> Result<()> + Send),
) -> Result<Summary> {
    let ended = Mutex::new((Summary::default(), keep));
    let run = |step: &Step| {
        eprintln!("{:<12} ...", step.name);
        let begin = Instant::now();
        let outcome = match (step.run)() {
            Ok(Outcome::Skipped(why)) if skips == Skips::Forbidden => {
                Outcome::Failed(format!("CI=true, and this could not be run: {why}\n"))
            }
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}\n")),
        };
        let took = begin.elapsed();
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (summary, keep) = &mut *ended;
        report(step, &outcome, took);
        let (word, said, sum) = match outcome {
            Outcome::Passed(said) => ("passed", said, &mut summary.passed),
            Outcome::Failed(said) => ("failed", said, &mut summary.failed),
            Outcome::Skipped(said) => ("skipped", said, &mut summary.skipped),
        };
        *sum += 1;
        keep(record::Step {
            name: step.name.to_owned(),
            about: step.about.to_owned(),
            outcome: word.to_owned(),
            seconds: took.as_secs_f64(),
            said,
        })
    };
    for together in steps.chunk_by(|one, next| [one, next].map(|step| step.company) == BOTH) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(step) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                run(step)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let other = scope.spawn(work);
            let done: Result<()> = work();
            done.and(other.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
    }
    Ok(ended.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

/// Neighbours that run at the same time.
const BOTH: [Company; 2] = [Company::Two; 2];

fn report(step: &Step, outcome: &Outcome, took: Duration) {
    let (name, seconds) = (step.name, took.as_secs_f64());
    match outcome {
        Outcome::Passed(remark) if remark.is_empty() => {
            println!("{name:<12} ok      {seconds:7.1} s")
        }
        Outcome::Passed(remark) => println!("{name:<12} ok      {seconds:7.1} s  {remark}"),
        Outcome::Skipped(why) => println!("{name:<12} SKIPPED {seconds:7.1} s  {why}"),
        Outcome::Failed(output) => {
            println!("{name:<12} FAILED  {seconds:7.1} s");
            for line in output.lines() {
                println!("    {line}");
            }
            println!("    to see this alone: cargo xtask test --only {}", step.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, run: fn() -> Result<Outcome>) -> Step {
        Step { name, about: "", pace: Pace::Quick, company: Company::Alone, run }
    }

    #[test]
    fn the_closing_line_counts_what_happened() {
        let steps = [
            step("good", || Ok(Outcome::Passed("5 tests".into()))),
            step("bad", || Ok(Outcome::Failed("planted\n".into()))),
            step("worse", || bail!("planted")),
            step("absent", || Ok(Outcome::Skipped("planted".into()))),
        ];
        let steps: Vec<&Step> = steps.iter().collect();
        let mut kept = Vec::new();
        let summary = run_steps(&steps, Skips::Tolerated, &mut |step| {
            kept.push((step.name, step.outcome));
            Ok(())
        })
        .expect("kept");
        let outcomes: Vec<&str> = kept.iter().map(|(_, outcome)| outcome.as_str()).collect();
        assert_eq!(outcomes, ["passed", "failed", "failed", "skipped"]);
        assert_eq!(summary.line(), "Summary: 1 passed, 2 failed, 1 skipped");
        assert!(!summary.is_success());
    }

    #[test]
    fn neighbours_that_bear_company_run_two_at_a_time_and_the_others_alone() {
        static RUNNING: Mutex<(usize, usize)> = Mutex::new((0, 0));
        fn meets() -> Result<Outcome> {
            let others = {
                let mut running = RUNNING.lock().expect("no panic");
                running.0 += 1;
                running.1 = running.1.max(running.0);
                running.0 - 1
            };
            // The first waits for the second, however long that one takes to come.
            let begin = Instant::now();
            while others == 0 && RUNNING.lock().expect("no panic").1 < 2 {
                if begin.elapsed() > Duration::from_secs(60) {
                    bail!("nobody came");
                }
                thread::yield_now();
            }
            RUNNING.lock().expect("no panic").0 -= 1;
            Ok(Outcome::Passed(String::new()))
        }
        fn alone() -> Result<Outcome> {
            match RUNNING.lock().expect("no panic").0 {
                0 => Ok(Outcome::Passed(String::new())),
                others => bail!("{others} run besides"),
            }
        }
        let with = |company, step| Step { company, ..step };
        let steps = [
            step("before", alone),
            with(Company::Two, step("one", meets)),
            with(Company::Two, step("other", meets)),
            step("after", alone),
        ];
        let steps: Vec<&Step> = steps.iter().collect();
        let summary = run_steps(&steps, Skips::Tolerated, &mut |_| Ok(())).expect("kept");
        assert_eq!(summary.line(), "Summary: 4 passed, 0 failed");
    }

    #[test]
    fn a_skipped_step_fails_where_skipping_is_forbidden() {
        let absent = step("absent", || Ok(Outcome::Skipped("planted".into())));
        let summary = run_steps(&[&absent], Skips::Forbidden, &mut |_| Ok(())).expect("kept");
        assert_eq!(summary.failed, 1);
    }

    #[test]
    fn a_run_without_any_step_is_no_success() {
        assert!(!Summary::default().is_success());
    }

    #[test]
    fn an_unknown_step_is_an_error_that_names_the_known_ones() {
        let options = Options { only: vec!["nonsense".into()], ..Options::default() };
        let error = choose(&options).err().expect("refused").to_string();
        assert!(error.contains("nonsense") && error.contains("clippy"), "{error}");
    }

    #[test]
    fn quick_leaves_out_exactly_the_slow_steps() {
        let quick = choose(&Options { quick: true, ..Options::default() }).expect("steps");
        assert!(!quick.is_empty());
        assert!(quick.iter().all(|step| step.pace == Pace::Quick));
    }
}
