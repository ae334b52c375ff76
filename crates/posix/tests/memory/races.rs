//! Other threads at the worst moment, and all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use faultless_posix::{Errno, Sharing, Signal};

use crate::support::*;
use crate::{R, RW};

/// Another handle of a process, which does not exit.
fn thread_of(process: &Process) -> Memory {
    process.memory.clone()
}

#[test]
fn a_frame_is_copied_on_write_only_after_the_flush_of_the_fork_that_shared_it() {
    // Thread A forks, B stores by way of a fault, C has the old entry, which allows stores, in its
    // TLB up to the flush. What C stores meanwhile must be in what the parent has afterwards.
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    parent.store(0, 60).unwrap();
    let frame = parent.entry(0).unwrap().frame;
    let stale = rig.cache.frames().address_of(frame) + 1;
    let root = parent.space.root();
    let b = thread_of(&parent);
    at_flush(root, move || {
        // A has forked and not flushed yet.
        at_flush(root, move || {
            // SAFETY: the frame is counted by both spaces.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(stale).write(99) };
        });
        b.store(at(0), &[70]).unwrap();
    });
    let child = parent.fork(&rig);
    assert_eq!(parent.memory.load(at(0), 2), Ok(vec![70, 99]));
    assert_eq!(child.load(0), Ok(60));
}

#[test]
fn two_threads_that_map_at_one_address_leave_one_mapping() {
    let rig = Rig::new();
    let (one, two) = (rig.numbered(2), rig.numbered(4));
    let process = rig.process();
    let (space, open) = (Arc::clone(&process.space), one.open_rw());
    at_flush(process.space.root(), move || {
        let request = faultless_posix::MapRequest {
            description: open,
            offset: 0,
            len: 2 * 4096,
            rights: R,
            sharing: Sharing::Private,
        };
        Space::map(&space, at(1), request).unwrap();
    });
    process.share(0, 4, &two.open_rw());
    assert_eq!(process.loads(0..4), [Ok(1), Ok(2), Ok(3), Ok(4)]);
    assert_eq!(one.handles(), 1, "the other one is replaced");
    process.unmap(0, 4).unwrap();
    assert!(!process.space.has_mapping_in(at(0)..at(9)));
}

#[test]
fn a_mapping_that_comes_while_another_is_moved_there_is_replaced() {
    let rig = Rig::new();
    let (one, two) = (rig.numbered(2), rig.numbered(4));
    let process = rig.process();
    process.map_private(0, 2, &two.open_rw());
    process.store(0, 60).unwrap();
    let (space, open) = (Arc::clone(&process.space), one.open_rw());
    at_flush(process.space.root(), move || {
        let request = faultless_posix::MapRequest {
            description: open,
            offset: 0,
            len: 2 * 4096,
            rights: RW,
            sharing: Sharing::Private,
        };
        Space::map(&space, at(11), request).unwrap();
    });
    process.relocate(0, 10, 2).unwrap();
    assert_eq!(process.loads(10..13), [Ok(60), Ok(2), Ok(2)]);
}

#[test]
fn a_page_that_is_unmapped_while_its_fault_is_under_way_stays_unmapped() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let process = rig.process();
    process.map_private(0, 2, &file.open_rw());
    // The eviction inside the walk comes while nothing is locked: the space goes through `change`.
    file.evict_all();
    process.load(0).unwrap();
    let space = Arc::clone(&process.space);
    at_flush(process.space.root(), move || {
        Space::unmap(&space, at(0), 4096).unwrap();
    });
    // The flush at the end of the copy.
    assert_eq!(process.store(0, 60), Err(Signal::Segv));
    assert_eq!(process.load(1), Ok(2));
}

#[test]
fn l1_writes_from_a_mapping_end_while_another_thread_unmaps_it() {
    watched(|| {
        let rig = Rig::new();
        let file = rig.numbered(8);
        let open = file.open_rw();
        let process = rig.process();
        process.share(0, 8, &open);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    process.unmap(2, 3).unwrap();
                    process.map(2, 3, (&open, 2), RW, Sharing::Shared).unwrap();
                    thread::yield_now();
                }
            });
            let writer = scope.spawn(|| {
                let target = file.open_rw();
                for round in 0..300 {
                    match process.pwrite(&target, at(1), 6 * 4096, (round % 3) * 4096 + 1) {
                        Ok(len) => assert!((1..=6 * 4096).contains(&len)),
                        Err(errno) => assert_eq!(errno, Errno::FAULT),
                    }
                }
            });
            writer.join().expect("no panic");
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(process.load(0).map(|_| ()), Ok(()));
    });
}

#[test]
fn forks_stores_truncations_and_evictions_beside_each_other_lose_no_frame() {
    watched(|| {
        let rig = Rig::with_frames(4096);
        let file = rig.numbered_on_disk(16);
        let open = file.open_rw();
        let parent = rig.process();
        parent.map_private(0, 16, &open);
        parent.share(16, 16, &open);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let others = [
                scope.spawn(|| {
                    for round in 0..150_u64 {
                        truncate(&open, (round % 5 + 4) * 4000).unwrap();
                        truncate(&open, 16 * 4096).unwrap();
                        fsync(&open).unwrap();
                        file.evict_all();
                    }
                }),
                scope.spawn(|| {
                    for round in 0..600 {
                        // SIGBUS where the file is cut off for the moment.
                        let _signal = parent.store(round * 7 % 32, round as u8);
                    }
                }),
                scope.spawn(|| {
                    for round in 0..60 {
                        let child = parent.fork(&rig);
                        let _signal = child.store(round % 32, 1);
                        let grandchild = child.fork(&rig);
                        drop(child);
                        let _signal = grandchild.store(round * 3 % 32, 2);
                    }
                }),
            ];
            others.into_iter().for_each(|other| other.join().expect("no panic"));
            over.store(true, Ordering::Relaxed);
        });
        fsync(&open).unwrap();
    });
}

#[test]
fn a_store_of_one_thread_is_not_lost_to_the_copy_of_another() {
    // Threads store to bytes of their own in one page, while the process forks.
    watched(|| {
        let rig = Rig::with_frames(4096);
        let process = rig.process();
        process.map_private(0, 1, &rig.numbered(1).open_rw());
        thread::scope(|scope| {
            for byte in 0..2 {
                let memory = thread_of(&process);
                scope.spawn(move || {
                    let address = at(0) + 100 * byte;
                    for round in 0..500_u32 {
                        memory.store(address, &[round as u8]).unwrap();
                        assert_eq!(memory.load(address, 1), Ok(vec![round as u8]));
                    }
                });
            }
            for _ in 0..100 {
                drop(process.fork(&rig));
            }
        });
    });
}
