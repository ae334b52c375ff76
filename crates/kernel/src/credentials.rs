//! Who a thread is: users and groups, and what they let it do with a file. The C libraries change
//! those of all threads of a process together.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless_posix::{Errno, Kind, Status};
use linux_raw_sys::general as linux;

/// The number of a user, or of a group, in each of its roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) real: u32,
    pub(crate) effective: u32,
    pub(crate) saved: u32,
    /// For files.
    pub(crate) file: u32,
}

/// Who a thread is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Ids,
    pub(crate) group: Ids,
    /// Further groups.
    pub(crate) groups: Arc<[u32]>,
}

/// Rights to a file, as the three bits of a mode.
pub(crate) const READ: u32 = linux::R_OK;
pub(crate) const WRITE: u32 = linux::W_OK;
pub(crate) const EXECUTE: u32 = linux::X_OK;

impl Credentials {
    /// Whether it may do everything.
    pub(crate) const fn is_root(&self) -> bool {
        self.user.effective == 0
    }

    /// Whether it may do everything with files.
    pub(crate) const fn is_root_of_files(&self) -> bool {
        self.user.file == 0
    }

    /// Whether it is in a group, for files.
    pub(crate) fn has_group(&self, group: u32) -> bool {
        self.group.file == group || self.groups.contains(&group)
    }

    /// Whether a file is its own.
    pub(crate) const fn owns(&self, status: &Status) -> bool {
        self.is_root_of_files() || self.user.file == status.uid
    }

    /// Checks that it may do with a file what the bits `wanted` say.
    ///
    /// # Errors
    /// `EACCES`.
    pub(crate) fn need(&self, status: &Status, wanted: u32) -> Result<(), Errno> {
        let may = if self.is_root_of_files() {
            // Everything, but execute what nobody may.
            let executes = wanted & EXECUTE != 0 && status.kind != Kind::Directory;
            !executes || status.mode & 0o111 != 0
        } else {
            let (owner, groups) = ((status.uid, status.gid), |group| self.has_group(group));
            wanted & !allowed(status.mode, owner, self.user.file, groups) == 0
        };
        if may { Ok(()) } else { Err(Errno::ACCES) }
    }

    /// As it is for `access`, which asks for the real user.
    pub(crate) fn as_real(&self) -> Self {
        let with = |ids: Ids| Ids { file: ids.real, ..ids };
        Self { user: with(self.user), group: with(self.group), groups: Arc::clone(&self.groups) }
    }
}

/// The three bits of a mode that count for a user of some groups. `owner` is a user and a group.
pub(crate) fn allowed(
    mode: u32,
    owner: (u32, u32),
    user: u32,
    has_group: impl FnOnce(u32) -> bool,
) -> u32 {
    let shift = match owner {
        (owner, _) if owner == user => 6,
        (_, group) if has_group(group) => 3,
        _ => 0,
    };
    mode >> shift & 0o7
}
