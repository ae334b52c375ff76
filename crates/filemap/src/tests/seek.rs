//! Where data is and where holes are.

use faultless_page::{AddressSpaceOperations, Errno, Strategy};
use faultless_parts::{BlockMap, RamStore};

use super::rig::token;
use super::store::BLOCK;
use super::{PAGE, Rig, bytes};

const P: u64 = PAGE as u64;
const B: u64 = BLOCK as u64;

impl<S: AddressSpaceOperations + 'static> Rig<S> {
    #[track_caller]
    fn data(&self, pos: u64) -> Option<u64> {
        self.file().seek_data(pos).expect("the store answers")
    }

    #[track_caller]
    fn hole(&self, pos: u64) -> Option<u64> {
        self.file().seek_hole(pos, &self.task).expect("the store answers")
    }
}

#[test]
fn a_position_at_or_past_the_end_has_neither() {
    let rig = Rig::new();
    assert_eq!((rig.data(0), rig.hole(0)), (None, None), "an empty file");
    rig.fill(&bytes(1, 1000));
    assert_eq!((rig.data(999), rig.hole(999)), (Some(999), Some(1000)));
    for pos in [1000, 1001, P, u64::MAX] {
        assert_eq!((rig.data(pos), rig.hole(pos)), (None, None), "{pos}");
    }
}

#[test]
fn blocks_of_the_store_are_data_and_the_rest_is_holes() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(100 * P), Ok(()));
    assert_eq!((rig.data(0), rig.hole(5)), (None, Some(5)), "a file without a block");
    assert_eq!(rig.write(10 * P + B, b"x"), Ok(1));
    assert_eq!(rig.write(70 * P, &bytes(1, 2 * PAGE)), Ok(2 * PAGE));
    assert_eq!(rig.fsync(), Ok(()));
    for cold in [false, true] {
        if cold {
            rig.chill();
        }
        assert_eq!((rig.data(0), rig.hole(0)), (Some(10 * P + B), Some(0)));
        assert_eq!(rig.data(10 * P + B + 5), Some(10 * P + B + 5));
        assert_eq!(rig.hole(10 * P + B + 5), Some(10 * P + 2 * B));
        assert_eq!(rig.data(10 * P + 2 * B), Some(70 * P));
        assert_eq!(rig.hole(70 * P), Some(72 * P));
        assert_eq!((rig.data(72 * P), rig.hole(99 * P)), (None, Some(99 * P)));
    }
}

#[test]
fn a_dirty_page_is_data_wherever_the_store_has_none() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(4 * P), Ok(()));
    assert_eq!(rig.write(2 * P, b"x"), Ok(1));
    // As a store does that makes room when pages are sent.
    rig.store.inner().map().punch(0..16);
    assert_eq!(rig.store.inner().extent(0), Ok(None));
    assert_eq!((rig.data(0), rig.hole(0)), (Some(2 * P), Some(0)));
    assert_eq!((rig.hole(2 * P + 1), rig.data(3 * P)), (Some(3 * P), None));
}

#[test]
fn a_page_that_was_only_read_in_a_hole_is_none() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(4 * P), Ok(()));
    assert_eq!(rig.read(P, PAGE), Ok(std::vec![0; PAGE]));
    assert_eq!((rig.cached(), rig.data(0)), (1, None));
}

#[test]
fn f5_pages_of_a_file_of_the_cache_alone_are_data_dirty_or_not() {
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    assert_eq!(rig.write(2 * P + 7, b"x"), Ok(1));
    assert_eq!(rig.set_size(5 * P), Ok(()));
    for _ in 0..2 {
        assert_eq!((rig.data(1), rig.hole(0)), (Some(2 * P), Some(0)));
        assert_eq!((rig.hole(2 * P), rig.data(3 * P)), (Some(3 * P), None));
        assert_eq!(rig.fsync(), Ok(()), "clean now");
    }
    let punched = rig.file().punch_hole(&mut token(), 2 * P..3 * P, &rig.task);
    assert_eq!((punched, rig.data(0)), (Ok(()), None));
}

#[test]
fn a_store_that_does_not_say_has_data_up_to_the_end() {
    let rig = Rig::on(super::store::without_fallocate(64), Strategy::BeginEnd, 16);
    assert_eq!(rig.write(2 * P, b"x"), Ok(1));
    assert_eq!((rig.data(5), rig.hole(5)), (Some(5), Some(2 * P + 1)));
}

#[test]
fn l3_a_killed_task_looks_no_further() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 10));
    rig.task.looks.set(0);
    assert_eq!(rig.file().seek_hole(0, &rig.task), Err(Errno::Interrupted));
}
