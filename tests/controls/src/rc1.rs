//! The first cure, 08291429cf: strategy A, with its defects S1–S5 as switches.
//!
//! Unlike the others it keeps the rule of the token: it never faults under a page lock, and so
//! never deadlocks.

#![forbid(unsafe_code)]

use faultless_filemap::{PageLocks, Task};
use faultless_page::{Errno, Kernel, PAGE_SIZE, PageIndex, PageRun, Trace};
use faultless_usercopy::{MayFault, UserMemory};

use super::bytes::{carry, copy_in_atomic, fill_temporary};
use super::defects::{Defect, Defects};
use super::prepared::{Prepared, in_page};
use super::request::Failure;
use super::writer::Writer;

impl<K: Kernel, U: UserMemory<Token = MayFault>, T: Task> Writer<'_, K, U, T> {
    /// The loop: what falls in one page each time, over as many segments as it takes.
    pub(super) fn prepare_commit(&mut self, defects: Defects) -> Result<(), Failure> {
        while self.from.count() > 0 {
            self.step()?;
            if !defects.has(Defect::NoSignalCheck) && self.task.fatal_signal_pending() {
                return Err(Errno::Interrupted.into());
            }
            if !defects.has(Defect::EmptySegmentLoop) {
                self.from.skip_empty();
            }
            let len = self.probe(defects)?;
            match self.copy_if_uptodate(defects, len)? {
                Some(copied) => self.landed(copied),
                None => {
                    let copied = self.carry_by_temporary(len)?;
                    self.landed(copied);
                }
            }
            self.task.throttle();
        }
        Ok(())
    }

    /// Faults in the part of the next chunk that lies in the current segment; the chunk's length,
    /// not 0.
    fn probe(&mut self, defects: Defects) -> Result<usize, Errno> {
        let chunk = in_page(self.pos, self.from.count());
        let first = self.from.current().prefix(chunk);
        K::trace(Trace::FaultIn(first.len()));
        // Of an empty segment every byte can be reached: that is what S1 is made of.
        let missed = self.user.fault_in_readable(self.token, first);
        match first.len() - missed {
            _ if missed == 0 => Ok(chunk),
            0 => Err(Errno::Fault),
            _ if defects.has(Defect::WholeChunkRefused) => Err(Errno::Fault),
            reached => Ok(reached),
        }
    }

    /// Copies into the page with faults disabled if it is uptodate; how many bytes arrived. `None`
    /// if it is not.
    fn copy_if_uptodate(&mut self, defects: Defects, len: usize) -> Result<Option<usize>, Errno> {
        let run = PageRun::single(PageIndex::containing(self.pos));
        let Some(locked) = self.inode.mapping().lock(self.token.page_locks(), run) else {
            return Ok(None);
        };
        if locked.uptodate().is_empty() {
            return Ok(None);
        }
        let page = Prepared::new(locked, self.pos, len)?;
        let copied = copy_in_atomic(&page, self.user, self.from.pieces(page.len()));
        let committed = match defects.has(Defect::GrowsByAsked) {
            true => page.len(),
            false => copied,
        };
        page.commit(committed);
        Ok(Some(copied))
    }

    /// Copies to a temporary page with faults allowed and nothing locked, then from there into the
    /// page.
    fn carry_by_temporary(&mut self, len: usize) -> Result<usize, Errno> {
        let cache = self.inode.mapping().cache();
        let Some(mut temporary) = cache.allocate(1)?.take_first() else {
            return Err(Errno::NoMemory);
        };
        let pieces = self.from.pieces(len.min(PAGE_SIZE));
        let got = fill_temporary(&mut temporary, self.user, self.token, pieces);
        if got == 0 {
            return Err(Errno::Fault);
        }
        let mut frame = cache.allocate(1)?.take_first();
        let index = PageIndex::containing(self.pos);
        let context = self.token.page_locks();
        let mut locked = self.inode.mapping().lock_or_create(context, PageRun::single(index))?;
        // The page may have come, gone or become uptodate meanwhile; what was locked is what is
        // there now (P6).
        if locked.present().is_empty()
            && let Some(frame) = frame.take()
        {
            let _ = locked.insert(index, frame);
        }
        let page = Prepared::new(locked, self.pos, got)?;
        let len = page.len();
        carry(&page, &temporary, len);
        page.commit(len);
        Ok(len)
    }
}
