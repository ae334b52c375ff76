//! How sockets find each other: `listen`, `connect`, `accept`.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use faultless::prelude::WaitKey;
use faultless_posix::Errno;

use crate::files::file::OpenFile;
use crate::files::inbox::{Inbox, Waiting};
use crate::files::socket::{Link, Side, Socket, Waits, own_sender};
use crate::task::wait_until;
use crate::waits::{key_of, wake_pollers};

/// Connections that wait to be accepted, at most (`somaxconn`).
const MOST_WAITING: usize = 4096;

impl Socket {
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
        key: WaitKey,
        time: &AtomicU64,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<(), Errno> {
        let Waiting::Until(until) = self.waiting(Waits::AsFlags, time) else {
            return Err(Errno::AGAIN);
        };
        let waited = wait_until(key, until, condition);
        waited.map_err(|why| if why == Errno::TIMEDOUT { Errno::AGAIN } else { why })
    }
}
