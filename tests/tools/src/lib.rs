//! What the commands of the workspace share, so that each needs no other.
//!
//! | what | module |
//! |---|---|
//! | the workspace's root, files and packages | [`workspace`] |
//! | programs that are trusted to end, cargo among them | [`process`] |
//! | programs that may hang, or eat all memory | [`child`] |
//! | a few jobs at a time | `pool`, a feature |
//! | counting what `cargo test` ran | [`mod@tally`] |
//! | the nightly toolchain | [`nightly`] |
//! | a toolchain that builds the standard library for other targets | [`std_source`] |
//! | the `main` of a command | [`command`] |
//!
//! It knows no other crate of the workspace, and nothing of what the commands do.

pub mod child;
pub mod command;
pub mod nightly;
mod pipe;
pub mod pool;
pub mod process;
pub mod std_source;
pub mod tally;
pub mod workspace;
