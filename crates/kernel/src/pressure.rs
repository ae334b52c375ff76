//! What happens when memory is short: direct reclaim, and the thread that gives pages up before it
//! comes to that.
//!
//! The cache leaves a reserve of frames alone, which page tables and devices use. Below the low
//! mark the thread begins to give pages up, until the high mark is reached.

use faultless::filemap::{DirtyVictims, InKernel, Reclaimer};
use faultless::page::LockContext;
use faultless::prelude::Task;
use faultless_posix::Errno;

use crate::arch::clock;
use crate::memory::{
    Reclaimable, cache, dirty_limit, end_files, frames, is_below_low_mark, reclaim_by,
};
use crate::sched;
use crate::task::{Running, Uninterrupted};

/// The high mark, as a part of all frames.
const HIGH: u32 = 16;

/// Pages that a step gives up.
const BATCH: u32 = 32;

/// Nanoseconds from one look to the next, and how often an allocation looks.
const LOOK_NS: u64 = 2_000_000;
const MOST_LOOKS: u32 = 1000;
/// Looks that find no page, and none on its way either, until memory is at its end.
const MOST_FRUITLESS: u32 = 3;

/// An allocation of the cache finds no frame: how many were given up. Dirty pages are sent by the
/// threads, meanwhile.
fn reclaim(mut locks: LockContext<'_>, wanted: u32) -> u32 {
    let reclaimer = Reclaimer::new(DirtyVictims::Leave);
    let mut fruitless = 0;
    for _ in 0..MOST_LOOKS {
        let wanted = wanted.max(BATCH);
        let done = reclaimer.step(cache(), &Reclaimable, &mut locks, wanted, &Uninterrupted);
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
fn reclaim_in_time() {
    let reclaimer = Reclaimer::new(DirtyVictims::Send);
    let total = frames().total();
    // SAFETY: a thread of the kernel, which holds nothing.
    let mut token = unsafe { InKernel::enter() };
    loop {
        end_files();
        if is_below_low_mark() {
            while frames().free() < total / HIGH {
                let done = reclaimer.step(cache(), &Reclaimable, &mut token, BATCH, &Uninterrupted);
                if done.dropped == 0 {
                    // What was sent has to end first.
                    break;
                }
            }
        }
        sched::park_until(clock::monotonic() + LOOK_NS);
    }
}

/// Says what gives pages up, and how many there is room for; starts the thread.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn init() -> Result<(), Errno> {
    reclaim_by(reclaim);
    cache().set_capacity(frames().total().into())?;
    sched::spawn(reclaim_in_time)
}
