//! `cargo xtask prove`: a proof that the user copies keep U1 and U2.
//!
//! The functions of `tests/prove` are built for every architecture that has copies in assembly, as
//! a kernel builds them, and disassembled. All their paths are walked symbolically (`explore`):
//! lengths and addresses are any, and every access of user memory faults or does not, independently
//! of all others. What has to hold is asked of z3. Loops are proven by invariants that are learnt
//! and then shown (`loops`). What the model of an instruction set (`lift`) does not know is an
//! error, not a guess.
//!
//! A store that faults changes nothing on x86-64. AArch64 and RISC-V promise that for a single
//! aligned store only, so there every store to user memory has to be one.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use explore::{Kind, Prover};
use finding::Finding;
use image::{Image, Isa};

mod access;
mod cond;
mod explore;
mod finding;
mod heads;
mod hull;
mod image;
mod integers;
mod lift;
mod live;
mod loops;
mod report;
mod solver;
mod state;
mod term;

/// Prove that the user copies count exactly, whatever faults: for all lengths, from the machine
/// code.
#[derive(clap::Parser, Debug)]
#[command(bin_name = "cargo xtask prove")]
pub struct Options {
    /// Prove for these only: x86_64, aarch64, riscv64. May be given several times.
    #[arg(long, value_name = "ARCH")]
    arch: Vec<String>,
    /// Prove these only: copy_from_user, copy_to_user, clear_user. May be given several times.
    #[arg(long, value_name = "COPY")]
    copy: Vec<String>,
    /// Show that copies which are wrong on purpose are not proven, instead.
    #[arg(long)]
    planted: bool,
    /// Say what this machine lacks, each with how to get it, and stop.
    #[arg(long)]
    missing: bool,
}

/// The functions that are proven.
const FUNCTIONS: [(&str, Kind); 3] = [
    ("copy_from_user", Kind::FromUser),
    ("copy_to_user", Kind::ToUser),
    ("clear_user", Kind::Clear),
];

/// What has to become of a planted copy.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Proof,
    /// A counterexample for a reason.
    Refuted(&'static str),
    /// No proof, for a reason: nothing goes wrong in the first turns, or nothing that a run of
    /// finite length shows.
    Unproven(&'static str),
}

/// Copies from user memory of `tests/prove`, and what is wrong with each; nothing with the first.
const PLANTED: [(&str, Expected); 11] = [
    ("planted_right", Expected::Proof),
    ("planted_store_before_load", Expected::Refuted("a byte past the count is changed")),
    ("planted_off_by_one", Expected::Refuted("a counted byte is missing")),
    ("planted_tail_from_the_start", Expected::Refuted("a byte past the count is changed")),
    ("planted_no_progress", Expected::Refuted("nothing is copied")),
    ("planted_gap", Expected::Refuted("a counted byte is missing")),
    ("planted_overrun", Expected::Refuted("outside the source")),
    ("planted_no_entry", Expected::Refuted("without a fix-up")),
    ("planted_endless", Expected::Unproven("a loop may not end")),
    ("planted_late", Expected::Unproven("outside the source")),
    ("planted_clobber", Expected::Refuted("a register of the caller is changed")),
];

/// How a proof ended.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    findings: Vec<Finding>,
    paths: usize,
    questions: usize,
    took: Duration,
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self.findings.iter().any(|finding| finding.refuted) {
            _ if self.findings.is_empty() => "proven",
            true => "REFUTED",
            false => "NOT PROVEN",
        }
    }

    /// Whether what was found is what was planted.
    fn is_as(&self, expected: Expected) -> bool {
        let found = |refuted: bool, reason: &str| {
            self.findings.iter().any(|f| f.refuted == refuted && f.what.contains(reason))
        };
        match expected {
            Expected::Proof => self.findings.is_empty(),
            Expected::Refuted(reason) => found(true, reason),
            Expected::Unproven(reason) => found(false, reason),
        }
    }
}

