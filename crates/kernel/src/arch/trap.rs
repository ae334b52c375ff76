//! The registers of interrupted code, as the entry code saves and restores them.
#![forbid(unsafe_code)]

/// State of the FPU and the vector registers, as `fxsave64` stores it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(crate) struct Vectors(pub(crate) [u8; 512]);

/// Where MXCSR stands in [`Vectors`].
const MXCSR: usize = 24;

impl Vectors {
    /// What a program begins with.
    pub(crate) const fn initial() -> Self {
        let mut bytes = [0; 512];
        // The control words of the x87 FPU (0x037f) and of SSE (0x1f80): all exceptions masked.
        (bytes[0], bytes[1]) = (0x7f, 0x03);
        (bytes[MXCSR], bytes[MXCSR + 1]) = (0x80, 0x1f);
        Self(bytes)
    }

    /// Clears the bits of MXCSR that the CPU refuses to load.
    pub(crate) fn sanitise(&mut self) {
        (self.0[MXCSR + 2], self.0[MXCSR + 3]) = (0, 0);
    }
}

/// A system call, as the number of a trap.
pub(crate) const SYSTEM_CALL: u64 = 256;

/// The registers, as they lie on the kernel stack of the thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    pub(crate) vectors: Vectors,
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    /// The number of the exception or interrupt, or [`SYSTEM_CALL`].
    pub(crate) vector: u64,
    /// The error code of an exception.
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// RFLAGS.IF.
pub(crate) const INTERRUPTS: u64 = 1 << 9;
/// RFLAGS.AC: with SMAP, user memory is open to the kernel.
pub(crate) const ALIGNMENT_CHECK: u64 = 1 << 18;
/// The flags that a program may set: carry, parity, adjust, zero, sign, trap, direction, overflow,
/// AC and ID.
pub(crate) const USER_FLAGS: u64 = 0x24_0dd5;

impl TrapFrame {
    /// A program that begins at `entry`.
    pub(crate) fn user(entry: usize, stack: usize) -> Self {
        Self {
            vectors: Vectors::initial(),
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rbp: 0,
            rdi: 0,
            rsi: 0,
            rdx: 0,
            rcx: 0,
            rbx: 0,
            rax: 0,
            vector: SYSTEM_CALL,
            error: 0,
            rip: entry as u64,
            cs: super::segments::USER_CODE.into(),
            rflags: INTERRUPTS | 2,
            rsp: stack as u64,
            ss: super::segments::USER_DATA.into(),
        }
    }

    /// Whether a user program was interrupted.
    pub(crate) const fn is_user(&self) -> bool {
        self.cs & 3 != 0
    }

    /// Whether the interrupted code had interrupts on.
    pub(crate) const fn had_interrupts(&self) -> bool {
        self.rflags & INTERRUPTS != 0
    }

    /// The arguments of a system call.
    pub(crate) const fn arguments(&self) -> [usize; 6] {
        let Self { rdi, rsi, rdx, r10, r8, r9, .. } = *self;
        [rdi as usize, rsi as usize, rdx as usize, r10 as usize, r8 as usize, r9 as usize]
    }
}
