//! Keys of the console that send signals to the group of processes in its foreground. They come in
//! an interrupt handler, which may not drop a process; so a thread of the kernel sends them.
#![forbid(unsafe_code)]

use crate::files;
use crate::process::signals::{send, with_group};
use crate::signals::Cause;

/// Sends what is typed, for ever.
pub(crate) fn serve() {
    loop {
        let (mut set, group) = files::typed_signals();
        while set != 0 {
            let signal = set.trailing_zeros() + 1;
            set &= set - 1;
            // A group that is gone gets none.
            let _sent = with_group(Some(group), |process| send(process, signal, Cause::Kernel));
        }
    }
}
