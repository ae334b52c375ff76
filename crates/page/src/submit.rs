//! Handing locked pages to the store, to be read, and what is left of a read that failed.

use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Release;

use crate::leaf::Leaf;
use crate::request::Raw;
use crate::{
    AddressSpaceOperations, Errno, FileEnd, Frames, Kernel, LockedRun, Mapping, PageCache,
    PageIndex, PageRun, ReadRequest, Replacement, SlotMask, SyncFamily, Trace,
};

impl<K: Kernel> LockedRun<'_, K> {
    /// Hands pages of the run to the store to be read: those of `slots` that are present and not
    /// uptodate, as one request for each stretch. All the others are unlocked first. A request owns
    /// the locks of its pages: a thread that waits for the store waits for these locks.
    ///
    /// May sleep, if the store does. The permission to lock pages is in use until all requests were
    /// handed over.
    pub fn submit_read(self, slots: SlotMask, end: FileEnd) {
        let (mapping, leaf, run) = (self.mapping, self.leaf, self.run());
        let wanted = (slots & self.present()) - self.uptodate();
        K::trace(Trace::Released(mapping.lock_id(run)));
        let mut rest = Rest { mapping, leaf, slots: wanted };
        let others = self.mask() - wanted;
        // The locks go on as those of the requests.
        mem::forget(self);
        if !others.is_empty() {
            leaf.unlock(others, mapping.cache().wait());
        }
        while let Some(run) = PageRun::first_of(run.leaf_base(), rest.slots) {
            // SAFETY: the leaf is the mapping's, and the locks of these present pages are the
            // request's from here on.
            let Some(raw) = (unsafe { Raw::new(mapping, leaf, run) }) else { return };
            rest.slots -= run.mask();
            mapping.store().submit_read(ReadRequest::new(raw, end));
        }
    }

    /// Why the store could not read a page of the run that is not uptodate and was submitted:
    /// [`Errno::Io`] for all other pages.
    #[must_use]
    pub fn read_error(&self, index: PageIndex) -> Errno {
        let Some(frame) = self.frame(index) else { return Errno::Io };
        if self.uptodate().contains(index.bit()) {
            return Errno::Io;
        }
        let memory = self.mapping.cache().frames().address(frame).cast::<[u64; 2]>();
        // SAFETY: a page that is locked and not uptodate: nothing else uses its bytes, which are
        // initialised and aligned.
        match unsafe { memory.read() } {
            [FAILED, code] => Errno::from_code(code),
            _ => Errno::Io,
        }
    }
}

/// Locks that no request has yet. Dropped by a store that unwinds: they are given back.
struct Rest<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    leaf: &'t Leaf<K::Sync, K::Replacement>,
    slots: SlotMask,
}

impl<K: Kernel> Drop for Rest<'_, K> {
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.leaf.unlock(self.slots, self.mapping.cache().wait());
        }
    }
}

/// Stands at the begin of a page that could not be read, before the error number. The bytes of such
/// a page are not used for anything else.
const FAILED: u64 = 0x4641_494c_4544_2121;

impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// The pages of `run` are no longer being read: `good` are uptodate, the others are not because
    /// of `errno`. Unlocks them.
    pub(crate) fn end_read<K: Kernel<Sync = S, Replacement = R>>(
        &self,
        cache: &PageCache<K>,
        run: PageRun,
        good: SlotMask,
        errno: Option<Errno>,
    ) {
        if let Some(errno) = errno {
            for slot in (run.mask() - good).iter() {
                let Some(frame) = self.frame(slot) else { continue };
                let memory: NonNull<[u64; 2]> = cache.frames().address(frame).cast();
                // SAFETY: a page that is locked and not uptodate: nothing else uses its bytes.
                unsafe { memory.write([FAILED, u64::from(errno.code().unsigned_abs())]) };
            }
        }
        if !good.is_empty() {
            self.uptodate.fetch_or(good, Release);
        }
        self.unlock(run.mask(), cache.wait());
    }
}
