//! What is asked of mappings: `mlock`, and what becomes of them by `fork`.

use faultless::prelude::*;
use faultless_posix::{Advised, Errno as E, Signal};
use linux_raw_sys::general as linux;

use crate::support::*;

fn advise(process: &Process, n: usize, pages: usize, set: Advised) -> Result<(), E> {
    Space::advise(&process.space, at(n), pages * PAGE_SIZE, set, Advised::empty())
}

fn forget(process: &Process, n: usize, pages: usize, clear: Advised) -> Result<(), E> {
    Space::advise(&process.space, at(n), pages * PAGE_SIZE, Advised::empty(), clear)
}

#[test]
fn a_child_has_no_mapping_that_is_not_to_be_forked() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let parent = rig.process();
    parent.map_private(0, 3, &open);
    advise(&parent, 1, 1, Advised::NOT_FORKED).unwrap();
    let child = parent.fork(&rig);
    assert_eq!(child.loads(0..3), [Ok(1), Err(Signal::Segv), Ok(3)]);
    assert_eq!(parent.loads(0..3), [Ok(1), Ok(2), Ok(3)]);
    forget(&parent, 1, 1, Advised::NOT_FORKED).unwrap();
    assert_eq!(parent.fork(&rig).load(1), Ok(2));
}

#[test]
fn a_child_has_no_private_copies_of_a_mapping_that_fork_wipes() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let parent = rig.process();
    parent.map_private(0, 2, &open);
    parent.store(0, 60).unwrap();
    parent.store(1, 61).unwrap();
    advise(&parent, 0, 1, Advised::WIPED_BY_FORK).unwrap();
    let child = parent.fork(&rig);
    assert_eq!(child.loads(0..2), [Ok(1), Ok(61)]);
    assert_eq!(parent.loads(0..2), [Ok(60), Ok(61)]);
}

#[test]
fn locked_pages_are_neither_given_up_nor_invalidated() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.share(0, 2, &open);
    advise(&process, 0, 1, Advised::LOCKED).unwrap();
    assert_eq!(process.space.advised_bytes(Advised::LOCKED), PAGE_SIZE);
    assert_eq!(process.discard(0, 2), Err(E::INVAL));
    assert_eq!(process.discard(1, 1), Ok(()));
    assert_eq!(Space::discard_locked(&process.space, at(0), 2 * PAGE_SIZE), Ok(()));
    let flags = linux::MS_SYNC | linux::MS_INVALIDATE;
    assert_eq!(process.msync(0, 2, flags), Err(E::BUSY));
    assert_eq!(process.msync(0, 2, linux::MS_SYNC), Ok(()));
    assert_eq!(process.msync(1, 1, flags), Ok(()));
    let child = process.fork(&rig);
    assert_eq!(child.space.advised_bytes(Advised::LOCKED), 0, "a child has no locks");
    forget(&process, 0, 1, Advised::LOCKED).unwrap();
    assert_eq!(process.discard(0, 2), Ok(()));
}

#[test]
fn advice_for_pages_without_a_mapping_is_enomem_and_holds_for_the_others() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(0, 1, &rig.numbered(1).open_rw());
    assert_eq!(advise(&process, 0, 2, Advised::LOCKED), Err(E::NOMEM));
    assert_eq!(process.space.advised_bytes(Advised::LOCKED), PAGE_SIZE);
    let space = &process.space;
    let none = Advised::empty();
    assert_eq!(Space::advise(space, at(0) + 1, 1, none, none), Err(E::INVAL));
    assert_eq!(Space::advise(space, at(0), usize::MAX, none, none), Err(E::NOMEM));
}
