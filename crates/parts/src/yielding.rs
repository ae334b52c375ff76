//! [`YieldWait`]: waiting by letting other threads run.
#![forbid(unsafe_code)]

use core::fmt;

use faultless_page::{Wait, WaitKey};

/// A [`Wait`] that calls a function between two looks at its condition: the one by which the kernel
/// lets the next thread run.
///
/// For kernels with threads and without wait queues, one CPU without preemption among them. The
/// function returns when the thread has its turn again; until then every other thread that can run
/// has had one. In a kernel with fixed priorities a yield lets no thread of lower priority run, and
/// a wait for one never ends: such a kernel takes [`QueueWait`](crate::QueueWait).
///
/// A waiter uses its turns up to look: a wait for a disk keeps the CPU from idling. The condition
/// is evaluated again after every turn, so a killed thread looks again without being woken (L3).
/// [`wake`](Wait::wake) does nothing.
///
/// ```
/// use faultless_page::{Wait, WaitKey};
/// use faultless_parts::YieldWait;
///
/// let wait = YieldWait::new(std::thread::yield_now);
/// let mut looks = 0;
/// wait.wait_until(WaitKey(1), &mut || {
///     looks += 1;
///     looks == 3
/// });
/// assert_eq!(looks, 3);
///
/// // As an associated type it has a name:
/// type MyWait = YieldWait<fn()>;
/// let _wait = MyWait::new(std::thread::yield_now);
/// ```
#[derive(Clone, Copy)]
pub struct YieldWait<Y = fn()> {
    yield_now: Y,
}

impl<Y: Fn() + Send + Sync> YieldWait<Y> {
    /// A wait that calls `yield_now` between looks, with no lock held but those of its caller.
    #[must_use]
    pub const fn new(yield_now: Y) -> Self {
        Self { yield_now }
    }
}

impl<Y: Fn() + Send + Sync> Wait for YieldWait<Y> {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        while !condition() {
            (self.yield_now)();
        }
    }

    fn wake(&self, _key: WaitKey) {}
}

impl<Y> fmt::Debug for YieldWait<Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YieldWait").finish_non_exhaustive()
    }
}
