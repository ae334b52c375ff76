//! One address space for all threads: M with its queue, a page table, a fault handler. Accesses go
//! in pieces, with points in between, as those of a processor do.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use faultless_filemap::{Access, FaultError, InFault, Inode, NoTask, Protection};
use faultless_page::{PAGE_SIZE, PageIndex};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use super::kernel::ScheduledKernel;
use super::maps::{Entry, Maps, Swapped, lock};
use super::scheduler;
use faultless_host::memory::PhysicalMemory;

/// Where the addresses begin.
const BASE: usize = 0x1000_0000;
/// Bytes that a copy moves without a point in between.
const PIECE: usize = 1024;

pub(super) type File = Arc<Inode<ScheduledKernel>>;

/// What a page of the space is.
#[derive(Clone)]
pub(super) enum Area {
    /// Memory of the program's own. It can be swapped out.
    Private,
    /// A page of a file.
    File(File, PageIndex),
    Nothing,
}

/// M: readers, a writer, and the queue.
#[derive(Debug, Default)]
struct M {
    readers: usize,
    writers: usize,
    queued: usize,
}

/// The address space.
pub(super) struct Space {
    memory: Arc<PhysicalMemory>,
    areas: Mutex<Vec<Area>>,
    maps: Maps,
    m: Mutex<M>,
}

/// How far a page is swapped out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    No,
    Yes,
}

/// M, held.
struct Held<'s> {
    space: &'s Space,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Read,
    Write,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        match self.how {
            How::Read => lock(&self.space.m).readers -= 1,
            How::Write => lock(&self.space.m).writers -= 1,
        }
        scheduler::wake(self.space.key());
    }
}

impl Space {
    /// A space of these pages over `maps`.
    pub(super) fn new(memory: &Arc<PhysicalMemory>, maps: Maps, areas: Vec<Area>) -> Self {
        let space = Self {
            memory: Arc::clone(memory),
            areas: Mutex::new(areas),
            maps,
            m: Mutex::default(),
        };
        let private: Vec<usize> = {
            let areas = lock(&space.areas);
            (0..areas.len()).filter(|page| matches!(areas[*page], Area::Private)).collect()
        };
        for page in private {
            let frame = memory.allocate_user().expect("memory");
            let entry = Entry {
                frame,
                protection: Protection::Writable,
                shows: None,
                swapped: Swapped::In,
            };
            lock(&space.maps.table)[page] = Some(entry);
        }
        space
    }

    /// The address of a page.
    pub(super) fn at(&self, page: usize) -> UserAddr {
        UserAddr::new(BASE + page * PAGE_SIZE)
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(&self.m).addr()
    }

