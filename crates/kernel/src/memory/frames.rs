//! The frames of the cache, of programs and of page tables: one pool.

use faultless::page::forward_to_frames;
use faultless::parts::FramePool;
use faultless::prelude::{Errno, FrameNumber, Frames};
use spin::Once;

use crate::sync::Short;

/// The part of all frames that the cache leaves to page tables and devices.
const RESERVE: u32 = 64;

/// The low mark, as a part of all frames: below it pages are given up, and none is read ahead.
const LOW: u32 = 24;

static FRAMES: Once<FramePool<Short>> = Once::new();

/// The pool.
///
/// # Panics
/// Memory was not handed out yet.
pub(crate) fn frames() -> &'static FramePool<Short> {
    FRAMES.get().unwrap_or_else(|| panic!("frames are used before there is memory"))
}

/// Whether fewer frames are free than the low mark says.
pub(crate) fn is_below_low_mark() -> bool {
    frames().free() < frames().total() / LOW
}

pub(super) fn init(pool: FramePool<Short>) {
    FRAMES.call_once(|| pool);
}

/// The pool, as the cache has it: without the reserve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool;

// SAFETY: the pool's.
unsafe impl Frames for Pool {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if frames().free() <= frames().total() / RESERVE {
            return Err(Errno::NoMemory);
        }
        frames().allocate(pages)
    }

    fn allocate_spare(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if is_below_low_mark() {
            return Err(Errno::NoMemory);
        }
        frames().allocate(pages)
    }

    forward_to_frames!(self => *frames(); all_but_allocate);
}
