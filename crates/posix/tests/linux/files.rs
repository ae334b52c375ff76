//! Calls on open files of one file, some of them dup'ed.

use std::os::fd::RawFd;
use std::sync::Arc;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Descriptors, Errno, OnExec, RwFlags};
use linux_raw_sys::general as linux;

use crate::buffers::Buffers;
use crate::real::{self, Tally, Temporary, check, ours};
use crate::support::*;

/// Descriptors that are open at a time, at most.
const MOST: usize = 8;

/// How the open files are opened.
const MODES: [u32; 5] = [
    linux::O_RDWR,
    linux::O_RDWR,
    linux::O_RDWR | linux::O_APPEND,
    linux::O_RDONLY,
    linux::O_WRONLY | linux::O_DSYNC,
];

struct Pair {
    rng: Rng,
    file: File,
    temporary: Temporary,
    here: Descriptors<Open>,
    /// The descriptors of Linux, by ours.
    there: Vec<Option<RawFd>>,
    buffers: Buffers,
}

impl Pair {
    /// Any descriptor that is open.
    fn any(&mut self) -> (Open, RawFd) {
        loop {
            let at = self.rng.below(MOST);
            if let (Ok(open), Some(Some(fd))) = (self.here.get(at), self.there.get(at)) {
                return (Arc::clone(open), *fd);
            }
        }
    }

    fn add(&mut self, open: Open, fd: RawFd) {
        match self.here.add(0, open, OnExec::Keep) {
            Ok(at) => {
                self.there.resize(self.there.len().max(at + 1), None);
                assert!(self.there[at].replace(fd).is_none(), "a descriptor that was free");
            }
            Err(errno) => {
                assert_eq!(errno, Errno::MFILE);
                real::close(fd);
            }
        }
    }

    fn open(&mut self) {
        let flags = self.rng.of(&MODES);
        self.add(self.file.open(flags), self.temporary.open(flags));
    }

    /// A position in the first pages, near a boundary, or anywhere.
    fn place(&mut self) -> i64 {
        let page = PAGE_SIZE as i64;
        match self.rng.below(20) {
            0 => self.rng.of(&[-1, i64::MIN, i64::MAX, i64::MAX - 10, -4096]),
            1..6 => self.rng.below(6) as i64 * page + self.rng.below(5) as i64 - 2,
            _ => self.rng.below(5 * PAGE_SIZE) as i64,
        }
    }

    fn len(&mut self) -> usize {
        match self.rng.below(10) {
            0 => 0,
            1 => PAGE_SIZE,
            2..5 => self.rng.below(3 * PAGE_SIZE),
            _ => self.rng.below(200),
        }
    }

    /// Where in user memory: seldom so that the end is cut off.
    fn buffer(&mut self, len: usize) -> usize {
        match self.rng.below(10) {
            0 => (PLAIN_LEN - self.rng.below(len + 1)).min(PLAIN_LEN - 1),
            _ => self.rng.below(PAGE_SIZE),
        }
    }

    /// One call on both sides; what it was and both results.
    fn step(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        match self.rng.below(100) {
            0..22 => self.write(),
            22..32 => self.pwrite(),
            32..42 => self.read(),
            42..47 => self.pread(),
            47..60 => self.seek(),
            60..68 => self.truncate(),
            68..72 => self.copy(),
            72..76 => self.fallocate(),
            76..79 => self.sync(),
            79..81 => self.cache_stat(),
            81..84 => self.advise(),
            84..88 => self.flags(),
            _ => self.table(),
        }
    }

    /// A source that may end early is only used inside the file: Linux grows the file even if
    /// nothing could be copied, which W1 forbids.
    fn source(&mut self, end: Option<u64>, len: usize) -> (usize, usize) {
        let (mut offset, len) = (self.buffer(len), len);
        if offset + len > PLAIN_LEN && end.is_none_or(|end| end > self.file.size()) {
            offset = 0;
        }
        let bytes = self.rng.bytes(len);
        self.buffers.set(offset, &bytes);
        (offset, len)
    }

