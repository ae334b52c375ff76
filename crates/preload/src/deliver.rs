//! How a signal reaches the program: a frame on its own stack, or on the one that it has for
//! signals, as Linux makes it. The library's handler then returns into the program's.

use core::ffi::c_int;
use core::mem::offset_of;

use libc::{siginfo_t, ucontext_t};

use crate::call::{Call, get_words, put, register};
use crate::gate::RED_ZONE;
use crate::taken::{Action, TAKEN_BITS, allowed, bit};

/// Bytes of Linux's `struct ucontext`: up to the mask, which has 64 bits there.
const CONTEXT_BYTES: usize = offset_of!(ucontext_t, uc_sigmask) + 8;

const INFO_BYTES: usize = size_of::<siginfo_t>();

/// Bytes of a frame: where its handler returns to, the context, the record.
const FRAME_BYTES: usize = 8 + CONTEXT_BYTES + INFO_BYTES;

const STACK: usize = offset_of!(ucontext_t, uc_stack);
const STACK_BYTES: usize = size_of::<libc::stack_t>();
const MASK: usize = offset_of!(ucontext_t, uc_sigmask);
const FLOATS: usize = offset_of!(ucontext_t, uc_mcontext) + 23 * 8;

/// Where the old form of the floating-point state says that it is the new one, and how long.
const MAGIC: usize = 464;
const MAGIC_VALUE: u32 = 0x4650_5853;
const OLD_BYTES: usize = 512;

/// Flags of the processor that a handler begins without: direction, trap, resume.
const CLEARED: i64 = 0x400 | 0x100 | 0x1_0000;

/// Whether an address lies on a signal stack.
pub(crate) fn is_on(stack: &libc::stack_t, address: usize) -> bool {
    let lowest = stack.ss_sp.addr();
    let has_one = stack.ss_flags & libc::SS_DISABLE == 0;
    has_one && lowest < address && address <= lowest + stack.ss_size
}

/// The program goes on in its handler; whether there was room for the frame.
pub(crate) fn enter_handler(
    call: &mut Call<'_>,
    signal: c_int,
    info: &siginfo_t,
    action: &Action,
) -> bool {
    let mask = mask_of(call.context) | call.thread.held.get();
    // SAFETY: the record of this thread.
    let mut stack = unsafe { *call.thread.program_stack.get() };
    let rsp = *call.register(libc::REG_RSP) as usize;
    let wants_stack = action.flags & libc::SA_ONSTACK as u64 != 0;
    let is_on_it = is_on(&stack, rsp);
    let top = if wants_stack && !is_on_it && stack.ss_flags & libc::SS_DISABLE == 0 {
        stack.ss_sp.addr() + stack.ss_size
    } else {
        rsp - RED_ZONE
    };
    if is_on_it {
        stack.ss_flags |= libc::SS_ONSTACK;
    }
    let floats = floats_of(call.context);
    let floats_at = (top - floats.len()) & !63;
    let frame = ((floats_at - FRAME_BYTES) & !15) - 8;
    let mut bytes = [0_u8; FRAME_BYTES];
    bytes[..8].copy_from_slice(&action.restorer.to_ne_bytes());
    let context = core::ptr::from_ref::<ucontext_t>(call.context);
    // SAFETY: what Linux has made, which is no shorter.
    let from = unsafe { &*context.cast::<[u8; CONTEXT_BYTES]>() };
    let to = &mut bytes[8..8 + CONTEXT_BYTES];
    to.copy_from_slice(from);
    // SAFETY: plain data of the same size.
    let stack: [u8; STACK_BYTES] = unsafe { core::mem::transmute(stack) };
    to[STACK..STACK + STACK_BYTES].copy_from_slice(&stack);
    to[MASK..MASK + 8].copy_from_slice(&mask.to_ne_bytes());
    if !floats.is_empty() {
        to[FLOATS..FLOATS + 8].copy_from_slice(&floats_at.to_ne_bytes());
    }
    let info = core::ptr::from_ref(info);
    // SAFETY: plain data.
    bytes[8 + CONTEXT_BYTES..].copy_from_slice(unsafe { &*info.cast::<[u8; INFO_BYTES]>() });
    if put(call, floats_at, floats).is_err() || put(call, frame, &bytes).is_err() {
        return false;
    }
    let own = if action.flags & libc::SA_NODEFER as u64 == 0 { bit(signal) } else { 0 };
    let during = mask | action.mask | own;
    set_mask(call.context, allowed(during));
    call.thread.held.set(during & TAKEN_BITS);
    let registers = [
        (libc::REG_RDI, i64::from(signal)),
        (libc::REG_RSI, (frame + 8 + CONTEXT_BYTES) as i64),
        (libc::REG_RDX, (frame + 8) as i64),
        (libc::REG_RAX, 0),
        (libc::REG_RSP, frame as i64),
        (libc::REG_RIP, action.handler as i64),
    ];
    for (which, value) in registers {
        *call.register(which) = value;
    }
    *register(call.context, libc::REG_EFL) &= !CLEARED;
    true
}

/// The signal mask that a program goes on with.
pub(crate) fn mask_of(context: &ucontext_t) -> u64 {
    // SAFETY: a set begins with 64 bits.
    unsafe { (&raw const context.uc_sigmask).cast::<u64>().read() }
}

/// Sets it.
pub(crate) fn set_mask(context: &mut ucontext_t, mask: u64) {
    // SAFETY: as above.
    unsafe { (&raw mut context.uc_sigmask).cast::<u64>().write(mask) };
}

/// The floating-point state of a context.
fn floats_of(context: &ucontext_t) -> &'static [u8] {
    let at = context.uc_mcontext.fpregs.cast::<u8>();
    if at.is_null() {
        return &[];
    }
    // SAFETY: Linux has saved at least the old form, on this stack, aligned.
    let words = unsafe { core::slice::from_raw_parts(at.cast::<u32>(), OLD_BYTES / 4) };
    let [magic, bytes] = [words[MAGIC / 4], words[MAGIC / 4 + 1]];
    let length = if magic == MAGIC_VALUE { bytes as usize } else { OLD_BYTES };
    // SAFETY: as above; the bytes stay until the library's handler returns.
    unsafe { core::slice::from_raw_parts(at, length) }
}

/// A handler of the program's is over: Linux takes the frame, with a mask and a stack that are the
/// library's.
pub(crate) fn leave_handler(call: &mut Call<'_>) {
    let context = *call.register(libc::REG_RSP) as usize;
    // Linux finds what is wrong with a frame that cannot be read.
    let [mask] = get_words(call, context + MASK).unwrap_or_default();
    call.thread.held.set(mask & TAKEN_BITS);
    // SAFETY: the record of this thread: plain data of the same size.
    let stack = unsafe { call.thread.stack.get().cast::<[u8; STACK_BYTES]>().read() };
    for (at, bytes) in [(MASK, &allowed(mask).to_ne_bytes()[..]), (STACK, &stack[..])] {
        let _found_by_linux = put(call, context + at, bytes);
    }
}
