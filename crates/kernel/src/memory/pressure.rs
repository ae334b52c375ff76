//! What happens when memory is short: the limit of dirty pages, direct reclaim, and the thread that
//! gives pages up before it comes to that.
//!
//! The cache leaves a reserve of frames alone, which page tables and devices use. Below the low
//! mark the thread begins to give pages up, until the high mark is reached.

use faultless::filemap::{DirtyLimit, DirtyThresholds, DirtyVictims, InKernel, Reclaimer};
use faultless::page::{Count, LockContext, PageCache, StoreId};
use faultless::prelude::Task;
use spin::Once;

use crate::arch::clock;
use crate::memory::file::{Persistent, end_files};
use crate::memory::frames::frames;
use crate::memory::machine::{Machine, cache};
use crate::sched;
use crate::task::{Running, Uninterrupted};
use crate::waits::waits;

/// The number of the disk, by which its dirty pages are counted. Files in memory, which no
/// writeback cleans, have another one.
pub(crate) const DISK: StoreId = StoreId(1);

/// Parts of all frames: the reserve, the two marks, and the thresholds of dirty pages.
const RESERVE: u32 = 64;
const LOW: u32 = 24;
const HIGH: u32 = 16;
const BACKGROUND: u32 = 16;
const HARD: u32 = 6;

/// Pages that a step gives up.
const BATCH: u32 = 32;

/// Nanoseconds from one look to the next, and how often an allocation looks.
const LOOK_NS: u64 = 2_000_000;
const MOST_LOOKS: u32 = 1000;
/// Looks that find no page, and none on its way either, until memory is at its end.
const MOST_FRUITLESS: u32 = 3;

static LIMIT: Once<DirtyLimit<Machine>> = Once::new();

/// The limit of dirty pages of the disk.
pub(crate) fn dirty_limit() -> &'static DirtyLimit<Machine> {
    LIMIT.call_once(|| {
        let total = frames().total();
        let thresholds = DirtyThresholds::new((total / BACKGROUND).into(), (total / HARD).into());
        DirtyLimit::new(thresholds)
    })
}

/// What [`Kernel::count`](faultless::prelude::Kernel::count) is told.
pub(super) fn count(store: StoreId, what: Count, pages: u32) {
    if store == DISK {
        dirty_limit().count(store, what, pages, &waits());
    }
}

/// Whether the cache may take a frame.
pub(super) fn has_room() -> bool {
    frames().free() > frames().total() / RESERVE
}

/// An allocation of the cache finds no frame: how many were given up. Dirty pages are sent by the
/// threads, meanwhile.
pub(super) fn reclaim(cache: &PageCache<Machine>, mut locks: LockContext<'_>, wanted: u32) -> u32 {
    let reclaimer = Reclaimer::new(DirtyVictims::Leave);
    let mut fruitless = 0;
    for _ in 0..MOST_LOOKS {
        let wanted = wanted.max(BATCH);
        let done = reclaimer.step(cache, &Persistent, &mut locks, wanted, &Uninterrupted);
        if done.dropped > 0 {
            return done.dropped;
        }
        // With nothing on its way to the disk another thread may still have the last pages in hand.
        fruitless += u32::from(dirty_limit().charged() == 0);
        if fruitless == MOST_FRUITLESS || Running.fatal_signal_pending() {
            break;
        }
        sched::park_until(clock::monotonic() + LOOK_NS);
    }
    0
}

/// Gives pages up for ever: a thread of the kernel.
pub(crate) fn reclaim_in_time() {
    let reclaimer = Reclaimer::new(DirtyVictims::Send);
    let total = frames().total();
    // SAFETY: a thread of the kernel, which holds nothing.
    let mut token = unsafe { InKernel::enter() };
    loop {
        end_files();
        if frames().free() < total / LOW {
            while frames().free() < total / HIGH {
                let done = reclaimer.step(cache(), &Persistent, &mut token, BATCH, &Uninterrupted);
                if done.dropped == 0 {
                    // What was sent has to end first.
                    break;
                }
            }
        }
        sched::park_until(clock::monotonic() + LOOK_NS);
    }
}

/// Says how many pages there is room for.
pub(super) fn init() {
    // Without it the cache forgets sooner what has left it.
    let _less_memory = cache().set_capacity(frames().total().into());
}
