//! Files in memory that are swapped out.

use std::boxed::Box;
use std::sync::{Arc, Weak};
use std::vec::Vec;

use faultless_page::{Errno, SyncKind};
use faultless_parts::{Answer, BlockMap, Call, FixedMap, RamDisk, SwapStore, When};

use super::kernel::{TestKernel, count_for, reclaim_by, take_dropped};
use super::rig::{assert_same, token};
use super::store::Event;
use super::user::READABLE;
use super::{PAGE, Rig, bytes};
use crate::{
    DirtyLimit, DirtyThresholds, DirtyVictims, Files, Flushed, Inode, Left, NoTask, Reclaimer,
    Strategy,
};

type Swap = SwapStore<RamDisk<Vec<u8>>, FixedMap<256>>;

/// An area of so many pages.
fn area(pages: u64) -> Swap {
    let disk = RamDisk::new(std::vec![0xdb; pages as usize * PAGE], PAGE).expect("a block size");
    SwapStore::new(disk, FixedMap::new(0..pages)).expect("a block size")
}

/// A file in a cache of so many frames, with an area of so many pages. Allocations swap.
fn rig(frames: usize, pages: u64) -> Rig<Swap> {
    let rig = Rig::on(area(pages), Strategy::BeginEnd, frames);
    let file = Arc::downgrade(rig.file());
    reclaim_by(move |cache, mut locks, wanted| {
        struct One(Weak<Inode<TestKernel>>);
        impl Files<TestKernel> for One {
            type Handle = Arc<Inode<TestKernel>>;
            fn find(&self, mapping: u64) -> Option<Self::Handle> {
                self.0.upgrade().filter(|file| file.mapping().id() == mapping)
            }
        }
        let files = One(file.clone());
        Reclaimer::new(DirtyVictims::Send).step(cache, &files, &mut locks, wanted, &NoTask).dropped
    });
    rig
}

fn write_all(rig: &Rig<Swap>, new: &[u8]) -> Result<(), Errno> {
    for (at, piece) in new.chunks(READABLE).enumerate() {
        let landed = rig.write((at * READABLE) as u64, piece)?;
        if landed < piece.len() {
            return Err(Errno::NoMemory);
        }
    }
    Ok(())
}

fn free(rig: &Rig<Swap>) -> usize {
    rig.store.inner().map().free()
}

#[test]
fn a_file_larger_than_memory_is_swapped_out_and_comes_back() {
    let rig = rig(40, 100);
    let new = bytes(3, 90 * PAGE - 77);
    assert_eq!(write_all(&rig, &new), Ok(()));
    assert!(free(&rig) < 60, "{} pages of the area are free", free(&rig));
    rig.assert_holds(&new);
    // In place: the area is large enough for twice as many if pages kept their places.
    for round in 4..8 {
        let new = bytes(round, 90 * PAGE - 77);
        assert_eq!(write_all(&rig, &new), Ok(()));
        rig.assert_holds(&new);
    }
}

#[test]
fn no_sync_and_no_flush_sends_a_page() {
    let rig = rig(40, 100);
    let new = bytes(3, 8 * PAGE);
    assert_eq!(write_all(&rig, &new), Ok(()));
    rig.store.take_events();
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(rig.file().fsync(&mut token(), SyncKind::Data, &rig.task), Ok(()));
    assert_eq!(rig.file().start_writeback(&mut token(), 0..u64::MAX, &rig.task), Ok(()));
    let flushed = rig.file().flush(&mut token(), 100, &rig.task);
    assert_eq!(flushed, Flushed { pages: 0, left: Left::Nothing });
    assert_eq!(rig.file().dirty_since(), None);
    assert_eq!((rig.store.take_events(), free(&rig)), (Vec::new(), 100));
    assert_eq!(rig.evict(), 0, "they are dirty, and stay");
    rig.assert_holds(&new);
}

