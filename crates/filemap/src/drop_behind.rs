//! Reads and writes that leave nothing behind in the cache: `RWF_DONTCACHE`.
//!
//! A page that such an operation brings in is
//! [*transient*](faultless_page::LockedRun::set_transient). It becomes an ordinary one with the
//! first read, fault or write of it that keeps what it uses, and with a pin it stays as long as
//! that lasts; so no page goes that is used otherwise, and none that was there before. A page that
//! is still transient is dropped when the operations of its open file have passed it:
//! - **Reads** drop the pages that they have read to the end, a leaf at a time, and a page that was
//!   read in part once the next read begins elsewhere.
//! - **Writes** list what they have written. Once that is long enough, it is handed to the store,
//!   and not waited for; then what was handed over before is waited for, and its clean pages are
//!   dropped. So no write is a flush, and the writer runs ahead of the store by two lists at most.
//!
//! What an open file has listed when it is closed is [finished](DropBehind::finish), or is left to
//! flushers and reclaim, as other pages that were used once. So are pages that the store has failed
//! to take: they are dirty, and their failure is in the file's sequence of failures.
#![forbid(unsafe_code)]

use core::fmt;
use core::mem;

use faultless_page::{AddressSpaceOperations, Errno, Kernel, PageIndex, Spin, SpinLock};
use faultless_usercopy::{IovIter, UserMemory};
use heapless::Vec;

use crate::inode::Inode;
use crate::options::{WriteOptions, Written};
use crate::pos::FilePos;
use crate::read_ahead::ReadAhead;
use crate::task::Task;
use crate::token::{InodeLocks, PageLocks};

/// Stretches of one list.
const STRETCHES: usize = 8;
/// Pages of a list that is long enough, if nothing else is said: 1 MiB.
const PAGES: u32 = 256;

/// What one open file has brought in by reads and writes that leave nothing behind. Shared by the
/// threads that use the open file; its lock is a short one, and not held across a call out of it.
pub struct DropBehind<K: Kernel> {
    state: SpinLock<K, State>,
    /// Pages of a list that is long enough.
    pages: u32,
}

#[derive(Debug)]
struct State {
    /// Not handed to the store yet.
    written: Stretches,
    /// Handed to the store.
    sent: Stretches,
    /// The page that the last read has used in part, up to its end.
    partly_read: Option<PageIndex>,
}

/// Stretches of pages of a file, which may overlap.
#[derive(Clone, Debug)]
struct Stretches {
    /// First pages and ends.
    list: Vec<(PageIndex, PageIndex), STRETCHES>,
    /// Pages of all of them, those that were written twice counted twice.
    pages: u64,
}

impl Stretches {
    const NONE: Self = Self { list: Vec::new(), pages: 0 };

    /// Adds pages `first..end` to the youngest stretch if they touch it, or if there is no room for
    /// another one; then what lies between belongs to it, too.
    fn add(&mut self, first: PageIndex, end: PageIndex) {
        let is_full = self.list.is_full();
        match self.list.last_mut() {
            Some(last) if is_full || (first <= last.1 && last.0 <= end) => {
                let before = last.1.get() - last.0.get();
                *last = (last.0.min(first), last.1.max(end));
                self.pages += last.1.get() - last.0.get() - before;
            }
            _ => {
                // There is room.
                let _fits = self.list.push((first, end));
                self.pages += end.get() - first.get();
            }
        }
    }

    /// The bytes of each stretch.
    fn ranges(&self) -> impl Iterator<Item = core::ops::Range<u64>> {
        self.list.iter().map(|(first, end)| first.start()..end.start())
    }
}

