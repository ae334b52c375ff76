//! What the kernel does with a disk, and what the host's tools find on it afterwards.
//!
//! | boot | what is expected |
//! |---|---|
//! | programs | busybox, fsx and SQLite print what they print on Linux, and leave the same files |
//! | little memory | files and shared mappings of more than the memory have what was written |
//! | full disk | calls fail with ENOSPC, and nothing that was written is lost |
//! | failing | a disk that fails some transfers: EIO and SIGBUS, and in the end all is there |
//! | power cut | what was synced is there once `e2fsck` has repaired the image |
//!
//! After each of them `e2fsck` finds nothing wrong. Boots go two at a time.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use faultless_tools::pool;

use super::compile::Compiler;
use super::control::{PATIENCE, compare, is_root, on_linux};
use super::disk::Image;
use super::foreign;
use super::initramfs::Initramfs;
use super::many::{self, Line};
use super::power;
use super::qemu::{self, Machine, Printed, Ran};
use super::watch;

/// Sources of the programs.
const SOURCES: &str = "tests/kernel/disk";

/// Programs that also run with files in memory.
const PROGRAMS: &str = "tests/kernel/programs";
const IN_MEMORY_TOO: [&str; 5] = ["files", "model", "resolve", "special", "watched"];

/// Programs that only root can run on Linux: one that also runs with files in memory, and one that
/// needs a disk.
const ROOTS: [&str; 2] = ["tests/kernel/programs/extended.c", "tests/kernel/disk/flags.c"];

/// Scripts: programs of busybox.
const SCRIPTS: [&str; 2] = ["busybox.sh", "sqlite.sh"];

/// The script that needs SQLite's shell.
const NEEDS_SQLITE: &str = "sqlite.sh";

/// What fsx does on a disk, and in memory.
pub(super) const FSX: &str = "-q -N 1500 -S 5 file";

/// Where the disk is mounted.
const MOUNTED: &str = "/mnt";

/// Boots at a time.
const AT_A_TIME: usize = 2;

/// How long a boot may take.
const TIMEOUT: Duration = Duration::from_secs(200);

/// The same where memory is short, and for each program there: they wait for the disk all the time,
/// and a machine that is busy otherwise takes several times as long as an idle one.
const SLOW_TIMEOUT: Duration = Duration::from_secs(400);
const SLOW_PATIENCE: u64 = 180;

/// MiB of memory that are little, and of the file that is larger.
const LITTLE: &str = "64M";
const MUCH: u64 = 160;

/// One in so many transfers fails.
const FAIL: u32 = 7;

const PAGE: usize = 4096;

/// What [`power`] is cut by.
const CUTS: [u64; 4] = [1, 2, 3, 4];

/// A name, and what is wrong.
pub(super) type Found = (String, Result<(), String>);

/// A boot.
enum Boot {
    Programs(Vec<Line>),
    LittleMemory,
    FullDisk,
    Failing,
    /// By the seed that says when.
    PowerCut(u64),
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs(_) => f.write_str("disk: programs"),
            Self::LittleMemory => f.write_str("disk: little memory"),
            Self::FullDisk => f.write_str("disk: full"),
            Self::Failing => f.write_str("disk: failing"),
            Self::PowerCut(seed) => write!(f, "disk: power cut {seed}"),
        }
    }
}

/// Makes the boots that have something with a name that `is_meant`; what was found.
pub(super) fn run(image: &Path, is_meant: impl Fn(&str) -> bool) -> Result<Vec<Found>> {
    let others = [Boot::LittleMemory, Boot::FullDisk, Boot::Failing].into_iter();
    let others = others.chain(CUTS.map(Boot::PowerCut));
    let mut boots: Vec<Boot> = others.filter(|boot| is_meant(&boot.to_string())).collect();
    let programs: Vec<Line> =
        programs()?.into_iter().filter(|line| is_meant(&name(line))).collect();
    if !programs.is_empty() {
        boots.insert(0, Boot::Programs(programs));
    }
    let found = pool::each(&boots, AT_A_TIME, |_, boot| boot.run(image))?;
    Ok(found.into_iter().flatten().collect())
}

/// What a program is called in the results.
fn name(line: &Line) -> String {
    format!("disk: {}", line.name())
}

/// The programs that run on Linux as well.
fn programs() -> Result<Vec<Line>> {
    let scripts = SCRIPTS.iter().map(|script| source(script));
    let mut lines: Vec<Line> =
        scripts.map(|program| Line { program, arguments: Vec::new() }).collect();
    lines.push(fsx()?);
    for name in ["nameless", "stress"] {
        lines.push(Line { program: compiled(name)?, arguments: Vec::new() });
    }
    for name in IN_MEMORY_TOO {
        let program = Compiler::Glibc.compile(&format!("{PROGRAMS}/{name}.c"))?;
        lines.push(Line { program, arguments: Vec::new() });
    }
    for source in ROOTS.iter().filter(|_| is_root()) {
        lines.push(Line { program: Compiler::Glibc.compile(source)?, arguments: Vec::new() });
    }
    Ok(lines)
}

