//! Growing writes: the size, what lies in the gap, and what a full store leaves behind.
#![forbid(unsafe_code)]

use faultless_page::{Errno, LockId, Strategy, SyncKind};
use faultless_parts::{Answer, Call, PageBudget, RamStore, When};

use super::kernel;
use super::store::{Event, Lie};
use super::{PAGE, Rig, both, bytes, overlay};
use crate::WriteOptions;

#[test]
fn w3_the_size_becomes_the_end_of_what_landed() {
    both(|rig| {
        rig.fill_cold(&bytes(1, 1000));
        assert_eq!(rig.write(990, &bytes(2, 20)), Ok(20));
        assert_eq!(rig.file().size(), 1010);
        assert_eq!(rig.write(PAGE as u64 - 1, b"xy"), Ok(2));
        assert_eq!(rig.file().size(), PAGE as u64 + 1);
        let expected = overlay(&overlay(&bytes(1, 1000), 990, &bytes(2, 20)), PAGE - 1, b"xy");
        rig.assert_keeps(&expected);
    });
}

#[test]
fn s2_a_short_append_grows_the_size_by_what_landed() {
    for readable in [1, 700, PAGE, 2 * PAGE - 1] {
        both(|rig| {
            let old = bytes(1, 500);
            rig.fill_cold(&old);
            let new = bytes(2, 3 * PAGE);
            let source = rig.user.put(0, &new);
            rig.user.ends_at(readable);
            let (written, left) = rig.write_from(&[source], &WriteOptions::append());
            let written = written.expect("a prefix");
            assert_eq!((written.bytes, written.end), (readable, 500 + readable as u64));
            assert_eq!(left, 3 * PAGE - readable);
            rig.assert_keeps(&overlay(&old, 500, &new[..readable]));
        });
    }
}

#[test]
fn w8_an_append_goes_to_the_end_wherever_that_is() {
    both(|rig| {
        let mut expected = std::vec::Vec::new();
        for (seed, len) in [10, PAGE, 1, 2 * PAGE + 5].into_iter().enumerate() {
            let new = bytes(seed, len);
            let source = rig.user.put(0, &new);
            let (written, _) = rig.write_from(&[source], &WriteOptions::append());
            expected.extend_from_slice(&new);
            let written = written.expect("room");
            assert_eq!((written.bytes, written.end), (len, expected.len() as u64));
        }
        rig.assert_keeps(&expected);
    });
}

#[test]
fn w2_a_gap_that_comes_to_lie_inside_the_file_reads_as_zeros() {
    for pos in [1001, PAGE, PAGE + 1, 3 * PAGE + 9, 70 * PAGE - 1] {
        both(|rig| {
            let old = bytes(1, 1000);
            rig.fill_cold(&old);
            assert_eq!(rig.write(pos as u64, b"new"), Ok(3));
            rig.assert_keeps(&overlay(&old, pos, b"new"));
        });
    }
}

#[test]
fn w9_a_full_store_takes_what_fits() {
    // Blocks of a quarter of a page; the file begins in the middle of one.
    for room in 1..8 {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let rig = Rig::with_room(strategy, room);
            let old = bytes(1, 300);
            rig.fill(&old);
            let new = bytes(2, 2 * PAGE);
            let source = rig.user.put(0, &new);
            let fits = room * 1024 - 300;
            let (written, left) = rig.write_from(&[source], &WriteOptions::append());
            assert_eq!(written.map(|written| written.bytes), Ok(fits.min(new.len())), "{room}");
            assert_eq!(left, new.len() - fits.min(new.len()));
            let expected = overlay(&old, 300, &new[..fits]);
            assert_eq!(rig.write(expected.len() as u64, b"x"), Err(Errno::NoSpace));
            rig.assert_keeps(&expected);
        }
    }
}

