//! What a page cache decides, as pure functions: what to read ahead ([`readahead`]), which pages
//! to keep ([`replacement`]), how long a writer pauses ([`throttle`]).
//!
//! Nothing here locks, allocates, sleeps or asks for the time: state comes in, a decision comes
//! out. So the same types run in a kernel, beneath `faultless-filemap`, and in a simulator that
//! replays traces. What a decision does to pages is filemap's.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod readahead;
pub mod replacement;
pub mod throttle;
