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
    // As `pass`, for a call that may point into mappings of files, or that was given arguments in
    // place of the program's. On the stack, below the red zone: where to go on, the call, how often
    // it was made, and the program's arguments. `EFAULT` traps.
    ".globl faultless_gate_watch",
    ".hidden faultless_gate_watch",
    "faultless_gate_watch:",
    "    syscall",
    "    cmp rax, -14",
    "    je 3f",
    "    mov rdi, [rsp + 24]",
    "    mov rsi, [rsp + 32]",
    "    mov rdx, [rsp + 40]",
    "    mov r10, [rsp + 48]",
    "    mov r8, [rsp + 56]",
    "    mov r9, [rsp + 64]",
    "    ret 128 + 64",
    ".globl faultless_gate_faulted",
    ".hidden faultless_gate_faulted",
    "faultless_gate_faulted:",
    "3:  hlt",
    // As `pass`, for a call that was lent memory for its results. On the stack, below the red zone:
    // where to go on, the number of the loan, and the program's arguments. Traps.
    ".globl faultless_gate_lend",
    ".hidden faultless_gate_lend",
    "faultless_gate_lend:",
    "    syscall",
    ".globl faultless_gate_lent",
    ".hidden faultless_gate_lent",
    "faultless_gate_lent:",
    "    hlt",
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
    #[link_name = "faultless_gate_watch"]
    static WATCH: u8;
    #[link_name = "faultless_gate_faulted"]
    static FAULTED: u8;
    #[link_name = "faultless_gate_lend"]
    static LEND: u8;
    #[link_name = "faultless_gate_lent"]
    static LENT: u8;
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

/// Bytes of the instruction that makes a call.
const SYSCALL_BYTES: usize = 2;

fn calls() -> [usize; 3] {
    [pass(), watch(), lend()]
}

/// The instruction that has made the call, if `rip` is behind one.
pub(crate) fn start_of(rip: usize) -> Option<usize> {
    calls().into_iter().find(|start| start + SYSCALL_BYTES == rip)
}

/// Where a call that is about to be made returns to, if `rip` is at one.
pub(crate) fn end_of(rip: usize) -> Option<usize> {
    calls().contains(&rip).then_some(rip + SYSCALL_BYTES)
}

/// Words on the stack of a call that is watched.
pub(crate) const WATCHED_WORDS: usize = 9;

/// Makes a call, and traps if that fails with `EFAULT`.
pub(crate) fn watch() -> usize {
    (&raw const WATCH).addr()
}

/// Where it traps.
pub(crate) fn faulted() -> usize {
    (&raw const FAULTED).addr()
}

/// Words on the stack of a call that was lent memory.
pub(crate) const LENT_WORDS: usize = 8;

/// Makes a call that was lent memory, and traps.
pub(crate) fn lend() -> usize {
    (&raw const LEND).addr()
}

/// Where it traps.
pub(crate) fn lent() -> usize {
    (&raw const LENT).addr()
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
