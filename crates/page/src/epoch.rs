//! Grace periods: how long a frame or a node must lie still after it was taken out of a mapping.
//!
//! Neighbours: [`ReadSection`](crate::ReadSection) and the tree's internal walks enter,
//! [`Removed`](crate::Removed) and pruning synchronise. The epoch does not own what is waited for.
#![forbid(unsafe_code)]

use core::array;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use core::fmt;

use crate::{ConstSync, Initial, Spin, SyncFamily, Wait, WaitKey, Word};

/// Counters are spread over this many cache lines; readers on different CPUs then share none.
const STRIPES: usize = 16;

/// Striped reader counters with a two-phase grace period; or none of this, if the kernel has
/// [read sections of its own](SyncFamily::HAS_READ_SECTIONS).
///
/// A reader counts itself in a stripe, under one of two phases, and out of the same counter again.
/// [`synchronize`](Self::synchronize) needs to see *each* counter at zero once: readers that were
/// inside when it began are then gone. So that new readers can't keep a counter from zero, it first
/// waits for the phase that is not entered any more (stragglers only), then turns new readers to
/// it, and waits for the other one.
///
/// # Why it is enough
/// Remover: (1) takes the thing out by a sequentially consistent operation, (2) loads the counters,
/// sequentially consistent. Reader: (3) counts itself in by such a read-modify-write, (4) finds the
/// thing by such a load. In the one order of all four, if (2) misses (3), then (1) < (2) < (3) <
/// (4), so the reader does not find the thing any more. Leaving is a release and the remover's load
/// an acquire, so the reader's last access is over before reuse.
pub struct Epoch<S: SyncFamily> {
    stripes: [Stripe<S>; STRIPES],
    /// The phase that new readers enter is its lowest bit.
    phase: S::Word64,
    /// Not 0: a remover sleeps, and a reader that leaves has to wake it.
    waiting: S::Word64,
    grace: S::Spin<Grace>,
}

/// One grace period runs at a time; each ends all that were asked for before it began.
#[derive(Clone, Copy)]
struct Grace {
    running: bool,
    /// How many have ended.
    ended: u64,
}

impl Initial for Grace {
    const INITIAL: Self = Self { running: false, ended: 0 };
}

#[repr(align(64))]
struct Stripe<S: SyncFamily> {
    readers: [S::Word64; 2],
}

/// A reader inside an [`Epoch`]. It must not sleep, nor wait for a grace period.
#[must_use]
pub struct EpochGuard<'a, S: SyncFamily, W: Wait> {
    epoch: &'a Epoch<S>,
    wait: &'a W,
    /// Where it is counted; of no meaning if sections are the kernel's own.
    counter: &'a S::Word64,
    /// Ended by the thread that began it: a kernel's own section is the thread's.
    thread: PhantomData<*mut ()>,
}

impl<S: SyncFamily> Epoch<S> {
    /// An epoch without readers.
    #[must_use]
    pub const fn new() -> Self
    where
        S: ConstSync,
    {
        Self {
            stripes: [const { Stripe { readers: [S::Word64::INITIAL, S::Word64::INITIAL] } };
                STRIPES],
            phase: S::Word64::INITIAL,
            waiting: S::Word64::INITIAL,
            grace: S::Free::<Grace>::INITIAL,
        }
    }

    /// The same for families whose words do not exist at compile time.
    #[must_use]
    pub fn at_run_time() -> Self {
        Self {
            stripes: array::from_fn(|_| Stripe { readers: [Word::new(0), Word::new(0)] }),
            phase: Word::new(0),
            waiting: Word::new(0),
            grace: Spin::new(Grace::INITIAL),
        }
    }

    /// Begins a read section. `cpu` is a hint, for striping: any value is sound. `wait` is what
    /// [`synchronize`](Self::synchronize) is given, too.
    #[inline(always)]
    pub fn enter<'a, W: Wait>(&'a self, cpu: usize, wait: &'a W) -> EpochGuard<'a, S, W> {
        let counter = self.begin(cpu);
        EpochGuard { epoch: self, wait, counter, thread: PhantomData }
    }

    /// [`enter`](Self::enter) without a guard: the counter that [`end`](Self::end) is to be given.
    #[inline(always)]
    pub(crate) fn begin(&self, cpu: usize) -> &S::Word64 {
        let stripe = &self.stripes[cpu % STRIPES];
        if S::HAS_READ_SECTIONS {
            S::enter_read_section();
            &stripe.readers[0]
        } else {
            let counter = &stripe.readers[self.phase.load(Relaxed) as usize % 2];
            counter.fetch_add(1, SeqCst);
            counter
        }
    }

    /// Ends a read section of this epoch, whose counter it is.
    #[inline(always)]
    pub(crate) fn end(&self, counter: &S::Word64, wait: &impl Wait) {
        if S::HAS_READ_SECTIONS {
            return S::leave_read_section();
        }
        counter.fetch_sub(1, SeqCst);
        if self.waiting.load(SeqCst) != 0 {
            self.wake(wait);
        }
    }

