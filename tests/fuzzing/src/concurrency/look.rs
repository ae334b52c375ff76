//! Pages of a file by the interface of the page cache: what a sync's ledger looks at, and what a
//! planted bug drops. And a question that checks ask of bytes.

use faultless_page::{LockContext, LockedRun, Mapping, PAGE_SIZE, PageIndex, PageRun, Unmap};

use super::kernel::{File, ScheduledKernel};

/// The bytes of a page as a reader would see them, if it is uptodate. Nothing else runs.
pub(super) fn visible(inode: &File, index: PageIndex) -> Option<Vec<u8>> {
    // SAFETY: nothing is locked, and nothing below is an access that faults.
    let section = inode.mapping().read_section(unsafe { LockContext::new() });
    let mut bytes = vec![0; PAGE_SIZE];
    let (from, len) = section.span(index.start(), PAGE_SIZE)?;
    // SAFETY: `len`, at most a page, bytes are good for reading while the section lasts; no other
    // thread runs.
    unsafe { from.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
    (len == PAGE_SIZE).then_some(bytes)
}

/// Whether all bytes are the same, at the speed of a comparison of memory.
pub(super) fn is_uniform(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes[1..] == bytes[..bytes.len() - 1]
}

/// How mappings of a page go that leaves the cache.
pub(super) const GONE: Unmap = Unmap::Evict;

/// Locks a page, if it is not locked.
pub(super) fn lock_page(
    mapping: &Mapping<ScheduledKernel>,
    index: PageIndex,
) -> Option<LockedRun<'_, ScheduledKernel>> {
    // SAFETY: nothing is locked, and the caller makes no access that faults while the page is.
    mapping.try_lock(unsafe { LockContext::new() }, PageRun::single(index))
}
