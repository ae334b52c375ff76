//! `cargo xtask kernel run`: a program, with what it needs; or a list of programs.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use super::initramfs::Initramfs;
use super::many::{self, HUNG, Line, Outcome};
use super::qemu::{self, CPUS, End, MEMORY, Machine, Printed};

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Run {
    /// Pack a file or a folder, too: as GUEST, or under its own name in the root folder. Programs
    /// come with their loaders and libraries, and each run has this machine's /bin/sh.
    #[arg(long = "file", value_name = "HOST[=GUEST]")]
    pub(super) files: Vec<OsString>,
    /// An image with an ext2 file system, which is mounted on /mnt.
    #[arg(long, value_name = "IMG")]
    pub(super) disk: Option<PathBuf>,
    /// Write the number of QEMU's process there. To kill it is a power cut: the disk keeps what was
    /// sent to it, and `e2fsck -fy` comes before what was synced is looked at.
    #[arg(long, value_name = "FILE")]
    pub(super) pid: Option<PathBuf>,
    /// The disk fails one in so many reads and writes.
    #[arg(long, value_name = "N", requires = "disk")]
    pub(super) fail: Option<u32>,
    /// Where the program begins.
    #[arg(long, default_value = "/")]
    pub(super) cwd: OsString,
    /// A variable of the program's environment.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(super) environment: Vec<OsString>,
    /// Memory of the machine, in QEMU's words.
    #[arg(long, default_value = MEMORY)]
    pub(super) mem: String,
    /// CPUs of the machine.
    #[arg(long, default_value_t = CPUS)]
    pub(super) smp: u32,
    /// Seconds until the run is given up.
    #[arg(long, default_value_t = 600)]
    pub(super) timeout: u64,
    /// Print system calls as they happen.
    #[arg(long)]
    pub(super) trace: bool,
    /// Wait for a debugger on port 1234 before the first instruction.
    #[arg(long)]
    pub(super) gdb: bool,
    /// Run several programs in one boot, and print a line for each: a file with a program and its
    /// arguments in each line.
    #[arg(long, value_name = "LIST", conflicts_with = "words")]
    pub(super) many: Option<PathBuf>,
    /// The program, and its arguments.
    #[arg(
        value_name = "PROGRAM",
        required_unless_present = "many",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(super) words: Vec<OsString>,
}

impl Run {
    pub(super) fn start(&self, image: PathBuf) -> Result<ExitCode> {
        if let Some(list) = &self.many {
            let text = std::fs::read_to_string(list).with_context(|| list.display().to_string())?;
            return self.start_many(image, &many::read(&text));
        }
        let (program, arguments) = self.words.split_first().context("no program")?;
        let mut files = Initramfs::new();
        let mut words = vec![files.program(program.as_ref())?];
        words.extend(arguments.iter().cloned());
        self.machine(&image, files, &words)?.run()
    }

    fn start_many(&self, image: PathBuf, lines: &[Line]) -> Result<ExitCode> {
        let mut files = Initramfs::new();
        let folder = self.cwd.to_str().filter(|cwd| *cwd != "/");
        let words = many::pack(&mut files, lines, self.timeout, folder)?;
        let ran = self.machine(&image, files, &words)?.start(Printed::Kept)?;
        let outcomes = many::outcomes(&ran.output, lines.len());
        for (line, outcome) in lines.iter().zip(&outcomes) {
            println!("{:<9} {}", result(outcome), line.name());
        }
        if ran.end != End::Status(0) {
            eprintln!("{}{:?}", ran.messages, ran.end);
        }
        let is_good = outcomes.iter().all(|outcome| outcome.status == Some(0));
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The machine, with the files that the options name, too.
    pub(super) fn machine(
        &self,
        image: &Path,
        mut files: Initramfs,
        words: &[OsString],
    ) -> Result<Machine> {
        for file in &self.files {
            files.add(file)?;
        }
        files.shell()?;
        Ok(Machine {
            disk: self.disk.clone(),
            pid: self.pid.clone(),
            command_line: self.command_line(words),
            mem: self.mem.clone(),
            smp: self.smp,
            timeout: Duration::from_secs(self.timeout),
            waits_for_debugger: self.gdb,
            terminal: self.many.is_none() && io::stdin().is_terminal(),
            ..Machine::new(image, files)?
        })
    }

    /// What the kernel's `boot::options` reads.
    fn command_line(&self, words: &[OsString]) -> String {
        let mut line = vec![format!("cwd={}", qemu::escape(&self.cwd))];
        if self.trace {
            line.push("trace".into());
        }
        line.extend(self.fail.map(|one_in| format!("fail={one_in}")));
        let variables = self.environment.iter();
        line.extend(variables.map(|variable| format!("env:{}", qemu::escape(variable))));
        line.push("--".into());
        line.extend(words.iter().map(|word| qemu::escape(word)));
        line.join(" ")
    }
}

/// How a program ended, in a word or two.
pub(super) fn result(outcome: &Outcome) -> String {
    match outcome.status {
        None => "no end".into(),
        Some(0) => "ok".into(),
        Some(HUNG) => "hangs".into(),
        Some(status) if status > 128 => format!("signal {}", status - 128),
        Some(status) => format!("status {status}"),
    }
}
