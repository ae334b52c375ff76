//! What may refer to the nodes of a cache, and what becomes of them when nothing can.
//!
//! Nodes are type-stable while the cache has a *user*: a mapping, or a search for victims. A thread
//! reaches a node by way of a mapping that it borrows, a request that its mapping's drop waits for,
//! or the books that a search reads. So when the last user goes, no thread is in a node, and the
//! memory of all nodes goes back to the frames.
use crate::debug::kernel_debug;
use crate::replacement::Ops;
use crate::{Kernel, PageCache, Spin};

/// A search for victims, as a user of the cache.
pub(crate) struct User<'c, K: Kernel>(&'c PageCache<K>);

impl<'c, K: Kernel> User<'c, K> {
    pub(crate) fn new(cache: &'c PageCache<K>) -> Self {
        cache.add_user();
        Self(cache)
    }

    pub(crate) fn cache(&self) -> &'c PageCache<K> {
        self.0
    }
}

impl<K: Kernel> Drop for User<'_, K> {
    fn drop(&mut self) {
        self.0.remove_user();
    }
}

impl<K: Kernel> PageCache<K> {
    /// Counts a user in. Before it uses a node.
    pub(crate) fn add_user(&self) {
        *self.users.lock() += 1;
    }

    /// Counts a user out, which stands in no node any more. After the last one all nodes go.
    pub(crate) fn remove_user(&self) {
        let nodes = {
            // A new user waits here until the pools are empty: it sees none of these nodes.
            let mut users = self.users.lock();
            *users -= 1;
            if *users > 0 {
                return;
            }
            self.recent().forget();
            K::Replacement::forget_leaves(&mut self.books().lock());
            self.take_nodes()
        };
        // SAFETY: the pools are only given these frames. There was no user, so nothing uses a node.
        unsafe { nodes.give_back(self.frames()) };
    }
}

kernel_debug!(User<'_, K>, |this| { cache: this.0 });
