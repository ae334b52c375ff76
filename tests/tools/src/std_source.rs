//! A toolchain that can build the standard library from source, for targets that rustup's has none
//! for.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace;

/// How to come by one.
const HOW_TO_GET: &str =
    "apt-get install rustc-web cargo-web rust-web-src (or: rustup component add rust-src)";

/// A compiler with the source of its standard library, and its cargo.
#[derive(Debug)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
}

/// What this machine lacks to build the core library for other architectures, or `None`.
#[must_use]
pub fn missing() -> Option<String> {
    let missing = Toolchain::find().is_none();
    missing.then(|| format!("a Rust toolchain with the source of std: {HOW_TO_GET}"))
}

impl Toolchain {
    /// The toolchain that runs this, or else the system's, if it has the source of std.
    #[must_use]
    pub fn find() -> Option<Self> {
        let own = std::env::var_os("CARGO").map(PathBuf::from);
        let own = own.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        let folders = own.into_iter().chain([PathBuf::from("/usr/bin")]);
        folders
            .map(|folder| Self { cargo: folder.join("cargo"), rustc: folder.join("rustc") })
            .find(Self::has_source)
    }

    fn has_source(&self) -> bool {
        let Ok(output) = Command::new(&self.rustc).args(["--print", "sysroot"]).output() else {
            return false;
        };
        let sysroot = String::from_utf8_lossy(&output.stdout);
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
    }

    /// A cargo command of this toolchain, and no other, for `targets`.
    #[must_use]
    pub fn cargo(&self, verb: &str, targets: &[&str], output: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args([verb, "--locked", "--target-dir"]).arg(output);
        command.args(targets.iter().flat_map(|target| ["--target", target]));
        command.current_dir(workspace::root());
        command.env("CARGO_PROFILE_DEV_DEBUG", "false");
        // -Zbuild-std is unstable, and this variable is how a stable compiler is asked for it.
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        for variable in ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTC_WRAPPER", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command
    }
}
