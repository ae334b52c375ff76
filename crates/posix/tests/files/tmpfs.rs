//! The limit of files in memory: what is counted, and what gives pages back.

use std::collections::BTreeSet;
use std::sync::Arc;

use faultless::prelude::{AddressSpaceOperations, CoreSync, Errno, Fallocate};
use faultless_posix::{Room, TmpfsStore};

use crate::support::*;

const PAGE: u64 = 4096;

fn store(room: &Arc<Room>) -> TmpfsStore<Arc<Room>, CoreSync> {
    TmpfsStore::new(Arc::clone(room))
}

#[test]
fn pages_are_counted_once_and_holes_are_not() {
    let room = Arc::new(Room::new(3));
    let file = store(&room);
    for page in [1000, 0, 1000, 1] {
        assert!(file.write_begin(page * PAGE + 7, 10).is_ok());
    }
    assert_eq!((room.pages(), room.left()), (3, 0));
    assert_eq!(file.write_begin(2 * PAGE, 1).map(drop), Err(Errno::NoSpace));
    assert!(file.write_begin(PAGE, 1).is_ok(), "a page that is there needs no room");
    file.truncate_blocks(PAGE + 1);
    assert_eq!(room.left(), 1);
    let other = store(&room);
    assert!(other.write_begin(0, 1).is_ok());
    drop(file);
    assert_eq!(room.left(), 2);
}

#[test]
fn room_for_a_run_of_new_pages_is_made_as_far_as_it_goes() {
    let room = Arc::new(Room::new(3));
    let file = store(&room);
    let begin = |pos, len| file.write_begin_run(pos, len).map(|begun| begun.len);
    assert_eq!(begin(7, 2 * PAGE as usize), Ok(2 * PAGE as usize));
    assert_eq!(room.left(), 0, "it reaches into the third page");
    file.truncate_blocks(2 * PAGE);
    // There is no room for both pages, but for the first one.
    assert_eq!(begin(2 * PAGE + 5, PAGE as usize), Ok(PAGE as usize - 5));
    assert_eq!(begin(3 * PAGE, 1), Err(Errno::NoSpace));
    assert_eq!(room.pages(), 3);
}

#[test]
fn room_that_is_made_is_counted_as_a_whole_or_not_at_all() {
    let room = Arc::new(Room::new(4));
    let file = store(&room);
    assert_eq!(file.fallocate(Fallocate::Allocate, PAGE - 1..3 * PAGE + 1), Ok(()));
    assert_eq!(room.left(), 0);
    assert_eq!(file.fallocate(Fallocate::Allocate, 0..9 * PAGE), Err(Errno::NoSpace));
    assert_eq!(room.left(), 0);
    // The pages that a hole cuts stay.
    assert_eq!(file.fallocate(Fallocate::PunchHole, 1..3 * PAGE - 1), Ok(()));
    assert_eq!(room.left(), 1);
}

#[test]
fn what_is_left_is_what_a_set_of_pages_says() {
    const PAGES: u64 = 48;
    let room = Arc::new(Room::new(PAGES));
    let file = store(&room);
    let (mut rng, mut model) = (Rng::new(7), BTreeSet::new());
    for _ in 0..20_000 {
        let (from, to) = (rng.below(48) as u64, rng.below(48) as u64);
        let (first, end) = (from.min(to), from.max(to));
        match rng.below(8) {
            0 => {
                file.truncate_blocks(first * PAGE);
                model.retain(|page| *page < first);
            }
            1..3 => {
                assert!(file.fallocate(Fallocate::Allocate, first * PAGE..end * PAGE).is_ok());
                model.extend(first..end);
            }
            3..6 => {
                assert!(file.fallocate(Fallocate::PunchHole, first * PAGE..end * PAGE).is_ok());
                model.retain(|page| !(first..end).contains(page));
            }
            _ => {
                assert!(file.write_begin(first * PAGE, 1).is_ok());
                model.insert(first);
            }
        }
        assert_eq!(PAGES - room.left(), model.len() as u64);
    }
}
