//! Starts QEMU, shows or keeps what the program and the kernel print, and says how the run has
//! ended.
//!
//! The program prints to the first serial port. The kernel's own messages come by the second one,
//! with names for the addresses in them; by it the kernel is asked for a report if the time is
//! over. The status of the program comes by the third.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use faultless_tools::process::on_path;

use super::initramfs::Initramfs;
use super::symbols::Symbols;

pub(super) const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// What a machine has, unless it is told otherwise.
pub(super) const MEMORY: &str = "512M";
pub(super) const CPUS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(150);

/// A machine whose time stamps count instructions.
pub(super) const COUNTING: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// What `timeout(1)` exits with.
const TIMED_OUT: u8 = 124;

/// How often it is looked whether the run has ended.
const LOOK: Duration = Duration::from_millis(10);

/// The request for a report (`selftest::watchdog`), and how long the kernel may take for it.
const REPORT: &[u8] = b"r";
const LAST_WORDS: Duration = Duration::from_secs(3);

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
    /// The time stamps of its one CPU count instructions.
    pub(super) counts_instructions: bool,
    pub(super) timeout: Duration,
    pub(super) waits_for_debugger: bool,
    /// A person types: the machine has keys that send signals, and Ctrl-A X ends it.
    pub(super) terminal: bool,
    /// What is typed as soon as the programs have printed something. What they print is kept.
    pub(super) typed: Vec<u8>,
    /// The power is cut when the programs have printed so many bytes. What they print is kept.
    pub(super) cut_after: Option<u64>,
}

/// What becomes of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// It is shown as it comes: the program's on standard output, the kernel's on standard error.
    Shown,
    /// It is kept for [`Ran`].
    Kept,
}

/// How a run ended, and what was printed if it was kept.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    /// By the programs.
    pub(super) output: Vec<u8>,
    /// By the kernel.
    pub(super) messages: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the status of the first program; 254 is the kernel's watchdog, and 255 a panic.
    Status(u8),
    /// The time was over.
    TimedOut,
    /// The power was cut.
    Cut,
    /// The machine stopped without a status.
    Stopped(String),
}

impl Machine {
    /// A machine with the kernel and these files, to be given a command line.
    pub(super) fn new(image: &Path, files: Initramfs) -> Result<Self> {
        Ok(Self {
            image: image.into(),
            initramfs: files.finish()?,
            disk: None,
            pid: None,
            command_line: String::new(),
            mem: MEMORY.into(),
            smp: CPUS,
            counts_instructions: false,
            timeout: PATIENCE,
            waits_for_debugger: false,
            terminal: false,
            typed: Vec::new(),
            cut_after: None,
        })
    }

    /// Runs it to its end, and shows what is printed.
    pub(super) fn run(&self) -> Result<ExitCode> {
        let ran = self.start(Printed::Shown)?;
        Ok(match ran.end {
            End::Status(code) => ExitCode::from(code),
            End::TimedOut => {
                eprintln!("the run did not end within {} s", self.timeout.as_secs());
                ExitCode::from(TIMED_OUT)
            }
            End::Cut => ExitCode::FAILURE,
            End::Stopped(how) => {
                eprintln!("the machine has stopped without a status ({how})");
                ExitCode::FAILURE
            }
        })
    }

