//! Ready-made parts for an embedding: what most kernels would otherwise write again.
//!
//! | part | for a kernel that has |
//! |---|---|
//! | [`FramePool`] | a region of memory and no allocator of frames |
//! | [`CountedFrames`] | an allocator of single frames without counts |
//! | [`CpuFrames`] | several CPUs, and an allocator of frames that they share |
//! | [`RamStore`] | files whose only copy is the cache (tmpfs) |
//! | [`BlockStore`] | a block device, and a map from file blocks to its blocks |
//! | [`SwapStore`] | a file in memory that is swapped out to a block device |
//! | [`QueuedStore`] | a store or a driver that sleeps, and a thread to do that |
//! | [`FaultyStore`] | tests: calls of another store fail or come short |
//! | [`InterruptsOff`] | preemption, or interrupts that take its locks |
//! | [`YieldWait`] | threads, and a call that lets the next one run |
//! | [`QueueWait`] | threads that can be parked and unparked |
//! | [`CacheCounters`] | statistics: hits, misses, dirty pages, … |
//! | [`LockOrder`] | debug builds: orders of locks that could deadlock |
//!
//! The first three implement [`Frames`], the stores [`AddressSpaceOperations`], the next three
//! [`SyncFamily`] and [`Wait`]; the last two are called by hooks of the kernel.
//!
//! # Which locks, which wait
//! A short lock is held for a bounded number of instructions, and no thread sleeps with it. A wait
//! lasts until another thread has run.
//!
//! | the kernel | short locks | waits |
//! |---|---|---|
//! | one CPU, without preemption | [`CoreSync`] | [`YieldWait`], [`QueueWait`] |
//! | one CPU, with preemption | [`InterruptsOff`] | [`QueueWait`], [`YieldWait`] |
//! | several CPUs, without preemption | [`CoreSync`] | [`QueueWait`], [`YieldWait`] |
//! | several CPUs, with preemption | [`InterruptsOff`] | [`QueueWait`], [`YieldWait`] |
//! | one thread uses the cache, or a test on a host | [`CoreSync`] | [`SpinWait`] |
//!
//! [`SpinWait`] must not be used where a waiter can keep the thread that it waits for from running:
//! - on one CPU without preemption the first wait never ends;
//! - on one CPU with preemption a wait burns turns, and under fixed priorities it may never end;
//! - on several CPUs it ends only if the threads that use the cache are no more than the CPUs, each
//!   bound to its own.
//!
//! [`CoreSync`] must not be used with preemption: a thread that is preempted with a lock makes the
//! others spin through their turns, and under fixed priorities for ever. [`YieldWait`] must not be
//! used under fixed priorities.
//!
//! Whatever the kernel: where an interrupt handler takes a short lock ([`Frames::release`],
//! [`Wait::wake`]), the lock turns interrupts off ([`InterruptsOff`]), because a handler that finds
//! the lock held by the thread that it has interrupted spins for ever.
//!
//! # Lock order
//! The short locks of this crate are leaves: none is held while another lock is taken, or a call
//! out of the crate is made. [`BlockStore`] has one lock that a thread may sleep with, which is
//! held across calls of its device and its map, and across nothing else.
//!
//! This crate knows the seams of `faultless-page` and nothing above them. `faultless` re-exports it
//! as `faultless::parts`.
//!
//! [`Frames`]: faultless_page::Frames
//! [`Frames::release`]: faultless_page::Frames::release
//! [`AddressSpaceOperations`]: faultless_page::AddressSpaceOperations
//! [`SyncFamily`]: faultless_page::SyncFamily
//! [`CoreSync`]: faultless_page::CoreSync
//! [`Wait`]: faultless_page::Wait
//! [`Wait::wake`]: faultless_page::Wait::wake
//! [`SpinWait`]: faultless_page::SpinWait
#![no_std]

#[cfg(test)]
extern crate std;

mod bitmap;
mod block;
mod counted;
mod counters;
mod counts;
mod cpu_frames;
mod direct;
mod faulty;
mod interrupts;
mod lock_order;
mod pool;
mod queue_wait;
mod queued;
mod ram;
mod sleeping;
mod yielding;

pub use block::{BlockDevice, BlockMap, BlockStore, FixedMap, RamDisk, SwapStore};
pub use counted::{CountedFrames, FrameSource};
pub use counters::{CacheCounters, CacheCounts};
pub use cpu_frames::{CpuFrames, CurrentCpu};
pub use faulty::{Answer, Call, FaultyStore, When};
pub use interrupts::{InterruptControl, InterruptsOff, InterruptsOffGuard, InterruptsOffLock};
pub use lock_order::{Lock, LockOrder, Violation};
pub use pool::{FramePool, Page};
pub use queue_wait::{QueueWait, Threads};
pub use queued::QueuedStore;
pub use ram::{PageBudget, RamStore};
pub use yielding::YieldWait;

#[cfg(test)]
mod tests;
