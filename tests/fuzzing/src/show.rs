//! Telling what a script does, to reproduce a finding: with `FAULTLESS_SHOW` set, each
//! step is printed before it is done.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

/// Prints `what`, if that is asked for.
pub(super) fn show(what: fmt::Arguments<'_>) {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    let asked = ASKED.get_or_init(|| match std::env::var_os("FAULTLESS_SHOW") {
        Some(_) => Asked::Yes,
        None => Asked::No,
    });
    if *asked == Asked::Yes {
        eprintln!("{what}");
    }
}

#[derive(PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}
