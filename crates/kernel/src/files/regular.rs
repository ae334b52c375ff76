//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use core::cmp::Ordering;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::{IovIter, MayFault, UserMemory};
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;
use spin::Once;

use crate::files::memfd::{self, Memfd, NO_WRITES};
use crate::files::paths::OpenedBy;
use crate::files::uses::Use;
use crate::files::vnode::Handle;
use crate::memory::Open;
use crate::task::Running;
use crate::waits::Held;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
    path: OpenedBy,
    /// It is open for writing.
    _writing: Option<Use>,
    memfd: Once<Arc<Memfd>>,
}

impl Regular {
    /// What `open` has made of a node.
    ///
    /// # Errors
    /// `ETXTBSY`: it is to be written, and is a running program.
    pub(super) fn new(node: Handle, description: Open, path: OpenedBy) -> Result<Self, Errno> {
        let flags = description.flags();
        let writes = flags & linux::O_PATH == 0 && flags & linux::O_ACCMODE != linux::O_RDONLY;
        let writing = if writes { Some(Use::writing(&*node)?) } else { None };
        let memfd = memfd::of_node(&*node).map_or_else(Once::new, Once::initialized);
        Ok(Self { node, description, path, _writing: writing, memfd })
    }

    /// The path that it was opened by; without a name any more, with a remark.
    pub(super) fn path(&self) -> Vec<u8> {
        if let Some(memfd) = self.memfd() {
            return memfd.path();
        }
        let is_named = self.node.attributes().is_ok_and(|told| told.status.links > 0);
        let path = self.path.absolute();
        if is_named { path } else { [&*path, b" (deleted)"].concat() }
    }

    /// Its position and flags, and what can be done with it.
    pub(crate) const fn description(&self) -> &Open {
        &self.description
    }

    /// Its node.
    pub(crate) const fn node(&self) -> &Handle {
        &self.node
    }

    /// What it has if it was made without a name.
    pub(crate) fn memfd(&self) -> Option<&Memfd> {
        self.memfd.get().map(|memfd| &**memfd)
    }

    /// It was made without a name, but for this one, and is sealed so.
    pub(crate) fn become_memfd(&self, name: &[u8], seals: u32) {
        self.memfd.call_once(|| Memfd::new(&*self.node, name, seals));
    }

    /// Writes at a position, or at the file's own. May sleep.
    ///
    /// # Errors
    /// Those of [`Description::write_at`](faultless_posix::Description::write_at); `EPERM`: it is
    /// sealed.
    pub(crate) fn write(
        &self,
        token: &mut MayFault,
        from: &mut IovIter<'_, impl UserMemory<Token = MayFault> + ?Sized>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let open = &self.description;
        let write = |token: &mut MayFault, from: &mut IovIter<'_, _>| match position {
            Some(position) => open.write_at(token, from, position, flags, &Running),
            None => open.write(token, from, flags, &Running),
        };
        let Some(memfd) = self.memfd() else { return write(token, from) };
        let seals = memfd.seals.lock();
        let size = open.inode().size();
        let at = match position {
            _ if open.flags() & linux::O_APPEND != 0 => size,
            Some(position) => position,
            None => open.seek(token, 0, linux::SEEK_CUR, &Running)?,
        };
        let len = from.count();
        let room = memfd::writable(*seals, size, at, len)?;
        from.truncate(room);
        let done = write(token, from);
        from.reexpand(len - (room - from.count()));
        done
    }

    /// `ftruncate`. May sleep.
    ///
    /// # Errors
    /// Those of [`Description::truncate`](faultless_posix::Description::truncate); `EPERM`: it is
    /// sealed.
    pub(crate) fn truncate(&self, token: &mut MayFault, size: u64) -> Result<(), Errno> {
        let _seals = self.need_unsealed(|old| match size.cmp(&old) {
            Ordering::Less => linux::F_SEAL_SHRINK,
            Ordering::Equal => 0,
            Ordering::Greater => linux::F_SEAL_GROW,
        })?;
        self.description.truncate(token, size, &Running)
    }

    /// `fallocate`. May sleep.
    ///
    /// # Errors
    /// Those of [`Description::allocate`](faultless_posix::Description::allocate); `EPERM`: it is
    /// sealed.
    pub(crate) fn allocate(
        &self,
        token: &mut MayFault,
        mode: u32,
        offset: i64,
        len: i64,
    ) -> Result<(), Errno> {
        let end = offset.saturating_add(len).cast_unsigned();
        let _seals = self.need_unsealed(|size| {
            if mode & linux::FALLOC_FL_PUNCH_HOLE != 0 {
                NO_WRITES
            } else if end > size {
                linux::F_SEAL_GROW
            } else {
                0
            }
        })?;
        self.description.allocate(token, mode, offset, len, &Running)
    }

    /// Checks that it does not have the seals that `asked` names for its size. None is added as
    /// long as the result is held.
    fn need_unsealed(
        &self,
        asked: impl FnOnce(u64) -> u32,
    ) -> Result<Option<Held<'_, u32>>, Errno> {
        let Some(memfd) = self.memfd() else { return Ok(None) };
        let seals = memfd.seals.lock();
        if *seals & asked(self.description.inode().size()) != 0 {
            return Err(Errno::PERM);
        }
        Ok(Some(seals))
    }

    /// The file was read.
    pub(crate) fn accessed(&self) {
        if self.description.flags() & linux::O_NOATIME == 0 {
            self.node.accessed();
        }
    }
}
