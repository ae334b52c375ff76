//! Running a test program that may misbehave: limited in memory and in time, and ended together
//! with all that it started. Programs that are trusted to end are the business of
//! [`process`](crate::process).

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Private writable memory that a test program may have. The host's machines are far smaller.
const MOST_MEMORY_BYTES: libc::rlim_t = 3 << 30;

/// How a test program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its tests passed.
    Passed,
    /// A test failed, or the program crashed.
    Failed,
    /// It had to be ended: it took too long, or too much of a processor ([`limit_cpu`]).
    TimedOut,
}

/// Runs a command to its end, or for `limit` at most.
///
/// # Errors
/// It cannot be run.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Ending> {
    let what = format!("{}", command.get_program().display());
    command.stdin(Stdio::null()).process_group(0);
    bind(command);
    let mut child = command.spawn().with_context(|| format!("cannot run {what}"))?;
    let status = wait(&mut child, limit);
    end_group(&child);
    let status = match status? {
        Some(status) => status,
        None => {
            child.wait()?;
            return Ok(Ending::TimedOut);
        }
    };
    Ok(match status.signal() {
        Some(libc::SIGXCPU) => Ending::TimedOut,
        _ if status.success() => Ending::Passed,
        _ => Ending::Failed,
    })
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Played {
    /// How it ended.
    pub ending: Ending,
    /// Standard output and standard error.
    pub output: String,
}

/// As [`finish`], and reads what the command printed. It goes to the file `log` meanwhile: a pipe
/// would stay open for as long as anything that the command started.
///
/// # Errors
/// It cannot be run, or the file cannot be written.
pub fn play(command: &mut Command, log: &Path, limit: Duration) -> Result<Played> {
    let file = File::create(log).with_context(|| format!("{}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file).env("RUST_BACKTRACE", "0");
    let ending = finish(command, limit)?;
    let output = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    Ok(Played { ending, output })
}

impl Played {
    /// What went wrong, in one line: what the first panic said, else the last line.
    pub fn what(&self) -> String {
        if self.ending == Ending::TimedOut {
            return "it did not end".to_owned();
        }
        let full = |line: &&str| !line.is_empty();
        let said = match self.output.split_once("panicked at ") {
            Some((_, told)) => told.lines().skip(1).map(str::trim).find(full),
            None => self.output.lines().rev().map(str::trim).find(full),
        };
        said.unwrap_or("it ended without a word").chars().take(300).collect()
    }

    /// The text behind the first `mark` at the beginning of a line.
    pub fn after(&self, mark: &str) -> Option<&str> {
        self.output.lines().find_map(|line| line.trim().strip_prefix(mark))
    }
}

/// Has the command run at the same addresses each time, where the system lets it.
pub fn fix_addresses(command: &mut Command) {
    let before_exec = || {
        // SAFETY: no memory is passed. It may be forbidden; then the addresses are random.
        unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
        Ok(())
    };
    // SAFETY: between fork and exec it only makes a system call: it neither allocates nor locks.
    unsafe { command.pre_exec(before_exec) };
}

/// Waits for the program; `None` when the time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let (begin, mut nap) = (Instant::now(), Duration::from_micros(500));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

/// Ends whatever is left of the program's process group.
fn end_group(child: &Child) {
    let Ok(group) = libc::pid_t::try_from(child.id()) else { return };
    // SAFETY: no memory is passed. The group is one that this process made; while a member lives
    // its number is not given away, and a group without members is an error that changes nothing.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// What the command starts has limits, and does not outlive the thread that starts it: a
/// program that hangs would run for ever.
fn bind(command: &mut Command) {
    limit_memory(command);
    // SAFETY: between fork and exec it only makes system calls: it neither allocates nor locks.
    unsafe { command.pre_exec(end_with_parent) };
}

/// Limits the memory of the command and of each program that it starts, and has none leave a core
/// file.
pub fn limit_memory(command: &mut Command) {
    let before_exec = || {
        limit_resource(libc::RLIMIT_DATA, MOST_MEMORY_BYTES, MOST_MEMORY_BYTES)?;
        limit_resource(libc::RLIMIT_CORE, 0, 0)
    };
    // SAFETY: between fork and exec it only makes system calls: it neither allocates nor locks.
    unsafe { command.pre_exec(before_exec) };
}

/// Limits the CPU time of the command, and that of each program that it starts, to whole seconds: a
/// loop without end is ended after as much work on a busy machine as on an idle one.
pub fn limit_cpu(command: &mut Command, most: Duration) {
    /// Until a program that catches the signal is ended without one.
    const GRACE_SECONDS: libc::rlim_t = 5;
    let seconds = most.as_secs() + u64::from(most.subsec_nanos() > 0);
    let before_exec =
        move || limit_resource(libc::RLIMIT_CPU, seconds, seconds.saturating_add(GRACE_SECONDS));
    // SAFETY: between fork and exec it only makes a system call: it neither allocates nor locks.
    unsafe { command.pre_exec(before_exec) };
}

fn end_with_parent() -> std::io::Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn limit_resource(
    resource: libc::__rlimit_resource_t,
    soft: libc::rlim_t,
    hard: libc::rlim_t,
) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a whole `rlimit` that lives during the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ending {
        finish(Command::new("sh").args(["-c", script]), limit).expect("it runs")
    }

    #[test]
    fn success_failure_and_a_crash_are_told_apart() {
        let limit = Duration::from_secs(60);
        assert_eq!(shell("exit 0", limit), Ending::Passed);
        assert_eq!(shell("exit 101", limit), Ending::Failed);
        assert_eq!(shell("kill -SEGV $$", limit), Ending::Failed);
    }

    #[test]
    fn what_went_wrong_is_one_line() {
        let played = |ending, output: &str| Played { ending, output: output.to_owned() };
        let panic = "FAULTLESS_SEED=3\n\nthread 'x' panicked at a.rs:1:2:\nW3: size\n left: 1\n";
        assert_eq!(played(Ending::Failed, panic).what(), "W3: size");
        assert_eq!(played(Ending::Failed, "a\nb\n\n").what(), "b");
        assert_eq!(played(Ending::TimedOut, panic).what(), "it did not end");
        assert_eq!(played(Ending::Failed, panic).after("FAULTLESS_SEED="), Some("3"));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        assert_eq!(shell("sleep 1000 & sleep 1000", Duration::from_millis(200)), Ending::TimedOut);
    }

    #[test]
    fn a_loop_without_end_is_ended_by_its_cpu_time() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        limit_cpu(&mut command, Duration::from_millis(300));
        let ending = finish(&mut command, Duration::from_secs(600)).expect("it runs");
        assert_eq!(ending, Ending::TimedOut);
    }

    #[test]
    fn a_program_ends_with_whoever_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            bind(command.arg("1000"));
            command.spawn()
        };
        let mut child = std::thread::spawn(start).join().expect("no panic").expect("it runs");
        let status = wait(&mut child, Duration::from_secs(30)).expect("a child");
        // If it still runs, it has to go.
        let _ = child.kill();
        let signal = status.and_then(|status| status.signal());
        assert_eq!(signal, Some(libc::SIGKILL));
    }
}
