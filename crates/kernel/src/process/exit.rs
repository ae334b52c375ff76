//! The end of threads and processes, and how parents hear of it.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;
use spin::Once;

use crate::arch::{clock, serial};
use crate::calls::{all_closed, tell_unknown, undo_semaphores};
use crate::files;
use crate::memory::put;
use crate::process::futex::{FutexKey, futex_wake};
use crate::process::open_files::Place;
use crate::process::priority::owner_ends;
use crate::process::robust::let_go;
use crate::process::signals::send;
use crate::process::space::leave_memory;
use crate::process::state::{Change, Process, current, process_of};
use crate::process::timers;
use crate::sched::{self, Thread};
use crate::signals::{Cause, SIG_IGN, WaitStatus, Waited};
use crate::waits::{key_of, wake, wake_pollers};

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
        let_go_futexes(&thread);
        leave_memory();
        process.life.add_thread_time(sched::own_run_time());
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

/// Lets go its robust futexes, and tells the other threads that the number is free
/// (`set_tid_address`), as `pthread_join` waits for.
fn let_go_futexes(thread: &Thread) {
    // SAFETY: at the end of a system call, or on the way to user mode, no lock is held.
    let mut token = unsafe { MayFault::assert() };
    owner_ends(thread.number());
    let robust = thread.robust_list.swap(0, Relaxed);
    if robust != 0 {
        // A program that spoils its list has its futexes stay as they are.
        let _not_reported = let_go(&mut token, robust, thread.number());
    }
    let at = thread.clear_at_exit.swap(0, Relaxed);
    if at == 0 {
        return;
    }
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
    timers::delete_all(process);
    let files = process.files();
    all_closed(files.owner, files.leave());
    undo_semaphores(process.number);
    let memory = process.memory.lock().take();
    drop(memory);
    // The working directory is in use no more, unless another process has it.
    let nowhere = Arc::new(Place::new(files::root(), 0));
    drop(process.place.replace(nowhere));
    let Some(first) = FIRST.get() else { return };
    if Arc::ptr_eq(first, process) {
        end_run(first, process.life.status.load(Acquire));
    }
    let reaper = reaper_of(process).unwrap_or_else(|| Arc::clone(first));
    let children = core::mem::take(&mut *process.children.lock());
    for child in &children {
        *child.parent.lock() = Arc::downgrade(&reaper);
    }
    let parent = process.parent.lock().upgrade();
    // Before it has ended: a parent that does not want to wait for it must not find it.
    let unwanting = parent.as_ref().filter(|parent| is_unwanted(parent, process));
    if let Some(parent) = unwanting
        && !Arc::ptr_eq(parent, &reaper)
    {
        take_off(&mut parent.children.lock(), process);
    }
    {
        // At once for a parent that gets its children: who waits for any child finds it before
        // them, and never none.
        let mut adopted = reaper.children.lock();
        if unwanting.is_some_and(|parent| Arc::ptr_eq(parent, &reaper)) {
            take_off(&mut adopted, process);
        }
        adopted.extend(children.iter().map(Arc::clone));
        process.ended.store(true, SeqCst);
    }
    for child in children {
        let signal = child.asked.death_signal.load(Relaxed);
        if signal != 0 && !child.has_ended() {
            send(&child, signal, Cause::User(process.number));
        }
    }
    process.released.store(true, SeqCst);
    wake_pollers(key_of(&process.released));
    wake(key_of(&reaper.children));
    if let Some(parent) = parent {
        tell(&parent, process, process.life.status.load(Acquire));
    }
}

/// The process above this one, none between them, that gets its children
/// (`PR_SET_CHILD_SUBREAPER`).
fn reaper_of(process: &Process) -> Option<Arc<Process>> {
    let mut above = process.parent.lock().upgrade();
    while let Some(ancestor) = above {
        if ancestor.asked.reaps.load(Relaxed) && !ancestor.is_exiting() {
            return Some(ancestor);
        }
        above = ancestor.parent.lock().upgrade();
    }
    None
}

/// Whether a parent does not want to wait for a child.
fn is_unwanted(parent: &Process, child: &Process) -> bool {
    if child.end_signal.load(Relaxed) != linux::SIGCHLD {
        return false;
    }
    let action = parent.life.signals.action(linux::SIGCHLD);
    action.handler == SIG_IGN || action.flags & u64::from(linux::SA_NOCLDWAIT) != 0
}

