//! What a sync owes (F1–F3): the pages that were dirty or on their way when it began, as they were
//! then, and the size that was visible then.
//!
//! At its begin the bytes that are visible and the size are noted, while no thread goes on: those
//! of clean pages too, since they reached the store before, or a mark is missing. When it returns
//! without an error, all of that or something newer has to be durable. Something is newer if it
//! comes of an operation that had not returned when the sync began. Whose writeback it was that
//! brought a page to the store does not matter; but if the first writeback of an owed page that
//! ended during the sync failed while the sync waited, it has to say so (F2).

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::{Errno, Mark, PAGE_SIZE, PageIndex};

use super::kernel::File;
use super::look::visible;
use super::owed::{Cell, Owed};
use super::scheduler;
use super::script::{CELL, FileNumber, Op, Operation, PER_PAGE};
use super::world::World;
use faultless_host::stores::{Image, SECTOR};

impl Owed {
    /// A sync of `range` of a file begins. Nothing else runs.
    pub(super) fn begin(
        world: &World,
        file: FileNumber,
        what: &'static str,
        range: Range<u64>,
    ) -> Self {
        let inode = &world.files[file];
        let size = inode.size();
        world.observe();
        let mut owed = Self {
            thread: scheduler::current(),
            file,
            what,
            range,
            cells: Vec::new(),
            pages: Vec::new(),
            size,
            sizes: world.sizes.borrow()[file].len() - 1,
            completed: world.stores[file].completed(),
            returned: world.returned.borrow().clone(),
        };
        let first = world.pos(0).max(owed.range.start) / PAGE_SIZE as u64;
        let end = size.min(owed.range.end).div_ceil(PAGE_SIZE as u64);
        for page in first..end {
            owed.page(world, inode, page);
        }
        owed
    }

    /// A write that syncs what it has written begins; it owes that alone. Nothing else runs.
    pub(super) fn by_write(world: &World, op: &Op, at: usize, cells: usize) -> Self {
        let mut owed = Self::begin(world, op.file, "O_DSYNC", 0..0);
        owed.range = world.pos(at)..world.pos(at + cells);
        owed
    }

    /// It has landed its first `cells` cells.
    pub(super) fn of_first(mut self, world: &World, cells: usize) -> Self {
        let first = ((self.range.start - world.pos(0)) / CELL as u64) as usize;
        let own = world.script.ops().find(|op| {
            op.file == self.file
                && !self.returned.contains(&op.tag)
                && matches!(op.operation, Operation::SyncWrite { at, .. } if at == first)
        });
        if let Some(op) = own {
            self.cells =
                (first..first + cells).map(|number| Cell { number, byte: op.tag }).collect();
        }
        self.range.end = world.pos(first + cells);
        self.size = self.size.max(self.range.end);
        let cuts = |op: &Op| {
            let cuts = matches!(op.operation, Operation::Truncate { .. } | Operation::Shift { .. });
            op.file == self.file && cuts
        };
        if !world.script.ops().any(|op| cuts(op) && !self.returned.contains(&op.tag)) {
            // The size reached the end of what landed, and stayed there.
            self.sizes = world.sizes.borrow()[self.file].len() - 1;
        }
        self
    }

    /// The file that it is about.
    pub(super) fn file(&self) -> FileNumber {
        self.file
    }

    fn page(&mut self, world: &World, inode: &File, page: u64) {
        let index = PageIndex::new(page);
        let marked = |mark| inode.mapping().find(index, index.plus(1), mark).is_some();
        let dirty = marked(Mark::Dirty);
        if dirty || marked(Mark::Writeback) {
            self.pages.push(page);
        }
        let Some(bytes) = visible(inode, index) else { return };
        let number = (index.start() - world.pos(0)) as usize / CELL;
        for (nth, bytes) in bytes.chunks(CELL).enumerate() {
            let (number, byte) = (number + nth, bytes[0]);
            let inside = world.pos(number) + CELL as u64 <= self.size;
            let torn = bytes.iter().any(|other| *other != byte);
            // A write that has not returned may have put it there, and not yet have marked the
            // page.
            let early = !dirty && self.is_newer(world, number, byte);
            if inside && !torn && !early {
                self.cells.push(Cell { number, byte });
            }
        }
    }

