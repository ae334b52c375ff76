//! A kernel stack that overflows ends the run with a message, and changes nothing below it.
#![forbid(unsafe_code)]

use core::hint::black_box;

use crate::arch::serial::say;

/// Bytes of the stack that one call uses at least: less than a page, so that none is passed over.
const FRAME: usize = 1024;

/// Calls itself until the stack is at its end.
pub(super) fn run() {
    say!("selftest: a stack overflows");
    let depth = deeper(0);
    panic!("{depth} calls, and the stack has not overflown");
}

#[inline(never)]
fn deeper(depth: usize) -> usize {
    let bytes = black_box([0_u8; FRAME]);
    // More than any stack has room for.
    if depth > usize::from(u16::MAX) {
        return depth;
    }
    // The frame is used after the call, which so is no jump.
    deeper(depth + 1) + usize::from(black_box(bytes)[0])
}
