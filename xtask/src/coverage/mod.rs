//! `cargo xtask coverage`: which lines and branches of the core its tests run, and why they do not
//! run the others.
//!
//! The core is the source of `page`, `usercopy` and `filemap` without its tests. Its tests run
//! under the compiler's instrumentation ([`tools`]); what was counted is read and added up over the
//! instances of generic code ([`export`]); every line that never ran needs a reason in
//! `tests/coverage.toml` ([`explain`]).

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use indicatif::HumanDuration;

use self::explain::{Complaint, Explained};
use self::export::Source;
use faultless_tools::workspace;

mod explain;
mod export;
mod for_tests;
mod report;
mod tools;

/// Source folders of the crates that are measured.
const CORE: [&str; 3] = ["crates/page/src/", "crates/usercopy/src/", "crates/filemap/src/"];

/// Folders inside them that no embedder links.
const NOT_CORE: [&str; 2] = ["/tests/", "/testing/"];

/// What to show.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Also write what was found to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show the uncovered lines with their reasons, and the conditions that always had the same
    /// value.
    #[arg(long)]
    uncovered: bool,
    /// Do not run the tests: show what the last run counted.
    #[arg(long)]
    last: bool,
}

/// `cargo xtask coverage`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let export = workspace::target_dir()?.join("coverage.json");
    if !options.last {
        let tools = tools::Tools::find()?;
        println!("running the tests of the core under instrumentation ...");
        let begun = Instant::now();
        let sum = tools.measure(&export)?;
        println!("{} tests passed, {}", sum.passed, HumanDuration(begun.elapsed()));
    }
    let text = fs::read_to_string(&export).with_context(|| format!("{}", export.display()))?;
    let sources = export::parse(&text, &workspace::root(), is_core)?;
    let sources = with_text(sources)?;
    let (explained, complaints) = judge(&sources)?;
    let (sources, texts): (Vec<Source>, Vec<String>) = sources.into_iter().unzip();
    println!("{}", report::table(&sources));
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", report::json(&sources, &explained)))
            .with_context(|| format!("{}", file.display()))?;
    }
    if options.uncovered {
        let sources: Vec<(Source, String)> = sources.into_iter().zip(texts).collect();
        print!("{}", report::uncovered(&explained, &sources));
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    let lines: usize = explained.iter().map(|(run, _)| run.lines.len()).sum();
    println!(
        "Summary: {lines} uncovered lines in {} places, {} complaints",
        explained.len(),
        complaints.len()
    );
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a file is part of what an embedder links.
fn is_core(path: &str) -> bool {
    CORE.iter().any(|folder| path.starts_with(folder))
        && !NOT_CORE.iter().any(|folder| path.contains(folder))
}

/// Each file with its text, without what is there for its tests.
fn with_text(sources: Vec<Source>) -> Result<Vec<(Source, String)>> {
    let root = workspace::root();
    let read = |mut source: Source| {
        let text = fs::read_to_string(root.join(&source.path));
        let text = text.with_context(|| source.path.clone())?;
        source.leave_out(&for_tests::lines(&text).with_context(|| source.path.clone())?);
        Ok((source, text))
    };
    sources.into_iter().map(read).collect()
}

/// The uncovered runs with their reasons, and what is wrong with those.
fn judge(sources: &[(Source, String)]) -> Result<(Vec<Explained>, Vec<Complaint>)> {
    let entries =
        fs::read_to_string(workspace::root().join(explain::FILE)).context(explain::FILE)?;
    let runs = sources.iter().flat_map(|(source, text)| explain::runs(source, text)).collect();
    Ok(explain::explain(runs, explain::parse(&entries)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_what_they_share_are_not_the_core() {
        assert!(is_core("crates/page/src/leaf.rs") && is_core("crates/filemap/src/write/hot.rs"));
        assert!(!is_core("crates/page/src/tests/locks.rs"));
        assert!(!is_core("crates/page/src/testing/mod.rs"));
        assert!(!is_core("crates/host/src/rng.rs") && !is_core("crates/usercopy/tests/iov.rs"));
    }
}
