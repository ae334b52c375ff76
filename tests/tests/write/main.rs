//! Writes, and the user memory that they copy from: W1 to W13, U1 to U7.
//!
//! | claims | module |
//! |---|---|
//! | how many bytes land, which, and the size then (W1–W3) | [`counts`] |
//! | stores that fail, and memory that is short (W4, W9, W11) | [`failures`], [`chunks`] |
//! | what others see of a write under way (W2, W5) | [`concurrent`], [`ranges`] |
//! | a write ends, whatever its source does (W6, W13) | [`progress`] |
//! | segments: empty, missing, bad (W7, U5) | [`segments`], [`usercopy_iovec`] |
//! | limits of size (W8) | [`limits`] |
//! | signals, times and set-id (W10, W12) | [`signals`] |
//! | requests by chance, against the model (W1–W4, W8) | [`model`] |
//! | copies from and to user memory (U1–U7) | [`usercopy_contract`] |

mod chunks;
mod concurrent;
mod counts;
mod failures;
mod limits;
mod model;
mod progress;
mod ranges;
mod segments;
mod signals;
mod usercopy_contract;
mod usercopy_iovec;
