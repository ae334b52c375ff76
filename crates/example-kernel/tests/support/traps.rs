//! The trap entry of the machine, and a user program that loads and stores.

use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use faultless::prelude::*;
use faultless::usercopy::arch::{Faulting, NoWindow, native};
use faultless::usercopy::extable::Kind;
use faultless_example_kernel::arch::TrapFrame;
use faultless_example_kernel::{Current, Outcome, Signal, on_page_fault};
use faultless_host::mm_real::{Trap, Trapped, on_trap};
use faultless_host::mmu;

use super::{cpu, nothing_held};

/// Bits of the error code and of RFLAGS.
const WRITE: usize = 1 << 1;
const USER: usize = 1 << 2;
const AC: usize = 1 << 18;

/// Page faults of the thread come to its CPU.
pub(super) fn install() {
    on_trap(entry);
}

/// The entry code: saves what it has to, calls the kernel, and restores.
fn entry(fault: &mut Trap) -> Trapped {
    let cpu = cpu();
    let user_mode = cpu.user_mode.replace(false);
    let mode = if user_mode { USER } else { 0 };
    let error = match fault.access.expect("x86-64 says it") {
        mmu::Access::Read => mode,
        mmu::Access::Write => mode | WRITE,
    };
    let rflags = if cpu.window_open.get() { AC } else { 0 };
    let mut frame = TrapFrame { rip: fault.instruction, rflags, ..TrapFrame::default() };
    cpu.faults.set(cpu.faults.get() + 1);
    assert_eq!(cpu.interrupts_off.get(), 0, "a fault with a short lock");
    // A fault makes the CPU forget the entry.
    let page = (fault.address / PAGE_SIZE).wrapping_sub(cpu.first_page());
    cpu.reload(page);
    let space = cpu.running.borrow().clone();
    let outcome = space.map_or(Outcome::Bug, |space| {
        let current = Current { space: &*space, task: &NoTask, table: &cpu.extable };
        on_page_fault(&current, &mut frame, fault.address, error)
    });
    if let Outcome::Signal(signal) = outcome {
        // The program's access is a copy, which ends here.
        cpu.signal.set(Some(signal));
        frame.rip = cpu.extable.search(frame.rip).unwrap_or(frame.rip);
    }
    // The access that is made again walks the table.
    cpu.reload(page);
    fault.instruction = frame.rip;
    cpu.window_open.set(frame.rflags & AC != 0);
    cpu.user_mode.set(user_mode);
    if outcome == Outcome::Bug { Trapped::Bug } else { Trapped::Handled }
}

/// Page faults of this CPU so far.
pub(crate) fn faults() -> usize {
    cpu().faults.get()
}

/// The user program loads bytes.
pub(crate) fn load(address: usize, bytes: &mut [u8]) -> Result<(), Signal> {
    user_program(|| {
        let user = with_exposed_provenance(address);
        // SAFETY: the kernel side is a slice; the user side is a user address, with its faults.
        unsafe { native::copy_from::<NoWindow, Faulting>(bytes.as_mut_ptr(), user, bytes.len()) }
    })
}

/// The user program stores bytes.
pub(crate) fn store(address: usize, bytes: &[u8]) -> Result<(), Signal> {
    user_program(|| {
        let user = with_exposed_provenance_mut(address);
        // SAFETY: as above.
        unsafe { native::copy_to::<NoWindow, Faulting>(user, bytes.as_ptr(), bytes.len()) }
    })
}

fn user_program(access: impl FnOnce() -> usize) -> Result<(), Signal> {
    nothing_held("a user program");
    cpu().waiting_since.set(None);
    cpu().user_mode.set(true);
    let left = access();
    cpu().user_mode.set(false);
    match cpu().signal.take() {
        Some(signal) => Err(signal),
        None => {
            assert_eq!(left, 0, "an access that ended without a signal");
            Ok(())
        }
    }
}

/// A trap that has not happened, at an instruction; RFLAGS and the error code are given.
pub(crate) fn trap(
    space: &super::Space,
    instruction: usize,
    address: usize,
    rflags: usize,
    error: usize,
) -> Outcome {
    let mut frame = TrapFrame { rip: instruction, rflags, ..TrapFrame::default() };
    let current = Current { space, task: &NoTask, table: &cpu().extable };
    on_page_fault(&current, &mut frame, address, error)
}

/// An instruction that may fault, and whose faults are resolved.
pub(crate) fn registered() -> usize {
    let entries = cpu().extable.entries().iter();
    let mut faulting = entries.filter(|entry| entry.kind() == Kind::Faulting);
    faulting.next().expect("an entry").insn()
}
