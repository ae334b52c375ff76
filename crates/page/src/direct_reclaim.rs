//! Memory for an operation that finds none: it has pages given up, and asks again.
#![forbid(unsafe_code)]

use crate::{Errno, FrameBatch, Kernel, LockContext, PageCache};

/// How often an allocation has pages given up before it fails. Each time another thread may take
/// the frames first.
const ATTEMPTS: u32 = 16;

impl<K: Kernel> PageCache<K> {
    /// As [`allocate`](Self::allocate), but asks [`Kernel::reclaim`] for pages before it fails.
    /// `locks` is the thread's permission to lock pages: none is locked (P3).
    ///
    /// # Errors
    /// As `allocate`, after 16 times or when there was nothing to give up.
    pub fn allocate_or_reclaim(
        &self,
        locks: LockContext<'_>,
        pages: u32,
    ) -> Result<FrameBatch<'_, K>, Errno> {
        self.or_reclaim(locks, pages, || self.allocate(pages))
    }

    /// Calls `allocate`, which wants about `pages` frames, until it has them or no page can be
    /// given up.
    pub(crate) fn or_reclaim<T>(
        &self,
        mut locks: LockContext<'_>,
        pages: u32,
        mut allocate: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        for _ in 0..ATTEMPTS {
            match allocate() {
                Err(Errno::NoMemory) => {}
                result => return result,
            }
            if K::reclaim(self, locks.reborrow(), pages) == 0 {
                break;
            }
        }
        // Another thread may have given up what this one looked for.
        allocate()
    }
}
