//! What has come for a socket and was not received yet: messages, with files and the number of
//! their sender if it sends these along.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;

use crate::files::edges::Edges;
use crate::files::file::OpenFile;
use crate::memory::{UserBytes, copy_out};
use crate::sync::Lock;
use crate::task::{lock_interruptibly, wait_until};
use crate::waits::{SleepLock, key_of, wake_pollers};

/// What a message takes of the room of its sender beside its bytes, as on Linux.
const OVERHEAD: usize = 768;

/// Messages of senders that are not the peer, at most (`max_dgram_qlen`, and one more, as on
/// Linux).
const MOST_WAITING: usize = 11;

/// Bytes that are copied at a time.
const PIECE: usize = 4096;

/// A process, as `SCM_CREDENTIALS` and `SO_PEERCRED` tell it (`struct ucred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) process: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Sender {
    /// The peer of a socket that has none.
    pub(crate) const NONE: Self = Self { process: 0, user: u32::MAX, group: u32::MAX };
    /// The sender of a message that does not tell.
    pub(crate) const UNTOLD: Self = Self { process: 0, user: 65_534, group: 65_534 };
}

/// Files on their way to another process.
///
/// A file may be a socket that has files on their way to it, and so on: they are dropped one after
/// the other, not each inside the drop of the one before, which would take as many kernel stacks.
#[derive(Clone, Default)]
pub(crate) struct Passed(pub(crate) Vec<OpenFile>);

struct Doomed {
    files: Vec<OpenFile>,
    /// A thread drops them.
    busy: bool,
}

static DOOMED: Lock<Doomed> = Lock::new(Doomed { files: Vec::new(), busy: false });

impl Drop for Passed {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let was_busy = {
            let mut doomed = DOOMED.lock();
            doomed.files.append(&mut self.0);
            core::mem::replace(&mut doomed.busy, true)
        };
        if !was_busy {
            while let Some(next) = next_doomed() {
                drop(next);
            }
        }
    }
}

/// The next file that is to be dropped. The thread that finds none does so no more.
fn next_doomed() -> Option<OpenFile> {
    let mut doomed = DOOMED.lock();
    let next = doomed.files.pop();
    doomed.busy = next.is_some();
    next
}

/// A message, or bytes of a stream that came together.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// The name of the sender.
    pub(crate) from: Option<Vec<u8>>,
    pub(crate) sender: Option<Sender>,
    pub(crate) files: Passed,
}

impl Message {
    fn charge(&self) -> usize {
        OVERHEAD * (1 + self.files.0.len()) + self.bytes.len()
    }
}

/// How long a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Never,
    /// At most until this time on the monotonic clock.
    Until(Option<u64>),
}

/// Whether what is received stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    Taken,
    /// `MSG_PEEK`.
    Left,
}

/// How a stream is received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) waiting: Waiting,
    pub(crate) taking: Taking,
    /// Not before there are so many bytes, or no more come (`MSG_WAITALL`, `SO_RCVLOWAT`).
    pub(crate) least: usize,
}

/// What of a stream was received.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) len: usize,
    pub(crate) from: Option<Vec<u8>>,
    pub(crate) sender: Option<Sender>,
    pub(crate) files: Passed,
}

/// What has come for a socket.
pub(crate) struct Inbox {
    state: Lock<State>,
    pub(super) edges: Edges,
    /// Of a stream one thread receives at a time.
    readers: SleepLock<()>,
    /// Senders tell who they are (`SO_PASSCRED`).
    pub(crate) wants_senders: AtomicBool,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    charge: usize,
    /// Bytes of the first message that were received.
    taken: usize,
    /// No more come: the other side does not send any more.
    ended: bool,
    /// No more are taken: this side does not receive any more.
    deaf: bool,
    /// What the next call fails with.
    error: Option<Errno>,
}

