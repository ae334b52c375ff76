//! What is done once at boot: the exception table is sorted, and the user copies and the trap
//! handler are tried out together.

use core::ops::{Deref, Range};
use core::ptr::NonNull;

use faultless::prelude::*;
use faultless::usercopy::conformance::{self, Failure, Layout};
use faultless::usercopy::extable::{Table, TooFar};
use faultless::usercopy::{copy_kernel, sort_extable};

use crate::fault::Signal;
use crate::machine::Machine;
use crate::space::AddressSpace;
use crate::table::PageTable;
use crate::vma::{Sharing, Vma};

/// Sorts the exception table; what [`Current`](crate::Current) has of it from now on.
///
/// # Errors
/// [`TooFar`]: the image is too large for its table.
///
/// # Safety
/// As for [`sort_extable`]: the image is writable, and nothing else runs.
pub unsafe fn exception_table() -> Result<Table<'static>, TooFar> {
    // SAFETY: the caller's promise.
    unsafe { sort_extable() }?;
    Ok(Table::of_image())
}

/// The user memory of a system call: the address space that the CPU is in.
#[must_use]
pub fn user_memory<M: Machine>() -> CurrentUser<M::Window> {
    // SAFETY: what `Machine` promises.
    unsafe { CurrentUser::new(M::user_range()) }
}

/// Why user memory is not as it has to be.
#[derive(Debug)]
pub enum BootError {
    /// The five pages could not be mapped.
    Map(Errno),
    /// Nor brought in.
    Fault(Signal),
    /// A copy broke a promise.
    Copy(Failure),
}

/// Runs the conformance suite, before there is a user program: all copies, at every offset and
/// length around a fault. Five pages of the user range from `first` on are free, the CPU is in
/// `space`, and traps work. `scratch` is a file of five pages that is not used for anything else.
///
/// # Errors
/// What is wrong.
pub fn check_user_memory<M: Machine<Space: Deref<Target = AddressSpace<M>>>>(
    token: &mut MayFault,
    space: &M::Space,
    scratch: &M::File,
    first: usize,
) -> Result<(), BootError> {
    // Read-write, nothing, read-write, read-write, read-only.
    for (page, access) in
        [(0, Access::Write), (2, Access::Write), (3, Access::Write), (4, Access::Read)]
    {
        let (pages, index) = (first + page..first + page + 1, PageIndex::new(page as u64));
        let file = scratch.clone();
        let vma = Vma { pages, file, first: index, access, sharing: Sharing::Private };
        AddressSpace::<M>::map(space, vma).map_err(BootError::Map)?;
        // SAFETY: the caller has a `MayFault`, and no fault is under way.
        let mut in_fault = unsafe { InFault::enter() };
        space.fault(&mut in_fault, first + page, access, &NoTask).map_err(BootError::Fault)?;
    }
    let frame = |page| {
        let entry = space.state.lock().table.get(first + page);
        entry.map(|entry| space.cache.frames().address(entry.frame))
    };
    let frames = core::array::from_fn(frame);
    let layout = FivePages { user: user_memory::<M>(), base: first * PAGE_SIZE, frames };
    let checked = conformance::check_exact(&layout, token).map_err(BootError::Copy);
    AddressSpace::<M>::unmap(space, first..first + 5).map_err(BootError::Map)?;
    checked
}

/// The pages of the suite, and the kernel's addresses of their frames, which stay while it runs.
struct FivePages<W> {
    user: CurrentUser<W>,
    base: usize,
    frames: [Option<NonNull<u8>>; 5],
}

impl<W> FivePages<W> {
    /// The kernel's addresses of `len` accessible bytes, page by page: from where on, and which of
    /// the bytes they are.
    fn pieces(
        &self,
        address: UserAddr,
        len: usize,
    ) -> impl Iterator<Item = (*mut u8, Range<usize>)> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let offset = address.get() - self.base + done;
            let frame = self.frames.get(offset / PAGE_SIZE).copied().flatten()?;
            let piece = done..len.min(done + PAGE_SIZE - offset % PAGE_SIZE);
            done = piece.end;
            let from = frame.as_ptr().wrapping_add(offset % PAGE_SIZE);
            (!piece.is_empty()).then_some((from, piece))
        })
    }
}

impl<W: faultless::usercopy::arch::AccessWindow> Layout for FivePages<W> {
    type User = CurrentUser<W>;

    fn user(&self) -> &CurrentUser<W> {
        &self.user
    }

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn base(&self) -> UserAddr {
        UserAddr::new(self.base)
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