#[test]
fn f6_the_end_of_the_file_loses_nothing_that_counts() {
    let mut rig = rig(40, 100);
    assert_eq!(write_all(&rig, &bytes(3, 60 * PAGE)), Ok(()));
    assert!(free(&rig) < 100);
    take_dropped();
    let mut file = rig.take_file();
    assert_eq!(file.close(&mut token(), &rig.task), Ok(()));
    drop(file);
    assert_eq!(take_dropped(), 0);
}

#[test]
fn the_area_comes_back_by_truncation_and_with_the_store() {
    let rig = rig(24, 100);
    let new = bytes(3, 80 * PAGE);
    assert_eq!(write_all(&rig, &new), Ok(()));
    let used = 100 - free(&rig);
    assert!(used > 40, "{used}");
    assert_eq!(rig.set_size(5 * PAGE as u64 + 9), Ok(()));
    assert!(free(&rig) >= 94, "{}", free(&rig));
    rig.assert_holds(&new[..5 * PAGE + 9]);
    // What was cut off reads as zeros, swapped out or not.
    assert_eq!(rig.set_size(7 * PAGE as u64), Ok(()));
    let mut grown = new[..5 * PAGE + 9].to_vec();
    grown.resize(7 * PAGE, 0);
    rig.assert_holds(&grown);
    let map = FixedMap::<256>::new(0..4);
    {
        let disk: RamDisk<_> = RamDisk::new(std::vec![0; 4 * PAGE], PAGE).expect("a block size");
        let store: SwapStore<_, _> = SwapStore::new(disk, &map).expect("a block size");
        let block = map.allocate(0).expect("room");
        map.insert(0, block).expect("room");
        assert_eq!(map.free(), 3);
        drop(store);
    }
    assert_eq!(map.free(), 4);
}

#[test]
fn w9_a_full_area_is_the_end_of_memory_and_no_loss() {
    let rig = rig(40, 10);
    let new = bytes(3, 80 * PAGE);
    assert_eq!(write_all(&rig, &new), Err(Errno::NoMemory));
    let landed = rig.file().size() as usize;
    assert!((30 * PAGE..60 * PAGE).contains(&landed), "{landed}");
    assert_eq!(free(&rig), 0);
    rig.assert_holds(&new[..landed]);
}

#[test]
fn f5_an_area_that_fails_keeps_pages_in_memory_and_a_read_of_it_is_an_error() {
    let rig = rig(40, 100);
    let new = bytes(3, 30 * PAGE);
    assert_eq!(write_all(&rig, &new), Ok(()));
    rig.store.faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!(write_all(&rig, &bytes(3, 70 * PAGE)), Err(Errno::NoMemory));
    rig.store.faults.clear();
    assert_eq!(write_all(&rig, &bytes(3, 70 * PAGE)), Ok(()));
    rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    let errors = (0..70).filter(|page| rig.read(page * PAGE as u64, 1) == Err(Errno::Io)).count();
    assert!(errors > 20, "F8: {errors}");
    rig.store.faults.clear();
    rig.assert_holds(&bytes(3, 70 * PAGE));
}

/// The limit of dirty pages would never have them cleaned.
#[test]
fn l6_pages_in_memory_are_not_dirty_pages() {
    let rig = rig(40, 100);
    let limit: &'static DirtyLimit<TestKernel> =
        Box::leak(Box::new(DirtyLimit::new(DirtyThresholds::new(2, 4))));
    count_for(limit);
    let new = bytes(3, 70 * PAGE);
    assert_eq!(write_all(&rig, &new), Ok(()));
    assert_eq!(limit.charged(), 0);
    rig.store.faults.plan(Call::Writeback, When::EveryNth(2), Answer::Fail(Errno::Io)).expect("");
    let _ = write_all(&rig, &new);
    assert_eq!(limit.charged(), 0, "nor are those that could not be sent");
    rig.store.faults.clear();
    assert_same(&rig.read(0, PAGE).expect("a page"), &new[..PAGE], "of the first page");
    assert!(!rig.store.events().contains(&Event::Sync(SyncKind::All)));
}
