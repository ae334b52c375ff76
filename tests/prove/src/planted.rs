//! Copies from user memory that are wrong on purpose, and one that is right: what the prover has to
//! tell apart.
//!
//! `rdi` is the destination, `rsi` the source, `rdx` the length; the result, in `rax`, is what is
//! not copied.

use core::arch::global_asm;

/// A function with the exception-table entries `instruction => fix-up`, by numeric labels.
macro_rules! planted {
    ($name:literal, [$($insn:literal => $fixup:literal),+], $($line:literal),+ $(,)?) => {
        global_asm!(
            concat!(".section .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".type ", $name, ",@function"),
            concat!($name, ":"),
            $($line,)+
            ".pushsection __ex_table,\"aR\",@progbits",
            ".balign 4",
            $(concat!(".long ", $insn, "b - .\n.long ", $fixup, "b - .\n.long 0"),)+
            ".popsection",
            ".text",
        );
    };
}

// Right: words, and after a fault or for the tail single bytes, behind what is stored.
planted!(
    "planted_right", [20 => 30, 31 => 99],
    "2: cmp rdx, 8",
    "jb 30f",
    "20: mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "jmp 2b",
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: stores the first word of a block before it has loaded the second, and starts again at the
// block.
planted!(
    "planted_store_before_load", [20 => 30, 21 => 30, 31 => 99],
    "2: cmp rdx, 16",
    "jb 30f",
    "20: mov rax, [rsi]",
    "mov [rdi], rax",
    "21: mov rcx, [rsi + 8]",
    "mov [rdi + 8], rcx",
    "add rsi, 16",
    "add rdi, 16",
    "sub rdx, 16",
    "jmp 2b",
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: the fix-up counts the byte that faulted.
planted!(
    "planted_off_by_one", [31 => 98],
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "98: dec rdx",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: after a fault the single bytes start again at the beginning of the region.
planted!(
    "planted_tail_from_the_start", [20 => 28, 31 => 99],
    "mov r8, rdi",
    "mov r9, rsi",
    "mov r10, rdx",
    "2: cmp rdx, 8",
    "jb 30f",
    "20: mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "jmp 2b",
    "28: mov rdi, r8",
    "mov rsi, r9",
    "mov rdx, r10",
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: gives up at the first fault, though the bytes before the faulting one could be had.
planted!(
    "planted_no_progress", [20 => 99, 31 => 99],
    "2: cmp rdx, 8",
    "jb 30f",
    "20: mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "jmp 2b",
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: moves on by a word, but has copied half of it.
planted!(
    "planted_gap", [20 => 99],
    "2: cmp rdx, 8",
    "jb 99f",
    "20: mov eax, [rsi]",
    "mov [rdi], eax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "jmp 2b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: the last word ends behind the region.
planted!(
    "planted_overrun", [20 => 99],
    "2: test rdx, rdx",
    "jz 99f",
    "20: mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "jae 2b",
    "xor edx, edx",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: a load without an entry in the exception table.
planted!(
    "planted_no_entry", [31 => 99],
    "test rdx, rdx",
    "jz 99f",
    "mov al, [rsi]",
    "31: mov [rdi], al",
    "dec rdx",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: tries again for ever what faults.
planted!(
    "planted_endless", [31 => 30],
    "30: test rdx, rdx",
    "jz 99f",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: leaves out a byte of the source, but only after a thousand turns.
planted!(
    "planted_late", [31 => 99],
    "xor ecx, ecx",
    "30: test rdx, rdx",
    "jz 99f",
    "cmp rcx, 1000",
    "jne 31f",
    "inc rsi",
    "31: movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "inc rcx",
    "dec rdx",
    "jmp 30b",
    "99: mov rax, rdx",
    "ret",
);

// Wrong: a register of the caller holds the byte, and is given back only if nothing faults.
planted!(
    "planted_clobber", [31 => 98],
    "push rbx",
    "30: test rdx, rdx",
    "jz 97f",
    "31: movzx ebx, byte ptr [rsi]",
    "mov [rdi], bl",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 30b",
    "97: pop rbx",
    "jmp 99f",
    "98: add rsp, 8",
    "99: mov rax, rdx",
    "ret",
);
