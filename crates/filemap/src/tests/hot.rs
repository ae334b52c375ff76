//! The paths of a request that the cache has whole: what may change between a look and the lock, or
//! between the copy and the last look.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::pin::pin;
use std::vec;
use std::vec::Vec;

use faultless_page::Errno;
use faultless_usercopy::{IovIter, UserSlice};

use super::kernel::{Patient, Tester};
use super::rig::token;
use super::{PAGE, Rig, bytes, overlay};
use crate::ranges::ByteRange;
use crate::{Task, WriteOptions};

/// A task that something happens beside when the time is asked, which is after the first look at
/// the size and before the lock.
struct Beside<F> {
    other: Cell<Option<F>>,
    killed: Cell<bool>,
}

impl<F: FnOnce()> Beside<F> {
    fn new(other: F) -> Self {
        Self { other: Cell::new(Some(other)), killed: Cell::new(false) }
    }
}

impl<F: FnOnce()> Task for Beside<F> {
    fn now(&self) -> u64 {
        if let Some(other) = self.other.take() {
            other();
        }
        1
    }

    fn fatal_signal_pending(&self) -> bool {
        self.killed.get()
    }
}

/// `hello` in user memory, in one segment or in several.
fn hellos(rig: &Rig) -> [Vec<UserSlice>; 2] {
    let hello = rig.user.put(0, b"hello");
    [vec![hello], vec![hello.prefix(2), hello.skip(2).prefix(2), hello.skip(4)]]
}

#[test]
fn p6_a_hot_overwrite_looks_at_the_size_again_once_its_pages_are_locked() {
    for segments in 0..2 {
        let rig = Rig::new();
        let old = bytes(1, 2 * PAGE);
        rig.fill(&old);
        let file = rig.file().clone();
        // The page stays in the cache.
        let task = Beside::new(move || {
            assert_eq!(file.set_size(&mut token(), PAGE as u64 + 5, &Tester::new()), Ok(()));
        });
        let hello = &hellos(&rig)[segments];
        let mut from = IovIter::new(&rig.user, hello).unwrap();
        let options = WriteOptions::at(PAGE as u64 + 10);
        let written = rig.file().write(&mut token(), &mut from, &options, &task);
        assert_eq!(written.map(|written| written.bytes), Ok(5));
        rig.assert_keeps(&overlay(&old[..PAGE + 5], PAGE + 10, b"hello"));
    }
}

/// The truncation is not complete: the page of the new end is reserved still, so that nothing but
/// the size says that the bytes are cut off.
#[test]
fn p6_a_hot_overwrite_lands_nothing_past_a_cut_that_was_interrupted() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    let task = Beside::new(|| rig.cut_and_kill(PAGE as u64 + 5, 2));
    let slice = rig.user.put(3 * PAGE, b"hello");
    let mut from = IovIter::from_slice(&rig.user, &slice);
    let options = WriteOptions::at(PAGE as u64 + 10);
    let written = rig.file().write(&mut token(), &mut from, &options, &task);
    assert_eq!(written.map(|written| written.bytes), Ok(5));
    rig.assert_keeps(&overlay(&old[..PAGE + 5], PAGE + 10, b"hello"));
}

#[test]
fn w2_a_hot_overwrite_leaves_bytes_alone_that_another_writer_has_claimed() {
    for segments in 0..2 {
        let rig = Rig::new();
        let old = bytes(1, 2 * PAGE);
        rig.fill(&old);
        let file = rig.file().clone();
        let entry = pin!(file.ranges.request());
        let entry = entry.as_ref();
        let claim = Cell::new(None);
        let task = Beside::new(|| {
            let range = ByteRange { start: 0, end: PAGE as u64 };
            claim.set(Some(file.ranges.get_ahead(entry, &Patient, range)));
        });
        let hello = &hellos(&rig)[segments];
        let mut from = IovIter::new(&rig.user, hello).unwrap();
        // It would wait for the claim, but is to die.
        let options = WriteOptions::at(10);
        let written = rig.file().write(&mut token(), &mut from, &options, &Dying(&task));
        assert_eq!(written.map(|written| written.bytes), Err(Errno::Interrupted));
        claim.set(None);
        rig.assert_keeps(&old);
    }
}

/// Of several segments, one of which is not there; with what landed, the cursor has moved on.
#[test]
fn w1_a_hot_overwrite_of_segments_lands_up_to_the_first_byte_that_is_not_there() {
    for (there, landed) in [(0, Err(Errno::Fault)), (2, Ok(2))] {
        let rig = Rig::new();
        let old = bytes(1, 2 * PAGE);
        rig.fill(&old);
        let hello = rig.user.put(0, b"hello");
        rig.user.ends_at(PAGE);
        let absent = rig.user.slice(PAGE, 3);
        let segments = [hello.prefix(there), absent, hello.skip(there)];
        let mut from = IovIter::new(&rig.user, &segments).unwrap();
        let options = WriteOptions::at(10);
        let written = rig.file().write(&mut token(), &mut from, &options, &Tester::new());
        assert_eq!(written.map(|written| written.bytes), landed);
        assert_eq!(from.count(), 8 - there);
        rig.assert_keeps(&overlay(&old, 10, &b"hello"[..there]));
    }
}

/// A task that is to die once something has happened beside it.
struct Dying<'t, F>(&'t Beside<F>);

impl<F: FnOnce()> Task for Dying<'_, F> {
    fn now(&self) -> u64 {
        let now = self.0.now();
        self.0.killed.set(true);
        now
    }

    fn fatal_signal_pending(&self) -> bool {
        self.0.fatal_signal_pending()
    }
}

#[test]
fn w5_a_hot_read_whose_bytes_are_cut_off_meanwhile_shows_no_zeros() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill(&old);
    let file = rig.file().clone();
    // No page goes, so the truncation does not wait for the reader.
    rig.user.at_next_atomic_store(move || {
        assert_eq!(file.set_size(&mut token(), PAGE as u64 + 5, &Tester::new()), Ok(()));
    });
    let slice = rig.user.slice(0, 100);
    let mut to = IovIter::from_slice(&rig.user, &slice);
    let read = rig.file().read(&mut token(), &mut to, PAGE as u64, &rig.task);
    assert_eq!(read, Ok(5));
    assert_eq!(rig.user.get(0, 5), old[PAGE..PAGE + 5]);
}

#[test]
fn w5_a_hot_read_that_is_cut_off_before_its_first_byte_ends_at_the_end_of_the_file() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    rig.user.atomic.set(0);
    let file = rig.file().clone();
    rig.user.at_next_atomic_store(move || {
        assert_eq!(file.set_size(&mut token(), PAGE as u64 + 5, &Tester::new()), Ok(()));
    });
    let slice = rig.user.slice(0, 100);
    let mut to = IovIter::from_slice(&rig.user, &slice);
    let read = rig.file().read(&mut token(), &mut to, PAGE as u64 + 10, &rig.task);
    assert_eq!(read, Ok(0), "no EFAULT: the memory can be written");
    rig.user.heal();
}
