//! The steps of `cargo xtask test`, in the order in which they begin: cheap ones first.

#![forbid(unsafe_code)]

use std::process::Command;
use std::sync::LazyLock;

use anyhow::Result;

use super::package;
use super::step::{Company, Outcome, Pace, Step, passes};
use crate::check::{self, Part};
use crate::{cross, probe};
use faultless_tools::process::{Finished, SELF, capture, cargo, on_path};
use faultless_tools::tally::tally;
use faultless_tools::workspace;

const fn quick(name: &'static str, about: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step { name, about, pace: Pace::Quick, company: Company::Alone, run }
}

const fn slow(name: &'static str, about: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step { name, about, pace: Pace::Slow, company: Company::Alone, run }
}

/// The step may run while a neighbour does that may, too.
const fn in_company(step: Step) -> Step {
    Step { company: Company::Two, ..step }
}

pub(super) const STEPS: &[Step] = &[
    quick("format", "cargo fmt finds nothing to do", format),
    quick("direction", "dependencies point the way the design says", || rules(Part::Direction)),
    quick("house", "the other house rules of cargo xtask check", || rules(Part::House)),
    quick("links", "relative links in Markdown lead somewhere", || rules(Part::Links)),
    // Two at a time, the long ones first. Those that build in the same folder wait for each other
    // while they build: between them stand some that have folders of their own.
    in_company(quick("clippy", "no warning, in any target", clippy)),
    in_company(slow(
        "cross",
        "bare-metal builds; real faults on AArch64 and RISC-V 64 under emulation",
        across,
    )),
    in_company(quick(
        "tests",
        "unit, integration and compile-fail tests; replay of the fuzz corpora",
        || tests(&ALL_BUT_MODELS, NEEDED),
    )),
    in_company(slow(
        "planted",
        "hand-written bugs in the core: the named tests find each",
        planted,
    )),
    in_company(quick(
        "models",
        "interleavings of the code that ships, and the bugs they must find",
        models,
    )),
    in_company(slow(
        "kernel",
        "a kernel boots on it in QEMU, and runs programs as Linux does; the old deadlocks hang",
        kernel,
    )),
    in_company(slow(
        "programs",
        "programs with their files in Faultless do what they do on Linux alone",
        || summarised(&["programs"]),
    )),
    in_company(slow(
        "fuzz",
        "libFuzzer finds nothing in a fixed number of inputs for each target",
        || summarised(FUZZING),
    )),
    in_company(slow("docs", "documentation without warnings, no broken link", docs)),
    in_company(slow(
        "prove",
        "the user copies count exactly, whatever faults, for all lengths",
        || summarised(&["prove"]),
    )),
    in_company(quick("doctests", "examples in the documentation", || tests(&DOCTESTS, &[]))),
    in_company(quick("demo", "the main job on the workspace's own sources", demo)),
    in_company(slow("soak", "every checker that draws fresh seeds can be run", soak)),
    in_company(slow(
        "package",
        "the crates for embedders build from what would be published",
        || passes(&mut package::command()?),
    )),
    in_company(quick(
        "probe",
        "the core crates link and run without std and without an allocator",
        no_std,
    )),
];

/// Manifest of a crate that is linted with the workspace but does not belong to it.
const PROBE: &str = "tests/probe/Cargo.toml";
/// Those that are formatted with it. The fuzz programs need a nightly compiler for the rest.
const OUTSIDE: &[&str] = &[PROBE, "tests/prove/Cargo.toml", "fuzz/Cargo.toml"];

/// What runs all tests but those of the models and those in documentation. The tests of the models
/// are built with the others, and known by their names.
static ALL_BUT_MODELS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let without_models = ["--", "--skip", "_under_loom", "--skip", "_under_shuttle"];
    [workspace::TESTS.as_slice(), &without_models].concat()
});
/// What runs the models, and shows what they say.
static MODELS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    [workspace::PACKAGES.as_slice(), &["--test", "models", "--", "--show-output"]].concat()
});
/// What runs the tests in documentation.
static DOCTESTS: LazyLock<Vec<&str>> =
    LazyLock::new(|| [workspace::PACKAGES.as_slice(), &["--doc"]].concat());

/// Test programs without which the tests are not complete.
const NEEDED: &[&str] = &["tests/compile_fail.rs", "tests/generated/main.rs"];

