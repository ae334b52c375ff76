//! The copies of a [`UserMemory`](faultless_usercopy::UserMemory) whose accesses are
//! [operations](crate::mmu::Operation): the same for each address space.

/// The token and the five copies of a `UserMemory` for [`MayFault`](faultless_usercopy::MayFault),
/// made of the type's own
/// `unsafe fn access(&self, Operation, UserAddr, len: usize, Policy) -> Outcome`, whose caller
/// promises what that of [`Mmu::access`](crate::mmu::Mmu::access) does.
macro_rules! copies_by_access {
    () => {
        type Token = ::faultless_usercopy::MayFault;

        unsafe fn raw_copy_from_user(
            &self,
            _may: &mut Self::Token,
            dst: *mut u8,
            src: ::faultless_usercopy::UserAddr,
            len: usize,
        ) -> usize {
            let operation = $crate::mmu::Operation::Load(dst);
            // SAFETY: the same promise.
            unsafe { self.access(operation, src, len, $crate::mmu::Policy::Faulting) }.left
        }

        unsafe fn raw_copy_from_user_atomic(
            &self,
            dst: *mut u8,
            src: ::faultless_usercopy::UserAddr,
            len: usize,
        ) -> usize {
            let operation = $crate::mmu::Operation::Load(dst);
            // SAFETY: the same promise.
            unsafe { self.access(operation, src, len, $crate::mmu::Policy::Atomic) }.left
        }

        unsafe fn raw_copy_to_user(
            &self,
            _may: &mut Self::Token,
            dst: ::faultless_usercopy::UserAddr,
            src: *const u8,
            len: usize,
        ) -> usize {
            let operation = $crate::mmu::Operation::Store(src);
            // SAFETY: the same promise.
            unsafe { self.access(operation, dst, len, $crate::mmu::Policy::Faulting) }.left
        }

        unsafe fn raw_copy_to_user_atomic(
            &self,
            dst: ::faultless_usercopy::UserAddr,
            src: *const u8,
            len: usize,
        ) -> usize {
            let operation = $crate::mmu::Operation::Store(src);
            // SAFETY: the same promise.
            unsafe { self.access(operation, dst, len, $crate::mmu::Policy::Atomic) }.left
        }

        unsafe fn raw_clear_user(
            &self,
            _may: &mut Self::Token,
            dst: ::faultless_usercopy::UserAddr,
            len: usize,
        ) -> usize {
            let operation = $crate::mmu::Operation::Clear;
            // SAFETY: the same promise.
            unsafe { self.access(operation, dst, len, $crate::mmu::Policy::Faulting) }.left
        }
    };
}
pub(crate) use copies_by_access;
