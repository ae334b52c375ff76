//! System calls of the user program on files: what a kernel's `sys_write` and its neighbours do
//! around the core.
//!
//! Each enters the kernel ([`syscall`]), imports its segments and calls the [`Inode`]. The cursor
//! is the caller's affair only in the core's own tests; here a request is a list of ranges of user
//! memory.

#![forbid(unsafe_code)]

use faultless_filemap::{Inode, NoTask, SyncKind, Task, WriteOptions, Written};
use faultless_page::Errno;
use faultless_usercopy::{
    IovIter, IovecError, MAX_SEGMENTS, MayFault, USER_IOVEC_BYTES, UserAddr, UserSlice,
    import_iovec,
};

use super::AddressSpace;
use crate::kernel::{Flavor, HostKernel};
use crate::machine::syscall;
use crate::mmu::{Mmu, UserFault};

impl<M: Mmu, F: Flavor> AddressSpace<M, F> {
    /// `pwritev` from these ranges.
    ///
    /// # Errors
    /// The core's.
    pub fn sys_write(
        &self,
        file: &Inode<HostKernel<F>>,
        from: &[UserSlice],
        options: &WriteOptions,
    ) -> Result<Written, Errno> {
        self.sys_write_as(file, from, options, &NoTask)
    }

    /// `pwritev` from these ranges, by a task with limits, signals and a clock.
    ///
    /// # Errors
    /// The core's.
    pub fn sys_write_as<T: Task>(
        &self,
        file: &Inode<HostKernel<F>>,
        from: &[UserSlice],
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        self.enter(|token| {
            let mut from = IovIter::new(self, from).map_err(errno)?;
            file.write(token, &mut from, options, task)
        })
    }

    /// `pwritev` of the `count` segments that lie as an array in user memory at `vector` (W7).
    ///
    /// # Errors
    /// The core's.
    pub fn sys_writev(
        &self,
        file: &Inode<HostKernel<F>>,
        vector: UserAddr,
        count: usize,
        options: &WriteOptions,
    ) -> Result<Written, Errno> {
        self.enter(|token| {
            let mut room = vec![UserSlice::EMPTY; MAX_SEGMENTS];
            let mut from = import_iovec(self, token, vector, count, &mut room).map_err(errno)?;
            file.write(token, &mut from, options, &NoTask)
        })
    }

    /// The program lays an array of segments (address and length) out at `vector`.
    ///
    /// # Errors
    /// The signal.
    pub fn store_vector(
        &self,
        vector: UserAddr,
        segments: &[(usize, usize)],
    ) -> Result<(), UserFault> {
        let words = segments.iter().flat_map(|(base, len)| [*base, *len]);
        let bytes: Vec<u8> = words.flat_map(usize::to_ne_bytes).collect();
        debug_assert_eq!(bytes.len(), segments.len() * USER_IOVEC_BYTES);
        self.store(vector, &bytes)
    }

    /// `preadv` to these ranges.
    ///
    /// # Errors
    /// The core's.
    pub fn sys_read(
        &self,
        file: &Inode<HostKernel<F>>,
        to: &[UserSlice],
        pos: u64,
    ) -> Result<usize, Errno> {
        self.enter(|token| {
            let mut to = IovIter::new(self, to).map_err(errno)?;
            file.read(token, &mut to, pos, &NoTask)
        })
    }

    /// `ftruncate`.
    ///
    /// # Errors
    /// The core's.
    pub fn sys_truncate(&self, file: &Inode<HostKernel<F>>, size: u64) -> Result<(), Errno> {
        self.enter(|token| file.set_size(token, size, &NoTask))
    }

    /// `fsync` or `fdatasync`.
    ///
    /// # Errors
    /// The core's.
    pub fn sys_fsync(&self, file: &Inode<HostKernel<F>>, kind: SyncKind) -> Result<(), Errno> {
        self.enter(|token| file.fsync(token, kind, &NoTask))
    }

    /// Everything in the file, by [`sys_read`](Self::sys_read) to `scratch`, a range of mapped user
    /// memory.
    ///
    /// # Errors
    /// The core's.
    ///
    /// # Panics
    /// If `scratch` is empty or cannot be read back.
    pub fn sys_read_all(
        &self,
        file: &Inode<HostKernel<F>>,
        scratch: UserSlice,
    ) -> Result<Vec<u8>, Errno> {
        assert!(!scratch.is_empty(), "room to read to");
        let mut bytes = Vec::new();
        loop {
            let read = self.sys_read(file, &[scratch], bytes.len() as u64)?;
            if read == 0 {
                return Ok(bytes);
            }
            bytes.extend(self.read_vec(scratch.addr(), read).expect("the scratch range"));
        }
    }

    fn enter<R>(&self, work: impl FnOnce(&mut MayFault) -> R) -> R {
        self.inner.watchdog.check().adopt();
        syscall(work)
    }
}

/// What a system call returns for a bad vector.
fn errno(error: IovecError) -> Errno {
    match error {
        IovecError::Invalid => Errno::Invalid,
        IovecError::Fault => Errno::Fault,
    }
}
