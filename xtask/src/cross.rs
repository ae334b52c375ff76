//! `cargo xtask cross`: the core crates for bare metal, and the user copies on the other
//! architectures.
//!
//! Builds the core crates and the example kernel for the bare-metal targets, checks them for some
//! that have 32 bits, no 64-bit atomics or the other order of bytes, and builds and runs
//! the fault tests of `faultless-usercopy` for AArch64 and RISC-V 64 under qemu's user mode: the
//! copies fault for real there, and the exception table decides where they go on. The standard
//! library is built from source, by any toolchain on this machine that has its source. One line a
//! step; what a step says is shown when it fails.

#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use faultless_tools::process::{capture, on_path};
use faultless_tools::std_source::{self, Toolchain};
use faultless_tools::tally::tally;
use faultless_tools::workspace;

/// The crates that an embedder's kernel links, and the example of one.
const CORE: [&str; 7] = [
    "faultless-page",
    "faultless-usercopy",
    "faultless-policy",
    "faultless-filemap",
    "faultless-parts",
    "faultless",
    "faultless-example-kernel",
];

/// Targets without an operating system.
const BARE: [&str; 3] =
    ["x86_64-unknown-none", "aarch64-unknown-none", "riscv64gc-unknown-none-elf"];

/// Targets without an operating system, for which the code is checked and not built: 32 bits, no
/// 64-bit atomics, big-endian.
const CHECKED: [&str; 3] =
    ["armv7a-none-eabi", "riscv32imac-unknown-none-elf", "aarch64_be-unknown-none-softfloat"];

/// Targets whose tests run under qemu's user mode.
const EMULATED: [Emulated; 2] = [
    Emulated {
        target: "aarch64-unknown-linux-gnu",
        variable: "AARCH64_UNKNOWN_LINUX_GNU",
        linker: Tool { program: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
        qemu: Tool { program: "qemu-aarch64", package: "qemu-user" },
        libraries: "/usr/aarch64-linux-gnu",
    },
    Emulated {
        target: "riscv64gc-unknown-linux-gnu",
        variable: "RISCV64GC_UNKNOWN_LINUX_GNU",
        linker: Tool { program: "riscv64-linux-gnu-gcc", package: "gcc-riscv64-linux-gnu" },
        qemu: Tool { program: "qemu-riscv64", package: "qemu-user" },
        libraries: "/usr/riscv64-linux-gnu",
    },
];

/// A program, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// A target that qemu runs.
struct Emulated {
    target: &'static str,
    /// The target as it stands in cargo's environment variables.
    variable: &'static str,
    linker: Tool,
    qemu: Tool,
    /// Where the dynamic linker finds the target's libraries.
    libraries: &'static str,
}

/// `cargo xtask cross`.
pub(crate) fn run() -> Result<ExitCode> {
    let missing = missing();
    for line in &missing {
        println!("missing: {line}");
    }
    let Some(toolchain) = Toolchain::find() else { return Ok(ExitCode::FAILURE) };
    let output = workspace::target_dir()?.join("cross");
    let mut good = missing.is_empty();
    // One command for all targets of a kind: cargo builds for several at the same time.
    for (verb, targets) in [("build", BARE), ("check", CHECKED)] {
        let mut build = toolchain.cargo(verb, &targets, &output);
        build.arg("-Zbuild-std=core").args(CORE.iter().flat_map(|package| ["-p", package]));
        // Nothing of this is run.
        build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        good &= step(verb, &targets, &mut build)?;
    }
    let runnable: Vec<_> =
        EMULATED.iter().filter(|emulated| emulated.tools().all(Tool::is_there)).collect();
    if !runnable.is_empty() {
        let targets: Vec<&str> = runnable.iter().map(|emulated| emulated.target).collect();
        let mut test = toolchain.cargo("test", &targets, &output);
        test.args(["-Zbuild-std", "-p", "faultless-usercopy"]);
        test.args(["--lib", "--test", "faults", "--test", "moving", "--test", "extable"]);
        runnable.iter().for_each(|emulated| emulated.configure(&mut test));
        good &= step("test", &targets, &mut test)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks for the whole command, each with how to get it; empty if nothing.
pub(crate) fn missing() -> Vec<String> {
    let mut lines: Vec<String> = std_source::missing().into_iter().collect();
    let tools = EMULATED.iter().flat_map(Emulated::tools);
    lines.extend(
        tools
            .filter(|tool| !tool.is_there())
            .map(|tool| format!("{}: apt-get install {}", tool.program, tool.package)),
    );
    lines
}

/// Runs a step and prints a line for each target; whether it went well.
fn step(verb: &str, targets: &[&str], command: &mut Command) -> Result<bool> {
    let start = Instant::now();
    let finished = capture(command)?;
    if !finished.success {
        print!("{}", finished.output);
    }
    let outcome = if finished.success { "ok" } else { "FAILED" };
    for target in targets {
        println!("{verb:<5} {target:<33} {outcome}");
    }
    let tests = match tally(&finished.output).passed {
        0 => String::new(),
        passed => format!(", {passed} tests"),
    };
    println!("{verb:<5} together {:.1} s{tests}", start.elapsed().as_secs_f64());
    Ok(finished.success)
}

impl Tool {
    fn is_there(&self) -> bool {
        on_path(self.program)
    }
}

impl Emulated {
    fn tools(&self) -> impl Iterator<Item = &Tool> {
        [&self.linker, &self.qemu].into_iter()
    }

    /// Tells cargo how to link for the target and how to run what comes out.
    fn configure(&self, command: &mut Command) {
        let variable = |what: &str| format!("CARGO_TARGET_{}_{what}", self.variable);
        command.env(variable("LINKER"), self.linker.program);
        let runner = format!("{} -L {}", self.qemu.program, self.libraries);
        command.env(variable("RUNNER"), runner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_how_to_get_it() {
        let tool = Tool { program: "no-such-program-anywhere", package: "none" };
        assert!(!tool.is_there());
        assert!(missing().iter().all(|line| line.contains("install")));
    }

    #[test]
    fn cargo_is_told_linker_and_runner_of_the_target() {
        let mut command = Command::new("cargo");
        EMULATED[0].configure(&mut command);
        let set: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        assert!(set.contains(&"CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER".into()));
        assert!(set.contains(&"CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER".into()));
    }
}
