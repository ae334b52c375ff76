//! Pages: what they hold, who may lock them, and how they come and go (P1 to P8).
//!
//! | claims | module |
//! |---|---|
//! | uptodate means defined (P1) | [`uptodate`] |
//! | zeros past the end (P2) | [`eof`] |
//! | locks, and the balance of what is taken (P3–P5) | [`locks`] |
//! | pages that go while they are looked up (P6, P7) | [`races`] |
//! | allocations that fail (P8) | [`memory`] |
//! | pages of mapped files | [`mapped`] |
//! | what happens rarely | [`edges`] |

mod edges;
mod eof;
mod locks;
mod mapped;
mod memory;
mod races;
mod uptodate;
