//! The scripted MMU: no signals, no host mappings. It walks the page table itself, page by page,
//! and so is deterministic and fast enough for millions of cases.
//!
//! Key type: [`ScriptedMmu`]. A piece of an access that lies in one page is copied under the
//! table's lock; what the page shows may be a page of the file that is being written. Byte-exact:
//! U1 holds to the byte by construction.

use std::cmp::min;

use faultless_page::{FrameNumber, PAGE_SIZE};

use crate::memory::PhysicalMemory;
use crate::mmu::{Handler, Mmu, Operation, Outcome, Policy, Protection};

/// Where every scripted address space begins. Only a number: nothing is mapped there.
const BASE: usize = 0x1000_0000;

/// Faults of one page that are resolved, in vain, before the access gives up: the real processor
/// would try for ever, and only a script that steals at every fault gets here.
const PATIENCE: u32 = 1000;

/// An MMU made of nothing but the page table.
#[derive(Debug)]
pub struct ScriptedMmu(());

// SAFETY: accesses go page by page and only to a page that the handler finds in the table; each
// piece is copied wholly or not at all, in order (U1, U2, U7); the atomic policy asks the handler
// for no fault (U3). `BASE` is only a number.
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
        let access = operation.access();
        let (mut done, mut tries) = (0, 0);
        while done < len {
            let at = addr + done;
            let piece = min(PAGE_SIZE - at % PAGE_SIZE, len - done);
            let found = handler.with_page(at, access, &mut |page| {
                // SAFETY: the offset lies in the page.
                let user = unsafe { page.as_ptr().add(at % PAGE_SIZE) };
                // SAFETY: the piece lies in the page, which stays mapped while this runs, and in
                // the caller's part.
                unsafe { perform(operation, user, done, piece) };
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
}

/// Performs the piece of `operation` that begins `done` bytes into it.
///
/// # Safety
/// `user` is valid for reads and writes of `len` bytes; the kernel side is valid for `done + len`.
/// The two may overlap.
unsafe fn perform(operation: Operation, user: *mut u8, done: usize, len: usize) {
    match operation {
        Operation::Load(dst) => {
            // SAFETY: the piece lies in what the caller has.
            let dst = unsafe { dst.add(done) };
            // SAFETY: both sides by the caller; they may overlap, so this is a move.
            unsafe { user.copy_to(dst, len) };
        }
        Operation::Store(src) => {
            // SAFETY: the piece lies in what the caller has.
            let src = unsafe { src.add(done) };
            // SAFETY: as above.
            unsafe { user.copy_from(src, len) };
        }
        // SAFETY: by the caller.
        Operation::Clear => unsafe { user.write_bytes(0, len) },
        Operation::ProbeRead | Operation::ProbeWrite => {}
    }
}
