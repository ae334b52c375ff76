//! `mprotect`, `mremap`, `madvise`.

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Advised, Errno, Sharing, Signal};
use linux_raw_sys::general as linux;

use crate::support::*;
use crate::{NONE, R, RW};

const SEGV: Result<(), Signal> = Err(Signal::Segv);

#[test]
fn protect_splits_a_mapping_and_stores_fault_again_when_it_goes_back() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(5);
    let process = rig.process();
    process.share(0, 5, &file.open_rw());
    for n in 0..5 {
        process.store(n, 50 + n as u8).unwrap();
    }
    process.protect(1, 3, R).unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|n| process.store(n, 60)), [Ok(()), SEGV, SEGV, SEGV, Ok(())]);
    assert_eq!(process.loads(1..4), [Ok(51), Ok(52), Ok(53)]);
    process.protect(2, 1, NONE).unwrap();
    assert_eq!(process.loads(1..4), [Ok(51), Err(Signal::Segv), Ok(53)]);
    assert_eq!(process.store(2, 1), SEGV);
    process.protect(0, 5, RW).unwrap();
    // All clean, so that the store has to make the page dirty again.
    fsync(&file.open_rw()).unwrap();
    process.store(2, 99).unwrap();
    fsync(&file.open_rw()).unwrap();
    file.evict_all();
    assert_eq!(process.loads(0..5), [Ok(60), Ok(51), Ok(99), Ok(53), Ok(60)]);
}

#[test]
fn private_copies_live_through_protect_and_its_way_back() {
    let rig = Rig::new();
    let open = rig.numbered(3).open(linux::O_RDONLY);
    let process = rig.process();
    process.map_private(0, 3, &open);
    process.store(0, 70).unwrap();
    process.store(1, 71).unwrap();
    for rights in [R, NONE] {
        process.protect(0, 3, rights).unwrap();
        assert_eq!(process.store(0, 1), SEGV);
        assert_eq!(process.load(0).is_ok(), rights == R);
        process.protect(0, 3, RW).unwrap();
        assert_eq!(process.loads(0..3), [Ok(70), Ok(71), Ok(3)]);
        process.store(1, 71).unwrap();
        assert_eq!(process.counts(1), 1, "no second copy");
    }
    process.store(2, 72).unwrap();
    assert_eq!(pread(&open, 1, 2 * 4096), Ok(vec![3]));
}

#[test]
fn protect_that_is_refused_for_one_mapping_changes_none() {
    let rig = Rig::new();
    let file = rig.numbered(2);
    let process = rig.process();
    process.map(0, 1, (&file.open_rw(), 0), R, Sharing::Shared).unwrap();
    process.map(1, 1, (&file.open(linux::O_RDONLY), 0), R, Sharing::Shared).unwrap();
    assert_eq!(process.protect(0, 2, RW), Err(Errno::ACCES));
    assert_eq!(process.store(0, 1), SEGV);
    assert_eq!(process.protect(0, 1, RW), Ok(()));
    assert_eq!(process.store(0, 1), Ok(()));
}

#[test]
fn relocate_takes_private_copies_along_and_replaces_what_is_there() {
    let rig = Rig::new();
    let open = rig.numbered(4).open_rw();
    let process = rig.process();
    process.map_private(0, 4, &open);
    process.map_private(10, 4, &open);
    process.store(1, 71).unwrap();
    process.store(11, 81).unwrap();
    process.store(13, 83).unwrap();
    let frames = rig.frames_in_use();
    process.relocate(0, 10, 3).unwrap();
    assert_eq!(rig.frames_in_use(), frames - 1, "the copy that was at 11");
    assert_eq!(process.loads(10..14), [Ok(1), Ok(71), Ok(3), Ok(83)]);
    assert_eq!(process.loads(0..4)[..3], [Err(Signal::Segv); 3]);
    assert_eq!(process.load(3), Ok(4));
    process.store(12, 82).unwrap();
    assert_eq!(process.load(12), Ok(82));
    // The reverse map finds what was moved.
    truncate(&open, 4096).unwrap();
    assert_eq!(process.loads(10..14)[1..], [Err(Signal::Bus); 3]);
}

#[test]
fn what_is_left_of_a_mapping_that_moved_has_no_private_copies_and_is_not_locked() {
    let rig = Rig::new();
    let open = rig.numbered(4).open_rw();
    let process = rig.process();
    process.map_private(0, 3, &open);
    process.store(1, 71).unwrap();
    Space::advise(&process.space, at(0), 3 * PAGE_SIZE, Advised::LOCKED, Advised::empty()).unwrap();
    Space::relocate_and_keep(&process.space, at(0), at(10), 3 * PAGE_SIZE).unwrap();
    assert_eq!(process.loads(10..13), [Ok(1), Ok(71), Ok(3)]);
    assert_eq!(process.loads(0..3), [Ok(1), Ok(2), Ok(3)]);
    process.store(1, 81).unwrap();
    assert_eq!((process.load(1), process.load(11)), (Ok(81), Ok(71)));
    let advised = |n| process.space.area_at(at(n)).map(|area| area.advised);
    assert_eq!([advised(0), advised(10)], [Some(Advised::empty()), Some(Advised::LOCKED)]);
    // The reverse map finds both.
    truncate(&open, 0).unwrap();
    assert_eq!((process.load(0), process.load(10)), (Err(Signal::Bus), Err(Signal::Bus)));
}

