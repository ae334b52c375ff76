//! `read`: pages to user memory, without a lock.
//!
//! Uptodate pages are copied inside a read section, which keeps their frames from being reused; the copy
//! is atomic. A fault ends the section first, then faults in, then goes on where it stopped. A page that is not
//! uptodate is filled under its lock.
#![forbid(unsafe_code)]

use faultless_page::{Errno, Kernel, PAGE_SIZE, PageRun, Trace};
use faultless_usercopy::{IovIter, MayFault, UserMemory};

use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;
use crate::transfer::{Bounce, CopyEnd, copy_out};

/// Rounds without a byte of progress after which a piece goes through a temporary page (W6).
const MAX_FRUITLESS_ROUNDS: u32 = 3;

impl<K: Kernel> Inode<K> {
    /// Reads from byte `pos` on into `to`, which lies in `user`.
    ///
    /// Returns how many bytes arrived; 0 at the end of the file. `to` has moved on by just that many. Every
    /// byte was in the file at some moment during the call (W5). Takes no inode lock.
    ///
    /// May sleep. No lock that the fault handler could want is held: `may` says so.
    ///
    /// # Errors
    /// Before the first byte arrived: [`Errno::Fault`] for a bad address, the store's error or
    /// [`Errno::NoMemory`] for a page that cannot be filled, [`Errno::Interrupted`] for a fatal signal.
    #[doc(alias = "generic_file_read_iter")]
    #[inline]
    pub fn read<U: UserMemory, T: Task>(
        &self,
        may: &mut MayFault,
        user: &U,
        to: &mut IovIter<'_>,
        pos: u64,
        task: &T,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        let mut fruitless = 0;
        while !to.is_empty() {
            let shrinks = self.shrinks();
            let at = match pos.checked_add(done as u64) {
                Some(at) if at < self.size() => at,
                _ => break,
            };
            let Some(run) = PageRun::covering(at, to.count()) else { break };
            let wanted = self.bytes_before_end(at, run.clip_len(at, to.count()));
            let (copied, end) = {
                let section = self.mapping().read_section(may.page_locks());
                copy_out(&section, user, to, at, wanted)
            };
            // A truncation may have zeroed what we have just read.
            let kept = if self.shrunk_since(shrinks) { 0 } else { copied };
            to.revert(copied - kept);
            done += kept;
            if kept > 0 {
                fruitless = 0;
                continue;
            }
            let next = match end {
                CopyEnd::NotUptodate => self.bring_in(may, at, wanted),
                CopyEnd::UserMemory if fruitless < MAX_FRUITLESS_ROUNDS => {
                    fruitless += 1;
                    fault_in::<K, U>(may, user, to, wanted)
                }
                CopyEnd::UserMemory => {
                    self.read_by_hand(may, user, to, at, wanted).map(|n| done += n)
                }
                CopyEnd::Done => Ok(()),
            };
            let next = if task.fatal_signal_pending() { Err(Errno::Interrupted) } else { next };
            match next {
                Ok(()) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// How many of `len` bytes at `pos` lie before the end.
    fn bytes_before_end(&self, pos: u64, len: usize) -> usize {
        (len as u64).min(self.size().saturating_sub(pos)) as usize
    }

    /// Makes the pages that hold `[pos, pos + len)`, all in one leaf, uptodate: the first of them at least.
    #[cold]
    fn bring_in(&self, may: &mut MayFault, pos: u64, len: usize) -> Result<(), Errno> {
        let Some(run) = PageRun::covering(pos, len) else { return Ok(()) };
        match self.make_uptodate(may, run) {
            // A bad page further on must not hide the good ones before it.
            Err(_) if run.pages() > 1 => self.make_uptodate(may, PageRun::single(run.first())),
            other => other,
        }
    }

    /// Carries the next bytes through a temporary page: the copy to user memory may fault, since nothing is locked.
    #[cold]
    fn read_by_hand<U: UserMemory>(
        &self,
        may: &mut MayFault,
        user: &U,
        to: &mut IovIter<'_>,
        pos: u64,
        len: usize,
    ) -> Result<usize, Errno> {
        let mut temporary = Bounce::allocate(self.mapping().cache())?;
        let shrinks = self.shrinks();
        let len = self.bytes_before_end(pos, len.min(PAGE_SIZE));
        let filled = {
            let section = self.mapping().read_section(may.page_locks());
            temporary.fill_from_pages(&section, pos, len)
        };
        if filled == 0 || self.shrunk_since(shrinks) {
            // Truncated or evicted meanwhile: the loop finds out which.
            return Ok(0);
        }
        match temporary.send_to(user, may, to) {
            0 => Err(Errno::Fault),
            sent => Ok(sent),
        }
    }
}

/// Makes the next `len` bytes of user memory writable, if they can be.
fn fault_in<K: Kernel, U: UserMemory>(
    may: &mut MayFault,
    user: &U,
    to: &IovIter<'_>,
    len: usize,
) -> Result<(), Errno> {
    K::trace(Trace::FaultIn(len));
    K::trace(Trace::MayFault);
    let missed = to.fault_in_writeable(user, may, len);
    if missed >= len { Err(Errno::Fault) } else { Ok(()) }
}
