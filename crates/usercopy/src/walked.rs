//! [`WalkedUser`]: user memory that is reached through the kernel's own mapping, page by page, for
//! a kernel whose CPU is not in the address space of the program, or has no exception table.
//!
//! The embedder supplies [`PageWalk`]: how a page is found, and how an absent one is brought in. It
//! does not own page tables, frames or locks. Neighbour: [`CurrentUser`](crate::CurrentUser), which
//! lets the MMU find the pages.

use core::ops::Range;

use crate::{MayFault, PROBE_STEP, UserAddr, UserMemory, clear_kernel, copy_kernel};

/// What an access does with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkAccess {
    /// It loads.
    Read,
    /// It stores.
    Write,
}

/// How the pages of a program are found. Pages are of [`PROBE_STEP`] bytes, or of a multiple.
///
/// # Safety
/// An implementor promises:
///
/// - [`with_page`](Self::with_page) calls `body` with the kernel's address of a page that the
///   program may access that way, and the page stays what it is until `body` returns: the lock of
///   the page table is held meanwhile, or a count of the frame. It is valid for loads, and for
///   stores if those were asked for. The kernel makes no Rust reference to it.
/// - A page is found for [`WalkAccess::Write`] only if a store of the program would not fault. The
///   store is made through another mapping, so no CPU sets a dirty bit for it, and none checks a
///   protection: a page of a file is writeable in this sense once it is marked dirty, and a page
///   that is shared until it is copied is not.
/// - `with_page` brings nothing in, never sleeps, and takes no lock that
///   [`resolve`](Self::resolve) sleeps with: it is called with page locks held (U3). `body` takes
///   no lock, and does not sleep.
/// - [`user_range`](Self::user_range) is constant, and `with_page` finds no page outside (U5).
pub unsafe trait PageWalk {
    /// The addresses that user space may have.
    fn user_range(&self) -> Range<usize>;

    /// Calls `body` with the page that begins at `page`; whether there is one.
    fn with_page(&self, page: UserAddr, access: WalkAccess, body: &mut dyn FnMut(*mut u8)) -> bool;

    /// Brings in the page of `address`, as the fault handler does for an access of the program's;
    /// `false` if that would get a signal. May sleep; no lock is held that a fault could want.
    fn resolve(&self, token: &mut MayFault, address: UserAddr, access: WalkAccess) -> bool;
}

/// User memory that is reached by a page walk.
///
/// The atomic copies end at a page that is not found. The others have it brought in and look again,
/// as often as it goes away in between.
#[derive(Clone, Copy, Debug)]
pub struct WalkedUser<W>(W);

impl<W: PageWalk> WalkedUser<W> {
    /// The memory that `walk` finds.
    pub const fn new(walk: W) -> Self {
        Self(walk)
    }

    /// The walk.
    pub const fn walk(&self) -> &W {
        &self.0
    }

    /// Calls `body(kernel address, bytes done, bytes)` for each piece of a range that lies in one
    /// page, up to a page that is not found and that `resolve` does not bring in; bytes left.
    fn each_piece(
        &self,
        start: UserAddr,
        len: usize,
        access: WalkAccess,
        mut resolve: impl FnMut(UserAddr) -> bool,
        mut body: impl FnMut(*mut u8, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < len {
            let address = start.wrapping_add(done);
            let offset = address.get() % PROBE_STEP;
            let page = UserAddr::new(address.get() - offset);
            let piece = (PROBE_STEP - offset).min(len - done);
            let found = self.0.with_page(page, access, &mut |memory| {
                body(memory.wrapping_add(offset), done, piece);
            });
            if found {
                done += piece;
            } else if !resolve(address) {
                break;
            }
        }
        len - done
    }

    /// As [`each_piece`](Self::each_piece), with what `resolve` of the walk brings in.
    fn each_piece_faulting(
        &self,
        token: &mut MayFault,
        start: UserAddr,
        len: usize,
        access: WalkAccess,
        body: impl FnMut(*mut u8, usize, usize),
    ) -> usize {
        let resolve = |address| self.0.resolve(token, address, access);
        self.each_piece(start, len, access, resolve, body)
    }
}

/// Nothing is brought in.
const fn never(_address: UserAddr) -> bool {
    false
}

// SAFETY: pieces are accessed in order, each as a whole while its page stays, and what is left is
// counted from the first that is not found (U1, U2, U7); the atomic forms call `with_page` only
// (U3); nothing else is written (U4, U6); the range is the walk's (U5).
unsafe impl<W: PageWalk> UserMemory for WalkedUser<W> {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        self.0.user_range()
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        self.each_piece_faulting(token, src, len, WalkAccess::Read, |from, done, piece| {
            // SAFETY: the walk's promise for the page; the caller's for `dst`.
            unsafe { copy_kernel(dst.wrapping_add(done), from, piece) };
        })
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        self.each_piece(src, len, WalkAccess::Read, never, |from, done, piece| {
            // SAFETY: as above.
            unsafe { copy_kernel(dst.wrapping_add(done), from, piece) };
        })
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        self.each_piece_faulting(token, dst, len, WalkAccess::Write, |to, done, piece| {
            // SAFETY: the walk's promise for the page; the caller's for `src`.
            unsafe { copy_kernel(to, src.wrapping_add(done), piece) };
        })
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        self.each_piece(dst, len, WalkAccess::Write, never, |to, done, piece| {
            // SAFETY: as above.
            unsafe { copy_kernel(to, src.wrapping_add(done), piece) };
        })
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        self.each_piece_faulting(token, dst, len, WalkAccess::Write, |to, _done, piece| {
            // SAFETY: the walk's promise for the page.
            unsafe { clear_kernel(to, piece) };
        })
    }

    unsafe fn raw_probe_readable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        self.each_piece_faulting(token, addr, 1, WalkAccess::Read, |_page, _done, _piece| {})
    }

    /// Changes no byte: a page that is found for a store needs none.
    unsafe fn raw_probe_writeable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        self.each_piece_faulting(token, addr, 1, WalkAccess::Write, |_page, _done, _piece| {})
    }
}
