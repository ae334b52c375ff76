//! The other side of `synced`: it looks at Linux's own files, which a program on a machine cannot
//! see.
//!
//! A program asks by an empty file, `now-NAME` or `soon-NAME`: names are Linux's, so it is there at
//! once. The answer is another one: `yes-NAME` if the file NAME of the folder holds the pattern,
//! `no-NAME` if it does not. What is asked for soon is answered once it does.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;

/// What may be asked for.
const NAMES: [&str; 3] = ["sync", "syncfs", "age"];
/// Bytes of the files.
const BYTES: u64 = 5 * 4096 + 100;

/// Answers what is asked in the folder, if anything is.
///
/// # Errors
/// The answer cannot be written.
pub(crate) fn answer(folder: &Path) -> Result<()> {
    for name in NAMES {
        let there = |what: &str| folder.join(format!("{what}-{name}")).exists();
        let (now, soon) = (there("now"), there("soon"));
        if !(now || soon) || there("yes") || there("no") {
            continue;
        }
        let holds = fs::read(folder.join(name)).is_ok_and(|bytes| is_pattern(&bytes));
        if holds || now {
            let answer = if holds { "yes" } else { "no" };
            File::create(folder.join(format!("{answer}-{name}")))?;
        }
    }
    Ok(())
}

/// Whether the bytes are those of `pattern` in `common.h`.
fn is_pattern(bytes: &[u8]) -> bool {
    let expected = (0..BYTES).map(|at| (at * 7 + at / 4096 * 13 + 1) as u8);
    bytes.iter().copied().eq(expected)
}
