//! From the loader to Rust: 32-bit protected mode (PVH) to 64-bit mode, and the way of the other
//! CPUs, which begin in real mode.
//!
//! The tables made here map the first 4 GiB of physical memory at address 0, which only this code
//! uses, and at [`DIRECT_MAP`](crate::memory::map::DIRECT_MAP); and the first GiB where the image
//! is linked.

use core::arch::global_asm;

/// Where the other CPUs begin: a page below 1 MiB that the firmware leaves free.
pub(super) const TRAMPOLINE: usize = 0x8000;

/// Bytes of the stack that the first CPU boots on. It becomes the stack of its idle thread.
pub(super) const BOOT_STACK: usize = 64 * 1024;

global_asm!(
    r#"
    .set BASE, 0xffffffff80000000

    .section .note.pvh,"a",@note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad boot_start

    .section .boot,"ax"
    .code32
    .globl boot_start
boot_start:
    cld
    xor edx, edx
    // In: edx 0 and ebx the start information, or edx 1 on another CPU.
enter_long_mode:
    mov eax, cr4
    or eax, (1 << 5) | (1 << 9) | (1 << 10)
    mov cr4, eax
    mov eax, offset boot_tables - BASE
    mov cr3, eax
    mov esi, edx
    mov ecx, 0xc0000080
    rdmsr
    or eax, (1 << 0) | (1 << 8) | (1 << 11)
    wrmsr
    mov edx, esi
    // Paging, write protection, and no emulation of the FPU.
    mov eax, cr0
    and eax, ~(1 << 2)
    or eax, (1 << 31) | (1 << 16) | (1 << 1)
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    .byte 0xea
    .long boot_long
    .word 0x08
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
boot_gdt_pointer:
    .word 31
    .quad boot_gdt
    .code64
boot_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    movabs rax, offset boot_high
    jmp rax

    .section .text.boot_high,"ax"
boot_high:
    xor ebp, ebp
    test edx, edx
    jnz 2f
    lea rsp, [rip + boot_stack + {stack}]
    mov edi, ebx
    call {first}
    ud2
2:  mov rsp, [rip + {other_stack}]
    call {other}
    ud2

    // Copied to TRAMPOLINE.
    .section .rodata.trampoline,"a"
    .globl trampoline_start
    .globl trampoline_end
    .code16
trampoline_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    // lgdt, of an address in 16 bits.
    .byte 0x0f, 0x01, 0x16
    .word {trampoline} + trampoline_gdt_pointer - trampoline_start
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long {trampoline} + trampoline_32 - trampoline_start
    .word 0x18
    .code32
trampoline_32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edx, 1
    mov eax, offset enter_long_mode
    jmp eax
    .balign 4
trampoline_gdt_pointer:
    .word 31
    .long boot_gdt
trampoline_end:
    .code64

    .section .data.boot_tables,"aw"
    .balign 4096
    .globl boot_tables
boot_tables:
    .quad boot_low - BASE + 3
    .fill 255, 8, 0
    .quad boot_low - BASE + 0x8000000000000003
    .fill 254, 8, 0
    .quad boot_top - BASE + 3
boot_low:
    .quad 0x83, 0x40000083, 0x80000083, 0xc0000083
    .fill 508, 8, 0
boot_top:
    .fill 510, 8, 0
    .quad image_map - BASE + 3
    .quad 0
    .globl image_map
image_map:
    .set at, 0
    .rept 512
    .quad at + 0x83
    .set at, at + 0x200000
    .endr

    .section .bss.boot_stack,"aw",@nobits
    .balign 4096
    .globl boot_stack
boot_stack:
    .skip {stack}
    .text
    "#,
    stack = const BOOT_STACK,
    trampoline = const TRAMPOLINE,
    first = sym super::first_cpu,
    other = sym super::other_cpu,
    other_stack = sym super::cpus::OTHER_STACK,
);

unsafe extern "C" {
    /// The code of [`TRAMPOLINE`].
    pub(super) static trampoline_start: u8;
    pub(super) static trampoline_end: u8;
    /// Where the stack of the first CPU begins.
    pub(super) static boot_stack: u8;
}
