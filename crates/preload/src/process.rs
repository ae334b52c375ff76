//! A process: its descriptors, its address space, and what other processes ask of it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless_posix::{AddressSpace, Descriptors, Errno, OnExec};
use syscalls::Sysno;

use crate::arena::{Part, unique};
use crate::kernel::{OpenFile, Program, Space, TheCache};
use crate::loans::Loans;
use crate::raw;
use crate::sync::Short;
use crate::table::{Table, reserve};
use crate::taken::{self, Actions};
use crate::thread::{InCommon, Thread, sleep_for_good};

/// Descriptors that a process may have at most.
const DESCRIPTORS: usize = 1 << 20;

/// The processes of the run, by Linux's numbers.
pub(crate) static PROCESSES: Part<Processes> = Part::new(7);

/// Processes.
pub(crate) type Processes = Short<BTreeMap<i32, Arc<Process>>>;

/// A process.
#[repr(C)]
pub(crate) struct Process {
    /// First, so that a thread's record leads here.
    in_common: InCommon,
    pub(crate) pid: i32,
    pub(crate) descriptors: Short<Descriptors<OpenFile>>,
    pub(crate) space: Space,
    pub(crate) actions: Short<Actions>,
    pub(crate) loans: Short<Loans>,
}

impl Process {
    /// The process of the running thread, once it has one.
    pub(crate) fn current() -> Option<&'static Self> {
        Self::of(Thread::current())
    }

    /// The process of a thread.
    pub(crate) fn of(thread: &Thread) -> Option<&'static Self> {
        let in_common = core::ptr::from_ref(thread.process.get()?);
        // SAFETY: the first field of a process, which the table keeps as long as a thread runs in
        // it.
        Some(unsafe { &*in_common.cast::<Self>() })
    }

    fn new(pid: i32, descriptors: Descriptors<OpenFile>, actions: Actions) -> Self {
        let number = unique();
        Self {
            in_common: InCommon::new(number),
            pid,
            descriptors: Short::new(descriptors),
            space: Arc::new(AddressSpace::new(TheCache, Table::new(number))),
            actions: Short::new(actions),
            loans: Short::default(),
        }
    }

    /// The process that this program runs in: a new one, or, after `exec`, what is left of it.
    pub(crate) fn attach(thread: &Thread) {
        let pid = raw::pid();
        let old = PROCESSES.get().lock().remove(&pid);
        let descriptors = old.as_ref().map(|old| old.descriptors.lock().fork());
        if let Some(old) = &old {
            old.close_all();
        }
        let mut descriptors = descriptors.unwrap_or(Descriptors::new(DESCRIPTORS));
        // What `exec` has closed.
        let closed = descriptors.remove_if(|at, _| {
            raw::harmless(Sysno::fcntl, [at, libc::F_GETFD as usize, 0, 0, 0, 0]) < 0
        });
        drop((closed, old));
        Self::new(pid, descriptors, Actions::default()).run(thread);
    }

    fn run(self, thread: &Thread) {
        let process = Arc::new(self);
        let pid = process.pid;
        // SAFETY: the table of processes keeps it for as long as one of its threads runs.
        let kept: &'static Self = unsafe { &*Arc::as_ptr(&process) };
        thread.process.set(Some(&kept.in_common));
        thread.pid.set(pid);
        thread.tid.set(raw::tid());
        let before = PROCESSES.get().lock().insert(pid, process);
        drop(before);
    }

    /// A child, as far as it can be made before Linux has made it: it has no number of Linux's yet.
    pub(crate) fn fork(&self) -> *mut InCommon {
        let descriptors = self.descriptors.lock().fork();
        let actions = self.actions.lock().clone();
        let child = Self::new(0, descriptors, actions);
        let forked = AddressSpace::<Program>::fork(&self.space, &child.space);
        forked.expect("without M there is no wait to be killed in");
        Box::into_raw(Box::new(child)).cast()
    }

    /// Gives a child up: Linux has not made it.
    ///
    /// # Safety
    /// It comes from [`fork`](Self::fork), and has not been used.
    pub(crate) unsafe fn give_up(child: *mut InCommon) {
        // SAFETY: the first field of a boxed process.
        let child = unsafe { Box::from_raw(child.cast::<Self>()) };
        child.close_all();
    }

    /// A child goes on, on its own thread.
    ///
    /// # Safety
    /// It comes from [`fork`](Self::fork), and has not been used.
    pub(crate) unsafe fn begin(child: *mut InCommon, thread: &Thread) {
        // SAFETY: the first field of a boxed process.
        let mut child = unsafe { Box::from_raw(child.cast::<Self>()) };
        child.pid = raw::pid();
        let mut areas = child.space.areas();
        // The mappings are still those of the parent.
        areas.retain(|area| !reserve(&area.pages));
        if !areas.is_empty() {
            raw::die("faultless: a child cannot have its parent's mappings");
        }
        child.run(thread);
        // Only now: what others change from here on is asked for.
        if let Some(process) = Self::of(thread) {
            process.space.with_table(Table::reload);
        }
    }

    /// A thread enters the kernel. It does not return if the process ends, and waits while another
    /// thread has the process replaced.
    pub(crate) fn enter(&self) {
        loop {
            self.in_common.inside.fetch_add(1, SeqCst);
            let may_enter = !self.is_execed_by_another();
            if may_enter && !self.in_common.exiting.load(SeqCst) {
                return;
            }
            self.in_common.inside.fetch_sub(1, SeqCst);
            if may_enter {
                sleep_for_good();
            }
            while self.is_execed_by_another() {
                raw::yield_now();
            }
        }
    }

    fn is_execed_by_another(&self) -> bool {
        let execs = self.in_common.execs.load(SeqCst);
        execs != 0 && execs != exec_number()
    }

    /// A thread leaves the kernel. It does not return if the process is to end by `SIGKILL`.
    pub(crate) fn leave(&self) {
        self.serve();
        if self.in_common.killed.load(SeqCst) {
            self.exit();
            raw::harmless(Sysno::kill, [self.pid as usize, libc::SIGKILL as usize, 0, 0, 0, 0]);
            sleep_for_good();
        }
        self.in_common.inside.fetch_sub(1, SeqCst);
    }

    /// The process is to end by `SIGKILL`, once none of its threads is in the kernel, where they
    /// hold locks.
    pub(crate) fn kill(&self) {
        self.in_common.killed.store(true, SeqCst);
        // One that is being replaced holds no locks, and has no handlers.
        let execs = self.in_common.execs.load(SeqCst) != 0;
        let first = if execs { libc::SIGKILL } else { taken::SHOOTDOWN };
        for signal in [first, libc::SIGCONT] {
            raw::harmless(Sysno::kill, [self.pid as usize, signal as usize, 0, 0, 0, 0]);
        }
    }

    /// The process is about to be replaced by another program: it is not asked for anything.
    ///
    /// Linux ends its other threads then: they leave the kernel first, where they may hold locks.
    pub(crate) fn begin_exec(&self) {
        let execs = &self.in_common.execs;
        while execs.compare_exchange(0, exec_number(), SeqCst, SeqCst).is_err() {
            // Another thread was faster, and waits until this one has left.
            self.in_common.inside.fetch_sub(1, SeqCst);
            self.enter();
        }
        while self.in_common.inside.load(SeqCst) > 1 {
            self.serve();
            raw::yield_now();
        }
    }

    /// It was not.
    pub(crate) fn end_exec(&self) {
        if self.in_common.execs.swap(0, SeqCst) != 0 {
            self.space.with_table(Table::reload);
        }
    }

    /// Whether it is still one of the run's.
    pub(crate) fn is_known(&self) -> bool {
        let processes = PROCESSES.get().lock();
        processes.get(&self.pid).is_some_and(|known| core::ptr::eq(&raw const **known, self))
    }

    /// Gives up all that the process has, on a thread in the kernel, when all others have left it.
    /// They do not enter it again, and this one does not leave it. Returns for one thread only.
    pub(crate) fn exit(&self) {
        if self.in_common.exiting.swap(true, SeqCst) {
            self.in_common.inside.fetch_sub(1, SeqCst);
            sleep_for_good();
        }
        while self.in_common.inside.load(SeqCst) > 1 {
            self.serve();
            raw::yield_now();
        }
        self.close_all();
        let gone = PROCESSES.get().lock().remove(&self.pid);
        // A thread of the process may still look at it.
        core::mem::forget(gone);
    }

    fn close_all(&self) {
        let open = self.descriptors.lock().remove_if(|_, _| true);
        drop(open);
        AddressSpace::<Program>::exit(&self.space);
    }

    /// The open file of a descriptor.
    pub(crate) fn file(&self, descriptor: usize) -> Option<OpenFile> {
        self.descriptors.lock().get(descriptor).ok().cloned()
    }

    /// Gives an open file a descriptor, which is Linux's too.
    ///
    /// # Errors
    /// As [`Descriptors::set`].
    pub(crate) fn open(&self, descriptor: usize, file: OpenFile) -> Result<(), Errno> {
        // Linux closes it: see `attach`.
        let old = self.descriptors.lock().set(descriptor, file, OnExec::Keep)?;
        drop(old);
        Ok(())
    }

    /// Forgets a descriptor.
    pub(crate) fn close(&self, descriptor: usize) {
        let old = self.descriptors.lock().remove(descriptor);
        drop(old);
    }

    /// Makes the mappings what the page table says, if another process asked for it.
    fn serve(&self) {
        let asked = self.in_common.asked.load(SeqCst);
        if asked != self.in_common.served.load(Relaxed) {
            self.space.with_table(Table::reload);
            self.in_common.served.fetch_max(asked, SeqCst);
        }
    }
}

