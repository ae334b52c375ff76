//! Signals as they are kept: which are pending for a thread or a process, and what becomes of them.
//! How they are sent and delivered is in `process`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::limits::Limits;
use crate::shared::Shared;
use crate::sync::Lock;

/// Signals have the numbers from 1 to this.
pub(crate) const SIGNALS: usize = 64;

/// The signal that says that a thread must end, whatever its process does.
const KILLED: u64 = bit(linux::SIGKILL);

/// The bit of a signal in a set.
pub(crate) const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Signals that cannot be blocked.
pub(crate) const UNBLOCKABLE: u64 = bit(linux::SIGKILL) | bit(linux::SIGSTOP);

/// Signals that a thread brings about itself, which come before others.
const OWN_DOING: u64 = bit(linux::SIGSEGV)
    | bit(linux::SIGBUS)
    | bit(linux::SIGILL)
    | bit(linux::SIGTRAP)
    | bit(linux::SIGFPE)
    | bit(linux::SIGSYS);

/// Signals that stop a process, unless it wants something else.
pub(crate) const STOPS: u64 =
    bit(linux::SIGSTOP) | bit(linux::SIGTSTP) | bit(linux::SIGTTIN) | bit(linux::SIGTTOU);

/// Where a signal comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// A process, by its number.
    User(u32),
    /// The kernel.
    Kernel,
    /// An access to this address, or an instruction there, and what was wrong (`si_code`).
    Fault { address: usize, code: u32 },
    /// Whatever sends a value along: the `si_code`, and the two words behind it.
    Queued { code: i32, words: [u64; 2] },
    /// A child has changed.
    Child(Waited),
}

impl Cause {
    /// `si_code`.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::User(_) => 0,
            Self::Queued { code, .. } => code,
            Self::Kernel => linux::SI_KERNEL as i32,
            Self::Fault { code, .. } => code as i32,
            Self::Child(child) => child.told().0 as i32,
        }
    }
}

/// What a program wants done with a signal (`struct sigaction`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Action {
    /// The handler, or `SIG_DFL` (0) or `SIG_IGN` (1).
    pub(crate) handler: usize,
    pub(crate) flags: u64,
    pub(crate) restorer: usize,
    pub(crate) mask: u64,
}

pub(crate) const SIG_DFL: usize = 0;
pub(crate) const SIG_IGN: usize = 1;

/// Pending signals, and where each comes from.
struct Pending {
    set: AtomicU64,
    causes: Lock<Causes>,
}

/// Where pending signals come from.
struct Causes {
    first: [Option<Cause>; SIGNALS],
    /// Those of real-time signals that are pending more than once, in order.
    more: VecDeque<(u32, Cause)>,
}

/// Signals from this one on are delivered as often as they were sent.
const REAL_TIME: u32 = 32;

/// So many of them are kept, at most.
const MOST_QUEUED: usize = 4096;

impl Default for Pending {
    fn default() -> Self {
        let causes = Causes { first: [None; SIGNALS], more: VecDeque::new() };
        Self { set: AtomicU64::new(0), causes: Lock::new(causes) }
    }
}

impl Pending {
    fn add(&self, signal: u32, cause: Cause) {
        let mut causes = self.causes.lock();
        if self.set.fetch_or(bit(signal), SeqCst) & bit(signal) == 0 {
            causes.first[signal as usize - 1] = Some(cause);
        } else if signal >= REAL_TIME && causes.more.len() < MOST_QUEUED {
            causes.more.push_back((signal, cause));
        }
    }

    fn withdraw(&self, set: u64) {
        let mut causes = self.causes.lock();
        self.set.fetch_and(!set, SeqCst);
        causes.more.retain(|(signal, _)| bit(*signal) & set == 0);
    }

