//! `cargo xtask kernel fuzz`: random system calls (`tests/kernel/fuzz.c`) on two CPUs, against
//! files in memory and on a disk, which `e2fsck` looks at afterwards.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::compile::Compiler;
use super::disk::Image;
use super::initramfs::Initramfs;
use super::qemu::{self, Machine, Printed, Ran};
use super::watch;

const SOURCE: &str = "tests/kernel/fuzz.c";

/// Seconds that the last processes may take, under emulation on a busy machine; and how long a wait
/// that signals do not end may take.
const LAST: u64 = 90;
const WATCHDOG: u64 = 40;

/// Where processes begin: in memory, and on the disk.
const FOLDERS: &str = "/tmp /mnt";

/// Processes of the run that is part of the tests.
const FIXED: u32 = 60;

#[derive(clap::Args, Debug)]
pub(super) struct Fuzz {
    /// For how many seconds new processes begin.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time: u64,
    /// What the calls are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// How many processes, instead of a time.
    #[arg(long, conflicts_with = "time")]
    processes: Option<u32>,
    /// The disk fails one in so many reads and writes.
    #[arg(long, value_name = "N")]
    fail: Option<u32>,
}

/// A run that was.
pub(super) struct Fuzzed {
    ran: Ran,
    disk: Image,
    /// The disk has failed.
    failing: bool,
}

impl Fuzz {
    /// The run that is part of the tests.
    pub(super) const fn fixed() -> Self {
        Self { time: 0, seed: 1, processes: Some(FIXED), fail: None }
    }

    pub(super) fn run(&self, image: &Path) -> Result<ExitCode> {
        if let Some(missing) = Compiler::Glibc.missing() {
            println!("{missing}");
            return Ok(ExitCode::FAILURE);
        }
        let fuzzed = self.start(image)?;
        println!("{}", fuzzed.told());
        Ok(match fuzzed.judge() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                let fail = self.fail.map(|one_in| format!(" --fail {one_in}")).unwrap_or_default();
                println!("{why}");
                println!("cargo xtask kernel fuzz --time {} --seed {}{fail}", self.time, self.seed);
                ExitCode::FAILURE
            }
        })
    }

    pub(super) fn start(&self, image: &Path) -> Result<Fuzzed> {
        let disk = Image::new(32)?;
        let machine = Machine { disk: Some(disk.path()), ..self.machine(image)? };
        let ran = machine.start(Printed::Kept)?;
        Ok(Fuzzed { ran, disk, failing: self.fail.is_some() })
    }

    fn machine(&self, image: &Path) -> Result<Machine> {
        let mut files = Initramfs::new();
        let program = files.program(&Compiler::Glibc.compile(SOURCE)?)?;
        let time = if self.processes.is_some() { 0 } else { self.time };
        let processes = self.processes.unwrap_or(u32::MAX);
        let program = qemu::escape(&program);
        let words = format!("{program} {} {processes} {time} {FOLDERS}", self.seed);
        let fail = self.fail.map(|one_in| format!(" fail={one_in}")).unwrap_or_default();
        Ok(Machine {
            command_line: format!("locks watchdog={WATCHDOG}{fail} -- {words}"),
            timeout: Duration::from_secs(time + LAST),
            ..Machine::new(image, files)?
        })
    }
}

impl Fuzzed {
    /// The first line of what the program says.
    fn told(&self) -> String {
        String::from_utf8_lossy(&self.ran.output).lines().take(1).collect()
    }

    /// The kernel has stayed alive, all processes have ended, no lock was taken out of order, and
    /// the image is sound. If the disk has failed, some of the image may have to be repaired.
    pub(super) fn judge(&self) -> Result<(), String> {
        let ended = match self.failing {
            true => watch::ended_well_on_failing_disk(&self.ran),
            false => watch::ended_well(&self.ran),
        };
        ended.map_err(|why| format!("{}\n{why}", self.told()))?;
        if self.failing {
            self.disk.repair()?;
        }
        self.disk.check()
    }
}
