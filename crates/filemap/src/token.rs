//! The permission to lock pages: the system call's token, borrowed, and the fault handler's own.
//!
//! [`MayFault`] belongs to `faultless-usercopy`: nothing that may fault can be called without a
//! mutable borrow of it. Locking a page borrows the same token for as long as the page stays
//! locked. The two crates do not know each other; this module ties them together, and so is where
//! DL1–DL3 stop compiling.

use core::marker::PhantomData;

use faultless_page::LockContext;
use faultless_usercopy::MayFault;

/// A token from which the permission to lock pages can be borrowed.
pub trait PageLocks {
    /// Permission to lock pages for as long as the token stays borrowed.
    fn page_locks(&mut self) -> LockContext<'_>;
}

impl PageLocks for MayFault {
    #[inline(always)]
    fn page_locks(&mut self) -> LockContext<'_> {
        // SAFETY: the context borrows the only token of this system call mutably. Every access that
        // may fault, and every further context, needs the same borrow, so none can happen while it
        // lives.
        unsafe { LockContext::new() }
    }
}

/// The permission itself, as [`Kernel::reclaim`](faultless_page::Kernel::reclaim) is given it.
impl PageLocks for LockContext<'_> {
    #[inline(always)]
    fn page_locks(&mut self) -> LockContext<'_> {
        self.reborrow()
    }
}

/// A token of a thread that may take the inode lock (I): it holds neither a page lock nor the lock
/// of an address space (M), which rank behind it. The fault handler holds M: [`InFault`] is none.
pub trait InodeLocks: PageLocks {}

impl InodeLocks for MayFault {}

/// The token of kernel code that reads and writes files for itself, through
/// [`KernelMemory`](faultless_usercopy::KernelMemory): it can lock inodes and pages, and there is
/// no way from it to user memory.
///
/// Zero-sized; neither `Clone` nor `Send`.
#[derive(Debug)]
pub struct InKernel(PhantomData<*const ()>);

impl InKernel {
    /// Asserts that this thread may take inode and page locks.
    ///
    /// # Safety
    /// This thread holds no page lock, no inode lock and no lock of an address space, and has no
    /// other token. A store that keeps its data in files of this library, such as a loop device,
    /// may hold those of files above it: no call on a file below leads back to them. (A broken
    /// promise corrupts no memory; it can deadlock.)
    #[must_use]
    pub const unsafe fn enter() -> Self {
        Self(PhantomData)
    }
}

impl PageLocks for InKernel {
    #[inline(always)]
    fn page_locks(&mut self) -> LockContext<'_> {
        // SAFETY: `enter` promised that no page lock is held; nothing takes an `InKernel` to user
        // memory, and the borrow excludes a second context.
        unsafe { LockContext::new() }
    }
}

impl InodeLocks for InKernel {}

/// The fault handler's token: it can lock pages, and there is no way from it to user memory.
///
/// Zero-sized; neither `Clone` nor `Send`.
#[derive(Debug)]
pub struct InFault(PhantomData<*const ()>);

impl InFault {
    /// Asserts that this thread has just entered the page-fault handler.
    ///
    /// # Safety
    /// The faulting access was made with no page lock held (the rule that [`MayFault`] enforces for
    /// code that goes through it), and this thread has no other `InFault`.
    #[must_use]
    pub const unsafe fn enter() -> Self {
        Self(PhantomData)
    }
}

impl PageLocks for InFault {
    #[inline(always)]
    fn page_locks(&mut self) -> LockContext<'_> {
        // SAFETY: `enter` promised that the interrupted thread holds no page lock; the handler
        // makes no access to user memory through this crate, for want of a `MayFault`, and the
        // borrow excludes a second context.
        unsafe { LockContext::new() }
    }
}
