//! The host shim: one Linux process that behaves like a machine with an MMU.
//!
//! A [`Machine`] has memory (a memfd, mapped once), wait queues with a watchdog, a page cache, a
//! lock checker, and address spaces, whose faults are [real](mm_real) signals or
//! [scripted](mm_scripted). Stores and a reference model complete it. The tests, fuzz targets and
//! benches of the core crates run on it, and an embedder can test a store or glue on it.
//! A kernel with page tables and a trap entry of its own needs the [memory], [`RealMmu`] and
//! [`mm_real::on_trap`]: the tests of `crates/example-kernel` run that one so.
//!
//! | concept | module |
//! |---|---|
//! | [`HostKernel`], its flavours | [`kernel`] |
//! | frames, poison, failing allocations, reclaim | [`memory`], [`reclaim`] |
//! | sleeping with a watchdog | [`wait`] |
//! | deadlocks that did not happen | [`lockcheck`] |
//! | exact counts | [`counters`], [`mod@counting`], [`accesses`] |
//! | address spaces, M, the fault handler, the user program | [`space`] |
//! | an address space for checkers with schedulers of their own | [`stepped`] |
//! | the two MMUs behind one seam | [`mmu`], [`mm_real`], [`mm_scripted`] |
//! | what goes wrong, and when | [`script`] |
//! | user memory for measurements | [`mm_plain`] |
//! | backing stores, and one that fails | [`stores`] |
//! | what every run is compared with | [`model`] |
//!
//! It owns no logic of the page cache: whatever a kernel would not have to write for itself is in
//! the core crates.

pub mod accesses;
mod admission;
mod copies;
pub mod counters;
pub mod counting;
pub mod kernel;
pub mod lockcheck;
mod machine;
pub mod memory;
pub mod mm_plain;
pub mod mm_real;
pub mod mm_scripted;
pub mod mmu;
pub mod model;
pub mod reclaim;
mod rmap;
pub mod rng;
pub mod script;
pub mod space;
pub mod stepped;
pub mod stores;
pub mod wait;

pub use accesses::{Accesses, CountingUser};
pub use counters::{Counters, counting};
pub use kernel::{Bare, Checked, Counted, CountingKernel, Flavor, HostKernel};
pub use lockcheck::{Kind, LockCheck, Report};
pub use machine::{Machine, MachineConfig, RealMachine, ScriptedMachine, syscall};
pub use memory::{FrameOrder, HostFrames, POISON, PhysicalMemory, Poisoning};
pub use mm_plain::PlainMemory;
pub use mm_real::RealMmu;
pub use mm_scripted::ScriptedMmu;
pub use mmu::{Access, Mmu, Protection, UserFault};
pub use model::{Limits, Model, Piece, assert_same};
pub use rmap::{HostUserMappings, RmapCall, UnmapWatcher};
pub use script::{Action, Event, Rule, Script, When};
pub use space::AddressSpace;
pub use wait::{HostWait, Watchdog};
