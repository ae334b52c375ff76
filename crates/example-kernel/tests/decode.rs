//! What the three architectures say of a page fault.

use faultless::prelude::Access::{Read, Write};
use faultless_example_kernel::Mode::{Kernel, User};
use faultless_example_kernel::UserMemoryWindow::{Closed, Open};
use faultless_example_kernel::arch::{aarch64, riscv64, x86_64};
use faultless_example_kernel::{Cause, Frame};

#[test]
fn x86_64_error_codes() {
    let cause = |rflags, error| x86_64::TrapFrame { rflags, ..Default::default() }.cause(error);
    let open = 1 << 18;
    assert_eq!(cause(0, 4), Some(Cause { access: Read, mode: User, window: Closed }));
    assert_eq!(cause(0, 7), Some(Cause { access: Write, mode: User, window: Closed }));
    assert_eq!(cause(open, 3), Some(Cause { access: Write, mode: Kernel, window: Open }));
    assert_eq!(cause(open, 0x10), Some(Cause { access: Read, mode: Kernel, window: Open }));
    assert_eq!(cause(open, 9), None, "a reserved bit");
}

#[test]
fn aarch64_syndromes() {
    let cause = |spsr, esr| aarch64::TrapFrame { elr: 0, spsr }.cause(esr);
    let esr = |class: usize, status: usize| class << 26 | 1 << 25 | status;
    let pan = 1 << 22;
    // Translation, level 3; permission, level 3, by a store; the same for cache maintenance.
    assert_eq!(cause(0, esr(0x24, 7)), Some(Cause { access: Read, mode: User, window: Open }));
    assert_eq!(
        cause(0, esr(0x25, 0x4f)),
        Some(Cause { access: Write, mode: Kernel, window: Open })
    );
    assert_eq!(
        cause(pan, esr(0x25, 0x14f)),
        Some(Cause { access: Read, mode: Kernel, window: Closed })
    );
    assert_eq!(cause(0, esr(0x20, 0xf)), Some(Cause { access: Read, mode: User, window: Open }));
    for (class, status) in [(0x15, 7), (0x25, 0x10), (0x25, 0x21), (0x25, 0)] {
        assert_eq!(cause(0, esr(class, status)), None, "a call, an abort, alignment, size");
    }
}

#[test]
fn riscv64_causes() {
    let cause = |sstatus, scause| riscv64::TrapFrame { sepc: 0, sstatus }.cause(scause);
    let (spp, sum) = (1 << 8, 1 << 18);
    assert_eq!(cause(0, 12), Some(Cause { access: Read, mode: User, window: Closed }));
    assert_eq!(cause(spp | sum, 13), Some(Cause { access: Read, mode: Kernel, window: Open }));
    assert_eq!(cause(spp, 15), Some(Cause { access: Write, mode: Kernel, window: Closed }));
    assert_eq!(cause(0, 8), None, "a system call");
    assert_eq!(cause(0, 1 << 63 | 5), None, "an interrupt");
}
