//! Sockets that move streams of bytes: two pipes, one for each way.
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::bound::Name;
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::pipe::pipe;
use crate::memory::UserBytes;
use crate::sync::Lock;
use crate::task::wait_interruptibly;
use crate::waits::{key_of, wake_pollers};

/// Connections that wait to be accepted, at most (`somaxconn`).
const MOST_WAITING: usize = 4096;

/// A socket.
pub(crate) struct Socket {
    link: Lock<Link>,
    name: Name,
    /// The name of the other side.
    peer: Lock<Option<Vec<u8>>>,
    flags: AtomicU32,
}

/// What a socket is at.
enum Link {
    /// Neither of the others.
    New,
    /// It takes connections: the other sides of those that were not accepted yet.
    Listening { most: usize, waiting: VecDeque<OpenFile> },
    /// It is one side of a connection.
    Connected(Ways),
}

/// The end of a pipe to read from, and that of the other one to write to, until that way is shut
/// down.
struct Ways {
    from: Option<OpenFile>,
    to: Option<OpenFile>,
}

/// The ends of two pipes, for the two sides of a connection.
fn ways(first: u32, second: u32) -> (Ways, Ways) {
    let (one, other) = (pipe(first), pipe(second));
    // Each end waits as its own side does.
    one.1.set_flags(second);
    other.1.set_flags(first);
    (Ways { from: Some(one.0), to: Some(other.1) }, Ways { from: Some(other.0), to: Some(one.1) })
}

/// A way of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Ways {
    const fn end(&mut self, way: Way) -> &mut Option<OpenFile> {
        match way {
            Way::In => &mut self.from,
            Way::Out => &mut self.to,
        }
    }
}

/// A socket that is not connected.
pub(crate) fn stream(flags: u32) -> OpenFile {
    Arc::new(Socket::with(Link::New, flags))
}

/// Two sockets: what is written to one is read from the other.
pub(crate) fn pair(flags: u32) -> (OpenFile, OpenFile) {
    let (first, second) = ways(flags, flags);
    let socket = |ways| -> OpenFile { Arc::new(Socket::with(Link::Connected(ways), flags)) };
    (socket(first), socket(second))
}

impl Socket {
    fn with(link: Link, flags: u32) -> Self {
        Self {
            link: Lock::new(link),
            name: Name::none(),
            peer: Lock::new(None),
            flags: AtomicU32::new(flags & linux::O_NONBLOCK | linux::O_RDWR),
        }
    }

