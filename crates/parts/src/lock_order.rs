//! [`LockOrder`]: a lock checker of fixed size, for the debug builds of a kernel.
//!
//! It listens to the trace of the cache and to the address-space locks of the kernel, and tells of
//! orders that could deadlock, whether they have this time or not. Neighbour: the lock checker of
//! `faultless-host`, which has a heap, and so can remember all orders that were ever seen.
#![forbid(unsafe_code)]

use core::fmt;

use faultless_page::{ConstSync, CoreSync, Initial, LockId, Spin, SyncFamily, Trace};
use heapless::Vec;

/// Locks that one thread is known to hold at a time.
const HELD: usize = 8;

/// A lock of the cache, or of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// A lock of the cache.
    Cache(LockId),
    /// M of the address space with this number, for reading.
    SpaceRead(u64),
    /// M of the address space with this number, for writing.
    SpaceWrite(u64),
}

/// What is wrong. The thread that [`LockOrder`] tells is the one that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The thread wants a lock that ranks before one that it holds, or does not come after it in
    /// ascending order: I → range → size → M → shift → P.
    Order {
        /// What it holds.
        held: Lock,
        /// What it wants.
        wanted: Lock,
    },
    /// The thread wants a lock that it holds already.
    Again(Lock),
    /// The thread is about to make an access that may fault, and holds a lock that the fault
    /// handler could want.
    Fault(Lock),
    /// The thread still holds a lock where it should hold none.
    Leaked(Lock),
    /// There is no such thread, or it holds more locks than there is room for.
    Full,
}

/// A lock checker for threads `0..THREADS`.
///
/// A kernel calls [`trace`](Self::trace) from its [`Kernel::trace`](faultless_page::Kernel::trace),
/// [`acquiring`](Self::acquiring), [`acquired`](Self::acquired) and [`released`](Self::released)
/// around M, the lock of an address space that a thread may sleep with, and
/// [`nothing_held`](Self::nothing_held) where a system call returns. A short lock of page tables,
/// which `install` and `UserMappings` take under P, is not M, and is not told. Each call takes one
/// short lock of the family `S` and looks at the locks of the calling thread, eight at most.
///
/// The order is total, so threads that keep it cannot wait for each other in a circle, and one that
/// breaks it is told at once, whether there is a circle this time or not. It does not know the
/// locks of stores and drivers. Printed, it says what each thread holds and wants: for the report
/// of a watchdog.
///
/// ```
/// use faultless_page::{LockId, Trace};
/// use faultless_parts::{Lock, LockOrder, Violation};
///
/// static LOCKS: LockOrder<64> = LockOrder::new();
///
/// # let current_thread = || 3;
/// // In `impl Kernel for MyKernel`, if `cfg!(debug_assertions)`:
/// let trace = |event: Trace| LOCKS.trace(current_thread(), event);
///
/// trace(Trace::Acquired(LockId::Inode(1)))?;
/// trace(Trace::MayFault)?; // The fault handler never takes I.
/// let pages = LockId::Pages { mapping: 1, base: 0, slots: faultless_page::SlotMask::ALL };
/// trace(Trace::Acquired(pages))?;
/// assert_eq!(trace(Trace::MayFault), Err(Violation::Fault(Lock::Cache(pages))));
/// # Ok::<(), Violation>(())
/// ```
pub struct LockOrder<const THREADS: usize, S: SyncFamily = CoreSync> {
    threads: S::Spin<Threads<THREADS>>,
}

/// What is known of each thread.
struct Threads<const THREADS: usize>([Thread; THREADS]);

struct Thread {
    held: Vec<Lock, HELD>,
    wanted: Option<Lock>,
}

impl<const THREADS: usize> Initial for Threads<THREADS> {
    const INITIAL: Self = Self([const { Thread { held: Vec::new(), wanted: None } }; THREADS]);
}

impl<const THREADS: usize, S: ConstSync> LockOrder<THREADS, S> {
    /// A checker whose threads hold nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { threads: S::Free::<Threads<THREADS>>::INITIAL }
    }
}

