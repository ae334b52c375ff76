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

use faultless_tools::child::{self, Played};
use faultless_tools::{process, workspace};

/// A round that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(600);

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

/// Builds the tests and the models. What the step `tests` of `cargo xtask test` has built is not
/// built again.
pub(super) fn build() -> Result<Programs> {
    let packages: BTreeMap<String, String> = workspace::metadata()?
        .packages
        .into_iter()
        .map(|package| (package.id.repr, package.name.to_string()))
        .collect();
    let mut command = process::cargo(["test", "--locked", "--no-run"]);
    command.args(workspace::TESTS).arg("--message-format=json-render-diagnostics");
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

/// Runs a program to its end, or to [`LIMIT`]. `name` is that of the checker, which runs one
/// program at a time.
pub(super) fn play(command: &mut Command, name: &str) -> Result<Played> {
    let log = folder()?.join(format!("{}.out", name.replace([' ', '/', ':'], "-")));
    child::play(command, &log, LIMIT)
}

/// Where the command writes.
pub(super) fn folder() -> Result<PathBuf> {
    let folder = workspace::target_dir()?.join("soak");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
