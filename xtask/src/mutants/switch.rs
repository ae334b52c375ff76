//! The switch of woven mutants: [`on`] says whether a mutant is the active one.
//!
//! Not part of xtask: its text becomes the crate `faultless_mutant` of the woven copy (`copy.rs`), which the mutated crates
//! call at every place that has a mutant. The environment decides before `main`: `FAULTLESS_MUTANT=<id>` makes one mutant
//! active, `FAULTLESS_REACH=<file>` writes a byte at offset `id` of that file whenever a mutant's place is reached.
//!
//! [`on`] is called from handlers of SIGSEGV: it loads an atomic, and in reach mode calls `pwrite`. It neither locks nor allocates.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Value of [`ACTIVE`] when places are recorded and no mutant is active.
const RECORDING: u32 = u32::MAX;
/// Ids are below this.
const MOST: usize = 1 << 16;

/// The active mutant; 0 is none.
static ACTIVE: AtomicU32 = AtomicU32::new(0);
static SEEN: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];
static FILE: OnceLock<File> = OnceLock::new();

// SAFETY: the section holds pointers to functions that take nothing this one misses; the loader calls them once, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: extern "C" fn() = init;

extern "C" fn init() {
    if let Some(id) = std::env::var("FAULTLESS_MUTANT").ok().and_then(|id| id.parse().ok()) {
        ACTIVE.store(id, Ordering::Relaxed);
    } else if let Some(path) = std::env::var_os("FAULTLESS_REACH")
        && let Ok(file) = File::options().write(true).open(path)
        && FILE.set(file).is_ok()
    {
        ACTIVE.store(RECORDING, Ordering::Relaxed);
    }
}

/// Whether this mutant is active.
#[inline]
pub fn on(id: u32) -> bool {
    let active = ACTIVE.load(Ordering::Relaxed);
    active == id || (active == RECORDING && reached(id))
}

/// Records that the place of this mutant was reached; no mutant is active.
#[cold]
fn reached(id: u32) -> bool {
    if let (Some(file), Some(seen)) = (FILE.get(), SEEN.get(id as usize))
        && !seen.swap(true, Ordering::Relaxed)
    {
        // A record that cannot be written makes a survivor, which will be looked at.
        let _ = file.write_at(&[1], u64::from(id));
    }
    false
}