impl State {
    const fn is_over(&self) -> bool {
        self.ended || self.deaf
    }
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Lock::new(State::default()),
            edges: Edges::default(),
            readers: SleepLock::new(()),
            wants_senders: AtomicBool::new(false),
        })
    }

    /// Whether there is something to receive.
    pub(crate) fn has_messages(&self) -> bool {
        !self.state.lock().messages.is_empty()
    }

    /// Whether no more come.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over()
    }

    /// Whether this side takes no more.
    pub(crate) fn is_deaf(&self) -> bool {
        self.state.lock().deaf
    }

    /// Whether a sender that is not the peer finds room.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().messages.len() >= MOST_WAITING
    }

    /// What messages take that were not received.
    pub(crate) fn charge(&self) -> usize {
        self.state.lock().charge
    }

    /// Takes the error that the next call is to fail with (`SO_ERROR`).
    pub(crate) fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// Whether there is one.
    pub(crate) fn has_error(&self) -> bool {
        self.state.lock().error.is_some()
    }

    /// Bytes that can be received of so many messages.
    pub(crate) fn bytes(&self, most: usize) -> usize {
        let state = self.state.lock();
        let messages = state.messages.iter().take(most);
        messages.map(|message| message.bytes.len()).sum::<usize>() - state.taken
    }

    /// The other side sends no more.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.all();
    }

    /// This side receives no more; what has come can be received still.
    pub(crate) fn deafen(&self) {
        self.state.lock().deaf = true;
        self.all();
    }

    /// The next call of this side fails so.
    pub(crate) fn fail(&self, error: Errno) {
        self.state.lock().error = Some(error);
        self.all();
    }

    /// Those on both sides look again.
    fn all(&self) {
        self.edges.came();
        self.edges.left();
        wake_pollers(key_of(self));
    }

    /// This side is closed: drops what has come; whether there was something.
    pub(crate) fn close(&self) -> bool {
        let dropped = {
            let mut state = self.state.lock();
            state.deaf = true;
            (state.taken, state.charge) = (0, 0);
            core::mem::take(&mut state.messages)
        };
        self.all();
        !dropped.is_empty()
    }

    /// Waits until the state is as `condition` wants it.
    ///
    /// # Errors
    /// `EAGAIN`: the call does not wait, or not so long; `EINTR`.
    fn wait(
        &self,
        waiting: Waiting,
        mut condition: impl FnMut(&mut State) -> bool,
    ) -> Result<(), Errno> {
        if condition(&mut self.state.lock()) {
            return Ok(());
        }
        let Waiting::Until(until) = waiting else { return Err(Errno::AGAIN) };
        let waited = wait_until(key_of(self), until, &mut || condition(&mut self.state.lock()));
        waited.map_err(|why| if why == Errno::TIMEDOUT { Errno::AGAIN } else { why })
    }

    /// Puts in a message, once there is room. `limit` is that of the sender; without one, so many
    /// messages may wait as [`MOST_WAITING`] says.
    ///
    /// # Errors
    /// `EPIPE`: this side takes no more; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn put(
        &self,
        message: Message,
        limit: Option<usize>,
        waiting: Waiting,
    ) -> Result<(), Errno> {
        let mut message = Some(message);
        let mut outcome = Err(Errno::PIPE);
        self.wait(waiting, |state| {
            if state.is_over() {
                return true;
            }
            let has_room = match limit {
                Some(limit) => state.charge < limit,
                None => state.messages.len() < MOST_WAITING,
            };
            if has_room && let Some(message) = message.take() {
                state.charge += message.charge();
                state.messages.push_back(message);
                outcome = Ok(());
            }
            has_room
        })?;
        self.edges.came();
        wake_pollers(key_of(self));
        outcome
    }

    /// Puts in bytes of a stream, as many as there is room for; how many.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn put_bytes(
        &self,
        message: &mut Message,
        limit: usize,
        waiting: Waiting,
    ) -> Result<usize, Errno> {
        let mut outcome = Err(Errno::PIPE);
        self.wait(waiting, |state| {
            if state.is_over() {
                return true;
            }
            let room = limit.saturating_sub(state.charge).min(message.bytes.len());
            if room == 0 {
                return false;
            }
            let rest = message.bytes.split_off(room);
            let files = core::mem::take(&mut message.files);
            let (from, sender) = (message.from.clone(), message.sender);
            let bytes = core::mem::replace(&mut message.bytes, rest);
            let piece = Message { bytes, from, sender, files };
            state.charge += piece.charge();
            state.messages.push_back(piece);
            outcome = Ok(room);
            true
        })?;
        self.edges.came();
        wake_pollers(key_of(self));
        outcome
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// What [`fail`](Self::fail) was told; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn receive(
        &self,
        waiting: Waiting,
        taking: Taking,
    ) -> Result<Option<Message>, Errno> {
        let mut taken = Ok(None);
        self.wait(waiting, |state| {
            if let Some(error) = state.error.take() {
                taken = Err(error);
                return true;
            }
            let found = match taking {
                Taking::Left => state.messages.front().cloned(),
                Taking::Taken => state.messages.pop_front(),
            };
            if taking == Taking::Taken {
                state.charge -= found.as_ref().map_or(0, Message::charge);
            }
            let is_met = found.is_some() || state.is_over();
            taken = Ok(found);
            is_met
        })?;
        if taking == Taking::Taken {
            self.edges.left();
        }
        wake_pollers(key_of(self));
        taken
    }

    /// Bytes of the stream. Those of different senders, and those behind files, are not received
    /// together. None at the end.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and `EFAULT`, if nothing was received before.
    pub(crate) fn receive_bytes(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        how: How,
    ) -> Result<Got, Errno> {
        let mut got = Got::default();
        // What of the messages was passed by, if they stay.
        let mut passed = 0;
        let least = how.least.clamp(1, to.count().max(1));
        loop {
            let ready = |state: &mut State| {
                let len: usize = state.messages.iter().map(|message| message.bytes.len()).sum();
                len > passed + state.taken || state.is_over() || state.error.is_some()
            };
            // With enough, only what is there already comes with it.
            let waiting = if got.len < least { how.waiting } else { Waiting::Never };
            // The lock is not held while there is nothing: all readers wait for the same.
            let waited = self.wait(waiting, ready);
            let _one = match waited.and_then(|()| lock_interruptibly(&self.readers)) {
                Ok(held) => held,
                Err(errno) if got.len == 0 => return Err(errno),
                Err(_) => break,
            };
            let stops = match self.step(token, to, how.taking, &mut got, &mut passed) {
                Ok(step) => step,
                Err(errno) if got.len == 0 => return Err(errno),
                Err(_) => break,
            };
            if stops == Step::Boundary || to.count() == 0 {
                break;
            }
        }
        wake_pollers(key_of(self));
        Ok(got)
    }

    /// Receives what comes next of one message.
    fn step(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        taking: Taking,
        got: &mut Got,
        passed: &mut usize,
    ) -> Result<Step, Errno> {
        let mut piece = [0; PIECE];
        let (len, rest) = {
            let mut state = self.state.lock();
            let mut skipped = *passed + state.taken;
            let mut messages = state.messages.iter();
            let next = messages.by_ref().find(|message| {
                let is_behind = message.bytes.len() <= skipped;
                skipped -= if is_behind { message.bytes.len() } else { 0 };
                !is_behind
            });
            let Some(message) = next else {
                if got.len == 0
                    && let Some(error) = state.error.take()
                {
                    return Err(error);
                }
                let ends = state.is_over() || state.error.is_some();
                return Ok(if ends { Step::Boundary } else { Step::Empty });
            };
            let is_other = message.sender != got.sender && self.wants_senders.load(Relaxed);
            if got.len > 0 && (is_other || !got.files.0.is_empty()) {
                return Ok(Step::Boundary);
            }
            if got.len == 0 {
                (got.from, got.sender) = (message.from.clone(), message.sender);
            }
            let bytes = &message.bytes[skipped..];
            let len = bytes.len().min(to.count()).min(PIECE);
            piece[..len].copy_from_slice(&bytes[..len]);
            if !message.files.0.is_empty() && got.files.0.is_empty() {
                got.files = message.files.clone();
            }
            (len, bytes.len() - len)
        };
        let copied = copy_out(to, token, &piece[..len]);
        got.len += copied;
        match taking {
            Taking::Left => *passed += copied,
            Taking::Taken => drop(self.consume(copied)),
        }
        if copied < len {
            return if got.len == 0 { Err(Errno::FAULT) } else { Ok(Step::Boundary) };
        }
        let is_last = rest == 0 && !got.files.0.is_empty();
        Ok(if is_last { Step::Boundary } else { Step::Copied })
    }

    /// Takes bytes out of the first message, and the message if these are its last ones. Its files
    /// were received, and are dropped by the caller: with the lock free.
    fn consume(&self, len: usize) -> (Option<Message>, Passed) {
        let mut state = self.state.lock();
        let Some(first) = state.messages.front_mut() else { return (None, Passed::default()) };
        let files = core::mem::take(&mut first.files);
        let whole = first.bytes.len();
        state.charge -= OVERHEAD * files.0.len();
        state.taken += len;
        let mut done = None;
        if state.taken >= whole {
            state.taken = 0;
            self.edges.left();
            done = state.messages.pop_front();
            state.charge -= done.as_ref().map_or(0, Message::charge);
        }
        (done, files)
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Copied,
    /// Another reader was first.
    Empty,
    /// What follows is not received together with what was.
    Boundary,
}
