//! A conformance suite for [`UserMemory`]: every offset and length around a fault, both directions,
//! both sides' bytes compared.
//!
//! An implementor's test lays out five pages ([`Layout`]) and calls [`check`]; if it can also
//! change mappings during a copy ([`MovingLayout`]), [`check_moving`]. Nothing panics and nothing
//! is allocated, so the suite also runs in a kernel. [`scripted`] is an implementor without an MMU.
//! It does not own the means to make a page inaccessible: that is the layout's.

mod case;
mod change;
mod failure;
mod moving;
mod probes;
pub mod scripted;
mod suite;

pub use change::{Change, MovingLayout, Present};
pub use failure::{Failure, Operation};
pub use moving::{Sweep, check_moving};
pub use suite::{COPIES, check, check_exact};

use crate::{MayFault, UserAddr, UserMemory};

/// Five consecutive pages of user memory: read-write, **inaccessible**, read-write, read-write,
/// **read-only**.
///
/// The protection is fixed while the suite runs (but for [`MovingLayout`]), and the accessible
/// pages stay resident, so that atomic copies reach them. Contents are the suite's to change, with
/// [`poke`](Self::poke).
pub trait Layout {
    /// The implementor under test.
    type User: UserMemory<Token = MayFault> + ?Sized;

    /// The address space under test, in which the pages lie.
    fn user(&self) -> &Self::User;

    /// Size of one of the five pages in bytes: a power of two, at least 4096.
    fn page_size(&self) -> usize;

    /// Address of the first page; page-aligned.
    fn base(&self) -> UserAddr;

    /// Reads bytes of accessible pages, not by the functions under test.
    fn peek(&self, addr: UserAddr, bytes: &mut [u8]);

    /// Writes bytes of readable pages (the read-only one, too), not by the functions under test.
    fn poke(&self, addr: UserAddr, bytes: &[u8]);
}
