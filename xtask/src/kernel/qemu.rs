//! Starts QEMU, shows what the program and the kernel print, and says how the run has ended.
//!
//! The program prints to the first serial port, which is this terminal. The kernel's own messages
//! come by the second one, and the status of the program by the third.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use faultless_tools::process::on_path;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// What `timeout(1)` exits with.
const TIMED_OUT: u8 = 124;

/// How often it is looked whether the run has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What this machine lacks, and how to get it; `None` if nothing.
pub(super) fn missing() -> Option<String> {
    (!on_path(PROGRAM)).then(|| format!("{PROGRAM} is missing: apt-get install {PACKAGE}"))
}

/// A machine to run a program on.
pub(super) struct Machine {
    pub(super) image: PathBuf,
    pub(super) initramfs: Vec<u8>,
    pub(super) disk: Option<PathBuf>,
    /// Where QEMU writes the number of its process.
    pub(super) pid: Option<PathBuf>,
    pub(super) command_line: String,
    pub(super) mem: String,
    pub(super) smp: u32,
    pub(super) timeout: Duration,
    pub(super) waits_for_debugger: bool,
}

impl Machine {
    /// Runs it to its end.
    pub(super) fn run(&self) -> Result<ExitCode> {
        let folder = tempfile::tempdir()?;
        let initramfs = folder.path().join("initramfs");
        std::fs::write(&initramfs, &self.initramfs)?;
        let messages = folder.path().join("messages");
        let status = folder.path().join("status");
        let listener = UnixListener::bind(&messages)?;

        let mut qemu = Command::new(PROGRAM);
        qemu.args(["-cpu", "max", "-m", &self.mem, "-smp", &self.smp.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&self.image).arg("-initrd").arg(&initramfs);
        qemu.args(["-append", &self.command_line, "-serial", "stdio"]);
        qemu.arg("-chardev").arg(format!("socket,id=messages,path={}", messages.display()));
        qemu.args(["-serial", "chardev:messages"]);
        qemu.arg("-serial").arg(format!("file:{}", status.display()));
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        if let Some(disk) = &self.disk {
            let mut drive = OsString::from("if=none,id=disk,format=raw,file=");
            drive.push(escape_commas(disk.as_os_str()));
            qemu.arg("-drive").arg(drive).args(["-device", "virtio-blk-pci,drive=disk"]);
        }
        if let Some(pid) = &self.pid {
            qemu.arg("-pidfile").arg(pid);
        }
        if self.waits_for_debugger {
            qemu.args(["-s", "-S"]);
            eprintln!("gdb {} -ex 'target remote :1234'", self.image.display());
        }
        let mut child = qemu.spawn().context(PROGRAM)?;
        let printer = thread::spawn(move || -> io::Result<()> {
            let (mut stream, _address) = listener.accept()?;
            io::copy(&mut stream, &mut io::stderr())?;
            Ok(())
        });
        let Some(ended) = wait(&mut child, self.timeout)? else {
            eprintln!("the run did not end within {} s", self.timeout.as_secs());
            return Ok(ExitCode::from(TIMED_OUT));
        };
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        let Ok(code) = told.trim().parse::<u8>() else {
            eprintln!("the machine has stopped without a status ({ended})");
            return Ok(ExitCode::FAILURE);
        };
        // QEMU has ended, and so has the stream.
        let printed = printer.join();
        debug_assert!(printed.is_ok(), "copying does not panic");
        Ok(ExitCode::from(code))
    }
}

/// Waits for the end; `None` if it was ended because the time is over.
fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// A value in a list of QEMU's, which commas part.
fn escape_commas(value: &OsStr) -> OsString {
    let pieces: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b',').collect();
    OsString::from_vec(pieces.join(&b",,"[..]))
}

/// A word of the command line: what would end it is escaped, and what QEMU would take for its own.
pub(super) fn escape(word: &OsStr) -> String {
    if word.is_empty() {
        return "%".into();
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    word.as_bytes()
        .iter()
        .map(|byte| match *byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        assert_eq!(escape_commas(OsStr::new("a,b=c,")), "a,,b=c,,");
    }

    #[test]
    fn a_word_with_blanks_stays_one_word() {
        assert_eq!(escape(OsStr::new("a b%c")), "a%20b%25c");
        assert_eq!(escape(OsStr::new("-c")), "-c");
        assert_eq!(escape(OsStr::new("")), "%");
    }
}
