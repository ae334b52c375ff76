//! `fork`, `vfork` and `clone`: another process, or another thread.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use alloc::boxed::Box;
use alloc::sync::Arc;

use faultless::prelude::{MayFault, Wait};
use faultless_posix::{Errno, OnExec};
use linux_raw_sys::general as linux;
use x86_64::instructions::interrupts;

use crate::arch::switch;
use crate::arch::trap::TrapFrame;
use crate::files;
use crate::memory::{AddressSpace, new_space, put};
use crate::process::exit::exit_thread;
use crate::process::state::{Memory, Process, current};
use crate::process::timers;
use crate::sched::{self, Thread};
use crate::task::credentials;
use crate::waits::{key_of, waits};

/// What `clone` and `clone3` are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CloneRequest {
    pub(crate) flags: u64,
    /// The new stack pointer; 0 for the caller's.
    pub(crate) stack: usize,
    pub(crate) parent_number: usize,
    /// Where the descriptor of the new process is told (`CLONE_PIDFD`).
    pub(crate) descriptor: usize,
    pub(crate) child_number: usize,
    pub(crate) thread_pointer: usize,
    /// The signal that tells the parent of the end of a new process; 0 for none.
    pub(crate) signal: u32,
}

/// What cannot be had: namespaces and control groups.
const REFUSED: u64 = (linux::CLONE_NEWNS
    | linux::CLONE_NEWCGROUP
    | linux::CLONE_NEWUTS
    | linux::CLONE_NEWIPC
    | linux::CLONE_NEWUSER
    | linux::CLONE_NEWPID
    | linux::CLONE_NEWNET) as u64
    | linux::CLONE_INTO_CGROUP;

impl CloneRequest {
    /// Checks that it can be had, and that its flags go together.
    ///
    /// # Errors
    /// `EINVAL`.
    fn check(&self) -> Result<(), Errno> {
        let needs = |flag, other| !self.has(flag) || self.has(other);
        if self.flags & REFUSED == 0
            && needs(linux::CLONE_THREAD, linux::CLONE_SIGHAND)
            && needs(linux::CLONE_SIGHAND, linux::CLONE_VM)
            && !(self.has(linux::CLONE_PIDFD) && self.has(linux::CLONE_THREAD))
        {
            Ok(())
        } else {
            Err(Errno::INVAL)
        }
    }

    const fn has(&self, flag: u32) -> bool {
        self.flags & flag as u64 != 0
    }
}

/// `clone`: the number of the new thread, which begins as the caller, with 0 for a result.
///
/// # Errors
/// `EINVAL` for flags that contradict each other, or are not supported; `ENOMEM`.
pub(crate) fn clone(
    token: &mut MayFault,
    frame: &TrapFrame,
    request: CloneRequest,
) -> Result<u32, Errno> {
    let process = current().ok_or(Errno::SRCH)?;
    let is_thread = request.has(linux::CLONE_THREAD);
    request.check()?;
    need_room(&process)?;
    let number = sched::next_number();
    let of =
        if is_thread { Arc::clone(&process) } else { new_process(&process, number, &request)? };
    let mut begin = TrapFrame { rax: 0, ..*frame };
    if request.stack != 0 {
        begin.rsp = request.stack as u64;
    }
    let thread = of.new_thread(number, begin, None)?;
    *thread.credentials.lock() = credentials();
    *thread.schedule.lock() = sched::with_current(|own| *own.schedule.lock());
    let (fs, gs) = switch::bases();
    thread.fs_base.store(fs, Relaxed);
    thread.gs_base.store(gs, Relaxed);
    if request.has(linux::CLONE_SETTLS) {
        thread.fs_base.store(request.thread_pointer as u64, Relaxed);
    }
    if request.has(linux::CLONE_CHILD_CLEARTID) {
        thread.clear_at_exit.store(request.child_number, Relaxed);
    }
    sched::with_current(|own| {
        thread.signals.copy_mask(&own.signals);
        // One that shares the memory has no area in it.
        if !request.has(linux::CLONE_VM) {
            thread.set_sequences(own.sequences.area());
        }
    });
    let number_bytes = number.to_ne_bytes();
    if request.has(linux::CLONE_PARENT_SETTID) {
        put(token, request.parent_number, &number_bytes)?;
    }
    if request.has(linux::CLONE_CHILD_SETTID) {
        // By the thread itself: it may have another memory.
        thread.set_at_begin.store(request.child_number, Relaxed);
    }
    if request.has(linux::CLONE_PIDFD) {
        let file = files::process_file(Arc::clone(&of), 0);
        let descriptor = process.files().lock().add(0, file, OnExec::Close)?;
        put(token, request.descriptor, &(descriptor as u32).to_ne_bytes())?;
    }
    of.add_thread(&thread);
    // The caller may not be alone in its memory any more.
    sched::with_current(Thread::interrupt_sequence);
    if !is_thread {
        process.children.lock().push(Arc::clone(&of));
    }
    sched::start(thread);
    if request.has(linux::CLONE_VFORK) {
        let mut released = || of.released.load(Acquire) || process.is_exiting();
        waits().wait_until(key_of(&of.released), &mut released);
    }
    Ok(number)
}