/// fsx, as it runs on a disk and in memory.
pub(super) fn fsx() -> Result<Line> {
    let program = foreign::fsx().context("no fsx")?;
    Ok(Line { program, arguments: FSX.split(' ').map(str::to_owned).collect() })
}

fn source(name: &str) -> PathBuf {
    faultless_tools::workspace::root().join(SOURCES).join(name)
}

/// A C program, compiled.
fn compiled(name: &str) -> Result<PathBuf> {
    Compiler::Glibc.compile(&format!("{SOURCES}/{name}.c"))
}

impl Boot {
    fn run(&self, image: &Path) -> Result<Vec<Found>> {
        match self {
            Self::Programs(lines) => run_programs(image, lines, &self.to_string()),
            Self::LittleMemory => self.one(little_memory(image)?),
            Self::FullDisk => self.one(full_disk(image)?),
            Self::Failing => self.one(failing(image)?),
            Self::PowerCut(seed) => self.one(power_cut(image, *seed)?),
        }
    }

    fn one(&self, found: Result<(), String>) -> Result<Vec<Found>> {
        Ok(vec![(self.to_string(), found)])
    }
}

/// A machine with a disk, which runs these words on it.
fn machine(image: &Path, disk: &Image, files: Initramfs, words: &[String]) -> Result<Machine> {
    let options = format!("locks watchdog={PATIENCE} cwd={MOUNTED} env:PATH=/bin");
    Ok(Machine {
        disk: Some(disk.path()),
        command_line: format!("{options} -- {}", words.join(" ")),
        timeout: TIMEOUT,
        ..Machine::new(image, files)?
    })
}

/// The same for several programs, each in a folder of the disk.
fn machine_for_many(
    image: &Path,
    disk: &Image,
    mut files: Initramfs,
    lines: &[Line],
    patience: u64,
) -> Result<Machine> {
    let words = many::pack(&mut files, lines, patience, Some(MOUNTED))?;
    let words: Vec<String> = words.iter().map(|word| qemu::escape(word)).collect();
    machine(image, disk, files, &words)
}

/// The kernel had nothing to complain of, and neither has `e2fsck`.
fn is_sound(ran: &Ran, disk: &Image) -> Result<(), String> {
    watch::ended_well(ran)
        .map_err(|why| format!("{}{why}", String::from_utf8_lossy(&ran.output)))
        .and_then(|()| disk.check())
}

/// Programs on the disk, and the same in a folder of this machine.
fn run_programs(image: &Path, lines: &[Line], name_of_boot: &str) -> Result<Vec<Found>> {
    let disk = Image::new(64)?;
    let mut files = Initramfs::new();
    let busybox = foreign::busybox().context("no busybox")?;
    let mut tools = vec![busybox];
    if lines.iter().any(|line| line.program.ends_with(NEEDS_SQLITE)) {
        tools.push(foreign::sqlite()?);
    }
    for tool in &tools {
        files.program(tool)?;
    }
    // What `system` starts.
    files.add(&[tools[0].as_os_str(), OsStr::new("=/bin/sh")].into_iter().collect::<OsString>())?;
    // SQLite's before those of this machine, which has one of its own.
    let folders: Vec<&Path> = tools.iter().rev().filter_map(|tool| tool.parent()).collect();
    let ran = machine_for_many(image, &disk, files, lines, PATIENCE)?.start(Printed::Kept)?;
    let outcomes = many::outcomes(&ran.output, lines.len());
    let here = tempfile::tempdir()?;
    let mut found = Vec::new();
    for (number, (line, outcome)) in lines.iter().zip(outcomes).enumerate() {
        let control = tempfile::tempdir()?;
        let told = compare(&on_linux(line, control.path(), &folders)?, &outcome);
        disk.copy_out(&format!("/{number}"), here.path())?;
        let left = here.path().join(number.to_string());
        let same = || same_files(control.path(), &left).map_err(|why| format!("{why:#}"));
        found.push((name(line), told.and_then(|()| same())));
    }
    found.push((name_of_boot.to_owned(), is_sound(&ran, &disk)));
    Ok(found)
}

/// Compares what is in two folders: names, kinds and contents.
fn same_files(control: &Path, here: &Path) -> Result<()> {
    let names = |folder: &Path| -> Result<Vec<_>> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut names: Vec<_> =
            entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let there = names(control)?;
    let found = names(here)?;
    if there != found {
        bail!("{}: {there:?} on Linux, {found:?} here", here.display());
    }
    for name in there {
        same_node(&control.join(&name), &here.join(&name))?;
    }
    Ok(())
}

