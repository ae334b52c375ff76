//! The seam between the two MMUs: what address spaces need from "hardware".
//!
//! Areas, page tables, M, the fault handler and the script are the same for both
//! ([`crate::space`]); an [`Mmu`] only shows frames at user addresses and performs accesses.
//! [`RealMmu`](crate::mm_real::RealMmu) lets the processor do it,
//! [`ScriptedMmu`](crate::mm_scripted::ScriptedMmu) walks the table itself.
//! [`on_both_mmus!`](crate::on_both_mmus) runs a test body on both.

use std::fmt;
use std::ptr::NonNull;

use faultless_page::{Errno, FrameNumber};

use crate::memory::PhysicalMemory;

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
}

/// What user code may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, arbitrary::Arbitrary)]
pub enum Protection {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
}

impl Protection {
    /// Whether `access` is allowed.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => !matches!(self, Self::None),
            Access::Write => matches!(self, Self::ReadWrite),
        }
    }
}

/// Why user code was stopped: the signal that it would get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFault {
    /// SIGSEGV: no mapping there, or not for this access.
    Segv,
    /// SIGBUS: a page past the end of its file.
    Bus,
    /// SIGBUS, too: the page could not be had for this reason.
    Error(Errno),
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segv => f.write_str("SIGSEGV"),
            Self::Bus => f.write_str("SIGBUS"),
            Self::Error(errno) => write!(f, "SIGBUS ({errno})"),
        }
    }
}

impl std::error::Error for UserFault {}

/// One access to user memory, as an [`Mmu`] performs it.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// From user memory to this kernel address.
    Load(*mut u8),
    /// From this kernel address to user memory.
    Store(*const u8),
    /// Zeros to user memory.
    Clear,
    /// One byte read for nothing.
    ProbeRead,
    /// One byte made writable without a change.
    ProbeWrite,
}

impl Operation {
    /// What it wants of the user's page.
    #[must_use]
    pub const fn access(&self) -> Access {
        match self {
            Self::Load(_) | Self::ProbeRead => Access::Read,
            Self::Store(_) | Self::Clear | Self::ProbeWrite => Access::Write,
        }
    }
}

/// Whether a fault is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// No: the access ends where it faults (U3).
    Atomic,
    /// Yes, by the fault handler.
    Faulting,
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes not accessed.
    pub left: usize,
    /// Why, if the fault handler was asked and refused.
    pub fault: Option<UserFault>,
}

impl Outcome {
    /// What a program gets that made the access.
    pub(crate) fn signal(self) -> Result<(), UserFault> {
        match self {
            Self { left: 0, .. } => Ok(()),
            Self { fault, .. } => Err(fault.unwrap_or(UserFault::Segv)),
        }
    }
}

/// What the "hardware" asks of the address space when an access faults, or to find a page.
pub trait Handler {
    /// Resolves a fault at `addr`. May sleep.
    ///
    /// # Errors
    /// The signal for the user program.
    fn fault(&self, addr: usize, access: Access) -> Result<(), UserFault>;

    /// An atomic copy has faulted at `addr`: it ends after what it can still reach. Pages are
    /// locked.
    fn atomic_fault(&self, addr: usize);

    /// Calls `with` with the kernel address of the page that lies at `addr`, if its entry is
    /// present and allows the access. The page cannot be unmapped meanwhile.
    fn with_page(&self, addr: usize, access: Access, with: &mut dyn FnMut(NonNull<u8>)) -> bool;

    /// Moves `len` bytes, as an instruction of the processor does: one of the two places lies in a
    /// page that [`with_page`](Self::with_page) has found, and the other one may. They may overlap.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of `len` bytes.
    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: by the caller.
        unsafe { from.copy_to(to, len) };
    }
}

/// "Hardware" that shows frames at user addresses and performs accesses. Pages of an address space
/// are counted from 0.
///
/// # Safety
/// The implementor's [`access`](Self::access) keeps U1, U2, U3 and U7 of
/// [`UserMemory`](faultless_usercopy::UserMemory), reaches no memory but the frames shown and the
/// kernel address given, and neither [`base`](Self::base) nor what lies around it belongs to Rust
/// code.
pub unsafe trait Mmu: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its name, for the names of tests.
    const NAME: &'static str;

    /// An address space of `pages` pages, with nothing in it.
    fn reserve(pages: usize) -> Self;

    /// User address of page 0.
    fn base(&self) -> usize;

    /// Shows `frame` in `page`, in place of whatever was there.
    fn map(&self, page: usize, memory: &PhysicalMemory, frame: FrameNumber, protection: Protection);

    /// Shows nothing in `page`.
    fn unmap(&self, page: usize);

    /// Accesses `len` bytes at `addr`.
    ///
    /// # Safety
    /// `addr..addr + len` lies in the address space; the kernel address of `operation` is valid for
    /// `len` bytes. The handler is the one of the address space that this MMU belongs to.
    unsafe fn access(
        &self,
        handler: &dyn Handler,
        operation: Operation,
        addr: usize,
        len: usize,
        policy: Policy,
    ) -> Outcome;
}
