//! What a [request](crate::request) does with its kernel's type.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::anchor::Anchor;
use crate::kernel::count;
use crate::leaf::Leaf;
use crate::request::{Ops, Raw};
use crate::{Count, Errno, Frames, Kernel, Mapping, PageCache, PageRun, SlotMask, SyncFamily};

/// The functions for the kernel `K`.
struct OpsOf<K>(PhantomData<K>);

impl<K: Kernel> OpsOf<K> {
    const OPS: &'static Ops = &Ops {
        frame: |raw, index| raw.leaf::<K>().frame(index.slot()),
        address: |raw, frame| raw.cache::<K>().frames().address(frame),
        begin: |raw| raw.anchor::<K>().begin(),
        end_read: Self::end_read,
        end_writeback: Self::end_writeback,
        trace: K::trace,
    };

    fn end_read(raw: &Raw, good: SlotMask, errno: Option<Errno>) {
        let _counted: Counted<'_, K> = Counted(raw, PhantomData);
        count::<K>(raw.anchor::<K>().store_id(), Count::Filled, good);
        raw.leaf::<K>().end_read(raw.cache::<K>(), raw.run(), good, errno);
    }

    fn end_writeback(raw: &Raw, result: Result<(), Errno>) {
        let _counted: Counted<'_, K> = Counted(raw, PhantomData);
        let (leaf, anchor, slots) = (raw.leaf::<K>(), raw.anchor::<K>(), raw.run().mask());
        if let Err(errno) = result {
            anchor.record(errno);
            let dirtied = leaf.set_dirty_again(slots);
            if anchor.accounts_dirty() {
                // Before the end is counted: the sum of both levels does not fall in between.
                count::<K>(anchor.store_id(), Count::Dirtied, dirtied);
            }
        }
        count::<K>(anchor.store_id(), Count::WritebackEnded, slots);
        leaf.clear_writeback(slots, raw.cache::<K>().wait());
    }
}

/// A request that ends, also by a wake that unwinds. Its drop counts the request out: nothing that
/// it points to is used afterwards.
struct Counted<'r, K: Kernel>(&'r Raw, PhantomData<K>);

impl<K: Kernel> Drop for Counted<'_, K> {
    fn drop(&mut self) {
        let out = Out(self.0.anchor::<K>());
        out.0.leave(self.0.cache::<K>().wait());
    }
}

/// A request that has left, also by a wake that unwinds. Its drop is the last access.
struct Out<'r, S: SyncFamily>(&'r Anchor<S>);

impl<S: SyncFamily> Drop for Out<'_, S> {
    fn drop(&mut self) {
        self.0.count_out();
    }
}

impl Raw {
    /// A request for the present pages of `run`, which lie in `leaf`.
    ///
    /// # Safety
    /// The leaf belongs to the mapping, and the pages of the run are now the request's: they are
    /// locked for it, or marked as under writeback by it.
    pub(crate) unsafe fn new<K: Kernel>(
        mapping: &Mapping<K>,
        leaf: &Leaf<K::Sync, K::Replacement>,
        run: PageRun,
    ) -> Option<Self> {
        let anchor = mapping.anchor()?;
        anchor.begin();
        let parts = [
            NonNull::from(mapping.cache()).cast(),
            NonNull::from(leaf).cast(),
            NonNull::from(anchor).cast(),
        ];
        // SAFETY: just counted; the caller's promise.
        Some(unsafe { Self::from_parts(parts, OpsOf::<K>::OPS, mapping.id(), run) })
    }

    fn cache<K: Kernel>(&self) -> &PageCache<K> {
        // SAFETY: by the invariant, a cache of the kernel that chose `ops`, which alone calls this;
        // it lives as long as the request.
        unsafe { self.parts()[0].cast().as_ref() }
    }

    fn leaf<K: Kernel>(&self) -> &Leaf<K::Sync, K::Replacement> {
        // SAFETY: as above.
        unsafe { self.parts()[1].cast().as_ref() }
    }

    fn anchor<K: Kernel>(&self) -> &Anchor<K::Sync> {
        // SAFETY: as above.
        unsafe { self.parts()[2].cast().as_ref() }
    }
}
