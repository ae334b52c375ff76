//! The stepped address space as the kernel's user memory, and the user program's loads and stores
//! in it.

use std::ops::Range;
use std::ptr::NonNull;

use faultless_page::{Kernel, PAGE_SIZE};
use faultless_usercopy::{UserAddr, UserMemory};

use super::SteppedSpace;
use super::seams::{Point, Threads, UserFrames};
use crate::copies::copies_by_access;
use crate::lockcheck::Mode;
use crate::mm_scripted::{BASE, walk};
use crate::mmu::{Access, Handler, Operation, Outcome, Policy, UserFault};

/// The page that holds `addr`.
const fn page_of(addr: usize) -> usize {
    (addr - BASE) / PAGE_SIZE
}

impl<K: Kernel<Frames: UserFrames>, T: Threads> SteppedSpace<K, T> {
    /// The program loads `bytes.len()` bytes from byte `offset` of `page` on.
    ///
    /// # Errors
    /// The signal; what lies before the fault has been read.
    pub fn load(&self, page: usize, offset: usize, bytes: &mut [u8]) -> Result<(), UserFault> {
        let operation = Operation::Load(bytes.as_mut_ptr());
        // SAFETY: the kernel side is a slice of that length.
        let outcome =
            unsafe { self.access(operation, self.at(page, offset), bytes.len(), Policy::Faulting) };
        outcome.signal()
    }

    /// The program stores `bytes` from byte `offset` of `page` on.
    ///
    /// # Errors
    /// The signal; what lies before the fault has been written.
    pub fn store(&self, page: usize, offset: usize, bytes: &[u8]) -> Result<(), UserFault> {
        let operation = Operation::Store(bytes.as_ptr());
        // SAFETY: the kernel side is a slice of that length.
        let outcome =
            unsafe { self.access(operation, self.at(page, offset), bytes.len(), Policy::Faulting) };
        outcome.signal()
    }

    /// # Safety
    /// The kernel address of `operation` is valid for `len` bytes.
    unsafe fn access(
        &self,
        operation: Operation,
        addr: UserAddr,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        const { assert!(PAGE_SIZE.is_multiple_of(T::PIECE)) };
        // SAFETY: the caller's promise; a piece divides a page (just checked).
        unsafe { walk(self, T::PIECE, operation, addr.get(), len, policy) }
    }
}

impl<K: Kernel<Frames: UserFrames>, T: Threads> Handler for SteppedSpace<K, T> {
    fn fault(&self, addr: usize, access: Access) -> Result<(), UserFault> {
        let _m = self.m.lock(&self.table.threads, Mode::Read);
        self.resolve(page_of(addr), access)
    }

    fn atomic_fault(&self, _addr: usize) {}

    fn with_page(&self, addr: usize, access: Access, with: &mut dyn FnMut(NonNull<u8>)) -> bool {
        self.table.threads.point(Point::Step);
        // The frame stays until the next point.
        self.table.frame(page_of(addr), access).map(with).is_some()
    }

    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.table.frames.copy(to, from, len) };
    }
}

// SAFETY: U1, U2, U3 and U7 are `walk`'s; the range is a number (U5); the probes are the provided
// ones (U6).
unsafe impl<K: Kernel<Frames: UserFrames>, T: Threads> UserMemory for SteppedSpace<K, T> {
    copies_by_access!();

    fn user_range(&self) -> Range<usize> {
        BASE..BASE + self.table.pages() * PAGE_SIZE
    }
}
