//! The end of threads and processes, and `exec`.
#![forbid(unsafe_code)]

use syscalls::Sysno;

use crate::call::{Call, Outcome};
use crate::files::files;
use crate::raw;

/// `exit`: Linux ends the thread, on its own stack.
pub(super) fn exit_thread(call: &mut Call<'_>) -> Outcome {
    call.thread.exit();
    Outcome::Pass
}

/// `exit_group`: what the process has is given up first.
pub(super) fn exit(call: &mut Call<'_>) -> Outcome {
    call.process.exit();
    raw::harmless(Sysno::exit_group, call.args);
    Outcome::Pass
}

/// `execve` and `execveat`: the new program finds this library by the environment.
pub(super) fn exec() -> Outcome {
    // Linux reads a program from its own file.
    let _reported_later = files().sync();
    Outcome::Pass
}
