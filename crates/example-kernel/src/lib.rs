//! The part of a kernel that a page cache meets: page-fault traps, address spaces, `mmap`,
//! `munmap`, `fork` and `exit`, shared and private mappings, and the reverse map. It is written to
//! be copied from, over the public interface of [`faultless`]; the system calls `read`, `write` and
//! `fsync` are in that crate's `tiny_kernel.rs`.
//!
//! | what | where |
//! |---|---|
//! | what the kernel asks of its machine | [`Machine`], [`PageTable`] |
//! | one lock for each address space | [`AddressSpace`], [`Vma`] |
//! | page faults, copy on write | [`AddressSpace::fault`] |
//! | which address spaces map a file | [`ReverseMap`] |
//! | trap entry and exception table | [`on_page_fault`], [`arch`] |
//! | before the first user program | [`exception_table`], [`check_user_memory`] |
//!
//! It is `no_std`, needs no allocator, and is built for three bare-metal targets. Its tests run it
//! on the host shim (`faultless-host`): a Linux process with page faults that are real. Tables have
//! a fixed size where a kernel has a tree.
//!
//! # Locks
//! The order is: page lock, address space (the parent's before the child's), list of the reverse
//! map, locks inside Faultless. The last three are short, with interrupts off. No lock ranks where
//! the lock M of a larger kernel does: a fault looks the mapping up, lets go, has the page brought
//! by [`Inode::fault`](faultless::filemap::Inode::fault), and looks again with the page locked.
//!
//! # Left out
//! Anonymous memory, swap, `mprotect`, executable pages, and page-table pages: a [`PageTable`] has
//! them ready.
#![no_std]

pub mod arch;
mod boot;
mod fault;
mod machine;
mod rmap;
mod space;
mod table;
mod trap;
mod vma;

pub use boot::{BootError, check_user_memory, exception_table, user_memory};
pub use fault::Signal;
pub use machine::{Example, Machine};
pub use rmap::{Change, ReverseMap, SPACES, ShowsFile};
pub use space::{AddressSpace, VMAS};
pub use table::{Entry, Owner, PageTable};
pub use trap::{Cause, Current, Frame, Mode, Outcome, UserMemoryWindow, on_page_fault};
pub use vma::{Sharing, Vma};
