//! The switch of planted bugs: [`on`] says whether a bug is the active one.
//!
//! Not part of this crate: its text becomes the crate `faultless_switch` of the changed copy
//! (`copy.rs`), which the core crates call at every place that has a bug. The environment decides
//! before `main`: `FAULTLESS_SWITCH=<id>` makes one bug active.
//!
//! [`on`] is called from handlers of SIGSEGV. It loads an atomic, and neither locks nor allocates
//! nor enters the kernel.

use std::sync::atomic::{AtomicU32, Ordering};

/// The active bug; 0 is none.
static ACTIVE: AtomicU32 = AtomicU32::new(0);

// SAFETY: the section holds pointers to functions that take nothing this one misses; the loader
// calls them once, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: extern "C" fn() = init;

extern "C" fn init() {
    if let Some(id) = std::env::var("FAULTLESS_SWITCH").ok().and_then(|id| id.parse().ok()) {
        ACTIVE.store(id, Ordering::Relaxed);
    }
}

/// Whether this bug is active. Inlined even where little is optimised: it stands in every loop.
#[inline(always)]
pub fn on(id: u32) -> bool {
    ACTIVE.load(Ordering::Relaxed) == id
}
