//! [`RamStore`]: files whose only copy is the cache (tmpfs), with a budget of pages.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use faultless_page::{
    AddressSpaceOperations, Begun, ConstSync, Contents, CoreSync, Errno, Fallocate, FillBuf,
    Initial, PAGE_SIZE, PageIndex, Reserved, Spin, SyncFamily, SyncKind, WritebackRun,
};

/// How many pages the files of a tmpfs may have, all of them together.
///
/// ```
/// use faultless_parts::PageBudget;
///
/// static TMPFS: PageBudget = PageBudget::new(1024);
/// assert_eq!(TMPFS.left(), 1024);
/// ```
#[derive(Debug)]
pub struct PageBudget {
    left: AtomicUsize,
}

impl PageBudget {
    /// A budget of this many pages; as many as addresses have room for at most.
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        let all = usize::MAX as u64;
        Self { left: AtomicUsize::new(if pages < all { pages } else { all } as usize) }
    }

    /// Pages that are left at this moment.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Relaxed) as u64
    }

    fn take(&self, pages: u64) -> Result<(), Errno> {
        let pages = usize::try_from(pages).map_err(|_| Errno::NoSpace)?;
        let mut left = self.left.load(Relaxed);
        loop {
            let rest = left.checked_sub(pages).ok_or(Errno::NoSpace)?;
            match self.left.compare_exchange_weak(left, rest, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => left = now,
            }
        }
    }

    /// As many were taken, so they fit.
    fn give_back(&self, pages: u64) {
        self.left.fetch_add(pages as usize, Relaxed);
    }
}

/// The store of one file that is kept nowhere but in the cache. Its pages are never evicted
/// ([`is_persistent`](AddressSpaceOperations::is_persistent) says no), and what was never written
/// reads as zeros.
///
/// # The limit
/// With a [`PageBudget`], a file is charged for all its pages from the first to the last one that
/// was written, holes included: the charge is one number, so that the store needs no table. A
/// write that goes beyond the budget fails with [`Errno::NoSpace`], or comes short. Truncation
/// gives pages back, and so does dropping the store. `B` is how the budget is reached:
/// `&'static PageBudget`, or an `Arc`.
///
/// No method sleeps. `S` is the family of the one short lock.
///
/// ```
/// use faultless_page::{AddressSpaceOperations, Errno};
/// use faultless_parts::{PageBudget, RamStore};
///
/// let budget = PageBudget::new(2);
/// let store: RamStore<_> = RamStore::within(&budget);
/// store.write_begin(0, 100)?;
/// store.write_begin(4096, 100)?;
/// assert_eq!(store.write_begin(8192, 1), Err(Errno::NoSpace));
/// store.truncate_blocks(4096);
/// assert_eq!((store.charged(), budget.left()), (1, 1));
/// # Ok::<(), Errno>(())
/// ```
pub struct RamStore<B: Deref<Target = PageBudget> = &'static PageBudget, S: SyncFamily = CoreSync> {
    budget: Option<B>,
    /// Pages `0..charged` are charged to the budget.
    charged: S::Spin<u64>,
}

impl RamStore {
    /// The store of an empty file without a limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { budget: None, charged: <CoreSync as ConstSync>::Free::<u64>::INITIAL }
    }
}

impl<B: Deref<Target = PageBudget>> RamStore<B> {
    /// The store of an empty file within `budget`.
    #[must_use]
    pub fn within(budget: B) -> Self {
        Self::with_locks(Some(budget))
    }
}

impl<B: Deref<Target = PageBudget>, S: SyncFamily> RamStore<B, S> {
    /// The store of an empty file, within a budget if there is one, with the locks of `S`.
    #[must_use]
    pub fn with_locks(budget: Option<B>) -> Self {
        Self { budget, charged: Spin::new(0) }
    }

    /// How many pages are charged to the budget. 0 without one.
    #[must_use]
    pub fn charged(&self) -> u64 {
        *self.charged.lock()
    }

    /// Charges the pages before `end`.
    fn charge(&self, end: u64) -> Result<(), Errno> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let mut charged = self.charged.lock();
        budget.take(end.saturating_sub(*charged))?;
        *charged = end.max(*charged);
        Ok(())
    }

    /// Gives back what is charged for pages from `end` on.
    fn discharge(&self, end: u64) {
        let Some(budget) = &self.budget else { return };
        let mut charged = self.charged.lock();
        budget.give_back(charged.saturating_sub(end));
        *charged = end.min(*charged);
    }
}

impl Default for RamStore {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, S> AddressSpaceOperations for RamStore<B, S>
where
    B: Deref<Target = PageBudget> + Send + Sync,
    S: SyncFamily,
{
    fn read(&self, _index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.charge(PageIndex::containing(pos).get() + 1)?;
        // A page that has contents is in the cache and uptodate: it is never read.
        Ok(Begun { len, contents: Contents::Hole, reserved: Reserved::Fully })
    }

    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let [_, last] = PageIndex::first_and_last(pos, len);
        match self.charge(last.get() + 1) {
            Ok(()) => Ok(Begun { len, contents: Contents::Hole, reserved: Reserved::Fully }),
            // There may be room for some of them.
            Err(_) => self.write_begin(pos, len.min(PageIndex::bytes_from(pos))),
        }
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        self.discharge(size.div_ceil(PAGE_SIZE as u64));
    }

    fn set_size(&self, _size: u64) {}

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }

    /// Room is a charge for all pages up to the end of the range, which a hole does not lower.
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        match change {
            _ if range.is_empty() => Ok(()),
            Fallocate::PunchHole => Ok(()),
            Fallocate::Allocate | Fallocate::ZeroRange => {
                self.charge(range.end.div_ceil(PAGE_SIZE as u64))
            }
        }
    }

    fn extent(&self, _pos: u64) -> Result<Option<Range<u64>>, Errno> {
        Ok(None)
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        true
    }
}

impl<B: Deref<Target = PageBudget>, S: SyncFamily> Drop for RamStore<B, S> {
    fn drop(&mut self) {
        self.discharge(0);
    }
}

impl<B: Deref<Target = PageBudget>, S: SyncFamily> fmt::Debug for RamStore<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamStore").field("charged", &self.charged()).finish_non_exhaustive()
    }
}
