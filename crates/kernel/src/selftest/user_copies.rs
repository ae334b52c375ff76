//! The conformance suite of user copies, on the memory of a process: every copy, at every offset
//! and length around a fault, through the page-fault handler of this kernel.

use core::ops::Range;
use core::ptr::NonNull;

use faultless::prelude::{Frames, MayFault, PAGE_SIZE, UserAddr};
use faultless::usercopy::conformance::{Layout, check_exact};
use faultless::usercopy::copy_kernel;
use faultless_posix::{Errno, PageTable, Rights};

use crate::arch::serial::say;
use crate::memory::{AddressSpace, Space, User, frames, put, user_memory};
use crate::selftest::place::{BASE, map_private};

/// Runs the suite.
///
/// # Errors
/// `ENOMEM`, `EFAULT`: the pages could not be mapped or brought in.
///
/// # Panics
/// A promise is broken.
pub(super) fn run(token: &mut MayFault, space: &Space) -> Result<(), Errno> {
    // Read-write, nothing, read-write, read-write, read-only. Pages of the program's own: each
    // has been stored to.
    for page in [0, 2, 3, 4] {
        let address = map_private(space, page, 1)?;
        put(token, address, &[0])?;
    }
    AddressSpace::protect(space, BASE + 4 * PAGE_SIZE, PAGE_SIZE, Rights::READ)?;
    let pages = FivePages { frames: core::array::from_fn(|page| frame(space, page)) };
    if let Err(failure) = check_exact(&pages, token) {
        panic!("selftest: user copies: {failure}");
    }
    AddressSpace::unmap(space, BASE, 5 * PAGE_SIZE)?;
    say!("selftest: the conformance suite of user copies passed");
    Ok(())
}

/// The kernel's address of a page.
fn frame(space: &Space, page: usize) -> Option<NonNull<u8>> {
    let entry = space.with_table(|table| table.get(BASE / PAGE_SIZE + page));
    entry.map(|entry| frames().address(entry.frame))
}

/// The pages of the suite, which stay while it runs.
struct FivePages {
    frames: [Option<NonNull<u8>>; 5],
}

impl FivePages {
    /// The kernel's addresses of `len` accessible bytes, page by page: from where on, and which of
    /// the bytes they are.
    fn pieces(
        &self,
        address: UserAddr,
        len: usize,
    ) -> impl Iterator<Item = (*mut u8, Range<usize>)> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let offset = address.get() - BASE + done;
            let frame = self.frames.get(offset / PAGE_SIZE).copied().flatten()?;
            let piece = done..len.min(done + PAGE_SIZE - offset % PAGE_SIZE);
            done = piece.end;
            let from = frame.as_ptr().wrapping_add(offset % PAGE_SIZE);
            (!piece.is_empty()).then_some((from, piece))
        })
    }
}

impl Layout for FivePages {
    type User = User;

    fn user(&self) -> &User {
        user_memory()
    }

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn base(&self) -> UserAddr {
        UserAddr::new(BASE)
    }

    fn peek(&self, address: UserAddr, bytes: &mut [u8]) {
        for (from, piece) in self.pieces(address, bytes.len()) {
            let bytes = &mut bytes[piece];
            // SAFETY: inside the frame, which stays, by its entry; no reference to it exists.
            unsafe { copy_kernel(bytes.as_mut_ptr(), from, bytes.len()) };
        }
    }

    fn poke(&self, address: UserAddr, bytes: &[u8]) {
        for (to, piece) in self.pieces(address, bytes.len()) {
            let bytes = &bytes[piece];
            // SAFETY: as above.
            unsafe { copy_kernel(to, bytes.as_ptr(), bytes.len()) };
        }
    }
}
