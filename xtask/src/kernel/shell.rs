//! `cargo xtask kernel` alone: a shell, which is this machine's busybox if that is static.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::foreign;
use super::initramfs::Initramfs;
use super::qemu::Machine;

/// Commands that the shell finds by name.
const COMMANDS: &[&str] = &[
    "cat", "cksum", "cmp", "cp", "dd", "echo", "find", "grep", "head", "ls", "mkdir", "mv", "pwd",
    "rm", "rmdir", "seq", "sort", "stat", "sync", "tail", "tar", "touch", "wc",
];

/// How long it may be used.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Starts the shell; without one, says what can be done.
pub(super) fn run(image: PathBuf) -> Result<ExitCode> {
    let Some(busybox) = foreign::busybox() else {
        println!("{}", image.display());
        println!("{}", foreign::no_busybox().unwrap_or_default());
        println!("cargo xtask kernel run PROGRAM [ARGUMENTS…] runs a static program on it");
        return Ok(ExitCode::SUCCESS);
    };
    println!("A shell on the kernel, with files in memory. `exit` ends it.");
    let mut files = Initramfs::new();
    let busybox = files.program(&busybox)?;
    for command in COMMANDS {
        let script = format!("#!/bin/busybox {command}\n");
        files.program_text(&format!("/bin/{command}"), script.as_bytes())?;
    }
    let words = [busybox, OsString::from("sh")];
    let words: Vec<String> = words.iter().map(|word| super::qemu::escape(word)).collect();
    let machine = Machine {
        command_line: format!("cwd=/tmp env:PATH=/bin env:PS1=kernel$%20 -- {}", words.join(" ")),
        timeout: A_DAY,
        terminal: io::stdin().is_terminal(),
        ..Machine::new(&image, files)?
    };
    machine.run()
}
