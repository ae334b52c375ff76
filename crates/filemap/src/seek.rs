//! Where the data of a file is, and where its holes are: `SEEK_DATA` and `SEEK_HOLE`.
//!
//! A byte is data if the store has a block for it, or if its page is in the cache and newer than
//! the store; if the cache is the only copy, if its page is in the cache. The cache is looked at
//! first: a page that has become clean since has blocks by then. Neighbour:
//! [`fallocate`](crate::fallocate) makes holes.
#![forbid(unsafe_code)]

use faultless_page::{AddressSpaceOperations, Errno, Kernel, Mark, PageIndex, PageRun};

use crate::inode::Inode;
use crate::pos::FilePos;
use crate::task::Task;

impl<K: Kernel> Inode<K> {
    /// The first byte of data at or past `pos`; `None` if there is none before the end of the file
    /// (`ENXIO`). Data may hold nothing but zeros; what is no data reads as zeros.
    ///
    /// May sleep, for the store. Takes no lock: what runs beside it may be seen or not. No page
    /// lock is held.
    ///
    /// # Errors
    /// The store's.
    #[doc(alias = "SEEK_DATA")]
    pub fn seek_data(&self, pos: u64) -> Result<Option<u64>, Errno> {
        let end = self.eof();
        if pos >= end.get() {
            return Ok(None);
        }
        let cached = self.cached_data(pos, end).map_or(end.get(), |run| run.start().max(pos));
        if cached == pos {
            return Ok(Some(pos));
        }
        let stored = self.mapping().store().extent(pos)?;
        let stored = stored.map_or(end.get(), |extent| extent.start.max(pos));
        Ok(Some(stored.min(cached)).filter(|data| *data < end.get()))
    }

    /// The first byte of a hole at or past `pos`: the end of the file, if there is none before it;
    /// `None` if `pos` is not before the end (`ENXIO`). As [`seek_data`](Self::seek_data) in all
    /// else. Each round passes over an extent or over cached pages, and looks for a fatal signal.
    ///
    /// # Errors
    /// The store's; [`Errno::Interrupted`].
    #[doc(alias = "SEEK_HOLE")]
    pub fn seek_hole<T: Task>(&self, pos: u64, task: &T) -> Result<Option<u64>, Errno> {
        let end = self.eof();
        if pos >= end.get() {
            return Ok(None);
        }
        let mut at = pos;
        while at < end.get() {
            if task.fatal_signal_pending() {
                return Err(Errno::Interrupted);
            }
            let cached = self.cached_data(at, end).filter(|run| run.start() <= at);
            let data_end = match cached {
                Some(run) => run.end().start(),
                None => match self.mapping().store().extent(at)? {
                    Some(extent) if extent.start <= at => extent.end,
                    _ => at,
                },
            };
            if data_end <= at {
                break;
            }
            at = data_end;
        }
        Ok(Some(at.min(end.get())))
    }

    /// The first cached pages of `pos..end` that are data, whatever the store says.
    fn cached_data(&self, pos: u64, end: FilePos) -> Option<PageRun> {
        let store = self.mapping().store();
        let mark = if store.is_persistent() { Mark::Unclean } else { Mark::Present };
        self.mapping().find(PageIndex::containing(pos), end.page_from(), mark)
    }
}
