//! Page tables: what each process's table says, and Linux's mappings, which are its TLB.
//!
//! Mappings can be changed by the process itself only. An entry that another process changes is
//! noted as stale, and made good by [`Table::reload`] before the flush returns.
//!
//! A fault shows what the cache has around its page, up to 16 pages, with an `mmap` for each. On a
//! machine where a page with a fault of its own takes 9 µs, that is 3 µs a page; one `mmap` of 16
//! consecutive frames would make it 0.4 µs. It would have to show pages before their entries are
//! set, which the address space does one by one, each time under its lock.

use core::ops::Range;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Entry, PageTable, Rights};
use syscalls::Sysno;

use crate::frames;
use crate::options::options;
use crate::raw;
use crate::thread::Thread;

/// The table of a process.
pub(crate) struct Table {
    /// The number of the process: not Linux's, which a child has only when it runs.
    process: u64,
    entries: BTreeMap<usize, Entry>,
    /// Pages whose mappings may not be what the entries say.
    stale: Vec<usize>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(process: u64) -> Self {
        Self { process, entries: BTreeMap::new(), stale: Vec::new() }
    }

    /// Makes the mappings what the entries say.
    pub(crate) fn reload(&mut self) {
        while let Some(page) = self.stale.pop() {
            show(page, None, self.entries.get(&page).copied());
        }
    }

    /// Whether the mappings are what the entries say.
    pub(crate) fn is_current(&self) -> bool {
        self.stale.is_empty()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_own(&self) -> bool {
        Thread::current().process_number() == self.process
    }
}

/// Maps nothing at these pages: every access faults.
pub(crate) fn reserve(pages: &Range<usize>) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let args = [
        pages.start * PAGE_SIZE,
        pages.len() * PAGE_SIZE,
        libc::PROT_NONE as usize,
        flags as usize,
        usize::MAX,
        0,
    ];
    // SAFETY: the pages are those of a mapping of a file, which is the program's.
    unsafe { raw::call(Sysno::mmap, args) >= 0 }
}

/// Makes the mapping of a page what the new entry says.
fn show(page: usize, old: Option<Entry>, new: Option<Entry>) {
    let (address, rights) = (page * PAGE_SIZE, new.map_or(Rights::empty(), |entry| entry.rights));
    let rights = rights.bits() as usize;
    let done = match (old, new) {
        (None, None) => reserve(&(page..page + 1)),
        (Some(old), Some(new)) if old.frame == new.frame => {
            if old.rights == new.rights {
                return;
            }
            raw::harmless(Sysno::mprotect, [address, PAGE_SIZE, rights, 0, 0, 0]) == 0
        }
        (_, Some(new)) => {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let (fd, offset) = (options().fd, frames::offset(new.frame));
            let args = [address, PAGE_SIZE, rights, flags as usize, fd as usize, offset];
            // SAFETY: the page is one of a mapping of a file, which is the program's.
            unsafe { raw::call(Sysno::mmap, args) >= 0 }
        }
        (Some(_), None) => reserve(&(page..page + 1)),
    };
    if !done {
        raw::die("faultless: Linux has no room for another mapping");
    }
}

// SAFETY: a map.
unsafe impl PageTable for Table {
    fn root(&self) -> usize {
        self.process as usize
    }

    fn prepare(&mut self, _page: usize) {}

    fn get(&self, page: usize) -> Option<Entry> {
        self.entries.get(&page).copied()
    }

    fn next(&self, pages: Range<usize>) -> Option<(usize, Entry)> {
        if pages.is_empty() {
            return None;
        }
        self.entries.range(pages).next().map(|(page, entry)| (*page, *entry))
    }

    fn set(&mut self, page: usize, entry: Option<Entry>) {
        let old = match entry {
            Some(entry) => self.entries.insert(page, entry),
            None => self.entries.remove(&page),
        };
        if self.is_own() {
            show(page, old, entry);
        } else {
            self.stale.push(page);
        }
    }
}
