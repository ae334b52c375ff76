//! The signals that the library takes, and what the program wants of them.
#![forbid(unsafe_code)]

use core::ffi::c_int;

/// The signal by which a process is asked to look at its page table.
pub(crate) const SHOOTDOWN: c_int = 63;

/// Flag of an action that has a restorer.
pub(crate) const SA_RESTORER: u64 = 0x0400_0000;

/// `struct kernel_sigaction`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    pub(crate) flags: u64,
    pub(crate) restorer: usize,
    pub(crate) mask: u64,
}

const ACTION_WORDS: usize = size_of::<Action>() / 8;

/// The signals that the library takes.
pub(crate) const TAKEN: [c_int; 4] = [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, SHOOTDOWN];

/// What the program wants of its signals.
#[derive(Clone)]
pub(crate) struct Actions([Action; LAST as usize]);

impl Default for Actions {
    fn default() -> Self {
        Self([Action::default(); LAST as usize])
    }
}

impl Actions {
    /// What the program wants of a signal, which has a number.
    pub(crate) fn of(&mut self, signal: c_int) -> &mut Action {
        &mut self.0[(signal.clamp(1, LAST) - 1) as usize]
    }
}

impl Action {
    /// As Linux keeps it.
    pub(crate) fn words(self) -> [u64; ACTION_WORDS] {
        [self.handler as u64, self.flags, self.restorer as u64, self.mask]
    }

    pub(crate) fn from_words([handler, flags, restorer, mask]: [u64; ACTION_WORDS]) -> Self {
        Self { handler: handler as usize, flags, restorer: restorer as usize, mask }
    }
}

/// The signals that end a program without a handler, but for those that the library takes and those
/// that cannot be handled.
pub(crate) fn ends_program() -> impl Iterator<Item = c_int> {
    const OLD: [c_int; 20] = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGFPE,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGSTKFLT,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGPWR,
        LAST,
    ];
    OLD.into_iter().chain(FIRST_NEW..SHOOTDOWN)
}

/// The real-time signals that the C library leaves to programs.
const FIRST_NEW: c_int = 34;
pub(crate) const LAST: c_int = 64;

/// The bit of a signal in a set.
pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Signals that are never held off: those that are taken, and those of faults.
const NEVER_HELD: u64 = bit(libc::SIGSYS)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGILL)
    | bit(libc::SIGFPE)
    | bit(libc::SIGTRAP);

/// Signals that are held off inside a call.
pub(crate) const HELD_IN_CALLS: u64 = !NEVER_HELD;

/// Signals of faults and of traps: what the program holds off of them is kept here.
pub(crate) const TAKEN_BITS: u64 = bit(libc::SIGSYS) | bit(libc::SIGSEGV) | bit(libc::SIGBUS);

/// What a program may hold off, as far as Linux is told.
pub(crate) const fn allowed(mask: u64) -> u64 {
    mask & !(TAKEN_BITS | bit(SHOOTDOWN))
}
