//! Crashes: a program's operations on one file, and, at every call that they make of the store, the
//! machine stopped, the cache thrown away, and the file mounted anew from what is left of it.
//!
//! | for | module |
//! |---|---|
//! | which disk, and how it is mounted | [`disk`] |
//! | how many bytes the operations work on | [`extent`] |
//! | operations, fixed and random | [`script`] |
//! | what each byte may be after a crash, and which sizes the file may have | [`promise`] |
//! | performing the operations | [`player`] |
//! | stopping the machine everywhere | [`mod@sweep`] |
#![forbid(unsafe_code)]

pub mod disk;
pub mod extent;
pub mod player;
pub mod promise;
pub mod script;
pub mod sweep;

pub use self::disk::{Disk, Mount};
pub use self::extent::{BYTES, PAGES};
pub use self::player::{Player, Requests, Syncs};
pub use self::script::{Op, Script};
pub use self::sweep::{Explored, Plan, sweep};
