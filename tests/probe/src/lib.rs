//! A kernel in miniature without std, without alloc and without the C library.
//!
//! `cargo xtask probe` builds it as a static library, links it with nothing and runs it: whatever
//! in the core crates needed more would break the build or the link. The exit code tells whether
//! the bytes that were written came back.

#![no_std]

mod freestanding;
mod kernel;
mod planted;

use faultless::parts::RamStore;
use faultless::prelude::*;

use kernel::{Nowhere, Probe, Process, StaticFrames, USER_BYTES};

static CACHE: PageCache<Probe> = PageCache::new(StaticFrames::new(), SpinWait);
static NEW: RamStore = RamStore::new();
static OLD: PrepareCommitStore<Nowhere> = PrepareCommitStore::new(Nowhere);

/// Bytes that are written: more than two pages, and neither end on a page boundary.
const LEN: usize = 2 * PAGE_SIZE + 100;
/// Where they are written.
const POS: u64 = 3000;

/// What the program does. Zero if all is well, 1 for wrong bytes, else the error number and 100.
#[unsafe(no_mangle)]
extern "C" fn probe_main() -> i32 {
    for store in [&NEW as &'static dyn AddressSpaceOperations, &OLD] {
        match there_and_back(&CACHE, store) {
            Ok(true) => {}
            Ok(false) => return 1,
            Err(errno) => return 100 + errno.code(),
        }
    }
    planted::violate()
}

/// Writes by way of two segments, reads it back, extends, truncates, syncs: whether the bytes are
/// right.
fn there_and_back(
    cache: &'static PageCache<Probe>,
    store: &'static dyn AddressSpaceOperations,
) -> Result<bool, Errno> {
    // SAFETY: the entry of a system call: nothing is locked.
    let mut token = unsafe { MayFault::assert() };
    let process = Process::new();
    let user = process.memory();
    for at in 0..LEN {
        process.poke(at, pattern(at));
    }
    let file = Inode::<Probe>::new(cache, store, NoUserMappings, 0);

    let segments = [process.slice(0, 1)?, UserSlice::EMPTY, process.slice(1, LEN - 1)?];
    let mut from = IovIter::new(user, &segments).map_err(|_| Errno::Invalid)?;
    let written = file.write(&mut token, &mut from, &WriteOptions::at(POS), &NoTask)?;
    file.fsync(&mut token, SyncKind::All, &NoTask)?;

    let target = USER_BYTES - LEN;
    let slice = process.slice(target, LEN)?;
    let read = file.read(&mut token, &mut IovIter::from_slice(user, &slice), POS, &NoTask)?;
    let right = (0..LEN).all(|at| process.peek(target + at) == pattern(at));
    file.set_size(&mut token, 10 * POS, &NoTask)?;
    file.set_size(&mut token, 1, &NoTask)?;

    // A bad address is refused before anything is touched (U5).
    let refused = process.slice(USER_BYTES - 1, 2) == Err(Errno::Fault);
    Ok(written.bytes == LEN && read == LEN && right && file.size() == 1 && refused)
}

const fn pattern(at: usize) -> u8 {
    (at % 251) as u8 + 1
}
