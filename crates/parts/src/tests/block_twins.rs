//! What the check against the vector finds: stores and devices with one mistake each.

use std::string::String;

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PageIndex, Reserved, SyncKind,
    WritebackRun,
};

use super::block_model::{Course, STALE, Store, check};
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

/// A store with a mistake.
struct Twin(Store, Bug);

impl Twin {
    fn block_size(&self) -> u64 {
        self.0.device().block_size() as u64
    }

    /// Overwrites blocks with what they held before they were the file's.
    fn make_stale(&self, blocks: impl Iterator<Item = u64>) {
        for block in blocks {
            if let Ok(Some(device_block)) = self.0.map().find(block) {
                let stale = std::vec![STALE; self.block_size() as usize];
                let _failed = self.0.device().write(device_block, &stale);
            }
        }
    }
}

impl AddressSpaceOperations for Twin {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let done = self.0.read(index, buf);
        if self.1 == Bug::FailedReadIsHole && done.is_err() {
            buf.fill_hole();
            return Ok(());
        }
        done
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let size = self.block_size();
        let blocks = pos / size..(pos + len as u64).div_ceil(size);
        let is_fresh = |block: &u64| matches!(self.0.map().find(*block), Ok(None));
        let fresh: std::vec::Vec<u64> = blocks.filter(is_fresh).collect();
        let begun = self.0.write_begin(pos, len)?;
        match self.1 {
            Bug::FreshBlocksAsTheyAre => self.make_stale(fresh.into_iter()),
            Bug::TakesTheWholePage => {
                let page = PageIndex::containing(pos).start();
                let _full = self.0.write_begin(page, 4096);
            }
            _ => {}
        }
        Ok(match self.1 {
            Bug::AlwaysBacked => Begun { reserved: Reserved::Fully, ..begun },
            Bug::AlwaysHole => Begun { contents: Contents::Hole, ..begun },
            Bug::GrantsTooMuch => Begun { len, ..begun },
            _ => begun,
        })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.0.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        match self.1 {
            Bug::LastPageStays => self.0.writeback(&run.part(0, run.pages() - 1)),
            Bug::FailedWriteIsOk => self.0.writeback(run).or(Ok(())),
            _ => self.0.writeback(run),
        }
    }

    fn truncate_blocks(&self, size: u64) {
        match self.1 {
            Bug::NoTrim => {}
            Bug::TailStays => self.0.truncate_blocks(size.next_multiple_of(self.block_size())),
            Bug::LastBlockGoes => self.0.truncate_blocks(size - size % self.block_size()),
            _ => self.0.truncate_blocks(size),
        }
    }

    fn set_size(&self, size: u64) {
        if self.1 != Bug::SizeForgotten {
            self.0.set_size(size);
        }
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.0.sync(kind)
    }

    fn max_size(&self) -> u64 {
        self.0.max_size()
    }
}

/// Courses until one goes wrong; what did.
fn search(bug: Bug, capacity: u64, fail_every: u64) -> Result<(), String> {
    (0..20).try_for_each(|seed| {
        let course = Course { block_size: 1024, capacity, fail_every, seed, steps: 400 };
        check(course, |store| Twin(store, bug))
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
