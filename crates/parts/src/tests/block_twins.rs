//! What the check against the vector finds: stores and devices with one mistake each.

use std::string::String;

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PageIndex, Reserved, WritebackRun,
};

use super::block_model::{Course, STALE, Store, check};
use super::{Twist, Twisted};
use crate::{BlockDevice, BlockMap};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// New blocks are not zeroed.
    FreshBlocksAsTheyAre,
    /// `truncate_blocks` frees and zeroes nothing.
    NoTrim,
    /// `truncate_blocks` leaves the rest of the last block.
    TailStays,
    /// `truncate_blocks` frees the block in which the file ends.
    LastBlockGoes,
    /// `write_begin` always says that the whole page has room.
    AlwaysBacked,
    /// `write_begin` always says that the page is a hole.
    AlwaysHole,
    /// `write_begin` has room for all bytes, on a full device too.
    GrantsTooMuch,
    /// `write_begin` takes the whole page's blocks.
    TakesTheWholePage,
    /// `writeback` leaves the last page of a run out.
    LastPageStays,
    /// `set_size` is not recorded.
    SizeForgotten,
    /// `read` says zeros where the device failed.
    FailedReadIsHole,
    /// `writeback` says Ok where the device failed.
    FailedWriteIsOk,
}

fn block_size(store: &Store) -> u64 {
    store.device().block_size() as u64
}

/// Overwrites blocks with what they held before they were the file's.
fn make_stale(store: &Store, blocks: impl Iterator<Item = u64>) {
    for block in blocks {
        if let Ok(Some(device_block)) = store.map().find(block) {
            let stale = std::vec![STALE; block_size(store) as usize];
            let _failed = store.device().write(device_block, &stale);
        }
    }
}

impl Twist<Store> for Bug {
    fn read(&self, below: &Store, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let done = below.read(index, buf);
        if *self == Self::FailedReadIsHole && done.is_err() {
            buf.fill_hole();
            return Ok(());
        }
        done
    }

    fn write_begin(&self, below: &Store, pos: u64, len: usize) -> Result<Begun, Errno> {
        let size = block_size(below);
        let blocks = pos / size..(pos + len as u64).div_ceil(size);
        let is_fresh = |block: &u64| matches!(below.map().find(*block), Ok(None));
        let fresh: std::vec::Vec<u64> = blocks.filter(is_fresh).collect();
        let begun = below.write_begin(pos, len)?;
        match self {
            Self::FreshBlocksAsTheyAre => make_stale(below, fresh.into_iter()),
            Self::TakesTheWholePage => {
                let page = PageIndex::containing(pos).start();
                let _full = below.write_begin(page, 4096);
            }
            _ => {}
        }
        Ok(match self {
            Self::AlwaysBacked => Begun { reserved: Reserved::Fully, ..begun },
            Self::AlwaysHole => Begun { contents: Contents::Hole, ..begun },
            Self::GrantsTooMuch => Begun { len, ..begun },
            _ => begun,
        })
    }

    fn writeback(&self, below: &Store, run: &WritebackRun<'_>) -> Result<(), Errno> {
        match self {
            Self::LastPageStays => below.writeback(&run.part(0, run.pages() - 1)),
            Self::FailedWriteIsOk => below.writeback(run).or(Ok(())),
            _ => below.writeback(run),
        }
    }

    fn truncate_blocks(&self, below: &Store, size: u64) {
        match self {
            Self::NoTrim => {}
            Self::TailStays => below.truncate_blocks(size.next_multiple_of(block_size(below))),
            Self::LastBlockGoes => below.truncate_blocks(size - size % block_size(below)),
            _ => below.truncate_blocks(size),
        }
    }

    fn set_size(&self, below: &Store, size: u64) {
        if *self != Self::SizeForgotten {
            below.set_size(size);
        }
    }
}

/// Courses until one goes wrong; what did.
fn search(bug: Bug, capacity: u64, fail_every: u64) -> Result<(), String> {
    (0..20).try_for_each(|seed| {
        let course = Course { block_size: 1024, capacity, fail_every, seed, steps: 400 };
        check(course, |store| Twisted(store, bug))
    })
}

#[test]
fn each_planted_mistake_of_a_store_is_found() {
    for bug in [
        Bug::FreshBlocksAsTheyAre,
        Bug::NoTrim,
        Bug::TailStays,
        Bug::LastBlockGoes,
        Bug::AlwaysBacked,
        Bug::AlwaysHole,
        Bug::TakesTheWholePage,
        Bug::LastPageStays,
        Bug::SizeForgotten,
    ] {
        assert!(search(bug, 64, 0).is_err(), "{bug:?} was not found");
    }
}

#[test]
fn a_store_that_grants_what_a_full_device_has_not_is_found() {
    assert!(search(Bug::GrantsTooMuch, 9, 0).is_err());
}

#[test]
fn a_store_that_hides_failures_of_its_device_is_found() {
    assert!(search(Bug::FailedReadIsHole, 64, 7).is_err());
    assert!(search(Bug::FailedWriteIsOk, 64, 7).is_err());
}