impl<K: Kernel> DropBehind<K> {
    /// Of an open file that has read and written nothing; lists of 256 pages.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pages(PAGES)
    }

    /// With lists of so many pages. A writer has twice as many in the cache at most, and those of
    /// one step, which are 64.
    #[must_use]
    pub fn with_pages(pages: u32) -> Self {
        let state = State { written: Stretches::NONE, sent: Stretches::NONE, partly_read: None };
        Self { state: Spin::new(state), pages }
    }

    /// Pages that hold bytes `[pos, end)` were written.
    pub(crate) fn wrote(&self, pos: u64, end: u64) {
        let first = PageIndex::containing(pos);
        self.state.lock().written.add(first, FilePos::clipped(end).page_from());
    }

    /// Hands what was written to the store and drops what was handed over before, if there is
    /// enough of it. May sleep; no page lock is held.
    pub(crate) fn work<T: Task>(&self, inode: &Inode<K>, token: &mut impl PageLocks, task: &T) {
        let lists = {
            let mut state = self.state.lock();
            let written = &state.written;
            let is_due = written.pages >= u64::from(self.pages) || written.list.is_full();
            is_due.then(|| state.turn())
        };
        if let Some((older, newer)) = lists {
            Self::send(inode, token, &newer, task);
            Self::drop_sent(inode, token, &older, task);
        }
    }

    /// Sends what was written, waits for it, and drops what may go: for the last close of the open
    /// file, or a sync of it, which leaves nothing to wait for. Pages that are used otherwise stay,
    /// and so do those that the store does not take, which are dirty.
    ///
    /// May sleep. No page lock is held. A fatal signal ends it early, and nothing is lost.
    pub fn finish<T: Task>(&self, inode: &Inode<K>, token: &mut impl PageLocks, task: &T) {
        let (sent, written, partly_read) = {
            let mut state = self.state.lock();
            let sent = mem::replace(&mut state.sent, Stretches::NONE);
            let written = mem::replace(&mut state.written, Stretches::NONE);
            (sent, written, state.partly_read.take())
        };
        Self::send(inode, token, &written, task);
        for list in [sent, written] {
            Self::drop_sent(inode, token, &list, task);
        }
        if let Some(page) = partly_read {
            inode.drop_transient(token, page, page.plus(1));
        }
    }

    /// A failure is in the file's sequence of failures: the next sync reports it.
    fn send<T: Task>(inode: &Inode<K>, token: &mut impl PageLocks, list: &Stretches, task: &T) {
        for range in list.ranges() {
            let _killed = inode.start_writeback(token, range, task);
        }
    }

    /// Sends as well what was under writeback when it was to be sent. A failure is in the sequence.
    fn drop_sent<T: Task>(
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        list: &Stretches,
        task: &T,
    ) {
        for range in list.ranges() {
            let (first, end) = crate::writeback::pages(&range);
            if inode.writeback(token, range, task) == Err(Errno::Interrupted) {
                return;
            }
            inode.drop_transient(token, first, end);
        }
    }

    /// A read has used the bytes from `from` to before `to`. Waits for the end of read sections
    /// only; no page lock is held.
    pub(crate) fn has_read(
        &self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        from: FilePos,
        to: FilePos,
    ) {
        let is_whole = to.offset_in_page() == 0 || to >= inode.eof();
        let (first, end) = (from.page(), if is_whole { to.page_from() } else { to.page() });
        let partly_read = (!is_whole).then_some(to.page());
        let before = mem::replace(&mut self.state.lock().partly_read, partly_read);
        if let Some(page) = before.filter(|page| Some(*page) != partly_read) {
            inode.drop_transient(token, page, page.plus(1));
        }
        if first < end {
            inode.drop_transient(token, first, end);
        }
    }
}

impl State {
    /// Begins a new list; the one that was sent, and the one that is to be sent now.
    fn turn(&mut self) -> (Stretches, Stretches) {
        let newer = mem::replace(&mut self.written, Stretches::NONE);
        (mem::replace(&mut self.sent, newer.clone()), newer)
    }
}

impl<K: Kernel> Inode<K> {
    /// As [`write`](Self::write), and drops the pages that this brings into the cache behind it, by
    /// and by: see [`DropBehind`], which is the open file's. A store that keeps no data elsewhere
    /// has its pages stay.
    ///
    /// May sleep for writebacks of earlier writes of the open file, with nothing held, and in a
    /// write of more than 64 pages with I held.
    ///
    /// # Errors
    /// As `write`. A failed writeback is reported by the next sync.
    #[doc(alias = "RWF_DONTCACHE")]
    pub fn write_behind<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        behind: &DropBehind<K>,
        task: &T,
    ) -> Result<Written, Errno> {
        if !self.drops_behind() {
            return self.write(token, from, options, task);
        }
        let written = self.write_with(token, from, options, Some(behind), None, task)?;
        behind.work(self, token, task);
        Ok(written)
    }

    /// As [`read_ahead`](Self::read_ahead), and drops the pages that this brings into the cache
    /// once they are read: see [`DropBehind`], which is the open file's, as `ahead` is. Pages that
    /// are read ahead and not asked for are left to reclaim. A store that keeps no data elsewhere
    /// has its pages stay.
    ///
    /// # Errors
    /// As `read_ahead`.
    #[doc(alias = "RWF_DONTCACHE")]
    pub fn read_behind<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: u64,
        ahead: &ReadAhead<K>,
        behind: &DropBehind<K>,
        task: &T,
    ) -> Result<usize, Errno> {
        if !self.drops_behind() {
            return self.read_ahead(token, to, pos, ahead, task);
        }
        self.read_transient(token, to, pos, ahead, behind, task)
    }

    /// Whether pages can be had again once they are dropped.
    fn drops_behind(&self) -> bool {
        self.mapping().store().is_persistent() && !self.is_swapped()
    }
}

impl<K: Kernel> Default for DropBehind<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel> fmt::Debug for DropBehind<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropBehind").field("state", &*self.state.lock()).finish_non_exhaustive()
    }
}
