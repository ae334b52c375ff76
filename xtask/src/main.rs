//! `cargo xtask`: the commands of the workspace.
//!
//! Those that say something about the workspace as a whole are modules here:
//!
//! | command | what it does | module |
//! |---|---|---|
//! | `test` | everything that can be checked, one line a step | [`mod@test`] |
//! | `report` | the numbers of the last `test` | [`report`] |
//! | `check` | the house rules that a tool can check | [`check`] |
//! | `kernel` | a kernel that boots in QEMU and runs Linux programs | [`kernel`] |
//! | `cross` | other architectures, bare and emulated | [`cross`] |
//! | `probe` | the core crates without std and without an allocator | [`probe`] |
//! | `coverage` | lines of the core that the tests run, by cargo-llvm-cov | [`coverage`] |
//! | `mutants` | changed code, and whether a test notices, by cargo-mutants | [`mutants`] |
//!
//! The others are programs of their own, beside what they test; [`programs`] builds and starts
//! them:
//!
//! | command | what it does | package |
//! |---|---|---|
//! | `demo`, `deadlocks` | the main job on real input; the staged deadlocks | `faultless-shows` |
//! | `run`, `programs` | unmodified Linux programs with their files in Faultless | `faultless-programs` |
//! | `fuzz`, `oracle`, `soak` | checkers that draw their inputs | `faultless-random` |
//! | `model` | the model checkers | `faultless-model` |
//! | `planted` | hand-written bugs, and whether named tests find them | `faultless-planted` |
//! | `prove` | the user copies, proven from their machine code | `faultless-prover` |
//! | `bench` | the scoreboard | `faultless-bench` |
//!
//! Nothing in the workspace depends on this crate, and of the workspace it needs only
//! `faultless-tools`, so that it is built in seconds.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use programs::{Arguments, BENCH, PLANTED, PROGRAMS, PROVER, RANDOM, SHOWS};

mod check;
mod coverage;
mod cross;
mod kernel;
mod model;
mod mutants;
mod probe;
mod programs;
mod record;
mod report;
mod test;

/// The commands of the Faultless workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check there is: one line a step with its time, and a summary.
    Test(test::Options),
    /// Write down what the last `test` run counted, step by step.
    Report(report::Options),
    /// Rewrite a real file from its own cold mapping, with real page faults, and compare the
    /// result.
    Demo(Arguments),
    /// Run an unmodified Linux program with its files in Faultless.
    Run(Arguments),
    /// Build the kernel that runs Linux programs, and run one on it in QEMU.
    Kernel(kernel::Options),
    /// Run many programs with their files in Faultless, and compare them with Linux alone.
    Programs(Arguments),
    /// Stage the deadlocks DL1 to DL4 on every write path, and say which hang and why.
    Deadlocks(Arguments),
    /// Explore the interleavings of the code that ships, and show that planted bugs are found.
    Model(model::Options),
    /// Compare with the running Linux kernel: the same random operations, every result and every
    /// byte.
    Oracle(Arguments),
    /// Fuzz with libFuzzer, or show that each target finds its planted bugs.
    Fuzz(Arguments),
    /// Run every random checker with fresh seeds, in turns, until the time is over.
    Soak(Arguments),
    /// Measure which lines and branches of the core the tests run.
    Coverage(coverage::Options),
    /// Plant hand-written bugs in the code that ships, and see that the tests that are named find
    /// each.
    Planted(Arguments),
    /// Change the core crates in two thousand ways, and see whether a test fails each time.
    Mutants(Arguments),
    /// Measure against plain copies, a BTreeMap cache and Linux tmpfs.
    Bench(Arguments),
    /// Check the house rules: dependency direction, no_std, where unsafe may be, links, file sizes.
    Check,
    /// Build for bare metal, and run the user copies' fault tests on other architectures, emulated.
    Cross,
    /// Prove that the user copies count exactly, whatever faults: for all lengths, from the machine
    /// code.
    Prove(Arguments),
    /// Build, link and run a static library of the core crates without std and without an
    /// allocator.
    Probe,
    /// Print this message, or the options of a command.
    Help {
        /// The command.
        command: Option<String>,
    },
}

fn main() -> ExitCode {
    faultless_tools::command::main(|| match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Bench(arguments) => BENCH.run(&[], &arguments),
        Command::Demo(arguments) => SHOWS.run(&["demo"], &arguments),
        Command::Programs(arguments) => PROGRAMS.run(&["programs"], &arguments),
        Command::Run(arguments) => PROGRAMS.run(&["run"], &arguments),
        Command::Deadlocks(arguments) => SHOWS.run(&["deadlocks"], &arguments),
        Command::Model(options) => model::run(&options),
        Command::Oracle(arguments) => RANDOM.run(&["oracle"], &arguments),
        Command::Fuzz(arguments) => RANDOM.run(&["fuzz"], &arguments),
        Command::Soak(arguments) => RANDOM.run(&["soak"], &arguments),
        Command::Coverage(options) => coverage::run(&options),
        Command::Planted(arguments) => PLANTED.run(&[], &arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Check => check::run(),
        Command::Cross => cross::run(),
        Command::Kernel(options) => kernel::run(&options),
        Command::Prove(arguments) => PROVER.run(&[], &arguments),
        Command::Probe => probe::run(),
        Command::Help { command } => help(command.as_deref()),
    })
}

/// The list of commands, or what a command says of itself.
fn help(command: Option<&str>) -> Result<ExitCode> {
    match command {
        Some(command) => programs::again(&[command, "--help"]),
        None => {
            Cli::command().print_help()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_understands_is_left_to_it() {
        let parsed = Cli::try_parse_from(["xtask", "demo", "--help", "-x", "file", "--", "y"]);
        let Command::Demo(arguments) = parsed.expect("passed on").command else {
            panic!("the command is demo");
        };
        assert_eq!(arguments.words, ["--help", "-x", "file", "--", "y"]);
    }
}
