//! Chaos: a thread that writes back, evicts, and takes page-table entries away, while the program
//! runs.

use core::ffi::c_void;
use core::time::Duration;

use faultless::prelude::InKernel;
use syscalls::Sysno;

use crate::counters::{add, counters};
use crate::files::files;
use crate::options::options;
use crate::process::{PROCESSES, Process};
use crate::raw;
use crate::taken::HELD_IN_CALLS;
use crate::task::Running;
use crate::thread::Thread;

/// Starts the thread, on a kernel stack. Whether that was possible.
pub(crate) fn start(maker: &Thread) -> bool {
    let Some(thread) = Thread::new() else { return false };
    thread.process.set(maker.process.get());
    thread.pid.set(maker.pid.get());
    let (lowest, bytes) = thread.own_stack();
    // SAFETY: an attribute is plain data, which `pthread_attr_init` sets.
    let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::pthread_attr_init(&raw mut attributes) };
    // SAFETY: the stack is the new thread's alone.
    unsafe { libc::pthread_attr_setstack(&raw mut attributes, lowest.cast(), bytes) };
    let mut made: libc::pthread_t = 0;
    // SAFETY: the function never returns.
    let result = unsafe {
        libc::pthread_create(&raw mut made, &raw const attributes, run, core::ptr::null_mut())
    };
    result == 0
}

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    let thread = Thread::current();
    thread.tid.set(raw::tid());
    // The program's signals are for its own threads.
    let mask = HELD_IN_CALLS;
    let args = [libc::SIG_SETMASK as usize, (&raw const mask).addr(), 0, 8, 0, 0];
    raw::harmless(Sysno::rt_sigprocmask, args);
    let pause = Duration::from_nanos(1_000_000_000 / options().chaos.max(1));
    let mut round = 0_usize;
    loop {
        std::thread::sleep(pause);
        round = round.wrapping_add(1);
        if let Some(process) = Process::of(thread) {
            process.enter();
            disturb(round);
            process.leave();
        }
    }
}

fn disturb(round: usize) {
    // SAFETY: this thread holds no lock.
    let mut token = unsafe { InKernel::enter() };
    let files = files().all();
    if !files.is_empty() {
        let inode = files[round % files.len()].inode();
        match round % 3 {
            0 => {
                // A failure is in the file's sequence of errors: the next sync reports it.
                let _reported_later = inode.writeback(&mut token, 0..u64::MAX, &Running);
            }
            1 => {
                inode.evict(&mut token, 0..u64::MAX);
            }
            _ => {
                let processes = PROCESSES.get().lock().values().cloned().collect::<Vec<_>>();
                processes.iter().for_each(|process| process.space.steal(0..usize::MAX));
            }
        }
    }
    add(&counters().disturbances, 1);
}
