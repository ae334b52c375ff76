//! User memory: mappings of files, by the page table, and plain pages.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use faultless::prelude::*;
use faultless::usercopy::copy_kernel;
use faultless_posix::{PageTable, Signal};

use super::{Space, TestKernel};

/// Where the plain pages begin, and how many bytes they are. What lies behind them is not mapped.
pub const PLAIN: usize = 1 << 36;
pub const PLAIN_LEN: usize = 64 * PAGE_SIZE;

/// Rounds in which an access faults again before it counts as never coming to an end.
const ROUNDS: usize = 10_000;

/// The memory of a process.
#[derive(Clone)]
pub struct Memory {
    pub space: Arc<Space>,
    cache: &'static PageCache<TestKernel>,
    plain: Arc<Mutex<Vec<u8>>>,
    pub faults: Arc<AtomicUsize>,
}

impl Memory {
    pub fn new(space: Arc<Space>, cache: &'static PageCache<TestKernel>) -> Self {
        let plain = Arc::new(Mutex::new(vec![0; PLAIN_LEN]));
        Self { space, cache, plain, faults: Arc::default() }
    }

    /// Has `each` copy at the kernel addresses of the bytes from `address` on, piece by piece; how
    /// many are left when a piece faults. A fault is resolved by `fault`, or ends the access.
    fn pieces(
        &self,
        address: usize,
        len: usize,
        access: Access,
        fault: &mut dyn FnMut(usize) -> Result<(), Signal>,
        each: &mut dyn FnMut(*mut u8, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < len {
            let at = address + done;
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(len - done);
            if (PLAIN..PLAIN + PLAIN_LEN).contains(&at) {
                let mut plain = self.plain.lock().expect("no panic");
                each(plain[at - PLAIN..][..piece].as_mut_ptr(), done, piece);
            } else if !self.mapped_piece(at, access, fault, &mut |user| each(user, done, piece)) {
                return len - done;
            }
            done += piece;
        }
        0
    }

    /// One piece through the page table. The copy is made under its lock, as one instruction.
    fn mapped_piece(
        &self,
        at: usize,
        access: Access,
        fault: &mut dyn FnMut(usize) -> Result<(), Signal>,
        each: &mut dyn FnMut(*mut u8),
    ) -> bool {
        for _ in 0..ROUNDS {
            let copied = self.space.with_table(|table| {
                let entry = table.get(at / PAGE_SIZE).filter(|entry| entry.rights.allow(access));
                let frames = self.cache.frames();
                let start = entry.map(|entry| frames.address(entry.frame).as_ptr());
                start.map(|start| each(start.wrapping_add(at % PAGE_SIZE))).is_some()
            });
            if copied {
                return true;
            }
            if fault(at).is_err() {
                return false;
            }
        }
        panic!("an access at {at:#x} faults again and again");
    }

    /// A page fault of the calling thread.
    fn fault(&self, address: usize, access: Access) -> Result<(), Signal> {
        super::nothing_held("a page fault");
        self.faults.fetch_add(1, Ordering::Relaxed);
        // SAFETY: copies that fault are made with no page locked.
        let mut token = unsafe { InFault::enter() };
        self.space.fault(&mut token, address, access, &NoTask)
    }

    /// What a program loads; or the signal of the first page that it cannot load from.
    pub fn load(&self, address: usize, len: usize) -> Result<Vec<u8>, Signal> {
        let mut bytes = vec![0; len];
        let to = bytes.as_mut_ptr();
        self.resolved(address, len, Access::Read, &mut |user, at, len| {
            // SAFETY: a part of `bytes`; the user's side is a frame that an entry counts.
            unsafe { copy_kernel(to.wrapping_add(at), user, len) };
        })?;
        Ok(bytes)
    }

    /// What a program stores; or the signal of the first page that it cannot store to.
    pub fn store(&self, address: usize, bytes: &[u8]) -> Result<(), Signal> {
        let from = bytes.as_ptr();
        self.resolved(address, bytes.len(), Access::Write, &mut |user, at, len| {
            // SAFETY: as in `load`, in the other direction.
            unsafe { copy_kernel(user, from.wrapping_add(at), len) };
        })
    }

    fn resolved(
        &self,
        address: usize,
        len: usize,
        access: Access,
        each: &mut dyn FnMut(*mut u8, usize, usize),
    ) -> Result<(), Signal> {
        let mut signal = Ok(());
        let mut fault = |at| {
            signal = self.fault(at, access);
            signal
        };
        let left = self.pieces(address, len, access, &mut fault, each);
        if left == 0 { Ok(()) } else { signal }
    }
}

/// No fault is resolved.
fn atomic(_at: usize) -> Result<(), Signal> {
    Err(Signal::Segv)
}

// SAFETY: pieces are copied whole and in order, up to the first that faults (U1, U2, U7); the
// atomic forms resolve no fault (U3), nothing else is zeroed (U4), the range is constant and no
// address in it is the kernel's (U5), and probes are the provided ones (U6).
unsafe impl UserMemory for Memory {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        PAGE_SIZE..1 << 40
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        let mut fault = |at| self.fault(at, Access::Read);
        self.pieces(src.get(), len, Access::Read, &mut fault, &mut |user, at, len| {
            // SAFETY: the caller's promise; the user's side is counted, or plain.
            unsafe { copy_kernel(dst.wrapping_add(at), user, len) };
        })
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        self.pieces(src.get(), len, Access::Read, &mut atomic, &mut |user, at, len| {
            // SAFETY: as above.
            unsafe { copy_kernel(dst.wrapping_add(at), user, len) };
        })
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        let mut fault = |at| self.fault(at, Access::Write);
        self.pieces(dst.get(), len, Access::Write, &mut fault, &mut |user, at, len| {
            // SAFETY: as above.
            unsafe { copy_kernel(user, src.wrapping_add(at), len) };
        })
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        self.pieces(dst.get(), len, Access::Write, &mut atomic, &mut |user, at, len| {
            // SAFETY: as above.
            unsafe { copy_kernel(user, src.wrapping_add(at), len) };
        })
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        let mut fault = |at| self.fault(at, Access::Write);
        self.pieces(dst.get(), len, Access::Write, &mut fault, &mut |user, _, len| {
            // SAFETY: `len` bytes of a frame that an entry counts, or plain.
            unsafe { faultless::usercopy::clear_kernel(user, len) };
        })
    }
}
