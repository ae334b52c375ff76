//! Building test programs in the copy, and what the compiler says if they do not build. What is in
//! the copy is the business of `copy` and `insert`.

#![forbid(unsafe_code)]

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};

use crate::copy::Folders;

/// What cargo made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Test programs, with the folder that they run in.
    pub(crate) programs: Vec<(PathBuf, PathBuf)>,
    errors: Vec<Diagnostic>,
    pub(crate) success: bool,
}

impl Made {
    /// What the compiler said.
    pub(crate) fn errors(&self) -> String {
        let errors = self.errors.iter().filter_map(|error| error.rendered.clone());
        errors.collect::<Vec<_>>().join("\n")
    }
}

/// Runs cargo in the copy.
pub(crate) fn cargo(folders: &Folders, arguments: &[&str]) -> Result<Made> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(&folders.workspace)
        .env("CARGO_TARGET_DIR", &folders.target)
        // Backtraces are not shown.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo")?;
    let stderr = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not shown.
            let _ = std::io::Read::read_to_string(&mut pipe, &mut text);
            text
        })
    });
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut made = Made::default();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        match message? {
            Message::CompilerArtifact(artifact) if artifact.profile.test => {
                let folder = artifact.manifest_path.parent().map(|p| p.as_std_path().to_owned());
                if let (Some(program), Some(folder)) = (artifact.executable, folder) {
                    made.programs.push((program.into_std_path_buf(), folder));
                }
            }
            Message::CompilerMessage(message)
                if message.message.level == DiagnosticLevel::Error
                    && !message.message.spans.is_empty() =>
            {
                made.errors.push(message.message);
            }
            _ => {}
        }
    }
    made.success = child.wait()?.success();
    let said = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
    if !made.success && made.errors.is_empty() {
        bail!("cargo {}: {said}", arguments.join(" "));
    }
    Ok(made)
}
