//! Sockets of the family `AF_UNIX`: streams of bytes, messages, and messages in order. What comes
//! for one waits in its [`Inbox`].
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl;

use crate::files::bound::Name;
use crate::files::edges::Seen;
use crate::files::file::{File, OpenFile, Ready};
use crate::files::inbox::{Got, How, Inbox, Message, Passed, Sender, Taking, Waiting};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_in, copy_out, put};
use crate::process;
use crate::sync::Lock;
use crate::task::{credentials, raise, wait_until};
use crate::waits::{key_of, wake_pollers};

/// Connections that wait to be accepted, at most (`somaxconn`).
const MOST_WAITING: usize = 4096;

/// What Linux has for the room of a socket, and what it keeps of it for a message.
pub(crate) const ROOM: u32 = 212_992;
const KEPT: usize = 32;

/// Bytes of a stream that are copied at a time.
const PIECE: usize = 16 * 4096;

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
    inbox: Arc<Inbox>,
    link: Lock<Link>,
    name: Name,
    flags: AtomicU32,
    /// It sends no more (`shutdown`), though it may have no peer.
    mute: AtomicBool,
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
enum Link {
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
struct Side {
    outbox: Arc<Inbox>,
    name: Option<Vec<u8>>,
    by: Sender,
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

/// What is sent, beside bytes.
#[derive(Default)]
pub(crate) struct Along {
    /// Who the program says that it is.
    pub(crate) sender: Option<Sender>,
    pub(crate) files: Passed,
    /// Where it goes, if not to the peer.
    pub(crate) to: Option<OpenFile>,
    /// `MSG_DONTWAIT`.
    pub(crate) never_waits: bool,
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
    fn with(kind: Type, inbox: Arc<Inbox>, link: Link, flags: u32) -> Self {
        Self {
            kind,
            inbox,
            link: Lock::new(link),
            name: Name::none(),
            flags: AtomicU32::new(flags & linux::O_NONBLOCK | linux::O_RDWR),
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

    fn outbox(&self) -> Option<Arc<Inbox>> {
        match &*self.link.lock() {
            Link::Connected(side) => Some(Arc::clone(&side.outbox)),
            _ => None,
        }
    }

    /// The peer of a socket of messages.
    ///
    /// # Errors
    /// `ENOTCONN`; `ECONNREFUSED`: the peer is closed.
    fn peer(&self) -> Result<OpenFile, Errno> {
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
    fn waiting(&self, never: bool, time: &AtomicU64) -> Waiting {
        if never || self.flags() & linux::O_NONBLOCK != 0 {
            return Waiting::Never;
        }
        let time = time.load(Relaxed);
        Waiting::Until((time > 0).then(|| crate::arch::clock::monotonic().saturating_add(time)))
    }

    /// `shutdown`: it receives no more, or sends no more, or neither.
    pub(crate) fn shut_down(&self, receives: bool, sends: bool) {
        let outbox = self.outbox();
        if receives {
            self.inbox.deafen();
        }
        if sends {
            self.mute.store(true, Relaxed);
            outbox.iter().for_each(|outbox| outbox.end());
        }
        wake_pollers(key_of(&*self.inbox));
    }

    /// `listen`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a socket of messages; `EINVAL` for one without a name, or one that is
    /// connected.
    pub(crate) fn listen(&self, backlog: u32) -> Result<(), Errno> {
        if !self.connects() {
            return Err(Errno::OPNOTSUPP);
        }
        let wanted = usize::try_from(backlog.cast_signed()).unwrap_or(MOST_WAITING);
        if self.name.address().is_none() {
            return Err(Errno::INVAL);
        }
        let own = own_sender();
        {
            let mut link = self.link.lock();
            match &mut *link {
                Link::New => {
                    let (most, waiting) = (wanted.min(MOST_WAITING), VecDeque::new());
                    *link = Link::Listening { most, waiting, by: own };
                }
                Link::Listening { most, by, .. } => {
                    (*most, *by) = (wanted.min(MOST_WAITING), own);
                }
                Link::Connected(_) | Link::Peer { .. } => return Err(Errno::INVAL),
            }
        }
        // There may be more room.
        wake_pollers(key_of(self));
        Ok(())
    }

    /// `connect`. Waits while too many connections are not accepted yet.
    ///
    /// # Errors
    /// `EPROTOTYPE`: it is of another type; `EPERM`: it has another peer; `EISCONN`; `EINVAL` for
    /// one that listens itself; `ECONNREFUSED`; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn connect(&self, to: &OpenFile) -> Result<(), Errno> {
        let other: &Self = to.kind().ok_or(Errno::CONNREFUSED)?;
        if other.kind != self.kind {
            return Err(Errno::PROTOTYPE);
        }
        if self.connects() {
            return self.join(other);
        }
        other.need_to_hear(self)?;
        let (socket, inbox) = (Arc::downgrade(to), Arc::clone(&other.inbox));
        self.set_link(Link::Peer { socket, inbox, by: own_sender() });
        Ok(())
    }

    /// `connect` of a socket of messages to nothing: it has no peer any more.
    pub(crate) fn disconnect(&self) {
        self.set_link(Link::New);
    }

    fn set_link(&self, link: Link) {
        let before = core::mem::replace(&mut *self.link.lock(), link);
        drop(before);
        wake_pollers(key_of(self));
    }

    fn join(&self, to: &Self) -> Result<(), Errno> {
        // Told once there is room, as on Linux.
        let may = match &*self.link.lock() {
            Link::New => Ok(()),
            Link::Connected(_) | Link::Peer { .. } => Err(Errno::ISCONN),
            Link::Listening { .. } => Err(Errno::INVAL),
        };
        let inbox = Inbox::new();
        let (own, name) = (own_sender(), self.name.address());
        // Made when it is queued: the drop of one would end the stream.
        let make = || -> OpenFile {
            let back = Side { outbox: Arc::clone(&self.inbox), name: name.clone(), by: own };
            let side = Self::with(self.kind, Arc::clone(&inbox), Link::Connected(back), 0);
            side.name.share(&to.name);
            Arc::new(side)
        };
        let queue = || match &mut *to.link.lock() {
            _ if to.inbox.is_deaf() => Some(Err(Errno::CONNREFUSED)),
            Link::Listening { most, waiting, by } if waiting.len() <= *most => {
                waiting.extend(may.is_ok().then(make));
                to.inbox.edges.came();
                Some(may.map(|()| *by))
            }
            Link::Listening { .. } => None,
            _ => Some(Err(Errno::CONNREFUSED)),
        };
        let mut queued = queue();
        if queued.is_none() {
            self.wait(key_of(to), &self.options.send_time, &mut || {
                queued = queue();
                queued.is_some()
            })?;
        }
        let by = queued.unwrap_or(Err(Errno::CONNREFUSED))?;
        let ahead = Side { outbox: Arc::clone(&inbox), name: to.name.address(), by };
        self.set_link(Link::Connected(ahead));
        wake_pollers(key_of(to));
        Ok(())
    }

    /// `accept`: the next connection. Waits for one.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a socket of messages; `EINVAL` if it does not listen; `EAGAIN` and `EINTR`
    /// in place of a wait.
    pub(crate) fn accept(&self) -> Result<OpenFile, Errno> {
        if !self.connects() {
            return Err(Errno::OPNOTSUPP);
        }
        let take = || match &mut *self.link.lock() {
            Link::Listening { waiting, .. } => match waiting.pop_front() {
                None if self.inbox.is_deaf() => Some(Err(Errno::INVAL)),
                first => first.map(Ok),
            },
            _ => Some(Err(Errno::INVAL)),
        };
        let mut taken = take();
        if taken.is_none() {
            self.wait(key_of(self), &self.options.receive_time, &mut || {
                taken = take();
                taken.is_some()
            })?;
        }
        // There is room for another one.
        wake_pollers(key_of(self));
        taken.unwrap_or(Err(Errno::AGAIN))
    }

    fn wait(
        &self,
        key: faultless::prelude::WaitKey,
        time: &AtomicU64,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<(), Errno> {
        let Waiting::Until(until) = self.waiting(false, time) else { return Err(Errno::AGAIN) };
        let waited = wait_until(key, until, condition);
        waited.map_err(|why| if why == Errno::TIMEDOUT { Errno::AGAIN } else { why })
    }

    /// Checks that it takes messages of `sender`.
    ///
    /// # Errors
    /// `EPERM`.
    fn need_to_hear(&self, sender: &Self) -> Result<(), Errno> {
        match &*self.link.lock() {
            Link::Peer { socket, .. } if !core::ptr::addr_eq(socket.as_ptr(), sender) => {
                Err(Errno::PERM)
            }
            _ => Ok(()),
        }
    }

    /// Who a message to `inbox` says that it is from.
    fn sender(&self, along: &Along, inbox: &Inbox) -> Option<Sender> {
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
        let waiting = self.waiting(along.never_waits, &self.options.send_time);
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
            return Err(if self.mute.load(Relaxed) { broken(&along) } else { Errno::NOTCONN });
        };
        if self.mute.load(Relaxed) || outbox.is_over() {
            return Err(broken(&along));
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
                        return Err(broken(&Along { is_silent, ..Along::default() }));
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
    pub(crate) fn receive(
        &self,
        never_waits: bool,
        taking: Taking,
    ) -> Result<Option<Message>, Errno> {
        if self.kind == Type::Packets && self.outbox().is_none() {
            return Err(Errno::NOTCONN);
        }
        let waiting = self.waiting(never_waits, &self.options.receive_time);
        match self.inbox.receive(waiting, taking) {
            Ok(None) if waiting == Waiting::Never && !self.connects() => Err(Errno::AGAIN),
            received => received,
        }
    }

    /// Bytes of a stream; all that are asked for if `is_all`.
    ///
    /// # Errors
    /// `EINVAL` for one that is not connected; those of [`Inbox::receive_bytes`].
    pub(crate) fn receive_bytes(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        (never_waits, is_all): (bool, bool),
        taking: Taking,
    ) -> Result<Got, Errno> {
        if self.outbox().is_none() {
            return Err(Errno::INVAL);
        }
        let waiting = self.waiting(never_waits, &self.options.receive_time);
        let least = if is_all { usize::MAX } else { self.options.least.load(Relaxed) as usize };
        if to.count() == 0 {
            return Ok(Got::default());
        }
        self.inbox.receive_bytes(token, to, How { waiting, taking, least })
    }
}

/// Nothing reads what is sent: the program is told by a signal, too, unless it wants none.
fn broken(along: &Along) -> Errno {
    if !along.is_silent {
        raise(linux::SIGPIPE);
    }
    Errno::PIPE
}

impl File for Socket {
    /// What of a message does not fit is lost.
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if self.kind == Type::Stream {
            return Ok(self.receive_bytes(token, to, (false, false), Taking::Taken)?.len);
        }
        let Some(message) = self.receive(false, Taking::Taken)? else { return Ok(0) };
        let len = message.bytes.len().min(to.count());
        if copy_out(to, token, &message.bytes[..len]) < len { Err(Errno::FAULT) } else { Ok(len) }
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.send(token, from, Along::default())
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let outbox = self.outbox().ok_or(Errno::NOTCONN)?;
        let limit = self.options.send_room.load(Relaxed) as usize;
        let waiting = self.waiting(false, &self.options.send_time);
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
                Err(Errno::PIPE) => return Err(broken(&Along::default())),
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
            ioctl::FIONREAD => self.inbox.bytes(self.kind == Type::Stream),
            ioctl::TIOCOUTQ => self.outbox().map_or(0, |outbox| outbox.charge()),
            _ => return Err(Errno::NOTTY),
        };
        put(token, argument, &(count as u32).to_ne_bytes())?;
        Ok(0)
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags & linux::O_NONBLOCK | linux::O_RDWR, Relaxed);
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
