//! User memory: everything that a program may address but the machine's own. What belongs to no
//! mapping of a file is plain memory, which is there or faults for good.

use core::ops::Range;

use faultless::prelude::{CurrentUser, MayFault, UserAddr, UserMemory};
use faultless::usercopy::arch::NoWindow;

use crate::arena;
use crate::options::{Plant, options};

/// The end of what Linux gives to programs.
const USER_END: usize = 0x7fff_ffff_f000;

/// The memory of the program that runs.
pub(crate) struct ProgramMemory(CurrentUser<NoWindow>);

impl ProgramMemory {
    pub(crate) fn new() -> Self {
        // SAFETY: all of it is canonical. What in it is the machine's is refused below; the
        // library's own code and data are as safe from the program's pointers as any library's.
        Self(unsafe { CurrentUser::new(0..USER_END) })
    }
}

/// How many of `len` bytes at `address` come before the machine's own.
fn allowed(address: UserAddr, len: usize) -> usize {
    let address = address.get();
    if arena::contains(address) {
        0
    } else if address < arena::BASE {
        len.min(arena::BASE - address)
    } else {
        len
    }
}

/// Copies as much as is allowed; what is left.
fn bounded(address: UserAddr, len: usize, copy: impl FnOnce(usize) -> usize) -> usize {
    let allowed = allowed(address, len);
    let left = if allowed == 0 { 0 } else { copy(allowed) };
    left + (len - allowed)
}

/// What a copy reports, which is a lie if that bug is planted.
fn told(left: usize) -> usize {
    if options().plant == Some(Plant::ShortCopies) { 0 } else { left }
}

// SAFETY: the copies are those of `CurrentUser`, on less than what was asked for (U2).
unsafe impl UserMemory for ProgramMemory {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.0.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the caller's, for a part of it.
        bounded(src, len, |len| unsafe { self.0.raw_copy_from_user(may, dst, src, len) })
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: as above.
        let left =
            bounded(src, len, |len| unsafe { self.0.raw_copy_from_user_atomic(dst, src, len) });
        told(left)
    }

    unsafe fn raw_copy_to_user(
        &self,
        may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: as above.
        bounded(dst, len, |len| unsafe { self.0.raw_copy_to_user(may, dst, src, len) })
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: as above.
        bounded(dst, len, |len| unsafe { self.0.raw_copy_to_user_atomic(dst, src, len) })
    }

    unsafe fn raw_clear_user(&self, may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: as above.
        bounded(dst, len, |len| unsafe { self.0.raw_clear_user(may, dst, len) })
    }

    unsafe fn raw_probe_readable(&self, may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: as above.
        bounded(addr, 1, |_| unsafe { self.0.raw_probe_readable(may, addr) })
    }

    unsafe fn raw_probe_writeable(&self, may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: as above.
        bounded(addr, 1, |_| unsafe { self.0.raw_probe_writeable(may, addr) })
    }
}
