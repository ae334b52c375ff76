//! A process: an address space, its memory, and the calls that a program makes with addresses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faultless::prelude::*;
use faultless_posix::{Entry, Errno, MapRequest, PageTable, Rights, RwFlags, Sharing, Signal};

use super::{Memory, Open, Rig, Space, TestKernel, syscall};

/// Exits when it is dropped.
pub struct Process {
    pub space: Arc<Space>,
    pub memory: Memory,
    cache: &'static PageCache<TestKernel>,
}

/// Mappings begin here.
const BASE: usize = 256;

/// The address of the `n`-th page for mappings.
pub const fn at(n: usize) -> usize {
    (BASE + n) * PAGE_SIZE
}

impl Process {
    pub fn new(space: Arc<Space>, cache: &'static PageCache<TestKernel>) -> Self {
        Self { memory: Memory::new(Arc::clone(&space), cache), space, cache }
    }

    /// `mmap` of `pages` pages of the file from page `first` on, at the `n`-th page.
    pub fn map(
        &self,
        n: usize,
        pages: usize,
        (open, first): (&Open, u64),
        rights: Rights,
        sharing: Sharing,
    ) -> Result<(), Errno> {
        let request = MapRequest {
            description: Arc::clone(open),
            offset: first * PAGE_SIZE as u64,
            len: pages * PAGE_SIZE,
            rights,
            sharing,
        };
        Space::map(&self.space, at(n), request)
    }

    /// A shared mapping of the file from its start on, for loads and stores.
    pub fn share(&self, n: usize, pages: usize, open: &Open) {
        let rights = Rights::READ | Rights::WRITE;
        self.map(n, pages, (open, 0), rights, Sharing::Shared).expect("may be mapped");
    }

    /// The same, private.
    pub fn map_private(&self, n: usize, pages: usize, open: &Open) {
        let rights = Rights::READ | Rights::WRITE;
        self.map(n, pages, (open, 0), rights, Sharing::Private).expect("may be mapped");
    }

    pub fn unmap(&self, n: usize, pages: usize) -> Result<(), Errno> {
        Space::unmap(&self.space, at(n), pages * PAGE_SIZE)
    }

    pub fn protect(&self, n: usize, pages: usize, rights: Rights) -> Result<(), Errno> {
        Space::protect(&self.space, at(n), pages * PAGE_SIZE, rights)
    }

    pub fn relocate(&self, from: usize, to: usize, pages: usize) -> Result<(), Errno> {
        Space::relocate(&self.space, at(from), at(to), pages * PAGE_SIZE)
    }

    pub fn extend(&self, end: usize, pages: usize) -> Result<(), Errno> {
        Space::extend(&self.space, at(end), pages * PAGE_SIZE)
    }

    pub fn discard(&self, n: usize, pages: usize) -> Result<(), Errno> {
        Space::discard(&self.space, at(n), pages * PAGE_SIZE)
    }

    pub fn msync(&self, n: usize, pages: usize, flags: u32) -> Result<(), Errno> {
        let len = pages * PAGE_SIZE;
        syscall(|token| Space::sync(&self.space, token, at(n), len, flags, &NoTask))
    }

    pub fn resident(&self, n: usize, pages: usize) -> Result<Vec<bool>, Errno> {
        Space::resident(&self.space, at(n), pages * PAGE_SIZE)
    }

    pub fn populate(&self, n: usize, pages: usize) -> Result<(), Errno> {
        // SAFETY: as at the entry of a system call: no lock is held.
        let mut token = unsafe { InFault::enter() };
        Space::populate(&self.space, &mut token, at(n), pages * PAGE_SIZE, &NoTask)
    }

    /// A child, with a memory of its own for plain pages.
    pub fn fork(&self, rig: &Rig) -> Self {
        let child = rig.process();
        Space::fork(&self.space, &child.space).expect("not killed");
        child
    }

    /// The byte at the start of the `n`-th page.
    pub fn load(&self, n: usize) -> Result<u8, Signal> {
        self.memory.load(at(n), 1).map(|bytes| bytes[0])
    }

    /// Stores a byte at the start of the `n`-th page.
    pub fn store(&self, n: usize, byte: u8) -> Result<(), Signal> {
        self.memory.store(at(n), &[byte])
    }

    /// What these pages begin with.
    pub fn loads(&self, pages: std::ops::Range<usize>) -> Vec<Result<u8, Signal>> {
        pages.map(|n| self.load(n)).collect()
    }

    pub fn entry(&self, n: usize) -> Option<Entry> {
        self.space.with_table(|table| table.get(BASE + n))
    }

    /// The counts of the frame that the `n`-th page shows.
    pub fn counts(&self, n: usize) -> u32 {
        self.entry(n).map_or(0, |entry| self.cache.frames().references(entry.frame))
    }

    /// How many faults there were.
    pub fn faults(&self) -> usize {
        self.memory.faults.load(Ordering::Relaxed)
    }

    /// `write` from user memory.
    pub fn write(&self, open: &Open, from: usize, len: usize) -> Result<usize, Errno> {
        self.transfer(from, len, |bytes, token| open.write(token, bytes, RwFlags::empty(), &NoTask))
    }

    pub fn pwrite(&self, open: &Open, from: usize, len: usize, pos: u64) -> Result<usize, Errno> {
        self.transfer(from, len, |bytes, token| {
            open.write_at(token, bytes, pos, RwFlags::empty(), &NoTask)
        })
    }

    /// `read` to user memory.
    pub fn read(&self, open: &Open, to: usize, len: usize) -> Result<usize, Errno> {
        self.transfer(to, len, |bytes, token| open.read(token, bytes, &NoTask))
    }

    pub fn pread(&self, open: &Open, to: usize, len: usize, pos: u64) -> Result<usize, Errno> {
        self.transfer(to, len, |bytes, token| open.read_at(token, bytes, pos, &NoTask))
    }

    pub fn transfer(
        &self,
        address: usize,
        len: usize,
        call: impl FnOnce(&mut IovIter<'_, Memory>, &mut MayFault) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let slice = UserSlice::new(&self.memory, UserAddr::new(address), len)?;
        let mut bytes = IovIter::from_slice(&self.memory, &slice);
        syscall(|token| call(&mut bytes, token))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Space::exit(&self.space);
        }
    }
}