#[test]
fn thousands_of_mappings_are_unmapped_and_files_forgotten() {
    let rig = Rig::new();
    let file = rig.numbered(4);
    let open = file.open_rw();
    let process = rig.process();
    for n in 0..2500 {
        process.share(2 * n, 1, &open);
    }
    process.load(4998).unwrap();
    assert_eq!(process.space.area_count(), 2500);
    process.unmap(1, 4997).unwrap();
    assert_eq!(process.space.area_count(), 2);
    assert_eq!((process.load(0), process.load(4998)), (Ok(1), Ok(1)));
    assert_eq!(process.load(2), Err(Signal::Segv));
    process.unmap(0, 5000).unwrap();
    assert_eq!((process.space.area_count(), process.load(4998)), (0, Err(Signal::Segv)));
}

#[test]
fn relocate_of_a_shared_mapping_still_shows_the_file() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(4);
    let process = rig.process();
    process.share(0, 4, &file.open_rw());
    process.protect(2, 1, R).unwrap();
    process.store(1, 61).unwrap();
    process.relocate(1, 20, 3).unwrap();
    process.store(20, 62).unwrap();
    assert_eq!(process.store(21, 1), SEGV);
    fsync(&file.open_rw()).unwrap();
    assert_eq!(file.evict_all(), 4);
    assert_eq!(process.loads(20..23), [Ok(62), Ok(3), Ok(4)]);
}

#[test]
fn relocate_refuses_ranges_that_overlap() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(0, 4, &rig.numbered(4).open_rw());
    for to in [0, 1, 2] {
        assert_eq!(process.relocate(0, to, 3), Err(Errno::INVAL));
        assert_eq!(process.relocate(to, 0, 3), Err(Errno::INVAL));
    }
    assert_eq!(process.relocate(0, 3, 3), Ok(()), "side by side");
    assert_eq!(process.loads(3..6), [Ok(1), Ok(2), Ok(3)]);
}

#[test]
fn extend_shows_more_of_the_file_if_there_is_room() {
    let rig = Rig::new();
    let open = rig.numbered(4).open_rw();
    let process = rig.process();
    process.map_private(0, 2, &open);
    process.store(1, 71).unwrap();
    process.share(3, 1, &open);
    assert_eq!(process.extend(2, 2), Err(Errno::NOMEM));
    assert_eq!(process.extend(3, 1), Err(Errno::FAULT), "no mapping ends there");
    assert_eq!(process.extend(9, 1), Err(Errno::FAULT));
    assert_eq!(process.extend(2, 1), Ok(()));
    assert_eq!(process.loads(0..4), [Ok(1), Ok(71), Ok(3), Ok(1)]);
    process.store(2, 73).unwrap();
    assert_eq!(pread(&open, 1, 2 * 4096), Ok(vec![3]));
}

#[test]
fn discard_loses_private_copies_and_nothing_of_the_file() {
    let rig = Rig::new();
    let open = rig.numbered(80).open_rw();
    let process = rig.process();
    process.map_private(0, 80, &open);
    process.share(80, 2, &open);
    process.store(80, 90).unwrap();
    let frames = rig.frames_in_use();
    for n in 1..80 {
        process.store(n, 7).unwrap();
    }
    process.discard(0, 82).unwrap();
    assert_eq!(rig.frames_in_use(), frames);
    assert_eq!(process.loads(0..3), [Ok(90), Ok(2), Ok(3)]);
    assert_eq!(process.load(80), Ok(90));
}

#[test]
fn steal_takes_pages_of_files_and_leaves_private_copies() {
    let rig = Rig::new();
    let process = rig.process();
    process.map_private(0, 3, &rig.numbered(3).open_rw());
    process.store(1, 71).unwrap();
    assert_eq!(process.loads(0..3), [Ok(1), Ok(71), Ok(3)]);
    process.space.steal(0..usize::MAX);
    assert_eq!([0, 1, 2].map(|n| process.entry(n).is_some()), [false, true, false]);
    assert_eq!(process.loads(0..3), [Ok(1), Ok(71), Ok(3)]);
}

#[test]
fn every_call_that_takes_rights_away_has_flushed_when_it_returns() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(60);
    let open = file.open_rw();
    let process = rig.process();
    #[track_caller]
    fn flushed(process: &Process) {
        assert_eq!(stale_entries(process.space.root()), 0, "entries that a CPU may still use");
    }
    process.map_private(0, 60, &open);
    process.share(60, 60, &open);
    let touch = || {
        for n in 0..120 {
            process.load(n).unwrap();
            if n % 3 != 0 {
                process.store(n, 7).unwrap();
                flushed(&process);
            }
        }
    };
    touch();
    let calls: [(&str, &dyn Fn()); 7] = [
        ("fork", &|| drop(process.fork(&rig))),
        ("mprotect", &|| {
            process.protect(0, 120, R).unwrap();
            flushed(&process);
            process.protect(0, 120, RW).unwrap();
        }),
        ("writeback", &|| fsync(&open).unwrap()),
        ("eviction", &|| assert!(file.evict_all() > 0)),
        ("madvise", &|| process.discard(0, 120).unwrap()),
        ("mremap", &|| {
            process.relocate(0, 200, 50).unwrap();
            flushed(&process);
            process.relocate(200, 0, 50).unwrap();
        }),
        ("mmap", &|| process.map_private(0, 60, &open)),
    ];
    for (name, call) in calls {
        touch();
        call();
        println!("{name}");
        flushed(&process);
    }
    touch();
    truncate(&open, 4096).unwrap();
    flushed(&process);
    process.unmap(0, 120).unwrap();
    flushed(&process);
}
