//! The bookkeeping of frame pools by itself: counts at their limits, and the bitmap.

use core::sync::atomic::AtomicU32;
use std::boxed::Box;

use crate::bitmap::Bitmap;
use crate::counts::{Counts, Left, STUCK};

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "has overflowed")]
fn a_count_that_overflows_is_caught() {
    let counts = counts_of(STUCK - 1);
    counts.retain(0);
}

#[test]
fn a_count_that_has_overflowed_never_frees_its_frame() {
    let counts = counts_of(STUCK);
    assert_eq!(counts.release(0), Left::Something);
    assert_eq!(counts.get(0), STUCK);
}

fn counts_of(count: u32) -> Counts {
    let counts = Counts::all_free(Box::leak(Box::new([const { AtomicU32::new(0) }])));
    counts.begin(0);
    counts.set(0, count);
    counts
}

#[test]
fn a_bitmap_counts_what_it_gives_and_takes() {
    let words = Box::leak(std::vec![0; 3].into_boxed_slice());
    let mut bitmap = Bitmap::all_free(words, 130);
    assert_eq!((bitmap.take(64), bitmap.take(60)), (Some((0, 64)), Some((64, 60))));
    assert_eq!((bitmap.take(64), bitmap.take(1), bitmap.free()), (Some((124, 6)), None, 0));
    bitmap.give(129);
    bitmap.give(63);
    assert_eq!((bitmap.take(2), bitmap.take(2)), (Some((63, 1)), Some((129, 1))));
}
