//! The nightly toolchain: fuzzing and branch coverage need it, nothing else does.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::process::Command;

use crate::process::capture;
use crate::workspace;

/// What to say where there is none.
pub const HOW_TO_GET: &str =
    "there is no nightly toolchain: rustup toolchain install nightly --profile minimal";

/// An installed nightly toolchain, by its name.
#[derive(Debug)]
pub struct Nightly(String);

impl Nightly {
    /// The one that is called nightly, else the one with the latest date.
    #[must_use]
    pub fn find() -> Option<Self> {
        let listed = capture(Command::new("rustup").args(["toolchain", "list"])).ok()?;
        choose(&listed.output).map(Self)
    }

    /// A command of the toolchain that runs in the root of the workspace.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.0]).args(args).current_dir(workspace::root());
        // What the cargo of this command said of itself is not true of nightly's.
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        command
    }
}

impl fmt::Display for Nightly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Of the toolchains that rustup lists, the nightly to take.
fn choose(listed: &str) -> Option<String> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    // Dates begin with a digit, hosts do not: the name without a date comes last.
    let nightly = names.filter(|name| *name == "nightly" || name.starts_with("nightly-"));
    let rank = |name: &&str| {
        let date: String =
            name.chars().skip("nightly-".len()).take_while(|c| !c.is_ascii_alphabetic()).collect();
        (date.is_empty(), date)
    };
    nightly.max_by_key(rank).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_may_be_named_by_its_date() {
        let plain = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                     nightly-2026-03-01-x86_64-unknown-linux-gnu\n\
                     nightly-x86_64-unknown-linux-gnu\n";
        assert_eq!(choose(plain).as_deref(), Some("nightly-x86_64-unknown-linux-gnu"));
        let dated = "nightly-2026-03-01-x86_64-unknown-linux-gnu\n\
                     nightly-2026-11-20-x86_64-unknown-linux-gnu (default)\n\
                     1.95.0-x86_64-unknown-linux-gnu\n";
        let latest = Some("nightly-2026-11-20-x86_64-unknown-linux-gnu");
        assert_eq!(choose(dated).as_deref(), latest);
        assert_eq!(choose("stable-x86_64-unknown-linux-gnu\nno installed toolchains\n"), None);
    }
}
