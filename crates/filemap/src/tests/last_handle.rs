//! The last handle of an inode: dirty pages are sent, given up on purpose, or told of (F6).
#![forbid(unsafe_code)]

use faultless_page::{Errno, Strategy};
use faultless_parts::{Answer, Call, RamStore, When};

use super::kernel::take_dropped;
use super::rig::token;
use super::{PAGE, Rig, bytes};

/// A file whose two pages are dirty.
fn dirty() -> Rig {
    let rig = Rig::new();
    assert_eq!(rig.write(0, &bytes(1, PAGE + 100)), Ok(PAGE + 100));
    rig
}

#[test]
fn f6_closing_sends_every_dirty_page() {
    let mut rig = dirty();
    let mut file = rig.take_file();
    assert_eq!(file.close(&mut token(), &rig.task), Ok(()));
    drop(file);
    assert_eq!(take_dropped(), 0);
    rig.assert_stored(&bytes(1, PAGE + 100));
}

#[test]
fn f6_a_close_that_fails_keeps_the_pages_for_another_one() {
    let mut rig = dirty();
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::NoSpace)).expect("");
    let mut file = rig.take_file();
    assert_eq!(file.close(&mut token(), &rig.task), Err(Errno::NoSpace));
    assert_eq!(file.close(&mut token(), &rig.task), Ok(()));
    drop(file);
    assert_eq!(take_dropped(), 0);
    rig.assert_stored(&bytes(1, PAGE + 100));
}

#[test]
fn f6_a_plain_drop_of_dirty_pages_is_told_to_the_kernel() {
    let mut rig = dirty();
    drop(rig.take_file());
    assert_eq!((take_dropped(), rig.frames()), (2, 0));
}

#[test]
fn f6_discarded_pages_are_not_told_of_and_not_sent() {
    let mut rig = dirty();
    rig.store.take_events();
    rig.take_file().discard();
    assert_eq!((take_dropped(), rig.store.take_events()), (0, std::vec![]));
    assert_eq!(rig.frames(), 0);
}

#[test]
fn f6_a_store_that_keeps_nothing_loses_nothing() {
    let mut rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    assert_eq!(rig.write(0, b"gone"), Ok(4));
    drop(rig.take_file());
    assert_eq!((take_dropped(), rig.frames()), (0, 0));
}