/// `cargo xtask prove`.
///
/// # Errors
/// The functions cannot be built or read, or have an instruction that the model does not know.
pub fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let missing = missing();
    for line in &missing {
        println!("missing: {line}");
    }
    if options.missing {
        return Ok(ExitCode::SUCCESS);
    }
    if !missing.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if options.planted {
        return planted();
    }
    let wanted =
        |isa: &Isa| options.arch.is_empty() || options.arch.iter().any(|arch| arch == isa.name());
    let isas: Vec<Isa> = Isa::ALL.into_iter().filter(wanted).collect();
    ensure!(!isas.is_empty(), "no such architecture; there are x86_64, aarch64, riscv64");
    let chosen = |job: &(&str, Kind)| {
        options.copy.is_empty() || options.copy.iter().any(|copy| copy == job.0)
    };
    let jobs: Vec<_> = FUNCTIONS.into_iter().filter(chosen).collect();
    ensure!(!jobs.is_empty(), "no such copy; there are copy_from_user, copy_to_user, clear_user");
    // One architecture is proven while another is still built.
    let verdicts = isas.par_iter().map(|isa| prove_all(*isa, &jobs));
    let verdicts = verdicts.collect::<Result<Vec<_>>>()?.concat();
    let proven = verdicts.iter().filter(|verdict| verdict.findings.is_empty()).count();
    let took = start.elapsed().as_secs_f64();
    println!("Summary: {proven} of {} copies proven, {took:.1} s", verdicts.len());
    Ok(if proven == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the functions for one architecture and proves some of them.
fn prove_all(isa: Isa, jobs: &[(&str, Kind)]) -> Result<Vec<Verdict>> {
    let image = Image::build(isa, &FUNCTIONS.map(|(name, _)| name))?;
    let proofs = jobs.par_iter().map(|(name, kind)| {
        let verdict = prove(&image, name, *kind)?;
        show(isa, name, &verdict);
        Ok(verdict)
    });
    proofs.collect()
}

/// `--planted`: each wrong copy must fail for its reason, and the right one be proven.
fn planted() -> Result<ExitCode> {
    let image = Image::build(Isa::X86_64, &PLANTED.map(|(name, _)| name))?;
    let mut caught = 0;
    for (name, expected) in PLANTED {
        let verdict = prove(&image, name, Kind::FromUser)?;
        show(image.isa, name, &verdict);
        let good = verdict.is_as(expected);
        if !good {
            println!("    expected: {expected:?}");
        }
        caught += usize::from(good);
    }
    println!("Summary: {caught} of {} as expected", PLANTED.len());
    Ok(if caught == PLANTED.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks, each with how to get it; empty if nothing.
fn missing() -> Vec<String> {
    let mut lines: Vec<String> = solver::missing().into_iter().collect();
    lines.extend(Isa::ALL.into_iter().filter_map(Isa::missing));
    lines.dedup();
    lines
}

fn prove(image: &Image, name: &str, kind: Kind) -> Result<Verdict> {
    let start = Instant::now();
    let mut prover = Prover::new(image, kind)?;
    prover.prove(name).with_context(|| format!("{name} on {}", image.isa.name()))?;
    Ok(Verdict {
        findings: prover.findings,
        paths: prover.paths,
        questions: prover.solver.questions,
        took: start.elapsed(),
    })
}

fn show(isa: Isa, name: &str, verdict: &Verdict) {
    let mut text = format!(
        "{:<8} {name:<28} {:<10} {:>4} paths, {:>5} queries, {:>5.1} s\n",
        isa.name(),
        verdict.word(),
        verdict.paths,
        verdict.questions,
        verdict.took.as_secs_f64(),
    );
    for finding in verdict.findings.iter().take(3) {
        text.push_str(&format!("    {}\n", finding.what));
        for line in &finding.story {
            text.push_str(&format!("        {line}\n"));
        }
    }
    if verdict.findings.len() > 3 {
        text.push_str(&format!("    and {} more\n", verdict.findings.len() - 3));
    }
    // Proofs run side by side, so that each is shown at once.
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_copy_fails_for_its_reason_and_the_right_one_is_proven() {
        if solver::missing().is_some() || Isa::X86_64.missing().is_some() {
            println!("cannot be run here: {}", missing().join("; "));
            return;
        }
        let image = Image::build(Isa::X86_64, &PLANTED.map(|(name, _)| name)).expect("built");
        for (name, expected) in PLANTED {
            let verdict = prove(&image, name, Kind::FromUser).expect("the model knows it");
            assert!(verdict.is_as(expected), "{name}: {:?}", verdict.findings);
        }
    }
}
