//! `cargo xtask programs --speed`: how long programs take on Linux's file systems and on machines.
//! A report: nothing depends on it.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use comfy_table::Table;

use crate::machine::{Machine, Setting};
use crate::tools::{PATIENCE, Tools};

/// What is measured: a name and a script.
const WORK: &[(&str, &str)] = &[
    ("fsx, 20,000 operations", "fsx -q -N 20000 -S 1 file"),
    (
        "fio, 64 MiB read and written",
        "fio --name=job --rw=randrw --bs=4k --size=64m --ioengine=psync --output=/dev/null",
    ),
    (
        "fio, the same by mmap",
        "fio --name=job --rw=randrw --bs=4k --size=64m --ioengine=mmap --output=/dev/null",
    ),
    ("sqlite, rollback journal", "sqlite_work delete"),
    ("sqlite, WAL", "sqlite_work wal"),
];

/// Runs of each, of which the fastest counts.
const RUNS: usize = 5;

/// Where Linux keeps files in memory.
const TMPFS: &str = "/dev/shm";

/// Measures and prints.
///
/// # Errors
/// A program fails.
pub(crate) fn print(tools: &Tools) -> Result<()> {
    let mut table = Table::new();
    let disk = std::env::temp_dir();
    let kind = kind_of(&disk)?;
    table.set_header(["seconds", "tmpfs", &kind, "Faultless, ram", "Faultless, file"]);
    for (name, script) in WORK {
        let setting = |store: &str| Setting { store: store.into(), ..Setting::default() };
        let on_linux = |folder: &Path| fastest(|| tools.time(script, folder, None));
        let on_machine = |store: &str| fastest(|| tools.time(script, &disk, Some(&setting(store))));
        let times = [
            on_linux(Path::new(TMPFS))?,
            on_linux(&disk)?,
            on_machine("ram")?,
            on_machine("file")?,
        ];
        let cells = times.map(|time| format!("{:.3}", time.as_secs_f64()));
        table.add_row(std::iter::once((*name).to_owned()).chain(cells));
    }
    println!("{table}");
    println!("The fastest of {RUNS} runs. A system call of a program on a machine costs a signal.");
    Ok(())
}

fn fastest(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut best = run()?;
    for _ in 1..RUNS {
        best = best.min(run()?);
    }
    Ok(best)
}

/// The kind of a folder's file system.
fn kind_of(folder: &Path) -> Result<String> {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Tools {
    /// How long a script takes in a new folder of `parent`, on Linux alone or on a machine.
    fn time(&self, script: &str, parent: &Path, setting: Option<&Setting>) -> Result<Duration> {
        let folder = tempfile::Builder::new().prefix("speed-").tempdir_in(parent)?;
        let path: PathBuf = fs::canonicalize(folder.path())?;
        let machine =
            setting.map(|setting| Machine::new(self.library(), setting.clone(), Some(&path)));
        let machine = machine.transpose()?;
        let sh = Path::new("sh");
        let mut shell =
            machine.as_ref().map_or_else(|| Command::new(sh), |machine| machine.command(sh));
        shell.current_dir(&path);
        let start = Instant::now();
        let (code, _) = self.script(shell, script, &path, PATIENCE)?;
        let time = start.elapsed();
        machine.map(Machine::finish).transpose()?;
        ensure!(code == Some(0), "{script}: exit code {code:?}");
        Ok(time)
    }
}
