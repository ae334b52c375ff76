//! Linux itself: raw calls, with errors as values.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultless_posix::Errno;

/// The result of a call, or its error number.
pub(crate) fn check(result: i64) -> Result<usize, i32> {
    if result >= 0 {
        return Ok(result as usize);
    }
    Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// The same of a call of this crate.
pub(crate) fn ours<T>(
    result: Result<T, Errno>,
    value: impl FnOnce(T) -> usize,
) -> Result<usize, i32> {
    result.map(value).map_err(Errno::code)
}

/// A file of tmpfs, which has no name.
pub(crate) struct Temporary(RawFd);

impl Temporary {
    pub(crate) fn new() -> Self {
        // SAFETY: a name that ends.
        let fd = unsafe { libc::memfd_create(c"faultless-posix".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "a file of tmpfs");
        Self(fd)
    }

    /// Another open file, with these flags.
    pub(crate) fn open(&self, flags: u32) -> RawFd {
        let path = CString::new(format!("/proc/self/fd/{}", self.0)).expect("no zero in it");
        // SAFETY: a path that ends.
        let fd = unsafe { libc::open(path.as_ptr(), flags as i32 | libc::O_CLOEXEC) };
        assert!(fd >= 0, "the file can be opened again");
        fd
    }

    /// Its size and all its bytes, of which there are few.
    pub(crate) fn contents(&self) -> (u64, Vec<u8>) {
        // SAFETY: moves the position of a descriptor that nothing else uses.
        let size = unsafe { libc::lseek(self.0, 0, libc::SEEK_END) } as u64;
        let mut bytes = vec![0; size.min(1 << 20) as usize];
        // SAFETY: a buffer of that length.
        let read = unsafe { libc::pread(self.0, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert_eq!(check(read as i64), Ok(bytes.len()));
        (size, bytes)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        close(self.0);
    }
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller's descriptor, which it uses no more.
    unsafe { libc::close(fd) };
}

/// Addresses of this process that nothing else uses, for mappings of a test.
pub(crate) struct Addresses {
    base: usize,
    len: usize,
}

impl Addresses {
    /// `len` bytes far from where the kernel puts mappings of its choice.
    pub(crate) fn new(len: usize) -> Self {
        // Each test has its own, though they are not mapped for the most part.
        static NEXT: AtomicUsize = AtomicUsize::new(0x1000_0000_0000);
        for _ in 0..64 {
            let base = NEXT.fetch_add(0x1000_0000, Ordering::Relaxed);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let hint = std::ptr::without_provenance_mut(base);
            // SAFETY: replaces nothing.
            let got = unsafe { libc::mmap(hint, len, libc::PROT_NONE, flags, -1, 0) };
            if got.addr() == base {
                let addresses = Self { base, len };
                addresses.clear();
                return addresses;
            }
        }
        panic!("no free addresses");
    }

    pub(crate) const fn base(&self) -> usize {
        self.base
    }

    fn clear(&self) {
        // SAFETY: mappings of the test, to which there is no reference.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(self.base), self.len) };
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A process whose memory is looked at: this one, or a child that sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pid(libc::pid_t);

impl Pid {
    pub(crate) fn this() -> Self {
        // SAFETY: always.
        Self(unsafe { libc::getpid() })
    }

    /// A child with what this process has mapped.
    pub(crate) fn fork() -> Self {
        // SAFETY: the child makes no call but the next ones, which need no lock.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: the child ends with this thread.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                // SAFETY: sleeps until it is killed.
                unsafe { libc::pause() };
            }
        }
        assert!(pid > 0, "a child");
        Self(pid)
    }

    /// Ends a child.
    pub(crate) fn kill(self) {
        // SAFETY: a child of this process.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }

    /// Loads from any address of the process, as its kernel would: an error, and no signal.
    pub(crate) fn load(self, address: usize, bytes: &mut [u8]) -> bool {
        let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let base = std::ptr::without_provenance_mut(address);
        let there = libc::iovec { iov_base: base, iov_len: bytes.len() };
        // SAFETY: `bytes` is written to; the other side is only read.
        let read = unsafe { libc::process_vm_readv(self.0, &here, 1, &there, 1, 0) };
        read == bytes.len() as isize
    }

    /// Stores to a mapping of a test.
    pub(crate) fn store(self, address: usize, bytes: &[u8]) -> bool {
        let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let base = std::ptr::without_provenance_mut(address);
        let there = libc::iovec { iov_base: base, iov_len: bytes.len() };
        // SAFETY: the address is of a test's mappings, to which there is no reference.
        let written = unsafe { libc::process_vm_writev(self.0, &here, 1, &there, 1, 0) };
        written == bytes.len() as isize
    }
}

/// How often each call was made, with success and without.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<String, [u32; 2]>);

impl Tally {
    /// Counts a call, which is named before its arguments.
    pub(crate) fn add(&mut self, what: &str, result: Result<usize, i32>) {
        let name = what.split('(').next().unwrap_or(what).to_owned();
        self.0.entry(name).or_default()[usize::from(result.is_err())] += 1;
    }

    /// Each of these has succeeded and failed at least so often: the comparison is not of nothing.
    pub(crate) fn check(&self, least: u32, names: &[&str]) {
        println!("{:?}", self.0);
        for name in names {
            let counts = self.0.get(*name).copied().unwrap_or_default();
            assert!(counts.iter().all(|count| *count >= least), "{name}: {counts:?}");
        }
    }
}
