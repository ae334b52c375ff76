//! What types promise at compile time, and what they cost.

use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::testing::{Test, slots};
use crate::{
    CoreSync, Epoch, LEAF_SIZE, LockedRun, Mapping, OwnedFrame, PAGE_SIZE, PageCache, PageIndex,
    PageRun, ReadSection, Removals, Removed, SleepMutex, SlotMask, WritebackRequest, WritebackRun,
};

type K = Test;

assert_impl_all!(PageCache<K>: Send, Sync);
assert_impl_all!(Mapping<K>: Send, Sync);
assert_impl_all!(&'static dyn crate::Wait: crate::Wait);
assert_impl_all!(Epoch<CoreSync>: Send, Sync);
assert_impl_all!(SleepMutex<K>: Send, Sync);
assert_impl_all!(OwnedFrame<'_, K>: Send, Sync);
assert_impl_all!(Removed<'_, K>: Send);
assert_impl_all!(Removals<'_, K>: Send);
assert_impl_all!(WritebackRun<'_>: Send, Sync);
assert_not_impl_any!(LockedRun<'_, K>: Send, Sync, Clone);
assert_not_impl_any!(ReadSection<'_, K>: Send, Sync, Clone);
assert_impl_all!(WritebackRequest: Send, Sync);
assert_not_impl_any!(WritebackRequest: Clone);

#[test]
fn a_lock_is_four_words() {
    assert!(size_of::<LockedRun<'_, K>>() <= 32);
    assert!(size_of::<ReadSection<'_, K>>() <= 32);
}

#[test]
fn what_collects_removed_frames_fits_on_a_small_stack() {
    assert!(size_of::<Removals<'_, K>>() <= 512);
    assert!(size_of::<Removed<'_, K>>() <= 512);
}

/// For every kernel, because `Writeback` says so by hand.
#[test]
fn what_a_writeback_refers_to_may_be_used_from_any_thread() {
    fn shared<T: Sync>() {}
    fn of_any<K: crate::Kernel>() {
        shared::<Mapping<K>>();
        shared::<crate::leaf::Leaf<K::Sync>>();
    }
    of_any::<K>();
}

#[test]
fn a_run_is_cut_at_the_end_of_its_leaf() {
    let page = PAGE_SIZE as u64;
    let run = PageRun::covering(62 * page + 1, 10 * PAGE_SIZE).unwrap();
    assert_eq!((run.first(), run.end()), (PageIndex::new(62), PageIndex::new(64)));
    assert_eq!(run.mask(), slots(0b11 << 62));
    assert_eq!(run.clip_len(62 * page + 1, 10 * PAGE_SIZE), 2 * PAGE_SIZE - 1);
    assert_eq!(PageRun::covering(5, 0), None);
    assert_eq!(PageRun::new(PageIndex::new(70), 1000).pages(), 58);
    assert_eq!(PageRun::new(PageIndex::new(70), 0).pages(), 1);
}

#[test]
fn the_first_group_of_slots_is_a_run() {
    let run = PageRun::first_of(PageIndex::new(128), slots(0b1011_1000)).unwrap();
    assert_eq!((run.first(), run.pages()), (PageIndex::new(131), 3));
    assert_eq!(PageRun::first_of(PageIndex::ZERO, SlotMask::EMPTY), None);
    assert_eq!(PageRun::first_of(PageIndex::ZERO, SlotMask::ALL).unwrap().pages(), 64);
}

#[test]
fn the_last_page_number_of_all_does_not_overflow() {
    let last = PageRun::single(PageIndex::new(u64::MAX));
    assert_eq!(last.mask(), SlotMask::single(63));
    assert_eq!(last.end(), PageIndex::new(u64::MAX));
}

#[test]
fn bytes_are_covered_as_a_whole_only_inside_one_leaf() {
    let leaf = LEAF_SIZE as u64;
    for pos in [0, 1, leaf - 1, leaf, leaf + 5000, 2 * leaf - 4096] {
        for len in [0, 1, 2, 4096, LEAF_SIZE - 1, LEAF_SIZE, LEAF_SIZE + 1, usize::MAX] {
            let inside = len > 0 && len as u64 <= leaf - pos % leaf;
            let expected = if inside { PageRun::covering(pos, len) } else { None };
            assert_eq!(PageRun::covering_all(pos, len), expected, "{len} bytes from {pos}");
        }
    }
}
