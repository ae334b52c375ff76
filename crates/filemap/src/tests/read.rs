//! Reads: what arrives, what a bad target or a bad store does to it.
#![forbid(unsafe_code)]

use faultless_page::{Errno, MAX_FILE_SIZE, Trace};
use faultless_parts::{Answer, Call, When};
use faultless_usercopy::IovIter;

use super::kernel::{self, Tester, take_seen};
use super::rig::{assert_same, token, write_elsewhere};
use super::store::Event;
use super::{PAGE, Rig, bytes, overlay};

/// Pages of user memory before the one that cannot be written.
const WRITABLE: usize = 4 * PAGE;

#[test]
fn w5_a_read_gives_the_bytes_of_the_file_and_nothing_past_its_end() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE + 100);
    rig.fill_cold(&old);
    for (pos, len) in
        [(0, 10), (PAGE - 1, 2), (100, 2 * PAGE), (2 * PAGE, PAGE), (2 * PAGE + 99, 9)]
    {
        let expected = &old[pos..old.len().min(pos + len)];
        assert_eq!(rig.read(pos as u64, len).as_deref(), Ok(expected), "{len} at {pos}");
    }
    for pos in [old.len() as u64, 1 << 40, MAX_FILE_SIZE] {
        assert_eq!(rig.read(pos, 10), Ok(std::vec![]), "at {pos}");
    }
    assert_eq!(rig.read(MAX_FILE_SIZE + 1, 10), Err(Errno::Invalid));
}

#[test]
fn w1_a_read_ends_exactly_at_the_first_byte_that_cannot_be_written() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill_cold(&old);
    for room in [1, 100, PAGE, PAGE + 1] {
        let start = WRITABLE - room;
        let target = rig.user.slice(start, room + 50);
        let before = rig.user.get(WRITABLE, 50);
        let mut to = IovIter::from_slice(&rig.user, &target);
        let got = rig.file().read(&mut token(), &mut to, 30, &rig.task);
        assert_eq!((got, to.count()), (Ok(room), 50));
        assert_same(&rig.user.get(start, room), &old[30..30 + room], "of the target");
        assert_same(&rig.user.get(WRITABLE, 50), &before, "of the read-only page");
    }
}

#[test]
fn w1_a_target_that_cannot_be_written_is_efault() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, PAGE));
    let target = rig.user.slice(WRITABLE, 20);
    let mut to = IovIter::from_slice(&rig.user, &target);
    let got = rig.file().read(&mut token(), &mut to, 0, &rig.task);
    assert_eq!((got, to.count()), (Err(Errno::Fault), 20));
    // At the end of the file there is nothing to be written.
    assert_eq!(rig.file().read(&mut token(), &mut to, PAGE as u64, &rig.task), Ok(0));
}

#[test]
fn w6_a_target_that_is_never_there_for_an_atomic_copy_is_filled() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill_cold(&old);
    rig.user.atomic.set(0);
    assert_eq!(rig.read(10, PAGE).as_deref(), Ok(&old[10..PAGE + 10]));
    let bounced = take_seen(|event| matches!(event, Trace::Bounced(_)));
    assert_eq!(bounced, [Trace::Bounced(PAGE - 10), Trace::Bounced(10)]);
    assert_eq!(rig.frames(), 2, "the temporary pages are gone");
}

#[test]
fn a_read_of_cached_pages_asks_the_store_nothing_and_locks_nothing() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let before = rig.user.faulting.get();
    assert_eq!(rig.read(0, 2 * PAGE).as_deref(), Ok(&bytes(1, 2 * PAGE)[..]));
    assert_eq!(rig.store.take_events(), []);
    assert_eq!(rig.user.faulting.get(), before);
    let locks = |event: &Trace| matches!(event, Trace::Acquiring(_));
    assert_eq!(take_seen(locks), [], "no lock was even asked for");
}

#[test]
fn a_cold_page_is_read_from_the_store_once() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 3 * PAGE));
    for _ in 0..3 {
        assert_eq!(rig.read(0, 3 * PAGE).map(|got| got.len()), Ok(3 * PAGE));
    }
    assert_eq!(rig.store.take_events(), [Event::Read(0), Event::Read(1), Event::Read(2)]);
}

#[test]
fn f8_a_short_answer_of_the_store_is_eio_and_not_zeros() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill_cold(&old);
    rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Short).expect("");
    assert_eq!(rig.read(0, 10), Err(Errno::Io), "though the first half is there");
    assert_eq!(rig.read(PAGE as u64, PAGE), Err(Errno::Io));
    assert_eq!(rig.cached_page(0), None, "P1");
    rig.store.faults.clear();
    rig.assert_keeps(&old);
}

#[test]
fn f8_a_short_answer_that_has_all_bytes_of_the_file_will_do() {
    let rig = Rig::new();
    let old = bytes(1, PAGE / 2);
    rig.fill_cold(&old);
    rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Short).expect("");
    rig.assert_holds(&old);
}

#[test]
fn w4_a_bad_page_does_not_hide_the_good_ones_before_it() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill_cold(&old);
    // The third read is that of the third page, and so is each later one.
    rig.store.faults.plan(Call::Read, When::Nth(3), Answer::Fail(Errno::Io)).expect("");
    let got = rig.read(0, 3 * PAGE);
    let again = got.as_ref().map(std::vec::Vec::len);
    assert!(matches!(again, Ok(len) if len >= 2 * PAGE), "{again:?}");
    rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    rig.chill();
    assert_eq!(rig.read(2 * PAGE as u64, 1), Err(Errno::Io));
    rig.store.faults.clear();
    rig.assert_keeps(&old);
}

#[test]
fn w2_a_hole_reads_as_zeros_and_needs_no_block() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
    let free = rig.store.inner().map().free();
    rig.assert_keeps(&std::vec![0; 3 * PAGE]);
    assert_eq!(rig.store.inner().map().free(), free);
}

#[test]
fn l2_a_read_looks_for_a_signal_in_each_round() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 2 * PAGE));
    for looks in 0..3 {
        rig.task.looks.set(looks);
        assert_eq!(rig.read(0, 2 * PAGE), Err(Errno::Interrupted), "{looks} looks");
    }
    rig.task.looks.set(u64::MAX);
    assert_eq!(rig.read(0, 2 * PAGE).map(|got| got.len()), Ok(2 * PAGE));
}

#[test]
fn p8_a_read_without_memory_is_enomem_and_loses_nothing() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill_cold(&old);
    rig.grant(0);
    assert_eq!(rig.read(0, 10), Err(Errno::NoMemory));
    rig.grant(u64::MAX);
    assert_eq!((rig.frames(), rig.cached()), (0, 0));
    rig.assert_keeps(&old);
}

#[test]
fn l2_a_read_whose_bytes_are_cut_off_while_it_faults_in_ends_at_the_new_end() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill(&old);
    rig.user.atomic.set(0);
    let file = rig.file().clone();
    rig.user.at_next_fault(move || {
        assert_eq!(file.set_size(&mut token(), 20, &Tester::new()), Ok(()));
    });
    assert_eq!(rig.read(10, PAGE).as_deref(), Ok(&old[10..20]));
    assert_eq!(kernel::held(), []);
    rig.assert_keeps(&old[..20]);
}

#[test]
fn w5_a_write_between_two_rounds_is_seen_by_the_later_one() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    rig.user.atomic.set(0);
    let file = rig.file().clone();
    rig.user.at_next_fault(move || write_elsewhere(&file, 5, b"new"));
    assert_eq!(rig.read(0, 10).as_deref(), Ok(&overlay(&old, 5, b"new")[..10]));
}
