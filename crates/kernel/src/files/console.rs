//! The console: a serial port with a person or a pipe at its other end.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64};

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::arch::serial;
use crate::boot::options::{Typing, options};
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out, get, put};
use crate::signals::bit;
use crate::sync::Lock;
use crate::task::wait_interruptibly;
use crate::waits::{key_of, wake, wake_pollers};

/// Bytes that were typed and not read yet.
static TYPED: Lock<VecDeque<u8>> = Lock::new(VecDeque::new());

/// Signals that were typed and not sent yet, by their bits, and the group of processes that gets
/// them.
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static FOREGROUND: AtomicU32 = AtomicU32::new(0);

/// Keys that send signals: Ctrl-C, Ctrl-\ and Ctrl-Z.
const KEYS: [(u8, u32); 3] = [(3, linux::SIGINT), (28, linux::SIGQUIT), (26, linux::SIGTSTP)];

/// Typed bytes that are kept at most.
const MOST: usize = 4096;

/// Bytes that are copied at a time.
const PIECE: usize = 256;

/// Bytes of `struct termios`, and what one says that is not changed: lines, with an echo.
const TERMIOS: usize = 36;
const TERMIOS_WORDS: [u32; 4] = [0x500, 0x5, 0xbf, 0x8a3b];

/// Looks at the port. Called at each turn of the timer on the first CPU, with interrupts off.
pub(crate) fn tick() {
    let mut came = false;
    while let Some(byte) = serial::read() {
        let key = KEYS.iter().find(|(key, _)| *key == byte);
        if let Some((_, signal)) = key
            && options().console == Typing::Person
        {
            SIGNALS.fetch_or(bit(*signal), SeqCst);
            wake(key_of(&SIGNALS));
            continue;
        }
        let mut typed = TYPED.lock();
        if typed.len() < MOST {
            typed.push_back(byte);
        }
        came = true;
    }
    if came {
        wake_pollers(key_of(&TYPED));
    }
}

/// Waits until keys were typed that send signals: their set, and the group that gets them.
pub(crate) fn typed_signals() -> (u64, u32) {
    let mut set = 0;
    // A thread of the kernel is not interrupted; it may wait for as long as it takes.
    let _came = wait_interruptibly(key_of(&SIGNALS), &mut || {
        set |= SIGNALS.swap(0, SeqCst);
        set != 0
    });
    (set, FOREGROUND.load(Relaxed))
}

/// The group of processes in the foreground of the console (`tcsetpgrp`).
pub(crate) fn set_foreground(group: u32) {
    FOREGROUND.store(group, Relaxed);
}

/// The console, open.
#[derive(Debug)]
pub(crate) struct Console {
    flags: AtomicU32,
}

impl Console {
    pub(super) const fn new(flags: u32) -> Self {
        Self { flags: AtomicU32::new(flags) }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new(linux::O_RDWR)
    }
}

impl File for Console {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if to.count() == 0 {
            return Ok(0);
        }
        let is_there = || !TYPED.lock().is_empty();
        if self.flags() & linux::O_NONBLOCK != 0 && !is_there() {
            return Err(Errno::AGAIN);
        }
        wait_interruptibly(key_of(&TYPED), &mut { is_there })?;
        let mut bytes = [0; PIECE];
        let len = {
            let mut typed = TYPED.lock();
            let len = typed.len().min(to.count()).min(PIECE);
            for (byte, typed) in bytes.iter_mut().zip(typed.drain(..len)) {
                *byte = typed;
            }
            len
        };
        match copy_out(to, token, &bytes[..len]) {
            0 => Err(Errno::FAULT),
            done => Ok(done),
        }
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let asked = from.count();
        let mut bytes = [0; PIECE];
        while from.count() > 0 {
            let len = PIECE.min(from.count());
            let done = copy_in(from, token, &mut bytes[..len]);
            serial::print(&bytes[..done]);
            if done < len {
                break;
            }
        }
        let done = asked - from.count();
        if done == 0 && asked > 0 { Err(Errno::FAULT) } else { Ok(done) }
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        serial::print(bytes);
        Ok(bytes.len())
    }

    fn again(&self, flags: u32) -> Result<OpenFile, Errno> {
        Ok(Arc::new(Self::new(flags)))
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Characters, 5 << 8))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        match request {
            linux_raw_sys::ioctl::TCGETS => {
                let mut bytes = [0; TERMIOS];
                for (word, place) in TERMIOS_WORDS.iter().zip(bytes.chunks_exact_mut(4)) {
                    place.copy_from_slice(&word.to_ne_bytes());
                }
                put(token, argument, &bytes)?;
                Ok(0)
            }
            linux_raw_sys::ioctl::TIOCGPGRP => {
                put(token, argument, &FOREGROUND.load(Relaxed).to_ne_bytes())?;
                Ok(0)
            }
            linux_raw_sys::ioctl::TIOCSPGRP => {
                let mut group = [0; 4];
                get(token, argument, &mut group)?;
                let group = u32::from_ne_bytes(group);
                if i32::try_from(group).is_err() {
                    return Err(Errno::INVAL);
                }
                set_foreground(group);
                Ok(0)
            }
            linux_raw_sys::ioctl::TIOCGWINSZ => {
                let size = [24_u16, 80, 0, 0];
                put(token, argument, size.map(u16::to_ne_bytes).as_flattened())?;
                Ok(0)
            }
            _ => Err(Errno::NOTTY),
        }
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        let mode = self.flags() & linux::O_ACCMODE;
        self.flags.store(flags & !linux::O_ACCMODE | mode, Relaxed);
    }

    fn ready(&self) -> Ready {
        if TYPED.lock().is_empty() { Ready::OUT } else { Ready::IN | Ready::OUT }
    }
}
