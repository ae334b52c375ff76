//! Accesses to user memory: word by word through the page table. An atomic one ends at a page that
//! is not present; a faulting one calls the fault handler and goes on.

use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::Access;
use faultless_page::{Frames, PAGE_SIZE};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use crate::memory::ModelFrames;
use crate::on_shuttle::space::{Entry, PAGES, Segv, Space};

/// First address of user memory.
pub const BASE: usize = 0x10_0000;

/// Bytes that are copied between two looks at the page table.
const PIECE: usize = 4;

/// A process, as its own accesses see it.
#[derive(Clone, Debug)]
pub struct User(pub Arc<Space>);

/// What an access does with a piece of kernel memory.
#[derive(Clone, Copy)]
enum Kernel {
    /// Fills it from user memory.
    To(*mut u8),
    /// Stores it to user memory.
    From(*const u8),
}

impl Kernel {
    fn access(self) -> Access {
        match self {
            Self::To(_) => Access::Read,
            Self::From(_) => Access::Write,
        }
    }
}

impl User {
    /// The address of byte `offset` of `page`.
    #[must_use]
    pub fn addr(page: usize, offset: usize) -> UserAddr {
        UserAddr::new(BASE + page * PAGE_SIZE + offset)
    }

    /// A store instruction of the process.
    ///
    /// # Errors
    /// It would be killed.
    pub fn store(&self, page: usize, offset: usize, byte: u8) -> Result<(), Segv> {
        let kernel = Kernel::From(&raw const byte);
        self.faulting(Self::addr(page, offset), kernel, 1).map_or(Err(Segv), |()| Ok(()))
    }

    /// A load instruction of the process.
    ///
    /// # Errors
    /// It would be killed.
    pub fn load(&self, page: usize, offset: usize) -> Result<u8, Segv> {
        let mut byte = 0;
        let kernel = Kernel::To(&raw mut byte);
        self.faulting(Self::addr(page, offset), kernel, 1).map_or(Err(Segv), |()| Ok(byte))
    }

    fn faulting(&self, addr: UserAddr, kernel: Kernel, len: usize) -> Result<(), usize> {
        let mut done = 0;
        while done < len {
            done += self.atomic(addr.wrapping_add(done), advance(kernel, done), len - done);
            let page = (addr.get() + done - BASE) / PAGE_SIZE;
            if done < len && self.0.fault(page, kernel.access()).is_err() {
                return Err(len - done);
            }
        }
        Ok(())
    }

    /// How many bytes could be copied without a fault.
    fn atomic(&self, addr: UserAddr, kernel: Kernel, len: usize) -> usize {
        let mut done = 0;
        while done < len {
            let at = addr.get() + done - BASE;
            let piece = (len - done).min(PIECE).min(PAGE_SIZE - at % PAGE_SIZE);
            if !self.piece(at, advance(kernel, done), piece) {
                break;
            }
            done += piece;
        }
        done
    }

    /// Copies a piece inside one page, if it is present. The page table stays as it is meanwhile.
    fn piece(&self, at: usize, kernel: Kernel, len: usize) -> bool {
        let (page, offset) = (at / PAGE_SIZE, at % PAGE_SIZE);
        let table = self.0.table();
        match (table[page], kernel) {
            (None, _) | (Some(Entry::File { writable: false, .. }), Kernel::From(_)) => false,
            (Some(Entry::Private), kernel) => {
                let mut private = self.0.private.lock().expect("one thread at a time");
                let place = &mut private[at..at + len];
                match kernel {
                    Kernel::To(to) => self.put(to, place),
                    Kernel::From(from) => place.copy_from_slice(&self.get(from, len)),
                }
                true
            }
            (Some(Entry::File { frame, .. }), kernel) => {
                let frames = ModelFrames(Arc::clone(&self.0.memory));
                let place = frames.address(frame).as_ptr().wrapping_add(offset);
                match kernel {
                    Kernel::To(to) => self.put(to, &self.get(place, len)),
                    Kernel::From(from) => self.put(place, &self.get(from, len)),
                }
                true
            }
        }
    }

    fn get(&self, from: *const u8, len: usize) -> Vec<u8> {
        if self.0.memory.contains(from) {
            return self.0.memory.peek(from, len);
        }
        // SAFETY: by the contract of the accesses the kernel's side is valid for `len` bytes.
        unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
    }

    fn put(&self, to: *mut u8, bytes: &[u8]) {
        if self.0.memory.contains(to) {
            return self.0.memory.poke(to, bytes);
        }
        // SAFETY: by the contract of the accesses the kernel's side is valid for as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }
}

fn advance(kernel: Kernel, by: usize) -> Kernel {
    match kernel {
        Kernel::To(to) => Kernel::To(to.wrapping_add(by)),
        Kernel::From(from) => Kernel::From(from.wrapping_add(by)),
    }
}

// SAFETY: leading bytes are copied up to the first page that is absent, and no further; the range
// does not change; kernel memory is touched only where the caller said.
unsafe impl UserMemory for User {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        BASE..BASE + PAGES * PAGE_SIZE
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        self.faulting(src, Kernel::To(dst), len).map_or_else(|left| left, |()| 0)
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        len - self.atomic(src, Kernel::To(dst), len)
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        self.faulting(dst, Kernel::From(src), len).map_or_else(|left| left, |()| 0)
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        len - self.atomic(dst, Kernel::From(src), len)
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        let zeros = vec![0; len];
        self.faulting(dst, Kernel::From(zeros.as_ptr()), len).map_or_else(|left| left, |()| 0)
    }
}
