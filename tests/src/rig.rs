//! A program with one file: the user memory that sources lie in, a window to read through, and the
//! file.

use std::sync::Arc;

use faultless::filemap::{Inode, NoTask, Task, WriteOptions, Written};
use faultless::page::Errno;
use faultless::usercopy::UserSlice;
use faultless_host::{AddressSpace, Machine, Mmu, Protection};

use crate::{Backing, File, PAGE, Setup, Store, assert_same, calls};

/// Pages that a rig's window reads at a time.
const WINDOW: usize = 16;

/// What lies behind the last readable byte of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: no mapping.
    Unmapped,
    /// A mapping that must not be read.
    NoAccess,
    /// A shared mapping of a file, past its end: `SIGBUS`.
    PastEnd,
}

impl Tail {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unmapped, Self::NoAccess, Self::PastEnd];
}

/// A machine's user program, its memory, and its file.
#[derive(Debug)]
pub struct Rig<'m, M: Mmu> {
    machine: &'m Machine<M>,
    user: AddressSpace<M>,
    window: AddressSpace<M>,
    file: File,
    store: Store,
    setup: Setup,
}

impl<'m, M: Mmu> Rig<'m, M> {
    /// An empty file.
    #[must_use]
    pub fn new(machine: &'m Machine<M>, setup: Setup) -> Self {
        Self::over(machine, setup, setup.backing.make())
    }

    /// An empty file over a store of the test's own.
    #[must_use]
    pub fn over(machine: &'m Machine<M>, setup: Setup, store: Store) -> Self {
        let file = Arc::new(Inode::new(
            Arc::clone(machine.cache()),
            Arc::clone(store.operations()),
            machine.user_mappings().clone(),
            0,
        ));
        let window = machine.space_of(WINDOW);
        window.map_anonymous(0, WINDOW, Protection::ReadWrite);
        Self { machine, user: machine.space(), window, file, store, setup }
    }

    /// A file that holds `bytes`, in the cache and in the store.
    #[must_use]
    #[track_caller]
    pub fn holding(machine: &'m Machine<M>, setup: Setup, bytes: &[u8]) -> Self {
        let rig = Self::new(machine, setup);
        rig.fill(bytes);
        rig
    }

    /// The file now holds `bytes`, in the cache and in the store, and nothing else.
    ///
    /// # Panics
    /// If it cannot be written.
    #[track_caller]
    pub fn fill(&self, bytes: &[u8]) {
        calls::truncate(&self.file, 0).expect("an empty file");
        for (index, piece) in bytes.chunks(WINDOW * PAGE).enumerate() {
            self.window.store(self.window.at(0, 0), piece).expect("the window");
            let source = self.window.slice(0, 0, piece.len());
            let pos = (index * WINDOW * PAGE) as u64;
            let landed = calls::pwrite(&self.window, &self.file, pos, source);
            assert_eq!(landed, Ok(piece.len()), "filling the file");
        }
        calls::fsync(&self.file).expect("a file that can be synced");
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'m Machine<M> {
        self.machine
    }

