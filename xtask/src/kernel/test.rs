//! `cargo xtask kernel test`: what the kernel does, in few boots.
//!
//! | boot | what is expected |
//! |---|---|
//! | programs | the conformance suite of user copies passes, and the staged writes end; each program prints and returns what it does on Linux, and no lock is taken out of order |
//! | ram_full | files in memory end with `ENOSPC` before memory does |
//! | typed | Ctrl-C ends the group of processes in the foreground, and no other; lines are edited |
//! | overflow | a kernel stack that overflows ends the run with a message |
//! | each control | the write path of 2007 hangs, and the watchdog shows the cycle |
//! | fuzz | the kernel stays alive, each process ends, and the disk is sound |
//! | those with a disk | `disk_test` has them |
//!
//! Another boot is a function that makes a [`Machine`] and judges what it [`Ran`].

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use faultless_tools::workspace;

use super::compile::Compiler;
use super::control::{PATIENCE, compare, is_root, on_linux};
use super::disk;
use super::disk_test;
use super::foreign;
use super::fuzz::Fuzz;
use super::initramfs::Initramfs;
use super::many::{self, Line};
use super::qemu::{self, End, Machine, Printed, Ran};
use super::watch;

/// The programs that were written for this, each with both libraries.
const PROGRAMS: &str = "tests/kernel/programs";

/// The one that is run with a loader and libraries, too.
const DYNAMIC: &str = "futex";

/// Those that only root can run on Linux.
const ROOTS: [&str; 2] = ["extended.c", "users.c"];

/// Programs of `cargo xtask programs` that end soon under emulation, too.
const OTHERS: &[&str] = &[
    "own_page",
    "truncation",
    "bad_calls",
    "killed",
    "file_times",
    "little_memory",
    "threads",
    "handlers",
    "all_at_once",
];

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(150);

/// What the kernel says when it has tried out what `selftest` asks for.
const SELFTESTS: &[&str] = &[
    "SMAP, SMEP and write protection are on",
    "the conformance suite of user copies passed",
    "a page written from its own mapping",
    "two pages, each written from the other's mapping",
    "a list of areas copied to memory beside a thread that unmaps",
];

/// The scenes on the old write path, and how many threads wait in a circle.
const CONTROLS: [(&str, usize); 3] =
    [("control-own-page", 1), ("control-crossed", 2), ("control-nested-reader", 1)];

/// What the kernel's watchdog ends a run with.
const HUNG: u8 = 254;

/// The program that reads more of a file in memory than there is memory, and fills the files in
/// memory; and what it prints: Linux has other limits.
const FULL: &str = "ram_full";
const FILLED: &str = "loads of a hole: 2, a store among them: 1\n\
    the last write: ENOSPC\nall that was free: 1, and no more: 1\n\
    a store to a hole: SIGBUS\nfree again: 1\n";

/// The memory of a machine that runs it.
const LITTLE: &str = "64M";

/// The program whose child is interrupted by Ctrl-C, what is typed at it, and what it prints.
const TYPED: &str = "typed";
const KEYS: &[u8] = b"lost\x03abx\x7fc\rgone\x15ok\n\x04end\x04!";
const INTERRUPTED: &str = "waits\nended by 2\nthe foreground is its own\n\
    4: 97 98 99 10\n3: 111 107 10\n0:\n3: 101 110 100\n1: 33\n";

/// The scene in which a kernel stack overflows, and what a panic ends a run with.
const OVERFLOW: &str = "overflow";
const PANICKED: u8 = 255;

#[derive(clap::Args, Debug)]
pub(super) struct Test {
    /// Only programs and boots whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// All of it so many times, until the first failure.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

/// What this machine lacks, and how to get it.
pub(super) fn missing() -> Vec<String> {
    let musl = Compiler::Musl.missing().filter(|_| env::var_os("CI").is_some());
    let own = [qemu::missing(), Compiler::Glibc.missing(), musl, disk::missing()];
    own.into_iter().flatten().chain(foreign::missing()).collect()
}

/// What was found.
#[derive(Default)]
struct Results {
    passed: usize,
    failed: usize,
}

impl Results {
    /// Takes note of what `name` came to, and prints it.
    fn note(&mut self, name: &str, found: Result<(), String>) {
        match found {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAILED  {name}");
                why.lines().for_each(|line| println!("        {line}"));
            }
        }
    }
}

