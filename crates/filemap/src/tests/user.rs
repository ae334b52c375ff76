//! User memory: the scripted pages of the conformance suite, with atomic copies that can be made to
//! come short, and a hook at the next access that may fault.

use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::boxed::Box;
use std::vec::Vec;

use faultless_usercopy::conformance::Layout;
use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::{MayFault, UserAddr, UserMemory, UserSlice};

/// Bytes that can be read. The last page of them cannot be written.
pub(super) const READABLE: usize = 5 * 4096;

/// Something that happens once, at an access that may fault.
type Hook = Box<dyn FnOnce()>;

/// Five pages, all of them there; the last one is read-only.
pub(super) struct User {
    pages: Scripted,
    /// Bytes that one atomic copy moves at most: pages come and go.
    pub(super) atomic: Cell<usize>,
    /// Accesses that may fault.
    pub(super) faulting: Cell<u32>,
    hook: RefCell<Option<Hook>>,
    atomic_hook: RefCell<Option<Hook>>,
}

impl User {
    pub(super) fn new() -> Self {
        let pages = Scripted::new();
        pages.set_hole(0..0);
        let (atomic, faulting) = (Cell::new(usize::MAX), Cell::new(0));
        let (hook, atomic_hook) = (RefCell::new(None), RefCell::new(None));
        Self { pages, atomic, faulting, hook, atomic_hook }
    }

    /// Bytes from `offset` on cannot be accessed.
    pub(super) fn ends_at(&self, offset: usize) {
        let base = self.pages.base().get();
        self.pages.set_hole(base + offset..base + READABLE);
    }

    /// Everything can be read again.
    pub(super) fn heal(&self) {
        self.pages.set_hole(0..0);
        self.atomic.set(usize::MAX);
    }

    /// What happens at the next access that may fault, before it.
    pub(super) fn at_next_fault(&self, hook: impl FnOnce() + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    /// What happens at the next atomic copy to user memory, before it.
    pub(super) fn at_next_atomic_store(&self, hook: impl FnOnce() + 'static) {
        *self.atomic_hook.borrow_mut() = Some(Box::new(hook));
    }

    /// `len` bytes at `offset`.
    #[track_caller]
    pub(super) fn slice(&self, offset: usize, len: usize) -> UserSlice {
        let addr = UserAddr::new(self.pages.base().get() + offset);
        UserSlice::new(self, addr, len).expect("in the five pages")
    }

    /// Puts `bytes` at `offset`, whatever the protection; where that is.
    #[track_caller]
    pub(super) fn put(&self, offset: usize, bytes: &[u8]) -> UserSlice {
        let slice = self.slice(offset, bytes.len());
        self.pages.poke(slice.addr(), bytes);
        slice
    }

    /// What is at `offset`.
    pub(super) fn get(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = std::vec![0; len];
        self.pages.peek(self.slice(offset, len).addr(), &mut bytes);
        bytes
    }

    fn may_fault(&self) {
        self.faulting.set(self.faulting.get() + 1);
        let hook = self.hook.borrow_mut().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

// SAFETY: the scripted pages keep the contract; an atomic copy of less than it was asked for counts
// the rest as not copied.
unsafe impl UserMemory for User {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.pages.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        self.may_fault();
        // SAFETY: the same contract.
        unsafe { self.pages.raw_copy_from_user(token, dst, src, len) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        let tried = len.min(self.atomic.get());
        // SAFETY: the same contract, for a part.
        let left = unsafe { self.pages.raw_copy_from_user_atomic(dst, src, tried) };
        len - tried + left
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        self.may_fault();
        // SAFETY: the same contract.
        unsafe { self.pages.raw_copy_to_user(token, dst, src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        let hook = self.atomic_hook.borrow_mut().take();
        if let Some(hook) = hook {
            hook();
        }
        let tried = len.min(self.atomic.get());
        // SAFETY: the same contract, for a part.
        let left = unsafe { self.pages.raw_copy_to_user_atomic(dst, src, tried) };
        len - tried + left
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.pages.raw_clear_user(token, dst, len) }
    }
}
