//! Calls on mappings of one file, private and shared, and forks.

use std::os::fd::RawFd;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Rights, Sharing};
use linux_raw_sys::general as linux;

use crate::real::{self, Addresses, Pid, Tally, Temporary, check, ours};
use crate::support::*;

/// Pages for mappings.
const PAGES: usize = 24;
/// Pages of the file, at most.
const FILE_PAGES: usize = 12;

struct Pair {
    rng: Rng,
    file: File,
    temporary: Temporary,
    /// Open for both, and for reading only.
    opens: [(Open, RawFd); 2],
    process: Process,
    addresses: Addresses,
    children: Vec<(Process, Pid)>,
}

type Results = (String, Result<usize, i32>, Result<usize, i32>);

impl Pair {
    fn real(&self, page: usize) -> *mut libc::c_void {
        std::ptr::without_provenance_mut(self.addresses.base() + page * PAGE_SIZE)
    }

    /// One of the processes.
    fn any(&mut self) -> (Memory, Pid) {
        match self.rng.below(3 * (1 + self.children.len())) / 3 {
            0 => (self.process.memory.clone(), Pid::this()),
            child => (self.children[child - 1].0.memory.clone(), self.children[child - 1].1),
        }
    }

    /// A page, most often one that is mapped.
    fn page_of(&mut self, memory: &Memory) -> usize {
        let pages = [(); 4].map(|()| self.rng.below(PAGES));
        let mapped = pages.iter().find(|page| memory.space.area_at(at(**page)).is_some());
        mapped.copied().unwrap_or(pages[0])
    }

    fn range(&mut self) -> (usize, usize) {
        let page = self.rng.below(PAGES);
        (page, 1 + self.rng.below(6.min(PAGES - page)))
    }

    fn rights(&mut self) -> Rights {
        let all = [Rights::READ, Rights::WRITE, Rights::empty()];
        let rw = Rights::READ | Rights::WRITE;
        if self.rng.below(4) > 0 { rw } else { self.rng.of(&all) }
    }

    fn step(&mut self, rig: &Rig) -> Results {
        match self.rng.below(100) {
            0..16 => self.map(),
            16..19 => self.unmap(),
            19..21 => self.fork_or_exit(rig),
            21..31 => self.protect(),
            31..38 => self.relocate(),
            38..42 => self.extend(),
            42..48 => self.discard(),
            48..52 => self.msync(),
            52..57 => self.truncate(),
            57..62 => self.write(),
            62..67 => self.residency(),
            67..82 => self.store(),
            _ => self.load(),
        }
    }

    fn map(&mut self) -> Results {
        let (page, pages) = self.range();
        let first = self.rng.below(FILE_PAGES);
        let rights = self.rights();
        let sharing = self.rng.of(&[Sharing::Shared, Sharing::Private]);
        let (open, fd) = &self.opens[usize::from(self.rng.below(4) == 0)];
        let here = self.process.map(page, pages, (open, first as u64), rights, sharing);
        let kind = match sharing {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Private => libc::MAP_PRIVATE,
        };
        // SAFETY: addresses of the test.
        let there = unsafe {
            libc::mmap(
                self.real(page),
                pages * PAGE_SIZE,
                rights.bits() as i32,
                kind | libc::MAP_FIXED,
                *fd,
                (first * PAGE_SIZE) as i64,
            )
        };
        let there = if there == libc::MAP_FAILED { check(-1) } else { Ok(0) };
        let what = format!("mmap({page}, {pages}, {rights:?}, {sharing:?}, {fd}, {first})");
        (what, ours(here, |()| 0), there)
    }

    fn unmap(&mut self) -> Results {
        let (page, pages) = self.range();
        let pages = if self.rng.below(10) == 0 { 0 } else { pages };
        let here = self.process.unmap(page, pages);
        // SAFETY: addresses of the test.
        let there = unsafe { libc::munmap(self.real(page), pages * PAGE_SIZE) };
        (format!("munmap({page}, {pages})"), ours(here, |()| 0), check(there.into()))
    }

    /// Whether every page has a mapping.
    fn covered(&self, page: usize, pages: usize) -> bool {
        self.process.resident(page, pages).is_ok()
    }

    /// Ranges that Linux would change in part before it fails are left out.
    fn protect(&mut self) -> Results {
        let (page, pages) = self.range();
        let rights = self.rights();
        let refuses = |n| {
            let area = self.process.space.area_at(at(n));
            area.is_some_and(|area| {
                let is_read_only = area.description.mode().bits() == 1;
                area.sharing == Sharing::Shared && is_read_only && rights.contains(Rights::WRITE)
            })
        };
        if !self.covered(page, pages) || (page + 1..page + pages).any(refuses) {
            return ("nothing".into(), Ok(0), Ok(0));
        }
        let here = self.process.protect(page, pages, rights);
        let (len, bits) = (pages * PAGE_SIZE, rights.bits() as i32);
        // SAFETY: addresses of the test.
        let there = unsafe { libc::mprotect(self.real(page), len, bits) };
        let what = format!("mprotect({page}, {pages}, {rights:?})");
        (what, ours(here, |()| 0), check(there.into()))
    }