/// Checks that a user may have one more thread (`RLIMIT_NPROC`, which root has not).
///
/// # Errors
/// `EAGAIN`.
fn need_room(process: &Process) -> Result<(), Errno> {
    let [limit, _] = process.life.limits.get(linux::RLIMIT_NPROC as usize)?;
    let own = credentials();
    if limit == u64::MAX || own.is_root() || own.user.real == 0 {
        return Ok(());
    }
    let is_its = |thread: &&Arc<Thread>| {
        thread.owner().is_some() && thread.credentials.lock().user.real == own.user.real
    };
    let threads = sched::all();
    let count = threads.iter().filter(is_its).count();
    if count as u64 >= limit { Err(Errno::AGAIN) } else { Ok(()) }
}

fn new_process(
    parent: &Arc<Process>,
    number: u32,
    request: &CloneRequest,
) -> Result<Arc<Process>, Errno> {
    let memory = parent.memory()?;
    let memory = if request.has(linux::CLONE_VM) {
        memory
    } else {
        let space = new_space()?;
        // The layout stays as it is while the mappings are taken over.
        let layout = memory.layout.lock();
        let child = Memory::new(Arc::clone(&space), layout.clone(), memory.running());
        AddressSpace::fork(memory.space(), &space)?;
        child.barriers.store(memory.barriers.load(Relaxed), Relaxed);
        if space.with_table(|table| table.was_short(None)) {
            // The child lacks pages.
            return Err(Errno::NOMEM);
        }
        child
    };
    let files = parent.files();
    let files = if request.has(linux::CLONE_FILES) { files.share() } else { files.copy(number) };
    let place = parent.place();
    let place = if request.has(linux::CLONE_FS) { place } else { place.copy() };
    let above = if request.has(linux::CLONE_PARENT) {
        parent.parent.lock().clone()
    } else {
        Arc::downgrade(parent)
    };
    let child = Process::new(number, above, Some(memory), files, place);
    let signal = if request.has(linux::CLONE_PARENT) {
        parent.end_signal.load(Relaxed)
    } else {
        request.signal
    };
    child.end_signal.store(signal, Relaxed);
    let gains_none = parent.asked.no_new_rights.load(Relaxed);
    child.asked.no_new_rights.store(gains_none, Relaxed);
    child.group.store(parent.group.load(Relaxed), Relaxed);
    child.session.store(parent.session.load(Relaxed), Relaxed);
    child.life.limits.copy(&parent.life.limits);
    let executable = parent.executable.lock().clone();
    *child.executable.lock() = executable;
    let name = parent.name.lock().clone();
    *child.name.lock() = name;
    let words = parent.words.lock().clone();
    *child.words.lock() = words;
    if request.has(linux::CLONE_SIGHAND) {
        child.life.signals.share_actions(&parent.life.signals);
    } else {
        child.life.signals.copy_actions(&parent.life.signals);
    }
    let child = Arc::new(child);
    timers::limit(&child);
    Ok(child)
}

/// Starts another thread of the current process, which does `main` in the kernel and ends.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn spawn_in_current(main: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let process = current().ok_or(Errno::SRCH)?;
    let main = move || {
        main();
        exit_thread(0)
    };
    let frame = TrapFrame::user(0, 0);
    let thread = process.new_thread(sched::next_number(), frame, Some(Box::new(main)))?;
    *thread.credentials.lock() = credentials();
    process.add_thread(&thread);
    sched::start(thread);
    Ok(())
}

/// The first thing that a thread of a program does in the kernel, with interrupts off.
pub(crate) fn begin_thread() {
    let (at, number) =
        sched::with_current(|thread| (thread.set_at_begin.swap(0, Relaxed), thread.number()));
    if at == 0 {
        return;
    }
    interrupts::enable();
    // SAFETY: a thread that begins holds no lock.
    let mut token = unsafe { MayFault::assert() };
    // As on Linux, a program that names a bad address is not told.
    let _not_reported = put(&mut token, at, &number.to_ne_bytes());
    interrupts::disable();
}
