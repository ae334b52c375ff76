//! The store of a file of a tmpfs: kept in the cache alone, within a limit for all files together
//! that counts the pages which they have, and no holes.
//!
//! [`RamStore`] has a limit without a table, and counts holes too.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless::page::{Spin, SyncKind};
use faultless::parts::RamStore;
use faultless::prelude::{
    AddressSpaceOperations, Begun, Errno, Fallocate, FillBuf, PAGE_SIZE, PageIndex, SyncFamily,
    WritebackRun,
};

/// How many pages the files of a tmpfs may have, all of them together.
#[derive(Debug)]
pub struct Room {
    pages: u64,
    left: AtomicU64,
}

impl Room {
    /// Room for so many pages.
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        Self { pages, left: AtomicU64::new(pages) }
    }

    /// Pages that there were at first.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Pages that are left at this moment.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Relaxed)
    }

    fn take(&self, pages: u64) -> Result<(), Errno> {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(pages));
        taken.map(drop).map_err(|_| Errno::NoSpace)
    }

    /// As many were taken, so they fit.
    fn give_back(&self, pages: u64) {
        self.left.fetch_add(pages, Relaxed);
    }
}

/// The store of one file of a tmpfs. A write, or a CPU store through a mapping, that needs a page
/// beyond the limit fails with `ENOSPC` or raises `SIGBUS`. Truncation, a hole punched and the drop
/// of the store give pages back. `B` is how the room is reached: `&'static Room`, or an `Arc`.
///
/// No method sleeps. `S` is the family of the one short lock, with which the allocator is called.
pub struct TmpfsStore<B: Deref<Target = Room>, S: SyncFamily> {
    room: B,
    /// The pages that are counted.
    counted: S::Spin<Pages>,
    contents: RamStore,
}

impl<B: Deref<Target = Room>, S: SyncFamily> TmpfsStore<B, S> {
    /// The store of an empty file within `room`.
    #[must_use]
    pub fn new(room: B) -> Self {
        Self { room, counted: Spin::new(Pages::default()), contents: RamStore::new() }
    }

    fn take(&self, pages: Range<u64>) -> Result<(), Errno> {
        let mut counted = self.counted.lock();
        let len = pages.end.saturating_sub(pages.start);
        let more = len - counted.count(&pages);
        if more > 0 {
            self.room.take(more)?;
            counted.add(pages);
        }
        Ok(())
    }

    fn give_back(&self, pages: Range<u64>) {
        let fewer = self.counted.lock().remove(&pages);
        self.room.give_back(fewer);
    }
}

impl<B, S> AddressSpaceOperations for TmpfsStore<B, S>
where
    B: Deref<Target = Room> + Send + Sync,
    S: SyncFamily,
{
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.contents.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let page = PageIndex::containing(pos).get();
        self.take(page..page + 1)?;
        self.contents.write_begin(pos, len)
    }

    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let [first, last] = PageIndex::first_and_last(pos, len);
        match self.take(first.get()..last.get() + 1) {
            Ok(()) => self.contents.write_begin_run(pos, len),
            // There may be room for some of them.
            Err(_) => self.write_begin(pos, len.min(PageIndex::bytes_from(pos))),
        }
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.contents.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.contents.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.give_back(size.div_ceil(PAGE_SIZE as u64)..u64::MAX);
        self.contents.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.contents.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.contents.sync(kind)
    }

    /// The range lies in one leaf. A hole takes the pages that lie in it as a whole.
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        let page = PAGE_SIZE as u64;
        match change {
            _ if range.is_empty() => {}
            Fallocate::PunchHole => {
                let (first, end) = (range.start.div_ceil(page), range.end / page);
                self.give_back(first..end.max(first));
            }
            Fallocate::Allocate | Fallocate::ZeroRange => {
                self.take(range.start / page..range.end.div_ceil(page))?;
            }
        }
        self.contents.fallocate(change, range)
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        self.contents.extent(pos)
    }

    fn is_persistent(&self) -> bool {
        self.contents.is_persistent()
    }

    fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }
}

impl<B: Deref<Target = Room>, S: SyncFamily> Drop for TmpfsStore<B, S> {
    fn drop(&mut self) {
        self.give_back(0..u64::MAX);
    }
}

impl<B: Deref<Target = Room>, S: SyncFamily> fmt::Debug for TmpfsStore<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.counted.lock().count(&(0..u64::MAX));
        f.debug_struct("TmpfsStore").field("pages", &pages).finish_non_exhaustive()
    }
}

/// Pages, as stretches: their ends, by their first ones. They do not meet.
#[derive(Debug, Default)]
struct Pages(BTreeMap<u64, u64>);

impl Pages {
    /// The stretches that have a page of `range`, or end where it begins.
    fn near(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let before =
            self.0.range(..range.start).next_back().filter(|(_, end)| **end >= range.start);
        let inside = self.0.range(range.start..range.end.max(range.start));
        before.into_iter().chain(inside).map(|(start, end)| *start..*end).collect()
    }

    /// How many of `range` are in it.
    fn count(&self, range: &Range<u64>) -> u64 {
        let inside =
            |near: &Range<u64>| near.end.min(range.end).saturating_sub(near.start.max(range.start));
        self.near(range).iter().map(inside).sum()
    }

    fn add(&mut self, range: Range<u64>) {
        let behind = self.0.remove_entry(&range.end).map(|(start, end)| start..end);
        let mut whole = range.clone();
        for near in self.near(&range).into_iter().chain(behind) {
            self.0.remove(&near.start);
            whole = whole.start.min(near.start)..whole.end.max(near.end);
        }
        self.0.insert(whole.start, whole.end);
    }

    /// Takes the pages of `range` out; how many there were.
    fn remove(&mut self, range: &Range<u64>) -> u64 {
        let count = self.count(range);
        for near in self.near(range) {
            self.0.remove(&near.start);
            for rest in [near.start..range.start.min(near.end), range.end.max(near.start)..near.end]
            {
                if !rest.is_empty() {
                    self.0.insert(rest.start, rest.end);
                }
            }
        }
        count
    }
}