fn same_node(control: &Path, here: &Path) -> Result<()> {
    let name = here.display();
    let kind = control.symlink_metadata()?.file_type();
    if here.symlink_metadata()?.file_type() != kind {
        bail!("{name} is something else on Linux");
    } else if kind.is_dir() {
        return same_files(control, here);
    } else if kind.is_symlink() {
        ensure!(fs::read_link(control)? == fs::read_link(here)?, "{name} leads elsewhere");
        return Ok(());
    }
    let (expected, found) = (fs::read(control)?, fs::read(here)?);
    let same = expected.iter().zip(&found).take_while(|(expected, found)| expected == found);
    let same = same.count();
    ensure!(
        expected == found,
        "{name} differs at byte {same}: it has {} bytes, and {} on Linux",
        found.len(),
        expected.len()
    );
    Ok(())
}

/// What tests of memory that is short do: `much` as the first program, `shared` as the second.
fn little_memory(image: &Path) -> Result<Result<(), String>> {
    let disk = Image::new(320)?;
    let line = |program, arguments: &[&str]| Line {
        program,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    };
    let lines =
        [line(compiled("much")?, &[&MUCH.to_string()]), line(compiled("shared")?, &["24", "2"])];
    let machine = machine_for_many(image, &disk, Initramfs::new(), &lines, SLOW_PATIENCE)?;
    let machine = Machine { mem: LITTLE.into(), timeout: SLOW_TIMEOUT, ..machine };
    let ran = machine.start(Printed::Kept)?;
    let outcomes = many::outcomes(&ran.output, lines.len());
    if let Some(bad) = outcomes.iter().position(|outcome| outcome.status != Some(0)) {
        let told = format!("{}: {:?}\n{}", lines[bad].name(), outcomes[bad], ran.messages);
        return Ok(Err(told));
    }
    Ok(is_sound(&ran, &disk).and_then(|()| {
        let read = disk.read("/0/much").map_err(|why| why.to_string())?;
        check_much(&read)
    }))
}

/// What `much.c` leaves.
fn check_much(bytes: &[u8]) -> Result<(), String> {
    const PIECE: u64 = 64 << 10;
    if bytes.len() as u64 != MUCH << 20 {
        return Err(format!("{} bytes", bytes.len()));
    }
    for (number, word) in (0u64..).zip(bytes.chunks_exact(8)) {
        let round = 1 - number * 8 / PIECE % 2;
        let expected = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(round);
        if *word != expected.to_le_bytes() {
            return Err(format!("byte {} is wrong", number * 8));
        }
    }
    Ok(())
}

fn full_disk(image: &Path) -> Result<Result<(), String>> {
    let disk = Image::new(12)?;
    let ran = one_program(image, &disk, "full", None)?;
    Ok(is_sound(&ran, &disk).and_then(|()| {
        let told = String::from_utf8_lossy(&ran.output);
        let large: usize = told.trim().parse().map_err(|_| told.to_string())?;
        for (path, len) in [("/kept", 300_000), ("/large", large)] {
            let read = disk.read(path).map_err(|why| why.to_string())?;
            if read.len() != len || (0..len).any(|at| read[at] != pattern(at)) {
                return Err(format!("{path} has not {len} bytes of the pattern"));
            }
        }
        Ok(())
    }))
}

/// `pattern` of `tests/programs/c/common.h`.
const fn pattern(at: usize) -> u8 {
    (at * 7 + at / 4096 * 13 + 1) as u8
}

fn failing(image: &Path) -> Result<Result<(), String>> {
    let disk = Image::new(32)?;
    let mut files = Initramfs::new();
    let program = qemu::escape(&files.program(&compiled("failing")?)?);
    let mut machine = machine(image, &disk, files, &[program])?;
    machine.command_line = format!("fail={FAIL} {}", machine.command_line);
    let ran = machine.start(Printed::Kept)?;
    let told = |why| format!("{}{why}", String::from_utf8_lossy(&ran.output));
    Ok(watch::ended_well_on_failing_disk(&ran).map_err(told).and_then(|()| {
        disk.repair()?;
        disk.check()?;
        for file in 0..8 {
            let read = disk.read(&format!("/f{file}")).map_err(|why| why.to_string())?;
            let byte = |at: usize| pattern(at % PAGE).wrapping_add((file * 3 + at / PAGE) as u8);
            if read.len() != 40 * PAGE || (0..read.len()).any(|at| read[at] != byte(at)) {
                return Err(format!("/f{file} has not what was synced"));
            }
        }
        Ok(())
    }))
}

fn power_cut(image: &Path, seed: u64) -> Result<Result<(), String>> {
    let disk = Image::new(32)?;
    let ran = one_program(image, &disk, "power", Some(power::moment(seed)))?;
    Ok(power::judge(&ran, &disk))
}

/// A C program on the disk.
fn one_program(image: &Path, disk: &Image, source: &str, cut_after: Option<u64>) -> Result<Ran> {
    let mut files = Initramfs::new();
    let program = qemu::escape(&files.program(&compiled(source)?)?);
    let machine = machine(image, disk, files, &[program])?;
    Machine { cut_after, ..machine }.start(Printed::Kept)
}
