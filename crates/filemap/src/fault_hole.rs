//! Private copies of holes of a file that is nowhere but in the cache: zeros, and no page.
//!
//! So a private mapping of such a file, as one without a name is, costs a frame for each page that
//! is stored to, and none in the cache beside it.
#![forbid(unsafe_code)]

use core::ops::ControlFlow::{self, Break, Continue};

use faultless_page::{Count, Kernel, OwnedFrame, PageIndex, PageRun};

use crate::fault::FaultError;
use crate::inode::Inode;
use crate::task::{Caller, Task};
use crate::token::{InFault, PageLocks};

/// What is left to do of a fault: where to copy to, and what to do with the copy.
pub(crate) type ToCopy<'f, K, F> = (OwnedFrame<'f, K>, F);

impl<K: Kernel> Inode<K> {
    /// Resolves a fault for a copy of page `index`, as [`fault_copy`](Self::fault_copy) does, if
    /// the page is in a hole of a file in memory and not in the cache: `copy` becomes zeros, and
    /// `install` is called with the absent page's slot locked. So a write of the page comes before
    /// or after it, and a truncation takes the copy away. Otherwise gives both back.
    ///
    /// # Errors
    /// As `fault_copy`.
    pub(crate) fn copy_hole<'f, T: Task, R, F: FnOnce(OwnedFrame<'f, K>) -> R>(
        &self,
        fault: &mut InFault,
        index: PageIndex,
        mut copy: OwnedFrame<'f, K>,
        task: &T,
        install: F,
    ) -> Result<ControlFlow<R, ToCopy<'f, K, F>>, FaultError> {
        let mapping = self.mapping();
        if !mapping.holes_are_zeros() || self.is_resident(index) {
            return Ok(Continue((copy, install)));
        }
        if index >= self.eof().page_from() {
            return Err(FaultError::PastEnd);
        }
        copy.zero();
        let (locks, run) = (fault.page_locks(), PageRun::single(index));
        let mut locked = mapping.lock_or_create_killable(locks, run, &Caller(task))?;
        if !locked.present().is_empty() || index >= self.eof().page_from() {
            return Ok(Continue((copy, install)));
        }
        self.note_user_mapping();
        let installed = install(copy);
        self.recheck_size(&mut locked, index);
        mapping.count(Count::Faulted, 1);
        Ok(Break(installed))
    }
}
