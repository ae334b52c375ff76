//! The signals of the Linux runner: `SIGXFSZ` is counted, `SIGBUS` at an access to the window ends
//! the access. (`SIGSEGV` is the real MMU's, with the same effect.)

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use faultless_host::mm_real::end_access;

static OVER_LIMIT: AtomicU32 = AtomicU32::new(0);

static BUS_BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

thread_local! {
    static BUS: Cell<u32> = const { Cell::new(0) };
}

/// Installs the handlers, the first time.
pub(super) fn install() {
    BUS_BEFORE.get_or_init(|| {
        // The real MMU's first: both must be there before the window is touched.
        faultless_host::mm_real::install();
        let _ = exchange(libc::SIGXFSZ, on_limit as extern "C" fn(c_int) as usize, 0);
        let handler = on_bus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        exchange(libc::SIGBUS, handler, libc::SA_SIGINFO | libc::SA_NODEFER)
    });
}

/// How many `SIGXFSZ` came since this was last asked.
pub(super) fn take_over_limit() -> u32 {
    OVER_LIMIT.swap(0, Ordering::Relaxed)
}

/// Forgets the last `SIGBUS`.
pub(super) fn clear() {
    BUS.set(0);
}

/// Whether this thread had a `SIGBUS` since the last [`clear`].
pub(super) fn take_bus() -> bool {
    BUS.take() > 0
}

extern "C" fn on_limit(_signal: c_int) {
    OVER_LIMIT.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn on_bus(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes the context that execution goes on with when the handler returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    if end_access(context) {
        BUS.set(BUS.get() + 1);
    } else if let Some(before) = BUS_BEFORE.get() {
        // Not ours: the instruction runs again, under the old handler.
        let _ = set(libc::SIGBUS, before);
    }
}

fn empty_action() -> libc::sigaction {
    // SAFETY: a `sigaction` is integers and addresses, for all of which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn exchange(signal: c_int, handler: usize, flags: c_int) -> libc::sigaction {
    let mut action = empty_action();
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    set(signal, &action)
}

fn set(signal: c_int, action: &libc::sigaction) -> libc::sigaction {
    let mut before = empty_action();
    // SAFETY: both point to a `sigaction`; the handler in it has the signature that its flags say.
    let result = unsafe { libc::sigaction(signal, action, &raw mut before) };
    assert_eq!(result, 0, "sigaction: {}", std::io::Error::last_os_error());
    before
}
