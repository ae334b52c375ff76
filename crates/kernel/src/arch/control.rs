//! Control registers: what the CPU checks on the kernel's behalf.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::mxcsr::{self, MxCsr};

/// Turns on what the kernel relies on: the kernel neither executes nor accesses user memory but in
/// user copies (SMEP, SMAP), write protection holds for it too, and user programs set their own FS
/// and GS bases.
///
/// # Panics
/// The CPU lacks one of them: QEMU's `-cpu max` has them all.
pub(super) fn init() {
    let wanted = Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::FSGSBASE
        | Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION
        | Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION;
    assert!(has_protections(), "the CPU has no FSGSBASE, SMEP or SMAP");
    // SAFETY: the CPU has them, and no user memory is mapped yet.
    unsafe { Cr4::update(|flags| flags.insert(wanted)) };
    let protect = Cr0Flags::WRITE_PROTECT | Cr0Flags::MONITOR_COPROCESSOR;
    // SAFETY: the kernel writes to no page that is mapped read-only.
    unsafe { Cr0::update(|flags| flags.insert(protect)) };
    mxcsr::write(MxCsr::default());
}

/// CPUID leaf 7: FSGSBASE, SMEP and SMAP.
fn has_protections() -> bool {
    let features = core::arch::x86_64::__cpuid_count(7, 0).ebx;
    [0, 7, 20].iter().all(|bit| features & (1 << bit) != 0)
}
