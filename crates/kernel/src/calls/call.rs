//! A system call: its arguments, and what it may change.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::Errno;

use crate::arch::trap::TrapFrame;
use crate::process::Process;

/// A system call of the current thread.
pub(crate) struct Call<'f> {
    pub(crate) args: [usize; 6],
    pub(crate) frame: &'f mut TrapFrame,
    pub(crate) process: Arc<Process>,
    pub(crate) token: MayFault,
}

/// What a call returns.
pub(super) type Outcome = Result<usize, Errno>;
