//! Which kind of store a file lies on, empty or as a crash left it.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use faultless::page::AddressSpaceOperations;
use faultless_host::stores::{BlockStore, FileStore, Image, Medium, MemoryStore, Sizing};

use super::PAGES;
use crate::Store;
use crate::setup::unlinked_file;

/// A kind of store that keeps what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Whole pages.
    Memory,
    /// Blocks of so many bytes.
    Blocks(usize),
    /// Blocks of 1 KiB behind the interface of 2007.
    Legacy,
    /// A file of the host, whose length is the size.
    HostFile,
}

/// How a disk is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mount {
    /// What writes that were lost in part have left past the size is forgotten, as
    /// [`AddressSpaceOperations`] asks for.
    #[default]
    Recover,
    /// It is not: planted.
    AsItIs,
}

impl Disk {
    /// All of them. A volatile store is none: nothing of it is left.
    pub const ALL: &[Self] = &[
        Self::Memory,
        Self::Blocks(512),
        Self::Blocks(1024),
        Self::Blocks(4096),
        Self::Legacy,
        Self::HostFile,
    ];

    /// How it knows the size.
    #[must_use]
    pub fn sizing(self) -> Sizing {
        match self {
            Self::HostFile => Sizing::Length,
            Self::Memory | Self::Blocks(_) | Self::Legacy => Sizing::Recorded,
        }
    }

    /// An empty one.
    #[must_use]
    pub fn make(self) -> Store {
        self.mount(&Image::empty(self.sizing()), Mount::Recover)
    }

    /// One that holds what a crash left.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn mount(self, image: &Image, mount: Mount) -> Store {
        let store = match self {
            Self::Memory => Store::plain(loaded(MemoryStore::new(), image)),
            Self::Blocks(size) => Store::on_blocks(loaded(blocks(size), image)),
            Self::Legacy => Store::behind_legacy(loaded(blocks(1024), image)),
            Self::HostFile => {
                let file = unlinked_file();
                file.write_all_at(&image.contents(), 0).expect("room on the host");
                file.set_len(image.size()).expect("room on the host");
                Store::plain(FileStore::new(file).expect("a file"))
            }
        };
        if mount == Mount::Recover {
            store.operations().truncate_blocks(image.size());
        }
        store
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Blocks for twice the pages of a script.
fn blocks(size: usize) -> Arc<BlockStore> {
    BlockStore::new(size, 2 * (PAGES + 2) * (crate::PAGE / size))
}

fn loaded<S: Medium + AddressSpaceOperations>(store: Arc<S>, image: &Image) -> Arc<S> {
    image.load(&*store).expect("room for what was there");
    store
}
