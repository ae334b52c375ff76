//! What the kernel asks of its machine, and what Faultless is told of the kernel.
//!
//! Key types: [`Machine`], which a kernel implements once for itself; [`Example`], the
//! [`Kernel`] made of it.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, Range};

use faultless::page::SpinLock;
use faultless::parts::{FramePool, InterruptControl, InterruptsOff, YieldWait};
use faultless::prelude::*;
use faultless::usercopy::arch::AccessWindow;

use crate::rmap::{ReverseMap, ShowsFile};
use crate::table::PageTable;

/// The machine, and how the kernel keeps its objects.
///
/// # Safety
/// What [`CurrentUser::new`] asks for holds with [`user_range`](Self::user_range) and
/// [`Window`](Self::Window): no user address belongs to the kernel; page faults come to
/// [`on_page_fault`](crate::on_page_fault) with the address space that the CPU is in. After
/// [`flush`](Self::flush) no CPU uses an entry that the table did not have when the call began.
pub unsafe trait Machine: Sized + Send + Sync + 'static {
    /// How interrupts are turned off: [`arch::Interrupts`](crate::arch::Interrupts).
    type Interrupts: InterruptControl;
    /// The page tables.
    type PageTable: PageTable;
    /// How the CPU is told that user memory is meant:
    /// [`native::Smap`](faultless::usercopy::arch::native), `Pan` or `Sum`.
    type Window: AccessWindow;
    /// Whether the CPU insists on it. `false` with
    /// [`NoWindow`](faultless::usercopy::arch::NoWindow).
    const HAS_WINDOW: bool;
    /// A counted handle of a file: `Arc<Inode<Example<Self>>>`. The last one drops the file's
    /// pages, so it is never dropped with a short lock held.
    type File: Clone + Deref<Target = Inode<Example<Self>>> + Send + Sync;
    /// A counted handle of an address space: `Arc<AddressSpace<Self>>`.
    type Space: Clone + Deref<Target: ShowsFile> + Send + Sync;

    /// The addresses that user mode may have: the same for all address spaces.
    fn user_range() -> Range<usize>;

    /// Makes every CPU forget old entries of the table that is named `root`. A kernel passes the
    /// range of pages on, too.
    ///
    /// Called with no short lock held and with interrupts on: the CPUs that a shootdown waits for
    /// may spin for a lock that this one would hold. Page locks may be held.
    fn flush(root: usize);
}

/// The kernel, as Faultless sees it.
pub struct Example<M>(PhantomData<fn() -> M>);

impl<M: Machine> Kernel for Example<M> {
    type Sync = InterruptsOff<M::Interrupts>;
    type Frames = FramePool<Self::Sync>;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = &'static dyn AddressSpaceOperations;
    type UserMappings = ReverseMap<M::Space, Self::Sync>;
    type Replacement = ();
}

/// A short lock: it turns interrupts off, and preemption with them.
pub(crate) type Lock<M, T> = SpinLock<Example<M>, T>;

impl<M> fmt::Debug for Example<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Example")
    }
}
