//! Pages that an operation has brought in which does not keep them.

use crate::testing::{Machine, cx, populate, run, slots};
use crate::{PageIndex, SlotMask, Usage};

/// A machine with pages 0..4, of which 1 and 2 are transient, and 0 and 3 have a marker.
fn with_pages(body: impl FnOnce(&crate::Mapping<crate::testing::Test>)) {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 4), |_| 1);
    let mut locked = mapping.try_lock_free(cx(), run(0, 4)).expect("free");
    locked.set_transient(slots(0b0110));
    locked.set_marker(slots(0b1001));
    drop(locked);
    body(&mapping);
    drop(mapping);
    machine.assert_balanced();
}

#[test]
fn a_transient_page_is_not_reserved_and_a_reserved_page_not_transient() {
    with_pages(|mapping| {
        let mut locked = mapping.try_lock_free(cx(), run(0, 4)).expect("free");
        locked.set_reserved(slots(0b1010));
        assert_eq!((locked.reserved(), locked.transient()), (slots(0b1000), slots(0b0110)));
        locked.set_transient(SlotMask::ALL);
        assert_eq!((locked.reserved(), locked.transient()), (slots(0b1000), slots(0b0111)));
        locked.keep(slots(0b0010));
        locked.set_reserved(slots(0b0010));
        assert_eq!((locked.reserved(), locked.transient()), (slots(0b1010), slots(0b0101)));
    });
}

#[test]
fn a_use_that_keeps_is_noticed_by_the_one_word_that_a_reader_looks_at() {
    with_pages(|mapping| {
        let section = mapping.read_section(cx());
        let (_, _, marks) = section.marked_span(0, 1, Usage::Again).expect("uptodate");
        assert_eq!(marks, slots(0b1111));
        assert_eq!(section.keep(run(1, 1)), None);
        let (_, _, marks) = section.marked_span(0, 1, Usage::Again).expect("uptodate");
        assert_eq!(marks, slots(0b1101));
        assert_eq!(section.keep(run(1, 3)), Some(PageIndex::new(3)));
        let (_, _, marks) = section.marked_span(0, 1, Usage::Again).expect("uptodate");
        assert_eq!(marks, slots(0b1001));
        drop(section);
        let locked = mapping.try_lock_free(cx(), run(0, 4)).expect("free");
        assert_eq!((locked.transient(), locked.marker()), (SlotMask::EMPTY, slots(0b1001)));
    });
}

#[test]
fn the_marker_of_a_transient_page_asks_for_nothing() {
    with_pages(|mapping| {
        let section = mapping.read_section(cx());
        assert!(!section.take_marker(PageIndex::new(1)));
        assert!(section.take_marker(PageIndex::new(0)));
        assert!(!section.take_marker(PageIndex::new(0)), "once");
        drop(section);
        let locked = mapping.try_lock_free(cx(), run(0, 4)).expect("free");
        assert_eq!((locked.transient(), locked.marker()), (slots(0b0110), slots(0b1000)));
    });
}

#[test]
fn the_mark_goes_with_the_page() {
    with_pages(|mapping| {
        let mut locked = mapping.try_lock_free(cx(), run(0, 4)).expect("free");
        drop(locked.remove(slots(0b0010)));
        assert_eq!(locked.transient(), slots(0b0100));
        let mut batch = mapping.cache().allocate(1).expect("a frame");
        assert_eq!(locked.insert_batch(slots(0b0010), &mut batch), slots(0b0010));
        assert_eq!((locked.transient(), locked.marker()), (slots(0b0100), slots(0b1001)));
    });
}
