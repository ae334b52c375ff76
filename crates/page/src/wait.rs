//! Sleeping and waking: what a kernel's scheduler supplies.
//!
//! Key types: [`Wait`]; [`Patience`], what a caller that finds something taken does about it;
//! [`SpinWait`] stands in until there is a scheduler.
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

/// What a caller does where a lock is taken, or a page is under way: it sleeps until it has what it
/// wants or is killed, or it does not sleep and comes back later.
///
/// A closure that says whether the caller was killed is the patience of one that sleeps.
///
/// # Callers that do not sleep
/// They are told the key of what they would wait for by [`would_wait`](Self::would_wait), are
/// refused with [`Errno::WouldBlock`](crate::Errno::WouldBlock), and hold no place in a queue. What
/// they want is looked at once more *after* they were told: if it comes free later, the key is
/// woken. So a caller that registers for the key in `would_wait` misses no wake-up. A caller that
/// registers after the refusal has to try again before it waits.
///
/// The wake of a key does not promise that the next attempt succeeds: another caller may have been
/// faster. Sleepers that wait in a queue get what they wait for before such a caller does.
pub trait Patience {
    /// Whether the caller may sleep.
    const SLEEPS: bool;

    /// Whether the caller is to die: a wait ends (L3). Asked on the waiting thread, again whenever
    /// it is woken.
    fn is_killed(&self) -> bool;

    /// A caller that does not sleep is about to be refused: something has to happen first, and then
    /// `key` is woken. May be told of several keys before one refusal; the last one counts. Page
    /// locks may be held: it does not sleep, fault, or call into the cache.
    fn would_wait(&self, key: WaitKey);
}

impl<F: Fn() -> bool> Patience for F {
    const SLEEPS: bool = true;

    #[inline(always)]
    fn is_killed(&self) -> bool {
        self()
    }

    #[inline(always)]
    fn would_wait(&self, _key: WaitKey) {}
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
