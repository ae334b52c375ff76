//! The Linux oracle: the same random operations on a file and on a program's memory, by Faultless
//! on the real MMU and by the running Linux kernel on tmpfs and on a folder's file system, compared
//! after each of them.
//!
//! A [`Case`] is generated from a seed. [`Oracle::run`] runs it and returns the first
//! [`Difference`], if there is one; [`Oracle::shrink`] makes the case smaller. Compared are
//! answers, error numbers, signals, size and position after each operation, the memory that was
//! read to, and every byte of file and memory at the end.
//!
//! | concept | module |
//! |---|---|
//! | cases | `op`, `generate` |
//! | the systems | `system`, `faultless` (with `store`), `linux` (with `process`, `signals`) |
//! | the comparison, and what it forgives | `compare`, `settle`, `shadow`, `overlap` |
//! | smaller cases | `shrink` |
//!
//! What is forgiven, and why, is in `docs/oracle.md`. The oracle does not know what is right: that
//! is [`faultless_host::model`]'s.
//!
//! `RLIMIT_FSIZE` is the whole process's: while a case with a limit runs, other threads should not
//! write to regular files. Of two oracles in one process the second waits for the first to be
//! dropped.

mod compare;
mod faultless;
mod generate;
mod linux;
mod op;
mod overlap;
mod process;
mod settle;
mod shadow;
mod shrink;
mod signals;
mod store;
mod system;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_controls::Defects;

use self::faultless::Faultless;
use self::linux::Linux;

pub use self::op::{
    At, Backing, Bytes, Case, Form, GUARD, MAX_SEGMENT, Op, OpenMode, Place, Segment, Transfer,
    WINDOW, pattern,
};
pub use self::system::{Answer, Signal};

/// Cases after which the machine is taken down, checked for leaks (P5), and built anew.
const CASES_PER_MACHINE: u64 = 500;

/// One oracle at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The systems, and what has been seen so far.
#[derive(Debug)]
pub struct Oracle {
    faultless: Option<Faultless>,
    linux: Vec<Linux>,
    folder: PathBuf,
    planted: Option<Defects>,
    tally: Tally,
    _turn: MutexGuard<'static, ()>,
}

/// What the cases did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases.
    pub cases: u64,
    /// Operations.
    pub ops: u64,
    /// Reads and writes among them.
    pub transfers: u64,
    /// Reads and writes that returned less than was asked, but something.
    pub short: u64,
    /// Operations that failed, with whatever error.
    pub errors: u64,
    /// Failures because of the limit on the size, with a signal.
    pub over_limit: u64,
    /// Loads and stores that ended in a signal.
    pub signals: u64,
    /// Operations left out because they would have looked at junk past the end of the file through
    /// a mapping.
    pub left_out: u64,
    /// Operations whose source and destination overlapped in one page.
    pub overlaps: u64,
    /// Those of them after which the overlapping bytes differed.
    pub overlaps_differed: u64,
    /// Times that tmpfs showed junk that the case had stored past the end.
    pub junk_shown: u64,
    /// Times that a write that failed made Linux's file grow.
    pub grown_by_failure: u64,
}

/// Where Faultless and Linux disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the operation in the case; the number of operations if it showed at the end.
    pub step: usize,
    /// The operation, in words.
    pub op: String,
    /// What differs.
    pub what: String,
    /// What Faultless says.
    pub faultless: String,
    /// Which Linux.
    pub system: String,
    /// What it says.
    pub linux: String,
}

impl Oracle {
    /// Faultless and Linux on tmpfs and on the file system of `folder`. Waits until no other oracle
    /// is alive.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Self::build(folder, None)
    }

    /// As [`new`](Self::new), with the historical control 2.6.24-rc1 and these defects in place of
    /// Faultless's write. It knows neither limits nor what mappings store past the end: use
    /// [`Case::for_control`].
    ///
    /// # Errors
    /// If a file cannot be made.
    pub fn planted(folder: &Path, defects: Defects) -> io::Result<Self> {
        Self::build(folder, Some(defects))
    }

    fn build(folder: &Path, planted: Option<Defects>) -> io::Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let faultless = Some(Faultless::new(folder, planted)?);
        let linux = vec![Linux::on_tmpfs()?, Linux::on_disk(folder)?];
        let (folder, tally) = (folder.to_path_buf(), Tally::default());
        Ok(Self { faultless, linux, folder, planted, tally, _turn: turn })
    }

    /// The names of the systems that Faultless is compared with.
    pub fn systems(&self) -> impl Iterator<Item = &str> {
        self.linux.iter().map(|linux| linux.name.as_str())
    }

    /// What was done so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Runs a case.
    ///
    /// # Errors
    /// The first difference. A panic of Faultless is one, too.
    ///
    /// # Panics
    /// If the host fails: no memory, no room for a file.
    pub fn run(&mut self, case: &Case) -> Result<(), Box<Difference>> {
        if self.tally.cases.is_multiple_of(CASES_PER_MACHINE)
            && let Some(faultless) = self.faultless.take()
        {
            faultless.finish();
        }
        let mut faultless = match self.faultless.take() {
            Some(faultless) => faultless,
            None => Faultless::new(&self.folder, self.planted).expect("a machine"),
        };
        let (linux, tally) = (&mut self.linux, &mut self.tally);
        let run = AssertUnwindSafe(|| compare::run(case, &mut faultless, linux, tally));
        match catch_unwind(run) {
            Ok(result) => {
                self.faultless = Some(faultless);
                result
            }
            Err(panic) => {
                // It may be in any state: it is not taken down, another one is built.
                std::mem::forget(faultless);
                let told = panic.downcast_ref::<String>().map(String::as_str);
                let told = told.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(Box::new(Difference {
                    step: case.ops.len(),
                    op: "one of the operations".into(),
                    what: "Faultless panics".into(),
                    faultless: told.unwrap_or("a panic").into(),
                    system: "Linux".into(),
                    linux: "no panic".into(),
                }))
            }
        }
    }

    /// A smaller case that still differs, and how it does. Best with a case that [`run`](Self::run)
    /// found.
    pub fn shrink(&mut self, case: &Case, difference: Difference) -> (Case, Difference) {
        let before = self.tally;
        let result = shrink::shrink(case, difference, |case| self.run(case).err().map(|d| *d));
        self.tally = before;
        result
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} differs at step {}: {}", self.what, self.step, self.op)?;
        writeln!(f, "  Faultless: {}", self.faultless)?;
        write!(f, "  {}: {}", self.system, self.linux)
    }
}

impl std::error::Error for Difference {}

/// An empty file in `folder` that no other process can find.
fn unlinked_file(folder: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("faultless-oracle-{}-{number}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
