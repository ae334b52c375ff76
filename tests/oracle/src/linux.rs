//! The running Linux kernel as one of the systems: the case's operations as system calls of this
//! process, on a file of tmpfs or of a folder's file system, with a window of its own.
//!
//! Neighbours: `process`, which knows limits and addresses; `signals`.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::ptr::NonNull;

use faultless_filemap::FileSize;
use faultless_page::{Fallocate, PAGE_SIZE, Shift};
use faultless_usercopy::arch::{Atomic, NoWindow, native};

use super::op::{At, Bytes, Case, Form, GUARD, Op, OpenMode, Place, Transfer, WINDOW, pattern};
use super::process::{Limit, TMPFS, end_of_user_addresses, kind_of, unlinked_file};
use super::signals;
use super::system::{Answer, Signal, System};
use faultless_host::mmu::Protection;

/// Linux, with a file on one file system.
///
/// # Invariants
/// `window` is the start of `WINDOW + GUARD` pages of address space that belong to this value
/// alone; nothing of Rust's lies there, and the guard stays inaccessible.
#[derive(Debug)]
pub(super) struct Linux {
    /// Which file system.
    pub(super) name: String,
    /// What the case's calls use: it has the case's mode and position.
    file: File,
    /// What the oracle itself uses.
    plain: File,
    window: NonNull<c_void>,
    /// End of user addresses.
    end: usize,
    limit: Option<u64>,
    /// What is mapped: the rest of the window is only reserved, and `mprotect` must not touch it.
    mapped: [bool; WINDOW],
}

/// Addresses, and nothing behind them.
const NOTHING: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

