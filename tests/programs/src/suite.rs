//! `cargo xtask programs`: programs that were not written for this, each on Linux alone as a
//! control and on machines, compared.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use comfy_table::Table;
use faultless_tools::process::on_path;
use faultless_tools::workspace;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::list::{CASES, Case, Compared, On, PLANTED};
use crate::machine::{Machine, Setting, build_library, exit_code};

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
    /// Only print what this machine lacks
    #[arg(long)]
    missing: bool,
}

/// How long a run may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(150);

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
    let is_meant = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only));
    let cases = CASES.iter().filter(|case| is_meant(case.name));
    let jobs: Vec<Job<'_>> = cases.flat_map(Job::all).collect();
    ensure!(!jobs.is_empty(), "no program has such a name");
    let done = tools.run_all(jobs)?;
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
         not; {} rounds of soak",
        done.len(),
        done.iter().map(|done| done.job.case.name).collect::<BTreeSet<_>>().len(),
        rounds
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
    lacking.map(|(program, how)| format!("{program}: {how}")).collect()
}

/// A case on a machine.
#[derive(Clone, Debug)]
struct Job<'c> {
    case: &'c Case,
    on: &'static str,
    setting: Setting,
}

impl<'c> Job<'c> {
    fn all(case: &'c Case) -> impl Iterator<Item = Self> {
        case.on.machines().into_iter().map(move |(on, setting)| Self { case, on, setting })
    }
}

/// What a run was like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ran {
    /// The exit code; nothing if it hung.
    code: Option<u8>,
    output: String,
    /// Sums of the files that are left, by path.
    files: BTreeMap<PathBuf, u64>,
}

/// A job that is done.
struct Done<'c> {
    job: Job<'c>,
    time: Duration,
    /// What differs from the control; nothing if all is as there.
    difference: Option<String>,
}

/// The library, and the folder of the small programs and scripts.
struct Tools {
    library: PathBuf,
    programs: PathBuf,
}

impl Tools {
    fn build() -> Result<Self> {
        let programs = workspace::target_dir()?.join("programs");
        fs::create_dir_all(&programs)?;
        let source = workspace::root().join("tests/programs");
        for entry in fs::read_dir(source.join("c"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "c") {
                let name = path.file_stem().context("a file without a name")?;
                let mut compiler = Command::new("cc");
                compiler.args(["-O1", "-Wall", "-Wno-stringop-overread", "-pthread", "-o"]);
                let status = compiler.arg(programs.join(name)).arg(&path).status()?;
                ensure!(status.success(), "{} does not compile", path.display());
            }
        }
        for entry in fs::read_dir(source.join("scripts"))? {
            let path = entry?.path();
            fs::copy(&path, programs.join(path.file_name().context("a file without a name")?))?;
        }
        Ok(Self { library: build_library()?, programs })
    }

