//! `cargo xtask kernel fuzz`: random system calls (`tests/kernel/fuzz.c`) on two CPUs.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::compile::Compiler;
use super::initramfs::Initramfs;
use super::qemu::{self, Machine, Printed, Ran};
use super::watch;

const SOURCE: &str = "tests/kernel/fuzz.c";

/// Seconds that the last processes may take, under emulation on a busy machine; and how long a wait
/// that signals do not end may take.
const LAST: u64 = 90;
const WATCHDOG: u64 = 40;

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
}

impl Fuzz {
    /// The run that is part of the tests.
    pub(super) const fn fixed() -> Self {
        Self { time: 0, seed: 1, processes: Some(FIXED) }
    }

    pub(super) fn run(&self, image: &Path) -> Result<ExitCode> {
        if let Some(missing) = Compiler::Glibc.missing() {
            println!("{missing}");
            return Ok(ExitCode::FAILURE);
        }
        let ran = self.machine(image)?.start(Printed::Kept)?;
        println!("{}", told(&ran));
        Ok(match judge(&ran) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                println!("cargo xtask kernel fuzz --time {} --seed {}", self.time, self.seed);
                ExitCode::FAILURE
            }
        })
    }

    pub(super) fn machine(&self, image: &Path) -> Result<Machine> {
        let mut files = Initramfs::new();
        let program = files.program(&Compiler::Glibc.compile(SOURCE)?)?;
        let time = if self.processes.is_some() { 0 } else { self.time };
        let processes = self.processes.unwrap_or(u32::MAX);
        let program = qemu::escape(&program);
        let words = format!("{program} {} {processes} {time}", self.seed);
        Ok(Machine {
            command_line: format!("locks watchdog={WATCHDOG} cwd=/tmp -- {words}"),
            timeout: Duration::from_secs(time + LAST),
            ..Machine::new(image, files)?
        })
    }
}

/// The first line of what the program says.
fn told(ran: &Ran) -> String {
    String::from_utf8_lossy(&ran.output).lines().take(1).collect()
}

/// The kernel has stayed alive, all processes have ended, and no lock was taken out of order.
pub(super) fn judge(ran: &Ran) -> Result<(), String> {
    watch::ended_well(ran).map_err(|why| format!("{}\n{why}", told(ran)))
}
