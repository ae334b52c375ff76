//! `cargo xtask report`: the numbers of the last run of `cargo xtask test`, as a page in Markdown.
//!
//! They come from the run's [`record`](crate::record); nothing is run again.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use faultless_tools::workspace;

use crate::record::{Record, Step};

/// Lines of what a failed step printed that are shown: the last ones.
const SHOWN: usize = 40;

/// Where to write.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The file to write. Default: faultless-report.md in the target folder.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `cargo xtask report`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let record = Record::read()?;
    let path = match &options.output {
        Some(path) => path.clone(),
        None => workspace::target_dir()?.join("faultless-report.md"),
    };
    fs::write(&path, page(&record)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}\nwritten to {}", verdict(&record), path.display());
    Ok(ExitCode::SUCCESS)
}

/// The run in one sentence.
fn verdict(record: &Record) -> String {
    let count = |outcome| record.steps.iter().filter(|step| step.outcome == outcome).count();
    let mut text = format!("{} steps passed, {} failed", count("passed"), count("failed"));
    if count("skipped") > 0 {
        text.push_str(&format!(", {} skipped", count("skipped")));
    }
    let missing: Vec<&str> = record.missing().collect();
    if !missing.is_empty() {
        text.push_str(&format!(". The run DID NOT FINISH: {} did not end", missing.join(", ")));
    }
    if !record.left_out.is_empty() {
        text.push_str(&format!(". Not part of the run: {}", record.left_out.join(", ")));
    }
    text + "."
}

fn page(record: &Record) -> String {
    let mut page = format!(
        "# The last run of `cargo xtask test`\n\n{}\n\nBegun {}, commit {}; {}.\n\n\
         | step | outcome | seconds | counted | checks |\n|---|---|---:|---|---|\n",
        verdict(record),
        record.begun,
        record.commit,
        record.tools
    );
    for step in &record.steps {
        page.push_str(&row(step));
    }
    for name in record.missing() {
        page.push_str(&format!("| {name} | DID NOT END | | | |\n"));
    }
    let seconds: f64 = record.steps.iter().map(|step| step.seconds).sum();
    page.push_str(&format!("| all | | {seconds:.1} | | |\n"));
    for step in record.steps.iter().filter(|step| step.outcome == "failed") {
        let lines: Vec<&str> = step.said.lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n    ");
        page.push_str(&format!("\n## {} failed\n\n    {shown}\n", step.name));
    }
    page
}

fn row(step: &Step) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let (outcome, said) = match step.outcome.as_str() {
        "passed" => ("passed", cell(&step.said)),
        "skipped" => ("SKIPPED", cell(&step.said)),
        _ => ("FAILED", "see below".to_owned()),
    };
    format!(
        "| {} | {outcome} | {:.1} | {said} | {} |\n",
        step.name,
        step.seconds,
        cell(&step.about)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let step = |name: &str, outcome: &str, said: &str| Step {
            name: name.into(),
            about: "it".into(),
            outcome: outcome.into(),
            seconds: 1.25,
            said: said.into(),
        };
        Record {
            planned: ["tests", "fuzz", "prove", "planted"].map(Into::into).into(),
            left_out: vec!["docs".into()],
            steps: vec![
                step("tests", "passed", "612 tests | 3 kinds"),
                step("fuzz", "failed", "one\ntwo\n"),
                step("prove", "skipped", "z3: apt-get install z3"),
            ],
            ..Record::default()
        }
    }

    #[test]
    fn a_run_that_was_cut_off_says_so() {
        let told = verdict(&record());
        assert!(told.starts_with("1 steps passed, 1 failed, 1 skipped."), "{told}");
        assert!(told.contains("DID NOT FINISH: planted did not end"), "{told}");
        assert!(told.contains("Not part of the run: docs"), "{told}");
        assert!(page(&record()).contains("| planted | DID NOT END |"));
    }

    #[test]
    fn the_page_has_the_counts_and_what_failed() {
        let page = page(&record());
        assert!(page.contains("| tests | passed | 1.2 | 612 tests \\| 3 kinds | it |"), "{page}");
        assert!(page.contains("## fuzz failed\n\n    one\n    two\n"), "{page}");
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = serde_json::to_string(&record()).expect("JSON");
        let again: Record = serde_json::from_str(&text).expect("a record");
        assert_eq!(page(&again), page(&record()));
    }
}
