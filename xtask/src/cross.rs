//! `cargo xtask cross`: the core crates for bare metal, and the user copies on the other
//! architectures.
//!
//! Builds the core crates and the example kernel for the bare-metal targets, and builds and runs
//! the fault tests of `faultless-usercopy` for AArch64 and RISC-V 64 under qemu's user mode: the
//! copies fault for real there, and the exception table decides where they go on. The standard
//! library is built from source, by any toolchain on this machine that has its source. One line a
//! step; what a step says is shown when it fails.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::process::{capture, on_path};
use crate::tally::tally;
use crate::workspace;

/// The crates that an embedder's kernel links, and the example of one.
const CORE: [&str; 6] = [
    "faultless-page",
    "faultless-usercopy",
    "faultless-filemap",
    "faultless-parts",
    "faultless",
    "faultless-example-kernel",
];

/// Targets without an operating system.
const BARE: [&str; 3] =
    ["x86_64-unknown-none", "aarch64-unknown-none", "riscv64gc-unknown-none-elf"];

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

/// How to come by a toolchain that can build the standard library.
const GET_TOOLCHAIN: &str =
    "apt-get install rustc-web cargo-web rust-web-src (or: rustup component add rust-src)";

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

/// A compiler with the source of its standard library, and its cargo.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
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
    for target in BARE {
        let mut build = toolchain.cargo("build", target, &output);
        build.arg("-Zbuild-std=core").args(CORE.iter().flat_map(|package| ["-p", package]));
        good &= step("build", target, &mut build)?;
    }
    for emulated in EMULATED.iter().filter(|emulated| emulated.tools().all(Tool::is_there)) {
        let mut test = toolchain.cargo("test", emulated.target, &output);
        test.args(["-Zbuild-std", "-p", "faultless-usercopy"]);
        test.args(["--lib", "--test", "faults", "--test", "moving", "--test", "extable"]);
        emulated.configure(&mut test);
        good &= step("test", emulated.target, &mut test)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks for the whole command, each with how to get it; empty if nothing.
pub(crate) fn missing() -> Vec<String> {
    let mut lines: Vec<String> = missing_toolchain().into_iter().collect();
    let tools = EMULATED.iter().flat_map(Emulated::tools);
    lines.extend(
        tools
            .filter(|tool| !tool.is_there())
            .map(|tool| format!("{}: apt-get install {}", tool.program, tool.package)),
    );
    lines
}

/// What this machine lacks to build the core library for other architectures, or `None`.
pub(crate) fn missing_toolchain() -> Option<String> {
    let missing = Toolchain::find().is_none();
    missing.then(|| format!("a Rust toolchain with the source of std: {GET_TOOLCHAIN}"))
}

/// `cargo build` for another target, by a toolchain that has the source of std; `None` without one.
pub(crate) fn build_for(target: &str, output: &Path) -> Option<Command> {
    Some(Toolchain::find()?.cargo("build", target, output))
}

/// Runs a step and prints its line; whether it went well.
fn step(verb: &str, target: &str, command: &mut Command) -> Result<bool> {
    let start = Instant::now();
    let finished = capture(command)?;
    if !finished.success {
        print!("{}", finished.output);
    }
    let outcome = if finished.success { "ok" } else { "FAILED" };
    let tests = match tally(&finished.output).passed {
        0 => String::new(),
        passed => format!(", {passed} tests"),
    };
    println!("{verb:<5} {target:<28} {outcome} {:.1} s{tests}", start.elapsed().as_secs_f64());
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

impl Toolchain {
    /// The toolchain that runs this, or else the system's, if it has the source of std.
    fn find() -> Option<Self> {
        let own = std::env::var_os("CARGO").map(PathBuf::from);
        let own = own.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        let folders = own.into_iter().chain([PathBuf::from("/usr/bin")]);
        folders
            .map(|folder| Self { cargo: folder.join("cargo"), rustc: folder.join("rustc") })
            .find(Self::has_source)
    }

    fn has_source(&self) -> bool {
        let Ok(output) = Command::new(&self.rustc).args(["--print", "sysroot"]).output() else {
            return false;
        };
        let sysroot = String::from_utf8_lossy(&output.stdout);
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
    }

    /// A cargo command of this toolchain, and no other, for `target`.
    fn cargo(&self, verb: &str, target: &str, output: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args([verb, "--locked", "--target", target, "--target-dir"]).arg(output);
        command.current_dir(workspace::root());
        // -Zbuild-std is unstable, and this variable is how a stable compiler is asked for it.
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        for variable in ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTC_WRAPPER", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command
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
