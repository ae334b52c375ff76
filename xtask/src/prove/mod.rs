//! `cargo xtask prove`: a proof that the user copies keep U1 and U2.
//!
//! The functions of `tests/prove` are built for every architecture that has copies in assembly, as a kernel builds
//! them, and disassembled. All their paths are walked symbolically ([`explore`]): lengths and addresses are any, and
//! every access of user memory faults or does not, independently of all others. What has to hold is asked of z3.
//! Loops are proven by invariants that are guessed and then shown ([`loops`]). What the model of an instruction set
//! ([`lift`]) does not know is an error, not a guess.
//!
//! A store that faults changes nothing on x86-64. AArch64 and RISC-V promise that for a single aligned store only, so there
//! every store to user memory has to be one.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use explore::{Kind, Prover};
use image::{Image, Isa};
use report::Finding;

mod explore;
mod image;
mod lift;
mod live;
mod loops;
mod report;
mod solver;
mod state;
mod term;

/// What to prove.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Prove for these only: x86_64, aarch64, riscv64. May be given several times.
    #[arg(long, value_name = "ARCH")]
    arch: Vec<String>,
    /// Show that copies which are wrong on purpose are refuted, instead.
    #[arg(long)]
    planted: bool,
}

/// The functions that are proven.
const FUNCTIONS: [(&str, Kind); 3] = [
    ("copy_from_user", Kind::FromUser),
    ("copy_to_user", Kind::ToUser),
    ("clear_user", Kind::Clear),
];

/// How a proof ended.
#[derive(Debug)]
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
}

/// `cargo xtask prove`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let missing = missing();
    for line in &missing {
        println!("missing: {line}");
    }
    if !missing.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let mut good = true;
    for isa in Isa::ALL {
        if !options.arch.is_empty() && !options.arch.iter().any(|arch| arch == isa.name()) {
            continue;
        }
        let image = Image::build(isa)?;
        for (name, kind) in FUNCTIONS {
            let verdict = prove(&image, name, kind)?;
            show(isa, name, &verdict);
            good &= verdict.findings.is_empty();
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks, each with how to get it; empty if nothing.
pub(crate) fn missing() -> Vec<String> {
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
    println!(
        "{:<8} {name:<20} {:<10} {:>4} paths, {:>5} queries, {:>5.1} s",
        isa.name(),
        verdict.word(),
        verdict.paths,
        verdict.questions,
        verdict.took.as_secs_f64(),
    );
    for finding in verdict.findings.iter().take(3) {
        println!("    {}", finding.what);
        for line in &finding.story {
            println!("        {line}");
        }
    }
    if verdict.findings.len() > 3 {
        println!("    and {} more", verdict.findings.len() - 3);
    }
}
