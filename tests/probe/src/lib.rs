//! A kernel in miniature without std, without alloc and without the C library.
//!
//! `cargo xtask probe` builds it as a static library, links it with nothing and runs it: whatever in
//! the core crates needed more would break the build or the link. The exit code tells whether the
//! bytes that were written came back.

#![no_std]

mod freestanding;
mod planted;

/// What the program does. Zero if all is well.
#[unsafe(no_mangle)]
extern "C" fn probe_main() -> i32 {
    planted::violate()
}