/// What the running thread is in [`InCommon::execs`].
fn exec_number() -> u32 {
    Thread::current().number() as u32 + 1
}

/// Does what other processes have asked the running one for. No short lock is held.
pub(crate) fn serve() {
    if let Some(process) = Process::current() {
        process.serve();
    }
}

/// How long a child is waited for, in nanoseconds: in a namespace of its own it has another number.
const BEGIN: u64 = 1_000_000_000;

/// Waits until a child has begun, so that it is known to `kill`, or is dead.
pub(crate) fn wait_for_begin(pid: i32) {
    let start = raw::monotonic();
    let is_known = || PROCESSES.get().lock().contains_key(&pid);
    while !is_known() && state(pid).is_some() && raw::monotonic() - start < BEGIN {
        serve();
        raw::yield_now();
    }
}

/// Waits until a process has made its mappings what its page table says. No short lock is held.
pub(crate) fn shoot_down(number: u64) {
    let process = {
        let processes = PROCESSES.get().lock();
        processes.values().find(|process| process.in_common.number == number).cloned()
    };
    // It does not run yet, or no longer.
    let Some(process) = process else { return };
    // The signal ends a call that waits, and cuts a write to a pipe short: it is sent for a reason.
    if process.space.with_table(|table| table.is_current()) {
        return;
    }
    let pid = process.pid;
    let wanted = process.in_common.asked.fetch_add(1, SeqCst) + 1;
    let mut rounds = 0_u32;
    while process.in_common.served.load(SeqCst) < wanted {
        if process.in_common.execs.load(SeqCst) != 0 {
            return;
        }
        // It answers at once, or when it can run again: in the kernel it looks before it leaves.
        if rounds.is_multiple_of(64) {
            let args = [pid as usize, taken::SHOOTDOWN as usize, 0, 0, 0, 0];
            if raw::harmless(Sysno::kill, args) < 0 || !runs(pid) {
                return;
            }
        }
        rounds += 1;
        serve();
        raw::yield_now();
    }
}