#[test]
fn w9_room_that_nothing_landed_in_is_given_back() {
    both(|rig| {
        rig.fill(&bytes(1, 100));
        let free = rig.store.inner().map().free();
        let source = rig.user.put(0, &bytes(2, 3 * PAGE));
        // The store is asked for whole pages before the source is found to end.
        rig.user.atomic.set(50);
        rig.user.ends_at(60);
        let (written, _) = rig.write_from(&[source], &WriteOptions::append());
        assert_eq!(written.map(|written| written.bytes), Ok(60));
        assert_eq!(rig.store.inner().map().free(), free, "the block that the file had");
        assert_eq!(rig.frames(), rig.cached());
        rig.assert_keeps(&overlay(&bytes(1, 100), 100, &bytes(2, 60)));
    });
}

#[test]
#[should_panic(expected = "the block that the file had")]
fn w9_twin_a_store_that_keeps_room_is_seen() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100));
    rig.store.lies(Lie::Trimmed);
    let free = rig.store.inner().map().free();
    let source = rig.user.put(0, &bytes(2, 3 * PAGE));
    rig.user.ends_at(60);
    let (written, _) = rig.write_from(&[source], &WriteOptions::append());
    assert_eq!(written.map(|written| written.bytes), Ok(60));
    assert_eq!(rig.store.inner().map().free(), free, "the block that the file had");
}

#[test]
fn p5_every_begin_has_its_end_with_what_landed() {
    let rig = Rig::new();
    let source = rig.user.put(0, &bytes(2, 2 * PAGE));
    rig.user.ends_at(PAGE + 10);
    let (written, _) = rig.write_from(&[source], &WriteOptions::at(0));
    assert_eq!(written.map(|written| written.bytes), Ok(PAGE + 10));
    let page = PAGE as u64;
    let wanted = |event: &Event| {
        matches!(event, Event::Begin(..) | Event::End(..) | Event::TruncateBlocks(_))
    };
    let asked: std::vec::Vec<Event> = rig.store.take_events().into_iter().filter(wanted).collect();
    let expected = [
        Event::Begin(0, PAGE),
        // What has come is known before the store is asked.
        Event::Begin(page, 10),
        Event::End(0, PAGE, PAGE),
        Event::End(page, 10, 10),
        // Once more, before the source is faulted in and found to end.
        Event::Begin(page + 10, PAGE - 10),
        Event::End(page + 10, PAGE - 10, 0),
        Event::TruncateBlocks(page + 10),
    ];
    assert_eq!(asked, expected);
    rig.assert_keeps(&bytes(2, 2 * PAGE)[..PAGE + 10]);
}

#[test]
fn w9_one_failing_call_ends_a_write_only_if_its_round_lands_nothing() {
    for (errno, nth) in [(Errno::Io, 1), (Errno::Io, 2), (Errno::NoSpace, 3), (Errno::Io, 4)] {
        both(|rig| {
            let old = bytes(1, 100);
            rig.fill(&old);
            let new = bytes(2, 3 * PAGE);
            rig.store.faults.plan(Call::WriteBegin, When::Nth(nth), Answer::Fail(errno)).expect("");
            let written = rig.write(100, &new);
            let before = (nth as usize * PAGE).saturating_sub(PAGE + 100);
            let landed = match (nth, rig.store.strategy) {
                (1, _) => 0,
                // The pages before it land, and the store is asked again.
                (_, Strategy::BeginEnd) => new.len(),
                // One page a round.
                (_, Strategy::PrepareCommit) => before,
            };
            assert_eq!(written, if nth == 1 { Err(errno) } else { Ok(landed) }, "call {nth}");
            assert_eq!(rig.frames(), rig.cached(), "a frame for each cached page");
            rig.store.faults.clear();
            rig.assert_keeps(&overlay(&old, 100, &new[..landed]));
        });
    }
}

#[test]
fn w9_a_store_with_half_of_the_room_each_time_gets_all_bytes() {
    both(|rig| {
        rig.store.faults.plan(Call::WriteBegin, When::EveryNth(1), Answer::Short).expect("");
        let new = bytes(2, 2 * PAGE + 777);
        assert_eq!(rig.write(5, &new), Ok(new.len()));
        rig.store.faults.clear();
        rig.assert_keeps(&overlay(&[], 5, &new));
    });
}