impl<const THREADS: usize, S: ConstSync> Default for LockOrder<THREADS, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const THREADS: usize, S: SyncFamily> LockOrder<THREADS, S> {
    /// An event of the cache, on thread `thread`.
    ///
    /// # Errors
    /// What is wrong with it. The event is taken note of all the same.
    pub fn trace(&self, thread: usize, event: Trace) -> Result<(), Violation> {
        match event {
            Trace::Acquiring(id) => self.acquiring(thread, Lock::Cache(id)),
            Trace::Acquired(id) => self.acquired(thread, Lock::Cache(id)),
            Trace::Released(id) => {
                self.released(thread, Lock::Cache(id));
                Ok(())
            }
            Trace::GaveUp(_) => {
                self.gave_up(thread);
                Ok(())
            }
            Trace::MayFault => self.may_fault(thread),
            _ => Ok(()),
        }
    }

    /// The thread is about to wait for `lock`, or to take it.
    ///
    /// # Errors
    /// [`Violation::Order`] or [`Violation::Again`].
    pub fn acquiring(&self, thread: usize, lock: Lock) -> Result<(), Violation> {
        let mut threads = self.threads.lock();
        let own = threads.0.get_mut(thread).ok_or(Violation::Full)?;
        own.wanted = Some(lock);
        if let Some(again) = own.held.iter().find(|held| held.excludes(lock)) {
            return Err(Violation::Again(*again));
        }
        match own.held.iter().find(|held| !held.may_precede(lock)) {
            Some(held) => Err(Violation::Order { held: *held, wanted: lock }),
            None => Ok(()),
        }
    }

    /// The thread holds `lock` now, whether it has waited for it or not.
    ///
    /// # Errors
    /// [`Violation::Full`].
    pub fn acquired(&self, thread: usize, lock: Lock) -> Result<(), Violation> {
        let mut threads = self.threads.lock();
        let own = threads.0.get_mut(thread).ok_or(Violation::Full)?;
        own.wanted = None;
        own.held.push(lock).map_err(|_| Violation::Full)
    }

    /// The thread no longer holds `lock`. (A writeback may end on another thread than it began.)
    pub fn released(&self, thread: usize, lock: Lock) {
        let mut threads = self.threads.lock();
        let of = match threads.0.get(thread) {
            Some(own) if own.held.contains(&lock) => Some(thread),
            _ => threads.0.iter().position(|other| other.held.contains(&lock)),
        };
        let Some(of) = of.and_then(|of| threads.0.get_mut(of)) else { return };
        if let Some(at) = of.held.iter().rposition(|held| *held == lock) {
            of.held.swap_remove(at);
        }
    }

    /// The thread waits no longer, and does not hold what it wanted.
    pub fn gave_up(&self, thread: usize) {
        if let Some(own) = self.threads.lock().0.get_mut(thread) {
            own.wanted = None;
        }
    }

    /// The thread is about to make an access that may fault.
    ///
    /// # Errors
    /// [`Violation::Fault`].
    pub fn may_fault(&self, thread: usize) -> Result<(), Violation> {
        match self.held(thread, Lock::is_wanted_by_faults) {
            Some(held) => Err(Violation::Fault(held)),
            None => Ok(()),
        }
    }

    /// The thread returns from a system call, or ends. (A fault may come with I and a range held.)
    ///
    /// # Errors
    /// [`Violation::Leaked`].
    pub fn nothing_held(&self, thread: usize) -> Result<(), Violation> {
        match self.held(thread, |_| true) {
            Some(held) => Err(Violation::Leaked(held)),
            None => Ok(()),
        }
    }

    fn held(&self, thread: usize, which: impl Fn(Lock) -> bool) -> Option<Lock> {
        let (held, _) = self.look(thread)?;
        held.into_iter().find(|held| which(*held))
    }

