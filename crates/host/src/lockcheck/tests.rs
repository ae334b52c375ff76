//! Planted inversions, each caught from one run of each side, with no thread hanging.

use faultless_page::{PageIndex, SlotMask};

use super::*;

fn page(mapping: u64, index: u64) -> LockId {
    let index = PageIndex::new(index);
    LockId::Pages { mapping, base: index.leaf_base().get(), slots: index.bit() }
}

fn take(lock: Lock) {
    acquiring(lock);
    acquired(lock);
}

/// Runs `work` as another thread of the machine.
fn on_thread(check: &Arc<LockCheck>, name: &str, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            check.adopt();
            work();
        });
        let joined = thread.expect("a thread").join();
        if let Err(panic) = joined {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The old write path: a page of `to` locked, then an access to a mapping of `from` in space 9.
fn write_with_a_fault_inside(to: LockId, from: &[LockId]) {
    take(Lock::Core(LockId::Inode(1)));
    take(Lock::Core(to));
    may_fault(9, from);
    released(Lock::Core(to));
    released(Lock::Core(LockId::Inode(1)));
}

#[test]
fn dl1_a_page_written_from_its_own_mapping() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[page(1, 5)]));
    let report = expected.one(Kind::Recursive);
    assert!(report.text.contains("'t1' holds P(1,5)"), "{report}");
}

#[test]
fn dl2_two_pages_each_written_from_a_mapping_of_the_other() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[page(2, 0)]));
    on_thread(&check, "t2", || write_with_a_fault_inside(page(2, 0), &[page(1, 5)]));
    let report = expected.one(Kind::Abba);
    assert!(report.text.contains("'t1'") && report.text.contains("'t2'"), "{report}");
    assert!(report.dot.contains("\"P(1,5)\" -> \"P(2,0)\""), "{}", report.dot);
}

#[test]
fn dl4_a_lock_of_the_store_held_at_an_access_that_may_fault() {
    let check = LockCheck::new();
    let expected = check.expect();
    let store = Lock::Other("store", 1);
    on_thread(&check, "t1", || {
        take(store);
        write_with_a_fault_inside(page(1, 5), &[page(2, 0)]);
        released(store);
    });
    on_thread(&check, "t2", || {
        take(Lock::Core(page(2, 0)));
        take(store);
        released(store);
        released(Lock::Core(page(2, 0)));
    });
    let report = expected.one(Kind::ForeignLock);
    assert!(report.text.contains("store") && report.text.contains("'t2'"), "{report}");
}

#[test]
fn dl3_a_fault_under_a_page_against_populate_under_the_space_lock() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[]));
    on_thread(&check, "t2", || {
        take(Lock::Space(9, Mode::Write));
        take(Lock::Core(page(1, 5)));
        released(Lock::Core(page(1, 5)));
        released(Lock::Space(9, Mode::Write));
    });
    let report = expected.one(Kind::PageAgainstSpace);
    assert!(report.text.contains("'t2' holds M(9) for writing"), "{report}");
}

#[test]
fn dl3_prime_needs_no_holder_for_writing() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t2", || {
        take(Lock::Space(9, Mode::Read));
        take(Lock::Core(page(1, 5)));
        released(Lock::Core(page(1, 5)));
        released(Lock::Space(9, Mode::Read));
    });
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[]));
    let reports = expected.reports();
    let kinds: Vec<Kind> = reports.iter().map(|report| report.kind).collect();
    assert!(kinds.contains(&Kind::ReaderBehindQueuedWriter), "{reports:#?}");
    assert!(!kinds.contains(&Kind::PageAgainstSpace), "{reports:#?}");
}

#[test]
fn dl4_a_store_lock_over_the_copy_that_the_fault_handler_takes_too() {
    let check = LockCheck::new();
    let expected = check.expect();
    let store = Lock::Other("store", 1);
    on_thread(&check, "reader", || {
        take(Lock::Space(9, Mode::Read));
        take(Lock::Core(page(1, 0)));
        take(store);
        released(store);
        released(Lock::Core(page(1, 0)));
        released(Lock::Space(9, Mode::Read));
    });
    on_thread(&check, "writer", || {
        take(store);
        may_fault(9, &[page(1, 0)]);
        released(store);
    });
    let report = expected.one(Kind::ReaderBehindQueuedWriter);
    assert!(report.text.contains("holds store(1)"), "{report}");
}

