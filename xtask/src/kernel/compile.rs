//! Compiles the C programs of `tests/kernel`, static but for one.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use faultless_tools::process::on_path;
use faultless_tools::workspace;

/// A C compiler with its library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compiler {
    Glibc,
    Musl,
    /// As the first, with the library apart.
    Dynamic,
}

impl Compiler {
    const fn program(self) -> &'static str {
        match self {
            Self::Glibc | Self::Dynamic => "cc",
            Self::Musl => "musl-gcc",
        }
    }

    /// What the programs that it makes end with.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Dynamic => "dynamic",
        }
    }

    /// What this machine lacks for it, and how to get it; `None` if nothing.
    pub(super) fn missing(self) -> Option<String> {
        let package = match self {
            Self::Glibc | Self::Dynamic => "gcc libc6-dev",
            Self::Musl => "musl-tools",
        };
        let program = self.program();
        (!on_path(program)).then(|| format!("{program} is missing: apt-get install {package}"))
    }

    /// Compiles a program of the workspace, given by its path there; where it is.
    pub(super) fn compile(self, source: &str) -> Result<PathBuf> {
        if let Some(missing) = self.missing() {
            anyhow::bail!(missing);
        }
        let source = workspace::root().join(source);
        let folder = workspace::target_dir()?.join("kernel").join("programs");
        std::fs::create_dir_all(&folder)?;
        let stem = source.file_stem().context("a source without a name")?.to_string_lossy();
        let program = folder.join(format!("{stem}.{}", self.suffix()));
        if is_newer(&program, &source) {
            return Ok(program);
        }
        let mut compiler = Command::new(self.program());
        compiler.args(["-O1", "-Wall", "-Wno-stringop-overread", "-pthread", "-I"]);
        compiler.arg(workspace::root().join("tests/programs/c"));
        if self != Self::Dynamic {
            compiler.arg("-static");
        }
        let status = compiler.arg("-o").arg(&program).arg(&source).status()?;
        ensure!(status.success(), "{} does not compile", source.display());
        Ok(program)
    }
}

/// Whether a program was made after the last change of its source and of the common header.
fn is_newer(program: &Path, source: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let header = workspace::root().join("tests/programs/c/common.h");
    changed(program).is_some_and(|made| {
        [source, &header].iter().all(|path| changed(path).is_some_and(|changed| changed < made))
    })
}
