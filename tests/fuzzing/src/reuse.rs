//! Things that are dear to make and cheap to use again: one for each thread.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

/// Runs `work` on the thread's value, which is made the first time. After a panic the value is in
/// an unknown state: it is forgotten, and the next run makes a new one.
pub(super) fn reuse<T, R>(
    place: &'static LocalKey<Cell<Option<T>>>,
    make: impl FnOnce() -> T,
    work: impl FnOnce(&mut T) -> R,
) -> R {
    let mut value = ManuallyDrop::new(place.take().unwrap_or_else(make));
    let result = work(&mut value);
    place.set(Some(ManuallyDrop::into_inner(value)));
    result
}
