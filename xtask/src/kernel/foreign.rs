//! Programs that were not written for the kernel: Debian's busybox, fsx, and SQLite's shell. All of
//! them are static.

#![forbid(unsafe_code)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::MetadataCommand;

use faultless_tools::workspace;

/// The package whose sources have SQLite's shell. Nothing links it.
const SQLITE: &str = "sqlite3-src";

/// Where a static fsx is, from the home of cargo.
const FSX: &str = "static/bin/fsx";

/// What this machine lacks, and how to get it.
pub(super) fn missing() -> Vec<String> {
    let fsx = fsx().is_none().then(|| {
        "a static fsx is missing: RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
         cargo install --target x86_64-unknown-linux-gnu --root ~/.cargo/static fsx"
            .to_owned()
    });
    [no_busybox(), fsx].into_iter().flatten().collect()
}

/// How to get a static busybox, if this machine has none.
pub(super) fn no_busybox() -> Option<String> {
    let missing = "a static busybox is missing: apt-get install busybox-static";
    busybox().is_none().then(|| missing.to_owned())
}

/// A busybox of this machine that needs no libraries.
pub(super) fn busybox() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("busybox")).find(|path| is_static(path))
}

/// The fsx that was built without libraries.
pub(super) fn fsx() -> Option<PathBuf> {
    let cargo = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME")?).join(".cargo"),
    };
    Some(cargo.join(FSX)).filter(|path| is_static(path))
}

/// SQLite's shell, compiled.
pub(super) fn sqlite() -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace::root().join("Cargo.toml"))
        .exec()
        .context("cargo metadata")?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == SQLITE);
    let package = package.with_context(|| format!("no package {SQLITE}"))?;
    let sources = package.manifest_path.with_file_name("source").into_std_path_buf();
    let folder = metadata.target_directory.join("kernel/sqlite").join(package.version.to_string());
    std::fs::create_dir_all(&folder)?;
    let program = folder.join("sqlite3").into_std_path_buf();
    if program.is_file() {
        return Ok(program);
    }
    // Under another name until it is whole.
    let unfinished = program.with_extension("new");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-w", "-static", "-pthread", "-DSQLITE_OMIT_LOAD_EXTENSION", "-o"]);
    compiler.arg(&unfinished);
    compiler.args(["sqlite3.c", "shell.c"].map(|name| sources.join(name))).arg("-lm");
    let compiled = compiler.output().context("cc")?;
    let told = String::from_utf8_lossy(&compiled.stderr).into_owned();
    ensure!(compiled.status.success(), "SQLite does not compile: {told}");
    std::fs::rename(&unfinished, &program)?;
    Ok(program)
}

/// Whether it is a program without an interpreter.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let file = elf::ElfBytes::<elf::endian::AnyEndian>::minimal_parse(&bytes);
    let segments = file.ok().and_then(|file| file.segments());
    segments.is_some_and(|all| all.iter().all(|segment| segment.p_type != elf::abi::PT_INTERP))
}
