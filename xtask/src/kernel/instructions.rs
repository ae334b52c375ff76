//! `cargo xtask kernel instructions`: what system calls take in this kernel, and in Linux's.
//!
//! The machine has one CPU, whose time stamps count instructions (QEMU's `-icount shift=0`), so the
//! figures hardly depend on the machine that this runs on: interrupts come at other moments. A
//! repeated string instruction counts once for each repetition: the bytes of a copy are in them, in
//! both kernels.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use faultless_tools::process::on_path;

use super::compile::Compiler;
use super::initramfs::Initramfs;
use super::qemu::{self, End, Machine, Printed};

/// The program that makes the calls.
const PROGRAM: &str = "tests/kernel/counted.c";

/// How long a boot may take: each instruction is counted.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Instructions {
    /// A kernel of Linux (`vmlinuz`), to be booted in the same way: its files are on tmpfs.
    #[arg(long, value_name = "VMLINUZ")]
    linux: Option<PathBuf>,
}

impl Instructions {
    pub(super) fn run(&self, image: &Path) -> Result<ExitCode> {
        let program = Compiler::Glibc.compile(PROGRAM)?;
        let own = own(image, &program)?;
        let linux = self.linux.as_deref().map(|kernel| linux(kernel, &program)).transpose()?;
        let Some(linux) = linux else {
            println!("| call | instructions |\n|---|---|");
            own.iter().for_each(|(call, count)| println!("| {call} | {count} |"));
            return Ok(ExitCode::SUCCESS);
        };
        println!("| call | instructions | of Linux | ratio |\n|---|---|---|---|");
        for ((call, count), (_, of_linux)) in own.iter().zip(&linux) {
            println!("| {call} | {count} | {of_linux} | {:.2} |", *count as f64 / *of_linux as f64);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the program prints in the kernel of the workspace.
fn own(image: &Path, program: &Path) -> Result<Vec<(String, u64)>> {
    let mut files = Initramfs::new();
    let word = files.program(program)?;
    let mut machine = Machine::new(image, files)?;
    machine.command_line = format!("-- {}", qemu::escape(&word));
    machine.smp = 1;
    machine.counts_instructions = true;
    machine.timeout = PATIENCE;
    let ran = machine.start(Printed::Kept)?;
    ensure!(ran.end == End::Status(0), "{}{:?}", ran.messages, ran.end);
    counted(&ran.output)
}

/// What it prints as the first program of Linux.
fn linux(kernel: &Path, program: &Path) -> Result<Vec<(String, u64)>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut files = Initramfs::new();
    let mut packed = OsString::from(program);
    packed.push("=/init");
    files.add(&packed)?;
    std::fs::write(path("initramfs"), files.finish()?)?;
    let output = std::fs::File::create(path("output"))?;
    ensure!(on_path("timeout"), "timeout is missing: apt-get install coreutils");
    let mut qemu = Command::new("timeout");
    qemu.arg(PATIENCE.as_secs().to_string()).arg(qemu::PROGRAM);
    qemu.args(["-m", qemu::MEMORY, "-smp", "1"]).args(qemu::COUNTING);
    qemu.args(qemu::bare(kernel, &path("initramfs")));
    qemu.args(["-append", "console=ttyS0 quiet panic=-1", "-serial", "stdio"]);
    let status = qemu.stdin(Stdio::null()).stdout(output).status().context("QEMU")?;
    let output = std::fs::read(path("output"))?;
    ensure!(status.success(), "{status}: {}", String::from_utf8_lossy(&output));
    counted(&output)
}

/// The counts of the calls, by their names.
fn counted(output: &[u8]) -> Result<Vec<(String, u64)>> {
    let text = String::from_utf8_lossy(output);
    let counts: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("counted ")?.split_once(": "))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect();
    ensure!(!counts.is_empty(), "the program has counted nothing:\n{text}");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_from_what_else_is_printed() {
        let counts = counted(b"[0.1] boots\r\ncounted pread 1 B: 12\r\ncounted x: y\r\n");
        assert_eq!(counts.expect("a count"), [("pread 1 B".to_owned(), 12)]);
        assert!(counted(b"nothing").is_err());
    }
}