    /// Waits until every section that is open now has ended. May sleep, but never for a page lock.
    ///
    /// Callers share grace periods: one that arrives while a period runs waits for the end of that
    /// one and of the next, which begins after its arrival and serves all earlier callers,
    /// whichever of them runs it. So a caller waits for two at most, however many callers there are
    /// (L1).
    pub fn synchronize(&self, wait: &impl Wait) {
        if S::HAS_READ_SECTIONS {
            return S::wait_for_readers();
        }
        let enough = {
            let grace = self.grace.lock();
            grace.ended + if grace.running { 2 } else { 1 }
        };
        loop {
            let mut next = self.next(enough);
            let mut rounds = S::SPIN_ROUNDS;
            while next == Next::Sleep && rounds > 0 {
                S::relax();
                next = self.next(enough);
                rounds -= 1;
            }
            // `Wait` is a safe trait: it may return too early, or ask again after a yes.
            while next == Next::Sleep {
                wait.wait_until(self.grace_key(), &mut || {
                    if next == Next::Sleep {
                        next = self.next(enough);
                    }
                    next != Next::Sleep
                });
            }
            match next {
                Next::Run => self.run(wait),
                _ => return,
            }
        }
    }

    /// What a caller does that needs `enough` periods to have ended. [`Next::Run`] makes it the one
    /// that runs the next.
    fn next(&self, enough: u64) -> Next {
        let mut grace = self.grace.lock();
        if grace.ended >= enough {
            Next::Return
        } else if grace.running {
            Next::Sleep
        } else {
            grace.running = true;
            Next::Run
        }
    }

    /// Runs a grace period from beginning to end.
    ///
    /// It begins after `running` was set under the lock, so after the arrival of each caller that
    /// counts on it: what they did before is before the loads here.
    fn run(&self, wait: &impl Wait) {
        let mut running = Running { epoch: self, wait, ended: 0 };
        let phase = self.phase.load(Relaxed) % 2;
        self.drain(phase ^ 1, wait);
        self.phase.store(phase ^ 1, SeqCst);
        self.drain(phase, wait);
        running.ended = 1;
    }

    /// Waits until each counter of a phase was seen at zero.
    fn drain(&self, phase: u64, wait: &impl Wait) {
        let mut stripe = 0;
        let mut quiet = || {
            while stripe < STRIPES {
                if self.stripes[stripe].readers[phase as usize].load(SeqCst) != 0 {
                    return false;
                }
                stripe += 1;
            }
            true
        };
        for _ in 0..=S::SPIN_ROUNDS {
            if quiet() {
                return;
            }
            S::relax();
        }
        // `Wait` is a safe trait and may return too early: ask again.
        while !quiet() {
            wait.wait_until(self.key(), &mut || {
                // Announced before the look, as a waiter for a page lock is.
                self.waiting.store(1, SeqCst);
                quiet()
            });
        }
        self.waiting.store(0, Relaxed);
    }

    #[cold]
    fn wake(&self, wait: &impl Wait) {
        wait.wake(self.key());
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.waiting).addr())
    }

    /// What callers sleep on until a grace period ends.
    fn grace_key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.grace).addr())
    }
}

/// What a caller of [`Epoch::synchronize`] does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Return,
    Run,
    Sleep,
}

/// A grace period that runs. Dropping it lets the next one begin, also by unwinding.
struct Running<'e, S: SyncFamily, W: Wait> {
    epoch: &'e Epoch<S>,
    wait: &'e W,
    /// Periods that have ended: 1 once this one has.
    ended: u64,
}

impl<S: SyncFamily, W: Wait> Drop for Running<'_, S, W> {
    fn drop(&mut self) {
        {
            let mut grace = self.epoch.grace.lock();
            grace.running = false;
            grace.ended += self.ended;
        }
        self.wait.wake(self.epoch.grace_key());
    }
}

impl<S: SyncFamily> Default for Epoch<S> {
    fn default() -> Self {
        Self::at_run_time()
    }
}

impl<S: SyncFamily, W: Wait> Drop for EpochGuard<'_, S, W> {
    #[inline(always)]
    fn drop(&mut self) {
        self.epoch.end(self.counter, self.wait);
    }
}

impl<S: SyncFamily> fmt::Debug for Epoch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").field("phase", &self.phase.load(Relaxed)).finish_non_exhaustive()
    }
}

