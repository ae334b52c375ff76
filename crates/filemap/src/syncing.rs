//! A sync in steps: which pages it owes, and how far it is.
#![forbid(unsafe_code)]

use core::ops::Range;

use faultless_page::{Errno, Kernel, PageIndex};

use crate::errors::ErrorCursor;
use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;
use crate::writeback::Busy;

/// A sync that has begun: the pages that it owes, and how far it is.
pub(crate) struct Syncing {
    mark: ErrorCursor,
    first: PageIndex,
    end: PageIndex,
    pass: Pass,
}

/// A pass over the pages, and the first one that is left.
enum Pass {
    Send(PageIndex),
    Wait(PageIndex),
}

impl Syncing {
    pub(crate) fn begin<K: Kernel>(inode: &Inode<K>, range: &Range<u64>) -> Self {
        let mark = ErrorCursor::now(inode.mapping());
        let (first, end) = inode.pages_to_sync(range);
        Self { mark, first, end, pass: Pass::Send(first) }
    }

    /// Where the sequence of failures stood before the first look at a page.
    pub(crate) const fn mark(&self) -> ErrorCursor {
        self.mark
    }

    /// Sends and waits for what is left.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]; [`Errno::WouldBlock`], if the task does not sleep. Failures of the
    /// store are in the sequence.
    pub(crate) fn go_on<K: Kernel, T: Task>(
        &mut self,
        inode: &Inode<K>,
        token: &mut impl PageLocks,
        task: &T,
    ) -> Result<(), Errno> {
        if let Pass::Send(from) = &mut self.pass {
            inode.send_from(token, from, self.end, Busy::Wait, task)?;
            self.pass = Pass::Wait(self.first);
        }
        if let Pass::Wait(from) = &mut self.pass {
            inode.wait_for_writeback(token, from, self.end, task)?;
        }
        Ok(())
    }
}
