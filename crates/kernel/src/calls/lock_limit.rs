//! How much memory a process may lock.
#![forbid(unsafe_code)]

use faultless_posix::{Advised, Errno};
use linux_raw_sys::general as linux;

use crate::calls::call::Call;
use crate::memory::Space;
use crate::task::credentials;

/// Bytes that a process may lock (`RLIMIT_MEMLOCK`).
pub(super) fn lock_limit(call: &Call<'_>) -> Result<u64, Errno> {
    let [limit, _] = call.process.life.limits.get(linux::RLIMIT_MEMLOCK as usize)?;
    Ok(if credentials().is_root() { u64::MAX } else { limit })
}

/// Checks that a process may lock memory at all.
///
/// # Errors
/// `EPERM`.
pub(super) fn may_lock(call: &Call<'_>) -> Result<(), Errno> {
    if lock_limit(call)? == 0 { Err(Errno::PERM) } else { Ok(()) }
}

/// Whether a process may lock more bytes.
pub(super) fn has_lock_room(call: &Call<'_>, space: &Space, more: usize) -> Result<bool, Errno> {
    let locked = space.advised_bytes(Advised::LOCKED).saturating_add(more);
    Ok(locked as u64 <= lock_limit(call)?)
}
