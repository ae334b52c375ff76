//! Pages that come into being by a write: their bytes are moved once, and what happens between the
//! filling of their frames and their lock is not overlooked.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::{Errno, Strategy, Trace};
use faultless_parts::{Answer, Call, When};
use faultless_usercopy::IovIter;

use super::kernel::{self, Patient, Tester};
use super::rig::{token, write_elsewhere};
use super::store::{BLOCK, Event};
use super::{PAGE, Rig, both, bytes, overlay};
use crate::ranges::ByteRange;
use crate::{Task, WriteOptions};

/// What a write has copied and zeroed, in order.
fn moved() -> std::vec::Vec<Trace> {
    let is_moved = |event: &Trace| {
        matches!(event, Trace::Copied(_) | Trace::Bounced(_) | Trace::Zeroed(_) | Trace::ShortCopy)
    };
    kernel::take_seen(is_moved)
}

#[test]
fn w2_the_bytes_of_new_pages_are_copied_once_and_only_what_stays_is_zeroed() {
    for (len, zeroed) in [(PAGE, 0), (2 * PAGE, 0), (5, PAGE - 5), (PAGE + 7, PAGE - 7)] {
        both(|rig| {
            kernel::take_seen(|_| false);
            let new = bytes(1, len);
            assert_eq!(rig.write(0, &new), Ok(len));
            let expected = match zeroed {
                0 => std::vec![Trace::Copied(len)],
                zeroed => std::vec![Trace::Copied(len), Trace::Zeroed(zeroed)],
            };
            assert_eq!(moved(), expected, "{len} bytes");
            rig.assert_keeps(&new);
        });
    }
}

#[test]
fn frames_of_new_pages_are_asked_for_as_those_that_the_cpu_fills() {
    for len in [1, PAGE, 3 * PAGE] {
        both(|rig| {
            assert_eq!(rig.write(0, &bytes(1, len)), Ok(len));
            assert_eq!(rig.cache.frames().hot.load(Relaxed), 1, "{len} bytes");
        });
    }
}

#[test]
fn w6_a_source_that_is_not_there_is_faulted_in_after_one_copy_that_came_short() {
    for size in [0, 3 * PAGE as u64] {
        both(|rig| {
            assert_eq!(rig.set_size(size), Ok(()));
            let source = rig.user.put(0, b"new");
            rig.user.ends_at(0);
            for options in [WriteOptions::at(size), WriteOptions::append()] {
                kernel::take_seen(|_| false);
                let (written, _) = rig.write_from(&[source], &options);
                assert_eq!(written, Err(Errno::Fault), "{options:?}");
                // Nothing is zeroed for bytes that do not come.
                assert_eq!(moved(), [Trace::Copied(0), Trace::ShortCopy], "{options:?}");
            }
        });
    }
}

#[test]
fn w2_a_new_page_of_an_old_hole_has_zeros_around_its_bytes() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
    assert_eq!(rig.write(PAGE as u64 + 9, b"new"), Ok(3));
    let mut expected = std::vec![0; 3 * PAGE];
    expected[PAGE + 9..PAGE + 12].copy_from_slice(b"new");
    rig.assert_keeps(&expected);
}

#[test]
fn p6_a_page_that_is_cut_off_before_its_lock_is_had_comes_in_past_the_end() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        rig.fill_cold(&old);
        // The leaf is there, and the page is not.
        assert_eq!(rig.read(0, 1).map(|read| read.len()), Ok(1));
        let file = rig.file().clone();
        kernel::at_next_allocation(move || {
            assert_eq!(file.set_size(&mut token(), PAGE as u64 + 5, &Tester::new()), Ok(()));
        });
        let new = bytes(2, PAGE);
        assert_eq!(rig.write(2 * PAGE as u64, &new), Ok(PAGE));
        rig.assert_keeps(&overlay(&old[..PAGE + 5], 2 * PAGE, &new));
    });
}