fn writeback(mapping: u64, index: u64) -> Lock {
    let index = PageIndex::new(index);
    Lock::Core(LockId::Writeback { mapping, base: index.leaf_base().get(), slots: index.bit() })
}

/// A sender whose store locks a page, and a truncation that waits for the writeback with that page
/// locked.
#[test]
fn dl4_a_store_that_locks_pages_of_its_file_during_a_writeback() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "sender", || {
        acquired(writeback(1, 5));
        take(Lock::Other("store", 1));
        take(Lock::Core(page(1, 9)));
        released(Lock::Core(page(1, 9)));
        released(Lock::Other("store", 1));
        released(writeback(1, 5));
    });
    on_thread(&check, "truncation", || {
        let slots = PageIndex::new(5).bit() | PageIndex::new(9).bit();
        take(Lock::Core(LockId::Pages { mapping: 1, base: 0, slots }));
        acquiring(writeback(1, 5));
        gave_up(writeback(1, 5));
    });
    let report = expected.one(Kind::UnderWriteback);
    assert!(report.text.contains("'sender' holds W(1,5)"), "{report}");
    assert!(report.text.contains("waits for W(1,5)"), "{report}");
}

#[test]
fn a_writeback_that_waits_for_itself_is_found_and_its_neighbours_are_not() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "sender", || {
        acquired(writeback(1, 5));
        acquiring(writeback(1, 6));
        gave_up(writeback(1, 6));
        assert!(check.take_report().is_none());
        acquiring(writeback(1, 5));
        gave_up(writeback(1, 5));
        released(writeback(1, 5));
        nothing_held("at the end");
    });
    let report = expected.one(Kind::Recursive);
    assert!(report.text.contains("holds W(1,5) and waits for W(1,5)"), "{report}");
}

#[test]
fn a_writeback_may_end_on_another_thread() {
    let check = LockCheck::new();
    check.adopt();
    acquired(writeback(1, 5));
    on_thread(&check, "completion", || released(writeback(1, 5)));
    nothing_held("after the completion");
    assert!(check.take_report().is_none());
}

#[test]
fn an_access_that_may_fault_under_any_page_lock_is_a_violation_alone() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[]));
    let _ = expected.one(Kind::FaultUnderLock);
    let expected = check.expect();
    on_thread(&check, "t1", || {
        take(Lock::Core(page(1, 1)));
        may_fault_somewhere();
        may_sleep("a frame is allocated");
        released(Lock::Core(page(1, 1)));
    });
    let kinds: Vec<Kind> = expected.reports().iter().map(|report| report.kind).collect();
    assert_eq!(kinds, [Kind::FaultUnderLock, Kind::SleepUnderPageLock]);
}

#[test]
fn locks_against_the_order_and_pages_out_of_order_are_found() {
    let wrong: [[Lock; 2]; 8] = [
        [Lock::Core(page(1, 0)), Lock::Core(LockId::Shift(1))],
        [Lock::Core(LockId::Shift(1)), Lock::Space(9, Mode::Read)],
        [Lock::Core(page(1, 0)), Lock::Core(LockId::Inode(1))],
        [Lock::Space(9, Mode::Read), Lock::Core(LockId::Inode(1))],
        [Lock::Core(page(1, 7)), Lock::Core(page(1, 3))],
        [Lock::Core(page(1, 3)), Lock::Core(page(1, 7))],
        [Lock::Core(page(1, 0)), Lock::Core(page(2, 0))],
        [Lock::Core(LockId::Range(1, 4096)), Lock::Core(LockId::Range(1, 0))],
    ];
    for [first, second] in wrong {
        let check = LockCheck::new();
        let expected = check.expect();
        on_thread(&check, "t", || {
            take(first);
            take(second);
            nothing_held("here");
        });
        let reports = expected.reports();
        assert_eq!(reports[0].kind, Kind::Order, "{first:?}, {second:?}: {reports:?}");
        assert_eq!(reports.last().map(|report| report.kind), Some(Kind::Leaked));
    }
}

