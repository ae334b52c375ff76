//! The image: what the kernel's library needs of a program.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use faultless_kernel::{Heap, panicked};

/// The kernel's heap.
#[global_allocator]
static HEAP: Heap = Heap::new();

/// A bug of the kernel.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    panicked(info)
}

/// Named by the unwind tables of the precompiled libraries. Nothing unwinds: the image is built
/// with `panic=abort`, and without these tables.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}