    fn write(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let len = self.len();
        let appends = open.flags() & linux::O_APPEND != 0;
        let end = (!appends).then(|| position(&open).saturating_add(len as u64));
        let (offset, len) = self.source(end, len);
        let here = self.buffers.process.write(&open, PLAIN + offset, len);
        // SAFETY: reads memory of the test.
        let there = unsafe { libc::write(fd, self.buffers.real(offset), len) };
        (format!("write({fd}, {offset}, {len})"), ours(here, |n| n), check(there as i64))
    }

    fn pwrite(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let (at, len) = (self.place(), self.len());
        let mut raw = self.rng.of(&[
            0,
            0,
            linux::RWF_APPEND,
            linux::RWF_DSYNC,
            linux::RWF_SYNC,
            linux::RWF_APPEND | linux::RWF_SYNC,
            1 << 20,
        ]);
        // Linux looks at unknown flags last.
        if raw == 1 << 20
            && (!(0..1 << 40).contains(&at) || len == 0 || open.flags() & linux::O_ACCMODE == 0)
        {
            raw = 0;
        }
        let appends = open.flags() & linux::O_APPEND != 0 || raw & linux::RWF_APPEND != 0;
        let end = (!appends && at >= 0).then(|| (at as u64).saturating_add(len as u64));
        let (offset, len) = self.source(end, len);
        let here = if raw == 0 {
            self.buffers.process.pwrite(&open, PLAIN + offset, len, at as u64)
        } else {
            RwFlags::from_raw(raw).and_then(|flags| {
                self.buffers.process.transfer(PLAIN + offset, len, |from, token| {
                    // -1 is the position of the file.
                    match at {
                        -1 => open.write(token, from, flags, &faultless::prelude::NoTask),
                        _ => open.write_at(
                            token,
                            from,
                            at as u64,
                            flags,
                            &faultless::prelude::NoTask,
                        ),
                    }
                })
            })
        };
        let iov = libc::iovec { iov_base: self.buffers.real(offset), iov_len: len };
        let there = if raw == 0 {
            // SAFETY: reads memory of the test.
            unsafe { libc::pwrite(fd, iov.iov_base, len, at) }
        } else {
            // SAFETY: as above.
            unsafe { libc::pwritev2(fd, &iov, 1, at, raw as i32) }
        };
        (format!("pwrite({fd}, {len}, {at}, {raw:#x})"), ours(here, |n| n), check(there as i64))
    }

    fn read(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let len = self.len();
        let offset = self.buffer(len);
        self.buffers.set(offset, &vec![0xcc; len]);
        let here = self.buffers.process.read(&open, PLAIN + offset, len);
        // SAFETY: writes to memory of the test.
        let there = unsafe { libc::read(fd, self.buffers.real(offset), len) };
        let what = format!("read({fd}, {offset}, {len})");
        if here.is_ok() {
            self.buffers.compare(offset, len, &what);
        }
        (what, ours(here, |n| n), check(there as i64))
    }

    fn pread(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let (at, len) = (self.place(), self.len());
        let offset = self.buffer(len);
        self.buffers.set(offset, &vec![0xcc; len]);
        let here = self.buffers.process.pread(&open, PLAIN + offset, len, at as u64);
        // SAFETY: writes to memory of the test.
        let there = unsafe { libc::pread(fd, self.buffers.real(offset), len, at) };
        let what = format!("pread({fd}, {offset}, {len}, {at})");
        if here.is_ok() {
            self.buffers.compare(offset, len, &what);
        }
        (what, ours(here, |n| n), check(there as i64))
    }

    fn seek(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let whence = self.rng.of(&[
            linux::SEEK_SET,
            linux::SEEK_CUR,
            linux::SEEK_END,
            linux::SEEK_DATA,
            linux::SEEK_HOLE,
            17,
        ]);
        let mut offset = self.place();
        if whence == linux::SEEK_CUR || whence == linux::SEEK_END {
            offset = offset.wrapping_sub(2 * PAGE_SIZE as i64);
        }
        // Where holes are is not compared: to look at the contents brings them into the cache,
        // which is all that this file has.
        let is_hole = whence == linux::SEEK_DATA || whence == linux::SEEK_HOLE;
        if is_hole && offset >= 0 && (offset as u64) < self.file.size() {
            offset = self.file.size() as i64;
        }
        let here = seek(&open, offset, whence);
        // SAFETY: moves a position.
        let there = unsafe { libc::lseek(fd, offset, whence as i32) };
        (format!("lseek({fd}, {offset}, {whence})"), ours(here, |n| n as usize), check(there))
    }

