//! The back ends in assembly, for targets with ELF sections, and the choice among them.

/// Exception-table entries. For the instructions at the numeric labels, execution goes on at label
/// 99; after the semicolon each instruction has a fix-up label of its own. Needs the operand
/// `kind`.
#[allow(unused_macros)] // an architecture without a back end here
macro_rules! on_fault {
    ($($insn:literal)* $(; $($at:literal => $fixup:literal),+)?) => {
        concat!(
            ".pushsection __ex_table,\"aR\",@progbits\n.balign 4\n",
            $(".long ", $insn, "b - .\n.long 99f - .\n.long {kind}\n",)*
            $($(".long ", $at, "b - .\n.long ", $fixup, "f - .\n.long {kind}\n",)+)?
            ".popsection"
        )
    };
}

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod blocks;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod linked;
#[cfg(target_arch = "riscv64")]
pub mod riscv64;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub use super::portable as native;
#[cfg(target_arch = "aarch64")]
pub use aarch64 as native;
#[cfg(target_arch = "riscv64")]
pub use riscv64 as native;
#[cfg(target_arch = "x86_64")]
pub use x86_64 as native;
