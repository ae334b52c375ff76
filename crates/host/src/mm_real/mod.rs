//! The real MMU: the processor itself. A user address space is a reserved range of this process's
//! addresses, a present page is a mapping of the machine's memfd there, and a fault is a SIGSEGV.
//!
//! Key type: [`RealMmu`]. `signal` owns the handler and the thread's idea of "the current access".
//! A kernel that brings its own page tables and trap entry uses [`RealMmu`] for its `map` and
//! `unmap`, and takes the faults by [`on_trap`].

mod signal;
#[cfg(test)]
mod tests;

use std::ffi::c_void;
use std::ptr::NonNull;

use faultless_page::{FrameNumber, PAGE_SIZE};
use faultless_usercopy::arch::{Atomic, Faulting, NoWindow, native};

use crate::memory::PhysicalMemory;
use crate::mmu::{Handler, Mmu, Operation, Outcome, Policy, Protection};

pub use signal::{Trap, TrapHandler, Trapped, end_access, install, on_trap};

/// A reserved range of addresses.
///
/// # Invariants
/// `base` is the start of `pages * PAGE_SIZE` bytes of address space that belong to this value
/// alone and live as long as it does.
#[derive(Debug)]
pub struct RealMmu {
    base: NonNull<c_void>,
    pages: usize,
}

// SAFETY: the value owns a range of addresses; mappings are not bound to threads.
unsafe impl Send for RealMmu {}
// SAFETY: the system serialises changes of mappings; `&self` reads two fields that never change.
unsafe impl Sync for RealMmu {}

/// Nothing accessible, nothing reserved but the addresses.
const EMPTY: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

impl RealMmu {
    fn page(&self, page: usize) -> *mut c_void {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        self.base.as_ptr().wrapping_byte_add(page * PAGE_SIZE)
    }

    /// Replaces the mapping of one page.
    fn replace(&self, page: usize, prot: i32, flags: i32, fd: i32, offset: usize) {
        let addr = self.page(page);
        let flags = flags | libc::MAP_FIXED;
        let offset = offset as libc::off_t;
        // SAFETY: the page belongs to this value alone (invariant): no Rust object lies there.
        let mapped = unsafe { libc::mmap(addr, PAGE_SIZE, prot, flags, fd, offset) };
        assert_eq!(mapped, addr, "mmap: {}", std::io::Error::last_os_error());
    }
}

// SAFETY: U1, U2 and U7 are the contract of `arch::native`; U3: the exception table tells the
// signal handler which copies are atomic, and it fixes those up at once; user addresses are those
// of a range that only this value maps.
unsafe impl Mmu for RealMmu {
    const NAME: &'static str = "real";

    fn reserve(pages: usize) -> Self {
        signal::install();
        let len = pages * PAGE_SIZE;
        // SAFETY: a new mapping at an address of the system's choice disturbs no other.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, EMPTY, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        let base = NonNull::new(base).expect("an address");
        // INVARIANT: just mapped.
        Self { base, pages }
    }

    fn base(&self) -> usize {
        self.base.as_ptr().expose_provenance()
    }

    fn map(
        &self,
        page: usize,
        memory: &PhysicalMemory,
        frame: FrameNumber,
        protection: Protection,
    ) {
        let prot = match protection {
            Protection::None => libc::PROT_NONE,
            Protection::Read => libc::PROT_READ,
            Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        let (fd, offset) = memory.backing(frame);
        self.replace(page, prot, libc::MAP_SHARED, fd, offset);
    }

    fn unmap(&self, page: usize) {
        self.replace(page, libc::PROT_NONE, EMPTY, -1, 0);
    }

    unsafe fn access(
        &self,
        handler: &dyn Handler,
        operation: Operation,
        addr: usize,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        signal::with_handler(handler, operation.access(), || match policy {
            // SAFETY: the caller's promise.
            Policy::Atomic => unsafe { atomic(operation, addr, len) },
            // SAFETY: the caller's promise.
            Policy::Faulting => unsafe { faulting(operation, addr, len) },
        })
    }
}

impl Drop for RealMmu {
    fn drop(&mut self) {
        // SAFETY: the range is ours (invariant), and no code that would use it knows an
        // address in it any more.
        let _ = unsafe { libc::munmap(self.base.as_ptr(), self.pages * PAGE_SIZE) };
    }
}

/// # Safety
/// As for [`Mmu::access`].
unsafe fn atomic(operation: Operation, addr: usize, len: usize) -> usize {
    let user = std::ptr::with_exposed_provenance_mut::<u8>(addr);
    match operation {
        // SAFETY: the kernel side by the caller; the user side faults into the exception table.
        Operation::Load(dst) => unsafe { native::copy_from::<NoWindow, Atomic>(dst, user, len) },
        // SAFETY: as above.
        Operation::Store(src) => unsafe { native::copy_to::<NoWindow, Atomic>(user, src, len) },
        // SAFETY: as above.
        Operation::Clear => unsafe { native::clear::<NoWindow, Atomic>(user, len) },
        Operation::ProbeRead | Operation::ProbeWrite => unreachable_probe(),
    }
}

/// # Safety
/// As for [`Mmu::access`]; runs under [`signal::with_handler`].
unsafe fn faulting(operation: Operation, addr: usize, len: usize) -> usize {
    let user = std::ptr::with_exposed_provenance_mut::<u8>(addr);
    match operation {
        // SAFETY: the kernel side by the caller; the user side faults into the exception table.
        Operation::Load(dst) => unsafe { native::copy_from::<NoWindow, Faulting>(dst, user, len) },
        // SAFETY: as above.
        Operation::Store(src) => unsafe { native::copy_to::<NoWindow, Faulting>(user, src, len) },
        // SAFETY: as above.
        Operation::Clear => unsafe { native::clear::<NoWindow, Faulting>(user, len) },
        // SAFETY: as above.
        Operation::ProbeRead => unsafe { native::probe_read::<NoWindow>(user) },
        // SAFETY: as above.
        Operation::ProbeWrite => unsafe { native::probe_write::<NoWindow>(user) },
    }
}

fn unreachable_probe() -> ! {
    panic!("a probe is always a faulting access")
}
