//! Calls that were made and are not known.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use faultless_posix::Errno;
use syscalls::Sysno;

use crate::arch::serial::say;

/// Numbers of calls that were made and are not known, as bits.
static UNKNOWN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// A call that is not in the table.
pub(super) fn unknown(number: usize) -> Result<usize, Errno> {
    if let Some(word) = UNKNOWN.get(number / 64) {
        word.fetch_or(1 << (number % 64), Relaxed);
    }
    Err(Errno::NOSYS)
}

/// Lists the calls that were made and are not known.
pub(crate) fn tell_unknown() {
    for (at, word) in UNKNOWN.iter().enumerate() {
        let bits = word.load(Relaxed);
        for number in (0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| at * 64 + bit) {
            let name = Sysno::new(number).map_or("?", |call| call.name());
            say!("kernel: system call {number} ({name}) is not known");
        }
    }
}
