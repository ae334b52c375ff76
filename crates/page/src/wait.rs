//! Sleeping and waking: what a kernel's scheduler supplies.
//!
//! Key type: [`Wait`]; [`SpinWait`] stands in until there is a scheduler.
#![forbid(unsafe_code)]

use static_assertions::assert_obj_safe;

/// What a sleeper waits on. Keys may collide: a waiter then wakes for nothing and looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitKey(pub usize);

/// Sleeping and waking. A lost wake may hang a kernel but never corrupts a page, so the trait is
/// safe.
pub trait Wait: Send + Sync {
    /// Returns once `condition` has returned `true`. May sleep.
    ///
    /// The condition is evaluated on the calling thread, at least once, after the caller is
    /// registered under `key` (or under a lock that [`wake`](Self::wake) takes): a `wake` that
    /// comes after the condition became true must not be lost. It does not sleep itself.
    ///
    /// The condition of an interruptible wait asks whether the caller was killed. So the condition
    /// must also be evaluated again, on the waiting thread, when a fatal signal arrives for that
    /// thread; a kernel's signal code wakes it, as it does for any killable sleep. Otherwise a
    /// killed thread stays until the next wake under its key (L3).
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool);
    /// Makes every waiter under `key` evaluate its condition again. Never sleeps.
    fn wake(&self, key: WaitKey);
}

/// A wait that is shared: several caches, or a cache and its stores, sleep in the same queues.
impl<W: Wait + ?Sized> Wait for &W {
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        (**self).wait_until(key, condition);
    }
    fn wake(&self, key: WaitKey) {
        (**self).wake(key);
    }
}

/// The fallback for a kernel without wait queues: spins.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpinWait;

impl Wait for SpinWait {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        while !condition() {
            core::hint::spin_loop();
        }
    }
    fn wake(&self, _key: WaitKey) {}
}

assert_obj_safe!(Wait);
