//! A mapping's [anchor](crate::anchor): made with the first leaf, given back at the end.

use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::anchor::Anchor;
use crate::pool::Spare;
use crate::{Errno, Failures, Kernel, Mapping, Word};

impl<K: Kernel> Mapping<K> {
    /// The anchor, if the mapping ever had a leaf.
    pub(crate) fn anchor(&self) -> Option<&Anchor<K::Sync>> {
        let address = self.anchor.load(Acquire);
        if address == 0 {
            return None;
        }
        let anchor: *const Anchor<K::Sync> = ptr::with_exposed_provenance(address as usize);
        // SAFETY: `make_anchor` stored the address of a node of the cache's pool, which outlives
        // the mapping; nodes are initialised, and only shared.
        Some(unsafe { &*anchor })
    }

    /// Gets the anchor if there is none yet. May allocate: no page lock is held (P3).
    pub(crate) fn make_anchor(&self) -> Result<(), Errno> {
        if self.anchor().is_some() {
            return Ok(());
        }
        let fresh = self.cache().nodes().take_anchor()?;
        fresh.reset(self.store_id());
        if self.accounts_dirty() {
            fresh.account_dirty();
        }
        let address = ptr::from_ref(&*fresh).expose_provenance() as u64;
        if self.anchor.compare_exchange(0, address, AcqRel, Acquire).is_ok() {
            let _linked = fresh.into_linked();
        } else {
            self.cache().nodes().anchors.put(fresh);
        }
        Ok(())
    }

    /// Gives the anchor back. For `drop`: the mapping has no other user, and its requests have been
    /// [waited for](Self::wait_for_requests).
    pub(crate) fn drop_anchor(&mut self) {
        let this = &*self;
        let Some(anchor) = this.anchor() else { return };
        // SAFETY: the node came from the pool, and the mapping's word, which is not used again, is
        // its only link; no request is left, as the caller has waited for them.
        let spare = unsafe { Spare::from_unlinked(anchor) };
        this.cache().nodes().anchors.put(spare);
    }

    /// Sleeps until no request of the mapping is under way. For `drop`.
    pub(crate) fn wait_for_requests(&self) {
        if let Some(anchor) = self.anchor() {
            anchor.wait_for_requests(self.cache().wait());
        }
    }

    /// The failed writebacks of the mapping, as far as this moment. Take it before the first look
    /// at a page (F2).
    #[must_use]
    pub fn failures(&self) -> Failures {
        self.anchor().map_or(Failures::NONE, Anchor::failures)
    }

    /// Notes that a caller was told of `failures`, unless there is another one by now.
    pub fn note_seen(&self, failures: Failures) {
        if let Some(anchor) = self.anchor() {
            anchor.note_seen(failures);
        }
    }
}