    /// The end for a way of a connection; none once it is shut down.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub(crate) fn end(&self, way: Way) -> Result<Option<OpenFile>, Errno> {
        match &mut *self.link.lock() {
            Link::Connected(ways) => Ok(ways.end(way).clone()),
            Link::New | Link::Listening { .. } => Err(Errno::NOTCONN),
        }
    }

    /// `shutdown` of one way.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub(crate) fn shut_down(&self, way: Way) -> Result<(), Errno> {
        let end = match &mut *self.link.lock() {
            Link::Connected(ways) => ways.end(way).take(),
            Link::New | Link::Listening { .. } => return Err(Errno::NOTCONN),
        };
        drop(end);
        Ok(())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The name of the other side, if that has one.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub(crate) fn peer(&self) -> Result<Option<Vec<u8>>, Errno> {
        self.end(Way::In)?;
        Ok(self.peer.lock().clone())
    }

    /// Whether it takes connections.
    pub(crate) fn listens(&self) -> bool {
        matches!(*self.link.lock(), Link::Listening { .. })
    }

    /// `listen`.
    ///
    /// # Errors
    /// `EINVAL` for a socket without a name, or one that is connected.
    pub(crate) fn listen(&self, backlog: u32) -> Result<(), Errno> {
        let wanted = usize::try_from(backlog.cast_signed()).unwrap_or(MOST_WAITING);
        if self.name.address().is_none() {
            return Err(Errno::INVAL);
        }
        {
            let mut link = self.link.lock();
            match &mut *link {
                Link::New => {
                    let (most, waiting) = (wanted.min(MOST_WAITING), VecDeque::new());
                    *link = Link::Listening { most, waiting };
                }
                Link::Listening { most, .. } => *most = wanted.min(MOST_WAITING),
                Link::Connected(_) => return Err(Errno::INVAL),
            }
        }
        // There may be more room.
        wake_pollers(key_of(self));
        Ok(())
    }

    /// `connect` to a socket that listens. Waits while too many connections are not accepted yet.
    ///
    /// # Errors
    /// `EISCONN`; `EINVAL` for one that listens itself; `ECONNREFUSED`; `EAGAIN` and `EINTR` in
    /// place of a wait.
    pub(crate) fn connect(&self, to: &Self) -> Result<(), Errno> {
        // Told once there is room, as on Linux.
        let may = match &*self.link.lock() {
            Link::New => Ok(()),
            Link::Connected(_) => Err(Errno::ISCONN),
            Link::Listening { .. } => Err(Errno::INVAL),
        };
        let (own, other) = ways(self.flags(), 0);
        let side = Self::with(Link::Connected(other), 0);
        side.name.share(&to.name);
        *side.peer.lock() = self.name.address();
        let mut side: Option<OpenFile> = Some(Arc::new(side));
        let mut queue = || match &mut *to.link.lock() {
            Link::Listening { most, waiting } if waiting.len() <= *most => {
                waiting.extend(side.take_if(|_| may.is_ok()));
                Some(may)
            }
            Link::Listening { .. } => None,
            Link::New | Link::Connected(_) => Some(Err(Errno::CONNREFUSED)),
        };
        let mut queued = queue();
        if queued.is_none() {
            if self.flags() & linux::O_NONBLOCK != 0 {
                return Err(Errno::AGAIN);
            }
            wait_interruptibly(key_of(to), &mut || {
                queued = queue();
                queued.is_some()
            })?;
        }
        queued.unwrap_or(Err(Errno::CONNREFUSED))?;
        *self.peer.lock() = to.name.address();
        *self.link.lock() = Link::Connected(own);
        wake_pollers(key_of(to));
        Ok(())
    }

    /// `accept`: the next connection. Waits for one.
    ///
    /// # Errors
    /// `EINVAL` if it does not listen; `EAGAIN` and `EINTR` in place of a wait.
    pub(crate) fn accept(&self) -> Result<OpenFile, Errno> {
        let take = || match &mut *self.link.lock() {
            Link::Listening { waiting, .. } => waiting.pop_front().map(Ok),
            Link::New | Link::Connected(_) => Some(Err(Errno::INVAL)),
        };
        let mut taken = take();
        if taken.is_none() {
            if self.flags() & linux::O_NONBLOCK != 0 {
                return Err(Errno::AGAIN);
            }
            wait_interruptibly(key_of(self), &mut || {
                taken = take();
                taken.is_some()
            })?;
        }
        // There is room for another one.
        wake_pollers(key_of(self));
        taken.unwrap_or(Err(Errno::AGAIN))
    }
}

impl File for Socket {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let end = self.end(Way::In).map_err(|_| Errno::INVAL)?;
        end.map_or(Ok(0), |end| end.read(token, to))
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.end(Way::Out)?.ok_or(Errno::PIPE)?.write(token, from)
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.end(Way::Out)?.ok_or(Errno::PIPE)?.put(bytes)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Socket, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        let end = self.end(Way::In).map_err(|_| Errno::INVAL)?;
        end.ok_or(Errno::NOTTY)?.control(token, request, argument)
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags & linux::O_NONBLOCK | linux::O_RDWR, Relaxed);
        for end in [Way::In, Way::Out].into_iter().filter_map(|way| self.end(way).ok()?) {
            end.set_flags(flags);
        }
    }

    fn ready(&self) -> Ready {
        let (from, to) = match &mut *self.link.lock() {
            Link::New => return Ready::OUT | Ready::HANG_UP,
            Link::Listening { waiting, .. } => {
                return if waiting.is_empty() { Ready::empty() } else { Ready::IN };
            }
            Link::Connected(ways) => (ways.from.clone(), ways.to.clone()),
        };
        // The end of what can be read is read, too. A way that is shut down is at its end.
        let from = from.map_or(Ready::HANG_UP, |end| end.ready());
        let to = to.map_or(Ready::ERROR, |end| end.ready());
        let mut ready = Ready::empty();
        ready.set(Ready::IN, from.intersects(Ready::IN | Ready::HANG_UP));
        ready.set(Ready::OUT, to.intersects(Ready::OUT | Ready::ERROR));
        ready.set(Ready::HANG_UP, from.contains(Ready::HANG_UP) && to.contains(Ready::ERROR));
        ready
    }
}

impl Drop for Socket {
    /// Those that wait to connect look again.
    fn drop(&mut self) {
        wake_pollers(key_of(self));
    }
}
