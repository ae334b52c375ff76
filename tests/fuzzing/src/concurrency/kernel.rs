//! A kernel whose words, locks and waits are points of the scheduler, and its address space, whose
//! accesses come to a point before each piece.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use faultless_filemap::{DirtyVictims, Inode, NoTask, Reclaimer};
use faultless_page::{
    Access, AddressSpaceOperations, Hook, Hooked, Kernel, LockContext, PageCache, Trace, TwoQueues,
    Wait, WaitKey,
};

use super::super::Plant;
use super::reclaim::Table;
use super::scheduler;
use faultless_host::memory::HostFrames;
use faultless_host::stepped::{self, Point, SteppedSpace, Threads};

pub(super) type File = Arc<Inode<ScheduledKernel>>;
/// The address space of all threads.
pub(super) type Space = SteppedSpace<ScheduledKernel, Scheduled>;
/// Its reverse map.
pub(super) type Mappings = stepped::Mappings<HostFrames, Scheduled>;
/// What is mapped at a page of it.
pub(super) type Area = stepped::Area<ScheduledKernel>;

thread_local! {
    /// The files that an allocation reclaims from.
    static DIRECT: RefCell<Table<ScheduledKernel>> = const { RefCell::new(Table::EMPTY) };
}

/// From now on an allocation of this thread that finds no frame reclaims from these files.
pub(super) fn reclaim_from(files: &[File]) {
    DIRECT.set(Table::of(files));
}

/// The kernel.
#[derive(Debug)]
pub(super) enum ScheduledKernel {}
impl Kernel for ScheduledKernel {
    type Sync = ScheduledSync;
    type Frames = HostFrames;
    type Wait = ScheduledWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = Mappings;
    type Replacement = TwoQueues;

    /// Checks drop their files as they please: what is lost with them is looked for where it
    /// matters.
    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {}

    fn reclaim(cache: &PageCache<Self>, mut locks: LockContext<'_>, wanted: u32) -> u32 {
        let files = DIRECT.with_borrow(Clone::clone);
        Reclaimer::new(DirtyVictims::Leave).step(cache, &files, &mut locks, wanted, &NoTask).dropped
    }

    fn trace(_event: Trace) {
        scheduler::point();
    }
}

/// Before each access to a word, and before each short lock, another thread may come.
#[derive(Debug)]
pub(super) enum Points {}

impl Hook for Points {
    fn before(access: Access) {
        if !matches!(access, Access::Fence(_)) {
            scheduler::point();
        }
    }

    fn relax() {
        scheduler::relax();
    }
}

/// Words and short locks.
pub(super) type ScheduledSync = Hooked<Points>;

/// Sleeping and waking.
#[derive(Debug)]
pub(super) struct ScheduledWait {
    plant: Plant,
}

impl ScheduledWait {
    pub(super) const fn new(plant: Plant) -> Self {
        Self { plant }
    }
}

impl Wait for ScheduledWait {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        loop {
            let (before, signals) = (scheduler::wakes(key.0), scheduler::signals());
            if condition() {
                return;
            }
            scheduler::point();
            // What is planted: a wake that came since the look is lost.
            let missed = scheduler::wakes(key.0) != before || scheduler::signals() != signals;
            if self.plant == Plant::ConcurrencyLostWake || !missed {
                scheduler::block(key.0, "a wake of the core");
            }
        }
    }

    fn wake(&self, key: WaitKey) {
        scheduler::point();
        scheduler::wake(key.0);
    }
}

/// The address space's view of the scheduler.
#[derive(Debug)]
pub(super) struct Scheduled;

impl Threads for Scheduled {
    const PIECE: usize = 1024;

    fn point(&self, at: Point) {
        match at {
            // No point before an entry changes: the committed inputs count the points that there
            // are.
            Point::Entry => scheduler::access_goes_again(),
            _ => scheduler::point(),
        }
    }

    fn wait_until(&self, key: WaitKey, what: &'static str, ready: &mut dyn FnMut() -> bool) {
        while !ready() {
            scheduler::block(key.0, what);
        }
    }

    fn wake(&self, key: WaitKey) {
        scheduler::wake(key.0);
    }

    fn idle(&self) {
        scheduler::idle();
    }
}
