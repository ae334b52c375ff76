//! How texts are made.
#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::process::Process;

/// What makes a text.
#[derive(Clone, Copy)]
pub(super) enum Made {
    Read(fn() -> String),
    /// It can be written, too, to no effect.
    Written(fn() -> String),
    /// Of a process.
    Of(fn(&Arc<Process>) -> String),
    WrittenOf(fn(&Arc<Process>) -> String),
    /// Of a process, for its user alone, and no text.
    Words(fn(&Arc<Process>) -> Vec<u8>),
}

impl Made {
    /// The mode of its node.
    pub(super) const fn mode(self) -> u32 {
        match self {
            Self::Read(_) | Self::Of(_) => 0o444,
            Self::Written(_) | Self::WrittenOf(_) => 0o644,
            Self::Words(_) => 0o400,
        }
    }
}
