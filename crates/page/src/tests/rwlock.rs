//! The reader–writer lock: who excludes whom, the order of arrival, and a waiter that is killed.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;
use std::vec::Vec;

use crate::testing::{Machine, Test, with_watchdog};
use crate::{Errno, SleepRwGuard, SleepRwLock, Wait, WaitKey};

type Lock = SleepRwLock<Test>;

fn never() -> bool {
    false
}

/// What one thread asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Read,
    Write,
}

fn take<'a>(lock: &'a Lock, machine: &'a Machine, wants: Wants) -> SleepRwGuard<'a, Test> {
    let taken = match wants {
        Wants::Read => lock.read(machine.cache.wait(), &never),
        Wants::Write => lock.write(machine.cache.wait(), &never),
    };
    taken.expect("never killed")
}

fn until_sleeping(machine: &Machine, threads: usize) {
    while machine.wait.sleeping.load(SeqCst) < threads {
        thread::yield_now();
    }
}

#[test]
fn l1_a_writer_that_waits_blocks_later_readers_and_is_served_before_them() {
    with_watchdog(|| {
        let (machine, lock): (Machine, _) = (Machine::new(16), Lock::new());
        let served = Mutex::new(Vec::new());
        let held = take(&lock, &machine, Wants::Read);
        drop(take(&lock, &machine, Wants::Read));
        thread::scope(|scope| {
            let wanted = [Wants::Write, Wants::Read, Wants::Read, Wants::Write, Wants::Read];
            for (number, wants) in wanted.into_iter().enumerate() {
                let (machine, lock, served) = (&machine, &lock, &served);
                scope.spawn(move || {
                    let guard = take(lock, machine, wants);
                    served.lock().unwrap().push(number);
                    drop(guard);
                });
                until_sleeping(machine, number + 1);
            }
            assert_eq!(*served.lock().unwrap(), [], "all of them stand behind the first writer");
            drop(held);
        });
        let mut served = served.into_inner().unwrap();
        // The two readers hold it together.
        served[1..3].sort_unstable();
        assert_eq!(served, [0, 1, 2, 3, 4]);
        drop(take(&lock, &machine, Wants::Write));
    });
}

#[test]
fn l3_a_writer_that_is_killed_lets_the_readers_behind_it_go_on() {
    with_watchdog(|| {
        let (machine, lock): (Machine, _) = (Machine::new(16), Lock::new());
        let killed = AtomicBool::new(false);
        let held = take(&lock, &machine, Wants::Read);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let taken = lock.write(machine.cache.wait(), &|| killed.load(SeqCst));
                taken.map(drop)
            });
            until_sleeping(&machine, 1);
            let reader = scope.spawn(|| drop(take(&lock, &machine, Wants::Read)));
            until_sleeping(&machine, 2);
            killed.store(true, SeqCst);
            machine.wait.wake(WaitKey(0));
            assert_eq!(writer.join().unwrap(), Err(Errno::Interrupted));
            reader.join().unwrap();
        });
        drop(held);
        drop(take(&lock, &machine, Wants::Write));
    });
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    with_watchdog(|| {
        let (machine, lock): (Machine, _) = (Machine::new(16), Lock::new());
        let (readers, writers) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 0..4 {
                let (machine, lock, readers, writers) = (&machine, &lock, &readers, &writers);
                scope.spawn(move || {
                    for round in 0..300 {
                        let wants =
                            if (round + thread) % 3 == 0 { Wants::Write } else { Wants::Read };
                        let inside = if wants == Wants::Write { writers } else { readers };
                        let guard = take(lock, machine, wants);
                        let others = inside.fetch_add(1, SeqCst);
                        thread::yield_now();
                        match wants {
                            Wants::Write => assert_eq!((others, readers.load(SeqCst)), (0, 0)),
                            Wants::Read => assert_eq!(writers.load(SeqCst), 0),
                        }
                        inside.fetch_sub(1, SeqCst);
                        drop(guard);
                    }
                });
            }
        });
        assert_eq!(std::format!("{lock:?}"), "SleepRwLock { state: 0, .. }");
    });
}
