//! The console: a serial port with a person or a pipe at its other end.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64};

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl;

use crate::arch::serial;
use crate::boot::options::{Typing, options};
use crate::files::discipline::{Discipline, Settings, TERMIOS};
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out, get, put};
use crate::signals::bit;
use crate::sync::Lock;
use crate::task::wait_interruptibly;
use crate::waits::{key_of, wake, wake_pollers};

/// What was typed.
static TYPED: Lock<Discipline> = Lock::new(Discipline::new());

/// Its size: lines, columns, and two words for points.
static SIZE: Lock<[u8; SIZE_BYTES]> = Lock::new([24, 0, 80, 0, 0, 0, 0, 0]);
const SIZE_BYTES: usize = 8;

/// Signals that were typed and not sent yet, by their bits, and the group of processes that gets
/// them.
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static FOREGROUND: AtomicU32 = AtomicU32::new(0);

/// Bytes that are copied at a time.
const PIECE: usize = 256;

/// Looks at the port. Called at each turn of the timer on the first CPU, with interrupts off.
pub(crate) fn tick() {
    let mut came = false;
    while let Some(byte) = serial::read() {
        let mut echo = Vec::new();
        let signal = {
            let mut typed = TYPED.lock();
            typed.edits = options().console == Typing::Person;
            typed.typed(byte, &mut echo)
        };
        serial::print(&echo);
        if let Some(signal) = signal {
            SIGNALS.fetch_or(bit(signal), SeqCst);
            wake(key_of(&SIGNALS));
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
        let is_ready = || TYPED.lock().is_ready();
        if self.flags() & linux::O_NONBLOCK != 0 && !is_ready() {
            return Err(Errno::AGAIN);
        }
        wait_interruptibly(key_of(&TYPED), &mut { is_ready })?;
        let mut bytes = [0; PIECE];
        let most = to.count().min(PIECE);
        let len = TYPED.lock().take(&mut bytes[..most]);
        if len == 0 {
            return Ok(0);
        }
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
            ioctl::TCGETS => {
                let bytes = TYPED.lock().settings.bytes();
                put(token, argument, &bytes)?;
                Ok(0)
            }
            // What is written is sent at once.
            ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {
                let mut bytes = [0; TERMIOS];
                get(token, argument, &mut bytes)?;
                {
                    let mut typed = TYPED.lock();
                    if request == ioctl::TCSETSF {
                        typed.flush();
                    }
                    typed.set(Settings::from_bytes(&bytes));
                }
                wake_pollers(key_of(&TYPED));
                Ok(0)
            }
            ioctl::TCSBRK | ioctl::TCSBRKP | ioctl::TCXONC => Ok(0),
            ioctl::TCFLSH => match argument as u32 {
                linux::TCOFLUSH => Ok(0),
                linux::TCIFLUSH | linux::TCIOFLUSH => {
                    TYPED.lock().flush();
                    Ok(0)
                }
                _ => Err(Errno::INVAL),
            },
            ioctl::FIONREAD | ioctl::TIOCOUTQ => {
                let count = TYPED.lock().readable();
                let count = if request == ioctl::FIONREAD { count } else { 0 };
                put(token, argument, &(count as u32).to_ne_bytes())?;
                Ok(0)
            }
            ioctl::TIOCGPGRP => {
                put(token, argument, &FOREGROUND.load(Relaxed).to_ne_bytes())?;
                Ok(0)
            }
            ioctl::TIOCSPGRP => {
                let mut group = [0; 4];
                get(token, argument, &mut group)?;
                let group = u32::from_ne_bytes(group);
                if i32::try_from(group).is_err() {
                    return Err(Errno::INVAL);
                }
                set_foreground(group);
                Ok(0)
            }
            ioctl::TIOCGWINSZ => {
                let size = *SIZE.lock();
                put(token, argument, &size)?;
                Ok(0)
            }
            ioctl::TIOCSWINSZ => {
                let mut size = [0; SIZE_BYTES];
                get(token, argument, &mut size)?;
                *SIZE.lock() = size;
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
        if TYPED.lock().has_input() { Ready::IN | Ready::OUT } else { Ready::OUT }
    }
}
