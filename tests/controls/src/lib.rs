//! Historical write paths, with their bugs: what every checker must find.
//!
//! Three algorithms that real kernels shipped, over the public interface of the core and
//! unreachable from it. They are written from the rules of `docs/semantics.md`.
//!
//! | control | what it does | known to |
//! |---|---|---|
//! | [`Control::Linux2623`] | copies with faults allowed, the page locked | hang: DL1, DL2, DL3, DL3′, DL4; zero the tail of a short copy (B3) |
//! | [`Control::Linux2624Rc1`] | the first cure: strategy A | have the [`Defect`]s S1–S5; it does not hang |
//! | [`Control::PrefaultOnly`] | probes the source, then copies as 2.6.23 does | hang when the source is stolen in between |
//!
//! Key types: [`ControlFile`], a file with the inode lock that these writers share; [`Request`]. A
//! loop that would not end is ended by the request's budget of steps, as [`Failure::Livelock`].
//!
//! Neighbours: [`deadlocks`] sets up those that hang. `under_lock` and `rc1` are the loops, over
//! `writer`; `breach` is the one place where the rule of the token is broken. The controls know
//! none of what came later: no ranges, no set-id, no limits of size (W8), no scribbles past the end
//! (P2). Use them on files that are not written by other means at the same time.

mod breach;
mod bytes;
pub mod deadlocks;
mod defects;
mod file;
mod prepared;
mod rc1;
mod request;
mod segments;
#[cfg(test)]
mod tests;
mod under_lock;
mod writer;

pub use self::defects::{Defect, Defects};
pub use self::file::ControlFile;
pub use self::request::{Control, Failure, Request};
