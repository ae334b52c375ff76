//! Entry into the kernel and the way back to the interrupted code.
//!
//! All entries make a [`TrapFrame`](super::trap::TrapFrame) on the kernel stack of the thread, call
//! Rust with interrupts off, and go back by `iretq`. The vector registers are in the frame: the
//! precompiled core library uses them.

use core::arch::global_asm;

use spin::Once;
use x86_64::registers::model_specific::{LStar, Msr, SFMask};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::{PrivilegeLevel, VirtAddr};

use crate::arch::percpu::{KERNEL_STACK, SCRATCH};
use crate::arch::segments::{
    DOUBLE_FAULT_STACK, KERNEL_CODE, KERNEL_DATA, TRAP_STACK, USER_CODE, USER_DATA,
};
use crate::arch::trap::SYSTEM_CALL;

global_asm!(
    r#"
    .section .text.trap_stubs,"ax"
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
    pushq $0
    .endif
    pushq $vector
    jmp trap_entry
    .set vector, vector + 1
    .endr
    "#,
    options(att_syntax)
);

global_asm!(
    r#"
    .section .text.trap_entry,"ax"
    .globl trap_entry
    // On the trap stack, with the number and the error code before what the CPU has pushed.
trap_entry:
    cld
    clac
    push rax
    push rbx
    push rcx
    test byte ptr [rsp + 48], 3
    jz 1f
    swapgs
    mov rax, gs:[{kernel_stack}]
    jmp 2f
    // Below the red zone of what was interrupted.
1:  mov rax, [rsp + 64]
    sub rax, 128
    and rax, -16
2:  mov rbx, [rsp + 72]
    mov [rax - 8], rbx
    mov rbx, [rsp + 64]
    mov [rax - 16], rbx
    mov rbx, [rsp + 56]
    mov [rax - 24], rbx
    mov rbx, [rsp + 48]
    mov [rax - 32], rbx
    mov rbx, [rsp + 40]
    mov [rax - 40], rbx
    mov rbx, [rsp + 32]
    mov [rax - 48], rbx
    mov rbx, [rsp + 24]
    mov [rax - 56], rbx
    mov rbx, [rsp + 16]
    mov [rax - 64], rbx
    mov rbx, [rsp + 8]
    mov [rax - 72], rbx
    mov rbx, [rsp]
    mov [rax - 80], rbx
    lea rsp, [rax - 80]
3:  push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    sub rsp, 512
    fxsave64 [rsp]
    mov rdi, rsp
    call {trap}

    // With interrupts off, and a frame at the stack pointer.
    .globl trap_return
trap_return:
    fxrstor64 [rsp]
    add rsp, 512
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    test byte ptr [rsp + 24], 3
    jz 4f
    swapgs
4:  add rsp, 16
    iretq

    .globl system_call_entry
system_call_entry:
    swapgs
    mov gs:[{scratch}], rsp
    mov rsp, gs:[{kernel_stack}]
    push {user_data}
    push qword ptr gs:[{scratch}]
    push r11
    push {user_code}
    push rcx
    push 0
    push {system_call}
    push rax
    push rbx
    push rcx
    jmp 3b
    .text
    "#,
    kernel_stack = const KERNEL_STACK,
    scratch = const SCRATCH,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    system_call = const SYSTEM_CALL,
    trap = sym super::faults::trap,
);

unsafe extern "C" {
    static trap_stubs: u8;
    fn system_call_entry();
}

/// Bytes from one stub to the next.
const STUB: u64 = 16;
const BREAKPOINT: u8 = 3;
const DOUBLE_FAULT: u8 = 8;

static TABLE: Once<InterruptDescriptorTable> = Once::new();

/// Has this CPU enter the kernel here.
pub(super) fn init() {
    TABLE.call_once(table).load();
    LStar::write(VirtAddr::new(system_call_entry as *const () as u64));
    let masked = RFlags::INTERRUPT_FLAG
        | RFlags::DIRECTION_FLAG
        | RFlags::TRAP_FLAG
        | RFlags::ALIGNMENT_CHECK
        | RFlags::NESTED_TASK;
    SFMask::write(masked);
    // IA32_STAR: the way back is `iretq`, so that only the kernel's segments count.
    let segments = u64::from(KERNEL_CODE) << 32 | u64::from(KERNEL_DATA | 3) << 48;
    // SAFETY: segments of this kernel.
    unsafe { Msr::new(0xc000_0081).write(segments) };
}

fn table() -> InterruptDescriptorTable {
    let mut table = InterruptDescriptorTable::new();
    let stubs = VirtAddr::from_ptr(&raw const trap_stubs);
    let entries = (&raw mut table).cast::<[u64; 2]>();
    for vector in 0..=u8::MAX {
        let stack = if vector == DOUBLE_FAULT { DOUBLE_FAULT_STACK } else { TRAP_STACK };
        let level =
            if vector == BREAKPOINT { PrivilegeLevel::Ring3 } else { PrivilegeLevel::Ring0 };
        let gate = gate(stubs + STUB * u64::from(vector), stack, level);
        // SAFETY: the table is 256 gates of 16 bytes.
        unsafe { entries.wrapping_add(vector.into()).write(gate) };
    }
    table
}

/// An interrupt gate: interrupts are off in the handler, which begins on a stack of the interrupt
/// stack table. (The types of the crate know handlers of exceptions by their signatures, which
/// these stubs do not have.)
fn gate(handler: VirtAddr, stack: u16, level: PrivilegeLevel) -> [u64; 2] {
    let address = handler.as_u64();
    let kind = 0x8e | (level as u64) << 5;
    let low = address & 0xffff
        | u64::from(KERNEL_CODE) << 16
        | u64::from(stack + 1) << 32
        | kind << 40
        | (address >> 16 & 0xffff) << 48;
    [low, address >> 32]
}
