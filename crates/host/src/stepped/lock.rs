//! M of a stepped address space: waits are the scheduler's.

#![forbid(unsafe_code)]

use std::sync::Mutex;

use faultless_page::WaitKey;

use super::seams::{Point, Threads};
use super::short::short;
use crate::admission::{Admission, Admitted};
use crate::lockcheck::Mode;

/// The lock.
#[derive(Debug, Default)]
pub(super) struct M(Mutex<Admission>);

/// M, held. Dropping it unlocks.
#[derive(Debug)]
pub(super) struct Held<'a, T: Threads> {
    m: &'a M,
    threads: &'a T,
    mode: Mode,
}

impl M {
    /// Takes the lock.
    pub(super) fn lock<'a, T: Threads>(&'a self, threads: &'a T, mode: Mode) -> Held<'a, T> {
        threads.point(Point::Lock);
        let what = if mode == Mode::Read { "M for reading" } else { "M for writing" };
        *short(&self.0).queue(mode) += 1;
        let mut ready = || short(&self.0).admit(mode) == Admitted::Yes;
        threads.wait_until(self.key(), what, &mut ready);
        *short(&self.0).queue(mode) -= 1;
        Held { m: self, threads, mode }
    }

    fn key(&self) -> WaitKey {
        WaitKey(std::ptr::from_ref(self).addr())
    }
}

impl<T: Threads> Drop for Held<'_, T> {
    fn drop(&mut self) {
        short(&self.m.0).leave(self.mode);
        self.threads.wake(self.m.key());
    }
}
