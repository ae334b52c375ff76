//! Building the copy until the compiler is content.
//!
//! What it complains about leads to mutants that do not type-check: they are *unviable*, and left
//! out. If a complaint is about the woven place and not about one mutant, the place's mutants are
//! left to be built one at a time. If it is about a call at compile time of a function that lost
//! its `const`, the call goes to the twin.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel, DiagnosticSpan};

use super::copy::Folders;
use super::list::Mutant;
use super::source::Source;
use super::weave::{Redirect, Woven, weave};

/// Rounds after which a build that keeps failing is given up.
const MOST_ROUNDS: usize = 60;

/// What is woven, and what had to be left out.
#[derive(Debug, Default)]
pub(super) struct Loom {
    pub(super) sources: BTreeMap<String, Source>,
    /// Mutants that do not compile, and what the compiler says.
    pub(super) unviable: BTreeMap<u32, String>,
    /// Mutants that a switch cannot choose.
    pub(super) apart: BTreeSet<u32>,
    pub(super) redirects: BTreeMap<String, BTreeSet<Redirect>>,
    woven: BTreeMap<String, Woven>,
}

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

impl Loom {
    pub(super) fn new(sources: BTreeMap<String, Source>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Weaves all mutants that are not left out, and writes the copy's sources.
    pub(super) fn weave(
        &mut self,
        mutants: &[Mutant],
        forced: Option<&Mutant>,
        folders: &Folders,
    ) -> Result<()> {
        let nothing = BTreeSet::new();
        for (path, source) in &self.sources {
            let inside = |mutant: &&Mutant| {
                mutant.file == *path
                    && !self.unviable.contains_key(&mutant.id)
                    && !self.apart.contains(&mutant.id)
            };
            let inside: Vec<&Mutant> = mutants.iter().filter(inside).collect();
            let redirects = self.redirects.get(path).unwrap_or(&nothing);
            let forced = forced.filter(|mutant| mutant.file == *path);
            if inside.is_empty() && redirects.is_empty() && forced.is_none() {
                folders.write(path, source.text.as_bytes())?;
                continue;
            }
            let woven = weave(source, &inside, forced, redirects).with_context(|| path.clone())?;
            self.apart.extend(inside.iter().map(|m| m.id).filter(|id| !woven.ids.contains(id)));
            folders.write(path, woven.text.as_bytes())?;
            self.woven.insert(path.clone(), woven);
        }
        Ok(())
    }

    /// Weaves and runs this cargo command until it succeeds.
    pub(super) fn settle(
        &mut self,
        mutants: &[Mutant],
        folders: &Folders,
        arguments: &[&str],
        say: &dyn Fn(&str),
    ) -> Result<Made> {
        for round in 1..=MOST_ROUNDS {
            self.weave(mutants, None, folders)?;
            say(&format!(
                "cargo {} (round {round}, {} unviable)",
                arguments[0],
                self.unviable.len()
            ));
            let made = cargo(folders, arguments)?;
            if made.success {
                return Ok(made);
            }
            let mut learnt = Learnt::Nothing;
            for error in &made.errors {
                learnt = learnt.max(self.learn(error));
            }
            if learnt == Learnt::Nothing {
                bail!("the woven copy does not build:\n{}", made.errors());
            }
        }
        bail!("the woven copy does not build after {MOST_ROUNDS} rounds")
    }

    fn learn(&mut self, error: &Diagnostic) -> Learnt {
        let code = error.code.as_ref().map_or("", |code| code.code.as_str());
        if code == "E0015" {
            return self.redirect(error);
        }
        let (primary, others): (Vec<_>, Vec<_>) =
            error.spans.iter().map(outermost).partition(|span| span.is_primary);
        for span in primary.iter().chain(&others) {
            let Some((_, woven)) = self.woven_at(span) else { continue };
            if let Some(id) = woven.blame(&bytes(span)) {
                self.unviable.insert(id, error.message.clone());
                return Learnt::Something;
            }
        }
        for span in primary.iter().chain(&others) {
            let Some((_, woven)) = self.woven_at(span) else { continue };
            let around = woven.around(&bytes(span));
            if !around.is_empty() {
                self.apart.extend(around);
                return Learnt::Something;
            }
        }
        Learnt::Nothing
    }

    /// A call at compile time goes to the twin of the function that it names.
    fn redirect(&mut self, error: &Diagnostic) -> Learnt {
        let Some(name) = error.message.split('`').nth(1).and_then(last_segment) else {
            return Learnt::Nothing;
        };
        let mut learnt = Learnt::Nothing;
        for span in error.spans.iter().filter(|span| span.is_primary).map(outermost) {
            let Some(path) = self.path_of(span) else { continue };
            let start = bytes(span).start;
            let origin = match self.woven.get(&path) {
                Some(woven) => {
                    let at = callee(&woven.text[bytes(span)], name).map(|at| start + at);
                    at.and_then(|at| woven.origin(at))
                }
                None => self.sources.get(&path).and_then(|source| {
                    let at = callee(&source.text[bytes(span)], name)?;
                    Some((start + at, super::weave::Copy::Woven))
                }),
            };
            if let Some(origin) = origin
                && self.redirects.entry(path).or_default().insert(origin)
            {
                learnt = Learnt::Something;
            }
        }
        learnt
    }

    fn path_of(&self, span: &DiagnosticSpan) -> Option<String> {
        self.sources.contains_key(&span.file_name).then(|| span.file_name.clone())
    }

    fn woven_at(&self, span: &DiagnosticSpan) -> Option<(&String, &Woven)> {
        self.woven.get_key_value(&span.file_name)
    }
}

/// Whether a complaint of the compiler led to a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Learnt {
    Nothing,
    Something,
}

