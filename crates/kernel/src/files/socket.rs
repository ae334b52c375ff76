//! Pairs of sockets (`socketpair`) that move streams of bytes: two pipes, one for each way.
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::pipe::pipe;
use crate::memory::UserBytes;
use crate::sync::Lock;

/// One of two sockets.
pub(crate) struct Socket {
    /// The end of a pipe to read from, and that of the other one to write to, until that way is
    /// shut down.
    from: Lock<Option<OpenFile>>,
    to: Lock<Option<OpenFile>>,
    flags: AtomicU32,
}

/// Two sockets: what is written to one is read from the other.
pub(crate) fn pair(flags: u32) -> (OpenFile, OpenFile) {
    let (first, second) = (pipe(flags), pipe(flags));
    let flags = flags & linux::O_NONBLOCK | linux::O_RDWR;
    let socket = |from, to| -> OpenFile {
        Arc::new(Socket {
            from: Lock::new(Some(from)),
            to: Lock::new(Some(to)),
            flags: AtomicU32::new(flags),
        })
    };
    (socket(first.0, second.1), socket(second.0, first.1))
}

/// A way of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Socket {
    fn end(&self, way: Way) -> Option<OpenFile> {
        match way {
            Way::In => self.from.lock().clone(),
            Way::Out => self.to.lock().clone(),
        }
    }

    /// `shutdown` of one way.
    pub(crate) fn shut_down(&self, way: Way) {
        let end = match way {
            Way::In => self.from.lock().take(),
            Way::Out => self.to.lock().take(),
        };
        drop(end);
    }
}

impl File for Socket {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.end(Way::In).map_or(Ok(0), |end| end.read(token, to))
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        self.end(Way::Out).ok_or(Errno::PIPE)?.write(token, from)
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.end(Way::Out).ok_or(Errno::PIPE)?.put(bytes)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::Socket, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        self.end(Way::In).ok_or(Errno::NOTTY)?.control(token, request, argument)
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags & linux::O_NONBLOCK | linux::O_RDWR, Relaxed);
        for end in [self.end(Way::In), self.end(Way::Out)].into_iter().flatten() {
            end.set_flags(flags);
        }
    }

    fn ready(&self) -> Ready {
        let shut = Ready::IN | Ready::OUT;
        let from = self.end(Way::In).map_or(Ready::IN, |end| end.ready());
        let to = self.end(Way::Out).map_or(Ready::OUT, |end| end.ready());
        // The end of what can be read is read, too.
        let more = if from.contains(Ready::HANG_UP) { Ready::IN } else { Ready::empty() };
        let out = if to.contains(Ready::ERROR) { Ready::OUT } else { to };
        (from | more | out) & (shut | Ready::HANG_UP)
    }
}
