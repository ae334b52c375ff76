//! Grace periods: nothing is released under a reader.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Barrier;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::testing::{Machine, POISON, cx, populate, run, slots, with_watchdog};
use crate::{CoreSync, Frames, PAGE_SIZE, PageIndex, SlotMask, SyncFamily};

/// Read sections of the kernel's own, of which one count tells whether any is open.
struct OwnSections;

static OPEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the words, the fence and the lock are `CoreSync`'s. A section that is open when a thread
// begins to wait is counted, and no longer once that returns; all is sequentially consistent.
unsafe impl SyncFamily for OwnSections {
    type Word64 = <CoreSync as SyncFamily>::Word64;
    type Word32 = <CoreSync as SyncFamily>::Word32;
    type Spin<T: Send> = <CoreSync as SyncFamily>::Spin<T>;
    const HAS_READ_SECTIONS: bool = true;

    fn fence(order: Ordering) {
        CoreSync::fence(order);
    }

    fn enter_read_section() {
        OPEN.fetch_add(1, Ordering::SeqCst);
    }

    fn leave_read_section() {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }

    fn wait_for_readers() {
        while OPEN.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn no_frame_is_released_while_a_section_that_saw_it_is_open() {
    frames_outlive_sections::<CoreSync>();
}

#[test]
fn nor_while_a_section_of_the_kernels_own_is_open() {
    frames_outlive_sections::<OwnSections>();
}

fn frames_outlive_sections<S: SyncFamily + Send + Sync>() {
    with_watchdog(|| {
        let machine = Machine::<S>::new(64);
        let mapping = machine.mapping();
        for _ in 0..4 {
            populate(&mapping, run(0, 8), |_| 5);
            let section = mapping.read_section(cx());
            let (memory, len) = section.span(0, usize::MAX).unwrap();
            assert_eq!(len, 8 * PAGE_SIZE);
            thread::scope(|scope| {
                let (done, finished) = channel();
                let mapping = &mapping;
                scope.spawn(move || {
                    let removed = mapping.lock(cx(), run(0, 8)).unwrap().remove(SlotMask::ALL);
                    assert_eq!(removed.len(), 8);
                    drop(removed);
                    done.send(()).unwrap();
                });
                let waited = finished.recv_timeout(Duration::from_millis(30));
                assert_eq!(waited, Err(RecvTimeoutError::Timeout), "did not wait for the reader");
                // SAFETY: the section is still open.
                let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), len) };
                assert!(bytes.iter().all(|&b| b == 5));
                assert_ne!(bytes[0], POISON);
                drop(section);
                finished.recv().unwrap();
            });
            assert_eq!(mapping.cached_pages(), 0);
        }
        drop(mapping);
        machine.assert_balanced();
    });
}

#[test]
fn new_readers_do_not_hold_up_a_grace_period() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let stop = AtomicBool::new(false);
        let readers = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // Always inside: the next section begins before the last one ends.
                    let mut inside = machine.cache.enter();
                    readers.wait();
                    while !stop.load(Ordering::Relaxed) {
                        let next = machine.cache.enter();
                        drop(core::mem::replace(&mut inside, next));
                    }
                });
            }
            readers.wait();
            for _ in 0..500 {
                machine.cache.synchronize();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn removal_may_be_finished_under_its_own_page_lock() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 3), |_| 5);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    let frame = locked.frame(PageIndex::new(1)).unwrap();
    drop(locked.remove(slots(0b010)));
    assert_eq!(machine.frames.references(frame), 0);
    assert_eq!(locked.present(), slots(0b101));
}

#[test]
fn concurrent_grace_periods_all_end() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        drop(machine.cache.enter());
                        machine.cache.synchronize();
                    }
                });
            }
        });
    });
}

#[test]
fn no_node_is_reused_while_a_section_is_open() {
    nodes_outlive_sections::<CoreSync>();
}

#[test]
fn nor_while_one_of_the_kernels_own_is() {
    nodes_outlive_sections::<OwnSections>();
}

fn nodes_outlive_sections<S: SyncFamily + Send + Sync>() {
    with_watchdog(|| {
        let machine = Machine::<S>::new(64);
        let mapping = machine.mapping();
        drop(mapping.lock_or_create(cx(), run(1 << 20, 1)).unwrap());
        let section = mapping.read_section(cx());
        thread::scope(|scope| {
            let (done, finished) = channel();
            let mapping = &mapping;
            scope.spawn(move || {
                mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
                done.send(()).unwrap();
            });
            let waited = finished.recv_timeout(Duration::from_millis(30));
            assert_eq!(waited, Err(RecvTimeoutError::Timeout), "did not wait for the reader");
            drop(section);
            finished.recv().unwrap();
        });
        assert!(mapping.lock(cx(), run(1 << 20, 1)).is_none());
    });
}
