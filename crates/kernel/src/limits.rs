//! Limits of what a process may use (`setrlimit`).
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

/// Kinds of limits.
const KINDS: usize = linux::RLIM_NLIMITS as usize;

/// No limit.
const NONE: u64 = u64::MAX;

/// Open files that a process has at most, and at first.
const MAX_FILES: usize = 65_536;
pub(crate) const FIRST_FILES: usize = 1024;

/// Bytes that a program of another user than root may lock.
const LOCKED: u64 = 8 << 20;

/// Bytes of the stack of a program.
pub(crate) const STACK: usize = 8 << 20;

/// The limits of a process: what holds, and what it may be set to.
#[derive(Debug)]
pub(crate) struct Limits([[AtomicU64; 2]; KINDS]);

impl Limits {
    /// Those of the first process.
    pub(crate) fn new() -> Self {
        let limits = core::array::from_fn(|kind| {
            let [now, most] = match kind as u32 {
                linux::RLIMIT_STACK => [STACK as u64, NONE],
                linux::RLIMIT_NOFILE => [FIRST_FILES as u64, MAX_FILES as u64],
                linux::RLIMIT_CORE => [0, NONE],
                linux::RLIMIT_MEMLOCK => [LOCKED, LOCKED],
                _ => [NONE, NONE],
            };
            [AtomicU64::new(now), AtomicU64::new(most)]
        });
        Self(limits)
    }

    /// Takes those of a parent.
    pub(crate) fn copy(&self, from: &Self) {
        for (own, other) in self.0.as_flattened().iter().zip(from.0.as_flattened()) {
            own.store(other.load(Relaxed), Relaxed);
        }
    }

    /// Bytes that a file may have.
    pub(crate) fn file_size(&self) -> u64 {
        self.0[linux::RLIMIT_FSIZE as usize][0].load(Relaxed)
    }

    /// A limit, and the largest that it may be set to.
    ///
    /// # Errors
    /// `EINVAL`: there is no such kind.
    pub(crate) fn get(&self, kind: usize) -> Result<[u64; 2], Errno> {
        let limit = self.0.get(kind).ok_or(Errno::INVAL)?;
        Ok([limit[0].load(Relaxed), limit[1].load(Relaxed)])
    }

    /// Sets both.
    ///
    /// # Errors
    /// `EINVAL`: there is no such kind, or the limit is larger than the largest; `EPERM` for more
    /// open files than there can be.
    pub(crate) fn set(&self, kind: usize, new: [u64; 2]) -> Result<(), Errno> {
        let limit = self.0.get(kind).ok_or(Errno::INVAL)?;
        if new[0] > new[1] {
            return Err(Errno::INVAL);
        }
        if kind as u32 == linux::RLIMIT_NOFILE && new[1] > MAX_FILES as u64 {
            return Err(Errno::PERM);
        }
        limit.iter().zip(new).for_each(|(limit, new)| limit.store(new, Relaxed));
        Ok(())
    }
}