    /// Takes the first one that is not in `blocked`.
    fn take(&self, blocked: u64) -> Option<(u32, Cause)> {
        let mut causes = self.causes.lock();
        let ready = self.set.load(SeqCst) & !blocked;
        if ready == 0 {
            return None;
        }
        let own = ready & OWN_DOING;
        let signal = if own != 0 { own } else { ready }.trailing_zeros() + 1;
        let cause = causes.first[signal as usize - 1].take().unwrap_or(Cause::Kernel);
        match causes.more.iter().position(|(other, _)| *other == signal) {
            Some(at) => {
                causes.first[signal as usize - 1] = causes.more.remove(at).map(|(_, next)| next);
            }
            None => {
                self.set.fetch_and(!bit(signal), SeqCst);
            }
        }
        Some((signal, cause))
    }
}

/// What a process has of signals.
pub(crate) struct ProcessSignals {
    pending: Pending,
    actions: Shared<Lock<Actions>>,
}

/// What a program wants done with each signal.
type Actions = [Action; SIGNALS];

impl Default for ProcessSignals {
    fn default() -> Self {
        let actions = Arc::new(Lock::new([Action::default(); SIGNALS]));
        Self { pending: Pending::default(), actions: Shared::new(actions) }
    }
}

impl ProcessSignals {
    /// Has the actions of another process, as they are now.
    pub(crate) fn copy_actions(&self, from: &Self) {
        let actions = from.actions();
        self.actions.replace(Arc::new(Lock::new(actions)));
    }

    /// Has the same actions as another process (`CLONE_SIGHAND`).
    pub(crate) fn share_actions(&self, from: &Self) {
        self.actions.replace(from.actions.get());
    }

    /// Where the actions are, which processes may share.
    pub(crate) fn address(&self) -> usize {
        self.actions.address()
    }

    /// What becomes of each signal.
    pub(crate) fn actions(&self) -> Actions {
        *self.actions.get().lock()
    }

    /// Has another thing become of a signal.
    pub(crate) fn set_action(&self, signal: u32, action: Action) {
        self.actions.get().lock()[signal as usize - 1] = action;
    }

    /// A new program begins without handlers; ignored signals stay ignored.
    pub(crate) fn reset_for_exec(&self) {
        let actions = self.actions().map(|action| match action.handler {
            SIG_IGN => action,
            _ => Action::default(),
        });
        self.actions.replace(Arc::new(Lock::new(actions)));
    }

    /// Notes a signal, for a thread that does not block it.
    pub(crate) fn add(&self, signal: u32, cause: Cause) {
        self.pending.add(signal, cause);
    }

    /// Forgets these signals.
    pub(crate) fn withdraw(&self, set: u64) {
        self.pending.withdraw(set);
    }

    /// Signals that are pending for the process.
    pub(crate) fn pending_set(&self) -> u64 {
        self.pending.set.load(Acquire)
    }

    /// Whether nothing is done with a signal.
    pub(crate) fn ignores(&self, signal: u32) -> bool {
        match self.action(signal).handler {
            SIG_IGN => true,
            SIG_DFL => is_ignored_by_default(signal),
            _ => false,
        }
    }

    /// What becomes of a signal.
    pub(crate) fn action(&self, signal: u32) -> Action {
        self.actions.get().lock()[signal as usize - 1]
    }
}

/// A stack for handlers (`sigaltstack`); none if it has no bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HandlerStack {
    pub(crate) start: usize,
    pub(crate) size: usize,
    /// It is none once a handler has begun on it, until that returns (`SS_AUTODISARM`).
    pub(crate) disarms: bool,
}

/// The flag of such a stack.
pub(crate) const DISARMS: u32 = 1 << 31;

impl HandlerStack {
    /// Whether a stack pointer is on it. That is not asked of one that is none meanwhile.
    pub(crate) const fn has(&self, pointer: usize) -> bool {
        !self.disarms && self.start < pointer && pointer - self.start <= self.size
    }

