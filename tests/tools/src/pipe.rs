//! `cargo xtask demo | head`: a reader that has seen enough ends the program quietly.

/// Lets the signal for a closed pipe end the program, as with other command line tools. (Rust's
/// runtime ignores it, and the next `println!` would panic.)
pub(crate) fn end_quietly_when_closed() {
    // SAFETY: the default action is no handler: nothing of ours runs in a signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
