//! Building the programs that the checkers run, and running them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Message, TargetKind};

use crate::child::{self, Ending};
use crate::{process, workspace};

/// A round that takes longer hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

/// The build of the step `tests` of `cargo xtask test`: what it has built is not built again.
const BUILD: [&str; 8] = [
    "test",
    "--workspace",
    "--locked",
    "--no-run",
    "--lib",
    "--bins",
    "--tests",
    "--message-format=json-render-diagnostics",
];

/// A test program.
#[derive(Clone, Debug)]
pub(super) struct TestProgram {
    pub(super) package: String,
    /// Its name, of `cargo test --test`. `None`: the tests inside the library.
    pub(super) test: Option<String>,
    /// The root of its sources.
    pub(super) source: PathBuf,
    pub(super) program: PathBuf,
    /// Where it runs.
    pub(super) folder: PathBuf,
}

/// All programs of the workspace that take part.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) tests: Vec<TestProgram>,
    /// The binary of `faultless-model`.
    pub(super) models: Option<PathBuf>,
}

/// Builds the tests and the models.
pub(super) fn build() -> Result<Programs> {
    let packages: BTreeMap<String, String> = workspace::metadata()?
        .packages
        .into_iter()
        .map(|package| (package.id.repr, package.name.to_string()))
        .collect();
    let mut command = process::cargo(BUILD);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut made = Programs::default();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let Message::CompilerArtifact(artifact) = message? else { continue };
        let (Some(program), Some(package)) =
            (artifact.executable, packages.get(&artifact.package_id.repr))
        else {
            continue;
        };
        let (target, program) = (artifact.target, program.into_std_path_buf());
        if !artifact.profile.test {
            if package == "faultless-model" {
                made.models = Some(program);
            }
            continue;
        }
        let folder = artifact.manifest_path.parent().context("a manifest in a folder")?;
        if !target.kind.contains(&TargetKind::Bin) {
            made.tests.push(TestProgram {
                package: package.clone(),
                test: target.kind.contains(&TargetKind::Test).then_some(target.name),
                source: target.src_path.into_std_path_buf(),
                program,
                folder: folder.as_std_path().to_owned(),
            });
        }
    }
    if !child.wait()?.success() {
        bail!("the tests cannot be built");
    }
    made.tests.sort_by(|a, b| (&a.package, &a.test).cmp(&(&b.package, &b.test)));
    Ok(made)
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) ending: Ending,
    pub(super) output: String,
}

/// Runs a program to its end, or to [`LIMIT`]. `name` is that of the checker, which runs one program at a time.
pub(super) fn play(command: &mut Command, name: &str) -> Result<Played> {
    let path = folder()?.join(format!("{}.out", name.replace([' ', '/'], "-")));
    let file = fs::File::create(&path).with_context(|| format!("{}", path.display()))?;
    command.stdout(file.try_clone()?).stderr(file).env("RUST_BACKTRACE", "0");
    let ending = child::finish(command, LIMIT)?;
    let output = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    Ok(Played { ending, output })
}

/// Where the command writes.
pub(super) fn folder() -> Result<PathBuf> {
    let folder = workspace::target_dir()?.join("soak");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Played {
    /// What went wrong, in one line.
    pub(super) fn what(&self) -> String {
        if self.ending == Ending::TimedOut {
            return format!("no end after {} s", LIMIT.as_secs());
        }
        let full = |line: &&str| !line.is_empty();
        let said = match self.output.split_once("panicked at ") {
            Some((_, told)) => told.lines().skip(1).map(str::trim).find(full),
            None => self.output.lines().rev().map(str::trim).find(full),
        };
        said.unwrap_or("it ended without a word").chars().take(300).collect()
    }

    /// The text behind the first `mark` at the beginning of a line.
    pub(super) fn after(&self, mark: &str) -> Option<&str> {
        self.output.lines().find_map(|line| line.trim().strip_prefix(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_one_line() {
        let played = |ending, output: &str| Played { ending, output: output.to_owned() };
        let panic = "FAULTLESS_SEED=3\n\nthread 'x' panicked at a.rs:1:2:\nW3: size\n left: 1\n";
        assert_eq!(played(Ending::Failed, panic).what(), "W3: size");
        assert_eq!(played(Ending::Failed, "a\nb\n\n").what(), "b");
        assert_eq!(played(Ending::TimedOut, panic).what(), "no end after 600 s");
        assert_eq!(played(Ending::Failed, panic).after("FAULTLESS_SEED="), Some("3"));
    }
}