    /// Runs the jobs, [`AT_A_TIME`], each with its control.
    fn run_all<'c>(&self, jobs: Vec<Job<'c>>) -> Result<Vec<Done<'c>>> {
        let count = jobs.len();
        let queue = Mutex::new(jobs.into_iter().enumerate());
        let done = Mutex::new(Vec::with_capacity(count));
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_A_TIME)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        loop {
                            let Some((at, job)) = lock(&queue).next() else { return Ok(()) };
                            let result = self.job(job)?;
                            lock(&done).push((at, result));
                        }
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => bail!("a run panicked"),
            })
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, done)| done).collect())
    }

    fn job<'c>(&self, job: Job<'c>) -> Result<Done<'c>> {
        let start = Instant::now();
        let (ran, proof) = self.on_machine(job.case, &job.setting, PATIENCE)?;
        let time = start.elapsed();
        let control = self.control(job.case)?;
        let mut difference = difference(job.case, &control, &ran);
        if job.case.compared == Compared::Everything && job.setting.store == "file" {
            difference = difference.or_else(|| files_differ(&control, &ran));
        }
        if !proof.contains(" 0 violations of the lock order") || proof.contains("LOST") {
            difference = difference.or(Some(proof));
        }
        Ok(Done { job, time, difference })
    }

    /// On Linux alone.
    fn control(&self, case: &Case) -> Result<Ran> {
        let folder = tempfile::Builder::new().prefix("control-").tempdir()?;
        let mut command = Command::new("sh");
        command.current_dir(folder.path());
        let (code, output) = self.script(command, case, folder.path(), PATIENCE)?;
        Ok(Ran { code, output, files: sums(folder.path())? })
    }

    /// On a machine; the line of proof, too.
    fn on_machine(
        &self,
        case: &Case,
        setting: &Setting,
        patience: Duration,
    ) -> Result<(Ran, String)> {
        let folder = tempfile::Builder::new().prefix("faultless-").tempdir()?;
        let machine = Machine::new(&self.library, setting.clone(), Some(folder.path()))?;
        let command = machine.command(Path::new("sh"));
        let (code, output) = self.script(command, case, folder.path(), patience)?;
        let proof = if code.is_some() { machine.finish()?.text } else { String::new() };
        Ok((Ran { code, output, files: sums(folder.path())? }, proof))
    }

    /// Runs the script of a case; its exit code and what it printed.
    fn script(
        &self,
        mut shell: Command,
        case: &Case,
        folder: &Path,
        patience: Duration,
    ) -> Result<(Option<u8>, String)> {
        let path = std::env::var_os("PATH").context("there is no PATH")?;
        let path = std::env::join_paths(
            std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path)),
        )?;
        shell.args(["-c", case.script]).env("PATH", path);
        shell.env("TMPDIR", folder).env("HOME", folder).env("LC_ALL", "C");
        shell.env(
            "FIO",
            "--name=job --rw=randrw --bs=4k --size=8m --verify=crc32c --randseed=1 --output=/dev/null",
        );
        let mut output = tempfile::tempfile()?;
        shell.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null());
        let mut child = shell.process_group(0).spawn().context("cannot run sh")?;
        let status = wait(&mut child, patience)?;
        output.flush()?;
        output.rewind()?;
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes)?;
        Ok((status.map(exit_code), String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Plants a bug, and runs the case that is to find it: how it was found.
    fn plant(&self, bug: &str, name: &str) -> Result<Option<String>> {
        let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
        let (_, setting) = case.on.machines().pop().context("no machine")?;
        let setting = Setting { plant: Some(bug.into()), store: "file".into(), ..setting };
        let (ran, _) = self.on_machine(case, &setting, LITTLE_PATIENCE)?;
        let control = self.control(case)?;
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
                    let case = Case {
                        name: "soak",
                        needs: &[],
                        script: Box::leak(script.to_owned().into_boxed_str()),
                        compared: Compared::Everything,
                        on: On::EachStore,
                    };
                    let (ran, _) = self.on_machine(&case, &setting, PATIENCE)?;
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

/// Waits for a process; nothing if it is still there after so long: then it is killed, with all of
/// its group.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > patience {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sum of each file in a folder, by its path from there. Names with a dot are left out.
fn sums(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut sums = BTreeMap::new();
    let mut rest = vec![folder.to_path_buf()];
    while let Some(at) = rest.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                rest.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path)?;
                let sum = bytes.iter().fold(bytes.len() as u64, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                });
                sums.insert(path.strip_prefix(folder)?.to_path_buf(), sum);
            }
        }
    }
    Ok(sums)
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
        table.add_row([done.job.case.name, done.job.on, &seconds, verdict]);
    }
    println!("{table}");
    let differ: Vec<&Done<'_>> = done.iter().filter(|done| done.difference.is_some()).collect();
    for done in &differ {
        let difference = done.difference.as_deref().unwrap_or("");
        println!("{} on {}: {difference}", done.job.case.name, done.job.on);
    }
    differ.len()
}
