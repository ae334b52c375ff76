//! Pipes.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out, put};
use crate::sync::Lock;
use crate::task::{lock_interruptibly, raise, wait_interruptibly};
use crate::waits::{Held, SleepLock, key_of, wake_pollers};

/// Bytes that a pipe holds.
const CAPACITY: usize = 65_536;

/// As many bytes are written together, or not yet (`PIPE_BUF`); also what is copied at a time.
const PIECE: usize = 4096;

/// What the two ends share.
struct Pipe {
    state: Lock<State>,
    /// One reader, and one writer, at a time: so the bytes of a write stay together.
    readers: SleepLock<()>,
    writers: SleepLock<()>,
}

struct State {
    bytes: VecDeque<u8>,
    has_reader: bool,
    has_writer: bool,
}

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Read,
    Write,
}

struct End {
    pipe: Arc<Pipe>,
    side: Side,
    flags: AtomicU32,
}

/// `pipe2`: the end to read from, and the one to write to.
pub(crate) fn pipe(flags: u32) -> (OpenFile, OpenFile) {
    let state = State { bytes: VecDeque::new(), has_reader: true, has_writer: true };
    let pipe = Arc::new(Pipe {
        state: Lock::new(state),
        readers: SleepLock::new(()),
        writers: SleepLock::new(()),
    });
    let flags = flags & linux::O_NONBLOCK;
    let end = |side, mode| -> OpenFile {
        let flags = AtomicU32::new(flags | mode);
        Arc::new(End { pipe: Arc::clone(&pipe), side, flags })
    };
    (end(Side::Read, linux::O_RDONLY), end(Side::Write, linux::O_WRONLY))
}

impl End {
    fn may_wait(&self) -> Result<(), Errno> {
        if self.flags() & linux::O_NONBLOCK == 0 { Ok(()) } else { Err(Errno::AGAIN) }
    }

    /// Waits until no other thread reads, or writes; the one that does may wait for good.
    fn turn<'p>(&self, lock: &'p SleepLock<()>) -> Result<Held<'p, ()>, Errno> {
        match self.may_wait() {
            Ok(()) => lock_interruptibly(lock),
            Err(errno) => lock.try_lock().ok_or(errno),
        }
    }

    /// Waits until the state is as `condition` wants it.
    fn wait(&self, condition: impl Fn(&State) -> bool) -> Result<(), Errno> {
        if condition(&self.pipe.state.lock()) {
            return Ok(());
        }
        self.may_wait()?;
        wait_interruptibly(key_of(&*self.pipe), &mut || condition(&self.pipe.state.lock()))
    }
}

impl File for End {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if self.side != Side::Read {
            return Err(Errno::BADF);
        }
        if to.count() == 0 {
            return Ok(0);
        }
        let _one = self.turn(&self.pipe.readers)?;
        self.wait(|state| !state.bytes.is_empty() || !state.has_writer)?;
        let mut done = 0;
        while to.count() > 0 {
            let mut piece = [0; PIECE];
            let len = {
                let state = self.pipe.state.lock();
                let len = state.bytes.len().min(to.count()).min(PIECE);
                piece.iter_mut().zip(&state.bytes).take(len).for_each(|(to, from)| *to = *from);
                len
            };
            let copied = copy_out(to, token, &piece[..len]);
            self.pipe.state.lock().bytes.drain(..copied);
            done += copied;
            if copied < len && done == 0 {
                return Err(Errno::FAULT);
            }
            if copied < PIECE {
                break;
            }
        }
        wake_pollers(key_of(&*self.pipe));
        Ok(done)
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if self.side != Side::Write {
            return Err(Errno::BADF);
        }
        let _one = self.turn(&self.pipe.writers)?;
        let mut done = 0;
        let mut piece = [0; PIECE];
        while from.count() > 0 {
            let len = from.count().min(PIECE);
            let room = |state: &State| CAPACITY - state.bytes.len() >= len || !state.has_reader;
            let result = self.wait(room);
            if !self.pipe.state.lock().has_reader {
                if done == 0 {
                    raise(linux::SIGPIPE);
                    return Err(Errno::PIPE);
                }
                break;
            }
            match result {
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
                Ok(()) => {}
            }
            let copied = copy_in(from, token, &mut piece[..len]);
            self.pipe.state.lock().bytes.extend(&piece[..copied]);
            wake_pollers(key_of(&*self.pipe));
            done += copied;
            if copied < len {
                return if done == 0 { Err(Errno::FAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(linux::S_IFIFO, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        if request != linux_raw_sys::ioctl::FIONREAD {
            return Err(Errno::NOTTY);
        }
        let len = self.pipe.state.lock().bytes.len() as u32;
        put(token, argument, &len.to_ne_bytes())?;
        Ok(0)
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        let mode = self.flags() & linux::O_ACCMODE;
        self.flags.store(flags & linux::O_NONBLOCK | mode, Relaxed);
    }

    fn ready(&self) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        match self.side {
            Side::Read => {
                ready.set(Ready::IN, !state.bytes.is_empty());
                ready.set(Ready::HANG_UP, !state.has_writer);
            }
            Side::Write => {
                ready.set(Ready::OUT, CAPACITY - state.bytes.len() >= PIECE);
                ready.set(Ready::ERROR, !state.has_reader);
            }
        }
        ready
    }
}

impl Drop for End {
    fn drop(&mut self) {
        {
            let mut state = self.pipe.state.lock();
            match self.side {
                Side::Read => state.has_reader = false,
                Side::Write => state.has_writer = false,
            }
        }
        wake_pollers(key_of(&*self.pipe));
    }
}