    /// The sync has returned.
    ///
    /// # Panics
    /// If it has not done what it owes.
    pub(super) fn end(&self, world: &World, result: Result<(), Errno>) {
        let store = &world.stores[self.file];
        match result {
            Err(errno) => {
                assert!(store.failures() > 0, "F2: {} says {errno}, and nothing failed", self.what);
            }
            Ok(()) => {
                if let Err(what) = self.check(world, &store.durable()) {
                    panic!("{} says Ok: {what}", self.what);
                }
                for &page in &self.pages {
                    let ended = store.first_completion(page, self.completed);
                    let failed = ended.filter(|ended| ended.outcome.is_err());
                    let waited = failed.is_some_and(|ended| ended.waiting >> self.thread & 1 == 1);
                    assert!(
                        !waited,
                        "F2: {} says Ok; the writeback of page {page} failed while it waited",
                        self.what
                    );
                }
            }
        }
    }

    /// Whether the disk holds all of it, or something newer.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn check(&self, world: &World, disk: &Image) -> Result<(), String> {
        let moves = |op: &Op| {
            let moves = matches!(op.operation, Operation::Shift { .. });
            op.file == self.file && moves && !self.returned.contains(&op.tag)
        };
        if world.script.ops().any(moves) {
            // Where its bytes are is not known: what is left at the end tells.
            return Ok(());
        }
        let sizes = &world.sizes.borrow()[self.file][self.sizes..];
        let needed = self.size.min(self.range.end);
        let whole = self.range.end == u64::MAX;
        let fits = |size: &u64| match whole {
            true => *size == disk.size(),
            false => size.min(&needed) <= &disk.size(),
        };
        if !sizes.iter().any(fits) {
            return Err(format!(
                "F3: the size {} was visible when it began ({sizes:?} since), and {} is durable",
                self.size,
                disk.size(),
            ));
        }
        for cell in &self.cells {
            let pos = world.pos(cell.number);
            if disk.size() <= pos {
                // The file was shorter than that for some time since: the size above is right.
                continue;
            }
            let byte = disk.first_byte(pos / SECTOR as u64);
            if byte != cell.byte && !self.is_newer(world, cell.number, byte) {
                return Err(format!(
                    "F1: {:#x} was visible in cell {} when it began, and {byte:#x} is durable",
                    cell.byte, cell.number
                ));
            }
        }
        Ok(())
    }

    /// Whether an operation that had not returned may have put the byte there.
    fn is_newer(&self, world: &World, cell: usize, byte: u8) -> bool {
        let later = |op: &&Op| op.file == self.file && !self.returned.contains(&op.tag);
        let mut later = world.script.ops().filter(later);
        later.any(|op| match op.operation {
            Operation::Copy { at, cells, .. } => (at..at + cells).contains(&cell),
            Operation::Truncate { .. } => byte == 0,
            Operation::Write { at, cells }
            | Operation::WriteBehind { at, cells }
            | Operation::SyncWrite { at, cells } => {
                byte == op.tag && (at..at + cells).contains(&cell)
            }
            Operation::Append { .. } => byte == op.tag,
            Operation::Blocks { at, cells, .. } => byte == 0 && (at..at + cells).contains(&cell),
            Operation::Store { cell: stored } => byte == op.tag && stored == cell,
            _ => false,
        })
    }
}

/// The bytes of a page of the script's part.
pub(super) fn range_of(world: &World, page: usize) -> Range<u64> {
    world.pos(page * PER_PAGE)..world.pos((page + 1) * PER_PAGE)
}
