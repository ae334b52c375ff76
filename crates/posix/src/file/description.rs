//! An open file description: what `open` makes, and `dup` and `fork` share.
//!
//! Key type: [`Description`]. Its position is guarded by a sleeping lock, which a read or a write
//! at the position holds from end to end; the calls with a position of their own take none.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;
use faultless::filemap::{DropBehind, ReadAhead, StoreCursor};
use faultless::page::{LockId, SleepMutex, Spin, SpinLock};
use faultless::prelude::{ErrorCursor, Inode, Kernel};
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::system::System;

bitflags! {
    /// What a file is open for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AccessMode: u32 {
        /// Reads.
        const READ = 1;
        /// Writes.
        const WRITE = 2;
    }
}

impl AccessMode {
    /// What the flags of `open` say. With both `O_WRONLY` and `O_RDWR` it is open for neither: it
    /// takes the right to do both, and is for `ioctl`.
    #[must_use]
    pub const fn from_open_flags(flags: u32) -> Self {
        match flags & linux::O_ACCMODE {
            linux::O_RDONLY => Self::READ,
            linux::O_WRONLY => Self::WRITE,
            linux::O_RDWR => Self::all(),
            _ => Self::empty(),
        }
    }

    /// The flags of `open` that say so.
    #[must_use]
    pub const fn open_flags(self) -> u32 {
        match (self.contains(Self::READ), self.contains(Self::WRITE)) {
            (true, false) => linux::O_RDONLY,
            (false, true) => linux::O_WRONLY,
            (true, true) => linux::O_RDWR,
            (false, false) => linux::O_ACCMODE,
        }
    }
}

/// The flags of `open` that `F_SETFL` can change.
const SETTABLE: u32 =
    linux::O_APPEND | linux::O_NONBLOCK | linux::O_DIRECT | linux::O_NOATIME | linux::FASYNC;

/// The flags that stay with the description.
const KEPT: u32 = SETTABLE | linux::O_SYNC | linux::O_DSYNC | linux::O_LARGEFILE;

/// An open file.
#[doc(alias = "struct file")]
pub struct Description<S: System> {
    file: S::File,
    mode: AccessMode,
    /// Flags of `open`, as far as they are kept.
    flags: AtomicU32,
    /// Held while the position is used.
    pub(super) position_lock: SleepMutex<S::Kernel>,
    /// In bytes. Changed with `position_lock` held.
    pub(super) position: SpinLock<S::Kernel, u64>,
    /// What is read next, as far as one can tell.
    pub(crate) ahead: ReadAhead<S::Kernel>,
    /// What was brought in by calls that leave nothing behind. What is left of it at the last close
    /// goes the way of all pages: by flushers and reclaim.
    pub(super) behind: DropBehind<S::Kernel>,
    /// Up to where failed writebacks were reported (F2).
    pub(super) errors: SpinLock<S::Kernel, ErrorCursor>,
    /// Up to where the failures of its [`Volume`](crate::Volume) were reported.
    pub(super) store_errors: SpinLock<S::Kernel, StoreCursor>,
}

impl<S: System> Description<S> {
    /// An open file at position 0, with the flags of `open` (`O_RDWR`, `O_APPEND`, …). `O_CREAT`,
    /// `O_TRUNC` and the like are the caller's.
    #[must_use]
    pub fn new(file: S::File, flags: u32) -> Self {
        Self {
            mode: AccessMode::from_open_flags(flags),
            flags: AtomicU32::new(flags & KEPT),
            position_lock: SleepMutex::new(LockId::OpenFile(S::unique())),
            position: Spin::new(0),
            ahead: ReadAhead::with_limits(S::read_ahead_limits()),
            behind: DropBehind::new(),
            errors: Spin::new(file.error_cursor()),
            store_errors: Spin::new(StoreCursor::default()),
            file,
        }
    }

    /// The handle of the file.
    #[must_use]
    pub const fn file(&self) -> &S::File {
        &self.file
    }

    /// The file.
    #[must_use]
    pub fn inode(&self) -> &Inode<S::Kernel> {
        &self.file
    }

    /// What it is open for.
    #[must_use]
    pub const fn mode(&self) -> AccessMode {
        self.mode
    }

    /// What `F_GETFL` returns.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.mode.open_flags() | self.flags.load(Relaxed)
    }

    /// `F_SETFL`: changes the flags that can be changed, and no others.
    pub fn set_flags(&self, flags: u32) {
        let kept = self.flags.load(Relaxed) & !SETTABLE;
        self.flags.store(kept | (flags & SETTABLE), Relaxed);
    }

    /// Whether it is open for this.
    ///
    /// # Errors
    /// `EBADF` if not.
    pub(super) const fn need(&self, mode: AccessMode) -> Result<(), Errno> {
        if self.mode.contains(mode) { Ok(()) } else { Err(Errno::BADF) }
    }

    /// Its position, in bytes; that before or behind a call which uses it meanwhile.
    #[must_use]
    pub fn position(&self) -> u64 {
        *self.position.lock()
    }

    /// How the kernel waits.
    pub(super) fn wait(&self) -> &<S::Kernel as Kernel>::Wait {
        self.inode().mapping().cache().wait()
    }
}

impl<S: System> fmt::Debug for Description<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("mapping", &self.inode().mapping().id())
            .field("mode", &self.mode)
            .field("position", &*self.position.lock())
            .finish_non_exhaustive()
    }
}
