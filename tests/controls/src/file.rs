//! A file as the controls write it: under an inode lock of their own, with the loop of the
//! algorithm inside.

#![forbid(unsafe_code)]

use std::fmt;

use faultless_filemap::{Inode, NoTask, Position, Task, Written};
use faultless_page::{AddressSpaceOperations, Errno, Kernel, LockId, Mapping, SleepMutex};
use faultless_usercopy::{MayFault, UserMemory};

use super::defects::Defect;
use super::request::{Control, Failure, Request};
use super::segments::Segments;
use super::under_lock;
use super::writer::Writer;

/// A file that the controls write: an inode, and an inode lock of their own, which they hold
/// throughout a write.
pub struct ControlFile<'i, K: Kernel> {
    inode: &'i Inode<K>,
    lock: SleepMutex<K>,
}

impl<K: Kernel> fmt::Debug for ControlFile<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ControlFile").field(&self.inode).finish()
    }
}

impl<'i, K: Kernel> ControlFile<'i, K> {
    /// The file behind this inode.
    #[must_use]
    pub fn new(inode: &'i Inode<K>) -> Self {
        Self { inode, lock: SleepMutex::new(LockId::Inode(inode.mapping().id())) }
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &'i Inode<K> {
        self.inode
    }

    /// Writes as the control did. Takes I, and whatever else the control takes in whatever order it
    /// took it: this may hang.
    ///
    /// # Errors
    /// [`Failure`]: what the control would have returned, or that it would not have returned.
    pub fn write<U: UserMemory<Token = MayFault>, T: Task>(
        &self,
        request: &Request<'_>,
        token: &mut MayFault,
        user: &U,
        task: &T,
    ) -> Result<Written, Failure> {
        let mapping = self.inode.mapping();
        let lock = self.lock.lock(mapping.cache().wait());
        let pos = match request.options.position() {
            Position::At(pos) => pos,
            Position::Append => mapping.size(),
        };
        let mut writer = Writer {
            inode: self.inode,
            token,
            user,
            task,
            from: Segments::new(request.segments),
            pos,
            written: 0,
            steps: request.steps,
        };
        let stop = match request.control {
            Control::Linux2623 => writer.copy_under_lock(under_lock::Probe::None),
            Control::PrefaultOnly => writer.copy_under_lock(under_lock::Probe::First),
            Control::Linux2624Rc1(defects) => writer.prepare_commit(defects),
        };
        let (written, end) = (writer.written, writer.pos);
        tell_store_size(mapping);
        drop(lock);
        let bytes = match stop {
            Err(Failure::Livelock) => return Err(Failure::Livelock),
            Err(failure) if written == 0 => return Err(failure),
            _ => written,
        };
        self.sync(request, token, end - bytes as u64, end)?;
        Ok(Written { bytes, end })
    }

    /// Syncs what was written. With [`Defect::SyncErrorLost`] progress hides the error (S5).
    fn sync(
        &self,
        request: &Request<'_>,
        token: &mut MayFault,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let Some(kind) = request.options.sync() else { return Ok(()) };
        if start == end {
            return Ok(());
        }
        let synced = self.inode.fsync_range(token, kind, start..end, &NoTask);
        match request.control {
            Control::Linux2624Rc1(defects) if defects.has(Defect::SyncErrorLost) => Ok(()),
            _ => synced,
        }
    }
}

/// The store learns the size, and takes room past it back.
fn tell_store_size<K: Kernel>(mapping: &Mapping<K>) {
    let size = mapping.size();
    mapping.store().set_size(size);
    mapping.store().truncate_blocks(size);
}
