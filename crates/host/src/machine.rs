//! A machine: memory, wait queues, a page cache, a lock checker, and address spaces on one of the
//! two MMUs.
//!
//! Key types: [`Machine`] and its [`MachineConfig`]; [`syscall`], which is how a test enters "the
//! kernel". Any number of machines live in one process.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use faultless_filemap::Inode;
use faultless_page::{AddressSpaceOperations, PageCache};
use faultless_usercopy::MayFault;

use crate::kernel::{Checked, Flavor, HostKernel};
use crate::lockcheck::{self, LockCheck};
use crate::memory::{FrameOrder, HostFrames, PhysicalMemory, Poisoning};
use crate::mm_real::RealMmu;
use crate::mm_scripted::ScriptedMmu;
use crate::mmu::Mmu;
use crate::reclaim::Files;
use crate::rmap::HostUserMappings;
use crate::space::AddressSpace;
use crate::wait::{HostWait, Watchdog};

/// How a machine is built.
#[derive(Clone, Copy, Debug)]
pub struct MachineConfig {
    frames: usize,
    order: FrameOrder,
    poisoning: Poisoning,
    watchdog: Option<Duration>,
    space_pages: usize,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            frames: 2048,
            order: FrameOrder::Contiguous,
            poisoning: Poisoning::Checked,
            watchdog: None,
            space_pages: 1024,
        }
    }
}

impl MachineConfig {
    /// 2,048 frames (8 MiB), contiguous where possible, poisoned when free; address spaces of 1,024
    /// pages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many frames of memory.
    #[must_use]
    pub const fn frames(mut self, frames: usize) -> Self {
        self.frames = frames;
        self
    }

    /// How frames lie that are allocated together.
    #[must_use]
    pub const fn order(mut self, order: FrameOrder) -> Self {
        self.order = order;
        self
    }

    /// Whether free frames are poisoned.
    #[must_use]
    pub const fn poisoning(mut self, poisoning: Poisoning) -> Self {
        self.poisoning = poisoning;
        self
    }

    /// A wait that lasts longer panics with the lock graph.
    #[must_use]
    pub const fn watchdog(mut self, limit: Duration) -> Self {
        self.watchdog = Some(limit);
        self
    }

    /// Pages of each address space.
    #[must_use]
    pub const fn space_pages(mut self, pages: usize) -> Self {
        self.space_pages = pages;
        self
    }
}

/// A machine with the MMU `M` and a kernel of flavour `F`.
#[derive(Debug)]
pub struct Machine<M: Mmu = RealMmu, F: Flavor = Checked> {
    memory: Arc<PhysicalMemory>,
    cache: Arc<PageCache<HostKernel<F>>>,
    rmap: HostUserMappings,
    files: Files<HostKernel<F>>,
    watchdog: Watchdog,
    space_pages: usize,
    mmu: std::marker::PhantomData<fn() -> M>,
}

/// A machine whose faults are real.
pub type RealMachine = Machine<RealMmu, Checked>;
/// A machine without signals.
pub type ScriptedMachine = Machine<ScriptedMmu, Checked>;

impl<M: Mmu> Machine<M, Checked> {
    /// A machine as tests use it.
    #[must_use]
    pub fn new() -> Self {
        Self::build(MachineConfig::new())
    }

    /// A machine as tests use it, configured.
    #[must_use]
    pub fn with(config: MachineConfig) -> Self {
        Self::build(config)
    }
}

impl<M: Mmu> Default for Machine<M, Checked> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Mmu, F: Flavor> Machine<M, F> {
    /// A machine of any flavour. The calling thread works for it from now on.
    #[must_use]
    pub fn build(config: MachineConfig) -> Self {
        let memory = PhysicalMemory::new(config.frames, config.order, config.poisoning);
        let limit = config.watchdog.unwrap_or_else(Watchdog::default_limit);
        let watchdog = Watchdog::new(limit, LockCheck::new());
        watchdog.check().adopt();
        let frames = HostFrames::new(Arc::clone(&memory));
        let cache = Arc::new(PageCache::at_run_time(frames, HostWait::new(watchdog.clone())));
        Self {
            memory,
            cache,
            rmap: HostUserMappings::default(),
            files: Files::default(),
            watchdog,
            space_pages: config.space_pages,
            mmu: std::marker::PhantomData,
        }
    }

    /// The memory: counts, and failure on request.
    #[must_use]
    pub fn memory(&self) -> &Arc<PhysicalMemory> {
        &self.memory
    }

    /// The lock checker.
    #[must_use]
    pub fn check(&self) -> &Arc<LockCheck> {
        self.watchdog.check()
    }