    /// Runs it to its end.
    pub(super) fn start(&self, printed: Printed) -> Result<Ran> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("initramfs"), &self.initramfs)?;
        let listener = UnixListener::bind(path("messages"))?;
        let mut qemu = self.command(folder.path());
        if printed == Printed::Kept {
            let input = if self.typed.is_empty() { Stdio::null() } else { Stdio::piped() };
            qemu.stdin(input).stdout(File::create(path("output"))?);
        }
        let mut child = qemu.spawn().context(PROGRAM)?;
        let keyboard = RefCell::new(child.stdin.take());
        let (asks, messages) = listen(listener, Symbols::of(&self.image)?, printed);
        let printed_len = || path("output").metadata().map_or(0, |output| output.len());
        let is_cut = || {
            if printed_len() > 0
                && let Some(mut keyboard) = keyboard.borrow_mut().take()
            {
                // A machine that has ended takes no input.
                let _unread = keyboard.write_all(&self.typed);
            }
            self.cut_after.is_some_and(|len| printed_len() >= len)
        };
        let ended = wait(&mut child, self.timeout, &asks, &is_cut)?;
        let told = std::fs::read_to_string(path("status")).unwrap_or_default();
        let end = match (ended, told.trim().parse()) {
            (Waited::Late, _) => End::TimedOut,
            (Waited::Cut, _) => End::Cut,
            (Waited::Ended(_), Ok(code)) => End::Status(code),
            (Waited::Ended(how), Err(_)) => End::Stopped(how.to_string()),
        };
        // A machine that never began has never connected.
        let messages = match asks.try_recv() {
            Ok(_) | Err(std::sync::mpsc::TryRecvError::Disconnected) => messages.join().ok(),
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
        };
        let output = match printed {
            Printed::Shown => Vec::new(),
            Printed::Kept => std::fs::read(path("output"))?,
        };
        Ok(Ran { end, output, messages: messages.unwrap_or_default() })
    }

    /// QEMU, with its files in `folder`.
    fn command(&self, folder: &Path) -> Command {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut qemu = Command::new(PROGRAM);
        qemu.args(["-m", &self.mem, "-smp", &self.smp.to_string()]);
        qemu.args(bare(&self.image, &folder.join("initramfs")));
        let (console, option) = match self.terminal {
            true => ("mon:stdio", "terminal "),
            false => ("stdio", if self.typed.is_empty() { "" } else { "terminal " }),
        };
        qemu.arg("-append").arg(format!("{option}{}", self.command_line));
        qemu.args(["-serial", console]);
        qemu.arg("-chardev").arg(format!("socket,id=messages,path={}", path("messages")));
        qemu.args(["-serial", "chardev:messages"]);
        qemu.arg("-serial").arg(format!("file:{}", path("status")));
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        if let Some(disk) = &self.disk {
            let mut drive = OsString::from("if=none,id=disk,format=raw,file=");
            drive.push(escape_commas(disk.as_os_str()));
            qemu.arg("-drive").arg(drive).args(["-device", "virtio-blk-pci,drive=disk"]);
        }
        if self.counts_instructions {
            qemu.args(COUNTING);
        }
        if let Some(pid) = &self.pid {
            qemu.arg("-pidfile").arg(pid);
        }
        if self.waits_for_debugger {
            qemu.args(["-s", "-S"]);
            eprintln!("gdb {} -ex 'target remote :1234'", self.image.display());
        }
        qemu
    }
}

/// What each machine has: a CPU with all features, a kernel and the files that it begins with, and
/// nothing else.
pub(super) fn bare(kernel: &Path, initramfs: &Path) -> Vec<OsString> {
    let options = ["-cpu", "max", "-nodefaults", "-no-user-config", "-display", "none"];
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.extend(["-no-reboot".into(), "-kernel".into(), kernel.into()]);
    arguments.extend(["-initrd".into(), initramfs.into()]);
    arguments
}

/// Reads the kernel's messages until QEMU ends; the stream to ask by comes once it is there.
fn listen(
    listener: UnixListener,
    symbols: Symbols,
    printed: Printed,
) -> (Receiver<UnixStream>, JoinHandle<String>) {
    let (tell, told) = channel();
    let reader = thread::spawn(move || {
        let mut kept = String::new();
        let Ok((stream, _address)) = listener.accept() else { return kept };
        if let Ok(asks) = stream.try_clone() {
            // The run may have ended already.
            let _nobody_asks = tell.send(asks);
        }
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = symbols.name(&String::from_utf8_lossy(&line));
            match printed {
                Printed::Shown => eprintln!("{line}"),
                Printed::Kept => kept.extend([line.as_str(), "\n"]),
            }
        }
        kept
    });
    (told, reader)
}

/// What a wait for the end has come to.
enum Waited {
    Ended(ExitStatus),
    /// It was ended because the time is over.
    Late,
    Cut,
}

/// Waits for the end, and ends it when its time is over, or when `is_cut` says so.
fn wait(
    child: &mut Child,
    timeout: Duration,
    asks: &Receiver<UnixStream>,
    is_cut: &dyn Fn() -> bool,
) -> Result<Waited> {
    let end = Instant::now() + timeout;
    let waited = loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Waited::Ended(status));
        } else if is_cut() {
            break Waited::Cut;
        } else if Instant::now() >= end {
            break Waited::Late;
        }
        thread::sleep(LOOK);
    };
    if matches!(waited, Waited::Late)
        && let Ok(mut stream) = asks.try_recv()
    {
        // A machine that stands still does not answer.
        let _unanswered = stream.write_all(REPORT);
        thread::sleep(LAST_WORDS);
    }
    child.kill()?;
    child.wait()?;
    Ok(waited)
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