    /// Of one mapping, or of a range that begins with none: not every Linux moves several.
    fn relocate(&mut self) -> Results {
        let (from, pages) = self.range();
        let to = self.rng.below(PAGES - pages + 1);
        let area = self.process.space.area_at(at(from));
        let whole = area.is_none_or(|area| area.pages.end * PAGE_SIZE >= at(from + pages));
        if !whole {
            return ("nothing".into(), Ok(0), Ok(0));
        }
        let overlap = from < to + pages && to < from + pages;
        let is_mapped = self.process.space.area_at(at(from)).is_some();
        if !overlap && !is_mapped {
            // Linux may have unmapped the new place before it fails.
            return ("nothing".into(), Ok(0), Ok(0));
        }
        let here = self.process.relocate(from, to, pages);
        let len = pages * PAGE_SIZE;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: addresses of the test.
        let there = unsafe { libc::mremap(self.real(from), len, len, flags, self.real(to)) };
        let there = if there == libc::MAP_FAILED { check(-1) } else { Ok(0) };
        (format!("mremap({from}, {pages}, {to})"), ours(here, |()| 0), there)
    }

    fn extend(&mut self) -> Results {
        let (page, more) = self.range();
        let end = self.process.space.area_at(at(page)).map(|area| area.pages.end);
        let end = end.map_or(page + 1, |end| end - at(0) / PAGE_SIZE);
        if end + more > PAGES {
            return ("nothing".into(), Ok(0), Ok(0));
        }
        let here = self.process.extend(end, more);
        let (old, new) = (PAGE_SIZE, (1 + more) * PAGE_SIZE);
        // SAFETY: addresses of the test.
        let there = unsafe { libc::mremap(self.real(end - 1), old, new, 0) };
        let there = if there == libc::MAP_FAILED { check(-1) } else { Ok(0) };
        (format!("mremap({end} + {more})"), ours(here, |()| 0), there)
    }

    fn discard(&mut self) -> Results {
        let (page, pages) = self.range();
        let here = self.process.discard(page, pages);
        let advice = libc::MADV_DONTNEED;
        // SAFETY: addresses of the test.
        let there = unsafe { libc::madvise(self.real(page), pages * PAGE_SIZE, advice) };
        (format!("madvise({page}, {pages})"), ours(here, |()| 0), check(there.into()))
    }

    fn msync(&mut self) -> Results {
        let (page, pages) = self.range();
        let flags = self.rng.of(&[0, linux::MS_SYNC, linux::MS_ASYNC, 5, 8]);
        let here = self.process.msync(page, pages, flags);
        let len = pages * PAGE_SIZE;
        // SAFETY: addresses of the test.
        let there = unsafe { libc::msync(self.real(page), len, flags as i32) };
        (format!("msync({page}, {pages}, {flags})"), ours(here, |()| 0), check(there.into()))
    }

    fn truncate(&mut self) -> Results {
        let size = self.rng.below(FILE_PAGES * PAGE_SIZE);
        let size = if self.rng.below(2) == 0 { size } else { FILE_PAGES * PAGE_SIZE - size / 8 };
        let size = if self.rng.below(2) == 0 { size } else { size / PAGE_SIZE * PAGE_SIZE };
        let here = truncate(&self.opens[0].0, size as u64);
        // SAFETY: a file of the test.
        let there = unsafe { libc::ftruncate(self.opens[0].1, size as i64) };
        (format!("ftruncate({size})"), ours(here, |()| 0), check(there.into()))
    }

