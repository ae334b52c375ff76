//! Access to user memory that cannot surprise its caller: user pointers that are mere numbers,
//! copies that say to the byte how far they got, and a token without which nothing that may fault
//! can be called.
//!
//! | concept | type or module | what it is |
//! |---|---|---|
//! | the right to fault | [`MayFault`] | zero-sized; a system call gets it once, page locks borrow it |
//! | a user address | [`UserAddr`], [`UserSlice`] | numbers, range-checked once (U5), never Rust references |
//! | an address space | [`UserMemory`] | the `unsafe trait` of an embedder; its contract is U1–U7 |
//! | the current one | [`CurrentUser`] | ready-made implementor over this machine's instructions |
//! | one that is not the CPU's | [`WalkedUser`] | copies page by page, by a [`PageWalk`] of the embedder's |
//! | a buffer of the kernel | [`KernelMemory`] | in the place of user memory, without the right to fault |
//! | whole-slice copies | [`copy_from_user`] and its neighbours | safe, over kernel slices |
//! | vectored requests | [`IovIter`], [`import_iovec`] | forward-only cursor with exact revert (W7) |
//! | fix-ups | [`extable`] | what the trap handler asks when a kernel instruction faulted |
//! | instructions | [`arch`] | x86-64, AArch64, RISC-V 64 and a portable fallback |
//! | proof | [`conformance`] | a suite that any implementor can run |
//!
//! This crate knows no page, no lock and no file: `faultless-filemap` brings it together with
//! `faultless-page`. It is `no_std`, needs no allocator and does not panic on user input.
//!
//! The rules cited as (U1) … (U7) and (W7) are those of the contract, `docs/semantics.md`; the
//! contract of an implementor is restated in full at [`UserMemory`].
#![no_std]

#[cfg(test)]
extern crate std;

mod addr;
pub mod arch;
pub mod conformance;
mod copy;
mod current;
mod error;
pub mod extable;
mod fault_in;
mod import;
mod iov;
mod kernel;
mod memory;
mod token;
mod walked;
mod whole;

pub use addr::{UserAddr, UserSlice};
pub use arch::native::sort_extable;
pub use copy::{
    clear_user, copy_from_user, copy_from_user_atomic, copy_from_user_zeroing, copy_to_user,
    copy_to_user_atomic,
};
pub use current::CurrentUser;
pub use error::{Efault, IovecError};
pub use fault_in::PROBE_STEP;
pub use import::{USER_IOVEC_BYTES, import_iovec};
pub use iov::{IovIter, MAX_SEGMENTS};
pub use kernel::{KernelMemory, clear_kernel, copy_kernel};
pub use memory::UserMemory;
pub use token::MayFault;
pub use walked::{PageWalk, WalkAccess, WalkedUser};
pub use whole::{MAX_RW_COUNT, WholeRequest};
