//! What a call costs: exact counts, on a kernel whose words count their locked instructions.
//!
//! Key types: [`Bench`], [`Cost`].

#![forbid(unsafe_code)]

use std::sync::Arc;

use faultless::filemap::{Inode, NoTask, WriteOptions};
use faultless::page::{AddressSpaceOperations, Errno};
use faultless::usercopy::UserSlice;
use faultless_host::counting::locked;
use faultless_host::stores::MemoryStore;
use faultless_host::{
    Accesses, AddressSpace, Counted, Counters, CountingKernel, CountingUser, FrameOrder, Machine,
    MachineConfig, Protection, ScriptedMmu, counting,
};

use crate::{PAGE, calls};

/// The program's memory.
pub type Program = AddressSpace<ScriptedMmu, Counted>;

/// A machine, its program with 512 pages of memory, and a file.
#[derive(Debug)]
pub struct Bench {
    /// The machine.
    pub machine: Machine<ScriptedMmu, Counted>,
    /// The program's memory.
    pub user: Program,
    /// The file.
    pub file: Arc<Inode<CountingKernel>>,
}

/// What one call did.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Locked instructions of the core.
    pub locked: u64,
    /// What the core told of itself.
    pub counted: Counters,
    /// Accesses to user memory.
    pub accesses: Accesses,
    /// Calls to the frame allocator.
    pub allocations: u64,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An empty file in memory, over frames that follow each other.
    #[must_use]
    pub fn new() -> Self {
        Self::over(&MemoryStore::new(), FrameOrder::Contiguous)
    }

    /// An empty file over this store.
    #[must_use]
    pub fn over<S: AddressSpaceOperations + 'static>(store: &Arc<S>, order: FrameOrder) -> Self {
        Self::with(store, MachineConfig::new().order(order))
    }

    /// An empty file over this store, on such a machine.
    ///
    /// # Panics
    /// If it has too little memory for the program.
    #[must_use]
    pub fn with<S: AddressSpaceOperations + 'static>(
        store: &Arc<S>,
        config: MachineConfig,
    ) -> Self {
        let machine = Machine::build(config);
        let user = machine.space();
        user.map_anonymous(0, 512, Protection::ReadWrite);
        user.fill(user.at(0, 0), 7, 512 * PAGE).expect("user memory");
        let file = machine.inode(store, 0);
        Self { machine, user, file }
    }

    /// A file of `pages` full pages, in the cache and dirty.
    #[must_use]
    pub fn hot(pages: usize) -> Self {
        let bench = Self::new();
        bench.fill(pages * PAGE);
        bench
    }

    /// Writes the first `len` bytes of the file.
    ///
    /// # Panics
    /// If they do not land.
    #[track_caller]
    pub fn fill(&self, len: usize) {
        let source = self.user.slice(0, 0, len);
        assert_eq!(calls::pwrite(&self.user, &self.file, 0, source), Ok(len));
    }

    /// The cost of a write of the program's first `len` bytes at `pos`.
    ///
    /// # Panics
    /// If they do not land.
    #[track_caller]
    pub fn write(&self, pos: usize, len: usize) -> Cost {
        self.write_as(&[self.user.slice(0, 0, len)], &WriteOptions::at(pos as u64))
    }

    /// The cost of a write of these segments.
    ///
    /// # Panics
    /// If they do not land as a whole, or if a fault came under a page lock.
    #[track_caller]
    pub fn write_as(&self, segments: &[UserSlice], options: &WriteOptions) -> Cost {
        let asked = segments.iter().map(UserSlice::len).sum();
        self.cost(asked, |user| {
            calls::write_as(user, &self.file, segments, options, &NoTask)
                .map(|written| written.bytes)
        })
    }

    /// The cost of a read of `target.len()` bytes at `pos`.
    ///
    /// # Panics
    /// If they do not arrive, or if a fault came under a page lock.
    #[track_caller]
    pub fn read(&self, pos: usize, target: UserSlice) -> Cost {
        self.cost(target.len(), |user| calls::pread(user, &self.file, pos as u64, target))
    }

    #[track_caller]
    fn cost(
        &self,
        asked: usize,
        call: impl FnOnce(&CountingUser<'_, Program>) -> Result<usize, Errno>,
    ) -> Cost {
        let user = CountingUser::new(&self.user);
        let (allocations, before) = (self.machine.memory().allocation_calls(), locked());
        let (got, counted) = counting(|| call(&user));
        let locked = locked() - before;
        let allocations = self.machine.memory().allocation_calls() - allocations;
        assert_eq!(got, Ok(asked));
        assert_eq!(counted.faults_under_page_lock, 0);
        Cost { locked, counted, accesses: user.accesses(), allocations }
    }
}
