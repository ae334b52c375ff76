//! Sockets that move messages, each as a whole (`SOCK_DGRAM`).
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::bound::Name;
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out};
use crate::sync::Lock;
use crate::task::wait_interruptibly;
use crate::waits::{key_of, wake_pollers};

/// Messages that wait to be received, at most (`max_dgram_qlen`, and one more, as on Linux).
const MOST_WAITING: usize = 11;

/// Bytes of a message, at most: the room for sending of Linux, without what it keeps of it.
const LARGEST: usize = 212_992 - 32;

/// A message.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// The name of the sender.
    pub(crate) from: Option<Vec<u8>>,
}

/// Whether a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// As the flags of the socket say.
    AsFlags,
    /// It does not (`MSG_DONTWAIT`).
    Never,
}

/// Whether a message that is looked at stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    Taken,
    /// `MSG_PEEK`.
    Left,
}

/// A socket of messages.
pub(crate) struct Datagrams {
    waiting: Lock<VecDeque<Message>>,
    name: Name,
    /// Where messages without an address go, and whose messages alone come.
    peer: Lock<Option<Weak<dyn File>>>,
    flags: AtomicU32,
}

/// A socket without a name and a peer.
pub(crate) fn datagrams(flags: u32) -> OpenFile {
    Arc::new(Datagrams::new(flags))
}

/// Two sockets, each the peer of the other.
pub(crate) fn datagram_pair(flags: u32) -> (OpenFile, OpenFile) {
    let (first, second) = (Arc::new(Datagrams::new(flags)), Arc::new(Datagrams::new(flags)));
    let files: (OpenFile, OpenFile) = (first.clone(), second.clone());
    *first.peer.lock() = Some(Arc::downgrade(&files.1));
    *second.peer.lock() = Some(Arc::downgrade(&files.0));
    files
}

impl Datagrams {
    fn new(flags: u32) -> Self {
        Self {
            waiting: Lock::new(VecDeque::new()),
            name: Name::none(),
            peer: Lock::new(None),
            flags: AtomicU32::new(flags & linux::O_NONBLOCK | linux::O_RDWR),
        }
    }

    /// `connect`.
    ///
    /// # Errors
    /// `EPERM`: the other one has another peer.
    pub(crate) fn connect(&self, to: &OpenFile) -> Result<(), Errno> {
        let other: &Self = to.kind().ok_or(Errno::PROTOTYPE)?;
        other.need_to_hear(self)?;
        *self.peer.lock() = Some(Arc::downgrade(to));
        Ok(())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Its peer.
    ///
    /// # Errors
    /// `ENOTCONN`; `ECONNREFUSED`: the peer is closed.
    pub(crate) fn peer(&self) -> Result<OpenFile, Errno> {
        let peer = self.peer.lock().clone().ok_or(Errno::NOTCONN)?;
        peer.upgrade().ok_or(Errno::CONNREFUSED)
    }

    /// Checks that it takes messages of `sender`.
    ///
    /// # Errors
    /// `EPERM`.
    fn need_to_hear(&self, sender: &Self) -> Result<(), Errno> {
        let peer = self.peer.lock().clone();
        let is_meant = |peer: &Weak<dyn File>| core::ptr::addr_eq(peer.as_ptr(), sender);
        if peer.as_ref().is_none_or(is_meant) { Ok(()) } else { Err(Errno::PERM) }
    }

    fn may_wait(&self, waits: Waits) -> Result<(), Errno> {
        let does = waits == Waits::AsFlags && self.flags() & linux::O_NONBLOCK == 0;
        if does { Ok(()) } else { Err(Errno::AGAIN) }
    }

    /// Sends a message to a socket, or to the peer. Waits for room.
    ///
    /// # Errors
    /// `EPROTOTYPE`, `EPERM`; those of [`peer`](Self::peer); `EMSGSIZE`; `EAGAIN` and `EINTR` in
    /// place of a wait.
    pub(crate) fn send(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        to: Option<OpenFile>,
        waits: Waits,
    ) -> Result<usize, Errno> {
        let to = to.map_or_else(|| self.peer(), Ok)?;
        let target: &Self = to.kind().ok_or(Errno::PROTOTYPE)?;
        target.need_to_hear(self)?;
        let len = from.count();
        if len > LARGEST {
            return Err(Errno::MSGSIZE);
        }
        let mut bytes = vec![0; len];
        if copy_in(from, token, &mut bytes) < len {
            return Err(Errno::FAULT);
        }
        let mut message = Some(Message { bytes, from: self.name.address() });
        let mut put = || {
            let mut waiting = target.waiting.lock();
            let has_room = waiting.len() < MOST_WAITING;
            if has_room {
                waiting.extend(message.take());
            }
            has_room
        };
        if !put() {
            self.may_wait(waits)?;
            wait_interruptibly(key_of(target), &mut put)?;
        }
        wake_pollers(key_of(target));
        Ok(len)
    }

    /// The next message. Waits for one.
    ///
    /// # Errors
    /// `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn receive(&self, waits: Waits, taking: Taking) -> Result<Message, Errno> {
        let take = || {
            let mut waiting = self.waiting.lock();
            match taking {
                Taking::Taken => waiting.pop_front(),
                Taking::Left => waiting.front().cloned(),
            }
        };
        let mut taken = take();
        if taken.is_none() {
            self.may_wait(waits)?;
            wait_interruptibly(key_of(self), &mut || {
                taken = take();
                taken.is_some()
            })?;
        }
        wake_pollers(key_of(self));
        taken.ok_or(Errno::AGAIN)
    }
}

impl File for Datagrams {
    /// What of a message does not fit is lost.
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let message = self.receive(Waits::AsFlags, Taking::Taken)?;
        let len = message.bytes.len().min(to.count());
        if copy_out(to, token, &message.bytes[..len]) < len { Err(Errno::FAULT) } else { Ok(len) }
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.send(token, from, None, Waits::AsFlags)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Socket, 0))
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags & linux::O_NONBLOCK | linux::O_RDWR, Relaxed);
    }

    fn ready(&self) -> Ready {
        let mut ready = Ready::OUT;
        ready.set(Ready::IN, !self.waiting.lock().is_empty());
        ready
    }
}
