//! Open regular files: everything is Faultless'.
#![forbid(unsafe_code)]

use core::cmp::Ordering;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::{IovIter, MayFault, UserMemory};
use faultless_posix::{AccessMode, Errno, RwFlags};
use linux_raw_sys::general as linux;
use spin::Once;

use crate::files::memfd::{self, Memfd, NO_WRITES};
use crate::files::paths::OpenedBy;
use crate::files::uses::Use;
use crate::files::vnode::Handle;
use crate::files::watches::{OpenNode, notify};
use crate::memory::{Open, UserBytes};
use crate::task::Running;
use crate::waits::Held;

/// An open regular file.
pub(crate) struct Regular {
    node: Handle,
    description: Open,
    path: OpenedBy,
    /// It is open for writing.
    _writing: Option<Use>,
    _opened: OpenNode,
    memfd: Once<Arc<Memfd>>,
}

impl Regular {
    /// What `open` has made of a node.
    ///
    /// # Errors
    /// `ETXTBSY`: it is to be written, and is a running program.
    pub(super) fn new(node: Handle, description: Open, path: OpenedBy) -> Result<Self, Errno> {
        let flags = description.flags();
        let writes = description.mode().contains(AccessMode::WRITE);
        let writing = if writes { Some(Use::writing(&*node)?) } else { None };
        let opened = OpenNode::new(&node, flags);
        let memfd = memfd::of_node(&*node).map_or_else(Once::new, Once::initialized);
        Ok(Self { node, description, path, _writing: writing, _opened: opened, memfd })
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

    /// `preadv2`: at a position, or at the file's own. May sleep.
    ///
    /// # Errors
    /// Those of the description; `EINVAL` for what `O_DIRECT` does not allow.
    pub(crate) fn read(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let open = &self.description;
        if let Some(unit) = self.direct_alignment() {
            let at = self.position(token, position)?;
            // Behind the end there is nothing to transfer.
            if at < open.inode().size() {
                need_aligned(to, at, unit)?;
            }
        }
        let bytes = match position {
            Some(position) => open.read_at_with(token, to, position, flags, &Running)?,
            None => open.read_with(token, to, flags, &Running)?,
        };
        self.accessed(bytes);
        Ok(bytes)
    }

    /// `pwritev2`: at a position, or at the file's own. May sleep.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EPERM`: the file is sealed.
    pub(crate) fn write(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let open = &self.description;
        if let Some(unit) = self.direct_alignment() {
            let appends = open.flags() & linux::O_APPEND != 0;
            let at = if appends { open.inode().size() } else { self.position(token, position)? };
            need_aligned(from, at, unit)?;
        }
        self.write_own(token, from, position, flags)
    }

    /// [`write`](Self::write) of bytes that may lie anywhere: the kernel's own.
    ///
    /// # Errors
    /// Those of the description; `EPERM`: the file is sealed.
    pub(crate) fn write_own(
        &self,
        token: &mut MayFault,
        from: &mut IovIter<'_, impl UserMemory<Token = MayFault> + ?Sized>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let bytes = match self.memfd() {
            Some(memfd) => self.write_unsealed(token, from, position, flags, memfd)?,
            None => self.write_to(token, from, position, flags)?,
        };
        self.modified(bytes);
        Ok(bytes)
    }

    fn write_to(
        &self,
        token: &mut MayFault,
        from: &mut IovIter<'_, impl UserMemory<Token = MayFault> + ?Sized>,
        position: Option<u64>,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        match position {
            Some(position) => self.description.write_at(token, from, position, flags, &Running),
            None => self.description.write(token, from, flags, &Running),
        }
    }

    /// Writes what the seals allow.
    fn write_unsealed(
        &self,
        token: &mut MayFault,
        from: &mut IovIter<'_, impl UserMemory<Token = MayFault> + ?Sized>,
        position: Option<u64>,
        flags: RwFlags,
        memfd: &Memfd,
    ) -> Result<usize, Errno> {
        let seals = memfd.seals.lock();
        let size = self.description.inode().size();
        let appends = self.description.flags() & linux::O_APPEND != 0;
        let at = if appends { size } else { self.position(token, position)? };
        let len = from.count();
        let room = memfd::writable(*seals, size, at, len)?;
        from.truncate(room);
        let done = self.write_to(token, from, position, flags);
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

    /// What bytes have to lie in whole multiples of to go past the cache (`O_DIRECT`). They are in
    /// the cache all the same, where all others see them.
    fn direct_alignment(&self) -> Option<usize> {
        let is_direct = self.description.flags() & linux::O_DIRECT != 0;
        is_direct.then(|| self.node.direct_alignment() as usize)
    }

    fn position(&self, token: &mut MayFault, position: Option<u64>) -> Result<u64, Errno> {
        let own = |token| self.description.seek(token, 0, linux::SEEK_CUR, &Running);
        position.map_or_else(|| own(token), Ok)
    }

    /// So many bytes of the file were read.
    pub(crate) fn accessed(&self, bytes: usize) {
        if self.description.flags() & linux::O_NOATIME == 0 {
            self.node.accessed();
        }
        if bytes > 0 {
            notify(&self.node, linux::IN_ACCESS);
        }
    }

    /// So many bytes of the file were written.
    pub(crate) fn modified(&self, bytes: usize) {
        if bytes > 0 {
            notify(&self.node, linux::IN_MODIFY);
        }
    }
}

/// Checks that bytes lie in whole units, in the file and in memory.
///
/// # Errors
/// `EINVAL`.
fn need_aligned(bytes: &mut UserBytes<'_>, position: u64, unit: usize) -> Result<(), Errno> {
    let count = bytes.count();
    let mut is_aligned = count == 0 || position.is_multiple_of(unit as u64);
    while is_aligned && bytes.count() > 0 {
        let segment = bytes.segment();
        let start = segment.addr().get();
        is_aligned = start.is_multiple_of(unit) && segment.len().is_multiple_of(unit);
        bytes.advance(segment.len());
    }
    bytes.revert(count - bytes.count());
    if is_aligned { Ok(()) } else { Err(Errno::INVAL) }
}
