//! A wrapper around any user memory that counts what is asked of it, by kind.
//!
//! "No user touches besides the copy on the hot path" is then a test:
//! [`Accesses::besides_the_copy`] is 0.

use std::cell::Cell;
use std::ops::Range;

use faultless_usercopy::{MayFault, UserAddr, UserMemory, UserSlice};

/// How often each kind of access was asked for, and how many bytes were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Atomic copies, in both directions.
    pub atomic_copies: u64,
    /// Bytes that they copied.
    pub atomic_bytes: u64,
    /// Copies that may fault, in both directions, and clears.
    pub faulting_copies: u64,
    /// Bytes that they copied.
    pub faulting_bytes: u64,
    /// Ranges that were faulted in.
    pub fault_ins: u64,
    /// Bytes of these ranges (A10: no more than the copy will use).
    pub fault_in_bytes: u64,
}

impl Accesses {
    /// Accesses that are not atomic copies.
    #[must_use]
    pub const fn besides_the_copy(&self) -> u64 {
        self.faulting_copies + self.fault_ins
    }
}

/// User memory that counts. Not for several threads: each makes its own over the same memory.
#[derive(Debug)]
pub struct CountingUser<'u, U> {
    inner: &'u U,
    accesses: Cell<Accesses>,
}

impl<'u, U: UserMemory<Token = MayFault>> CountingUser<'u, U> {
    /// Counts what is asked of `inner`.
    #[must_use]
    pub const fn new(inner: &'u U) -> Self {
        let zero = Accesses {
            atomic_copies: 0,
            atomic_bytes: 0,
            faulting_copies: 0,
            faulting_bytes: 0,
            fault_ins: 0,
            fault_in_bytes: 0,
        };
        Self { inner, accesses: Cell::new(zero) }
    }

    /// The counts so far.
    #[must_use]
    pub const fn accesses(&self) -> Accesses {
        self.accesses.get()
    }

    fn update(&self, change: impl FnOnce(&mut Accesses)) {
        let mut accesses = self.accesses.get();
        change(&mut accesses);
        self.accesses.set(accesses);
    }

    fn atomic(&self, len: usize, left: usize) -> usize {
        self.update(|accesses| {
            accesses.atomic_copies += 1;
            accesses.atomic_bytes += (len - left) as u64;
        });
        left
    }

    fn faulting(&self, len: usize, left: usize) -> usize {
        self.update(|accesses| {
            accesses.faulting_copies += 1;
            accesses.faulting_bytes += (len - left) as u64;
        });
        left
    }

    fn fault_in(&self, slice: UserSlice) {
        self.update(|accesses| {
            accesses.fault_ins += 1;
            accesses.fault_in_bytes += slice.len() as u64;
        });
    }
}

// SAFETY: everything is passed on unchanged, so the contract is the inner memory's.
unsafe impl<U: UserMemory<Token = MayFault>> UserMemory for CountingUser<'_, U> {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.inner.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_from_user(token, dst, src, len) };
        self.faulting(len, left)
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_from_user_atomic(dst, src, len) };
        self.atomic(len, left)
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_to_user(token, dst, src, len) };
        self.faulting(len, left)
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_copy_to_user_atomic(dst, src, len) };
        self.atomic(len, left)
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_clear_user(token, dst, len) };
        self.faulting(len, left)
    }

    unsafe fn raw_probe_readable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_probe_readable(token, addr) };
        self.faulting(1, left)
    }

    unsafe fn raw_probe_writeable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        let left = unsafe { self.inner.raw_probe_writeable(token, addr) };
        self.faulting(1, left)
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        self.fault_in(slice);
        self.inner.fault_in_readable(token, slice)
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        self.fault_in(slice);
        self.inner.fault_in_writeable(token, slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::ScriptedMachine;
    use crate::mmu::Protection;
    use faultless_usercopy::{copy_from_user, copy_from_user_atomic};

    #[test]
    fn each_kind_of_access_is_counted() {
        let machine = ScriptedMachine::new();
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.fill(space.at(0, 0), 1, 4096).expect("mapped");
        let user = CountingUser::new(&space);
        let mut bytes = [0; 10];
        copy_from_user_atomic(&user, &mut bytes, space.slice(0, 0, 10)).expect("resident");
        assert_eq!(user.accesses().besides_the_copy(), 0);
        machine.syscall(|token| {
            assert_eq!(user.fault_in_readable(token, space.slice(0, 0, 100)), 0);
            copy_from_user(&user, token, &mut bytes, space.slice(0, 0, 10)).expect("mapped");
        });
        let expected = Accesses {
            atomic_copies: 1,
            atomic_bytes: 10,
            faulting_copies: 1,
            faulting_bytes: 10,
            fault_ins: 1,
            fault_in_bytes: 100,
        };
        assert_eq!(user.accesses(), expected);
    }
}
