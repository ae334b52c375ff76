//! "Physical memory": a memfd that is mapped once, as the kernel's linear map.
//!
//! The real MMU maps pieces of the same memfd at user addresses, so that a file page and its user
//! mappings are the same bytes, as on a machine. This module owns the mapping and nothing else:
//! which frame may be used is decided in [`super`].

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use faultless_page::PAGE_SIZE;

/// The memory and its linear map.
///
/// # Invariants
/// `base` is the start of a shared, readable and writable mapping of `frames * PAGE_SIZE` bytes of
/// `fd`, which lives as long as the value.
pub(crate) struct Ram {
    base: NonNull<u8>,
    frames: usize,
    fd: OwnedFd,
}

// SAFETY: the value owns a mapping and a descriptor, neither of which is bound to a thread; all
// access to the bytes goes through raw pointers whose users answer for it.
unsafe impl Send for Ram {}
// SAFETY: as for `Send`: `&Ram` gives out addresses only.
unsafe impl Sync for Ram {}

impl Ram {
    /// Memory of `frames` frames, all zero.
    pub(crate) fn new(frames: usize) -> io::Result<Self> {
        let len = frames * PAGE_SIZE;
        // SAFETY: the name is a NUL-terminated string, and no flag needs more.
        let raw = unsafe { libc::memfd_create(c"faultless-ram".as_ptr(), libc::MFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let size = libc::off_t::try_from(len).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open.
        if unsafe { libc::ftruncate(raw, size) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the system's choice disturbs no other.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, raw, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        // INVARIANT: just established.
        Ok(Self { base, frames, fd })
    }

    /// Number of frames.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Address of the frame in place `place` (from 0).
    pub(crate) fn address(&self, place: usize) -> NonNull<u8> {
        assert!(place < self.frames, "frame {place} of {}", self.frames);
        // SAFETY: the place is inside the mapping (checked above).
        unsafe { self.base.add(place * PAGE_SIZE) }
    }

    /// Fills the frame in place `place` with `byte`.
    ///
    /// # Safety
    /// The frame is used by the caller only.
    pub(crate) unsafe fn fill(&self, place: usize, byte: u8) {
        let frame = self.address(place);
        // SAFETY: the frame is mapped for writing (invariant), and the caller says it is unused.
        unsafe { frame.write_bytes(byte, PAGE_SIZE) };
    }

    /// Whether every byte of the frame in place `place` is `byte`.
    ///
    /// # Safety
    /// The frame is not written meanwhile.
    pub(crate) unsafe fn is_filled(&self, place: usize, byte: u8) -> bool {
        let frame = self.address(place);
        // SAFETY: the frame is mapped (invariant), and the caller says that it is not written.
        let bytes = unsafe { std::slice::from_raw_parts(frame.as_ptr(), PAGE_SIZE) };
        bytes[0] == byte && bytes[1..] == bytes[..PAGE_SIZE - 1]
    }

    /// The descriptor, for mapping a frame once more.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours (invariant), and no code can hold an address of it
        // legitimately: all that do keep the memory alive.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.frames * PAGE_SIZE) };
    }
}

impl fmt::Debug for Ram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ram").field("frames", &self.frames).finish_non_exhaustive()
    }
}
