//! `cargo xtask programs`: programs that were not written for this, each on Linux alone as a
//! control and on machines, compared.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::Table;
use faultless_tools::process::on_path;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::list::{CASES, Case, Compared, On, PLANTED};
use crate::machine::Setting;
use crate::speed;
use crate::tools::{PATIENCE, Ran, Tools};

/// What a user can say.
#[derive(Args, Debug)]
pub struct Options {
    /// Only programs whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// After the list: fsx with fresh seeds, and the programs of threads and processes, for so many
    /// seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    time: u64,
    /// Only measure: programs on tmpfs, on the file system of the temporary folder, and on machines
    #[arg(long)]
    speed: bool,
    /// Only print what this machine lacks
    #[arg(long)]
    missing: bool,
}

/// The same for a run with a planted bug, of a case that takes a second.
const LITTLE_PATIENCE: Duration = Duration::from_secs(15);

/// Runs at a time.
const AT_A_TIME: usize = 2;

/// Runs the list.
///
/// # Errors
/// The library does not build, or a folder cannot be made.
pub fn run(options: &Options) -> Result<ExitCode> {
    let lacking = missing();
    if options.missing || !lacking.is_empty() {
        lacking.iter().for_each(|line| println!("missing: {line}"));
        return Ok(if options.missing { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let tools = Tools::build()?;
    if options.speed {
        speed::print(&tools)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_meant = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only));
    let cases: Vec<&Case> = CASES.iter().filter(|case| is_meant(case.name)).collect();
    ensure!(!cases.is_empty(), "no program has such a name");
    let done = tools.run_all(&cases)?;
    let differ = print_table(&done);
    let planted = PLANTED.iter().filter(|(_, name)| is_meant(name));
    let mut missed = 0;
    let mut found = 0;
    for (bug, name) in planted {
        let outcome = tools.plant(bug, name)?;
        println!("planted {bug}: {}", outcome.as_deref().unwrap_or("NOT FOUND"));
        missed += usize::from(outcome.is_none());
        found += usize::from(outcome.is_some());
    }
    let rounds = tools.soak(Duration::from_secs(options.time))?;
    println!(
        "Summary: {} runs of {} programs, {differ} differ; {found} planted bugs found, {missed} \
         not; {rounds} rounds of soak",
        done.len(),
        cases.len(),
    );
    Ok(if differ + missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks, each with how to get it.
fn missing() -> Vec<String> {
    let needed: BTreeMap<&str, &str> = CASES
        .iter()
        .flat_map(|case| case.needs)
        .map(|needed| (needed.program, needed.how))
        .collect();
    let lacking = needed.into_iter().filter(|(program, _)| !on_path(program));
    let mut lines: Vec<String> =
        lacking.map(|(program, how)| format!("{program}: {how}")).collect();
    // They are not part of every package.
    let mut tests = Command::new("python3");
    tests.args(["-c", "import test.test_mmap"]).stderr(Stdio::null());
    if on_path("python3") && !tests.status().is_ok_and(|status| status.success()) {
        lines.push("python3's tests: apt-get install libpython3.11-testsuite".into());
    }
    lines
}

/// A case that has run on a machine.
struct Done<'c> {
    case: &'c Case,
    on: &'static str,
    time: Duration,
    /// What differs from the control; nothing if all is as there.
    difference: Option<String>,
}

impl Tools {
    /// Runs the cases, [`AT_A_TIME`].
    fn run_all<'c>(&self, cases: &[&'c Case]) -> Result<Vec<Done<'c>>> {
        let pool = ThreadPoolBuilder::new().num_threads(AT_A_TIME).build()?;
        let done = cases.par_iter().map(|case| self.run_case(case));
        let done = pool.install(|| done.collect::<Result<Vec<_>>>())?;
        Ok(done.into_iter().flatten().collect())
    }

    /// Runs a case on Linux alone, and on its machines.
    fn run_case<'c>(&self, case: &'c Case) -> Result<Vec<Done<'c>>> {
        let control = self.control(case.script)?;
        let machines = case.on.machines().into_iter();
        machines.map(|(on, setting)| self.compare(case, on, &setting, &control)).collect()
    }

    fn compare<'c>(
        &self,
        case: &'c Case,
        on: &'static str,
        setting: &Setting,
        control: &Ran,
    ) -> Result<Done<'c>> {
        let start = Instant::now();
        let (ran, proof) = self.on_machine(case.script, setting, PATIENCE)?;
        let time = start.elapsed();
        let mut difference = difference(case, control, &ran);
        if case.compared == Compared::Everything && setting.store == "file" {
            difference = difference.or_else(|| files_differ(control, &ran));
        }
        if !proof.contains(" 0 violations of the lock order") || proof.contains("LOST") {
            difference = difference.or(Some(proof));
        }
        Ok(Done { case, on, time, difference })
    }

    /// Plants a bug, and runs the case that is to find it: how it was found.
    fn plant(&self, bug: &str, name: &str) -> Result<Option<String>> {
        let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
        let (_, setting) = case.on.machines().pop().context("no machine")?;
        let setting = Setting { plant: Some(bug.into()), store: "file".into(), ..setting };
        let (ran, _) = self.on_machine(case.script, &setting, LITTLE_PATIENCE)?;
        let control = self.control(case.script)?;
        let how = difference(case, &control, &ran);
        Ok(how.map(|how| format!("found by {name}: {}", how.lines().next().unwrap_or(""))))
    }

    /// fsx with fresh seeds, and what has threads and processes, until the time is over; how often.
    fn soak(&self, time: Duration) -> Result<u64> {
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < time {
            let seed = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_nanos() as u32);
            let fsx = format!("fsx -q -N 20000 -S {seed} file");
            for script in [fsx.as_str(), "all_at_once", "killed"] {
                for (on, setting) in On::EachStore.machines() {
                    let (ran, _) = self.on_machine(script, &setting, PATIENCE)?;
                    ensure!(
                        ran.code == Some(0),
                        "soak: {script} on {on}: {:?}\n{}",
                        ran.code,
                        ran.output
                    );
                }
            }
            rounds += 1;
        }
        Ok(rounds)
    }
}