    /// Its flags, as a program with this stack pointer sees them.
    pub(crate) const fn flags(&self, pointer: usize) -> u32 {
        let disarms = if self.disarms { DISARMS } else { 0 };
        if self.size == 0 {
            linux::SS_DISABLE | disarms
        } else if self.has(pointer) {
            linux::SS_ONSTACK
        } else {
            disarms
        }
    }

    /// A stack that a program sets: flags, start, size.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags; `ENOMEM` for one that is too small.
    pub(crate) fn new(flags: u32, start: usize, size: usize) -> Result<Self, Errno> {
        let disarms = flags & DISARMS != 0;
        match flags & !DISARMS {
            linux::SS_DISABLE => Ok(Self { start: 0, size: 0, disarms }),
            0 | linux::SS_ONSTACK if size < linux::MINSIGSTKSZ as usize => Err(Errno::NOMEM),
            0 | linux::SS_ONSTACK => Ok(Self { start, size, disarms }),
            _ => Err(Errno::INVAL),
        }
    }
}

/// What a thread has of signals.
pub(crate) struct ThreadSignals {
    pending: Pending,
    /// How it ends itself.
    status: AtomicU32,
    /// Those that wait.
    blocked: AtomicU64,
    /// The mask to go back to when a handler was called, or none was (`sigsuspend`).
    pub(crate) saved_mask: Lock<Option<u64>>,
    /// When the call ends that signals interrupted and that is made again, on the monotonic clock;
    /// 0 if there is none.
    pub(crate) resumes_until: AtomicU64,
    /// The stack for handlers (`sigaltstack`).
    pub(crate) stack: Lock<HandlerStack>,
    /// There may be something to do on the way to user mode (`process::prepare_return`): a signal,
    /// the end, another thread's turn. Set once that can be seen, and cleared before it is looked
    /// for.
    has_work: AtomicBool,
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self {
            pending: Pending::default(),
            status: AtomicU32::new(0),
            blocked: AtomicU64::new(0),
            saved_mask: Lock::new(None),
            resumes_until: AtomicU64::new(0),
            stack: Lock::new(HandlerStack::default()),
            has_work: AtomicBool::new(false),
        }
    }
}

impl ThreadSignals {
    /// Whether there may be something to do on the way to user mode.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work.load(Relaxed)
    }

    /// There is something to do, which can be seen already.
    pub(crate) fn note_work(&self) {
        self.has_work.store(true, SeqCst);
    }

    /// What there is to do is looked for from here on.
    pub(crate) fn take_work(&self) {
        self.has_work.swap(false, SeqCst);
    }

    /// Notes a signal.
    pub(crate) fn add(&self, signal: u32, cause: Cause) {
        self.pending.add(signal, cause);
        self.note_work();
    }

    /// Forgets these signals.
    pub(crate) fn withdraw(&self, set: u64) {
        self.pending.withdraw(set);
    }

    /// The signals that wait.
    pub(crate) fn blocked(&self) -> u64 {
        self.blocked.load(Relaxed)
    }

    /// Has other signals wait; those that waited before. Called by the thread itself.
    pub(crate) fn block(&self, mask: u64) -> u64 {
        let before = self.blocked.swap(mask & !UNBLOCKABLE, Relaxed);
        self.note_work();
        before
    }

    /// Whether it blocks a signal.
    pub(crate) fn blocks(&self, signal: u32) -> bool {
        self.blocked.load(Relaxed) & bit(signal) != 0
    }

    /// The next signal, of the thread's or of its process', that is not blocked.
    pub(crate) fn take(&self, process: &ProcessSignals) -> Option<(u32, Cause)> {
        self.take_of(process, !self.blocked.load(Relaxed) | UNBLOCKABLE)
    }

    /// The next signal of a set, of the thread's or of its process'.
    pub(crate) fn take_of(&self, process: &ProcessSignals, set: u64) -> Option<(u32, Cause)> {
        self.pending.take(!set).or_else(|| process.pending.take(!set))
    }

    /// Signals that are pending for the thread (`sigpending`).
    pub(crate) fn pending(&self, process: &ProcessSignals) -> u64 {
        self.pending.set.load(Acquire) | process.pending.set.load(Acquire)
    }

    /// Signals that are pending for the thread alone.
    pub(crate) fn own_pending(&self) -> u64 {
        self.pending.set.load(Acquire)
    }

    /// The thread has to end.
    pub(crate) fn kill(&self) {
        self.pending.set.fetch_or(KILLED, SeqCst);
        self.note_work();
    }

    /// The thread ends itself, with this status.
    pub(crate) fn end(&self, status: u32) {
        self.status.store(status, Relaxed);
        self.kill();
    }

    /// Whether it has to end, and with which status.
    pub(crate) fn ends(&self) -> Option<u32> {
        let ends = self.pending.set.load(Acquire) & KILLED != 0;
        ends.then(|| self.status.load(Relaxed))
    }

    pub(crate) fn copy_mask(&self, from: &Self) {
        self.blocked.store(from.blocked.load(Relaxed), Relaxed);
    }
}

