//! A user process for tests: an address space with scratch memory, and system calls on files by
//! hand.
//!
//! Key types: [`Process`], [`File`]. [`balanced_on_both_mmus!`](crate::balanced_on_both_mmus) runs
//! a test body on both MMUs and checks at its end that every frame, every count and every lock was
//! given back (P5).

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::{Inode, NoTask, SyncKind, Task, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless::usercopy::{IovIter, UserAddr, UserSlice};
use faultless_host::{AddressSpace, Checked, HostKernel, Machine, Mmu, Protection, UserFault};

/// A file of a test machine.
pub type File = Arc<Inode<HostKernel<Checked>>>;

/// Bytes of a page, as positions in files count them.
pub const PAGE: u64 = PAGE_SIZE as u64;

/// Pages of scratch memory that each process has, from page 0 of its address space.
pub const SCRATCH_PAGES: usize = 160;

/// The first page of the address space that is a test's own.
pub const FREE: usize = SCRATCH_PAGES + 1;

/// A process: one address space, used by one thread at a time (others use a [`Process::thread`]
/// with scratch of its own).
#[derive(Debug)]
pub struct Process<M: Mmu> {
    /// Its address space.
    pub space: AddressSpace<M>,
    scratch: usize,
}

impl<M: Mmu> Clone for Process<M> {
    fn clone(&self) -> Self {
        self.thread(self.scratch)
    }
}

impl<M: Mmu> Process<M> {
    /// A process with scratch memory in pages `0..SCRATCH_PAGES`, readable and writable.
    #[must_use]
    pub fn new(machine: &Machine<M>) -> Self {
        let space = machine.space();
        space.map_anonymous(0, SCRATCH_PAGES, Protection::ReadWrite);
        Self { space, scratch: 0 }
    }

    /// Another thread of this process, whose scratch memory begins at page `scratch`: the caller
    /// maps it.
    #[must_use]
    pub fn thread(&self, scratch: usize) -> Self {
        Self { space: self.space.clone(), scratch }
    }

    /// `pwrite` of `bytes` at `pos`.
    ///
    /// # Errors
    /// As [`Inode::write`].
    ///
    /// # Panics
    /// If the scratch memory is too small.
    pub fn write(&self, file: &File, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.write_with(file, bytes, &WriteOptions::at(pos))
    }

    /// A write of `bytes` with these options.
    ///
    /// # Errors
    /// As [`Inode::write`].
    ///
    /// # Panics
    /// If the scratch memory is too small.
    pub fn write_with(
        &self,
        file: &File,
        bytes: &[u8],
        options: &WriteOptions,
    ) -> Result<usize, Errno> {
        assert!(bytes.len() <= SCRATCH_PAGES * PAGE_SIZE, "{} bytes of scratch", bytes.len());
        self.space.store(self.space.at(self.scratch, 0), bytes).expect("scratch memory");
        self.write_from(file, self.space.slice(self.scratch, 0, bytes.len()), options)
    }

    /// A write of the user's bytes in `source`.
    ///
    /// # Errors
    /// As [`Inode::write`].
    pub fn write_from(
        &self,
        file: &File,
        source: UserSlice,
        options: &WriteOptions,
    ) -> Result<usize, Errno> {
        self.writev_as(file, &[source], options, &NoTask)
    }

    /// `pwritev` of the segments, by `task`.
    ///
    /// # Errors
    /// As [`Inode::write`], and [`Errno::Invalid`] for segments that are no request.
    pub fn writev_as<T: Task>(
        &self,
        file: &File,
        segments: &[UserSlice],
        options: &WriteOptions,
        task: &T,
    ) -> Result<usize, Errno> {
        let mut from = IovIter::new(&self.space, segments).map_err(|_| Errno::Invalid)?;
        faultless_host::syscall(|token| file.write(token, &mut from, options, task))
            .map(|written| written.bytes)
    }

    /// `pread` of `len` bytes at `pos`, by way of scratch memory.
    ///
    /// # Errors
    /// As [`Inode::read`].
    ///
    /// # Panics
    /// If the scratch memory is too small.
    pub fn read(&self, file: &File, pos: u64, len: usize) -> Result<Vec<u8>, Errno> {
        assert!(len <= SCRATCH_PAGES * PAGE_SIZE, "{len} bytes of scratch");
        let got = self.read_to(file, pos, self.space.slice(self.scratch, 0, len))?;
        Ok(self.space.read_vec(self.space.at(self.scratch, 0), got).expect("scratch memory"))
    }

    /// `pread` at `pos` to the user's `target`.
    ///
    /// # Errors
    /// As [`Inode::read`].
    pub fn read_to(&self, file: &File, pos: u64, target: UserSlice) -> Result<usize, Errno> {
        let mut to = IovIter::from_slice(&self.space, &target);
        faultless_host::syscall(|token| file.read(token, &mut to, pos, &NoTask))
    }

    /// The whole file.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    #[track_caller]
    pub fn contents(&self, file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.read(file, bytes.len() as u64, SCRATCH_PAGES * PAGE_SIZE);
            let piece = piece.expect("the file can be read");
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// Maps `pages` pages of the file from its page `first` on at `page`, and says where they lie.
    pub fn map(
        &self,
        page: usize,
        pages: usize,
        file: &File,
        first: u64,
        protection: Protection,
    ) -> UserAddr {
        self.space.map_file(page, pages, file, PageIndex::new(first), protection);
        self.space.at(page, 0)
    }

    /// The program's byte at `addr`.
    ///
    /// # Errors
    /// The signal.
    pub fn byte(&self, addr: UserAddr) -> Result<u8, UserFault> {
        self.space.read_vec(addr, 1).map(|bytes| bytes[0])
    }
}

/// `ftruncate`.
///
/// # Errors
/// As [`Inode::set_size`].
pub fn set_size(file: &File, size: u64) -> Result<(), Errno> {
    faultless_host::syscall(|token| file.set_size(token, size, &NoTask))
}

/// `fsync`.
///
/// # Errors
/// As [`Inode::fsync`].
pub fn fsync(file: &File) -> Result<(), Errno> {
    faultless_host::syscall(|token| file.fsync(token, SyncKind::All, &NoTask))
}

/// Writes the bytes of `range` back.
///
/// # Errors
/// As [`Inode::writeback`].
pub fn writeback(file: &File, range: Range<u64>) -> Result<(), Errno> {
    faultless_host::syscall(|token| file.writeback(token, range, &NoTask))
}

/// Drops clean pages of the file; how many.
pub fn evict(file: &File) -> u64 {
    faultless_host::syscall(|token| file.evict(token, 0..u64::MAX))
}

/// Sends everything to the store and drops it from the cache.
///
/// # Panics
/// If a page stays.
#[track_caller]
pub fn make_cold(file: &File) {
    fsync(file).expect("writeback");
    evict(file);
    assert_eq!(file.mapping().cached_pages(), 0, "a page stays in the cache");
}

/// An empty file of the host that nobody else can find.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn temporary_file() -> std::fs::File {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("faultless-test-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("to unlink it");
    file
}

/// `len` bytes, none of them zero, that depend on `seed` and on their place.
#[must_use]
pub fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at.wrapping_mul(31) >> 3) as u8).wrapping_add(seed) | 1).collect()
}