    /// The page cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<PageCache<HostKernel<F>>> {
        &self.cache
    }

    /// The reverse map, for mappings that are made without an inode.
    #[must_use]
    pub fn user_mappings(&self) -> &HostUserMappings {
        &self.rmap
    }

    /// The watchdog, for locks of a test's own.
    #[must_use]
    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// A file of `size` bytes over `store`.
    #[must_use]
    pub fn inode<S: AddressSpaceOperations + 'static>(
        &self,
        store: &Arc<S>,
        size: u64,
    ) -> Arc<Inode<HostKernel<F>>> {
        let store: Arc<dyn AddressSpaceOperations> = Arc::<S>::clone(store);
        let inode = Inode::new(Arc::clone(&self.cache), store, self.rmap.clone(), size);
        let inode = Arc::new(inode);
        self.files.add(&inode);
        inode
    }

    /// From now on the kernel's allocator drops the clean pages of all files that were made by
    /// [`inode`](Self::inode) whenever it finds at least `above` frames in use (0: before each
    /// allocation), and when there is no frame at all. [`PhysicalMemory::stop_reclaiming`] ends it.
    pub fn reclaim_above(&self, above: usize) {
        self.files.reclaim_above(&self.memory, above);
    }

    /// An empty address space.
    #[must_use]
    pub fn space(&self) -> AddressSpace<M, F> {
        self.space_of(self.space_pages)
    }

    /// An empty address space of `pages` pages.
    #[must_use]
    pub fn space_of(&self, pages: usize) -> AddressSpace<M, F> {
        AddressSpace::new(pages, Arc::clone(&self.memory), self.watchdog.clone(), &self.rmap)
    }

    /// Enters the kernel, as [`syscall`] does, on this machine.
    ///
    /// # Panics
    /// As [`syscall`] does.
    pub fn syscall<R>(&self, work: impl FnOnce(&mut MayFault) -> R) -> R {
        self.check().adopt();
        syscall(work)
    }

    /// Ends the machine and checks that everything was given back: no inode and no address space
    /// may be alive.
    ///
    /// # Panics
    /// If a frame is still held, or the cache is.
    #[track_caller]
    pub fn finish(self) {
        let Self { memory, cache, rmap, .. } = self;
        drop(rmap);
        let handles = Arc::strong_count(&cache);
        assert_eq!(handles, 1, "the page cache is still in use");
        drop(cache);
        assert_eq!(memory.in_use(), 0, "frames are still held");
    }
}

thread_local! {
    static INSIDE: Cell<Inside> = const { Cell::new(Inside::User) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    User,
    Kernel,
}

/// Leaves the kernel, also when a panic does.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        INSIDE.set(Inside::User);
    }
}

/// Enters the kernel: runs `work` with the thread's one token. Checks that no lock is held at
/// return (P3).
///
/// # Panics
/// If the thread is inside the kernel already, or holds a lock at entry or at return.
pub fn syscall<R>(work: impl FnOnce(&mut MayFault) -> R) -> R {
    assert!(INSIDE.replace(Inside::Kernel) == Inside::User, "a system call inside a system call");
    let leave = Leave;
    lockcheck::nothing_held("a system call begins");
    // SAFETY: the thread holds no lock of the kernel (just checked), and has no other token,
    // because it was not inside the kernel.
    let mut token = unsafe { MayFault::assert() };
    let result = work(&mut token);
    drop(leave);
    lockcheck::nothing_held("a system call returns");
    result
}

/// Expands a test body to two tests, one on each MMU.
///
/// ```text
/// on_both_mmus! {
///     /// What is claimed.
///     fn a_claim(machine) { let space = machine.space(); … }
///     fn with_little_memory(machine = MachineConfig::new().frames(64)) { … }
/// }
/// ```
/// `machine` is a `Machine<M>` for some `M: Mmu`. Everything that is in scope where the macro
/// stands is in scope in the body.
#[macro_export]
macro_rules! on_both_mmus {
    () => {};
    ($(#[$meta:meta])* fn $name:ident($machine:ident) $body:block $($rest:tt)*) => {
        $crate::on_both_mmus! {
            $(#[$meta])* fn $name($machine = $crate::MachineConfig::new()) $body
        }
        $crate::on_both_mmus! { $($rest)* }
    };
    ($(#[$meta:meta])* fn $name:ident($machine:ident = $config:expr) $body:block $($rest:tt)*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body may need nothing from outside")]
            use super::*;

            fn body<M: $crate::mmu::Mmu>($machine: &$crate::Machine<M>) $body

            #[test]
            fn real() {
                body(&$crate::Machine::<$crate::mm_real::RealMmu>::with($config));
            }

            #[test]
            fn scripted() {
                body(&$crate::Machine::<$crate::mm_scripted::ScriptedMmu>::with($config));
            }
        }
        $crate::on_both_mmus! { $($rest)* }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_live_in_one_process() {
        let (one, two) = (RealMachine::new(), RealMachine::new());
        let frame = one.cache().allocate(1).expect("memory");
        assert_eq!((one.memory().in_use(), two.memory().in_use()), (1, 0));
        drop(frame);
        one.finish();
        two.finish();
    }

    #[test]
    #[should_panic(expected = "inside a system call")]
    fn there_is_one_token_for_a_thread() {
        syscall(|_| syscall(|_| ()));
    }

    #[test]
    #[should_panic(expected = "lock held at return")]
    fn a_lock_held_at_return_is_found() {
        syscall(|_| lockcheck::acquired(lockcheck::Lock::Other("planted", 1)));
    }

    #[test]
    #[should_panic(expected = "frames are still held")]
    fn a_leaked_frame_is_found() {
        let machine = ScriptedMachine::new();
        let _ = machine.memory().allocate_user();
        machine.finish();
    }
}
