//! Which files are open for writing, and which ones are running programs: a file cannot be both
//! (`ETXTBSY`).
//!
//! Key type: [`Use`].
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;

use faultless_posix::Errno;

use crate::files::vnode::Vnode;
use crate::sync::Lock;

/// By the numbers of the nodes: how many write, or, negative, how many run.
static USES: Lock<BTreeMap<(u64, u64), i64>> = Lock::new(BTreeMap::new());

/// A use of a file, as long as this is there. Its owner keeps the file, too.
#[derive(Debug)]
pub(crate) struct Use {
    node: (u64, u64),
    /// What it adds to the table.
    count: i64,
}

impl Use {
    /// The file is open for writing.
    ///
    /// # Errors
    /// `ETXTBSY`: it is a running program.
    pub(crate) fn writing(node: &dyn Vnode) -> Result<Self, Errno> {
        Self::new(node, 1)
    }

    /// The file is a program that runs.
    ///
    /// # Errors
    /// `ETXTBSY`: it is open for writing.
    pub(super) fn running(node: &dyn Vnode) -> Result<Self, Errno> {
        Self::new(node, -1)
    }

    fn new(node: &dyn Vnode, count: i64) -> Result<Self, Errno> {
        let node = node.id();
        let mut uses = USES.lock();
        let total = uses.entry(node).or_insert(0);
        if *total * count < 0 {
            return Err(Errno::TXTBSY);
        }
        *total += count;
        Ok(Self { node, count })
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Entry::Occupied(mut total) = USES.lock().entry(self.node) {
            *total.get_mut() -= self.count;
            if *total.get() == 0 {
                total.remove();
            }
        }
    }
}
