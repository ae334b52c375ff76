//! `cargo xtask kernel`: the kernel that runs Linux programs (`crates/kernel`), in QEMU.
//!
//! | what | module |
//! |---|---|
//! | `run`: a program, or several in one boot | [`mod@run`], [`many`] |
//! | `test`: C programs, the kernel's tests of itself, and the staged deadlocks | [`mod@test`] |
//! | the same with a disk; when its power is cut | [`disk_test`], [`power`] |
//! | `fuzz`: random system calls | [`fuzz`] |
//! | `instructions`: what system calls take | [`instructions`] |
//! | `lines`: what an embedder writes, file by file | [`lines`] |
//! | nothing: a shell, if this machine has a static busybox | [`shell`] |
//! | the image, and names for its addresses | [`image`], [`symbols`] |
//! | C programs; programs that were not written here | [`compile`], [`foreign`] |
//! | the same programs on Linux | [`control`] |
//! | images of disks | [`disk`] |
//! | the files that the kernel begins with; those that a dynamic program needs | [`initramfs`], [`libraries`] |
//! | QEMU, and how the run ends | [`qemu`] |
//! | what the kernel says of locks and hangs | [`watch`] |

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;

mod compile;
mod control;
mod disk;
mod disk_test;
mod foreign;
mod fuzz;
mod image;
mod initramfs;
mod instructions;
mod libraries;
mod lines;
mod many;
mod power;
mod qemu;
mod run;
mod shell;
mod symbols;
mod test;
mod watch;

/// What `cargo xtask kernel` is asked for.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only print what this machine lacks for the tests.
    #[arg(long)]
    missing: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run an unmodified static Linux program, and exit with its status.
    Run(run::Run),
    /// Run C programs on the kernel and on Linux, and compare; the user copies' conformance suite;
    /// the staged deadlocks.
    Test(test::Test),
    /// Make random system calls with random pointers, from several threads and processes.
    Fuzz(fuzz::Fuzz),
    /// Count the instructions of system calls, here and in a kernel of Linux.
    Instructions(instructions::Instructions),
    /// Print what an embedder writes, seam by seam: the kernel's own files with their lines.
    Lines,
}

/// `cargo xtask kernel`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.missing {
        test::missing().iter().for_each(|line| println!("missing: {line}"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Lines) = &options.command {
        print!("{}", lines::table()?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = qemu::missing() {
        println!("{missing}");
        return Ok(ExitCode::FAILURE);
    }
    let image = image::build()?;
    match &options.command {
        None => shell::run(image),
        Some(Command::Run(run)) => run.start(image),
        Some(Command::Test(test)) => test.run(&image),
        Some(Command::Fuzz(fuzz)) => fuzz.run(&image),
        Some(Command::Instructions(instructions)) => instructions.run(&image),
        Some(Command::Lines) => Ok(ExitCode::SUCCESS),
    }
}