impl<S: SyncFamily, W: Wait> fmt::Debug for EpochGuard<'_, S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochGuard").field("epoch", self.epoch).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::thread::{self, Scope};
    use std::time::Duration;

    use super::*;
    use crate::testing::{Machine, Test, with_watchdog};
    use crate::{CoreSync, Kernel};

    /// A reader that read the phase, and was then held up until the phase had been turned once.
    fn enter_late<'a>(
        epoch: &'a Epoch<CoreSync>,
        wait: &'a <Test as Kernel>::Wait,
    ) -> EpochGuard<'a, CoreSync, <Test as Kernel>::Wait> {
        let other = 1 - epoch.phase.load(Relaxed) as usize % 2;
        let counter = &epoch.stripes[3].readers[other];
        counter.fetch_add(1, SeqCst);
        EpochGuard { epoch, wait, counter, thread: PhantomData }
    }

    /// A grace period on a thread of its own, which says when it is over.
    fn synchronize_beside<'s>(
        scope: &'s Scope<'s, '_>,
        epoch: &'s Epoch<CoreSync>,
        wait: &'s <Test as Kernel>::Wait,
    ) -> Receiver<()> {
        let (done, finished) = channel();
        scope.spawn(move || {
            epoch.synchronize(wait);
            done.send(()).unwrap();
        });
        finished
    }

    #[test]
    fn a_reader_who_counted_itself_under_the_old_phase_is_waited_for() {
        with_watchdog(|| {
            let machine: Machine = Machine::new(1);
            let epoch = Epoch::<CoreSync>::new();
            for _ in 0..2 {
                let late = enter_late(&epoch, &machine.wait);
                thread::scope(|scope| {
                    let finished = synchronize_beside(scope, &epoch, &machine.wait);
                    let waited = finished.recv_timeout(Duration::from_millis(30));
                    assert_eq!(waited, Err(RecvTimeoutError::Timeout), "did not wait");
                    drop(late);
                    finished.recv().unwrap();
                });
            }
        });
    }

    /// Otherwise a stream of readers could keep a grace period from ever ending. Two in a row turn
    /// to either phase.
    #[test]
    fn a_reader_who_enters_during_a_grace_period_is_not_waited_for() {
        with_watchdog(|| {
            let machine: Machine = Machine::new(1);
            let epoch = Epoch::<CoreSync>::new();
            for _ in 0..2 {
                let early = epoch.enter(0, &machine.wait);
                thread::scope(|scope| {
                    let finished = synchronize_beside(scope, &epoch, &machine.wait);
                    while epoch.waiting.load(SeqCst) == 0 {
                        thread::yield_now();
                    }
                    let late = epoch.enter(0, &machine.wait);
                    drop(early);
                    let ended = finished.recv_timeout(Duration::from_secs(5));
                    drop(late);
                    assert_eq!(ended, Ok(()), "waits for a late reader");
                });
            }
        });
    }

    /// Waits until so many threads sleep.
    fn until_asleep(machine: &Machine, threads: usize) {
        while machine.wait.sleeping.load(SeqCst) < threads {
            thread::yield_now();
        }
    }

    #[test]
    fn l1_callers_share_grace_periods_however_many_they_are() {
        with_watchdog(|| {
            let machine: Machine = Machine::new(1);
            let epoch = Epoch::<CoreSync>::new();
            let reader = epoch.enter(0, &machine.wait);
            thread::scope(|scope| {
                let first = synchronize_beside(scope, &epoch, &machine.wait);
                until_asleep(&machine, 1);
                let others: std::vec::Vec<_> = (2..=8)
                    .map(|threads| {
                        let finished = synchronize_beside(scope, &epoch, &machine.wait);
                        until_asleep(&machine, threads);
                        finished
                    })
                    .collect();
                drop(reader);
                first.recv().unwrap();
                others.iter().for_each(|finished| finished.recv().unwrap());
            });
            // The one that ran when they came, and one for all of them.
            assert_eq!(epoch.grace.lock().ended, 2);
        });
    }

    #[test]
    fn a_caller_does_not_count_on_a_period_that_began_before_it_came() {
        with_watchdog(|| {
            let machine: Machine = Machine::new(1);
            let epoch = Epoch::<CoreSync>::new();
            let reader = epoch.enter(0, &machine.wait);
            thread::scope(|scope| {
                let first = synchronize_beside(scope, &epoch, &machine.wait);
                until_asleep(&machine, 1);
                let late = epoch.enter(0, &machine.wait);
                let second = synchronize_beside(scope, &epoch, &machine.wait);
                until_asleep(&machine, 2);
                drop(reader);
                first.recv().unwrap();
                let waited = second.recv_timeout(Duration::from_millis(30));
                assert_eq!(waited, Err(RecvTimeoutError::Timeout), "did not wait");
                drop(late);
                second.recv().unwrap();
            });
        });
    }

    #[test]
    fn a_grace_period_that_unwinds_lets_the_next_one_begin() {
        let machine: Machine = Machine::new(1);
        let epoch = Epoch::<CoreSync>::new();
        epoch.grace.lock().running = true;
        drop(Running { epoch: &epoch, wait: &machine.wait, ended: 0 });
        epoch.synchronize(&machine.wait);
        assert_eq!(epoch.grace.lock().ended, 1);
    }
}
