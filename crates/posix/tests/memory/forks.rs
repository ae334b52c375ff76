//! `fork`: copy on write in all directions.

use std::sync::Arc;

use faultless_posix::{Rights, Signal};

use crate::support::*;
use crate::{NONE, R, RW};

#[test]
fn stores_after_a_fork_are_seen_on_one_side_only() {
    let rig = Rig::new();
    let open = rig.numbered(4).open_rw();
    let parent = rig.process();
    parent.map_private(0, 4, &open);
    for n in 0..3 {
        parent.store(n, 60).unwrap();
    }
    let child = parent.fork(&rig);
    assert_eq!((parent.counts(0), child.counts(0)), (2, 2));
    child.store(0, 70).unwrap();
    parent.store(1, 80).unwrap();
    child.store(3, 73).unwrap();
    assert_eq!(parent.loads(0..4), [Ok(60), Ok(80), Ok(60), Ok(4)]);
    assert_eq!(child.loads(0..4), [Ok(70), Ok(60), Ok(60), Ok(73)]);
    assert_eq!(parent.counts(0), 1);
    let frames = rig.frames_in_use();
    parent.store(0, 61).unwrap();
    assert_eq!(rig.frames_in_use(), frames, "the last owner stores to it in place");
    assert_eq!(parent.memory.load(at(0) + 1, 1), Ok(vec![1]));
}

#[test]
fn shared_mappings_stay_shared_after_a_fork() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let parent = rig.process();
    parent.share(0, 2, &open);
    parent.store(0, 60).unwrap();
    let child = parent.fork(&rig);
    child.store(0, 70).unwrap();
    parent.store(1, 80).unwrap();
    assert_eq!((parent.load(0), child.load(1)), (Ok(70), Ok(80)));
    drop(parent);
    child.store(1, 90).unwrap();
    assert_eq!(pread(&open, 1, 4096), Ok(vec![90]));
}

#[test]
fn grandchildren_keep_what_their_parents_had_when_those_are_gone() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let parent = rig.process();
    parent.map_private(0, 3, &open);
    parent.store(0, 60).unwrap();
    let child = parent.fork(&rig);
    child.store(1, 71).unwrap();
    let grandchild = child.fork(&rig);
    assert_eq!(grandchild.counts(0), 3);
    drop(child);
    parent.store(0, 61).unwrap();
    assert_eq!(grandchild.loads(0..3), [Ok(60), Ok(71), Ok(3)]);
    drop(parent);
    grandchild.store(0, 62).unwrap();
    grandchild.store(1, 72).unwrap();
    assert_eq!(grandchild.loads(0..3), [Ok(62), Ok(72), Ok(3)]);
}

#[test]
fn truncation_finds_the_copies_of_every_generation() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let parent = rig.process();
    parent.map_private(0, 3, &open);
    parent.store(2, 60).unwrap();
    let child = parent.fork(&rig);
    let grandchild = child.fork(&rig);
    grandchild.store(2, 80).unwrap();
    drop(child);
    truncate(&open, 4096).unwrap();
    for process in [&parent, &grandchild] {
        assert_eq!(process.load(2), Err(Signal::Bus));
    }
    truncate(&open, 3 * 4096).unwrap();
    assert_eq!((parent.load(2), grandchild.load(2)), (Ok(0), Ok(0)));
}

#[test]
fn the_rights_of_each_side_are_its_own() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 3, &rig.numbered(3).open_rw());
    for n in 0..3 {
        parent.store(n, 60).unwrap();
    }
    parent.protect(1, 1, R).unwrap();
    parent.protect(2, 1, NONE).unwrap();
    let child = parent.fork(&rig);
    assert_eq!(child.loads(0..3), [Ok(60), Ok(60), Err(Signal::Segv)]);
    child.protect(0, 3, RW).unwrap();
    for n in 0..3 {
        child.store(n, 70).unwrap();
    }
    assert_eq!(child.loads(0..3), [Ok(70); 3]);
    assert_eq!(parent.store(1, 1), Err(Signal::Segv));
    parent.protect(0, 3, RW).unwrap();
    assert_eq!(parent.loads(0..3), [Ok(60); 3]);
}

#[test]
fn a_copy_that_only_may_be_stored_to_is_copied_too() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 1, &rig.numbered(1).open_rw());
    parent.protect(0, 1, Rights::WRITE).unwrap();
    parent.store(0, 60).unwrap();
    let child = parent.fork(&rig);
    child.store(0, 70).unwrap();
    parent.protect(0, 1, R).unwrap();
    child.protect(0, 1, R).unwrap();
    assert_eq!((parent.load(0), child.load(0)), (Ok(60), Ok(70)));
}

#[test]
fn relocate_and_discard_in_a_child_leave_the_parent_alone() {
    let rig = Rig::new();
    let parent = rig.process();
    parent.map_private(0, 2, &rig.numbered(2).open_rw());
    parent.store(0, 60).unwrap();
    parent.store(1, 61).unwrap();
    let child = parent.fork(&rig);
    child.relocate(0, 8, 2).unwrap();
    child.store(8, 70).unwrap();
    child.discard(9, 1).unwrap();
    assert_eq!(child.loads(8..10), [Ok(70), Ok(2)]);
    assert_eq!(parent.loads(0..2), [Ok(60), Ok(61)]);
}

#[test]
fn exit_gives_every_frame_and_every_file_back_in_whatever_order() {
    for order in 0..6 {
        let rig = Rig::new();
        let file = rig.numbered(70);
        let parent = rig.process();
        parent.map_private(0, 70, &file.open_rw());
        parent.share(70, 70, &file.open_rw());
        for n in 0..140 {
            parent.store(n, 60).unwrap();
        }
        let child = parent.fork(&rig);
        for n in 0..35 {
            child.store(n, 70).unwrap();
        }
        let grandchild = child.fork(&rig);
        for n in 20..50 {
            grandchild.store(n, 80).unwrap();
        }
        let spaces = [&parent, &child, &grandchild].map(|process| Arc::downgrade(&process.space));
        let mut all = vec![parent, child, grandchild];
        all.swap(0, order % 3);
        all.swap(1, 1 + order / 3);
        drop(all);
        assert_eq!(rig.frames_in_use(), 70, "the file's");
        assert!(spaces.iter().all(|space| space.strong_count() == 0), "left in a reverse map");
        assert_eq!(file.handles(), 1);
    }
}
