//! Transfers that fail before the device has them, to try out what comes of it. Which ones is drawn
//! by their numbers. A flush is left alone: after one that fails nothing can be written any more.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::Errno;

use crate::disk::requests::Work;

/// One in so many transfers fails; 0: none does.
static ONE_IN: AtomicU32 = AtomicU32::new(0);

/// How many transfers there were.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// From here on one in so many transfers fails; none if it is 0.
pub(crate) fn fail_one_in(transfers: u32) {
    ONE_IN.store(transfers, Relaxed);
}

/// Whether the next transfer fails.
fn draw() -> bool {
    let one_in = ONE_IN.load(Relaxed);
    let number = COUNT.fetch_add(1, Relaxed);
    let drawn = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    one_in > 0 && drawn.is_multiple_of(one_in.into())
}

/// Ends a transfer that fails; others, and flushes, are for the device.
pub(super) fn pass(work: Work) -> Option<Work> {
    if matches!(work, Work::Flush(_)) || !draw() {
        return Some(work);
    }
    match work {
        Work::Read(transfer) => transfer.fail(Errno::Io),
        Work::Write(transfer) => transfer.complete(Err(Errno::Io)),
        Work::Flush(_) => {}
    }
    None
}
