//! `cargo xtask kernel` alone: a shell, which is this machine's busybox if that is static.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

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
    let Some(busybox) = busybox() else {
        println!("{}", image.display());
        println!("busybox is missing, for a shell: apt-get install busybox-static");
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
        image,
        initramfs: files.finish()?,
        disk: None,
        pid: None,
        command_line: format!("cwd=/tmp env:PATH=/bin env:PS1=kernel$%20 -- {}", words.join(" ")),
        mem: "512M".into(),
        smp: 2,
        timeout: A_DAY,
        waits_for_debugger: false,
    };
    machine.run()
}

/// A busybox of this machine that needs no libraries.
fn busybox() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("busybox")).find(|path| is_static(path))
}

/// Whether it is a program without an interpreter.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let file = elf::ElfBytes::<elf::endian::AnyEndian>::minimal_parse(&bytes);
    let segments = file.ok().and_then(|file| file.segments());
    segments.is_some_and(|all| all.iter().all(|segment| segment.p_type != elf::abi::PT_INTERP))
}