#[test]
fn w9_a_budget_of_pages_is_kept_to() {
    static BUDGET: PageBudget = PageBudget::new(2);
    let store: RamStore = RamStore::within(&BUDGET);
    let rig = Rig::on(store, Strategy::BeginEnd, 16);
    let new = bytes(2, 3 * PAGE);
    assert_eq!(rig.write(100, &new), Ok(2 * PAGE - 100));
    assert_eq!(rig.write(2 * PAGE as u64, b"x"), Err(Errno::NoSpace));
    assert_eq!((BUDGET.left(), rig.cached(), rig.frames()), (0, 2, 2));
    rig.assert_holds(&overlay(&[], 100, &new[..2 * PAGE - 100]));
    assert_eq!(rig.set_size(0), Ok(()));
    assert_eq!((BUDGET.left(), rig.cached(), rig.frames()), (2, 0, 0));
}

#[test]
fn p7_a_growing_write_holds_i_and_the_page_when_the_size_moves() {
    both(|rig| {
        rig.fill(b"old");
        let file = rig.file().clone();
        // The last call of the store before the size moves: the page is locked, I is held.
        rig.store.at_next(Call::WriteEnd, move || {
            let held = kernel::held();
            assert!(held.iter().any(|lock| matches!(lock, LockId::Inode(_))), "{held:?}");
            assert!(held.iter().any(|lock| matches!(lock, LockId::Pages { .. })), "{held:?}");
            assert_eq!(file.size(), 3, "not before the bytes are in");
        });
        assert_eq!(rig.write(2 * PAGE as u64, b"new"), Ok(3));
        rig.assert_keeps(&overlay(b"old", 2 * PAGE, b"new"));
    });
}

#[test]
fn w11_a_synchronous_write_syncs_what_it_wrote_after_i_is_gone() {
    both(|rig| {
        rig.fill(b"old");
        rig.store.at_next(Call::Sync, || assert_eq!(kernel::held(), [], "no lock in a sync"));
        let source = rig.user.put(0, b"new");
        let options = WriteOptions::at(PAGE as u64).with_sync(SyncKind::Data);
        assert_eq!(rig.write_from(&[source], &options).0.map(|written| written.bytes), Ok(3));
        let size = PAGE as u64 + 3;
        let tail = [Event::Size(size), Event::Writeback(1, 1, 3), Event::Sync(SyncKind::Data)];
        assert!(rig.store.take_events().ends_with(&tail), "F3: the size first");
        rig.assert_stored(&overlay(b"old", PAGE, b"new"));
    });
}

#[test]
fn s5_a_sync_error_overrides_the_count() {
    both(|rig| {
        rig.fill(b"old");
        rig.store.faults.plan(Call::Sync, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
        let source = rig.user.put(0, b"new");
        let options = WriteOptions::append().with_sync(SyncKind::All);
        assert_eq!(rig.write_from(&[source], &options).0, Err(Errno::Io));
        assert_eq!(rig.file().size(), 6, "and the bytes are in the file");
        rig.assert_keeps(b"oldnew");
    });
}

#[test]
fn p8_a_growing_write_survives_each_refused_allocation() {
    for allocations in 0..8 {
        both(|rig| {
            let old = bytes(1, 100);
            rig.fill(&old);
            // Across the border of two leaves, so that a node has to be made as well.
            let pos = 64 * PAGE - PAGE - 7;
            let new = bytes(2, 2 * PAGE);
            rig.grant(allocations);
            let landed = rig.write(pos as u64, &new).unwrap_or_else(|errno| {
                assert_eq!(errno, Errno::NoMemory);
                0
            });
            rig.grant(u64::MAX);
            assert_eq!(rig.frames(), rig.cached(), "W9");
            let expected =
                if landed == 0 { old.clone() } else { overlay(&old, pos, &new[..landed]) };
            rig.assert_keeps(&expected);
            assert_eq!(rig.write(pos as u64, &new), Ok(new.len()));
            rig.assert_keeps(&overlay(&old, pos, &new));
        });
    }
}