/// Why a step must be skipped when a program is missing.
fn missing(program: &str, how_to_get: &str) -> Option<Outcome> {
    (!on_path(program))
        .then(|| Outcome::Skipped(format!("{program} is not installed: {how_to_get}")))
}

/// Why the step of a command must be skipped, if the command says what it lacks.
fn lacks(command: &str) -> Result<Option<Outcome>> {
    let finished = capture(Command::new(SELF.as_path()).args([command, "--missing"]))?;
    if !finished.success {
        return Ok(Some(Outcome::Failed(finished.output)));
    }
    let lines = finished.output.lines().filter_map(|line| line.strip_prefix("missing: "));
    let lines: Vec<&str> = lines.collect();
    Ok((!lines.is_empty()).then(|| Outcome::Skipped(lines.join("; "))))
}

fn format() -> Result<Outcome> {
    if let Some(skipped) = missing("cargo-fmt", "rustup component add rustfmt") {
        return Ok(skipped);
    }
    let outcome = passes(&mut cargo(["fmt", "--all", "--check"]))?;
    let Outcome::Passed(_) = outcome else { return Ok(outcome) };
    for manifest in OUTSIDE {
        let outcome = passes(&mut cargo(["fmt", "--check", "--manifest-path", manifest]))?;
        let Outcome::Passed(_) = outcome else { return Ok(outcome) };
    }
    Ok(outcome)
}

fn rules(part: Part) -> Result<Outcome> {
    let (count, found) = check::part(part)?;
    Ok(if found.is_empty() {
        Outcome::Passed(format!("{count} rules"))
    } else {
        Outcome::Failed(found.join("\n"))
    })
}

fn clippy() -> Result<Outcome> {
    if let Some(skipped) = missing("cargo-clippy", "rustup component add clippy") {
        return Ok(skipped);
    }
    let deny = ["--locked", "--", "-D", "warnings"];
    let outcome = passes(cargo(["clippy", "--workspace", "--all-targets"]).args(deny))?;
    let Outcome::Passed(_) = outcome else { return Ok(outcome) };
    let target = workspace::target_dir()?.join("probe");
    let mut probe = cargo(["clippy", "--manifest-path", PROBE, "--target-dir"]);
    passes(probe.arg(target).args(deny))
}

/// Runs tests and counts them. `needed` are programs that must have been among them.
fn tests(which: &[&str], needed: &[&str]) -> Result<Outcome> {
    Ok(ran(which, needed)?.0)
}

/// The same, with all that was printed.
fn ran(which: &[&str], needed: &[&str]) -> Result<(Outcome, String)> {
    let args = ["test", "--locked", "--no-fail-fast"].iter().chain(which);
    let finished = capture(&mut cargo(args))?;
    let sum = tally(&finished.output);
    let absent = needed.iter().find(|name| !finished.output.contains(&format!("Running {name}")));
    let complaint = if !finished.success {
        String::new()
    } else if let Some(absent) = absent {
        format!("{absent} did not run")
    } else if sum.passed == 0 {
        "no test ran".to_owned()
    } else if sum.ignored > 0 {
        format!("{} tests were ignored", sum.ignored)
    } else {
        return Ok((Outcome::Passed(format!("{} tests", sum.passed)), finished.output));
    };
    let told = format!("{}\n{complaint}\n", without_good_news(&finished.output));
    Ok((Outcome::Failed(told), finished.output))
}

/// The models, with the executions that they print.
fn models() -> Result<Outcome> {
    let (outcome, output) = ran(&MODELS, &["tests/models.rs"])?;
    let Outcome::Passed(tests) = outcome else { return Ok(outcome) };
    let (runs, executions) = executions(&output);
    Ok(Outcome::Passed(format!("{tests}, {runs} explorations, {executions} interleavings")))
}

/// How many explorations told of their executions, and the sum.
fn executions(output: &str) -> (u64, u64) {
    let told = output.lines().filter_map(|line| {
        let (before, _) = line.split_once(" executions")?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    });
    told.fold((0, 0), |(runs, sum), executions| (runs + 1, sum + executions))
}

/// What a run of tests printed, without the lines that say that all is well.
fn without_good_news(output: &str) -> String {
    let good = |line: &&str| {
        let line = line.trim();
        line.ends_with("... ok") || line.starts_with("Compiling ") || line.starts_with("running ")
    };
    output.lines().filter(|line| !good(line)).fold(String::new(), |all, line| all + line + "\n")
}