    fn write(&mut self) -> Results {
        let len = 1 + self.rng.below(2 * PAGE_SIZE);
        let at = self.rng.below(FILE_PAGES * PAGE_SIZE - len);
        let bytes = self.rng.bytes(len);
        let here = pwrite(&self.opens[0].0, &bytes, at as u64);
        let fd = self.opens[0].1;
        // SAFETY: a file of the test.
        let there = unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), len, at as i64) };
        (format!("pwrite({len}, {at})"), ours(here, |n| n), check(there as i64))
    }

    /// Some bytes of a page. Those past the end of the file are left alone in shared mappings: it
    /// is not the same on every Linux whether they show when the file grows (P2).
    fn store(&mut self) -> Results {
        let (memory, pid) = self.any();
        let page = self.page_of(&memory);
        let mut offset = self.rng.below(PAGE_SIZE - 16);
        let bytes = self.rng.bytes(16);
        if let Some(area) = memory.space.area_at(at(page))
            && area.sharing == Sharing::Shared
        {
            let start = area.index(at(page) / PAGE_SIZE).start();
            let rest = self.file.size().saturating_sub(start);
            if (1..16).contains(&rest) {
                return ("nothing".into(), Ok(0), Ok(0));
            }
            offset = offset.min((rest as usize).saturating_sub(16));
        }
        let here = memory.store(at(page) + offset, &bytes);
        let there = pid.store(self.addresses.base() + page * PAGE_SIZE + offset, &bytes);
        (format!("store({page}, {offset})"), signal(here.ok()), signal(there.then_some(())))
    }

    fn load(&mut self) -> Results {
        let (memory, pid) = self.any();
        let page = self.page_of(&memory);
        let [here, there] = self.page(&memory, pid, page);
        let what = format!("load({page})");
        if here.is_some() && there.is_some() {
            assert!(here == there, "{what}: bytes");
        }
        (what, signal(here), signal(there))
    }

    /// `mincore`, and whether the first page is in memory, if a load could just be made there.
    /// (What else is depends on what was read ahead.)
    fn residency(&mut self) -> Results {
        let (page, pages) = self.range();
        let odd = usize::from(self.rng.below(10) == 0);
        let loaded = self.page(&self.process.memory, Pid::this(), page).map(|page| page.is_some());
        let first = |bytes: &[bool]| usize::from(loaded == [true; 2] && bytes[0]);
        let len = pages * PAGE_SIZE - odd;
        let here = Space::resident(&self.process.space, at(page) + odd, len);
        let mut vec = vec![0; pages];
        let start = self.real(page).wrapping_byte_add(odd);
        // SAFETY: addresses of the test, and a byte for each page.
        let there = unsafe { libc::mincore(start, len, vec.as_mut_ptr()) };
        let vec: Vec<bool> = vec.iter().map(|byte| byte & 1 != 0).collect();
        let what = format!("mincore({page}, {pages}, {odd})");
        (what, ours(here, |bytes| first(&bytes)), check(there.into()).map(|_| first(&vec)))
    }

    fn fork_or_exit(&mut self, rig: &Rig) -> Results {
        if self.children.len() < 3 {
            let child = self.process.fork(rig);
            self.children.push((child, Pid::fork()));
            return ("fork".into(), Ok(0), Ok(0));
        }
        let at = self.rng.below(self.children.len());
        let (process, pid) = self.children.remove(at);
        drop(process);
        pid.kill();
        ("exit".into(), Ok(0), Ok(0))
    }

    /// What a page holds on both sides.
    fn page(&self, memory: &Memory, pid: Pid, page: usize) -> [Option<Vec<u8>>; 2] {
        let mut there = vec![0; PAGE_SIZE];
        let is_there = pid.load(self.addresses.base() + page * PAGE_SIZE, &mut there);
        let here = memory.load(at(page), PAGE_SIZE).ok();
        [here, is_there.then_some(there)]
    }

    /// Compares all that can be seen.
    fn compare(&self, what: &str) {
        let this = (&self.process, Pid::this());
        let children = self.children.iter().map(|(process, pid)| (process, *pid));
        for (process, pid) in std::iter::once(this).chain(children) {
            for page in 0..PAGES {
                let [here, there] = self.page(&process.memory, pid, page);
                assert_eq!(here.is_some(), there.is_some(), "{what}: page {page} can be loaded");
                assert!(here == there, "{what}: bytes of page {page}");
            }
        }
        let (size, bytes) = self.temporary.contents();
        assert_eq!(self.file.size(), size, "{what}: size");
        let here = pread(&self.opens[0].0, bytes.len(), 0).expect("readable");
        assert!(here == bytes, "{what}: contents");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.opens.iter().for_each(|(_, fd)| real::close(*fd));
        self.children.iter().for_each(|(_, pid)| pid.kill());
    }
}

/// Whether an access came about, as a result: for the other the program has a signal.
fn signal<T>(access: Option<T>) -> Result<usize, i32> {
    access.map(|_| 0).ok_or(libc::EFAULT)
}

fn run(seed: u64, steps: usize, tally: &mut Tally) {
    let rig = Rig::new();
    let (file, temporary) = (rig.memory_file(), Temporary::new());
    let open = |flags| (file.open(flags), temporary.open(flags));
    let opens = [open(linux::O_RDWR), open(linux::O_RDONLY)];
    let addresses = Addresses::new(PAGES * PAGE_SIZE);
    let process = rig.process();
    let (rng, children) = (Rng::new(seed), Vec::new());
    let mut pair = Pair { rng, file, temporary, opens, process, addresses, children };
    let (_, here, there) = pair.write();
    assert_eq!(here, there);
    for step in 0..steps {
        let (what, here, there) = pair.step(&rig);
        tally.add(&what, there);
        let what = format!("seed {seed}, step {step}: {what}");
        assert_eq!(here, there, "{what}");
        if pair.rng.below(6) == 0 {
            pair.compare(&what);
        }
    }
    pair.compare("the end");
}

#[test]
fn memory_does_what_linux_does() {
    let seed = seed(1);
    let mut tally = Tally::default();
    for round in 0..20 {
        run(seed + round, 400, &mut tally);
    }
    tally.check(5, &["mmap", "munmap", "mremap", "madvise", "msync", "mincore", "store", "load"]);
}
