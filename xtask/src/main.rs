//! `cargo xtask`: the commands of the workspace, one module each.
//!
//! | command | what it does | module |
//! |---|---|---|
//! | `test` | everything that can be checked, one line a step | [`mod@test`] |
//! | `check` | the house rules that a tool can check | [`check`] |
//! | `demo` | the main job on real input | [`demo`] |
//! | `deadlocks` | the deadlock theatre | [`deadlocks`] |
//! | `model` | the model checkers | [`model`] |
//! | `oracle` | random operations, against the running Linux kernel | [`oracle`] |
//! | `fuzz` | the fuzz targets, and their planted bugs | [`fuzz`] |
//! | `soak` | every random checker with fresh seeds | [`soak`] |
//! | `coverage` | lines and branches of the core that the tests run | [`coverage`] |
//! | `planted` | hand-written bugs, and whether named tests find them | [`planted`] |
//! | `mutants` | changed code, and whether a test notices | [`mutants`] |
//! | `bench` | the scoreboard | [`mod@bench`] |
//! | `probe` | the core crates without std and without an allocator | [`probe`] |
//! | `prove` | the user copies, proven from their machine code | [`prove`] |
//! | `cross` | other architectures, bare and emulated | [`cross`] |
//!
//! Nothing in the workspace depends on this crate.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod check;
mod coverage;
mod cross;
mod deadlocks;
mod demo;
mod fuzz;
mod model;
mod mutants;
mod oracle;
mod planted;
mod probe;
mod prove;
mod soak;
mod test;

/// The commands of the Faultless workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check there is: one line a step with its time, and a summary.
    Test(test::Options),
    /// Rewrite a real file from its own cold mapping, with real page faults, and compare the
    /// result.
    Demo(demo::Options),
    /// Stage the deadlocks DL1 to DL4 on every write path, and say which hang and why.
    Deadlocks(deadlocks::Options),
    /// Explore the interleavings of the code that ships, and show that planted bugs are found.
    Model(model::Options),
    /// Compare with the running Linux kernel: the same random operations, every result and every
    /// byte.
    Oracle(oracle::Options),
    /// Fuzz with libFuzzer, or show that each target finds its planted bugs.
    Fuzz(fuzz::Options),
    /// Run every random checker with fresh seeds, in turns, until the time is over.
    Soak(soak::Options),
    /// Measure which lines and branches of the core the tests run; those they do not have to be
    /// explained.
    Coverage(coverage::Options),
    /// Plant hand-written bugs in the code that ships, and see that the tests that are named find
    /// each.
    Planted(planted::Options),
    /// Change the core crates in two thousand ways, and see whether a test fails each time.
    Mutants(mutants::Options),
    /// Measure against plain copies, a BTreeMap cache and Linux tmpfs.
    Bench(bench::Options),
    /// Check the house rules: dependency direction, no_std, where unsafe may be, links, file sizes.
    Check,
    /// Build for bare metal, and run the user copies' fault tests on other architectures, emulated.
    Cross,
    /// Prove that the user copies count exactly, whatever faults: for all lengths, from the machine
    /// code.
    Prove(prove::Options),
    /// Build, link and run a static library of the core crates without std and without an
    /// allocator.
    Probe,
}

fn main() -> ExitCode {
    faultless_tools::command::main(|| match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Deadlocks(options) => deadlocks::run(&options),
        Command::Model(options) => model::run(&options),
        Command::Oracle(options) => oracle::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::Planted(options) => planted::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Check => check::run(),
        Command::Cross => cross::run(),
        Command::Prove(options) => prove::run(&options),
        Command::Probe => probe::run(),
    })
}
