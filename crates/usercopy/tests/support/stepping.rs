//! Copies that run one instruction at a time: the processor's trap flag, whose trap Linux delivers
//! as SIGTRAP. Before each instruction, and at each fault, is a point of [`moving`](super::moving).

use std::arch::asm;
use std::mem::zeroed;
use std::ops::Range;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use faultless_usercopy::{MayFault, UserAddr, UserMemory};
use libc::{c_int, c_void};

use super::{is_registered, moving, program_counter};

/// Instructions that were stepped over.
pub(crate) static STEPS: AtomicUsize = AtomicUsize::new(0);

/// The trap flag in `rflags`.
const TRAP: i64 = 0x100;

/// Which instructions have a point before them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// All.
    Each,
    /// Those in the exception table. Only they access user memory, so a change before another
    /// instruction shows at the next of these.
    EachAccess,
}

/// 1 for [`Before::EachAccess`].
static ACCESSES_ONLY: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigtrap(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    STEPS.fetch_add(1, Relaxed);
    // SAFETY: the argument of a `SA_SIGINFO` handler.
    let pc = unsafe { program_counter(context) };
    if ACCESSES_ONLY.load(Relaxed) == 1 && !is_registered(*pc) {
        return;
    }
    if moving::point() {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the frame's flags, which only the handler sees. The rest of the copy runs at full
        // speed.
        unsafe { (*context).uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP };
    }
}

fn install_handler() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = on_sigtrap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: a handler of the right type that touches only atomics, the table and mprotect.
        let result = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) };
        assert_eq!(result, 0);
    });
}

/// The user memory `U`, stepped through.
pub(crate) struct Stepped<U>(U);

impl<U> Stepped<U> {
    pub(crate) fn new(user: U, before: Before) -> Self {
        install_handler();
        ACCESSES_ONLY.store(usize::from(before == Before::EachAccess), Relaxed);
        Self(user)
    }
}

/// Runs `copy` with the trap flag.
#[inline(always)]
fn step<R>(copy: impl FnOnce() -> R) -> R {
    // SAFETY: the handler is installed; a trap changes nothing that the program sees.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    let result = copy();
    // SAFETY: as above. The flag may be clear already.
    unsafe { asm!("pushfq", "and qword ptr [rsp], ~0x100", "popfq") };
    result
}

// SAFETY: that of `U`.
unsafe impl<U: UserMemory<Token = MayFault>> UserMemory for Stepped<U> {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.0.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        step(|| unsafe { self.0.raw_copy_from_user(token, dst, src, len) })
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        step(|| unsafe { self.0.raw_copy_from_user_atomic(dst, src, len) })
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        step(|| unsafe { self.0.raw_copy_to_user(token, dst, src, len) })
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same contract.
        step(|| unsafe { self.0.raw_copy_to_user_atomic(dst, src, len) })
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        step(|| unsafe { self.0.raw_clear_user(token, dst, len) })
    }
}
