//! Sockets of the family `AF_UNIX`: streams of bytes, messages, and messages in order. What comes
//! for one waits in its [`Inbox`].
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl;

use crate::files::bound::Name;
use crate::files::edges::Seen;
use crate::files::file::{File, OpenFile, Ready};
use crate::files::inbox::{Inbox, Message, Passed, Sender, Taking, Waiting};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::stream_flags::StreamFlags;
use crate::memory::{UserBytes, copy_out, put};
use crate::process;
use crate::sync::Lock;
use crate::task::credentials;
use crate::waits::{key_of, wake_pollers};

/// What Linux has for the room of a socket.
pub(crate) const ROOM: u32 = 212_992;

/// The type of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Bytes, by a connection.
    Stream,
    /// Messages, from any other socket or from one.
    Datagram,
    /// Messages, by a connection.
    Packets,
}

/// A socket.
pub(crate) struct Socket {
    pub(crate) kind: Type,
    pub(super) inbox: Arc<Inbox>,
    pub(super) link: Lock<Link>,
    pub(super) name: Name,
    flags: StreamFlags,
    /// It sends no more (`shutdown`), though it may have no peer.
    pub(super) mute: AtomicBool,
    pub(crate) options: Options,
}

/// What programs set of a socket (`setsockopt`).
pub(crate) struct Options {
    pub(crate) send_room: AtomicU32,
    pub(crate) receive_room: AtomicU32,
    /// Bytes of a stream that a call waits for, at least.
    pub(crate) least: AtomicU32,
    /// How long calls wait, in nanoseconds; 0 for as long as it takes.
    pub(crate) receive_time: AtomicU64,
    pub(crate) send_time: AtomicU64,
}

/// What a socket is at.
pub(super) enum Link {
    /// None of the others.
    New,
    /// It takes connections: the other sides of those that were not accepted yet.
    Listening { most: usize, waiting: VecDeque<OpenFile>, by: Sender },
    /// It is one side of a connection.
    Connected(Side),
    /// Where messages without an address go, and whose messages alone come.
    Peer { socket: Weak<dyn File>, inbox: Arc<Inbox>, by: Sender },
}

/// What one side of a connection has of the other.
pub(super) struct Side {
    pub(super) outbox: Arc<Inbox>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) by: Sender,
}

/// The current process.
pub(crate) fn own_sender() -> Sender {
    let own = credentials();
    Sender {
        process: process::current().map_or(0, |process| process.number()),
        user: own.user.effective,
        group: own.group.effective,
    }
}

/// A way of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// Whether a call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Waits {
    /// As the flags of the socket say.
    #[default]
    AsFlags,
    /// It does not (`MSG_DONTWAIT`).
    Never,
}

/// What is sent, beside bytes.
#[derive(Default)]
pub(crate) struct Along {
    /// Who the program says that it is.
    pub(crate) sender: Option<Sender>,
    pub(crate) files: Passed,
    /// Where it goes, if not to the peer.
    pub(crate) to: Option<OpenFile>,
    pub(crate) waits: Waits,
    /// `MSG_NOSIGNAL`.
    pub(crate) is_silent: bool,
}

/// A socket without a name and a peer.
pub(crate) fn socket(kind: Type, flags: u32) -> OpenFile {
    Arc::new(Socket::with(kind, Inbox::new(), Link::New, flags))
}

/// Two sockets: what is written to one is read from the other.
pub(crate) fn socket_pair(kind: Type, flags: u32) -> (OpenFile, OpenFile) {
    let (one, other) = (Inbox::new(), Inbox::new());
    let by = own_sender();
    let side = |outbox: &Arc<Inbox>| match kind {
        Type::Datagram => Link::New,
        _ => Link::Connected(Side { outbox: Arc::clone(outbox), name: None, by }),
    };
    let first = Arc::new(Socket::with(kind, Arc::clone(&one), side(&other), flags));
    let second = Arc::new(Socket::with(kind, other, side(&one), flags));
    let files: (OpenFile, OpenFile) = (first.clone(), second.clone());
    if kind == Type::Datagram {
        for (one, other, file) in [(&first, &second, &files.1), (&second, &first, &files.0)] {
            let (socket, inbox) = (Arc::downgrade(file), Arc::clone(&other.inbox));
            *one.link.lock() = Link::Peer { socket, inbox, by };
        }
    }
    files
}

