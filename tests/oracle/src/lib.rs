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
//! | the systems | `system`, `faultless`, `linux` (with `process`, `signals`) |
//! | the comparison, and what it forgives | `compare`, `run`, `equalize`, `expected`, `overlap` |
//! | what was seen | `found` |
//! | smaller cases | `shrink` |
//!
//! What is forgiven, and why, is in `docs/oracle.md`. The oracle does not know what is right: that
//! is [`faultless_host::model`]'s.
//!
//! `RLIMIT_FSIZE` is the whole process's: while a case with a limit runs, other threads should not
//! write to regular files. Of two oracles in one process the second waits for the first to be
//! dropped.

mod compare;
mod equalize;
mod expected;
mod faultless;
mod found;
mod generate;
mod linux;
mod op;
mod overlap;
mod process;
mod run;
mod shrink;
mod signals;
mod system;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_controls::Defects;

use self::faultless::Faultless;
use self::linux::Linux;

pub use self::found::{Difference, Tally};
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
