//! The host's implementation of [`Kernel`], in three flavours.
//!
//! [`HostKernel<Checked>`](Checked) is what tests use: it counts and checks locks. [`Counted`]
//! moreover counts every locked instruction. [`Bare`] does nothing besides the work: for
//! measurements.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultless_page::{
    AddressSpaceOperations, CoreSync, Count, Kernel, LockContext, PageCache, Replacement, StoreId,
    SyncFamily, Trace, TwoQueues,
};

use crate::counters::Counters;
use crate::counting::CountingSync;
use crate::lockcheck::{self, Lock};
use crate::memory::HostFrames;
use crate::rmap::HostUserMappings;
use crate::wait::HostWait;

/// What a host kernel does besides the work. One of another crate can add to [`Checked`]: a hook
/// at each event of the core, say.
pub trait Flavor: fmt::Debug + Send + Sync + 'static {
    /// Its words.
    type Sync: SyncFamily;
    /// What leaves the cache when memory is short.
    type Replacement: Replacement;
    /// Whether the address spaces tell the lock checker about every access that may fault.
    const CHECKED: bool;
    /// What it does with an event of the core.
    fn trace(event: Trace);

    /// What it does with a count: nothing.
    #[inline(always)]
    fn count(_store: StoreId, _what: Count, _pages: u32) {}

    /// What it gives up for an allocation that finds nothing, as
    /// [`Kernel::reclaim`]: nothing.
    fn reclaim(_cache: &PageCache<HostKernel<Self>>, _locks: LockContext<'_>, _wanted: u32) -> u32
    where
        Self: Sized,
    {
        0
    }
}

/// Counters, the lock checker, and the policy of what to keep.
#[derive(Clone, Copy, Debug)]
pub enum Checked {}

/// As [`Checked`], with words that count locked instructions.
#[derive(Clone, Copy, Debug)]
pub enum Counted {}

/// Nothing, nor a policy of what to keep.
#[derive(Clone, Copy, Debug)]
pub enum Bare {}

impl Flavor for Checked {
    type Sync = CoreSync;
    type Replacement = TwoQueues;
    const CHECKED: bool = true;
    fn trace(event: Trace) {
        observe(event);
    }
}

impl Flavor for Counted {
    type Sync = CountingSync;
    type Replacement = TwoQueues;
    const CHECKED: bool = true;
    fn trace(event: Trace) {
        observe(event);
    }
}

impl Flavor for Bare {
    type Sync = CoreSync;
    type Replacement = ();
    const CHECKED: bool = false;
    #[inline(always)]
    fn trace(_event: Trace) {}
}

/// A kernel that runs as a Linux process.
pub struct HostKernel<F: Flavor = Checked>(PhantomData<fn() -> F>);

/// The host kernel whose words count.
pub type CountingKernel = HostKernel<Counted>;

impl<F: Flavor> fmt::Debug for HostKernel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostKernel")
    }
}
impl<F: Flavor> Kernel for HostKernel<F> {
    type Sync = F::Sync;
    type Frames = HostFrames;
    type Wait = HostWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = HostUserMappings;
    type Replacement = F::Replacement;

    #[inline]
    fn cpu() -> usize {
        CPU.try_with(|cpu| {
            if cpu.get() == usize::MAX {
                cpu.set(NEXT_CPU.fetch_add(1, Ordering::Relaxed) % CPUS);
            }
            cpu.get()
        })
        .unwrap_or(0)
    }

    /// Checks drop their files as they please: what is lost with them is counted, and looked at
    /// where it matters.
    fn dirty_pages_dropped(_mapping: u64, pages: u64) {
        Counters::update(|counters| counters.dropped_dirty += pages);
    }

    #[inline(always)]
    fn trace(event: Trace) {
        F::trace(event);
    }

    #[inline(always)]
    fn count(store: StoreId, what: Count, pages: u32) {
        F::count(store, what, pages);
    }

    fn reclaim(cache: &PageCache<Self>, locks: LockContext<'_>, wanted: u32) -> u32 {
        F::reclaim(cache, locks, wanted)
    }
}

/// How many CPUs there seem to be: fewer than a cache keeps things apart for.
const CPUS: usize = 16;

static NEXT_CPU: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The CPU that a thread counts as, of its own until there are more threads than CPUs.
    static CPU: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn observe(event: Trace) {
    Counters::count(event);
    match event {
        Trace::Acquiring(id) => lockcheck::acquiring(Lock::Core(id)),
        Trace::Acquired(id) => lockcheck::acquired(Lock::Core(id)),
        Trace::Released(id) => lockcheck::released(Lock::Core(id)),
        Trace::GaveUp(id) => lockcheck::gave_up(Lock::Core(id)),
        Trace::MayFault => lockcheck::may_fault_somewhere(),
        Trace::FaultIn(_) => lockcheck::may_sleep("a fault-in"),
        _ => {}
    }
}
