//! Changes of the size: what leaves the cache and the store, and what the file holds when it grows
//! again.
#![forbid(unsafe_code)]

use std::vec::Vec;

use faultless_page::{Errno, LockId, Strategy, Unmap};
use faultless_parts::{Answer, Call, When};

use super::kernel::{self, RmapCall, Tester};
use super::rig::{token, write_elsewhere};
use super::store::{BLOCK, Event, Lie};
use super::{PAGE, Rig, bytes, overlay};

#[test]
fn p2_bytes_past_the_end_are_zero_after_growth() {
    for size in [0, 1, 1000, PAGE - 1, PAGE, PAGE + 1] {
        for cold in [Cold::Yes, Cold::No] {
            let rig = Rig::new();
            let old = bytes(1, 3 * PAGE);
            rig.fill(&old);
            if cold == Cold::Yes {
                rig.chill();
            }
            assert_eq!(rig.set_size(size as u64), Ok(()));
            assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
            let mut expected = old[..size].to_vec();
            expected.resize(3 * PAGE, 0);
            rig.assert_keeps(&expected);
        }
    }
}

/// Whether the cache is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cold {
    Yes,
    No,
}

#[test]
#[should_panic(expected = "byte 1000 of the file")]
fn p2_twin_a_store_that_does_not_forget_is_seen() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 3 * PAGE));
    rig.store.lies(Lie::Trimmed);
    assert_eq!(rig.set_size(1000), Ok(()));
    assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
    rig.assert_holds(&overlay(&bytes(1, 1000), 3 * PAGE - 1, &[0]));
}

#[test]
fn p2_growth_by_a_write_exposes_zeros_as_well() {
    super::both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill(&old);
        assert_eq!(rig.set_size(700), Ok(()));
        assert_eq!(rig.write(PAGE as u64 + 5, b"new"), Ok(3));
        rig.assert_keeps(&overlay(&old[..700], PAGE + 5, b"new"));
    });
}

#[test]
fn w9_truncation_gives_blocks_and_frames_back() {
    let rig = Rig::new();
    let free = rig.store.inner().map().free();
    rig.fill(&bytes(1, 3 * PAGE));
    for (size, blocks) in [(2 * PAGE + 1, 9), (2 * PAGE, 8), (BLOCK + 1, 2), (0, 0)] {
        assert_eq!(rig.set_size(size as u64), Ok(()));
        assert_eq!(free - rig.store.inner().map().free(), blocks, "at {size}");
        let pages = size.div_ceil(PAGE) as u64;
        assert_eq!((rig.cached(), rig.frames()), (pages, pages), "at {size}");
    }
}

#[test]
fn f3_the_store_gives_blocks_back_before_it_is_told_the_size() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    assert_eq!(rig.set_size(1000), Ok(()));
    assert_eq!(rig.store.take_events(), [Event::TruncateBlocks(1000), Event::Size(1000)]);
    assert_eq!(rig.set_size(9000), Ok(()));
    assert_eq!(rig.store.take_events(), [Event::Size(9000)]);
    assert_eq!(rig.store.inner().map().size(), 9000);
}

#[test]
fn p6_user_mappings_of_the_pages_that_go_are_removed_before_and_after() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    rig.maps.take();
    assert_eq!(rig.set_size(PAGE as u64 + 1), Ok(()));
    let asked = rig.maps.take();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (first, end, how) in asked {
        assert_eq!((first, how), (2, RmapCall::Unmap(Unmap::Truncate)));
        assert!(end > 1 << 50, "to the end of all files");
    }
}

#[test]
fn f5_dirty_pages_that_are_cut_off_are_not_sent() {
    let rig = Rig::new();
    assert_eq!(rig.write(0, &bytes(1, 3 * PAGE)), Ok(3 * PAGE));
    assert_eq!(rig.set_size(PAGE as u64 + 10), Ok(()));
    rig.store.take_events();
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.store.take_events(), [Event::Writeback(0, 2, PAGE + 10)]);
    rig.assert_keeps(&bytes(1, 3 * PAGE)[..PAGE + 10]);
}

#[test]
fn w12_the_same_size_changes_nothing_but_the_times() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    rig.task.now.set(9);
    assert_eq!(rig.set_size(1000), Ok(()));
    assert_eq!(rig.file().times().modified, 9);
    rig.assert_keeps(&bytes(1, 1000));
}

#[test]
fn w8_growth_stops_at_the_limits_and_shrinking_does_not() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    assert_eq!(rig.set_size(1024 * 1024 + 1), Err(Errno::FileTooBig));
    assert_eq!(rig.task.signals.get(), 0);
    rig.task.limit.set(500);
    assert_eq!(rig.set_size(1001), Err(Errno::FileTooBig));
    assert_eq!((rig.file().size(), rig.task.signals.get()), (1000, 1));
    assert_eq!(rig.set_size(900), Ok(()), "above the limit, and smaller than it was");
    assert_eq!(rig.set_size(500), Ok(()));
    rig.task.limit.set(u64::MAX);
    rig.assert_keeps(&bytes(1, 500));
}

/// A file of 1000 bytes whose truncation is incomplete: its task was killed while it waited for the
/// writeback of the third page. What the file held before.
fn cut_and_killed() -> (Rig, std::vec::Vec<u8>) {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    rig.cut_and_kill(1000, 2);
    assert!(rig.cached() > 1, "pages past the end are left");
    rig.store.take_events();
    (rig, old)
}

