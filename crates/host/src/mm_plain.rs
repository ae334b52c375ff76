//! User memory for measurements: a range of the process that is always resident. No page table, no
//! checker, no script: the copies are those of `faultless-usercopy`, and nothing else.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use faultless_page::PAGE_SIZE;
use faultless_usercopy::arch::NoWindow;
use faultless_usercopy::{CurrentUser, UserAddr, UserSlice};

/// Memory that plays user memory.
///
/// # Invariants
/// `base` is the start of a private mapping of `len` bytes, readable and writable, that belongs to
/// this value.
pub struct PlainMemory {
    base: NonNull<u8>,
    len: usize,
    user: CurrentUser<NoWindow>,
}

// SAFETY: the value owns its mapping; all access goes through raw pointers of copies that tolerate
// races.
unsafe impl Send for PlainMemory {}
// SAFETY: as for `Send`; what writes the bytes other than by such copies takes `&mut self`.
unsafe impl Sync for PlainMemory {}

impl PlainMemory {
    /// `len` bytes, rounded up to pages, resident and zero.
    ///
    /// # Panics
    /// If the host has not got that much.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE_SIZE);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the system's choice disturbs no other.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        let base: NonNull<u8> = NonNull::new(base.cast()).expect("an address");
        let start = base.as_ptr().expose_provenance();
        // SAFETY: the range is mapped for as long as the value lives, and no Rust reference to it
        // is made while a copy runs. Nothing in it faults, so no handler is needed.
        let user = unsafe { CurrentUser::new(start..start + len) };
        // INVARIANT: just mapped.
        Self { base, len, user }
    }

    /// The user memory.
    #[must_use]
    pub const fn user(&self) -> &CurrentUser<NoWindow> {
        &self.user
    }

    /// Its bytes, for filling and for comparing while no copy runs.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is this value's (invariant), and copies borrow the value.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// A range of it.
    ///
    /// # Panics
    /// If the range goes beyond.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> UserSlice {
        let addr = UserAddr::new(self.base.addr().get() + range.start);
        UserSlice::new(&self.user, addr, range.len()).expect("a range of the memory")
    }
}

impl Drop for PlainMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's (invariant), and goes with it.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

impl fmt::Debug for PlainMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainMemory").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Bare;
    use crate::machine::{Machine, MachineConfig, syscall};
    use crate::memory::Poisoning;
    use crate::mm_real::RealMmu;
    use crate::stores::MemoryStore;
    use faultless_filemap::{NoTask, WriteOptions};
    use faultless_usercopy::IovIter;

    #[test]
    fn a_bare_kernel_writes_from_plain_memory() {
        let machine =
            Machine::<RealMmu, Bare>::build(MachineConfig::new().poisoning(Poisoning::Off));
        let file = machine.inode(&MemoryStore::volatile(), 0);
        let mut memory = PlainMemory::new(100_000);
        memory.bytes().fill(7);
        let (segments, mut back) = ([memory.slice(0..100_000)], PlainMemory::new(100_000));
        let written = syscall(|token| {
            let mut from = IovIter::new(memory.user(), &segments).expect("a request");
            file.write(token, &mut from, &WriteOptions::at(5), &NoTask)
        });
        assert_eq!(written.map(|done| done.end), Ok(100_005));
        let segments = [back.slice(0..100_000)];
        let read = syscall(|token| {
            let mut to = IovIter::new(back.user(), &segments).expect("a request");
            file.read(token, &mut to, 0, &NoTask)
        });
        assert_eq!(read, Ok(100_000));
        assert_eq!((back.bytes()[4], back.bytes()[5], back.bytes()[99_999]), (0, 7, 7));
    }
}
