//! The switch from one thread's kernel stack to another's.

use core::arch::global_asm;

use core::ptr;

use x86_64::VirtAddr;
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::{FsBase, KernelGsBase};

use crate::arch::trap::TrapFrame;

global_asm!(
    r#"
    .section .text.switch_stacks,"ax"
    .globl switch_stacks
switch_stacks:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

    // The first thing that a thread does, with its frame at the stack pointer.
    .globl begin_thread
begin_thread:
    mov rdi, rsp
    call {begin}
    jmp trap_return
    .text
    "#,
    begin = sym super::faults::begin_thread,
);

unsafe extern "C" {
    /// Saves the stack pointer to `from` and goes on at the one that was saved in `to`.
    ///
    /// # Safety
    /// `to` was saved by this function, or is from [`first_stack_pointer`]; its thread runs on no
    /// other CPU. Interrupts are off.
    pub(crate) fn switch_stacks(from: *mut usize, to: usize);
    fn begin_thread();
}

/// Registers that [`switch_stacks`] pops.
const SAVED: usize = 6;

/// Where above a saved stack pointer the frame pointer stands, and the return address, in bytes.
pub(crate) const SAVED_FRAME_POINTER: usize = (SAVED - 1) * size_of::<usize>();
pub(crate) const SAVED_RETURN: usize = SAVED * size_of::<usize>();

/// Prepares the kernel stack of a thread, which ends at `top`: the thread begins with `frame`.
/// What its saved stack pointer is.
///
/// # Safety
/// The stack is large enough, aligned to 16 bytes at its top, and nothing else uses it.
pub(crate) unsafe fn first_stack_pointer(top: *mut u8, frame: TrapFrame) -> usize {
    let at = top.wrapping_sub(size_of::<TrapFrame>()).cast::<TrapFrame>();
    // SAFETY: the caller's promise; the size of a frame is a multiple of 16.
    unsafe { at.write(frame) };
    let start = at.cast::<usize>().wrapping_sub(1);
    // SAFETY: as above.
    unsafe { start.write(begin_thread as *const () as usize) };
    let saved = start.wrapping_sub(SAVED);
    // SAFETY: as above.
    unsafe { saved.cast::<[usize; SAVED]>().write([0; SAVED]) };
    saved.addr()
}

/// Goes to user mode for the first time, with interrupts on or off. The kernel stack is left as it
/// is: the next entry begins at its top.
pub(crate) fn enter_user(frame: &TrapFrame) -> ! {
    x86_64::instructions::interrupts::disable();
    // SAFETY: a frame of a program, at the stack pointer, with interrupts off.
    unsafe {
        core::arch::asm!("mov rsp, {}", "jmp trap_return", in(reg) ptr::from_ref(frame),
            options(noreturn));
    }
}

/// The FS and GS bases of the program of the current thread.
pub(crate) fn bases() -> (u64, u64) {
    without_interrupts(|| (FsBase::read().as_u64(), KernelGsBase::read().as_u64()))
}

/// Sets them.
pub(crate) fn set_bases(fs: u64, gs: u64) {
    without_interrupts(|| {
        FsBase::write(VirtAddr::new_truncate(fs));
        KernelGsBase::write(VirtAddr::new_truncate(gs));
    });
}
