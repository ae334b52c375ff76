//! Overwrites: how much lands, where, and what a source that comes short does to it.
#![forbid(unsafe_code)]

use faultless_page::Errno;

use super::store::{Event, Lie};
use super::user::READABLE;
use super::{PAGE, Rig, both, bytes, overlay};
use crate::WriteOptions;

#[test]
fn w1_a_write_ends_exactly_at_the_first_unreadable_byte() {
    for readable in [1, 2, 511, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 77, 3 * PAGE - 1] {
        for start in [0, 700] {
            both(|rig| {
                let old = bytes(1, 4 * PAGE);
                rig.fill_cold(&old);
                let new = bytes(2, 3 * PAGE);
                let source = rig.user.put(start, &new);
                rig.user.ends_at(start + readable);
                let (written, left) = rig.write_from(&[source], &WriteOptions::at(300));
                let written = written.expect("a prefix");
                assert_eq!((written.bytes, written.end), (readable, 300 + readable as u64));
                assert_eq!(left, 3 * PAGE - readable, "the iterator stands behind what landed");
                rig.assert_keeps(&overlay(&old, 300, &new[..readable]));
            });
        }
    }
}

#[test]
fn w1_an_unreadable_source_is_efault_and_changes_nothing() {
    both(|rig| {
        let old = bytes(1, 2 * PAGE + 9);
        rig.fill_cold(&old);
        let source = rig.user.put(0, &bytes(2, 3 * PAGE));
        rig.user.ends_at(0);
        for pos in [0, 100, old.len() as u64, 1 << 19] {
            let (written, left) = rig.write_from(&[source], &WriteOptions::at(pos));
            assert_eq!((written, left), (Err(Errno::Fault), 3 * PAGE), "at {pos}");
        }
        rig.assert_keeps(&old);
    });
}

#[test]
fn w1_a_write_of_nothing_has_no_effect() {
    both(|rig| {
        rig.fill(b"old");
        rig.file().mark_set_id();
        rig.task.now.set(77);
        rig.user.ends_at(0);
        let before = rig.user.faulting.get();
        assert_eq!(rig.write(1, b""), Ok(0));
        assert_eq!(rig.write(1 << 40, b""), Ok(0));
        assert!(rig.file().is_set_id(), "W12");
        assert_eq!(rig.file().times().modified, 1, "W12");
        assert_eq!((rig.store.take_events(), rig.user.faulting.get()), (std::vec![], before));
        assert_eq!(rig.task.throttled.get(), 1, "the one of the filling");
        rig.assert_keeps(b"old");
    });
}

#[test]
fn w2_every_byte_around_an_overwrite_stays() {
    for (pos, len) in [(0, 1), (PAGE - 1, 2), (1, PAGE), (PAGE, PAGE), (999, 2 * PAGE + 500)] {
        both(|rig| {
            let old = bytes(1, 3 * PAGE + 800);
            rig.fill_cold(&old);
            let new = bytes(2, len);
            assert_eq!(rig.write(pos as u64, &new), Ok(len));
            rig.assert_keeps(&overlay(&old, pos, &new));
        });
    }
}

/// What the test above says of a store that calls data a hole.
#[test]
#[should_panic(expected = "byte 0 of the file is 0x0")]
fn w2_twin_a_store_that_calls_data_a_hole_is_seen() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill_cold(&old);
    rig.store.lies(Lie::Hole);
    assert_eq!(rig.write(100, b"new"), Ok(3));
    rig.assert_keeps(&overlay(&old, 100, b"new"));
}

#[test]
fn w3_the_size_stays_inside_the_file() {
    both(|rig| {
        rig.fill(&bytes(1, 1000));
        assert_eq!(rig.write(0, &bytes(2, 1000)), Ok(1000));
        assert_eq!(rig.file().size(), 1000);
        assert_eq!(rig.write(999, b"x"), Ok(1));
        assert_eq!(rig.file().size(), 1000);
        assert!(!rig.store.take_events().iter().any(|event| matches!(event, Event::Size(_))));
    });
}

#[test]
fn w5_a_whole_page_is_not_read_before_it_is_replaced() {
    both(|rig| {
        rig.fill_cold(&bytes(1, 2 * PAGE));
        let new = bytes(2, 2 * PAGE);
        assert_eq!(rig.write(0, &new), Ok(2 * PAGE));
        let reads =
            rig.store.events().iter().filter(|event| matches!(event, Event::Read(_))).count();
        assert_eq!(reads, 0);
        rig.assert_keeps(&new);
    });
}

#[test]
fn p1_a_page_replaced_from_a_short_source_keeps_the_rest_of_its_old_bytes() {
    // The page is not read, because all of it is to be replaced; then only a part comes.
    both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill_cold(&old);
        let new = bytes(2, 2 * PAGE);
        let source = rig.user.put(0, &new);
        rig.user.ends_at(PAGE + 1000);
        let (written, _) = rig.write_from(&[source], &WriteOptions::at(0));
        assert_eq!(written.map(|written| written.bytes), Ok(PAGE + 1000));
        rig.assert_keeps(&overlay(&old, 0, &new[..PAGE + 1000]));
    });
}

#[test]
fn p1_a_page_that_accepts_nothing_does_not_become_uptodate() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill_cold(&old);
    let source = rig.user.put(0, &bytes(2, PAGE));
    rig.user.ends_at(0);
    let (written, _) = rig.write_from(&[source], &WriteOptions::at(0));
    assert_eq!(written, Err(Errno::Fault));
    assert_eq!((rig.cached_page(0), rig.cached(), rig.frames()), (None, 0, 0), "W9");
}

#[test]
fn s1_an_empty_first_segment_with_a_bad_second_one_ends() {
    both(|rig| {
        rig.fill(b"old");
        let (empty, bad) = (rig.user.slice(0, 0), rig.user.slice(PAGE, 10));
        let good = rig.user.put(0, b"ab");
        rig.user.ends_at(PAGE);
        let (written, left) = rig.write_from(&[empty, bad], &WriteOptions::at(0));
        assert_eq!((written, left), (Err(Errno::Fault), 10));
        let (written, left) = rig.write_from(&[empty, good, empty, bad], &WriteOptions::at(0));
        assert_eq!((written.map(|written| written.bytes), left), (Ok(2), 10));
        rig.assert_keeps(b"abd");
    });
}

#[test]
fn w7_segments_of_every_size_land_in_order() {
    both(|rig| {
        let old = bytes(1, 2 * PAGE);
        rig.fill_cold(&old);
        let source = bytes(2, READABLE);
        rig.user.put(0, &source);
        let cuts = [(0, 1), (9, 0), (100, PAGE), (3 * PAGE, 17), (5, 0), (1, 2000)];
        let segments = cuts.map(|(at, len)| rig.user.slice(at, len));
        let new: std::vec::Vec<u8> =
            cuts.iter().flat_map(|(at, len)| source[*at..at + len].to_vec()).collect();
        let (written, left) = rig.write_from(&segments, &WriteOptions::at(33));
        assert_eq!((written.map(|written| written.bytes), left), (Ok(new.len()), 0));
        rig.assert_keeps(&overlay(&old, 33, &new));
    });
}