#[test]
fn p6_a_page_that_another_writer_has_put_in_meanwhile_is_overwritten() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        rig.fill_cold(&old);
        assert_eq!(rig.read(0, 1).map(|read| read.len()), Ok(1));
        let file = rig.file().clone();
        kernel::at_next_allocation(move || write_elsewhere(&file, PAGE as u64, &bytes(3, PAGE)));
        let new = bytes(2, PAGE);
        assert_eq!(rig.write(PAGE as u64, &new), Ok(PAGE));
        rig.assert_keeps(&overlay(&old, PAGE, &new));
    });
}

#[test]
fn w2_a_new_page_is_not_put_in_where_another_writer_has_a_claim() {
    leaves_a_claim_alone(PAGE);
}

#[test]
fn w2_new_pages_are_not_put_in_where_another_writer_has_a_claim() {
    leaves_a_claim_alone(2 * PAGE);
}

/// Writes `len` bytes at the end of the file, inside another writer's claim.
fn leaves_a_claim_alone(len: usize) {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    let file = rig.file().clone();
    let entry = pin!(file.ranges.request());
    let range = ByteRange { start: PAGE as u64, end: 3 * PAGE as u64 };
    let claim = Cell::new(Some(file.ranges.get_ahead(entry.as_ref(), &Patient, range)));
    // It would wait for the claim, but is to die.
    let slice = rig.user.put(0, &bytes(2, len));
    let mut from = IovIter::from_slice(&rig.user, &slice);
    let task = Tester::new();
    task.looks.set(3);
    let options = WriteOptions::at(PAGE as u64);
    let written = rig.file().write(&mut token(), &mut from, &options, &task);
    assert_eq!(written.map(|written| written.bytes), Err(Errno::Interrupted));
    claim.set(None);
    rig.assert_keeps(&old);
}

/// A task that is asked to throttle between two steps of a write, where `0` looks.
struct Between<F>(F);

impl<F: Fn()> Task for Between<F> {
    fn throttle(&self) {
        (self.0)();
    }
}

#[test]
fn w2_the_rest_is_claimed_before_the_first_of_new_pages_is_unlocked() {
    let rig = Rig::new();
    rig.store.faults.plan(Call::WriteBegin, When::Nth(2), Answer::Fail(Errno::Io)).expect("a plan");
    let claimed = Cell::new(None);
    let task = Between(|| {
        if claimed.get().is_none() {
            assert_eq!(rig.file().size(), PAGE as u64, "the first page has landed");
            claimed.set(Some(!rig.file().ranges.are_free()));
        }
    });
    let new = bytes(2, 2 * PAGE);
    let slice = rig.user.put(0, &new);
    let mut from = IovIter::from_slice(&rig.user, &slice);
    let written = rig.file().write(&mut token(), &mut from, &WriteOptions::at(0), &task);
    assert_eq!(written.map(|written| written.bytes), Ok(2 * PAGE));
    assert_eq!(claimed.get(), Some(true));
    rig.store.faults.clear();
    rig.assert_keeps(&new);
}

#[test]
fn p2_a_new_page_does_not_come_in_before_an_earlier_cut_is_complete() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        rig.fill(&old);
        rig.cut_and_kill(PAGE as u64, 2);
        assert!(rig.file().size_changes.is_cut_incomplete());
        // The old pages are still there, and this one is behind them.
        let new = bytes(2, PAGE);
        assert_eq!(rig.write(3 * PAGE as u64, &new), Ok(PAGE));
        rig.assert_keeps(&overlay(&old[..PAGE], 3 * PAGE, &new));
    });
}

#[test]
fn w9_room_for_a_part_of_a_new_page_is_given_back_before_it_is_asked_for_again() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    rig.store.faults.plan(Call::WriteBegin, When::Nth(1), Answer::Short).expect("a plan");
    let new = bytes(2, PAGE);
    assert_eq!(rig.write(PAGE as u64, &new), Ok(PAGE));
    let page = PAGE as u64;
    let asked = rig.store.take_events();
    let expected = [
        Event::Begin(page, PAGE / 2),
        Event::End(page, PAGE / 2, 0),
        Event::TruncateBlocks(page),
        Event::Begin(page, PAGE),
        Event::End(page, PAGE, PAGE),
    ];
    assert_eq!(asked, expected);
    rig.store.faults.clear();
    rig.assert_keeps(&overlay(&old, PAGE, &new));
}