    /// The program's memory.
    #[must_use]
    pub fn user(&self) -> &AddressSpace<M> {
        &self.user
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What is behind the file.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Store and strategy.
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Whether pages of the file can leave the cache.
    #[must_use]
    pub fn can_be_cold(&self) -> bool {
        self.setup.backing != Backing::Volatile
    }

    /// Sends everything to the store and drops it from the cache.
    ///
    /// # Panics
    /// If a page stays although the store keeps data.
    #[track_caller]
    pub fn chill(&self) {
        calls::fsync(&self.file).expect("a file that can be synced");
        let _ = calls::evict(&self.file);
        let left = self.file.mapping().cached_pages();
        assert!(left == 0 || !self.can_be_cold(), "{left} pages stay in the cache");
    }

    /// Puts `bytes` into private memory at byte `offset` of page `page`, resident, and says where.
    ///
    /// # Panics
    /// If memory is full.
    #[track_caller]
    pub fn source_at(&self, page: usize, offset: usize, bytes: &[u8]) -> UserSlice {
        let pages = (offset + bytes.len()).div_ceil(PAGE).max(1);
        self.user.map_anonymous(page, pages, Protection::ReadWrite);
        self.user.store(self.user.at(page, offset), bytes).expect("the source");
        self.user.slice(page, offset, bytes.len())
    }

    /// Puts `bytes` into private memory so that they end with a page, and behind them `tail`. The
    /// slice covers them and `more` bytes behind.
    #[track_caller]
    pub fn source_before(&self, page: usize, bytes: &[u8], tail: Tail, more: usize) -> UserSlice {
        let pages = bytes.len().div_ceil(PAGE).max(1);
        let offset = pages * PAGE - bytes.len();
        let _ = self.source_at(page, offset, bytes);
        let behind = more.div_ceil(PAGE).max(1);
        match tail {
            Tail::Unmapped => self.user.unmap(page + pages, behind),
            Tail::NoAccess => self.user.map_anonymous(page + pages, behind, Protection::None),
            Tail::PastEnd => {
                let empty = self.machine.inode(&faultless_host::stores::MemoryStore::new(), 0);
                let first = faultless::page::PageIndex::ZERO;
                self.user.map_file(page + pages, behind, &empty, first, Protection::Read);
            }
        }
        self.user.slice(page, offset, bytes.len() + more)
    }

    /// The options of a write at `pos` with the rig's strategy.
    #[must_use]
    pub fn at(&self, pos: u64) -> WriteOptions {
        WriteOptions::at(pos).with_strategy(self.setup.strategy)
    }

    /// The options of an append with the rig's strategy.
    #[must_use]
    pub fn append(&self) -> WriteOptions {
        WriteOptions::append().with_strategy(self.setup.strategy)
    }

    /// `pwrite` with the rig's strategy.
    ///
    /// # Errors
    /// As [`Inode::write`].
    #[track_caller]
    pub fn write(&self, pos: u64, source: UserSlice) -> Result<usize, Errno> {
        self.machine.check().adopt();
        calls::pwrite_with(&self.user, &self.file, source, &self.at(pos))
    }

    /// `pwritev` with the rig's strategy.
    ///
    /// # Errors
    /// As [`Inode::write`].
    #[track_caller]
    pub fn writev(&self, pos: u64, segments: &[UserSlice]) -> Result<usize, Errno> {
        self.write_as(segments, &self.at(pos), &NoTask).map(|written| written.bytes)
    }

    /// Any write.
    ///
    /// # Errors
    /// As [`Inode::write`].
    #[track_caller]
    pub fn write_as<T: Task>(
        &self,
        segments: &[UserSlice],
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        self.machine.check().adopt();
        calls::write_as(&self.user, &self.file, segments, options, task)
    }

    /// `len` bytes of the file at `pos`, or fewer at its end.
    ///
    /// # Panics
    /// If reading fails.
    #[must_use]
    #[track_caller]
    pub fn read(&self, pos: u64, len: usize) -> Vec<u8> {
        self.machine.check().adopt();
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let piece = (len - bytes.len()).min(WINDOW * PAGE);
            let target = self.window.slice(0, 0, piece);
            let at = pos + bytes.len() as u64;
            let got = calls::pread(&self.window, &self.file, at, target).expect("a read");
            if got == 0 {
                break;
            }
            bytes.extend(self.window.read_vec(target.addr(), got).expect("the window"));
        }
        bytes
    }

    /// The whole file, read.
    #[must_use]
    #[track_caller]
    pub fn contents(&self) -> Vec<u8> {
        self.read(0, self.file.size() as usize)
    }

    /// The file holds just `expected`, to whoever reads it now (W2, W3).
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn assert_holds(&self, expected: &[u8]) {
        assert_eq!(self.file.size(), expected.len() as u64, "size of the file");
        assert_same(&self.contents(), expected, "the file");
    }

    /// The file holds just `expected`, now, and still after it went to the store and came back.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn assert_holds_for_good(&self, expected: &[u8]) {
        self.assert_holds(expected);
        self.store.assert_in_order(self.file.size());
        self.chill();
        self.assert_holds(expected);
        self.store.assert_in_order(self.file.size());
    }
}
