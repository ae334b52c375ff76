//! Waits for page locks: their order, their ends by a signal or by a leaf that changed hands, and
//! what they leave behind.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::vec::Vec;

use crate::leaf::{Leaf, Wanted};
use crate::page_lock::Waited;
use crate::testing::{
    Interrupted, Machine, Test, cx, interrupt, populate, run, slots, take_traces, with_watchdog,
};
use crate::{
    CoreSync, Errno, LockId, Mapping, PageIndex, PageRun, SlotMask, SyncFamily, Trace, Wait,
    WaitKey,
};

type Pages<S = CoreSync> = Mapping<Test<S>>;

/// A file with a leaf for its first 64 pages.
fn file<S: SyncFamily + Send + Sync>(machine: &Machine<S>) -> Pages<S> {
    let mapping = machine.mapping();
    drop(mapping.lock_or_create(cx(), run(0, 1)).unwrap());
    mapping
}

fn leaf<S: SyncFamily + Send + Sync>(mapping: &Pages<S>) -> &Leaf<S> {
    mapping.tree().lookup(PageIndex::ZERO).unwrap()
}

/// Waits until so many requests stand in the leaf's queue.
fn until_queued<S: SyncFamily + Send + Sync>(mapping: &Pages<S>, requests: usize) {
    while leaf(mapping).queue.lock().iter().count() < requests {
        thread::yield_now();
    }
}

#[test]
fn l1_requests_for_a_page_are_served_in_order_of_arrival() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        let order = Mutex::new(Vec::new());
        let runs = [run(3, 1), run(0, 64), run(3, 1), run(2, 4), run(60, 4), run(3, 1)];
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        thread::scope(|scope| {
            for (number, run) in runs.into_iter().enumerate() {
                let (mapping, order) = (&mapping, &order);
                scope.spawn(move || {
                    let locked = mapping.lock(cx(), run).unwrap();
                    order.lock().unwrap().push(number);
                    drop(locked);
                });
                until_queued(mapping, number + 1);
            }
            drop(held);
        });
        let order = order.into_inner().unwrap();
        // The last but one shares no page with its neighbours, and only has to wait for the second.
        let place = |number| order.iter().position(|other| *other == number).unwrap();
        assert!(place(1) < place(4));
        let shared: Vec<usize> = order.iter().copied().filter(|number| *number != 4).collect();
        assert_eq!(shared, [0, 1, 2, 3, 5]);
        assert_eq!(leaf(&mapping).waiters.load(Ordering::Relaxed), SlotMask::EMPTY);
    });
}

#[test]
fn l1_a_page_that_is_waited_for_is_not_to_be_had_by_trying() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(mapping.lock(cx(), run(2, 4)).unwrap()));
            until_queued(&mapping, 1);
            assert!(mapping.try_lock(cx(), run(4, 1)).is_none());
            let free = mapping.try_lock_free(cx(), run(0, 64)).unwrap();
            assert_eq!(free.run(), run(0, 2));
            let rest = PageRun::new(free.run().end(), 64 - 2);
            assert_eq!(mapping.try_lock_free(cx(), rest).unwrap().run(), run(6, 58));
            assert!(mapping.try_lock_free(cx(), run(2, 4)).is_none());
            drop((free, held));
            waiter.join().unwrap();
        });
        assert_eq!(mapping.try_lock_free(cx(), run(1, 9)).unwrap().run(), run(1, 9));
        assert!(mapping.try_lock_free(cx(), run(64, 1)).is_none(), "there is no leaf");
    });
}

#[test]
fn l4_a_request_waits_for_no_page_but_its_own() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(mapping.lock(cx(), run(2, 4)).unwrap()));
            until_queued(&mapping, 1);
            drop(mapping.lock(cx(), run(0, 2)).unwrap());
            drop(mapping.lock(cx(), run(6, 58)).unwrap());
            drop(held);
            waiter.join().unwrap();
        });
    });
}

/// A request for `run` that can be killed, on a thread of its own.
fn killable<'s>(
    scope: &'s thread::Scope<'s, '_>,
    mapping: &'s Pages,
    run: PageRun,
    killed: &'s AtomicBool,
) -> ScopedJoinHandle<'s, (Option<Errno>, Vec<Trace>)> {
    scope.spawn(move || {
        take_traces();
        let locked = mapping.lock_killable(cx(), run, &|| killed.load(Ordering::SeqCst));
        (locked.err(), take_traces())
    })
}

