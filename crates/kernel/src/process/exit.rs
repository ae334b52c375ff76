//! The end of threads and processes, and how parents hear of it.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;
use spin::Once;

use crate::arch::{clock, serial};
use crate::calls::tell_unknown;
use crate::files;
use crate::memory::put;
use crate::process::futex::{FutexKey, futex_wake};
use crate::process::signals::send;
use crate::process::space::leave_memory;
use crate::process::state::{Process, current, process_of};
use crate::sched::{self, Thread};
use crate::signals::{Cause, WaitStatus, Waited};
use crate::waits::{key_of, wake};

/// How long the end of the run waits for other processes, and how often it looks.
const LAST_NS: u64 = 5_000_000_000;
const LOOK_NS: u64 = 1_000_000;

/// The first process: the run ends with it, and it gets the children of those that end.
static FIRST: Once<Arc<Process>> = Once::new();

pub(super) fn set_first(process: &Arc<Process>) {
    FIRST.call_once(|| Arc::clone(process));
}

/// `exit_group`: ends the current process.
pub(crate) fn exit_group(status: WaitStatus) -> ! {
    if let Some(process) = current() {
        process.begin_exit(status);
    }
    exit_thread(status)
}

/// `exit`: ends the current thread, and its process if it is the last one.
pub(crate) fn exit_thread(status: WaitStatus) -> ! {
    let thread = sched::current();
    if let Some(process) = process_of(&thread) {
        clear_number(&thread);
        leave_memory();
        let is_last = {
            let mut threads = process.threads.lock();
            threads.retain(|other| !Arc::ptr_eq(other, &thread));
            threads.is_empty()
        };
        wake(key_of(&process.threads));
        if is_last {
            end(&process, status);
        }
    }
    drop(thread);
    sched::end_thread()
}

/// Tells the other threads that the number is free (`set_tid_address`), as `pthread_join` waits
/// for.
fn clear_number(thread: &Thread) {
    let at = thread.clear_at_exit.swap(0, Relaxed);
    if at == 0 {
        return;
    }
    // SAFETY: at the end of a system call, or on the way to user mode, no lock is held.
    let mut token = unsafe { MayFault::assert() };
    if put(&mut token, at, &0_u32.to_ne_bytes()).is_ok()
        && let Ok(key) = FutexKey::of(at)
    {
        futex_wake(key, 1, u32::MAX);
    }
}

/// The last thread of a process has left its memory.
fn end(process: &Arc<Process>, status: WaitStatus) {
    if !process.life.exiting.swap(true, AcqRel) {
        process.life.status.store(status, Release);
    }
    let files = process.files.lock().remove_if(|_, _| true);
    drop(files);
    let memory = process.memory.lock().take();
    drop(memory);
    // The working directory is in use no more.
    let cwd = core::mem::replace(&mut *process.cwd.lock(), files::root());
    drop(cwd);
    let Some(first) = FIRST.get() else { return };
    if Arc::ptr_eq(first, process) {
        end_run(first, process.life.status.load(Acquire));
    }
    let children = core::mem::take(&mut *process.children.lock());
    for child in children {
        *child.parent.lock() = Arc::downgrade(first);
        first.children.lock().push(child);
    }
    process.ended.store(true, SeqCst);
    process.released.store(true, SeqCst);
    wake(key_of(&process.released));
    wake(key_of(&first.children));
    let parent = process.parent.lock().upgrade();
    if let Some(parent) = parent {
        let child = Waited { number: process.number, status: process.life.status.load(Acquire) };
        send(&parent, linux::SIGCHLD, Cause::Child(child));
        wake(key_of(&parent.children));
    }
}

/// The first process has ended: those that are left end, and the disk is unmounted.
fn end_run(first: &Process, status: WaitStatus) -> ! {
    tell_unknown();
    end_others(first);
    files::shut_down();
    let code = match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    };
    serial::end(code)
}

/// Ends all processes but the first, which gets the children of those that end.
fn end_others(first: &Process) {
    let until = clock::monotonic() + LAST_NS;
    while clock::monotonic() < until {
        let children = first.children.lock().clone();
        let mut left = children.iter().filter(|child| !child.ended.load(Acquire)).peekable();
        if left.peek().is_none() {
            break;
        }
        left.for_each(|child| child.begin_exit(linux::SIGKILL));
        sched::park_until(clock::monotonic() + LOOK_NS);
    }
}

/// Ends all other threads of the process, as `execve` does.
///
/// # Errors
/// `EAGAIN`: another thread does the same.
pub(super) fn end_other_threads(process: &Process) -> Result<(), Errno> {
    if process.threads.lock().len() <= 1 {
        return Ok(());
    }
    let own = sched::with_current(Thread::number);
    for thread in process.threads() {
        if thread.number() != own {
            thread.signals.kill();
            sched::unpark(&thread);
        }
    }
    let alone = || process.threads.lock().len() <= 1;
    let mut done = || alone() || process.is_exiting();
    faultless::prelude::Wait::wait_until(
        crate::waits::waits(),
        key_of(&process.threads),
        &mut done,
    );
    if alone() { Ok(()) } else { Err(Errno::AGAIN) }
}

/// Which children `wait` waits for.
fn is_meant(child: &Process, which: i32, own_group: u32) -> bool {
    match which {
        -1 => true,
        0 => child.group.load(Relaxed) == own_group,
        number if number > 0 => child.number == number.unsigned_abs(),
        group => child.group.load(Relaxed) == group.unsigned_abs(),
    }
}

/// `wait4`: a child that has ended, which is taken off the list; none if `may_sleep` says not to
/// wait and none has.
///
/// # Errors
/// `ECHILD`: there is no such child; `EINTR`.
pub(crate) fn wait(which: i32, flags: u32) -> Result<Option<Waited>, Errno> {
    let process = current().ok_or(Errno::CHILD)?;
    let own_group = process.group.load(Relaxed);
    loop {
        let taken: Result<_, Errno> = {
            let mut children = process.children.lock();
            let ended = children
                .iter()
                .position(|child| is_meant(child, which, own_group) && child.ended.load(Acquire));
            match ended {
                Some(at) if flags & linux::WNOWAIT == 0 => Ok(Some(children.swap_remove(at))),
                Some(at) => Ok(Some(Arc::clone(&children[at]))),
                None if children.iter().any(|child| is_meant(child, which, own_group)) => Ok(None),
                None => Err(Errno::CHILD),
            }
        };
        if let Some(child) = taken? {
            let status = child.life.status.load(Acquire);
            return Ok(Some(Waited { number: child.number, status }));
        }
        if flags & linux::WNOHANG != 0 {
            return Ok(None);
        }
        let children = || -> Vec<Arc<Process>> { process.children.lock().clone() };
        let mut changed = || {
            children()
                .iter()
                .any(|child| is_meant(child, which, own_group) && child.ended.load(Acquire))
        };
        crate::task::wait_interruptibly(key_of(&process.children), &mut changed)?;
    }
}

/// What a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The thread (`exit`).
    Thread,
    /// The process (`exit_group`).
    Process,
}

/// `exit` and `exit_group`. The thread ends on the way to user mode, when nothing of the call is
/// left on its stack.
pub(crate) fn exit_call(ending: Ending, status: WaitStatus) -> Result<usize, Errno> {
    sched::with_current(|thread| {
        if let Some(process) = process_of(thread) {
            match ending {
                Ending::Thread => thread.signals.end(status),
                Ending::Process => process.begin_exit(status),
            }
        }
    });
    Ok(0)
}
