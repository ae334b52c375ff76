//! The task that makes a system call.

use core::sync::atomic::Ordering::Acquire;

use faultless::prelude::Task;
use syscalls::Sysno;

use crate::raw;
use crate::thread::Thread;

/// The running task.
pub(crate) struct Running;

impl Task for Running {
    fn now(&self) -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a `timespec` to write to.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
        (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
    }

    fn fatal_signal_pending(&self) -> bool {
        let process = Thread::current().process.get();
        process.is_some_and(|process| process.exiting.load(Acquire) || process.killed.load(Acquire))
    }

    fn file_size_limit(&self) -> u64 {
        let mut limit = [0_u64; 2];
        let args = [0, libc::RLIMIT_FSIZE as usize, 0, limit.as_mut_ptr().addr(), 0, 0];
        // SAFETY: two words to write to.
        let result = unsafe { raw::call(Sysno::prlimit64, args) };
        if result == 0 { limit[0] } else { u64::MAX }
    }

    fn file_size_exceeded(&self) {
        let thread = Thread::current();
        // Arrives when the system call returns.
        let args = [thread.pid.get(), thread.tid.get(), libc::SIGXFSZ, 0, 0, 0];
        raw::harmless(Sysno::tgkill, args.map(|arg| arg as usize));
    }
}