#[test]
fn l3_a_killed_waiter_goes_and_lets_those_behind_it_in() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        let killed = AtomicBool::new(false);
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        thread::scope(|scope| {
            let victim = killable(scope, &mapping, run(3, 2), &killed);
            until_queued(&mapping, 1);
            let behind = scope.spawn(|| drop(mapping.lock(cx(), run(4, 1)).unwrap()));
            until_queued(&mapping, 2);
            killed.store(true, Ordering::SeqCst);
            // What a kernel's signal code does: the sleeper looks again.
            machine.wait.wake(WaitKey(0));
            let (error, traces) = victim.join().unwrap();
            assert_eq!(error, Some(Errno::Interrupted));
            let id = LockId::Pages { mapping: mapping.id(), base: 0, slots: slots(0b11000) };
            assert_eq!(traces, [Trace::Acquiring(id), Trace::GaveUp(id)]);
            // With the first page locked still.
            behind.join().unwrap();
            drop(held);
        });
        assert!(mapping.try_lock(cx(), run(0, 64)).is_some(), "something is left behind");
    });
}

#[test]
fn l3_pages_that_are_free_are_locked_although_the_caller_is_killed() {
    let machine: Machine = Machine::new(16);
    let mapping = file(&machine);
    let asked = || -> bool { panic!("asked without a wait") };
    assert!(mapping.lock_killable(cx(), run(0, 64), &asked).unwrap().is_some());
    assert!(mapping.lock_or_create_killable(cx(), run(64, 1), &asked).is_ok());
    assert!(mapping.lock_killable(cx(), run(640, 1), &asked).unwrap().is_none());
    let held = mapping.lock(cx(), run(3, 1)).unwrap();
    let refused = mapping.lock_or_create_killable(cx(), run(0, 64), &|| true);
    assert_eq!(refused.err(), Some(Errno::Interrupted));
    drop(held);
    assert!(mapping.try_lock(cx(), run(0, 64)).is_some(), "something is left behind");
}

/// Runs `request`, whose `killed` it makes: when it is asked, page 3 is unlocked by another thread
/// and granted; then it ends as `killed` does. (The other thread wakes only afterwards: conditions
/// are evaluated under the lock that a wake takes.)
fn granted_while_asked(
    mapping: &Pages,
    killed: impl Fn() -> bool,
    request: impl FnOnce(&dyn Fn() -> bool),
) {
    let asked = AtomicBool::new(false);
    thread::scope(|scope| {
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        let leaf = leaf(mapping);
        // Unlocked by a thread that did not lock it.
        core::mem::forget(held);
        scope.spawn(|| {
            while !asked.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            leaf.unlock(SlotMask::single(3), mapping.cache().wait());
        });
        request(&|| {
            asked.store(true, Ordering::SeqCst);
            while !leaf.queue.lock().any(|wanted| matches!(wanted, Wanted::Granted(_))) {
                thread::yield_now();
            }
            killed()
        });
    });
}

#[test]
fn l3_pages_that_are_granted_while_their_waiter_is_killed_are_its_own() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        granted_while_asked(
            &mapping,
            || true,
            |killed| {
                let locked = mapping.lock_killable(cx(), run(2, 4), &killed).unwrap().unwrap();
                assert!(mapping.try_lock(cx(), run(3, 1)).is_none());
                drop(locked);
            },
        );
        assert!(mapping.try_lock(cx(), run(0, 64)).is_some());
    });
}

#[test]
fn a_waiter_that_unwinds_unlocks_what_it_was_granted() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        granted_while_asked(
            &mapping,
            || resume_unwind(std::boxed::Box::new(())),
            |killed| {
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _locked = mapping.lock_killable(cx(), run(2, 4), &killed);
                }));
                assert!(unwound.is_err());
            },
        );
        assert!(mapping.try_lock(cx(), run(0, 64)).is_some());
    });
}

#[test]
fn a_waiter_that_unwinds_leaves_the_queue() {
    let machine: Machine = Machine::new(16);
    let mapping = file(&machine);
    let held = mapping.lock(cx(), run(3, 1)).unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let killed = || resume_unwind(std::boxed::Box::new(()));
        let _locked = mapping.lock_killable(cx(), run(2, 4), &killed);
    }));
    assert!(unwound.is_err());
    assert!(mapping.try_lock(cx(), run(2, 1)).is_some());
    assert!(leaf(&mapping).queue.lock().is_empty());
    drop(held);
    assert!(mapping.try_lock(cx(), run(0, 64)).is_some());
}

#[test]
fn l5_a_waiter_gives_up_when_its_leaf_is_retired_though_its_page_stays_locked() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        let (id, base) = leaf(&mapping).identity();
        let stale = || !leaf(&mapping).is(id, base);
        let held = mapping.lock(cx(), run(3, 1)).unwrap();
        thread::scope(|scope| {
            let waiters: [_; 2] = core::array::from_fn(|_| {
                let (mapping, machine) = (&mapping, &machine);
                scope.spawn(move || {
                    leaf(mapping).lock_contended(
                        SlotMask::single(3),
                        &machine.wait,
                        &stale,
                        &|| false,
                    )
                })
            });
            until_queued(&mapping, 2);
            // As pruning does; and a new owner, quick and unfair, has the page locked already.
            leaf(&mapping).retire();
            leaf(&mapping).unlock(SlotMask::single(4), &machine.wait);
            leaf(&mapping).unlock_slowly(&machine.wait);
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Waited::Stale);
            }
            leaf(&mapping).claim(id, base);
        });
        drop(held);
        assert!(mapping.try_lock(cx(), run(0, 64)).is_some());
    });
}

