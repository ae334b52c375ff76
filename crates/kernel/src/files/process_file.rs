//! Files that stand for processes (`pidfd_open`).
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::sync::Arc;

use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::stream_flags::StreamFlags;
use crate::process::Process;

/// A process, open.
pub(crate) struct ProcessFile {
    pub(crate) process: Arc<Process>,
    flags: StreamFlags,
}

/// Opens a process.
pub(crate) fn process_file(process: Arc<Process>, flags: u32) -> OpenFile {
    let flags = StreamFlags::new(linux::O_RDWR, flags);
    Arc::new(ProcessFile { process, flags })
}

impl File for ProcessFile {
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    /// It is read when the process has ended, and nothing is read.
    fn ready(&self) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::IN, self.process.has_ended());
        ready.set(Ready::HANG_UP, self.process.was_waited_for());
        ready
    }
}
