//! The scripted MMU: no signals, no host mappings. It walks the page table itself, page by page,
//! and so is deterministic and fast enough for millions of cases.
//!
//! Key type: [`ScriptedMmu`]. A piece of an access that lies in one page is copied under the
//! table's lock; what the page shows may be a page of the file that is being written. Byte-exact:
//! U1 holds to the byte by construction. The [stepped](crate::stepped) address space makes its
//! accesses by the same walk, in smaller pieces.

use std::cmp::min;

use faultless_page::{FrameNumber, PAGE_SIZE};

use crate::memory::PhysicalMemory;
use crate::mmu::{Handler, Mmu, Operation, Outcome, Policy, Protection};

/// Where every scripted address space begins. Only a number: nothing is mapped there.
pub(crate) const BASE: usize = 0x1000_0000;

/// Faults of one piece that are resolved, in vain, before the access gives up: the real processor
/// would try for ever, and only a script that steals at every fault gets here.
const PATIENCE: u32 = 1000;

/// What a cleared piece is copied from.
static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// An MMU made of nothing but the page table.
#[derive(Debug)]
pub struct ScriptedMmu(());

// SAFETY: U1, U2, U3 and U7 are `walk`'s, which reaches only pages that the handler finds in the
// table. `BASE` is only a number.
unsafe impl Mmu for ScriptedMmu {
    const NAME: &'static str = "scripted";

    fn reserve(_pages: usize) -> Self {
        Self(())
    }

    fn base(&self) -> usize {
        BASE
    }

    fn map(&self, _: usize, _: &PhysicalMemory, _: FrameNumber, _: Protection) {}

    fn unmap(&self, _page: usize) {}

    unsafe fn access(
        &self,
        handler: &dyn Handler,
        operation: Operation,
        addr: usize,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        // SAFETY: the caller's promise; a page divides a page.
        unsafe { walk(handler, PAGE_SIZE, operation, addr, len, policy) }
    }
}

/// Accesses `len` bytes at `addr`, at most `most` of them between two looks at the table: each
/// piece wholly or not at all, in order (U1, U2, U7). The atomic policy asks the handler for no
/// fault (U3).
///
/// # Safety
/// The kernel address of `operation` is valid for `len` bytes, and `most` divides a page.
pub(crate) unsafe fn walk(
    handler: &dyn Handler,
    most: usize,
    operation: Operation,
    addr: usize,
    len: usize,
    policy: Policy,
) -> Outcome {
    let access = operation.access();
    let (mut done, mut tries) = (0, 0);
    while done < len {
        let at = addr + done;
        let piece = min(most - at % most, len - done);
        let found = handler.with_page(at, access, &mut |page| {
            // SAFETY: the offset lies in the page.
            let user = unsafe { page.as_ptr().add(at % PAGE_SIZE) };
            // SAFETY: the piece lies in the page, which stays mapped while this runs, and in the
            // caller's part.
            unsafe { perform(handler, operation, user, done, piece) };
        });
        if found {
            (done, tries) = (done + piece, 0);
            continue;
        }
        tries += 1;
        if policy == Policy::Atomic {
            handler.atomic_fault(at);
        }
        if policy == Policy::Atomic || tries > PATIENCE {
            return Outcome { left: len - done, fault: None };
        }
        if let Err(fault) = handler.fault(at, access) {
            return Outcome { left: len - done, fault: Some(fault) };
        }
    }
    Outcome { left: 0, fault: None }
}

/// Performs the piece of `operation` that begins `done` bytes into it.
///
/// # Safety
/// `user` lies in a page that the handler has found, and is valid for reads and writes of `len`
/// bytes; the kernel side is valid for `done + len`. The two may overlap.
unsafe fn perform(
    handler: &dyn Handler,
    operation: Operation,
    user: *mut u8,
    done: usize,
    len: usize,
) {
    let (to, from) = match operation {
        Operation::Load(dst) => (dst.wrapping_add(done), user.cast_const()),
        Operation::Store(src) => (user, src.wrapping_add(done)),
        Operation::Clear => (user, ZEROS.as_ptr()),
        Operation::ProbeRead | Operation::ProbeWrite => return,
    };
    // SAFETY: both sides by the caller.
    unsafe { handler.copy(to, from, len) };
}