impl Linux {
    /// Linux with a file on tmpfs.
    pub(super) fn on_tmpfs() -> io::Result<Self> {
        // SAFETY: the name is a string that ends with 0.
        let fd = unsafe { libc::memfd_create(c"faultless-oracle".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and used here only.
        let file = unsafe { File::from_raw_fd(fd) };
        Self::new(format!("Linux on {TMPFS}"), file)
    }

    /// Linux with a file on the file system of `folder`.
    pub(super) fn on_disk(folder: &Path) -> io::Result<Self> {
        let file = unlinked_file(folder)?;
        Self::new(format!("Linux on {}", kind_of(&file)?), file)
    }

    fn new(name: String, plain: File) -> io::Result<Self> {
        signals::install();
        let again = format!("/proc/self/fd/{}", plain.as_raw_fd());
        let file = OpenOptions::new().read(true).write(true).open(again)?;
        let len = (WINDOW + GUARD) * PAGE_SIZE;
        let (none, nothing) = (libc::PROT_NONE, NOTHING);
        // SAFETY: a new mapping at an address of the system's choice disturbs no other.
        let window = unsafe { libc::mmap(std::ptr::null_mut(), len, none, nothing, -1, 0) };
        if window == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let window = NonNull::new(window).ok_or(io::ErrorKind::OutOfMemory)?;
        let end = end_of_user_addresses(&plain)?;
        // INVARIANT: just mapped.
        Ok(Self { name, file, plain, window, end, limit: None, mapped: [false; WINDOW] })
    }

    /// Sets the size, past the limit.
    pub(super) fn cut(&mut self, size: u64) {
        self.plain.set_len(size).expect("to set the size");
    }

    /// Moves the position back.
    pub(super) fn rewind(&mut self, position: u64) {
        self.seek(position.cast_signed(), libc::SEEK_SET).expect("to seek");
    }

    /// Whether this file system shows what a mapping stored past the end, once the end has moved
    /// up.
    pub(super) fn keeps_junk(&self) -> bool {
        self.name.ends_with(TMPFS)
    }

    fn page(&self, page: usize, pages: usize) -> *mut c_void {
        assert!(page + pages <= WINDOW, "pages {page}+{pages} of the window");
        self.window.as_ptr().wrapping_byte_add(page * PAGE_SIZE)
    }

    /// Replaces what is in the window.
    fn replace(&self, (page, pages): (usize, usize), prot: i32, flags: i32, file: (RawFd, u64)) {
        let (addr, len) = (self.page(page, pages), pages * PAGE_SIZE);
        let offset = file.1.cast_signed();
        let flags = flags | libc::MAP_FIXED;
        // SAFETY: the pages belong to this value alone (invariant): no Rust object lies there.
        let mapped = unsafe { libc::mmap(addr, len, prot, flags, file.0, offset) };
        assert_eq!(mapped, addr, "mmap: {}", io::Error::last_os_error());
    }

    fn protect(&self, page: usize, pages: usize, protection: Protection) {
        let addr = self.page(page, pages);
        // SAFETY: the pages belong to this value alone (invariant).
        let result = unsafe { libc::mprotect(addr, pages * PAGE_SIZE, bits(protection)) };
        assert_eq!(result, 0, "mprotect: {}", io::Error::last_os_error());
    }

    fn map_private(&mut self, page: usize, pages: usize, protection: Protection, seed: u64) {
        self.replace((page, pages), bits(Protection::ReadWrite), NOTHING, (-1, 0));
        let bytes = pattern(seed, pages * PAGE_SIZE);
        let at = Bytes { page, offset: 0, len: bytes.len() };
        assert_eq!(self.store_bytes(at, &bytes), Answer::Done, "fresh memory");
        self.protect(page, pages, protection);
        self.mapped[page..page + pages].fill(true);
    }

    /// The address in the window, which has room for all of `at`, guard included.
    fn address(&self, at: Bytes) -> *mut u8 {
        let offset = at.page * PAGE_SIZE + at.offset;
        assert!(offset + at.len <= (WINDOW + GUARD) * PAGE_SIZE, "{at} in the window");
        self.window.as_ptr().wrapping_byte_add(offset).cast()
    }

    fn store_bytes(&self, at: Bytes, bytes: &[u8]) -> Answer {
        let to = self.address(at);
        assert_eq!(at.len, bytes.len(), "bytes to store");
        signals::clear();
        // SAFETY: the source is a slice of that length; the target lies in a range that holds no
        // Rust object (invariant), and faults there end the copy by way of the exception table.
        let left = unsafe { native::copy_to::<NoWindow, Atomic>(to, bytes.as_ptr(), at.len) };
        if left == 0 { Answer::Done } else { Answer::Stopped(cause()) }
    }

    fn load_bytes(&self, at: Bytes) -> Answer {
        let from = self.address(at);
        let mut bytes = vec![0; at.len];
        signals::clear();
        // SAFETY: the target is a slice of that length; the source lies in a range that holds no
        // Rust object (invariant), and faults there end the copy by way of the exception table.
        let left =
            unsafe { native::copy_from::<NoWindow, Atomic>(bytes.as_mut_ptr(), from, at.len) };
        if left == 0 { Answer::Loaded(bytes) } else { Answer::Stopped(cause()) }
    }

    /// The segments as the system wants them.
    fn vector(&self, transfer: &Transfer) -> Vec<libc::iovec> {
        let base = |place: Place| place.address(self.window.as_ptr().addr(), self.end);
        let iovec = |s: &super::op::Segment| libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(base(s.place)),
            iov_len: s.len,
        };
        transfer.segments.iter().map(iovec).collect()
    }

    fn write(&self, transfer: &Transfer) -> Answer {
        let (fd, vector) = (self.file.as_raw_fd(), self.vector(transfer));
        let limit = Limit::set(self.limit);
        let result = match (transfer.form, transfer.at, &vector[..]) {
            // SAFETY: `write` reads user memory only, and what cannot be read is an error.
            (Form::Plain, At::Position, [one, ..]) => unsafe {
                libc::write(fd, one.iov_base, one.iov_len)
            },
            // SAFETY: as above.
            (Form::Plain, At::Offset(pos), [one, ..]) => unsafe {
                libc::pwrite(fd, one.iov_base, one.iov_len, pos.cast_signed())
            },
            // SAFETY: as above; so is the vector.
            (_, At::Position, all) => unsafe {
                libc::writev(fd, self.array(transfer.form, all), count(all))
            },
            // SAFETY: as above.
            (_, At::Offset(pos), all) => unsafe {
                libc::pwritev(fd, self.array(transfer.form, all), count(all), pos.cast_signed())
            },
        };
        let answer = answer(result);
        drop(limit);
        answer
    }

    fn read(&self, transfer: &Transfer) -> Answer {
        let (fd, vector) = (self.file.as_raw_fd(), self.vector(transfer));
        let result = match (transfer.form, transfer.at, &vector[..]) {
            // SAFETY: every segment lies in the window (invariant), or where nothing can ever be
            // mapped: no Rust object is written to.
            (Form::Plain, At::Position, [one, ..]) => unsafe {
                libc::read(fd, one.iov_base, one.iov_len)
            },
            // SAFETY: as above.
            (Form::Plain, At::Offset(pos), [one, ..]) => unsafe {
                libc::pread(fd, one.iov_base, one.iov_len, pos.cast_signed())
            },
            // SAFETY: as above; the vector is only read.
            (_, At::Position, all) => unsafe {
                libc::readv(fd, self.array(transfer.form, all), count(all))
            },
            // SAFETY: as above.
            (_, At::Offset(pos), all) => unsafe {
                libc::preadv(fd, self.array(transfer.form, all), count(all), pos.cast_signed())
            },
        };
        answer(result)
    }

    fn array(&self, form: Form, vector: &[libc::iovec]) -> *const libc::iovec {
        match form {
            Form::LostVector => self.address(Bytes { page: WINDOW, offset: 0, len: 0 }).cast(),
            Form::Plain | Form::Vector => vector.as_ptr(),
        }
    }

    fn truncate(&self, size: u64) -> Answer {
        let limit = Limit::set(self.limit);
        // SAFETY: no pointer is passed.
        let result = unsafe { libc::ftruncate(self.file.as_raw_fd(), size.cast_signed()) };
        let answer = answer(result as isize);
        drop(limit);
        if answer == Answer::Count(0) { Answer::Done } else { answer }
    }

    fn fallocate(&self, change: Fallocate, at: u64, len: u64, size: FileSize) -> Answer {
        let keep = match size {
            FileSize::Grows => 0,
            FileSize::Stays => libc::FALLOC_FL_KEEP_SIZE,
        };
        let call = |mode| self.change_blocks(mode, at, len);
        let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        match change {
            Fallocate::Allocate => call(keep),
            Fallocate::PunchHole => call(hole),
            Fallocate::ZeroRange => match call(keep | libc::FALLOC_FL_ZERO_RANGE) {
                Answer::Errno(libc::EOPNOTSUPP) if call(hole) == Answer::Done => call(keep),
                answer => answer,
            },
        }
    }

    fn change_blocks(&self, mode: i32, at: u64, len: u64) -> Answer {
        let (fd, at, len) = (self.file.as_raw_fd(), at.cast_signed(), len.cast_signed());
        // SAFETY: no pointer is passed.
        let result = unsafe { libc::fallocate(fd, mode, at, len) };
        if result == 0 { Answer::Done } else { Answer::Errno(errno()) }
    }

    fn shift(&mut self, shift: Shift, at: u64, len: u64) -> Answer {
        let mode = match shift {
            Shift::Collapse => libc::FALLOC_FL_COLLAPSE_RANGE,
            Shift::Insert => libc::FALLOC_FL_INSERT_RANGE,
        };
        match self.change_blocks(mode, at, len) {
            Answer::Errno(libc::EOPNOTSUPP) => self.shift_by_hand(shift, at, len),
            answer => answer,
        }
    }

    /// What a file system does that can shift by pages.
    fn shift_by_hand(&mut self, shift: Shift, at: u64, len: u64) -> Answer {
        let (size, page) = (self.size(), PAGE_SIZE as u64);
        let refused = match shift {
            Shift::Collapse => at + len >= size,
            Shift::Insert => at >= size,
        };
        if refused || !at.is_multiple_of(page) || !len.is_multiple_of(page) {
            return Answer::Errno(libc::EINVAL);
        }
        let mut tail = self.peek(at, (size - at) as usize);
        let new = match shift {
            Shift::Collapse => {
                tail.drain(..len as usize);
                size - len
            }
            Shift::Insert => {
                tail.splice(..0, std::iter::repeat_n(0, len as usize));
                size + len
            }
        };
        self.plain.write_all_at(&tail, at).expect("to write");
        self.cut(new);
        Answer::Done
    }

    fn seek(&self, offset: i64, whence: i32) -> Result<u64, i32> {
        // SAFETY: no pointer is passed.
        let result = unsafe { libc::lseek(self.file.as_raw_fd(), offset, whence) };
        u64::try_from(result).map_err(|_| errno())
    }
}

impl System for Linux {
    fn begin(&mut self, case: &Case) {
        self.replace((0, WINDOW), libc::PROT_NONE, NOTHING, (-1, 0));
        self.mapped = [false; WINDOW];
        self.cut(0);
        self.seek(0, libc::SEEK_SET).expect("to seek");
        let flags = if case.mode == OpenMode::Append { libc::O_APPEND } else { 0 };
        // SAFETY: no pointer is passed.
        let result = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETFL, flags) };
        assert_eq!(result, 0, "fcntl: {}", io::Error::last_os_error());
        self.limit = case.limit;
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::Write(ref transfer) => return self.write(transfer),
            Op::Read(ref transfer) => return self.read(transfer),
            Op::MapPrivate { page, pages, protection, seed } => {
                self.map_private(page, pages, protection, seed);
            }
            Op::MapFile { page, pages, protection, first } => {
                let file = (self.plain.as_raw_fd(), first * PAGE_SIZE as u64);
                self.replace((page, pages), bits(protection), libc::MAP_SHARED, file);
                self.mapped[page..page + pages].fill(true);
            }
            Op::Unmap { page, pages } => {
                self.replace((page, pages), libc::PROT_NONE, NOTHING, (-1, 0));
                self.mapped[page..page + pages].fill(false);
            }
            Op::Protect { page, pages, protection } => {
                for page in (page..page + pages).filter(|page| self.mapped[*page]) {
                    self.protect(page, 1, protection);
                }
            }
            Op::Truncate(size) => return self.truncate(size),
            Op::Fallocate { change, at, len, size } => {
                return self.fallocate(change, at, len, size);
            }
            Op::Shift { shift, at, len } => return self.shift(shift, at, len),
            Op::Seek(pos) => {
                let result = self.seek(pos.cast_signed(), libc::SEEK_SET);
                return result.map_or_else(Answer::Errno, |_| Answer::Done);
            }
            Op::Store { at, seed } => return self.store_bytes(at, &pattern(seed, at.len)),
            Op::Load(at) => return self.load_bytes(at),
            Op::Chill | Op::Steal { .. } | Op::Compare => {}
        }
        Answer::Done
    }

    fn over_limit(&mut self) -> u32 {
        signals::take_over_limit()
    }

    fn size(&self) -> u64 {
        self.plain.metadata().expect("the size").size()
    }

    fn position(&self) -> u64 {
        self.seek(0, libc::SEEK_CUR).expect("the position")
    }

    fn peek(&mut self, pos: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut got = 0;
        while got < len {
            match self.plain.read_at(&mut bytes[got..], pos + got as u64).expect("a file") {
                0 => break,
                more => got += more,
            }
        }
        bytes.truncate(got);
        bytes
    }

    fn poke(&mut self, pos: u64, bytes: &[u8]) {
        self.plain.write_all_at(bytes, pos).expect("a file");
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        // SAFETY: the range is ours (invariant), and no address in it is kept.
        let _ = unsafe { libc::munmap(self.window.as_ptr(), (WINDOW + GUARD) * PAGE_SIZE) };
    }
}

fn bits(protection: Protection) -> i32 {
    match protection {
        Protection::None => libc::PROT_NONE,
        Protection::Read => libc::PROT_READ,
        Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    }
}

fn count(vector: &[libc::iovec]) -> i32 {
    i32::try_from(vector.len()).expect("a few segments")
}

fn answer(result: isize) -> Answer {
    usize::try_from(result).map_or_else(|_| Answer::Errno(errno()), Answer::Count)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Why a copy has just ended early.
fn cause() -> Signal {
    if signals::take_bus() { Signal::Bus } else { Signal::Segv }
}