/// Ends the run if a process was killed from outside while a thread of it was in the kernel: it may
/// have held locks, which nothing gives back.
pub(crate) fn look_for_dead() {
    let dead = {
        let processes = PROCESSES.get().lock();
        let inside = |process: &&Arc<Process>| process.in_common.inside.load(SeqCst) > 0;
        processes.values().filter(inside).find(|process| state(process.pid).is_none()).cloned()
    };
    if let Some(dead) = dead {
        raw::die(&format!(
            "faultless: process {} was killed from outside, in a call, and has kept its locks",
            dead.pid
        ));
    }
}

/// Whether a process can use its mappings before it has looked at the signals that it got: it is
/// neither stopped nor dead.
fn runs(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, b'T' | b't'))
}

/// The letter that Linux gives the state of a process; nothing if it is dead.
fn state(pid: i32) -> Option<u8> {
    let name = format!("/proc/{pid}/stat\0");
    let args = [libc::AT_FDCWD as usize, name.as_ptr().addr(), libc::O_RDONLY as usize, 0, 0, 0];
    let fd = usize::try_from(raw::harmless(Sysno::openat, args)).ok()?;
    let mut text = [0_u8; 512];
    // SAFETY: the buffer is ours.
    let read =
        unsafe { raw::call(Sysno::read, [fd, text.as_mut_ptr().addr(), text.len(), 0, 0, 0]) };
    raw::harmless(Sysno::close, [fd, 0, 0, 0, 0, 0]);
    let text = &text[..usize::try_from(read).unwrap_or(0)];
    // The state follows the name, which may hold parentheses itself.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    text.get(end + 2).copied().filter(|state| !matches!(state, b'Z' | b'X'))
}