    fn truncate(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let mut size = self.place();
        if size > i64::MAX / 2 {
            size = self.rng.of(&[0, PAGE_SIZE as i64]);
        }
        let here = truncate(&open, size as u64);
        // SAFETY: a file of the test.
        let there = unsafe { libc::ftruncate(fd, size) };
        (format!("ftruncate({fd}, {size})"), ours(here, |()| 0), check(there.into()))
    }

    fn copy(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let ((from, from_fd), (to, to_fd)) = (self.any(), self.any());
        let (mut from_at, mut at) = (self.place(), self.place());
        let len = self.rng.of(&[0, 1, 100, 5000, 1 << 20]);
        // The end of what may be written is left alone, so that contents stay small.
        for place in [&mut from_at, &mut at] {
            if *place > i64::MAX / 2 {
                *place = 0;
            }
        }
        let here = copy((&from, from_at as u64), (&to, at as u64), len);
        let what = format!("copy_file_range({from_fd}, {from_at}, {to_fd}, {at}, {len})");
        // SAFETY: files of the test.
        let there =
            unsafe { libc::copy_file_range(from_fd, &raw mut from_at, to_fd, &raw mut at, len, 0) };
        (what, ours(here, |n| n), check(there as i64))
    }

    fn fallocate(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let (keep, hole) = (linux::FALLOC_FL_KEEP_SIZE, linux::FALLOC_FL_PUNCH_HOLE);
        // tmpfs has no `FALLOC_FL_ZERO_RANGE`.
        let shift = self.rng.of(&[linux::FALLOC_FL_COLLAPSE_RANGE, linux::FALLOC_FL_INSERT_RANGE]);
        let mode = match self.rng.below(8) {
            // Neither has tmpfs these.
            0 => shift | self.rng.of(&[0, keep, hole]),
            _ => self.rng.of(&[0, keep, keep | hole, keep | hole, keep | hole, hole, 1 << 20]),
        };
        let refused = [(-1, 1), (0, 0), (0, -1), (i64::MAX, 1), (1, i64::MAX)];
        let (offset, len) = match self.rng.below(4) {
            0 => self.rng.of(&refused),
            _ => (self.place().clamp(0, 1 << 16), 1 + self.len() as i64),
        };
        let here = fallocate(&open, mode, offset, len);
        // SAFETY: a file of the test.
        let there = unsafe { libc::fallocate(fd, mode as i32, offset, len) };
        let what = format!("fallocate({fd}, {mode:#x}, {offset}, {len})");
        (what, ours(here, |()| 0), check(there.into()))
    }

    fn sync(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        if self.rng.below(2) == 0 {
            // SAFETY: a file of the test.
            let there = unsafe { libc::fsync(fd) };
            return (format!("fsync({fd})"), ours(fsync(&open), |()| 0), check(there.into()));
        }
        let (offset, len) = (self.place(), self.place());
        let flags = self.rng.of(&[0, 1, 2, 7, 8]);
        let here = sync_range(&open, offset as u64, len as u64, flags);
        // SAFETY: a file of the test.
        let there = unsafe { libc::sync_file_range(fd, offset, len, flags) };
        let what = format!("sync_file_range({fd}, {offset}, {len}, {flags})");
        (what, ours(here, |()| 0), check(there.into()))
    }

    fn advise(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let (offset, len) = (self.place(), self.place());
        let advice = self.rng.below(8) as u32;
        let here = advise(&open, offset as u64, len as u64, advice);
        // SAFETY: a file of the test. The error is the result.
        let there = unsafe { libc::posix_fadvise(fd, offset, len, advice as i32) };
        let there = if there == 0 { Ok(0) } else { Err(there) };
        (format!("fadvise({fd}, {offset}, {len}, {advice})"), ours(here, |()| 0), there)
    }

