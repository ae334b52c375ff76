//! The stepped address space as the kernel's user memory, and the user program's loads and stores
//! in it.

use std::ops::Range;

use faultless_page::{Kernel, PAGE_SIZE};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use super::SteppedSpace;
use super::seams::{Point, Threads, UserFrames};
use super::table::BASE;
use crate::mmu::{Operation, Outcome, Policy, UserFault};

/// What a cleared piece is copied from.
static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

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
        outcome.fault.map_or(Ok(()), Err)
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
        outcome.fault.map_or(Ok(()), Err)
    }

    /// An access, piece by piece.
    ///
    /// # Safety
    /// The kernel address of `operation` is valid for `len` bytes.
    unsafe fn access(
        &self,
        operation: Operation,
        addr: UserAddr,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        let access = operation.access();
        let mut done = 0;
        while done < len {
            self.table.threads.point(Point::Step);
            let at = addr.get() + done;
            let now = (T::PIECE - at % T::PIECE).min(len - done);
            if let Some(user) = self.table.resident(at, access) {
                // SAFETY: the piece lies in the frame, which its entry keeps until the next point,
                // and in what the caller vouches for.
                unsafe { self.perform(operation, user.as_ptr(), done, now) };
                done += now;
                continue;
            }
            if policy == Policy::Atomic {
                return Outcome { left: len - done, fault: None };
            }
            if let Err(fault) = self.fault(at, access) {
                return Outcome { left: len - done, fault: Some(fault) };
            }
        }
        Outcome { left: 0, fault: None }
    }

    /// Performs the piece of `operation` that begins `done` bytes into it.
    ///
    /// # Safety
    /// `user` is valid for `len` bytes, at most a page, and the kernel side for `done + len`.
    unsafe fn perform(&self, operation: Operation, user: *mut u8, done: usize, len: usize) {
        let (to, from) = match operation {
            Operation::Load(dst) => (dst.wrapping_add(done), user.cast_const()),
            Operation::Store(src) => (user, src.wrapping_add(done)),
            Operation::Clear => (user, ZEROS.as_ptr()),
            Operation::ProbeRead | Operation::ProbeWrite => return,
        };
        // SAFETY: both sides by the caller.
        unsafe { self.table.frames.copy(to, from, len) };
    }
}

// SAFETY: accesses go piece by piece, in order, to frames that are resident, and end where one is
// not (U1, U2, U7); only those that are not atomic ask the fault handler (U3). The range is a
// number (U5); the probes are the provided ones (U6).
unsafe impl<K: Kernel<Frames: UserFrames>, T: Threads> UserMemory for SteppedSpace<K, T> {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        BASE..BASE + self.table.pages() * PAGE_SIZE
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::Load(dst), src, len, Policy::Faulting) }.left
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::Load(dst), src, len, Policy::Atomic) }.left
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::Store(src), dst, len, Policy::Faulting) }.left
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::Store(src), dst, len, Policy::Atomic) }.left
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::Clear, dst, len, Policy::Faulting) }.left
    }
}
