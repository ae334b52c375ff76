//! The instructions at which Linux lets system calls pass, and what a program goes on with after a
//! trap.
//!
//! System calls of the program trap, but for those made in the page of [`range`]. A trap that is to
//! be Linux's affair goes on there: with all registers as they were, the call is made again, and
//! returns to the program.

use core::arch::global_asm;

/// Bytes below the stack pointer that belong to the program (the red zone of the x86-64 ABI).
pub(crate) const RED_ZONE: usize = 128;

global_asm!(
    ".pushsection .text.faultless_gate, \"ax\", @progbits",
    ".balign 4096",
    ".globl faultless_gate_start",
    ".hidden faultless_gate_start",
    "faultless_gate_start:",
    // Ends a signal handler.
    ".globl faultless_gate_restorer",
    ".hidden faultless_gate_restorer",
    "faultless_gate_restorer:",
    "    mov eax, 15",
    "    syscall",
    // Makes a call. On the stack, below the red zone: where to go on.
    ".globl faultless_gate_pass",
    ".hidden faultless_gate_pass",
    "faultless_gate_pass:",
    "    syscall",
    "    ret 128",
    // Makes a call that returns twice. On the stack: the record of the new thread. Both sides trap.
    ".globl faultless_gate_clone",
    ".hidden faultless_gate_clone",
    "faultless_gate_clone:",
    "    syscall",
    "    test rax, rax",
    "    jz 2f",
    ".globl faultless_gate_parent",
    ".hidden faultless_gate_parent",
    "faultless_gate_parent:",
    "    hlt",
    // The new thread takes signals on its own stack first. It keeps no register: those that it goes
    // on with are in its record.
    "2:  mov rdi, [rsp]",
    "    xor esi, esi",
    "    mov eax, 131",
    "    syscall",
    ".globl faultless_gate_child",
    ".hidden faultless_gate_child",
    "faultless_gate_child:",
    "    hlt",
    ".balign 4096",
    ".globl faultless_gate_end",
    ".hidden faultless_gate_end",
    "faultless_gate_end:",
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "faultless_gate_start"]
    static START: u8;
    #[link_name = "faultless_gate_restorer"]
    static RESTORER: u8;
    #[link_name = "faultless_gate_pass"]
    static PASS: u8;
    #[link_name = "faultless_gate_clone"]
    static CLONE: u8;
    #[link_name = "faultless_gate_parent"]
    static PARENT: u8;
    #[link_name = "faultless_gate_child"]
    static CHILD: u8;
    #[link_name = "faultless_gate_end"]
    static END: u8;
}

/// Where the page begins, and its size.
pub(crate) fn range() -> (usize, usize) {
    let (start, end) = ((&raw const START).addr(), (&raw const END).addr());
    (start, end - start)
}

/// Ends a signal handler.
pub(crate) fn restorer() -> usize {
    (&raw const RESTORER).addr()
}

/// Makes a call and goes on at the address on the stack, below the red zone.
pub(crate) fn pass() -> usize {
    (&raw const PASS).addr()
}

/// Makes a call that returns twice.
pub(crate) fn clone() -> usize {
    (&raw const CLONE).addr()
}

/// Where the old thread traps after it.
pub(crate) fn parent() -> usize {
    (&raw const PARENT).addr()
}

/// Where the new thread traps after it.
pub(crate) fn child() -> usize {
    (&raw const CHILD).addr()
}