/// Signals that a program that says nothing does not notice.
pub(crate) const fn is_ignored_by_default(signal: u32) -> bool {
    matches!(signal, linux::SIGCHLD | linux::SIGCONT | linux::SIGURG | linux::SIGWINCH)
}

/// How a process has ended, as `wait` tells it.
pub(crate) type WaitStatus = u32;

/// A child that has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) number: u32,
    pub(crate) status: WaitStatus,
}

/// The status of a process that a signal has stopped.
pub(crate) const fn stopped_status(signal: u32) -> WaitStatus {
    signal << 8 | 0x7f
}

/// The status of a process that goes on.
pub(crate) const CONTINUED: WaitStatus = 0xffff;

impl Waited {
    /// `si_code` and `si_status`.
    pub(crate) const fn told(self) -> (u32, u32) {
        let (signal, high) = (self.status & 0x7f, self.status >> 8 & 0xff);
        match (self.status, signal) {
            (CONTINUED, _) => (linux::CLD_CONTINUED, linux::SIGCONT),
            (_, 0x7f) => (linux::CLD_STOPPED, high),
            (_, 0) => (linux::CLD_EXITED, high),
            _ => (linux::CLD_KILLED, signal),
        }
    }
}

/// What the threads of a process have to know of it at any time.
pub(crate) struct Life {
    /// All threads are to end, with the status of the first call.
    pub(crate) exiting: AtomicBool,
    pub(crate) status: AtomicU32,
    pub(crate) signals: ProcessSignals,
    /// The signal that has stopped it; 0 while it goes on.
    pub(crate) stopped: AtomicU32,
    pub(crate) limits: Limits,
    /// CPU time of its threads that have ended, and of children that were waited for, in
    /// nanoseconds.
    ran: AtomicU64,
    children_ran: AtomicU64,
}

impl Life {
    /// A process that goes on.
    pub(crate) fn new() -> Self {
        Self {
            exiting: AtomicBool::new(false),
            status: AtomicU32::new(0),
            signals: ProcessSignals::default(),
            stopped: AtomicU32::new(0),
            limits: Limits::new(),
            ran: AtomicU64::new(0),
            children_ran: AtomicU64::new(0),
        }
    }

    /// A thread has ended that ran for so long.
    pub(crate) fn add_thread_time(&self, time: u64) {
        self.ran.fetch_add(time, Relaxed);
    }

    /// A child was waited for.
    pub(crate) fn add_child(&self, child: &Self) {
        self.children_ran.fetch_add(child.ran() + child.children_ran(), Relaxed);
    }

    /// How long threads ran that have ended, in nanoseconds.
    pub(crate) fn ran(&self) -> u64 {
        self.ran.load(Relaxed)
    }

    /// How long children ran that were waited for, and theirs, in nanoseconds.
    pub(crate) fn children_ran(&self) -> u64 {
        self.children_ran.load(Relaxed)
    }

    /// Whether all threads are to end.
    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting.load(Acquire)
    }
}
