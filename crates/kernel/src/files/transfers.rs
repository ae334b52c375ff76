//! What sockets send and receive.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::files::inbox::{Got, How, Inbox, Message, Sender, Taking, Waiting};
use crate::files::socket::{Along, Link, Socket, Type, Waits, own_sender};
use crate::memory::{UserBytes, copy_in};
use crate::task::raise;

/// What Linux keeps of the room of a socket for a message.
const KEPT: usize = 32;

/// Bytes of a stream that are copied at a time.
const PIECE: usize = 16 * 4096;

impl Socket {
    /// Checks that it takes messages of `sender`.
    ///
    /// # Errors
    /// `EPERM`.
    pub(super) fn need_to_hear(&self, sender: &Self) -> Result<(), Errno> {
        match &*self.link.lock() {
            Link::Peer { socket, .. } if !core::ptr::addr_eq(socket.as_ptr(), sender) => {
                Err(Errno::PERM)
            }
            _ => Ok(()),
        }
    }

    /// Who a message to `inbox` says that it is from.
    pub(super) fn sender(&self, along: &Along, inbox: &Inbox) -> Option<Sender> {
        let wanted = [&*self.inbox, inbox].iter().any(|of| of.wants_senders.load(Relaxed));
        along.sender.or_else(|| wanted.then(own_sender))
    }

    /// Sends a message to a socket, or to the peer; of a stream, bytes. Waits for room.
    ///
    /// # Errors
    /// `ENOTCONN`, `EISCONN`, `EPIPE`; `EPROTOTYPE`, `EPERM`, `ECONNREFUSED`, `EMSGSIZE` for
    /// messages; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn send(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        along: Along,
    ) -> Result<usize, Errno> {
        let waiting = self.waiting(along.waits, &self.options.send_time);
        let limit = self.options.send_room.load(Relaxed) as usize;
        if self.kind == Type::Stream {
            return self.send_bytes(token, from, along, limit, waiting);
        }
        let outbox = self.outbox();
        let peer;
        let (target, limit_there) = match &outbox {
            Some(outbox) => (&**outbox, Some(limit)),
            None if self.kind == Type::Packets => return Err(Errno::NOTCONN),
            None => {
                peer = along.to.clone().map_or_else(|| self.peer(), Ok)?;
                let other: &Self = peer.kind().ok_or(Errno::PROTOTYPE)?;
                if other.kind != Type::Datagram {
                    return Err(Errno::PROTOTYPE);
                }
                other.need_to_hear(self)?;
                // Two that have each other for peers have room as a connection has.
                let is_pair = matches!(&*other.link.lock(), Link::Peer { .. });
                (&*other.inbox, is_pair.then_some(limit))
            }
        };
        let len = from.count();
        if len + KEPT > limit {
            return Err(Errno::MSGSIZE);
        }
        let mut bytes = vec![0; len];
        if copy_in(from, token, &mut bytes) < len {
            return Err(Errno::FAULT);
        }
        if self.mute.load(Relaxed) {
            return Err(Errno::PIPE);
        }
        let sender = self.sender(&along, target);
        let message = Message { bytes, from: self.name.address(), sender, files: along.files };
        target.put(message, limit_there, waiting)?;
        Ok(len)
    }

    fn send_bytes(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        along: Along,
        limit: usize,
        waiting: Waiting,
    ) -> Result<usize, Errno> {
        let outbox = self.outbox();
        if along.to.is_some() {
            return Err(if outbox.is_some() { Errno::ISCONN } else { Errno::OPNOTSUPP });
        }
        let Some(outbox) = outbox else {
            return Err(if self.mute.load(Relaxed) { self.broken(&along) } else { Errno::NOTCONN });
        };
        if self.mute.load(Relaxed) || outbox.is_over() {
            return Err(self.broken(&along));
        }
        let sender = self.sender(&along, &outbox);
        let is_silent = along.is_silent;
        let mut message =
            Message { bytes: Vec::new(), from: self.name.address(), sender, files: along.files };
        let mut done = 0;
        while from.count() > 0 {
            let len = from.count().min(PIECE);
            message.bytes.resize(len, 0);
            let copied = copy_in(from, token, &mut message.bytes);
            message.bytes.truncate(copied);
            while !message.bytes.is_empty() {
                match outbox.put_bytes(&mut message, limit, waiting) {
                    Ok(put) => done += put,
                    Err(_) if done > 0 => return Ok(done),
                    Err(Errno::PIPE) => {
                        return Err(self.broken(&Along { is_silent, ..Along::default() }));
                    }
                    Err(errno) => return Err(errno),
                }
            }
            if copied < len {
                return if done == 0 { Err(Errno::FAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    /// The next message.
    ///
    /// # Errors
    /// `ENOTCONN`; those of [`Inbox::receive`].
    pub(crate) fn receive(&self, waits: Waits, taking: Taking) -> Result<Option<Message>, Errno> {
        if self.kind == Type::Packets && self.outbox().is_none() {
            return Err(Errno::NOTCONN);
        }
        let waiting = self.waiting(waits, &self.options.receive_time);
        match self.inbox.receive(waiting, taking) {
            Ok(None) if waiting == Waiting::Never && !self.connects() => Err(Errno::AGAIN),
            received => received,
        }
    }

    /// Bytes of a stream; so many at least, if that many are asked for.
    ///
    /// # Errors
    /// `EINVAL` for one that is not connected; those of [`Inbox::receive_bytes`].
    pub(crate) fn receive_bytes(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        (waits, least): (Waits, usize),
        taking: Taking,
    ) -> Result<Got, Errno> {
        if self.outbox().is_none() {
            return Err(Errno::INVAL);
        }
        let waiting = self.waiting(waits, &self.options.receive_time);
        let least = least.max(self.options.least.load(Relaxed) as usize);
        if to.count() == 0 {
            return Ok(Got::default());
        }
        self.inbox.receive_bytes(token, to, How { waiting, taking, least })
    }

    /// Nothing reads what is sent: the program is told by a signal, too, unless it wants none.
    pub(super) fn broken(&self, along: &Along) -> Errno {
        if !along.is_silent {
            raise(linux::SIGPIPE);
        }
        Errno::PIPE
    }
}
