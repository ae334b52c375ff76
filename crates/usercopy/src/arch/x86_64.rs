//! x86-64.
pub use super::portable::*;
