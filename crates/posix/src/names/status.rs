//! Attributes: `stat`, `chmod`, `chown`, `utimensat`.
#![forbid(unsafe_code)]

use faultless::page::Spin;
use faultless::prelude::Times;
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Attributes, Caller, Content, Kind, Node, PERMISSIONS};
use crate::system::System;

/// A day in nanoseconds: how long an access stays unrecorded at most, as with `relatime`.
const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;

/// The size of a directory for each of its names, as on tmpfs.
const ENTRY_SIZE: u64 = 20;

/// What `stat` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The device number that the tree was made with (`st_dev`).
    pub device: u64,
    /// The number of a device node's device (`st_rdev`); 0 for others.
    pub special: u64,
    /// The number of the node (`st_ino`).
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// Its mode with the type (`st_mode`).
    pub mode: u32,
    /// Its names (`st_nlink`); of a directory, 2 and one for each directory in it.
    pub links: u64,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of a file, or of what a link stands for; 20 for each name of a directory.
    pub size: u64,
    /// When it was last read (`st_atime`), in nanoseconds of the kernel's clock. A file's is what
    /// [`Node::accessed_at`] says.
    pub accessed: u64,
    /// When its contents changed (`st_mtime`).
    pub modified: u64,
    /// When anything changed (`st_ctime`).
    pub changed: u64,
}

/// Which time of the last access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accessed {
    /// This one, if the node changed since the last access, or a day has passed since (`relatime`).
    Now(u64),
    /// This one.
    Exactly(u64),
}

impl<S: System> Node<S> {
    /// `fstat`, and `stat` with [`Tree::lookup`](crate::Tree::lookup). Takes the node's short lock.
    #[must_use]
    pub fn status(&self) -> Status {
        let (attributes, names) = {
            let state = self.state.lock();
            (state.attributes, state.entries.len())
        };
        let size = match &self.content {
            Content::File(file) => file.size(),
            Content::Directory => (names as u64 + 2) * ENTRY_SIZE,
            Content::Link(target) => target.len() as u64,
            Content::Special(..) => 0,
        };
        let special = match &self.content {
            Content::Special(_, device) => *device,
            Content::File(_) | Content::Directory | Content::Link(_) => 0,
        };
        let times = self.times(&attributes);
        Status {
            device: self.device,
            special,
            number: self.number,
            kind: self.kind(),
            mode: self.kind().mode_bits() | self.current_mode(&attributes),
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            size,
            accessed: attributes.accessed,
            modified: times.modified,
            changed: times.changed,
        }
    }

    /// `chmod`: bits of the mode other than `0o7777` are ignored. Takes the node's short lock.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a symbolic link.
    pub fn set_mode(&self, caller: &Caller, mode: u32) -> Result<(), Errno> {
        if self.kind() == Kind::Link {
            return Err(Errno::OPNOTSUPP);
        }
        let mode = mode & PERMISSIONS;
        self.mark_set_id(mode);
        let mut state = self.state.lock();
        state.attributes.mode = mode;
        state.attributes.changed = caller.now;
        Ok(())
    }

    /// `chown`: a part that is `None` (-1) stays. Set-id bits of all but directories go, but for
    /// set-group-id of a file that its group cannot execute. Takes the node's short lock.
    pub fn set_owner(&self, caller: &Caller, uid: Option<u32>, gid: Option<u32>) {
        let mut state = self.state.lock();
        let attributes = &mut state.attributes;
        attributes.mode = self.current_mode(attributes);
        if !self.is_directory() {
            attributes.mode &= !set_id(attributes.mode);
        }
        attributes.uid = uid.unwrap_or(attributes.uid);
        attributes.gid = gid.unwrap_or(attributes.gid);
        attributes.changed = caller.now;
    }

    /// `utimensat`: a time that is `None` (`UTIME_OMIT`) stays. Takes the node's short lock. A
    /// write that runs beside it may stamp its own time afterwards.
    pub fn set_times(&self, caller: &Caller, accessed: Option<u64>, modified: Option<u64>) {
        if accessed.is_none() && modified.is_none() {
            return;
        }
        let mut state = self.state.lock();
        let attributes = &mut state.attributes;
        attributes.accessed = accessed.unwrap_or(attributes.accessed);
        attributes.modified = modified.unwrap_or(attributes.modified);
        attributes.changed = caller.now;
        drop(state);
        if let (Content::File(file), Some(modified)) = (&self.content, modified) {
            file.set_times(Times { modified, changed: caller.now });
        }
    }

    /// Stamps the time of the last access, as the kernel does for a read of a file. Takes the
    /// node's short lock.
    pub fn accessed_at(&self, accessed: Accessed) {
        let mut state = self.state.lock();
        let times = self.times(&state.attributes);
        let last = &mut state.attributes.accessed;
        match accessed {
            Accessed::Exactly(time) => *last = time,
            Accessed::Now(now) => {
                // Those that are set may lie before the clock's zero.
                let age = |time: u64| (now as i64).saturating_sub(time as i64);
                let unseen = age(*last) >= age(times.modified).min(age(times.changed));
                if unseen || age(*last) >= DAY {
                    *last = now;
                }
            }
        }
    }

    /// Lets the next write of the file clear set-id bits (W12).
    pub(super) fn mark_set_id(&self, mode: u32) {
        if let Content::File(file) = &self.content
            && set_id(mode) != 0
        {
            file.mark_set_id();
        }
    }

    /// The mode without the set-id bits that a write has cleared (W12).
    fn current_mode(&self, attributes: &Attributes) -> u32 {
        match &self.content {
            Content::File(file) if !file.is_set_id() => attributes.mode & !set_id(attributes.mode),
            _ => attributes.mode,
        }
    }

    fn times(&self, attributes: &Attributes) -> Times {
        let own = Times { modified: attributes.modified, changed: attributes.changed };
        match &self.content {
            Content::File(file) => {
                let times = file.times();
                Times { changed: times.changed.max(own.changed), ..times }
            }
            Content::Directory | Content::Link(_) | Content::Special(..) => own,
        }
    }
}

/// The set-id bits of a file's mode. Set-group-id without the group's right to execute is none.
const fn set_id(mode: u32) -> u32 {
    let group = if mode & linux::S_IXGRP == 0 { 0 } else { linux::S_ISGID };
    mode & (linux::S_ISUID | group)
}
