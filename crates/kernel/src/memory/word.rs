//! Words of programs that the kernel changes while other threads use them (futexes).

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless::prelude::{Access, Frames, InFault, PAGE_SIZE};
use faultless_posix::{Errno, PageTable, Rights};

use crate::memory::frames::frames;
use crate::memory::machine::Space;
use crate::memory::map::USER_END;
use crate::task::Running;

/// Changes the word at an address by one atomic operation to what `change` makes of it; the word
/// before. `change` may be called several times, with a short lock held; with `None` the word
/// stays as it is. May sleep.
///
/// # Errors
/// `EINVAL` for an address that is not a multiple of 4; `EFAULT` if the program may not write
/// there.
pub(crate) fn change_word(
    space: &Space,
    address: usize,
    mut change: impl FnMut(u32) -> Option<u32>,
) -> Result<u32, Errno> {
    if !address.is_multiple_of(4) {
        return Err(Errno::INVAL);
    }
    if address >= USER_END {
        return Err(Errno::FAULT);
    }
    loop {
        // The entry, and the frame with it, stay for as long as the lock of the table is held. A
        // page that can be written is dirty.
        let changed = space.with_table(|table| {
            let entry = table.get(address / PAGE_SIZE)?;
            if !entry.rights.contains(Rights::WRITE) {
                return None;
            }
            let page = frames().address(entry.frame).as_ptr();
            let word = page.wrapping_add(address % PAGE_SIZE).cast::<AtomicU32>();
            // SAFETY: an aligned word of a frame that is in use. Programs change it as they like,
            // and the kernel by atomic accesses only.
            let word = unsafe { &*word };
            let changed = word.fetch_update(SeqCst, Relaxed, &mut change);
            Some(changed.unwrap_or_else(|word| word))
        });
        if let Some(before) = changed {
            return Ok(before);
        }
        // SAFETY: in a system call, and on the way to user mode, no page lock is held.
        let mut token = unsafe { InFault::enter() };
        space.fault(&mut token, address, Access::Write, &Running).map_err(|_| Errno::FAULT)?;
    }
}