    /// `cachestat`, where it is known what it counts: nothing, for a range that wraps or lies past
    /// the last page. (Not every file system has pages for holes.)
    fn cache_stat(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        let range = [self.place() as u64, self.place() as u64];
        let flags = u32::from(self.rng.below(8) == 0);
        let here = open.cache_stat(range[0], range[1], flags);
        let mut stat = [0_u64; 5];
        // SAFETY: words of the test, as many as the call reads and writes.
        let there = unsafe {
            let number = i64::from(linux::__NR_cachestat);
            libc::syscall(number, fd, range.as_ptr(), stat.as_mut_ptr(), flags)
        };
        let what = format!("cachestat({fd}, {range:?}, {flags})");
        let there = check(there);
        if there == Err(libc::ENOSYS) {
            return ("nothing".into(), Ok(0), Ok(0));
        }
        let end = self.file.size().next_multiple_of(PAGE_SIZE as u64);
        let wraps = range[1] > 0 && range[0].checked_add(range[1] - 1).is_none();
        let known = |cached: u64| if wraps || range[0] >= end { cached as usize } else { 0 };
        (what, ours(here, |stat| known(stat.cached)), there.map(|_| known(stat[0])))
    }

    fn flags(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let (open, fd) = self.any();
        if self.rng.below(2) == 0 {
            let flags = self.rng.of(&[0, linux::O_APPEND, linux::O_NONBLOCK | linux::O_SYNC]);
            open.set_flags(flags);
            // SAFETY: a file of the test.
            unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
        }
        // SAFETY: a file of the test.
        let there = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        let large = linux::O_LARGEFILE as usize;
        let there = check(there.into()).map(|flags| flags & !large);
        (format!("F_GETFL({fd})"), Ok(open.flags() as usize & !large), there)
    }

    /// `open`, `dup` and `close`.
    fn table(&mut self) -> (String, Result<usize, i32>, Result<usize, i32>) {
        let open = self.here.iter().count();
        if open > 2 && self.rng.below(2) == 0 {
            let at = self.rng.below(MOST);
            let here = self.here.remove(at).is_ok();
            let there = self.there.get_mut(at).and_then(Option::take);
            assert_eq!(here, there.is_some());
            there.into_iter().for_each(real::close);
        } else if self.rng.below(2) == 0 {
            let (open, fd) = self.any();
            // SAFETY: a file of the test.
            let dup = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
            self.add(open, dup);
        } else {
            self.open();
        }
        ("open, dup, close".into(), Ok(0), Ok(0))
    }

    /// Compares all that can be seen.
    fn compare(&self, what: &str) {
        let (size, bytes) = self.temporary.contents();
        assert_eq!(self.file.size(), size, "{what}: size");
        let here = pread(&self.file.open(linux::O_RDONLY), bytes.len(), 0).expect("readable");
        let differs = here.iter().zip(&bytes).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{what}: contents");
        for (at, open) in self.here.iter() {
            let fd = self.there[at].expect("open on both sides");
            // SAFETY: moves nothing.
            let there = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
            assert_eq!(position(open), there as u64, "{what}: position of {fd}");
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.there.iter().flatten().for_each(|fd| real::close(*fd));
    }
}

fn run(seed: u64, steps: usize, tally: &mut Tally) {
    let rig = Rig::new();
    let addresses = real::Addresses::new(PLAIN_LEN + PAGE_SIZE);
    let mut pair = Pair {
        rng: Rng::new(seed),
        file: rig.memory_file(),
        temporary: Temporary::new(),
        here: Descriptors::new(MOST),
        there: Vec::new(),
        buffers: Buffers::new(&rig, &addresses),
    };
    pair.open();
    pair.open();
    for step in 0..steps {
        let (what, here, there) = pair.step();
        tally.add(&what, there);
        let what = format!("seed {seed}, step {step}: {what}");
        assert_eq!(here, there, "{what}");
        pair.compare(&what);
    }
}

#[test]
fn files_do_what_linux_does() {
    let seed = seed(1);
    let mut tally = Tally::default();
    for round in 0..16 {
        run(seed + round, 300, &mut tally);
    }
    let both = ["write", "pwrite", "read", "pread", "lseek", "ftruncate", "copy_file_range"];
    tally.check(20, &both);
    tally.check(5, &["sync_file_range", "fadvise", "fallocate"]);
}
