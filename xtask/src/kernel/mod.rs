//! `cargo xtask kernel`: builds the kernel that runs Linux programs (`crates/kernel`), and
//! `cargo xtask kernel run PROGRAM` runs one on it in QEMU.
//!
//! | what | module |
//! |---|---|
//! | the image | [`image`] |
//! | the files that the kernel begins with | [`initramfs`] |
//! | QEMU, and how the run ends | [`qemu`] |

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use initramfs::Initramfs;
use qemu::Machine;

mod image;
mod initramfs;
mod qemu;

/// What `cargo xtask kernel` is asked for.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run an unmodified static Linux program, and exit with its status.
    Run(Run),
}

#[derive(clap::Args, Debug)]
struct Run {
    /// Pack a file or a folder, too: as GUEST, or under its own name in the root folder.
    #[arg(long = "file", value_name = "HOST[=GUEST]")]
    files: Vec<OsString>,
    /// An image with an ext2 file system, which is mounted on /mnt.
    #[arg(long, value_name = "IMG")]
    disk: Option<PathBuf>,
    /// Write the number of QEMU's process there. To kill it is a power cut: the disk keeps what was
    /// sent to it, and `e2fsck -fy` comes before what was synced is looked at.
    #[arg(long, value_name = "FILE")]
    pid: Option<PathBuf>,
    /// Where the program begins.
    #[arg(long, default_value = "/")]
    cwd: OsString,
    /// A variable of the program's environment.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<OsString>,
    /// Memory of the machine, in QEMU's words.
    #[arg(long, default_value = "512M")]
    mem: String,
    /// CPUs of the machine.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Seconds until the run is given up.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Print system calls as they happen.
    #[arg(long)]
    trace: bool,
    /// Wait for a debugger on port 1234 before the first instruction.
    #[arg(long)]
    gdb: bool,
    /// The program, and its arguments.
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// `cargo xtask kernel`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(missing) = qemu::missing() {
        println!("{missing}");
        return Ok(ExitCode::FAILURE);
    }
    let image = image::build()?;
    match &options.command {
        None => {
            println!("{}", image.display());
            println!("cargo xtask kernel run PROGRAM [ARGUMENTS…] runs a static program on it");
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(run)) => run.start(image),
    }
}

impl Run {
    fn start(&self, image: PathBuf) -> Result<ExitCode> {
        let (program, arguments) = self.words.split_first().context("no program")?;
        let mut files = Initramfs::new();
        let mut words = vec![files.program(program.as_ref())?];
        words.extend(arguments.iter().cloned());
        for file in &self.files {
            files.add(file)?;
        }
        let machine = Machine {
            image,
            initramfs: files.finish()?,
            disk: self.disk.clone(),
            pid: self.pid.clone(),
            command_line: self.command_line(&words),
            mem: self.mem.clone(),
            smp: self.smp,
            timeout: Duration::from_secs(self.timeout),
            waits_for_debugger: self.gdb,
        };
        machine.run()
    }

    /// What the kernel's `boot::options` reads.
    fn command_line(&self, words: &[OsString]) -> String {
        let mut line = vec![format!("cwd={}", qemu::escape(&self.cwd))];
        if self.trace {
            line.push("trace".into());
        }
        let variables = self.environment.iter();
        line.extend(variables.map(|variable| format!("env:{}", qemu::escape(variable))));
        line.push("--".into());
        line.extend(words.iter().map(|word| qemu::escape(word)));
        line.join(" ")
    }
}