#[test]
fn l5_a_locker_never_sleeps_for_a_page_of_another_file() {
    for before in 0.. {
        let machine: Machine<Interrupted> = Machine::new(64);
        let mapping = Arc::new(file(&machine));
        let other = Arc::new(machine.mapping());
        let (from, to) = (mapping.clone(), other.clone());
        let interruption = move || {
            from.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
            // Locked for ever: a sleep for it is found by the watchdog.
            core::mem::forget(to.lock_or_create(cx(), run(0, 64)).unwrap());
        };
        let (locked, fired) = interrupt(before, interruption, || mapping.lock(cx(), run(3, 1)));
        if let Some(locked) = &locked {
            assert_eq!(locked.leaf_identity().0, mapping.id());
        }
        if !fired {
            assert!(before > 3 && locked.is_some());
            return;
        }
    }
}

#[test]
fn a_spurious_locker_that_leaves_lets_the_new_owner_in() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = file(&machine);
        // By a locker that took the leaf for another mapping's.
        assert!(leaf(&mapping).try_lock(SlotMask::single(3)));
        thread::scope(|scope| {
            let owner = scope.spawn(|| drop(mapping.lock(cx(), run(0, 64)).unwrap()));
            until_queued(&mapping, 1);
            let waited = leaf(&mapping).lock_contended(
                SlotMask::single(4),
                &machine.wait,
                &|| true,
                &|| false,
            );
            assert_eq!(waited, Waited::Stale);
            leaf(&mapping).unlock(SlotMask::single(3), &machine.wait);
            owner.join().unwrap();
        });
    });
}

/// Pages 0 and 1, locked, under a writeback each.
fn under_writeback<'m>(
    mapping: &'m Pages,
) -> (crate::LockedRun<'m, Test>, [crate::WritebackRequest; 2]) {
    populate(mapping, run(0, 2), |_| 1);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    locked.set_dirty(slots(0b11));
    let tokens = [0, 1].map(|page| locked.begin_writeback(run(page, 1), u64::MAX).unwrap());
    (locked, tokens)
}

#[test]
fn the_end_of_a_writeback_is_waited_for_with_the_page_locked() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(16);
        let mapping = machine.mapping();
        let (locked, [zero, one]) = under_writeback(&mapping);
        let woken = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
                one.complete(Ok(()));
                woken.fetch_add(1, Ordering::SeqCst);
            });
            // The other page stays.
            assert_eq!(locked.wait_writeback(slots(0b10), &|| false), Ok(()));
        });
        assert_eq!(locked.writeback(), slots(0b01));
        assert_eq!(locked.wait_writeback(!slots(0b01), &|| true), Ok(()));
        zero.complete(Ok(()));
    });
}

#[test]
fn l3_a_wait_for_a_writeback_can_be_killed_and_loses_nothing() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    let (locked, tokens) = under_writeback(&mapping);
    assert_eq!(locked.wait_writeback(slots(0b11), &|| true), Err(Errno::Interrupted));
    assert_eq!(locked.writeback(), slots(0b11));
    assert!(mapping.try_lock(cx(), run(0, 1)).is_none(), "still locked");
    drop(locked);
    assert_eq!(mapping.wait_writeback_killable(run(0, 2), &|| true), Err(Errno::Interrupted));
    assert_eq!(mapping.wait_writeback_killable(run(2, 2), &|| true), Ok(()));
    tokens.into_iter().for_each(|token| token.complete(Ok(())));
    assert_eq!(mapping.wait_writeback_killable(run(0, 2), &|| true), Ok(()));
}

/// The keys under which waiters slept, and those that were woken, since the last call.
#[test]
fn a_lock_and_a_writeback_and_each_page_have_keys_of_their_own() {
    let machine: Machine = Machine::new(16);
    let mapping = machine.mapping();
    let (locked, [zero, one]) = under_writeback(&mapping);
    machine.wait.take_keys();
    for slot in [0, 1] {
        assert!(locked.wait_writeback(SlotMask::single(slot), &|| true).is_err());
    }
    assert!(mapping.lock_killable(cx(), run(0, 1), &|| true).is_err());
    let slept = machine.wait.take_keys();
    assert_eq!(slept.len(), 3);
    assert!(slept[0] != slept[1] && slept[1] != slept[2] && slept[0] != slept[2]);
    one.complete(Ok(()));
    assert_eq!(machine.wait.take_woken(), [slept[1]]);
    zero.complete(Ok(()));
    drop(locked);
    assert_eq!(machine.wait.take_woken(), [slept[0]], "no request waits for the lock any more");
}