impl Test {
    pub(super) fn run(&self, image: &Path) -> Result<ExitCode> {
        let missing = missing();
        if !missing.is_empty() {
            missing.iter().for_each(|line| println!("missing: {line}"));
            return Ok(ExitCode::FAILURE);
        }
        let mut results = Results::default();
        let programs = programs()?;
        let start = Instant::now();
        for _time in 0..self.times {
            self.once(image, &programs, &mut results)?;
            if results.failed > 0 {
                break;
            }
        }
        let Results { passed, failed } = results;
        ensure!(passed + failed > 0, "nothing has such a name");
        println!(
            "Summary: {passed} tests of the kernel passed, {failed} failed, in {} s",
            start.elapsed().as_secs()
        );
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn is_meant(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    fn once(&self, image: &Path, programs: &[Line], results: &mut Results) -> Result<()> {
        let meant: Vec<Line> =
            programs.iter().filter(|line| self.is_meant(&line.name())).cloned().collect();
        if !meant.is_empty() {
            run_programs(image, &meant, results)?;
        }
        for (scene, threads) in CONTROLS.iter().filter(|(scene, _)| self.is_meant(scene)) {
            let ran = boot(image, &format!("locks watchdog=2 selftest={scene}"), None)?;
            results.note(scene, hangs(&ran, *threads));
        }
        if self.is_meant(OVERFLOW) {
            let ran = boot(image, &format!("selftest={OVERFLOW}"), None)?;
            results.note(OVERFLOW, overflows(&ran));
        }
        if self.is_meant(FULL) {
            results.note(FULL, fills(image)?);
        }
        if self.is_meant(TYPED) {
            results.note(TYPED, is_interrupted(image)?);
        }
        if self.is_meant("fuzz") {
            results.note("fuzz", Fuzz::fixed().start(image)?.judge());
        }
        for (name, found) in disk_test::run(image, |name| self.is_meant(name))? {
            results.note(&name, found);
        }
        Ok(())
    }
}

/// All programs, compiled.
fn programs() -> Result<Vec<Line>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join(PROGRAMS))? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".c") && (!ROOTS.contains(&&*name) || is_root()) {
            sources.push(format!("{PROGRAMS}/{name}"));
        }
    }
    sources.sort();
    let mut compiled = Vec::new();
    for compiler in [Compiler::Glibc, Compiler::Musl] {
        if let Some(missing) = compiler.missing() {
            println!("{missing}");
            continue;
        }
        for source in &sources {
            compiled.push(compiler.compile(source)?);
        }
    }
    compiled.push(Compiler::Dynamic.compile(&format!("{PROGRAMS}/{DYNAMIC}.c"))?);
    for name in OTHERS {
        compiled.push(Compiler::Glibc.compile(&format!("tests/programs/c/{name}.c"))?);
    }
    let line = |program| Line { program, arguments: Vec::new() };
    let mut lines: Vec<Line> = compiled.into_iter().map(line).collect();
    lines.push(disk_test::fsx()?);
    Ok(lines)
}

/// The kernel's own tests, and the programs.
fn run_programs(image: &Path, programs: &[Line], results: &mut Results) -> Result<()> {
    let mut files = Initramfs::new();
    let words = many::pack(&mut files, programs, PATIENCE, None)?;
    let options = format!("locks watchdog={PATIENCE} selftest=user-copies,staged");
    let ran = boot(image, &options, Some((files, words)))?;
    for what in SELFTESTS {
        let line = format!("selftest: {what}");
        let is_told = ran.messages.lines().any(|told| told.starts_with(&line));
        results.note(&line, is_told.then_some(()).ok_or_else(|| ran.messages.clone()));
    }
    let outcomes = many::outcomes(&ran.output, programs.len());
    for (program, outcome) in programs.iter().zip(outcomes) {
        let folder = tempfile::tempdir()?;
        let control = on_linux(program, folder.path(), &[])?;
        results.note(&program.name(), compare(&control, &outcome));
    }
    results.note("the boot", watch::ended_well(&ran));
    Ok(())
}

/// A boot with these options, and with a program or none.
fn boot(image: &Path, options: &str, first: Option<(Initramfs, Vec<OsString>)>) -> Result<Ran> {
    let (files, words) = first.unwrap_or_else(|| (Initramfs::new(), vec!["none".into()]));
    let words: Vec<String> = words.iter().map(|word| qemu::escape(word)).collect();
    let machine = Machine {
        command_line: format!("{options} -- {}", words.join(" ")),
        timeout: BOOT,
        ..Machine::new(image, files)?
    };
    machine.start(Printed::Kept)
}

/// The watchdog has ended the run, and shows so many threads that wait in a circle, in the write
/// path that hangs.
fn hangs(ran: &Ran, threads: usize) -> Result<(), String> {
    let circle = watch::circle(&ran.messages);
    let is_there = ran.messages.contains("selftest::") || ran.messages.contains("staged::");
    if ran.end == End::Status(HUNG) && circle == threads && is_there {
        return Ok(());
    }
    Err(format!("{:?}, a circle of {circle} threads:\n{}", ran.end, ran.messages))
}

/// The kernel has stopped, and says why.
fn overflows(ran: &Ran) -> Result<(), String> {
    let is_told = ran.messages.contains("the kernel stack of thread");
    if ran.end == End::Status(PANICKED) && is_told {
        return Ok(());
    }
    Err(format!("{:?}:\n{}", ran.end, ran.messages))
}

/// Files in memory have half of it.
fn fills(image: &Path) -> Result<Result<(), String>> {
    prints(image, FULL, &[], FILLED)
}

/// Ctrl-C is typed once the program has printed something.
fn is_interrupted(image: &Path) -> Result<Result<(), String>> {
    prints(image, TYPED, KEYS, INTERRUPTED)
}

/// A program of `tests/kernel`, at which this is typed, prints what is expected.
fn prints(image: &Path, name: &str, typed: &[u8], wanted: &str) -> Result<Result<(), String>> {
    let mut files = Initramfs::new();
    let program = Compiler::Glibc.compile(&format!("tests/kernel/{name}.c"))?;
    let program = files.program(&program)?;
    let machine = Machine {
        command_line: format!("-- {}", qemu::escape(&program)),
        timeout: BOOT,
        typed: typed.into(),
        mem: LITTLE.into(),
        ..Machine::new(image, files)?
    };
    let ran = machine.start(Printed::Kept)?;
    let output = String::from_utf8_lossy(&ran.output).replace('\r', "");
    let found = watch::ended_well(&ran);
    Ok(found.and_then(|()| if output == wanted { Ok(()) } else { Err(output) }))
}
