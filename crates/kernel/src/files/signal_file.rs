//! Files from which a program reads the signals that are pending for it (`signalfd`).
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::stream_flags::StreamFlags;
use crate::memory::{UserBytes, copy_out};
use crate::sched;
use crate::signals::{Cause, UNBLOCKABLE};
use crate::task::wait_interruptibly;
use crate::waits::key_of;

/// Bytes of `struct signalfd_siginfo`.
const INFO: usize = 128;

/// A file of signals.
pub(crate) struct SignalFile {
    set: AtomicU64,
    flags: StreamFlags,
}

/// `signalfd4`: a file of the signals of a set.
pub(crate) fn signal_file(set: u64, flags: u32) -> OpenFile {
    let flags = StreamFlags::new(linux::O_RDWR, flags);
    Arc::new(SignalFile { set: AtomicU64::new(set & !UNBLOCKABLE), flags })
}

impl SignalFile {
    /// Another set for a file that is there.
    pub(crate) fn change(&self, set: u64) {
        self.set.store(set & !UNBLOCKABLE, Relaxed);
    }

    /// Takes the next signal of the set: one of the reader's, whoever has made the file.
    fn take(&self) -> Option<(u32, Cause)> {
        let set = self.set.load(Relaxed);
        sched::with_current(|thread| thread.signals.take_of(&thread.life()?.signals, set))
    }
}

/// `struct signalfd_siginfo`.
fn information(signal: u32, cause: Cause) -> [u8; INFO] {
    const TIMER: i32 = linux::SI_TIMER;
    let mut bytes = [0; INFO];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &signal.to_ne_bytes());
    put(8, &cause.code().to_ne_bytes());
    match cause {
        Cause::User(sender) => put(12, &sender.to_ne_bytes()),
        Cause::Kernel => {}
        Cause::Fault { address, .. } => put(72, &address.to_ne_bytes()),
        Cause::Queued { code, words: [first, value] } => {
            // The number of a timer and its overruns, or the sender and its user.
            put(if code == TIMER { 24 } else { 12 }, &(first as u32).to_ne_bytes());
            put(if code == TIMER { 32 } else { 16 }, &((first >> 32) as u32).to_ne_bytes());
            put(44, &(value as u32).to_ne_bytes());
            put(48, &value.to_ne_bytes());
        }
        Cause::Child(child) => {
            put(12, &child.number.to_ne_bytes());
            put(40, &child.told().1.to_ne_bytes());
        }
    }
    bytes
}

impl File for SignalFile {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if to.count() < INFO {
            return Err(Errno::INVAL);
        }
        let mut taken = self.take();
        if taken.is_none() {
            self.flags.need_wait()?;
            // A signal that is sent has the threads of its process look.
            wait_interruptibly(key_of(self), &mut || {
                taken = self.take();
                taken.is_some()
            })?;
        }
        let mut done = 0;
        while let Some((signal, cause)) = taken {
            if copy_out(to, token, &information(signal, cause)) < INFO {
                return if done > 0 { Ok(done) } else { Err(Errno::FAULT) };
            }
            done += INFO;
            taken = if to.count() < INFO { None } else { self.take() };
        }
        Ok(done)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    fn ready(&self) -> Ready {
        let set = self.set.load(Relaxed);
        let pending = sched::with_current(|thread| {
            thread.life().map_or(0, |life| thread.signals.pending(&life.signals))
        });
        if pending & set == 0 { Ready::empty() } else { Ready::IN }
    }
}
