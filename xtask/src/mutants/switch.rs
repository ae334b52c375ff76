//! The switch of woven mutants: [`on`] says whether a mutant is the active one.
//!
//! Not part of xtask: its text becomes the crate `faultless_mutant` of the woven copy (`copy.rs`),
//! which the mutated crates call at every place that has a mutant. The environment decides before
//! `main`: `FAULTLESS_MUTANT=<id>` makes one mutant active, `FAULTLESS_REACH=<file>` sets the byte
//! at offset `id` of that file, which must be [`MOST`] bytes long, whenever a mutant's place is
//! reached. The file is mapped: what a test that ends badly has reached is in it, and so is what
//! its children reached.
//!
//! [`on`] is called from handlers of SIGSEGV. It loads and stores atomics, and neither locks nor
//! allocates nor enters the kernel.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Value of [`ACTIVE`] when places are recorded and no mutant is active.
const RECORDING: u32 = u32::MAX;
/// Ids are below this.
const MOST: usize = 1 << 16;

/// The active mutant; 0 is none.
static ACTIVE: AtomicU32 = AtomicU32::new(0);
/// The record; null or [`MOST`] bytes that stay mapped.
static RECORD: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());

// SAFETY: the section holds pointers to functions that take nothing this one misses; the loader
// calls them once, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: extern "C" fn() = init;

// Linux on machines with 64 bits; the crate has no dependency, so that it builds in a moment.
unsafe extern "C" {
    fn mmap(at: *mut c_void, len: usize, access: c_int, flags: c_int, fd: c_int, from: i64) -> *mut c_void;
}
const READ_WRITE: c_int = 3;
const SHARED: c_int = 1;
const FAILED: *mut c_void = usize::MAX as *mut c_void;

extern "C" fn init() {
    if let Some(id) = std::env::var("FAULTLESS_MUTANT").ok().and_then(|id| id.parse().ok()) {
        ACTIVE.store(id, Ordering::Relaxed);
    } else if let Some(path) = std::env::var_os("FAULTLESS_REACH")
        && let Ok(file) = File::options().read(true).write(true).open(path)
        && file.metadata().is_ok_and(|data| data.len() >= MOST as u64)
    {
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping, where nothing is; the file is as long as the mapping.
        let record = unsafe { mmap(ptr::null_mut(), MOST, READ_WRITE, SHARED, fd, 0) };
        if record != FAILED {
            RECORD.store(record.cast(), Ordering::Relaxed);
            ACTIVE.store(RECORDING, Ordering::Relaxed);
        }
    }
}

/// Whether this mutant is active. Inlined even where little is optimised: it stands in every loop.
#[inline(always)]
pub fn on(id: u32) -> bool {
    let active = ACTIVE.load(Ordering::Relaxed);
    active == id || (active == RECORDING && reached(id))
}

/// Records that the place of this mutant was reached; no mutant is active.
#[cold]
#[inline(never)]
fn reached(id: u32) -> bool {
    let record = RECORD.load(Ordering::Relaxed);
    if !record.is_null() && (id as usize) < MOST {
        // SAFETY: a record that is not null has `MOST` bytes, and is never unmapped.
        let byte = unsafe { record.add(id as usize) };
        // SAFETY: it is mapped for reading and writing, and every process that maps it uses
        // atomics.
        unsafe { &*byte }.store(1, Ordering::Relaxed);
    }
    false
}
