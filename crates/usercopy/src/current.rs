//! The ready-made [`UserMemory`]: the address space that the CPU is in, through this architecture's
//! instructions and the exception table.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use crate::arch::{AccessWindow, Atomic, Faulting, native};
use crate::{MayFault, UserAddr, UserMemory};

/// The current address space. `W` opens and closes the window to user memory (SMAP, PAN, SUM).
///
/// The trap handler must do its part: on a kernel-mode page fault at a user address it looks the
/// instruction up in the [exception table](crate::extable). An entry of the kind
/// [`Atomic`](crate::extable::Kind::Atomic) is fixed up at once; one of the kind
/// [`Faulting`](crate::extable::Kind::Faulting) only after the ordinary fault handling failed. So
/// there is no "page faults disabled" counter, and the atomic copy costs nothing extra.
pub struct CurrentUser<W> {
    range: Range<usize>,
    window: PhantomData<fn() -> W>,
}

impl<W: AccessWindow> CurrentUser<W> {
    /// The user addresses `range` of whatever address space is current when a copy runs.
    ///
    /// # Safety
    /// No address in `range` ever belongs to the kernel (a mapping that Rust code owns or refers
    /// to), and all are canonical, so that a bad one is a page fault and no other trap; the trap
    /// handler serves the exception table as described at the type; `W` is right for this CPU. On
    /// an architecture without an assembly back end ([`native::EXACT_FAULTS`] is false) all of
    /// `range` must be mapped, for nothing can be fixed up there.
    #[must_use]
    #[inline]
    pub const unsafe fn new(range: Range<usize>) -> Self {
        Self { range, window: PhantomData }
    }
}

impl<W> fmt::Debug for CurrentUser<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUser").field("range", &self.range).finish()
    }
}

// SAFETY: U1, U2 and U7 are the contract of `arch::native`, checked by the conformance tests on
// real faults; U3 by the two kinds of exception-table entries, which `new` obliges the trap handler
// to tell apart; U5 since `range` is never changed and `new` excludes kernel memory; U6 since the
// probes are a load and an atomic no-op.
unsafe impl<W: AccessWindow> UserMemory for CurrentUser<W> {
    type Token = MayFault;

    #[inline]
    fn user_range(&self) -> Range<usize> {
        self.range.clone()
    }

    #[inline]
    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: `dst` by the caller; `src` is a user address, where a fault is fixed up.
        unsafe { native::copy_from::<W, Faulting>(dst, with_exposed_provenance(src.get()), len) }
    }

    #[inline(always)]
    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: as in `raw_copy_from_user`.
        unsafe { native::copy_from::<W, Atomic>(dst, with_exposed_provenance(src.get()), len) }
    }

    #[inline]
    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: `src` by the caller; `dst` is a user address, where a fault is fixed up.
        unsafe { native::copy_to::<W, Faulting>(with_exposed_provenance_mut(dst.get()), src, len) }
    }

    #[inline(always)]
    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: as in `raw_copy_to_user`.
        unsafe { native::copy_to::<W, Atomic>(with_exposed_provenance_mut(dst.get()), src, len) }
    }

    #[inline]
    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: `dst` is a user address, where a fault is fixed up.
        unsafe { native::clear::<W, Faulting>(with_exposed_provenance_mut(dst.get()), len) }
    }

    #[inline]
    unsafe fn raw_probe_readable(&self, _may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: a user address, where a fault is fixed up.
        unsafe { native::probe_read::<W>(with_exposed_provenance(addr.get())) }
    }

    #[inline]
    unsafe fn raw_probe_writeable(&self, _may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: a user address, where a fault is fixed up.
        unsafe { native::probe_write::<W>(with_exposed_provenance_mut(addr.get())) }
    }
}