fn docs() -> Result<Outcome> {
    let args = ["doc", "--workspace", "--no-deps", "--locked"];
    let public = passes(cargo(args).env("RUSTDOCFLAGS", "-D warnings"))?;
    let Outcome::Passed(_) = public else { return Ok(public) };
    passes(cargo(args).arg("--document-private-items").env("RUSTDOCFLAGS", "-D warnings"))
}

fn no_std() -> Result<Outcome> {
    if let Some(skipped) = missing("cc", "a C compiler is needed to link") {
        return Ok(skipped);
    }
    Ok(match probe::probe(&[])? {
        probe::Verdict::Runs => Outcome::Passed("built, linked and run".into()),
        probe::Verdict::Refused { stage, output } => {
            Outcome::Failed(format!("the no_std probe did not {stage}:\n{output}"))
        }
    })
}

fn demo() -> Result<Outcome> {
    let mut demo = Command::new(SELF.as_path());
    let finished = capture(demo.args(["demo", "--json", "--chunk=1000,65536"]))?;
    let answer = serde_json::from_str::<serde_json::Value>(&finished.output);
    Ok(match answer {
        Ok(answer) if finished.success && answer["ok"] == true => {
            let runs = answer["runs"].as_array().map_or(0, Vec::len);
            Outcome::Passed(format!("{runs} runs, right on disk"))
        }
        _ => Outcome::Failed(finished.output),
    })
}

fn across() -> Result<Outcome> {
    let missing = cross::missing();
    if !missing.is_empty() {
        return Ok(Outcome::Skipped(missing.join("; ")));
    }
    let finished = capture(Command::new(SELF.as_path()).arg("cross"))?;
    let lines = finished.output.lines().filter(|line| line.ends_with(" ok")).count();
    Ok(if finished.success {
        Outcome::Passed(format!("{lines} targets"))
    } else {
        Outcome::Failed(finished.output)
    })
}

/// Always the same inputs, two targets at a time.
const FUZZING: &[&str] = &["fuzz", "--fixed", "--jobs", "2"];

/// Runs a command of this program that ends with a summary, if the command lacks nothing.
fn summarised(words: &[&str]) -> Result<Outcome> {
    if let Some(skipped) = lacks(words[0])? {
        return Ok(skipped);
    }
    Ok(summary(capture(Command::new(SELF.as_path()).args(words))?))
}

/// Passed with the summary that the command has printed, or failed with all of it.
fn summary(finished: Finished) -> Outcome {
    let summary = finished.output.lines().find_map(|line| line.strip_prefix("Summary: "));
    match summary {
        Some(summary) if finished.success => Outcome::Passed(summary.into()),
        _ => Outcome::Failed(finished.output),
    }
}

fn kernel() -> Result<Outcome> {
    if let Some(skipped) = lacks("kernel")? {
        return Ok(skipped);
    }
    let finished = capture(Command::new(SELF.as_path()).args(["kernel", "test"]))?;
    Ok(summary(finished))
}

fn planted() -> Result<Outcome> {
    last_line(&["planted"])
}

/// Builds the checkers, and plays no round: what those find depends on the seed.
fn soak() -> Result<Outcome> {
    last_line(&["soak", "--time", "0"])
}

/// Runs a command of this program: passed with the last line that it has printed, or failed with
/// all of it.
fn last_line(words: &[&str]) -> Result<Outcome> {
    let finished = capture(Command::new(SELF.as_path()).args(words))?;
    let last = finished.output.lines().last().unwrap_or("").to_owned();
    Ok(if finished.success { Outcome::Passed(last) } else { Outcome::Failed(finished.output) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_added_up() {
        let output = "a none bound:3:     1200 executions, every one, 3.1ms\n\
            b lost-wake pct:9: found\nc none all:50:       30 executions, depth first\n";
        assert_eq!(executions(output), (2, 1230));
    }

    #[test]
    fn what_failed_is_shown_without_what_did_not() {
        let output = "   Compiling x v0.1.0\nrunning 2 tests\ntest a ... ok\ntest b ... FAILED\n";
        assert_eq!(without_good_news(output), "test b ... FAILED\n");
    }
}