#[test]
fn the_cure_is_clean() {
    let check = LockCheck::new();
    for (thread, to, from) in [("t1", 1, 2), ("t2", 2, 1)] {
        on_thread(&check, thread, || {
            take(Lock::Core(LockId::Inode(to)));
            take(Lock::Core(LockId::Range(to, 0)));
            for _ in 0..3 {
                may_fault(9, &[page(from, 0), page(to, 0)]);
                take(Lock::Core(page(to, 0)));
                take(Lock::Core(page(to, 64)));
                released(Lock::Core(page(to, 0)));
                released(Lock::Core(page(to, 64)));
            }
            released(Lock::Core(LockId::Range(to, 0)));
            released(Lock::Core(LockId::Inode(to)));
            nothing_held("at the end");
        });
    }
    assert!(check.take_report().is_none());
    assert!(check.dot().contains("M(9)"));
}

#[test]
fn a_read_lock_taken_twice_waits_behind_a_queued_writer() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t", || {
        take(Lock::Space(9, Mode::Read));
        may_fault(9, &[]);
        released(Lock::Space(9, Mode::Read));
    });
    let _ = expected.one(Kind::ReaderBehindQueuedWriter);
}

#[test]
fn whoever_gave_up_neither_waits_nor_holds() {
    let check = LockCheck::new();
    on_thread(&check, "t", || {
        acquiring(Lock::Core(page(1, 5)));
        assert!(check.describe().contains("waits for P(1,5)"), "{}", check.describe());
        gave_up(Lock::Core(page(1, 5)));
        assert!(!check.describe().contains("waits for"), "{}", check.describe());
        nothing_held("after giving up");
    });
    assert!(check.take_report().is_none());
}

#[test]
fn giving_one_lock_up_releases_no_other() {
    let check = LockCheck::new();
    on_thread(&check, "t", || {
        take(Lock::Core(page(1, 5)));
        acquiring(Lock::Core(page(1, 64)));
        gave_up(Lock::Core(page(1, 64)));
        assert!(holds_pages());
        released(Lock::Core(page(1, 5)));
        nothing_held("at the end");
    });
    assert!(check.take_report().is_none());
}

#[test]
#[should_panic(expected = "DL1")]
fn a_violation_panics_where_nobody_expects_it() {
    let check = LockCheck::new();
    on_thread(&check, "t1", || write_with_a_fault_inside(page(1, 5), &[page(1, 5)]));
}

#[test]
fn part_of_a_run_can_be_released() {
    let check = LockCheck::new();
    on_thread(&check, "t", || {
        let slots = SlotMask::from_bits;
        let run = |bits| Lock::Core(LockId::Pages { mapping: 1, base: 0, slots: slots(bits) });
        take(run(0b111));
        released(run(0b001));
        assert!(holds_pages());
        released(run(0b110));
        nothing_held("at the end");
    });
}

#[test]
fn a_graph_that_has_grown_too_large_starts_anew_and_goes_on_finding() {
    let check = LockCheck::new();
    let expected = check.expect();
    on_thread(&check, "t", || {
        for file in 0..20_000 {
            take(Lock::Core(LockId::Inode(file)));
            take(Lock::Core(page(file, 0)));
            released(Lock::Core(page(file, 0)));
            released(Lock::Core(LockId::Inode(file)));
        }
        write_with_a_fault_inside(page(1, 5), &[page(2, 0)]);
        write_with_a_fault_inside(page(2, 0), &[page(1, 5)]);
    });
    let _ = expected.one(Kind::Abba);
}

#[test]
#[should_panic(expected = "belongs to no machine and wants P(1,5)")]
fn a_thread_without_a_checker_is_a_violation() {
    acquiring(Lock::Core(page(1, 5)));
}
