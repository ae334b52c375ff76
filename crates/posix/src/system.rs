//! What the kernel supplies.

use core::ops::{Deref, Range};

use faultless::filemap::ReadAheadLimits;
use faultless::parts::Lock;
use faultless::prelude::{Inode, Kernel, SyncFamily};

use crate::mm::{PageTable, ReverseMap, ShowsFile};

/// What a thread does with M, the lock of the areas of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreasEvent {
    /// It is about to take it, or to wait for it.
    Acquiring,
    /// It has it.
    Acquired,
    /// It no longer has it.
    Released,
    /// It is to die, and has not got it.
    GaveUp,
}

/// The kernel, as its file and memory calls see it.
///
/// # Safety
/// - [`File`](Self::File) and [`Space`](Self::Space) lead to the same object for as long as a
///   clone of the handle exists.
/// - After [`flush`](Self::flush) no CPU uses an entry of those pages that the table did not have
///   when the call began.
pub unsafe trait System: Sized + Send + Sync + 'static {
    /// The kernel, as Faultless sees it. Its `UserMappings` are the [`ReverseMap`], or have it.
    type Kernel: Kernel<Sync = Self::Sync, UserMappings: AsRef<ReverseMap<Self::Space, Self::Sync>>>;
    /// Its words and short locks.
    type Sync: SyncFamily;
    /// A counted handle of a file. The last one drops the file's pages, so that it is never
    /// dropped with a short lock held.
    type File: Clone + Deref<Target = Inode<Self::Kernel>> + Send + Sync;
    /// A counted handle of an address space: `Arc<AddressSpace<Self>>`.
    type Space: Clone + Deref<Target: ShowsFile> + Send + Sync;
    /// The page tables.
    type PageTable: PageTable;

    /// A number that is larger than all that were returned before. Never sleeps.
    fn unique() -> u64;

    /// Makes every CPU forget old entries of these pages (user addresses divided by the size of a
    /// page) of the address space that is named `root`: [`PageTable::root`].
    ///
    /// Called with no short lock held and with interrupts on: the CPUs that a shootdown waits for
    /// may spin for a lock that this one would hold. Page locks may be held.
    fn flush(root: usize, pages: Range<usize>);

    /// Whether the areas of an address space have a sleeping lock, M, beside the short one: faults
    /// hold it for reading while they bring a page in, and calls that change the areas for writing.
    /// A call is then one step for faults and for other calls; but a fault that waits for a store
    /// holds up `mmap` and `munmap`, and those behind them all later faults. Without it no fault
    /// waits for a call.
    ///
    /// A kernel that says yes makes no access to user memory inside
    /// [`AddressSpace::read_areas`](crate::AddressSpace::read_areas).
    const LOCKS_AREAS: bool = false;

    /// Whether the current thread is to die: a wait for M ends.
    #[must_use]
    fn is_killed() -> bool {
        false
    }

    /// The current thread is about to take M, has it, has let it go, or has given up. For a
    /// [`LockOrder`](faultless::parts::LockOrder). Never sleeps.
    fn trace_areas(_lock: Lock, _event: AreasEvent) {}

    /// Whether `file` holds zeros, is never written, and keeps its size: what private memory
    /// without a file is a mapping of. A store to it gets a frame of zeros, and the file is not
    /// asked: so a page costs one frame. Never sleeps.
    #[must_use]
    #[doc(alias = "MAP_ANONYMOUS")]
    fn is_zeros(_file: &Self::File) -> bool {
        false
    }

    /// How much is read ahead for an open file. A kernel with little memory, or with a store of a
    /// long latency, has limits of its own. Never sleeps.
    #[must_use]
    fn read_ahead_limits() -> ReadAheadLimits {
        ReadAheadLimits::DEFAULT
    }
}
