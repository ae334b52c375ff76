//! The files that a step of a reclaimer finds in scripts.

#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use faultless_filemap::{Files, Inode};
use faultless_page::Kernel;

/// Files by the ids of their mappings.
pub(super) struct Table<K: Kernel>(Vec<Weak<Inode<K>>>);

impl<K: Kernel> Table<K> {
    pub(super) const EMPTY: Self = Self(Vec::new());

    pub(super) fn of(files: &[Arc<Inode<K>>]) -> Self {
        Self(files.iter().map(Arc::downgrade).collect())
    }
}

impl<K: Kernel> Clone for Table<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kernel> Files<K> for Table<K> {
    type Handle = Arc<Inode<K>>;

    fn find(&self, mapping: u64) -> Option<Self::Handle> {
        let mut files = self.0.iter().filter_map(Weak::upgrade);
        files.find(|file| file.mapping().id() == mapping)
    }
}
