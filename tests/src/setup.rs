//! Which store a file lies on and which strategy writes to it: most tests run for all of these.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::PrepareCommitStore;
use faultless::page::{AddressSpaceOperations, Strategy};
use faultless_host::stores::{BlockStore, FileStore, MemoryStore};

use crate::legacy::Legacy;

/// A store to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Whole pages, kept in memory.
    Memory,
    /// Nothing behind the cache, as tmpfs.
    Volatile,
    /// Blocks of so many bytes on a device with room for 1,024 pages.
    Blocks(usize),
    /// The same, on a device that gives back at once what a write did not use.
    Thrifty(usize),
    /// Blocks of 1 KiB behind the interface of 2007.
    Legacy,
    /// A file of the host.
    HostFile,
}

/// Pages that a device of [`Backing::Blocks`] has room for.
const DEVICE_PAGES: usize = 1024;

impl Backing {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Memory,
        Self::Volatile,
        Self::Blocks(512),
        Self::Blocks(1024),
        Self::Blocks(4096),
        Self::Thrifty(1024),
        Self::Legacy,
        Self::HostFile,
    ];

    /// Those that differ in what they do when a write begins: whole pages, parts of pages, and the
    /// old interface.
    pub const DISTINCT: &[Self] = &[Self::Memory, Self::Blocks(1024), Self::Legacy];

    /// An empty store of this kind.
    ///
    /// # Panics
    /// If the host has no room for a file.
    #[must_use]
    pub fn make(self) -> Store {
        let blocks = |size| BlockStore::new(size, DEVICE_PAGES * (crate::PAGE / size));
        match self {
            Self::Memory => Store::plain(MemoryStore::new()),
            Self::Volatile => Store::plain(MemoryStore::volatile()),
            Self::Blocks(size) => Store::on_blocks(blocks(size)),
            Self::Thrifty(size) => {
                Store::on_blocks(BlockStore::thrifty(size, DEVICE_PAGES * (crate::PAGE / size)))
            }
            Self::Legacy => Store::behind_legacy(blocks(1024)),
            Self::HostFile => Store::plain(FileStore::new(unlinked_file()).expect("a file")),
        }
    }
}

/// What is behind a file.
#[derive(Clone)]
pub struct Store {
    operations: Arc<dyn AddressSpaceOperations>,
    /// The blocks below, if that is what it is made of.
    blocks: Option<Arc<BlockStore>>,
}

impl Store {
    /// A store that keeps no books.
    #[must_use]
    pub fn plain(store: Arc<impl AddressSpaceOperations + 'static>) -> Self {
        Self { operations: store, blocks: None }
    }

    /// A store of blocks, whose books are looked at.
    #[must_use]
    pub fn on_blocks(blocks: Arc<BlockStore>) -> Self {
        Self { operations: Arc::<BlockStore>::clone(&blocks), blocks: Some(blocks) }
    }

    /// Blocks behind the interface of 2007.
    #[must_use]
    pub fn behind_legacy(blocks: Arc<BlockStore>) -> Self {
        let legacy = PrepareCommitStore::new(Legacy::new(Arc::clone(&blocks)));
        Self::around_blocks(Arc::new(legacy), blocks)
    }

    /// A wrapper around a store of blocks, whose books are looked at.
    #[must_use]
    pub fn around_blocks(
        wrapper: Arc<impl AddressSpaceOperations + 'static>,
        blocks: Arc<BlockStore>,
    ) -> Self {
        Self { operations: wrapper, blocks: Some(blocks) }
    }

    /// The store as the core sees it.
    #[must_use]
    pub fn operations(&self) -> &Arc<dyn AddressSpaceOperations> {
        &self.operations
    }

    /// The blocks below, if that is what it is made of.
    #[must_use]
    pub fn blocks(&self) -> Option<&Arc<BlockStore>> {
        self.blocks.as_ref()
    }

    /// No block lies past the end of a file of `size` bytes (C2), and the core never did what a
    /// correct one does not.
    ///
    /// # Panics
    /// If that is not so.
    #[track_caller]
    pub fn assert_in_order(&self, size: u64) {
        let Some(blocks) = &self.blocks else { return };
        assert_eq!(blocks.blocks_past(size), 0, "blocks past the end at {size} (W9)");
        assert_eq!(blocks.complaints(), Vec::<String>::new());
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

/// A store and a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where the file lies.
    pub backing: Backing,
    /// How it is written.
    pub strategy: Strategy,
}

/// Both strategies.
pub const STRATEGIES: [Strategy; 2] = [Strategy::BeginEnd, Strategy::PrepareCommit];

impl Setup {
    /// The least that a file needs.
    pub const PLAIN: Self = Self { backing: Backing::Memory, strategy: Strategy::BeginEnd };

    /// Every store with either strategy. Each is printed as it is begun, so that a failure says
    /// which it was.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::over(Backing::ALL)
    }

    /// The stores that matter to the write path, with either strategy.
    pub fn distinct() -> impl Iterator<Item = Self> {
        Self::over(Backing::DISTINCT)
    }

    /// Either strategy on one store: for what does not depend on the store.
    pub fn simple() -> impl Iterator<Item = Self> {
        Self::over(&[Backing::Memory])
    }

    /// Either strategy on these stores.
    pub fn over(backings: &[Backing]) -> impl Iterator<Item = Self> {
        let pairs = backings.iter().flat_map(|&backing| {
            STRATEGIES.iter().map(move |&strategy| Self { backing, strategy })
        });
        pairs.inspect(|setup| println!("{setup}"))
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.backing, self.strategy)
    }
}

/// A new file of the host without a name, in memory if there is a place for that.
pub(crate) fn unlinked_file() -> File {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let shared_memory = Path::new("/dev/shm");
    let place = if shared_memory.is_dir() { shared_memory.into() } else { std::env::temp_dir() };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = place.join(format!("faultless-test-{}-{number}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("the file's name");
    file
}