/// The span in a source file, if the one given is in a macro's expansion.
fn outermost(span: &DiagnosticSpan) -> &DiagnosticSpan {
    let mut span = span;
    while let Some(expansion) = &span.expansion {
        span = &expansion.span;
    }
    span
}

fn bytes(span: &DiagnosticSpan) -> Range<usize> {
    span.byte_start as usize..span.byte_end as usize
}

/// The name of the function in a path with generics, such as `Leaf::<S>::new`.
fn last_segment(path: &str) -> Option<&str> {
    let path = path.split("::<").next().filter(|_| path.ends_with('>')).unwrap_or(path);
    let name = path.rsplit("::").next()?;
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

/// Where the called function is named in the text of a call.
fn callee(call: &str, name: &str) -> Option<usize> {
    let source = Source::new(call.to_owned());
    let expr: syn::Expr = syn::parse_str(call).ok()?;
    let ident = match &expr {
        syn::Expr::MethodCall(call) => &call.method,
        syn::Expr::Call(call) => match &*call.func {
            syn::Expr::Path(path) => &path.path.segments.last()?.ident,
            _ => return None,
        },
        _ => return None,
    };
    (ident == name).then(|| source.range(ident.span()).start)
}

/// Runs cargo in the copy.
pub(crate) fn cargo(folders: &Folders, arguments: &[&str]) -> Result<Made> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(&folders.workspace)
        .env("CARGO_TARGET_DIR", &folders.target)
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

/// The source files, from the root of the copy, that were compiled into anything.
pub(super) fn compiled_files(folders: &Folders, workspace: &Path) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folders.target.join("debug/deps"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "d") {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            // A line for each source, `path:`, follows the rules.
            let Some(file) = line.strip_suffix(':') else { continue };
            let file = Path::new(file);
            let file = file.strip_prefix(workspace).unwrap_or(file);
            files.insert(file.to_string_lossy().into_owned());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_called_function_is_found_in_a_call() {
        assert_eq!(callee("PageRun::new(new(1))", "new"), Some(9));
        assert_eq!(callee("new(1).next(new(2))", "next"), Some(7));
        assert_eq!(callee("a + b", "new"), None);
    }

    #[test]
    fn a_path_with_generics_ends_in_a_name() {
        assert_eq!(last_segment("units::PageRun::new"), Some("new"));
        assert_eq!(last_segment("Leaf::<S>::new"), Some("new"));
        assert_eq!(last_segment("Pool::<S, T>::new"), Some("new"));
        assert_eq!(last_segment("new::<T>"), Some("new"));
    }
}
