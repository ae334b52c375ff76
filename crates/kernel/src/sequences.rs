//! Restartable sequences, as a thread has them (`rseq`): where the program is told which CPU it
//! runs on, and whether it may have to go on at an abort handler. How it does that is in `process`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use faultless_posix::Errno;

use crate::memory::USER_END;

/// Bytes of `struct rseq` that are used, and the alignment of all but the first version, as
/// programs are told (`AT_RSEQ_FEATURE_SIZE`, `AT_RSEQ_ALIGN`).
pub(crate) const USED: usize = 28;
pub(crate) const ALIGNMENT: usize = 32;

/// Bytes of its first version, aligned to as many.
const FIRST: usize = 32;

/// A `struct rseq` of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) address: usize,
    pub(crate) len: u32,
    /// Stands before each abort handler.
    pub(crate) signature: u32,
}

impl Area {
    /// Checks that it can be registered.
    ///
    /// # Errors
    /// `EINVAL` for its length or its place; `EFAULT` for memory of the kernel.
    pub(crate) fn check(&self) -> Result<(), Errno> {
        let Self { address, len, .. } = *self;
        let len = len as usize;
        let alignment = if len == FIRST { FIRST } else { ALIGNMENT };
        if len < FIRST || !address.is_multiple_of(alignment) {
            return Err(Errno::INVAL);
        }
        let end = address.checked_add(len).filter(|end| *end <= USER_END);
        end.map(drop).ok_or(Errno::FAULT)
    }
}

/// What a thread has of them. Changed by the thread itself, and before it begins.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    /// The registered area; at 0 if there is none.
    address: AtomicUsize,
    len: AtomicU32,
    signature: AtomicU32,
    /// The thread has left its CPU since it was in user mode, or others want it to be so.
    was_interrupted: AtomicBool,
}

impl Sequences {
    /// The registered area.
    pub(crate) fn area(&self) -> Option<Area> {
        let address = self.address.load(Relaxed);
        let (len, signature) = (self.len.load(Relaxed), self.signature.load(Relaxed));
        (address != 0).then_some(Area { address, len, signature })
    }

    /// Registers an area, or none.
    pub(crate) fn set(&self, area: Option<Area>) {
        let Area { address, len, signature } =
            area.unwrap_or(Area { address: 0, len: 0, signature: 0 });
        self.address.store(address, Relaxed);
        self.len.store(len, Relaxed);
        self.signature.store(signature, Relaxed);
    }

    /// A sequence does not go on; whether the thread has to be told on its way to user mode.
    pub(crate) fn interrupt(&self) -> bool {
        let is_registered = self.address.load(Relaxed) != 0;
        self.was_interrupted.store(is_registered, Relaxed);
        is_registered
    }

    /// Whether the thread was interrupted since this was asked last.
    pub(crate) fn take_interrupted(&self) -> bool {
        self.was_interrupted.swap(false, Relaxed)
    }
}