    /// What a thread holds, and what it wants.
    fn look(&self, thread: usize) -> Option<(Vec<Lock, HELD>, Option<Lock>)> {
        let threads = self.threads.lock();
        let thread = threads.0.get(thread)?;
        Some((thread.held.clone(), thread.wanted))
    }
}

impl Lock {
    /// The place in the order; `None` for a writeback, which has none: nothing is taken in it.
    const fn rank(self) -> Option<u8> {
        match self {
            Self::Cache(LockId::OpenFile(_)) => Some(0),
            Self::Cache(LockId::Inode(_)) => Some(1),
            Self::Cache(LockId::Range(..)) => Some(2),
            Self::Cache(LockId::Size(_)) => Some(3),
            Self::SpaceRead(_) | Self::SpaceWrite(_) => Some(4),
            Self::Cache(LockId::Shift(_)) => Some(5),
            Self::Cache(LockId::Pages { .. }) => Some(6),
            Self::Cache(LockId::Store(_)) => Some(7),
            Self::Cache(LockId::Writeback { .. }) => None,
        }
    }

    /// Whether a thread that holds this may wait for `wanted`.
    fn may_precede(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Self::Cache(LockId::Range(file, at)), Self::Cache(LockId::Range(of, next))) => {
                file == of && at < next
            }
            // Two runs of a leaf are one request: a request of another thread for pages of both
            // would stand behind the first and before the second.
            (
                Self::Cache(LockId::Pages { mapping, base, .. }),
                Self::Cache(LockId::Pages { mapping: of, base: next, .. }),
            ) => mapping == of && base < next,
            _ => match (self.rank(), wanted.rank()) {
                (Some(held), Some(wanted)) => held < wanted,
                (held, _) => held.is_some(),
            },
        }
    }

    /// Whether the two cannot be held at the same time.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (
                Self::Cache(LockId::Pages { mapping, base, slots }),
                Self::Cache(LockId::Pages { mapping: of, base: at, slots: others }),
            ) => mapping == of && base == at && slots.intersects(others),
            (Self::SpaceRead(space) | Self::SpaceWrite(space), Self::SpaceWrite(of))
            | (Self::SpaceWrite(space), Self::SpaceRead(of)) => space == of,
            (Self::SpaceRead(_), Self::SpaceRead(_)) => false,
            _ => self == other,
        }
    }

    /// Whether a fault handler could wait for it, or for one that ranks before it.
    fn is_wanted_by_faults(self) -> bool {
        self.rank().is_none_or(|rank| rank >= 3)
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(id) => id.fmt(f),
            Self::SpaceRead(space) => write!(f, "M({space}) for reading"),
            Self::SpaceWrite(space) => write!(f, "M({space}) for writing"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { held, wanted } => {
                write!(f, "lock order: holds {held} and wants {wanted}")
            }
            Self::Again(lock) => write!(f, "waits for itself: holds {lock}, and wants it again"),
            Self::Fault(held) => write!(f, "an access that may fault with {held} held"),
            Self::Leaked(held) => write!(f, "{held} is still held"),
            Self::Full => f.write_str("too many threads, or too many locks of a thread"),
        }
    }
}

impl core::error::Error for Violation {}

/// A line for each thread that holds or wants something. Takes the short lock for each line.
impl<const THREADS: usize, S: SyncFamily> fmt::Display for LockOrder<THREADS, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for thread in 0..THREADS {
            let Some((held, wanted)) = self.look(thread) else { continue };
            if held.is_empty() && wanted.is_none() {
                continue;
            }
            write!(f, "thread {thread} holds")?;
            match held.split_first() {
                None => f.write_str(" nothing")?,
                Some((first, others)) => {
                    write!(f, " {first}")?;
                    others.iter().try_for_each(|lock| write!(f, ", {lock}"))?;
                }
            }
            if let Some(wanted) = wanted {
                write!(f, " and wants {wanted}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl<const THREADS: usize, S: SyncFamily> fmt::Debug for LockOrder<THREADS, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOrder").field("threads", &THREADS).finish_non_exhaustive()
    }
}
