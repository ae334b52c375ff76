//! Threads that work for the machine of the thread that spawns them: the lock checker sees what
//! they do.

use std::thread::{JoinHandle, Scope, ScopedJoinHandle};

use faultless_host::lockcheck::on_same_machine;

/// As [`std::thread::spawn`], on the same machine.
pub fn spawn<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    std::thread::spawn(on_same_machine(work))
}

/// As [`Scope::spawn`], on the same machine.
pub fn spawn_in<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> R + Send + 'scope,
) -> ScopedJoinHandle<'scope, R> {
    scope.spawn(on_same_machine(work))
}