#[test]
fn w9_a_store_that_refuses_a_new_page_is_not_asked_twice() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    rig.store.faults.plan(Call::WriteBegin, When::Nth(1), Answer::Fail(Errno::Io)).expect("a plan");
    assert_eq!(rig.write(PAGE as u64, &bytes(2, PAGE)), Err(Errno::Io));
    assert_eq!(rig.frames(), rig.cached(), "a frame for each cached page");
    rig.store.faults.clear();
    rig.assert_keeps(&old);
}

#[test]
fn p5_a_store_is_asked_once_for_a_new_page_and_told_once() {
    both(|rig| {
        assert_eq!(rig.write(0, &bytes(1, PAGE)), Ok(PAGE));
        let begun = |event: &Event| matches!(event, Event::Begin(..) | Event::End(..));
        let asked: std::vec::Vec<Event> =
            rig.store.take_events().into_iter().filter(begun).collect();
        assert_eq!(asked, [Event::Begin(0, PAGE), Event::End(0, PAGE, PAGE)]);
    });
}

/// A rig whose store makes room for up to `pages` new pages at once.
fn at_once(pages: u32) -> Rig {
    let rig = Rig::new();
    rig.store.at_once.store(pages, Relaxed);
    rig
}

#[test]
fn p5_room_for_new_pages_is_asked_for_as_often_as_the_store_likes_and_ended_as_often() {
    let page = PAGE as u64;
    for (pages, expected) in [
        (1, std::vec![(0, PAGE), (page, PAGE), (2 * page, PAGE), (3 * page, 7)]),
        (3, std::vec![(0, 3 * PAGE), (3 * page, 7)]),
        (64, std::vec![(0, 3 * PAGE + 7)]),
    ] {
        let rig = at_once(pages);
        let new = bytes(1, 3 * PAGE + 7);
        assert_eq!(rig.write(0, &new), Ok(new.len()));
        let begun = |(pos, len): &(u64, usize)| Event::Begin(*pos, *len);
        let ended = |(pos, len): &(u64, usize)| Event::End(*pos, *len, *len);
        let calls: std::vec::Vec<Event> =
            expected.iter().map(begun).chain(expected.iter().map(ended)).collect();
        assert_eq!(rig.store.take_events(), calls, "{pages} pages at once");
        rig.assert_keeps(&new);
    }
}

#[test]
fn w9_new_pages_land_as_far_as_there_is_room_in_the_midst_of_a_run() {
    // A page has four blocks.
    for blocks in 1..12 {
        let rig = Rig::with_room(Strategy::BeginEnd, blocks);
        rig.store.at_once.store(64, Relaxed);
        let new = bytes(1, 3 * PAGE);
        let fits = blocks * BLOCK;
        assert_eq!(rig.write(0, &new), Ok(fits));
        assert_eq!(rig.file().size(), fits as u64);
        rig.assert_keeps(&new[..fits]);
        // What did not fit is not there when the file grows.
        assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
        rig.assert_holds(&[&new[..fits], &std::vec![0; 3 * PAGE - fits]].concat());
    }
}

#[test]
fn w2_what_the_store_holds_around_the_bytes_of_new_pages_is_read() {
    for at_once_pages in [1, 2, 64] {
        let rig = at_once(at_once_pages);
        let old = bytes(1, 4 * PAGE);
        rig.fill_cold(&old);
        // The leaf is there, and these pages are not.
        assert_eq!(rig.read(0, 1).map(|read| read.len()), Ok(1));
        let new = bytes(2, 2 * PAGE + 3);
        assert_eq!(rig.write(PAGE as u64, &new), Ok(new.len()));
        rig.assert_keeps(&overlay(&old, PAGE, &new));
    }
}
