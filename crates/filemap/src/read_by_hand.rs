//! Reads of a page that does not stay, or of user memory that does not: by a temporary page.
#![forbid(unsafe_code)]

use faultless_page::{Count, Errno, Kernel, PAGE_SIZE, PageRun};
use faultless_usercopy::{IovIter, UserMemory};

use crate::inode::Inode;
use crate::moving::Patience;
use crate::options::Retention;
use crate::pos::FilePos;
use crate::read::would_fault;
use crate::task::{Caller, Task};
use crate::token::{InodeLocks, PageLocks};
use crate::transfer::Bounce;
use crate::uptodate::{Brought, Kept};

impl<K: Kernel> Inode<K> {
    /// Carries the next bytes through a temporary page, which is filled with the page of the file
    /// locked: neither reclaim nor truncation comes in between. The copy to user memory may fault,
    /// since nothing is locked then.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "one round of a read, as it stands")]
    pub(crate) fn read_by_hand<'i, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'i self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: FilePos,
        len: usize,
        retention: Retention,
        kept: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<usize, Errno> {
        let mut temporary = Bounce::allocate(self.mapping().cache(), token)?;
        let len = len.min(PAGE_SIZE);
        if !self.copy_locked(token, &mut temporary, pos, len, retention, kept, task)? {
            // Cut off meanwhile: the loop finds that out.
            return Ok(0);
        }
        let sent =
            if T::SLEEPS { temporary.send_to(token, to) } else { temporary.send_to_present(to) };
        match sent {
            0 if !T::SLEEPS => Err(would_fault(to, len, task)),
            0 => Err(Errno::Fault),
            sent => {
                self.mapping().count(Count::Used, 1);
                Ok(sent)
            }
        }
    }

    /// Fills `temporary` with up to `len` bytes of the page of `pos`; whether any lie before the
    /// end.
    #[expect(clippy::too_many_arguments, reason = "one round of a read, as it stands")]
    fn copy_locked<'i, T: Task>(
        &'i self,
        token: &mut impl PageLocks,
        temporary: &mut Bounce<'_, K>,
        pos: FilePos,
        len: usize,
        retention: Retention,
        mut kept: Kept<'_, 'i, K>,
        task: &T,
    ) -> Result<bool, Errno> {
        let Some(run) = pos.run(len) else { return Ok(false) };
        let run = PageRun::single(run.first());
        let killed = Caller(task);
        let mut patience = Patience::new();
        loop {
            let kept = kept.as_deref_mut();
            let brought = self.bring_in(token, run, retention, kept, &mut patience, task)?;
            let Brought::Uptodate(_page) = brought else { return Ok(false) };
            let locks = token.page_locks();
            let locked = self.mapping().lock_killable(locks, run, &killed)?;
            // Otherwise a truncation has taken it away, or a shift.
            if let Some(mut locked) = locked.filter(|locked| !locked.uptodate().is_empty()) {
                if retention == Retention::Kept {
                    locked.keep_read(run.mask());
                }
                let len = self.bytes_before_end(pos, run.clip_len(pos.get(), len));
                return Ok(temporary.fill_from_locked(&locked, pos.get(), len) > 0);
            }
            patience.overtaken();
        }
    }
}
