//! Pipes, with names (FIFOs) and without.
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{AccessMode, Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::edges::{Edges, Seen};
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out, put};
use crate::sync::Lock;
use crate::task::{lock_interruptibly, raise, wait_interruptibly};
use crate::waits::{Held, SleepLock, key_of, wake_pollers};

/// Bytes that a pipe holds at first, and at most.
const CAPACITY: usize = 65_536;
const LARGEST: usize = 1 << 20;

/// As many bytes are written together, or not yet (`PIPE_BUF`); also what is copied at a time.
const PIECE: usize = 4096;

/// The flags of an end: `O_DIRECT` has each write be a packet.
const KEPT: u32 = linux::O_NONBLOCK | linux::O_DIRECT;

/// What all ends share.
pub(super) struct Pipe {
    state: Lock<State>,
    edges: Edges,
    /// One reader, and one writer, at a time: so the bytes of a write stay together.
    readers: SleepLock<()>,
    writers: SleepLock<()>,
}

struct State {
    bytes: VecDeque<u8>,
    /// How many bytes were taken out so far, and where packets end, counted as those.
    taken: u64,
    packets: VecDeque<u64>,
    capacity: usize,
    /// Ends that are open, and how many were opened so far: an `open` of a FIFO waits for the
    /// other kind, which may be closed again when it looks.
    readers: usize,
    writers: usize,
    readers_came: u64,
    writers_came: u64,
}

/// An end of a pipe, open.
pub(crate) struct PipeEnd {
    pipe: Arc<Pipe>,
    mode: AccessMode,
    flags: AtomicU32,
}

/// `pipe2`: the end to read from, and the one to write to.
pub(crate) fn pipe(flags: u32) -> (OpenFile, OpenFile) {
    let pipe = Pipe::new();
    let end = |mode| -> OpenFile { Arc::new(PipeEnd::new(&pipe, flags, mode)) };
    (end(AccessMode::READ), end(AccessMode::WRITE))
}

/// The pipes of FIFOs that are open, by the numbers of their nodes.
static NAMED: Lock<BTreeMap<(u64, u64), Weak<Pipe>>> = Lock::new(BTreeMap::new());

/// What an end is opened for.
///
/// # Errors
/// `EINVAL`: nothing.
fn mode(flags: u32) -> Result<AccessMode, Errno> {
    let mode = AccessMode::from_open_flags(flags);
    if mode.is_empty() { Err(Errno::INVAL) } else { Ok(mode) }
}

/// Opens the FIFO of a node. Waits for the other end, but for `O_RDWR` and `O_NONBLOCK`.
///
/// # Errors
/// `ENXIO`: nothing reads from it, and the call does not wait; `EINVAL`: it is opened for nothing;
/// `EINTR`.
pub(super) fn open_named(node: (u64, u64), flags: u32) -> Result<OpenFile, Errno> {
    let mode = mode(flags)?;
    let pipe = {
        let mut named = NAMED.lock();
        named.retain(|_, pipe| pipe.strong_count() > 0);
        let known = named.get(&node).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let pipe = Pipe::new();
            named.insert(node, Arc::downgrade(&pipe));
            pipe
        })
    };
    if mode == AccessMode::WRITE && flags & linux::O_NONBLOCK != 0 && pipe.state.lock().readers == 0
    {
        return Err(Errno::NXIO);
    }
    let (readers, writers) = {
        let state = pipe.state.lock();
        (state.readers_came, state.writers_came)
    };
    let end = Arc::new(PipeEnd::new(&pipe, flags, mode));
    wake_pollers(key_of(&*pipe));
    if flags & linux::O_NONBLOCK == 0 && mode != AccessMode::all() {
        wait_interruptibly(key_of(&*pipe), &mut || {
            let state = pipe.state.lock();
            if mode == AccessMode::READ {
                state.writers > 0 || state.writers_came != writers
            } else {
                state.readers > 0 || state.readers_came != readers
            }
        })?;
    }
    Ok(end)
}

impl Pipe {
    fn new() -> Arc<Self> {
        let state = State {
            bytes: VecDeque::new(),
            taken: 0,
            packets: VecDeque::new(),
            capacity: CAPACITY,
            readers: 0,
            writers: 0,
            readers_came: 0,
            writers_came: 0,
        };
        Arc::new(Self {
            state: Lock::new(state),
            edges: Edges::default(),
            readers: SleepLock::new(()),
            writers: SleepLock::new(()),
        })
    }
}

impl State {
    /// How many bytes the first packet has, if there is one.
    fn packet(&self) -> Option<usize> {
        Some((self.packets.front()? - self.taken) as usize)
    }

