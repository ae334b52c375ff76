//! User memory that holds the same bytes here and on Linux.

use crate::real;
use crate::support::*;

/// User memory on both sides: some pages, and then nothing.
pub(crate) struct Buffers {
    pub(crate) process: Process,
    base: usize,
    len: usize,
}

impl Buffers {
    pub(crate) fn new(rig: &Rig, addresses: &real::Addresses) -> Self {
        let len = PLAIN_LEN;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let at = std::ptr::without_provenance_mut(addresses.base());
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: addresses of this test.
        let got = unsafe { libc::mmap(at, len, rights, flags, -1, 0) };
        assert_eq!(got.addr(), addresses.base());
        Self { process: rig.process(), base: addresses.base(), len }
    }

    /// The same bytes on both sides.
    pub(crate) fn set(&self, offset: usize, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.len - offset)];
        self.process.memory.store(PLAIN + offset, bytes).expect("plain");
        assert!(real::Pid::this().store(self.base + offset, bytes));
    }

    /// Compares the `len` bytes from `offset` on.
    pub(crate) fn compare(&self, offset: usize, len: usize, what: &str) {
        let len = len.min(self.len - offset);
        let mut there = vec![0; len];
        assert!(real::Pid::this().load(self.base + offset, &mut there));
        let here = self.process.memory.load(PLAIN + offset, len).expect("plain");
        assert!(here == there, "{what}: bytes in user memory");
    }

    pub(crate) fn real(&self, offset: usize) -> *mut libc::c_void {
        std::ptr::without_provenance_mut(self.base + offset)
    }
}
