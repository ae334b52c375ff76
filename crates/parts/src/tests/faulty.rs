//! Plans of failures: the calls that are meant get the answer, and no others.

use std::boxed::Box;

use faultless_page::{AddressSpaceOperations, Errno, FillBuf, PageIndex, Reserved, SyncKind};

use super::Rig;
use crate::{Answer, Call, FaultyStore, PageBudget, RamStore, When};

fn store() -> FaultyStore<RamStore> {
    FaultyStore::new(RamStore::new())
}

#[test]
fn the_nth_call_fails_and_is_counted_from_the_plan_on() {
    let store = store();
    assert_eq!(store.sync(SyncKind::Data), Ok(()));
    store.plan(Call::Sync, When::Nth(2), Answer::Fail(Errno::Io)).expect("can fail");
    let answers = [(); 4].map(|()| store.sync(SyncKind::All));
    assert_eq!(answers, [Ok(()), Err(Errno::Io), Ok(()), Ok(())]);
    assert_eq!(store.count(Call::Sync), 5);
}

#[test]
fn every_nth_call_fails_until_the_plan_is_dropped() {
    let store = store();
    let no_space = Answer::Fail(Errno::NoSpace);
    store.plan(Call::WriteBegin, When::EveryNth(2), no_space).expect("can fail");
    let failed = |_| store.write_begin(0, 8).is_err();
    assert_eq!([0, 1, 2, 3].map(failed), [false, true, false, true]);
    store.plan(Call::WriteBegin, When::EveryNth(0), no_space).expect("can fail");
    assert_eq!([0, 1].map(failed), [false, false]);
    store.plan(Call::WriteBegin, When::EveryNth(1), no_space).expect("can fail");
    assert_eq!([0, 1].map(failed), [true, true]);
    store.clear();
    assert_eq!([0, 1].map(failed), [false, false]);
    assert_eq!((store.count(Call::WriteBegin), store.count(Call::Read)), (10, 0));
}

#[test]
fn short_answers_are_half_as_long() {
    let store = store();
    store.plan(Call::WriteBegin, When::EveryNth(1), Answer::Short).expect("can be short");
    store.plan(Call::Read, When::EveryNth(1), Answer::Short).expect("can be short");
    let begun = store.write_begin(10, 7).expect("room");
    assert_eq!((begun.len, begun.reserved), (4, Reserved::Partly));
    assert_eq!(store.write_begin(10, 1).map(|begun| begun.len), Ok(1));
    let mut page = [0xee; 4096];
    let mut buf = FillBuf::new(&mut page);
    store.read(PageIndex::ZERO, &mut buf).expect("half");
    assert_eq!(buf.filled(), 2048);
}

#[test]
fn calls_that_cannot_fail_are_counted_and_refuse_a_plan() {
    let store = store();
    for call in [Call::WriteEnd, Call::TruncateBlocks, Call::SetSize] {
        let refused = store.plan(call, When::Nth(1), Answer::Fail(Errno::Io));
        assert_eq!(refused, Err(Errno::Invalid));
    }
    for call in [Call::Writeback, Call::Sync] {
        assert_eq!(store.plan(call, When::Nth(1), Answer::Short), Err(Errno::Invalid));
    }
    store.write_end(0, 1, 1);
    store.truncate_blocks(0);
    store.set_size(0);
    assert_eq!(
        [Call::WriteEnd, Call::TruncateBlocks, Call::SetSize].map(|call| store.count(call)),
        [1, 1, 1]
    );
}

#[test]
fn a_write_ends_at_the_page_that_gets_no_room() {
    for full_pages in 0..3 {
        let budget = PageBudget::new(full_pages);
        let store: FaultyStore<_> = FaultyStore::new(RamStore::within(Box::leak(Box::new(budget))));
        let rig = Rig::new(store, 0, 64);
        let landed = rig.write(0, &[1; 3 * 4096]);
        let pages = full_pages as usize;
        assert_eq!(landed, if pages == 0 { Err(Errno::NoSpace) } else { Ok(pages * 4096) });
        assert_eq!(rig.file().size(), full_pages * 4096);
    }
}

#[test]
fn a_write_that_fails_before_its_first_byte_changes_nothing() {
    let rig = Rig::new(store(), 0, 64);
    rig.store.plan(Call::WriteBegin, When::Nth(1), Answer::Fail(Errno::Io)).expect("can fail");
    assert_eq!((rig.write(0, &[1; 9000]), rig.file().size()), (Err(Errno::Io), 0));
    assert_eq!(rig.write(0, &[1; 9000]), Ok(9000));
}

#[test]
fn a_failed_writeback_is_told_by_one_sync_and_sent_again_by_the_next() {
    let rig = Rig::new(store(), 0, 64);
    rig.write(0, &[1; 10]).expect("room");
    rig.store.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("can fail");
    assert_eq!([rig.fsync(), rig.fsync()], [Err(Errno::Io), Ok(())]);
    assert_eq!(rig.store.count(Call::Writeback), 2);
}

#[test]
fn a_short_read_is_an_error_of_the_reader_and_not_zeros() {
    let rig = Rig::new(store(), 4096, 64);
    rig.store.plan(Call::Read, When::Nth(1), Answer::Short).expect("can be short");
    assert_eq!(rig.read(0, 10), Err(Errno::Io));
    assert_eq!(rig.read(0, 3).as_deref(), Ok([0; 3].as_slice()));
}

#[test]
fn an_inode_writes_on_after_short_grants() {
    let rig = Rig::new(store(), 0, 64);
    rig.store.plan(Call::WriteBegin, When::EveryNth(1), Answer::Short).expect("can be short");
    assert_eq!(rig.write(100, &[7; 5000]), Ok(5000));
    assert!(rig.store.count(Call::WriteBegin) > 10);
    assert_eq!(rig.read(100, 6000).as_deref(), Ok([7; 5000].as_slice()));
}
