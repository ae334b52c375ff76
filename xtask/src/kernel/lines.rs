//! `cargo xtask kernel lines`: what an embedder writes for each seam, as the kernel's own files
//! have it. The table stands in `docs/embedding.md`, too; a test compares them.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use faultless_tools::workspace;

/// Where the files are.
const SOURCE: &str = "crates/kernel/src";

/// Each seam, with the files that fill it.
const SEAMS: &[(&str, &[&str])] = &[
    ("`Kernel`: the machine as the cache sees it", &["memory/machine.rs"]),
    ("`Frames`: memory for pages", &["memory/frames.rs"]),
    ("`SyncFamily`: words, short locks, and read sections if the kernel has its own", &["sync.rs"]),
    ("`Wait`: sleep and wake", &["waits.rs", "sched/mod.rs"]),
    ("User copies: the exception table and the fault handler", &["arch/faults.rs"]),
    ("`UserMemory`: buffers and vectors of system calls", &["memory/user.rs"]),
    ("`Task`: what the caller is allowed, and whether it was killed", &["task.rs"]),
    ("`PageTable` of `faultless-posix`: four levels", &["memory/table.rs"]),
    ("`System::flush`: TLB shoot-down", &["arch/shootdown.rs"]),
    ("A store: files of zeros, for memory without a file", &["memory/anonymous.rs"]),
    ("Open files", &["files/regular.rs"]),
    ("System calls that move bytes", &["calls/io.rs"]),
    ("System calls that change mappings", &["calls/mappings.rs"]),
    ("A block device: requests that end in an interrupt", &["disk/mod.rs", "disk/requests.rs"]),
    ("Files of a mounted disk; the flusher", &["files/volume.rs"]),
    ("`Kernel::reclaim`, and the thread that reclaims", &["pressure.rs"]),
];

/// The table, in Markdown. Lines are counted without comments and blank lines.
pub(super) fn table() -> Result<String> {
    let folder = workspace::root().join(SOURCE);
    let mut text =
        String::from("| seam | the kernel's own files | lines of code |\n|---|---|---|\n");
    let mut sum = 0;
    for (seam, files) in SEAMS {
        let mut lines = 0;
        for file in *files {
            lines += count(&folder.join(file))?;
        }
        let named = files.iter().map(|file| format!("[{file}](../{SOURCE}/{file})"));
        writeln!(text, "| {seam} | {} | {lines} |", named.collect::<Vec<_>>().join(", "))?;
        sum += lines;
    }
    writeln!(text, "| All seams | | {sum} |")?;
    Ok(text)
}

fn count(path: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(code(&text))
}

/// Lines that are neither blank nor a comment.
fn code(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_not_counted() {
        assert_eq!(code("//! Module.\n\nfn f() {\n    // Why.\n    g(); // why\n}\n"), 3);
    }

    #[test]
    fn the_table_of_the_document_is_that_of_the_sources() {
        let document = std::fs::read_to_string(workspace::root().join("docs/embedding.md"));
        let table = table().expect("the files of the seams");
        assert!(
            document.expect("the document").contains(&table),
            "put the output of `cargo xtask kernel lines` into docs/embedding.md:\n{table}"
        );
    }
}