#[test]
fn l3_what_a_killed_truncation_left_is_gone_before_a_write_grows_the_file() {
    let (rig, old) = cut_and_killed();
    assert_eq!(rig.read(0, 2 * PAGE).as_deref(), Ok(&old[..1000]));
    assert_eq!(rig.write(2 * PAGE as u64 + 100, b"new"), Ok(3));
    assert_eq!(rig.store.take_events()[0], Event::TruncateBlocks(1000));
    rig.assert_keeps(&overlay(&old[..1000], 2 * PAGE + 100, b"new"));
}

#[test]
fn l3_what_a_killed_truncation_left_is_gone_before_the_size_moves_up() {
    let (rig, old) = cut_and_killed();
    assert_eq!(rig.set_size(3 * PAGE as u64), Ok(()));
    assert_eq!(rig.cached(), 1);
    rig.assert_keeps(&overlay(&old[..1000], 3 * PAGE - 1, &[0]));
}

#[test]
fn l3_a_growing_write_whose_task_is_to_die_leaves_the_rest_to_the_next() {
    let (rig, old) = cut_and_killed();
    rig.task.looks.set(0);
    assert_eq!(rig.write(2 * PAGE as u64, b"new"), Err(Errno::Interrupted));
    rig.task.looks.set(u64::MAX);
    assert_eq!(rig.set_size(2000), Ok(()));
    rig.assert_keeps(&overlay(&old[..1000], 1999, &[0]));
}

#[test]
fn p8_growth_without_memory_for_a_node_changes_nothing() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(100), Ok(()), "a file without a page");
    rig.grant(0);
    assert_eq!(rig.set_size(200), Err(Errno::NoMemory));
    assert_eq!(rig.file().size(), 100);
    rig.grant(u64::MAX);
    assert_eq!(rig.set_size(200), Ok(()));
    rig.assert_keeps(&[0; 200]);
}

#[test]
fn p3_blocks_are_given_back_with_i_and_without_a_page_lock() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    rig.store.at_next(Call::TruncateBlocks, || {
        kernel::no_page_is_locked("giving blocks back");
        assert!(kernel::held().iter().any(|lock| matches!(lock, LockId::Inode(_))));
    });
    assert_eq!(rig.set_size(1), Ok(()));
    assert_eq!(kernel::held(), []);
}

#[test]
fn w9_a_page_whose_blocks_went_asks_for_them_again() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    assert_eq!(rig.set_size(100), Ok(()));
    rig.store.take_events();
    // The page was reserved as a whole; its last three blocks are gone.
    assert_eq!(rig.write(100, &bytes(2, PAGE - 100)), Ok(PAGE - 100));
    let begins = [Event::Begin(100, PAGE - 100), Event::End(100, PAGE - 100, PAGE - 100)];
    assert_eq!(rig.store.take_events(), begins);
    rig.assert_keeps(&overlay(&bytes(1, 100), 100, &bytes(2, PAGE - 100)));
}

#[test]
fn w2_an_overwrite_that_is_cut_off_while_it_faults_in_writes_past_the_new_end() {
    // Strategy A faults in first: then nothing is held, not even the range.
    let rig = Rig::with(Strategy::PrepareCommit);
    let old = bytes(1, PAGE);
    rig.fill(&old);
    let source = rig.user.put(0, &bytes(2, 50));
    let file = rig.file().clone();
    rig.user.at_next_fault(move || {
        assert_eq!(file.set_size(&mut token(), 0, &Tester::new()), Ok(()));
        write_elsewhere(&file, 0, b"other");
    });
    let options = crate::WriteOptions::at(100);
    let (written, _) = rig.write_from(&[source], &options);
    assert_eq!(written.map(|written| written.bytes), Ok(50));
    rig.assert_keeps(&overlay(b"other", 100, &bytes(2, 50)));
}

#[test]
fn f5_a_size_that_the_store_refuses_changes_nothing_and_can_be_asked_for_again() {
    for size in [0, 1000, 2 * PAGE, 3 * PAGE + 1, 9 * PAGE] {
        let rig = Rig::new();
        rig.fill(&bytes(1, 3 * PAGE));
        let new = bytes(2, 3 * PAGE);
        assert_eq!(rig.write(0, &new), Ok(new.len()), "dirty pages on both sides");
        rig.store.take_events();
        rig.task.now.set(9);
        let refuse = Answer::Fail(Errno::ReadOnly);
        rig.store.faults.plan(Call::PrepareSize, When::Nth(1), refuse).expect("");
        let times = rig.file().times();
        assert_eq!(rig.set_size(size as u64), Err(Errno::ReadOnly), "to {size}");
        assert_eq!((kernel::held(), rig.cached(), rig.file().times()), (Vec::new(), 3, times));
        assert_eq!(rig.store.take_events(), [], "the store was only asked");
        rig.assert_holds(&new);
        assert_eq!(rig.set_size(size as u64), Ok(()), "once more");
        let mut cut = new;
        cut.resize(size, 0);
        rig.assert_keeps(&cut);
    }
}

#[test]
fn p3_the_store_is_asked_for_a_size_with_i_and_without_a_page_lock() {
    for size in [PAGE as u64, 9000] {
        let rig = Rig::new();
        rig.fill(&bytes(1, 2 * PAGE));
        let file = rig.file().clone();
        rig.store.at_next(Call::PrepareSize, move || {
            kernel::no_page_is_locked("a size to be prepared");
            assert!(kernel::held().iter().any(|lock| matches!(lock, LockId::Inode(_))));
            assert_eq!(file.size(), 2 * PAGE as u64, "not before it agrees");
        });
        assert_eq!(rig.set_size(size), Ok(()));
    }
}