/// What differs between a control and a run.
fn difference(case: &Case, control: &Ran, ran: &Ran) -> Option<String> {
    match (control.code, ran.code) {
        (None, _) => return Some("the control hung".into()),
        (_, None) => return Some("it hung".into()),
        (Some(control), Some(code)) if control != code => {
            let tail: Vec<&str> = ran.output.lines().rev().take(3).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            return Some(format!("exit code {code}, not {control}: {}", tail.join(" / ")));
        }
        _ => {}
    }
    if case.compared == Compared::ExitCode {
        return None;
    }
    if control.output != ran.output {
        let pairs = control.output.lines().zip(ran.output.lines());
        let first = pairs.into_iter().find(|(control, ran)| control != ran);
        return Some(match first {
            Some((control, ran)) => format!("prints {ran:?}, not {control:?}"),
            None => "prints more or less".into(),
        });
    }
    None
}

/// Files are compared where they are left in the folder.
fn files_differ(control: &Ran, ran: &Ran) -> Option<String> {
    let names = |ran: &Ran| ran.files.keys().cloned().collect::<Vec<_>>();
    if names(control) != names(ran) {
        return Some(format!("leaves {:?}, not {:?}", names(ran), names(control)));
    }
    let other = control.files.iter().find(|(name, sum)| ran.files.get(*name) != Some(sum));
    other.map(|(name, _)| format!("{} holds something else", name.display()))
}

/// Prints what was run; how many differ.
fn print_table(done: &[Done<'_>]) -> usize {
    let mut table = Table::new();
    table.set_header(["program", "machine", "seconds", "as on Linux"]);
    for done in done {
        let seconds = format!("{:.1}", done.time.as_secs_f64());
        let verdict = done.difference.as_ref().map_or("yes", |_| "NO");
        table.add_row([done.case.name, done.on, &seconds, verdict]);
    }
    println!("{table}");
    let differ: Vec<&Done<'_>> = done.iter().filter(|done| done.difference.is_some()).collect();
    for done in &differ {
        let difference = done.difference.as_deref().unwrap_or("");
        println!("{} on {}: {difference}", done.case.name, done.on);
    }
    differ.len()
}
