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
    // The first flush is that of the pages that move.
    at_flush(process.space.root(), || {});
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

/// A process with a private and a shared mapping of a file, two pages each, nothing of which is in
/// memory, and nothing is read that no access asks for.
fn cold(rig: &Rig) -> (File, Process) {
    let file = rig.numbered_on_disk(2);
    let process = rig.process();
    let [private, shared] = [file.open_rw(), file.open_rw()];
    for open in [&private, &shared] {
        advise(open, 0, 0, linux_raw_sys::general::POSIX_FADV_RANDOM).unwrap();
    }
    process.map_private(0, 2, &private);
    process.share(2, 2, &shared);
    file.evict_all();
    (file, process)
}

#[test]
fn a_page_that_is_unmapped_while_its_fault_is_under_way_stays_unmapped() {
    for (page, is_store) in [(0, false), (0, true), (2, false), (2, true)] {
        let rig = Rig::new();
        let (file, process) = cold(&rig);
        let space = Arc::clone(&process.space);
        file.store().at_read(move || Space::unmap(&space, at(page), 4096).unwrap());
        let result = if is_store { process.store(page, 9) } else { process.load(page).map(|_| ()) };
        assert_eq!(result, Err(Signal::Segv));
        assert!(process.entry(page).is_none());
        assert_eq!(process.load(page + 1), Ok(2));
    }
}

#[test]
fn rights_that_go_while_a_fault_is_under_way_are_gone_after_it() {
    for page in [0, 2] {
        let rig = Rig::new();
        let (file, process) = cold(&rig);
        let space = Arc::clone(&process.space);
        file.store().at_read(move || Space::protect(&space, at(page), 4096, R).unwrap());
        assert_eq!(process.store(page, 9), Err(Signal::Segv));
        assert_eq!((process.load(page), pread(&file.open_rw(), 1, 0)), (Ok(1), Ok(vec![1])));
    }
}

#[test]
fn another_file_that_is_mapped_there_while_a_fault_is_under_way_is_what_is_seen() {
    for page in [0, 2] {
        let rig = Rig::new();
        let (file, process) = cold(&rig);
        let (other, space) = (rig.numbered(7).open_rw(), Arc::clone(&process.space));
        file.store().at_read(move || {
            let request = faultless_posix::MapRequest {
                description: other,
                offset: 6 * 4096,
                len: 4096,
                rights: RW,
                sharing: Sharing::Shared,
            };
            Space::map(&space, at(page), request).unwrap();
        });
        assert_eq!(process.memory.store(at(page) + 1, &[9]), Ok(()));
        assert_eq!(process.memory.load(at(page), 2), Ok(vec![7, 9]));
        assert_eq!(pread(&file.open_rw(), 2, 0), Ok(vec![1; 2]));
    }
}

#[test]
fn a_copy_that_another_thread_makes_first_is_the_one_that_stays() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    let store_beside = |process: &Process, byte: u8| {
        let other = thread_of(process);
        rig.at_allocation(move || other.store(at(0) + 1, &[byte]).unwrap());
        process.store(0, byte).unwrap();
        assert_eq!(process.memory.load(at(0), 3), Ok(vec![byte, byte, 1]));
        assert_eq!(process.counts(0), 1);
    };
    store_beside(&parent, 50);
    let child = parent.fork(&rig);
    store_beside(&parent, 60);
    assert_eq!(child.memory.load(at(0), 2), Ok(vec![50; 2]));
    let grandchild = child.fork(&rig);
    store_beside(&child, 70);
    assert_eq!(grandchild.memory.load(at(0), 2), Ok(vec![50; 2]));
}

#[test]
fn a_fork_while_a_copy_is_made_leaves_each_side_its_own() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    parent.store(0, 50).unwrap();
    let first = parent.fork(&rig);
    let (space, second) = (Arc::clone(&parent.space), rig.process());
    let child = Arc::clone(&second.space);
    rig.at_allocation(move || Space::fork(&space, &child).expect("not killed"));
    parent.store(0, 60).unwrap();
    assert_eq!([&parent, &first, &second].map(|process| process.load(0)), [Ok(60), Ok(50), Ok(50)]);
}

#[test]
fn a_copy_whose_other_owners_go_meanwhile_is_stored_to_in_place() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    parent.store(0, 50).unwrap();
    let frame = parent.entry(0).unwrap().frame;
    let child = Arc::clone(&parent.fork(&rig).space);
    // A fork of its own, for its process has exited.
    Space::fork(&parent.space, &child).expect("not killed");
    rig.at_allocation(move || Space::exit(&child));
    parent.store(0, 60).unwrap();
    assert_eq!(parent.entry(0).unwrap().frame, frame);
    assert_eq!(parent.load(0), Ok(60));
}

#[test]
fn rights_that_go_while_a_shared_copy_is_copied_are_gone_after_it() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    parent.store(0, 50).unwrap();
    let child = parent.fork(&rig);
    let space = Arc::clone(&parent.space);
    rig.at_allocation(move || Space::protect(&space, at(0), 4096, R).unwrap());
    assert_eq!(parent.store(0, 60), Err(Signal::Segv));
    assert_eq!((parent.load(0), child.load(0)), (Ok(50), Ok(50)));
}

#[test]
fn p6_truncation_finds_what_an_unmap_of_many_pages_has_not_come_to() {
    let rig = Rig::new();
    let open = rig.numbered(100).open_rw();
    let process = rig.process();
    process.map_private(0, 100, &open);
    for n in 0..100 {
        process.store(n, 50).unwrap();
    }
    let other = thread_of(&process);
    at_flush(process.space.root(), move || {
        truncate(&open, 4096).unwrap();
        assert_eq!(other.load(at(10), 1), Err(Signal::Segv), "unmapped already");
        assert_eq!(other.load(at(90), 1), Err(Signal::Bus));
    });
    process.unmap(0, 100).unwrap();
    assert!(!process.space.has_mapping_in(at(0)..at(100)));
}

#[test]
fn a_page_that_a_truncation_cuts_off_while_its_fault_is_under_way_is_sigbus() {
    watched(|| {
        for page in [1, 3] {
            let rig = Rig::new();
            let (file, process) = cold(&rig);
            let open = file.open_rw();
            // The truncation has set the size when the read goes on; it waits for the page then.
            // (The page of the new end is another one: the size changes with it locked.)
            let (truncated, inode) = (open.clone(), file.clone());
            let (started, starts) = std::sync::mpsc::channel();
            file.store().at_read(move || {
                let thread = thread::spawn(move || truncate(&truncated, 4000).unwrap());
                while inode.size() != 4000 {
                    thread::yield_now();
                }
                started.send(thread).expect("awaited");
            });
            assert_eq!(process.store(page, 9), Err(Signal::Bus));
            starts.recv().expect("sent").join().expect("no panic");
            assert!(process.entry(page).is_none());
            drop(open);
        }
    });
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
