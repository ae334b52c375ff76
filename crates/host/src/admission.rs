//! Which threads hold M, the lock of an address space, and which it lets in next: many readers or
//! one writer, and no reader while a writer is queued (DL3′).
//!
//! Key type: [`Admission`]. It does not own the waiting.

#![forbid(unsafe_code)]

use crate::lockcheck::Mode;

/// Holders, and threads in the queue.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    readers: usize,
    queued_writers: usize,
    queued_readers: usize,
    writer: Writer,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    No,
    Yes,
}

/// Whether a thread was let in.
#[derive(PartialEq, Eq)]
pub(crate) enum Admitted {
    No,
    Yes,
}

impl Admission {
    /// How many threads are queued for this mode. The caller counts them.
    pub(crate) fn queue(&mut self, mode: Mode) -> &mut usize {
        match mode {
            Mode::Read => &mut self.queued_readers,
            Mode::Write | Mode::Exclusive => &mut self.queued_writers,
        }
    }

    /// How many threads are queued.
    pub(crate) fn queued(&self) -> usize {
        self.queued_readers + self.queued_writers
    }

    /// Lets a thread in, if the lock is free for this mode.
    pub(crate) fn admit(&mut self, mode: Mode) -> Admitted {
        match (mode, &self.writer) {
            (Mode::Read, Writer::No) if self.queued_writers == 0 => self.readers += 1,
            (Mode::Write | Mode::Exclusive, Writer::No) if self.readers == 0 => {
                self.writer = Writer::Yes;
            }
            _ => return Admitted::No,
        }
        Admitted::Yes
    }

    /// A thread that was let in gives the lock up.
    pub(crate) fn leave(&mut self, mode: Mode) {
        match mode {
            Mode::Read => self.readers -= 1,
            Mode::Write | Mode::Exclusive => self.writer = Writer::No,
        }
    }
}
