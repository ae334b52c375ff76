//! Which pages to read before they are asked for.
//!
//! [`Readahead`] is the state of one open file. It is asked on a miss, on the first use of a page
//! that carries a marker, and on a fault. A hit without a marker does not reach it. The marker is
//! one bit of a page in the cache. A [`Window`] says which pages to read ahead and where to put
//! the next marker; the use of that page asks for the next window while the current one is still
//! unread, so that the store and the reader work at the same time.
//!
//! | module | what it holds |
//! |---|---|
//! | `window` | [`Run`] and [`Window`]: which pages |
//! | `limits` | [`Limits`]: how many pages, and how a store sets that |
//! | `stream` | one recognised sequence of accesses |
//! | `state` | [`Readahead`]: all streams of an open file |
//! | `around` | pages around a fault, and ranges of `fadvise` |
//!
//! The cache starts the reads, sets and clears the markers, and counts the pages that it drops
//! unused. This module does none of that. Page numbers are positions in units of a page.
#![forbid(unsafe_code)]

mod around;
mod limits;
mod state;
mod stream;
mod window;

pub use around::{around, whole_pages, will_need};
pub use limits::Limits;
pub use state::{Advice, File, Readahead, STREAMS};
pub use window::{Run, Runs, Window};

#[cfg(test)]
mod tests;