/// Takes a child, which is in use elsewhere, off a list.
fn take_off(children: &mut Vec<Arc<Process>>, child: &Process) {
    if let Some(at) = children.iter().position(|other| other.number == child.number) {
        children.remove(at);
    }
}

/// Tells a parent that a child has changed.
fn tell(parent: &Arc<Process>, child: &Process, status: WaitStatus) {
    let action = parent.life.signals.action(linux::SIGCHLD);
    let signal = if child.has_ended() {
        child.end_signal.load(Relaxed)
    } else if action.flags & u64::from(linux::SA_NOCLDSTOP) == 0 {
        linux::SIGCHLD
    } else {
        0
    };
    if signal != 0 {
        let child = Waited { number: child.number, status };
        send(parent, signal, Cause::Child(child));
    }
    wake(key_of(&parent.children));
}

impl Process {
    /// Tells its parent that it has stopped or goes on.
    pub(super) fn tell_parent(&self, change: Change) {
        *self.change.lock() = Some(change);
        let parent = self.parent.lock().upgrade();
        if let Some(parent) = parent {
            tell(&parent, self, change.status());
        }
    }

    /// What `wait` with these flags tells of it, and whether that is its end.
    fn waited(&self, flags: u32) -> Option<(Waited, Ended)> {
        let of = |status| Waited { number: self.number, status };
        if flags & linux::WEXITED != 0 && self.has_ended() {
            return Some((of(self.life.status.load(Acquire)), Ended::Yes));
        }
        let mut change = self.change.lock();
        let asked = match (*change)? {
            Change::Stopped(_) => linux::WSTOPPED,
            Change::Continued => linux::WCONTINUED,
        };
        if flags & asked == 0 {
            return None;
        }
        let told = *change;
        if flags & linux::WNOWAIT == 0 {
            *change = None;
        }
        told.map(|change| (of(change.status()), Ended::No))
    }
}

/// Whether a process has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Yes,
    No,
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
    if !alone() {
        return Err(Errno::AGAIN);
    }
    // The one that is left is the first thread now.
    sched::renumber(process.number);
    Ok(())
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

/// Whether a child is of the kind that `flags` mean: one that ends with `SIGCHLD`, another one
/// (`__WCLONE`), or any (`__WALL`).
fn is_of_kind(child: &Process, flags: u32) -> bool {
    let is_clone = child.end_signal.load(Relaxed) != linux::SIGCHLD;
    flags & linux::__WALL != 0 || is_clone == (flags & linux::__WCLONE != 0)
}

/// `wait4`: a child that has changed as `flags` say (`WEXITED`, `WSTOPPED`, `WCONTINUED`). One that
/// has ended is taken off the list. None with `WNOHANG`, if none has changed.
///
/// # Errors
/// `ECHILD`: there is no such child; `EINTR`.
pub(crate) fn wait(which: i32, flags: u32) -> Result<Option<Waited>, Errno> {
    let process = current().ok_or(Errno::CHILD)?;
    let own_group = process.group.load(Relaxed);
    let look = || -> Result<Option<Waited>, Errno> {
        let mut children = process.children.lock();
        let is_meant =
            |child: &Arc<Process>| is_meant(child, which, own_group) && is_of_kind(child, flags);
        if !children.iter().any(is_meant) {
            return Err(Errno::CHILD);
        }
        let changed = children.iter().enumerate().filter(|(_, child)| is_meant(child));
        let found = changed.map(|(at, child)| (at, child.waited(flags)));
        let Some((at, Some((waited, ended)))) = found.into_iter().find(|(_, told)| told.is_some())
        else {
            return Ok(None);
        };
        let takes = ended == Ended::Yes && flags & linux::WNOWAIT == 0;
        // The others keep their order: the oldest is told of first.
        let taken = takes.then(|| children.remove(at));
        drop(children);
        if let Some(child) = taken {
            process.life.add_child(&child.life);
        }
        Ok(Some(waited))
    };
    let mut outcome = look();
    if !matches!(outcome, Ok(None)) || flags & linux::WNOHANG != 0 {
        return outcome;
    }
    crate::task::wait_interruptibly(key_of(&process.children), &mut || {
        outcome = look();
        !matches!(outcome, Ok(None))
    })?;
    outcome
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
