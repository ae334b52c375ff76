//! The file that a program reads from what happens to files (`inotify`).
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::stream_flags::StreamFlags;
use crate::files::vnode::Handle;
use crate::files::watches::Queue;
use crate::memory::{UserBytes, copy_out, put};
use crate::task::wait_interruptibly;
use crate::waits::key_of;

/// A queue of events, open.
pub(crate) struct Notices {
    queue: Arc<Queue>,
    flags: StreamFlags,
}

/// `inotify_init1`.
pub(crate) fn notices(flags: u32) -> OpenFile {
    let flags = StreamFlags::new(linux::O_RDONLY, flags);
    Arc::new(Notices { queue: Queue::new(), flags })
}

impl Notices {
    /// `inotify_add_watch`: the number of the watch.
    ///
    /// # Errors
    /// `EEXIST` with `IN_MASK_CREATE`.
    pub(crate) fn watch(&self, node: &Handle, mask: u32) -> Result<usize, Errno> {
        self.queue.watch(node, mask)
    }

    /// `inotify_rm_watch`.
    ///
    /// # Errors
    /// `EINVAL`: there is no such watch.
    pub(crate) fn forget(&self, number: i32) -> Result<(), Errno> {
        self.queue.forget(number)
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl File for Notices {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if !self.queue.has_events() {
            self.flags.need_wait()?;
            wait_interruptibly(key_of(&*self.queue), &mut || self.queue.has_events())?;
        }
        let mut done = 0;
        loop {
            let bytes = match self.queue.take(to.count()) {
                Ok(Some(bytes)) => bytes,
                Err(why) if done == 0 => return Err(why),
                Ok(None) | Err(_) => return Ok(done),
            };
            if copy_out(to, token, &bytes) < bytes.len() {
                return if done > 0 { Ok(done) } else { Err(Errno::FAULT) };
            }
            done += bytes.len();
        }
    }

    fn seek(&self, _token: &mut MayFault, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        Ok(0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn control(&self, token: &mut MayFault, request: u32, argument: usize) -> Result<usize, Errno> {
        if request != linux_raw_sys::ioctl::FIONREAD {
            return Err(Errno::NOTTY);
        }
        put(token, argument, &(self.queue.len_bytes() as u32).to_ne_bytes())?;
        Ok(0)
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    fn ready(&self) -> Ready {
        if self.queue.has_events() { Ready::IN } else { Ready::empty() }
    }
}
