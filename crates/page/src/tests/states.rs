//! Dirty and writeback as one state (F2, F5): looks at it in the middle of its changes, and changes
//! in the middle of looks. The same sweeps find the orders that are wrong.

use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Release;

use crate::testing::{Interrupted, Machine, Test, cx, interrupt, populate, run, slots};
use crate::{Errno, LockedRun, Mapping, Mark, PageIndex, PageRun, SlotMask, WritebackRequest};

type K = Test<Interrupted>;

fn mapping(machine: &Machine<Interrupted>) -> &'static Mapping<K> {
    let mapping: &'static Mapping<K> = Box::leak(Box::new(machine.mapping()));
    populate(mapping, run(0, 2), |_| 1);
    mapping
}

/// A locked page, under writeback.
fn begun(mapping: &'static Mapping<K>) -> (LockedRun<'static, K>, WritebackRequest) {
    let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
    locked.set_dirty(slots(0b1));
    let writeback = locked.begin_writeback(run(0, 1), u64::MAX).unwrap();
    (locked, writeback)
}

/// How often `look`, with a writeback failing in the middle of it, takes the page for clean.
fn taken_for_clean(look: impl Fn(&LockedRun<'static, K>) -> SlotMask) -> u32 {
    let mut wrong = 0;
    for before in 0.. {
        let machine = Machine::new(64);
        let (locked, writeback) = begun(mapping(&machine));
        let fail = move || writeback.complete(Err(Errno::Io));
        let (clean, fired) = interrupt(before, fail, || look(&locked));
        wrong += u32::from(clean.contains(slots(0b1)));
        if !fired {
            assert!(before > 1);
            return wrong;
        }
    }
    unreachable!()
}

#[test]
fn f5_no_writeback_that_fails_in_the_middle_of_a_look_leaves_its_page_clean() {
    assert_eq!(taken_for_clean(LockedRun::clean), 0);
}

#[test]
fn f5_a_look_at_dirty_first_takes_a_dirty_page_for_clean_and_is_found() {
    let planted = |locked: &LockedRun<'static, K>| {
        let dirty = locked.dirty();
        locked.present() - dirty - locked.writeback()
    };
    assert!(taken_for_clean(planted) > 0);
}

/// How often a locked look in the middle of the failure of a writeback takes its page for clean.
fn clean_in_the_middle_of(fail: impl Fn(WritebackRequest, &'static Mapping<K>)) -> usize {
    let mut wrong = 0;
    for before in 0.. {
        let machine = Machine::new(64);
        let mapping = mapping(&machine);
        let (locked, writeback) = begun(mapping);
        let seen = Rc::new(RefCell::new(slots(0)));
        let (locked, saw) = (Rc::new(locked), seen.clone());
        let looker = locked.clone();
        let look = move || *saw.borrow_mut() = looker.clean();
        let ((), fired) = interrupt(before, look, || fail(writeback, mapping));
        wrong += usize::from(seen.borrow().contains(slots(0b1)));
        assert_eq!((locked.dirty(), locked.writeback()), (slots(0b1), slots(0)));
        if !fired {
            assert!(before > 1);
            return wrong;
        }
    }
    unreachable!()
}

#[test]
fn f5_no_look_in_the_middle_of_a_failure_takes_its_page_for_clean() {
    let fail = |writeback: WritebackRequest, _| writeback.complete(Err(Errno::Io));
    assert_eq!(clean_in_the_middle_of(fail), 0);
    assert_eq!(clean_in_the_middle_of(|writeback, _| drop(writeback)), 0);
}

#[test]
fn f5_a_failure_that_clears_writeback_before_it_sets_dirty_is_found() {
    let planted = |writeback: WritebackRequest, mapping: &'static Mapping<K>| {
        core::mem::forget(writeback);
        let leaf = mapping.tree().lookup(PageIndex::ZERO).unwrap();
        leaf.clear_writeback(slots(0b1), mapping.cache().wait());
        leaf.dirty.fetch_or(slots(0b1), Release);
    };
    assert!(clean_in_the_middle_of(planted) > 0);
}

/// How often `look`, without a lock, misses a page that `begin` makes one under writeback in the
/// middle of it.
fn missed_by(look: impl Fn(&Mapping<K>) -> SlotMask) -> usize {
    let mut missed = 0;
    for before in 0.. {
        let machine = Machine::new(64);
        let mapping = mapping(&machine);
        let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
        locked.set_dirty(slots(0b1));
        let begin = move || core::mem::forget(locked.begin_writeback(run(0, 1), 0).unwrap());
        let (found, fired) = interrupt(before, begin, || look(mapping));
        missed += usize::from(!found.contains(slots(0b1)));
        if !fired {
            assert!(before > 1);
            return missed;
        }
    }
    unreachable!()
}

#[test]
fn f1_a_page_whose_writeback_begins_in_the_middle_of_a_look_is_found() {
    let find = |mapping: &Mapping<K>| {
        let found = mapping.find(PageIndex::ZERO, PageIndex::new(64), Mark::Unclean);
        found.map_or(SlotMask::EMPTY, PageRun::mask)
    };
    assert_eq!(missed_by(find), 0);
}

#[test]
fn f1_a_look_at_writeback_first_misses_a_page_and_is_found() {
    let planted = |mapping: &Mapping<K>| {
        let leaf = mapping.tree().lookup(PageIndex::ZERO).unwrap();
        leaf.marked(Mark::Writeback) | leaf.marked(Mark::Dirty)
    };
    assert!(missed_by(planted) > 0);
}

#[test]
fn f1_a_look_in_the_middle_of_the_begin_of_a_writeback_finds_its_page() {
    for before in 0.. {
        let machine = Machine::new(64);
        let mapping = mapping(&machine);
        let mut locked = mapping.lock(cx(), run(0, 1)).unwrap();
        locked.set_dirty(slots(0b1));
        let look = move || {
            let found = mapping.find(PageIndex::ZERO, PageIndex::new(64), Mark::Unclean);
            assert_eq!(found, Some(run(0, 1)), "before {before}");
        };
        let (token, fired) = interrupt(before, look, || locked.begin_writeback(run(0, 1), 0));
        assert_eq!(token.expect("it was dirty").run(), run(0, 1));
        if !fired {
            assert!(before > 4);
            return;
        }
    }
}

/// The miss that is documented: the record of the failure is there when the look is over.
#[test]
fn f2_a_page_that_fails_in_the_middle_of_a_look_is_found_or_its_failure_is_on_record() {
    let mut missed = 0;
    for before in 0.. {
        let machine = Machine::new(64);
        let mapping = mapping(&machine);
        let (locked, writeback) = begun(mapping);
        let record = Rc::new(RefCell::new(0));
        let recorder = record.clone();
        let fail = move || {
            *recorder.borrow_mut() += 1;
            writeback.complete(Err(Errno::Io));
        };
        let find = || mapping.find(PageIndex::ZERO, PageIndex::new(64), Mark::Unclean);
        let (found, fired) = interrupt(before, fail, find);
        if found.is_none() {
            missed += 1;
            assert_eq!(*record.borrow(), 1, "before {before}");
        }
        assert_eq!(find(), Some(run(0, 1)), "the second look finds it");
        drop(locked);
        if !fired {
            assert_eq!(missed, 1, "the window between the two loads");
            return;
        }
    }
}
