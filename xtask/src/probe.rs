//! `cargo xtask probe`: proof that the core crates need neither std nor an allocator.
//!
//! `tests/probe` is a static library with its own panic handler and no allocator, which uses all
//! core crates. Here it is built, linked without the C library (so that any symbol from elsewhere
//! is an error) and run. It lives outside the workspace because it must be built with
//! `panic = "abort"`.

#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

use anyhow::Result;

use faultless_tools::process::{capture, cargo};
use faultless_tools::workspace;

/// What became of the probe.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was built, linked, run, and found what it expected.
    Runs,
    /// It was not.
    Refused {
        /// What it did not do: "build", "link" or "run".
        stage: &'static str,
        /// What the tool said.
        output: String,
    },
}

/// `cargo xtask probe`.
pub(crate) fn run() -> Result<ExitCode> {
    Ok(match probe(&[])? {
        Verdict::Runs => {
            println!("The core crates link and run without std and without an allocator.");
            ExitCode::SUCCESS
        }
        Verdict::Refused { stage, output } => {
            println!("{output}\nThe no_std probe did not {stage}.");
            ExitCode::FAILURE
        }
    })
}

/// Builds, links and runs the probe with some of its features, each of which plants a violation.
pub(crate) fn probe(features: &[&str]) -> Result<Verdict> {
    let target = workspace::target_dir()?.join("probe");
    let mut build = cargo(["build", "--locked", "--manifest-path", "tests/probe/Cargo.toml"]);
    build.arg("--target-dir").arg(&target).args(["--features", &features.join(",")]);
    let built = capture(&mut build)?;
    if !built.success {
        return Ok(Verdict::Refused { stage: "build", output: built.output });
    }
    // The name depends on the features so that probes with and without a planted violation can
    // be linked at the same time.
    let program = target.join(format!("probe{}", features.join("-")));
    let mut link = Command::new("cc");
    link.args(["-nostdlib", "-nostartfiles", "-static", "-Wl,--gc-sections", "-o"]);
    link.arg(&program).arg(target.join("debug/libfaultless_probe.a"));
    let linked = capture(&mut link)?;
    if !linked.success {
        return Ok(Verdict::Refused { stage: "link", output: linked.output });
    }
    let ran = capture(&mut Command::new(&program))?;
    Ok(if ran.success {
        Verdict::Runs
    } else {
        Verdict::Refused { stage: "run", output: ran.output }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the probes share their output folder.
    #[test]
    fn the_probe_runs_and_each_planted_violation_is_caught_where_it_should_be() {
        let planted = [
            ("plant-alloc", "build", "no global memory allocator found"),
            ("plant-std", "build", "panic_impl"),
            ("plant-symbol", "link", "getpid"),
            ("plant-wrong-bytes", "run", "exit status: 1"),
        ];
        for (feature, expected_stage, expected_words) in planted {
            match probe(&[feature]).expect("the tools run") {
                Verdict::Refused { stage, output } => {
                    assert_eq!(stage, expected_stage, "{feature}: {output}");
                    assert!(output.contains(expected_words), "{feature}: {output}");
                }
                Verdict::Runs => panic!("{feature} was not caught"),
            }
        }
        assert!(matches!(probe(&[]).expect("the tools run"), Verdict::Runs));
    }
}