/// Asserts that two long byte strings are equal, and says where they first differ.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_bytes(got: &[u8], want: &[u8], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    if let Some(at) = (0..got.len()).find(|&at| got[at] != want[at]) {
        let end = (at + 16).min(got.len());
        panic!("{what}: byte {at}: got {:02x?}, want {:02x?}", &got[at..end], &want[at..end]);
    }
}

/// Expands a test body to two tests, one on each MMU, each on a machine of its own that must be
/// balanced afterwards: no frame held, no count, no lock (P5). The body drops everything that it
/// makes.
#[macro_export]
macro_rules! balanced_on_both_mmus {
    () => {};
    ($(#[$meta:meta])* fn $name:ident($machine:ident) $body:block $($rest:tt)*) => {
        $crate::balanced_on_both_mmus! {
            $(#[$meta])* fn $name($machine = faultless_host::MachineConfig::new()) $body
        }
        $crate::balanced_on_both_mmus! { $($rest)* }
    };
    ($(#[$meta:meta])* fn $name:ident($machine:ident = $config:expr) $body:block $($rest:tt)*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "the body may need nothing from outside")]
            use super::*;

            fn body<M: faultless_host::Mmu>($machine: &faultless_host::Machine<M>) $body

            fn run<M: faultless_host::Mmu>() {
                let machine = faultless_host::Machine::<M>::with($config);
                body(&machine);
                assert!(machine.check().take_reports().is_empty(), "the lock checker has a report");
                machine.finish();
            }

            #[test]
            fn real() {
                run::<faultless_host::RealMmu>();
            }

            #[test]
            fn scripted() {
                run::<faultless_host::ScriptedMmu>();
            }
        }
        $crate::balanced_on_both_mmus! { $($rest)* }
    };
}