    /// Takes the first bytes out.
    fn take(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.taken += len as u64;
        while self.packets.front().is_some_and(|end| *end <= self.taken) {
            self.packets.pop_front();
        }
    }

    /// Puts bytes in, as a packet if `flags` have `O_DIRECT`.
    fn put(&mut self, bytes: &[u8], flags: u32) {
        self.bytes.extend(bytes);
        if flags & linux::O_DIRECT != 0 && !bytes.is_empty() {
            self.packets.push_back(self.taken + self.bytes.len() as u64);
        }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }
}

impl Pipe {
    /// Takes the first bytes out. Room is news only to those that found none.
    fn take(&self, len: usize) {
        let was_full = {
            let mut state = self.state.lock();
            let was_full = state.room() < PIECE;
            let len = len.min(state.bytes.len());
            state.take(len);
            was_full && state.room() >= PIECE
        };
        if was_full {
            self.edges.left();
        }
    }

    /// Puts bytes in, as a packet if `flags` have `O_DIRECT`.
    fn put(&self, bytes: &[u8], flags: u32) {
        self.state.lock().put(bytes, flags);
        self.edges.came();
    }
}

impl PipeEnd {
    fn new(pipe: &Arc<Pipe>, flags: u32, mode: AccessMode) -> Self {
        {
            let mut state = pipe.state.lock();
            if mode.contains(AccessMode::READ) {
                state.readers += 1;
                state.readers_came += 1;
            }
            if mode.contains(AccessMode::WRITE) {
                state.writers += 1;
                state.writers_came += 1;
            }
        }
        let flags = AtomicU32::new(flags & KEPT | mode.open_flags());
        Self { pipe: Arc::clone(pipe), mode, flags }
    }

    fn need(&self, mode: AccessMode) -> Result<(), Errno> {
        if self.mode.contains(mode) { Ok(()) } else { Err(Errno::BADF) }
    }

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

    /// Waits for room for so many bytes. `None`: nothing reads any more, which the program is told.
    fn wait_for_room(&self, len: usize) -> Result<Option<()>, Errno> {
        let waited = self.wait(|state| state.room() >= len || state.readers == 0);
        if self.pipe.state.lock().readers == 0 {
            raise(linux::SIGPIPE);
            return Ok(None);
        }
        waited.map(Some)
    }

    /// Whether two ends are of one pipe.
    pub(crate) fn is_of_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pipe, &other.pipe)
    }

    /// Bytes that are in the pipe, up to `len`; they stay there. Waits for the first one; none at
    /// the end.
    ///
    /// # Errors
    /// `EBADF`; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn peek(&self, len: usize) -> Result<Vec<u8>, Errno> {
        self.need(AccessMode::READ)?;
        self.wait(|state| !state.bytes.is_empty() || state.writers == 0)?;
        let state = self.pipe.state.lock();
        Ok(state.bytes.iter().take(len).copied().collect())
    }

    /// Takes out what was seen by [`peek`](Self::peek).
    pub(crate) fn consume(&self, len: usize) {
        self.pipe.take(len);
        wake_pollers(key_of(&*self.pipe));
    }

    /// Waits until bytes can be put in; how many.
    ///
    /// # Errors
    /// `EBADF`; `EPIPE`; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn room(&self) -> Result<usize, Errno> {
        self.need(AccessMode::WRITE)?;
        self.wait_for_room(1)?.ok_or(Errno::PIPE)?;
        Ok(self.pipe.state.lock().room())
    }

    /// How many bytes it holds (`F_GETPIPE_SZ`).
    pub(crate) fn capacity(&self) -> usize {
        self.pipe.state.lock().capacity
    }

    /// Sets how many bytes it holds (`F_SETPIPE_SZ`); how many it does then.
    ///
    /// # Errors
    /// `EBUSY`: it has more in it; `EPERM` for too many; `EINVAL` for more than there can be.
    pub(crate) fn set_capacity(&self, wanted: usize) -> Result<usize, Errno> {
        if wanted > 1 << 31 {
            return Err(Errno::INVAL);
        }
        let rounded = wanted.max(PIECE).checked_next_power_of_two().ok_or(Errno::INVAL)?;
        if rounded > LARGEST {
            return Err(Errno::PERM);
        }
        {
            let mut state = self.pipe.state.lock();
            if state.bytes.len() > rounded {
                return Err(Errno::BUSY);
            }
            state.capacity = rounded;
        }
        wake_pollers(key_of(&*self.pipe));
        Ok(rounded)
    }
}

