//! System calls of Linux itself, past the trap. They leave the program's `errno` alone.

use syscalls::{Sysno, syscall};

/// A system call, and what it returns: a value, or a negative error number.
///
/// # Safety
/// The call keeps what Rust relies on: it changes no memory but what its arguments say, all of it
/// memory that may change.
pub(crate) unsafe fn call(number: Sysno, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller's.
    let result = unsafe { syscall!(number, a, b, c, d, e, f) };
    result.map_or_else(|errno| -(errno.into_raw() as isize), |value| value as isize)
}

/// A system call that changes no memory of this process.
pub(crate) fn harmless(number: Sysno, args: [usize; 6]) -> isize {
    // SAFETY: it changes no memory, as the callers of this function see to.
    unsafe { call(number, args) }
}

/// The number of the process.
pub(crate) fn pid() -> i32 {
    harmless(Sysno::getpid, [0; 6]) as i32
}

/// The number of the thread.
pub(crate) fn tid() -> i32 {
    harmless(Sysno::gettid, [0; 6]) as i32
}

/// Whether the thread exists.
pub(crate) fn is_alive(pid: i32, tid: i32) -> bool {
    harmless(Sysno::tgkill, [pid as usize, tid as usize, 0, 0, 0, 0]) != -(libc::ESRCH as isize)
}

/// A time that only goes on, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a `timespec` to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Lets other threads run.
pub(crate) fn yield_now() {
    harmless(Sysno::sched_yield, [0; 6]);
}

/// Sends bytes to the standard error of the program. What cannot be sent is lost.
pub(crate) fn complain(text: &str) {
    harmless(Sysno::write, [2, text.as_ptr().addr(), text.len(), 0, 0, 0]);
}

/// Ends the process, because the machine is broken.
pub(crate) fn die(text: &str) -> ! {
    complain(text);
    complain("\n");
    loop {
        harmless(Sysno::exit_group, [125, 0, 0, 0, 0, 0]);
    }
}
