//! What the lower half of the library asks of the upper half: functions that are known when the
//! program begins. They lie in the program's own memory, since each program loads the library
//! elsewhere.
#![forbid(unsafe_code)]

use spin::Once;

/// The functions.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    /// Does what other processes have asked the running one for. No short lock is held.
    pub(crate) serve: fn(),
    /// Ends the run if it cannot go on. Asked by a thread that has waited for long.
    pub(crate) look_for_dead: fn(),
    /// Frees frames; whether that was possible. No page lock is held.
    pub(crate) reclaim: fn() -> bool,
    /// The last handle but the table's of a file without a name is dropped.
    pub(crate) last_handle: fn(device: u64, number: u64),
    /// Waits until the process with this number has made its mappings what its page table says. No
    /// short lock is held.
    pub(crate) shoot_down: fn(process: u64),
}

static HOOKS: Once<Hooks> = Once::new();

/// Says what the functions are.
pub(crate) fn set(hooks: Hooks) {
    HOOKS.call_once(|| hooks);
}

/// The functions, once they are known.
pub(crate) fn hooks() -> Option<&'static Hooks> {
    HOOKS.get()
}
