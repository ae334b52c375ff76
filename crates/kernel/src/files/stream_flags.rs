//! The flags of an open file without a place in the tree: how it is accessed, which stays, and
//! whether its calls wait.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

pub(super) struct StreamFlags(AtomicU32);

impl StreamFlags {
    /// Those of a file that is accessed this way, as far as `flags` mean anything to it.
    pub(super) const fn new(access: u32, flags: u32) -> Self {
        Self(AtomicU32::new(access | flags & linux::O_NONBLOCK))
    }

    /// As `F_GETFL` returns them.
    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// `F_SETFL`.
    pub(super) fn set(&self, flags: u32) {
        self.0.store(self.get() & linux::O_ACCMODE | flags & linux::O_NONBLOCK, Relaxed);
    }

    /// Checks that a call may wait.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub(super) fn need_wait(&self) -> Result<(), Errno> {
        if self.get() & linux::O_NONBLOCK == 0 { Ok(()) } else { Err(Errno::AGAIN) }
    }
}