    /// Takes M for reading: behind a writer, and behind a queued one.
    fn read_m(&self) -> Held<'_> {
        scheduler::point();
        loop {
            {
                let mut m = lock(&self.m);
                if m.writers + m.queued == 0 {
                    m.readers += 1;
                    return Held { space: self, how: How::Read };
                }
            }
            scheduler::block(self.key(), "M for reading");
        }
    }

    fn write_m(&self) -> Held<'_> {
        scheduler::point();
        lock(&self.m).queued += 1;
        loop {
            {
                let mut m = lock(&self.m);
                if m.readers + m.writers == 0 {
                    m.queued -= 1;
                    m.writers += 1;
                    return Held { space: self, how: How::Write };
                }
            }
            scheduler::block(self.key(), "M for writing");
        }
    }

    /// `munmap` or `mmap`: what is at `page` becomes `area`.
    pub(super) fn map(&self, page: usize, area: Area) {
        let m = self.write_m();
        let old = std::mem::replace(&mut lock(&self.areas)[page], area);
        self.maps.clear(page);
        drop(m);
        drop(old);
    }

    /// `mlock`: makes the page resident, with M held for writing.
    pub(super) fn populate(&self, page: usize) {
        let _m = self.write_m();
        let _ = self.resolve(page, Access::Read);
    }

    /// The pages of files stop being resident.
    pub(super) fn steal(&self) {
        let pages = lock(&self.areas).len();
        for page in 0..pages {
            let file = lock(&self.maps.table)[page].is_some_and(|entry| entry.shows.is_some());
            if file {
                self.maps.clear(page);
            }
        }
    }

    /// A page of the program's own stops being there; it comes back by a fault, which takes as long
    /// as it can if it is `far` out.
    pub(super) fn swap_out(&self, page: usize, far: Far) {
        if let Some(entry) = &mut lock(&self.maps.table)[page] {
            entry.swapped = match far {
                Far::No => Swapped::Out,
                Far::Yes => Swapped::FarOut,
            };
        }
    }

    fn swap_in(&self, page: usize) {
        let swapped = lock(&self.maps.table)[page].map(|entry| entry.swapped);
        if swapped == Some(Swapped::FarOut) {
            scheduler::idle();
        }
        scheduler::point();
        if let Some(entry) = &mut lock(&self.maps.table)[page] {
            entry.swapped = Swapped::In;
        }
    }

    /// Gives everything back.
    pub(super) fn tear_down(&self) {
        let pages = lock(&self.areas).len();
        (0..pages).for_each(|page| self.maps.clear(page));
        lock(&self.areas).clear();
    }

    fn page_of(addr: usize) -> usize {
        (addr - BASE) / PAGE_SIZE
    }

    /// The kernel's address of a byte that is resident for the access.
    fn resident(&self, addr: usize, access: Access) -> Option<NonNull<u8>> {
        let entry = lock(&self.maps.table)[Self::page_of(addr)]?;
        let denied = access == Access::Write && entry.protection == Protection::ReadOnly;
        if denied || entry.swapped != Swapped::In {
            return None;
        }
        // SAFETY: the offset lies in the frame.
        Some(unsafe { self.memory.address(entry.frame).add(addr % PAGE_SIZE) })
    }

    fn fault(&self, addr: usize, access: Access) -> Result<(), FaultError> {
        let _m = self.read_m();
        self.resolve(Self::page_of(addr), access)
    }

    /// Makes a page resident. M is held.
    fn resolve(&self, page: usize, access: Access) -> Result<(), FaultError> {
        let area = lock(&self.areas)[page].clone();
        let (file, index) = match area {
            Area::File(file, index) => (file, index),
            Area::Private => {
                self.swap_in(page);
                return Ok(());
            }
            Area::Nothing => return Err(FaultError::PastEnd),
        };
        // SAFETY: the access that faulted was made with a `MayFault` or by the program; this
        // handler makes none itself.
        let mut in_fault = unsafe { InFault::enter() };
        let id = file.mapping().id();
        file.fault(&mut in_fault, index, access, &NoTask, |mapped| {
            self.maps.clear(page);
            lock(&self.maps.table)[page] = Some(Entry {
                frame: mapped.frame.into_number(),
                protection: mapped.protection,
                shows: Some((id, index)),
                swapped: Swapped::In,
            });
        })
    }

    /// Performs an access piece by piece; how many bytes were left. `piece` is told the user's
    /// byte, how far it is, and a length.
    fn access(
        &self,
        addr: usize,
        len: usize,
        access: Access,
        atomic: Atomic,
        mut piece: impl FnMut(*mut u8, usize, usize),
    ) -> usize {
        let mut done = 0;
        while done < len {
            scheduler::point();
            let at = addr + done;
            let now = (PIECE - at % PIECE).min(len - done);
            if let Some(user) = self.resident(at, access) {
                piece(user.as_ptr(), done, now);
                done += now;
                continue;
            }
            if atomic == Atomic::Yes || self.fault(at, access).is_err() {
                break;
            }
        }
        len - done
    }

    /// The program loads.
    pub(super) fn load(&self, page: usize, bytes: &mut [u8]) -> Result<(), ()> {
        let to = bytes.as_mut_ptr();
        let left = self.access(
            BASE + page * PAGE_SIZE,
            bytes.len(),
            Access::Read,
            Atomic::No,
            |user, done, len| {
                // SAFETY: the piece lies in the frame, which its entry keeps, and in `bytes`.
                unsafe { user.copy_to(to.wrapping_add(done), len) };
            },
        );
        if left == 0 { Ok(()) } else { Err(()) }
    }

    /// The program stores.
    pub(super) fn store(&self, page: usize, offset: usize, bytes: &[u8]) -> Result<(), ()> {
        let from = bytes.as_ptr();
        let addr = BASE + page * PAGE_SIZE + offset;
        let left = self.access(addr, bytes.len(), Access::Write, Atomic::No, |user, done, len| {
            // SAFETY: as for a load.
            unsafe { user.copy_from(from.wrapping_add(done), len) };
        });
        if left == 0 { Ok(()) } else { Err(()) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Atomic {
    No,
    Yes,
}

// SAFETY: accesses go piece by piece, in order, to frames that are resident, and end where one is
// not (U1, U2, U7); only those that are not atomic ask the fault handler (U3). The range is a
// number (U5); the probes are the provided ones (U6).
unsafe impl UserMemory for Space {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        BASE..BASE + lock(&self.maps.table).len() * PAGE_SIZE
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        self.access(src.get(), len, Access::Read, Atomic::No, |user, done, len| {
            // SAFETY: the caller vouches for `dst`; the frame is kept by its entry.
            unsafe { user.copy_to(dst.wrapping_add(done), len) };
        })
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        self.access(src.get(), len, Access::Read, Atomic::Yes, |user, done, len| {
            // SAFETY: as above.
            unsafe { user.copy_to(dst.wrapping_add(done), len) };
        })
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        self.access(dst.get(), len, Access::Write, Atomic::No, |user, done, len| {
            // SAFETY: as above.
            unsafe { user.copy_from(src.wrapping_add(done), len) };
        })
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        self.access(dst.get(), len, Access::Write, Atomic::Yes, |user, done, len| {
            // SAFETY: as above.
            unsafe { user.copy_from(src.wrapping_add(done), len) };
        })
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        self.access(dst.get(), len, Access::Write, Atomic::No, |user, _, len| {
            // SAFETY: as above.
            unsafe { user.write_bytes(0, len) };
        })
    }
}