impl Socket {
    pub(super) fn with(kind: Type, inbox: Arc<Inbox>, link: Link, flags: u32) -> Self {
        Self {
            kind,
            inbox,
            link: Lock::new(link),
            name: Name::none(),
            flags: StreamFlags::new(linux::O_RDWR, flags),
            mute: AtomicBool::new(false),
            options: Options {
                send_room: AtomicU32::new(ROOM),
                receive_room: AtomicU32::new(ROOM),
                least: AtomicU32::new(1),
                receive_time: AtomicU64::new(0),
                send_time: AtomicU64::new(0),
            },
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// What has come for it.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Whether connections are made with it.
    pub(crate) fn connects(&self) -> bool {
        self.kind != Type::Datagram
    }

    pub(super) fn outbox(&self) -> Option<Arc<Inbox>> {
        match &*self.link.lock() {
            Link::Connected(side) => Some(Arc::clone(&side.outbox)),
            _ => None,
        }
    }

    /// The peer of a socket of messages.
    ///
    /// # Errors
    /// `ENOTCONN`; `ECONNREFUSED`: the peer is closed.
    pub(super) fn peer(&self) -> Result<OpenFile, Errno> {
        let peer = match &*self.link.lock() {
            Link::Peer { socket, .. } => Weak::clone(socket),
            _ => return Err(Errno::NOTCONN),
        };
        peer.upgrade().ok_or(Errno::CONNREFUSED)
    }

    /// The name of the other side, if that has one.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub(crate) fn peer_name(&self) -> Result<Option<Vec<u8>>, Errno> {
        if let Link::Connected(side) = &*self.link.lock() {
            return Ok(side.name.clone());
        }
        let peer = self.peer()?;
        let peer: &Self = peer.kind().ok_or(Errno::NOTCONN)?;
        Ok(peer.name.address())
    }

    /// Who connected it, or listened to it (`SO_PEERCRED`).
    pub(crate) fn peer_sender(&self) -> Sender {
        match &*self.link.lock() {
            Link::Connected(Side { by, .. })
            | Link::Peer { by, .. }
            | Link::Listening { by, .. } => *by,
            Link::New => Sender::NONE,
        }
    }

    /// Whether it takes connections.
    pub(crate) fn listens(&self) -> bool {
        matches!(*self.link.lock(), Link::Listening { .. })
    }

    /// How long a call waits, of at most `time` nanoseconds.
    pub(super) fn waiting(&self, waits: Waits, time: &AtomicU64) -> Waiting {
        if waits == Waits::Never || self.flags() & linux::O_NONBLOCK != 0 {
            return Waiting::Never;
        }
        let time = time.load(Relaxed);
        Waiting::Until((time > 0).then(|| crate::arch::clock::monotonic().saturating_add(time)))
    }

    /// `shutdown`: it receives no more, or sends no more.
    pub(crate) fn shut_down(&self, way: Way) {
        match way {
            Way::In => self.inbox.deafen(),
            Way::Out => {
                self.mute.store(true, Relaxed);
                self.outbox().iter().for_each(|outbox| outbox.end());
                wake_pollers(key_of(&*self.inbox));
            }
        }
    }
}

impl File for Socket {
    /// What of a message does not fit is lost.
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if self.kind == Type::Stream {
            return Ok(self.receive_bytes(token, to, (Waits::AsFlags, 0), Taking::Taken)?.len);
        }
        let Some(message) = self.receive(Waits::AsFlags, Taking::Taken)? else { return Ok(0) };
        let len = message.bytes.len().min(to.count());
        if copy_out(to, token, &message.bytes[..len]) < len { Err(Errno::FAULT) } else { Ok(len) }
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.send(token, from, Along::default())
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let outbox = self.outbox().ok_or(Errno::NOTCONN)?;
        let limit = self.options.send_room.load(Relaxed) as usize;
        let waiting = self.waiting(Waits::AsFlags, &self.options.send_time);
        let mut message = Message {
            bytes: bytes.into(),
            from: self.name.address(),
            sender: self.sender(&Along::default(), &outbox),
            files: Passed::default(),
        };
        if self.kind != Type::Stream {
            outbox.put(message, Some(limit), waiting)?;
            return Ok(bytes.len());
        }
        let mut done = 0;
        while done < bytes.len() {
            match outbox.put_bytes(&mut message, limit, waiting) {
                Ok(put) => done += put,
                Err(_) if done > 0 => break,
                Err(Errno::PIPE) => return Err(self.broken(&Along::default())),
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Socket, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        let count = match request {
            ioctl::FIONREAD if self.listens() => return Err(Errno::INVAL),
            ioctl::FIONREAD if self.kind == Type::Stream => self.inbox.bytes(usize::MAX),
            ioctl::FIONREAD => self.inbox.bytes(1),
            ioctl::TIOCOUTQ => self.outbox().map_or(0, |outbox| outbox.charge()),
            _ => return Err(Errno::NOTTY),
        };
        put(token, argument, &(count as u32).to_ne_bytes())?;
        Ok(0)
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    fn edges(&self) -> Option<Seen> {
        let outs = match &*self.link.lock() {
            Link::Connected(Side { outbox, .. }) => outbox.edges.now().outs,
            Link::Peer { inbox, .. } => inbox.edges.now().outs,
            Link::New | Link::Listening { .. } => 0,
        };
        Some(Seen { outs, ..self.inbox.edges.now() })
    }

    fn ready(&self) -> Ready {
        let limit = self.options.send_room.load(Relaxed) as usize;
        let mut ready = Ready::empty();
        ready.set(Ready::ERROR, self.inbox.has_error());
        ready.set(Ready::IN, self.inbox.has_messages() || self.inbox.is_over());
        ready.set(Ready::HANG_UP_IN, self.inbox.is_over());
        let mut sends = !self.mute.load(Relaxed);
        match &*self.link.lock() {
            Link::New => {
                ready.insert(Ready::OUT);
                ready.set(Ready::HANG_UP, self.connects());
            }
            Link::Listening { waiting, .. } => ready.set(Ready::IN, !waiting.is_empty()),
            Link::Connected(side) => {
                sends = !side.outbox.is_over();
                // As on Linux: a quarter of the room is free at least.
                ready.set(Ready::OUT, !sends || side.outbox.charge() * 4 <= limit);
            }
            Link::Peer { inbox, .. } => ready.set(Ready::OUT, !inbox.is_full()),
        }
        if !sends && self.inbox.is_over() {
            ready.insert(Ready::HANG_UP);
        }
        ready
    }
}

impl Drop for Socket {
    /// The other side hears of it; also if it has not taken all that came.
    fn drop(&mut self) {
        let had_messages = self.inbox.close();
        if let Some(outbox) = self.outbox() {
            outbox.end();
            if had_messages {
                outbox.fail(Errno::CONNRESET);
            }
        }
        // Connections that were not accepted end with a reset, too.
        let link = core::mem::replace(&mut *self.link.lock(), Link::New);
        if let Link::Listening { waiting, .. } = link {
            for side in &waiting {
                let side: Option<&Self> = side.kind();
                if let Some(outbox) = side.and_then(Self::outbox) {
                    outbox.fail(Errno::CONNRESET);
                }
            }
        }
        // Those that wait to connect look again.
        wake_pollers(key_of(self));
    }
}