impl File for PipeEnd {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.need(AccessMode::READ)?;
        if to.count() == 0 {
            return Ok(0);
        }
        let is_ready = |state: &State| !state.bytes.is_empty() || state.writers == 0;
        // The lock is not held while there is nothing: all readers wait for the same.
        let _one = loop {
            self.wait(is_ready)?;
            // At the end there is nothing to take turns for.
            let is_over = {
                let state = self.pipe.state.lock();
                state.bytes.is_empty() && state.writers == 0
            };
            if is_over {
                return Ok(0);
            }
            let held = lock_interruptibly(&self.pipe.readers)?;
            if !self.pipe.state.lock().bytes.is_empty() {
                break held;
            }
        };
        let mut done = 0;
        while to.count() > 0 {
            let mut piece = [0; PIECE];
            let (len, packet) = {
                let state = self.pipe.state.lock();
                let packet = state.packet();
                let there = packet.unwrap_or(state.bytes.len());
                let len = there.min(to.count()).min(PIECE);
                piece.iter_mut().zip(&state.bytes).take(len).for_each(|(to, from)| *to = *from);
                (len, packet)
            };
            let copied = copy_out(to, token, &piece[..len]);
            // What of a packet is not read is lost.
            let taken = if copied == len { packet.unwrap_or(copied) } else { copied };
            self.pipe.take(taken);
            done += copied;
            if copied < len && done == 0 {
                return Err(Errno::FAULT);
            }
            if copied < PIECE || packet.is_some() {
                break;
            }
        }
        wake_pollers(key_of(&*self.pipe));
        Ok(done)
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.need(AccessMode::WRITE)?;
        if from.count() == 0 {
            return Ok(0);
        }
        let _one = self.turn(&self.pipe.writers)?;
        let is_whole = from.count() <= PIECE;
        let mut done = 0;
        let mut piece = [0; PIECE];
        while from.count() > 0 {
            let len = from.count().min(PIECE);
            // More than can be written together goes in as far as there is room.
            let least = if is_whole { len } else { 1 };
            match self.wait_for_room(least) {
                Ok(Some(())) => {}
                Ok(None) if done == 0 => return Err(Errno::PIPE),
                Err(errno) if done == 0 => return Err(errno),
                Ok(None) | Err(_) => break,
            }
            // Only the thread that has the turn takes room.
            let len = len.min(self.pipe.state.lock().room());
            let copied = copy_in(from, token, &mut piece[..len]);
            self.pipe.put(&piece[..copied], self.flags());
            wake_pollers(key_of(&*self.pipe));
            done += copied;
            if copied < len {
                return if done == 0 { Err(Errno::FAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.need(AccessMode::WRITE)?;
        let mut done = 0;
        while done < bytes.len() {
            match self.wait_for_room(1) {
                Ok(Some(())) => {}
                Ok(None) if done == 0 => return Err(Errno::PIPE),
                Err(errno) if done == 0 => return Err(errno),
                Ok(None) | Err(_) => break,
            }
            let len = self.pipe.state.lock().room().min(bytes.len() - done);
            self.pipe.put(&bytes[done..done + len], self.flags());
            done += len;
            wake_pollers(key_of(&*self.pipe));
        }
        Ok(done)
    }

    fn again(&self, flags: u32) -> Result<OpenFile, Errno> {
        Ok(Arc::new(Self::new(&self.pipe, flags, mode(flags)?)))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Fifo, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        match request {
            linux_raw_sys::ioctl::FIONREAD => {
                let len = self.pipe.state.lock().bytes.len() as u32;
                put(token, argument, &len.to_ne_bytes())?;
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
        self.flags.store(flags & KEPT | mode, Relaxed);
    }

    fn edges(&self) -> Option<Seen> {
        Some(self.pipe.edges.now())
    }

    fn ready(&self) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        if self.mode.contains(AccessMode::READ) {
            ready.set(Ready::IN, !state.bytes.is_empty());
            // The reader of a FIFO that nothing has written to yet is not at an end.
            ready.set(Ready::HANG_UP, state.writers == 0 && state.writers_came > 0);
        }
        if self.mode.contains(AccessMode::WRITE) {
            ready.set(Ready::OUT, state.room() >= PIECE);
            ready.set(Ready::ERROR, state.readers == 0);
        }
        ready
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        {
            let mut state = self.pipe.state.lock();
            state.readers -= usize::from(self.mode.contains(AccessMode::READ));
            state.writers -= usize::from(self.mode.contains(AccessMode::WRITE));
        }
        self.pipe.edges.came();
        self.pipe.edges.left();
        wake_pollers(key_of(&*self.pipe));
    }
}
