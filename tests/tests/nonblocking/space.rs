//! An address space without a lock that sleeps: a page table, walked for each copy.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use faultless::filemap::{Access, MappedFrame, Protection};
use faultless::page::{FrameNumber, Frames, Kernel, PAGE_SIZE, PageIndex, Unmap, UserMappings};
use faultless::usercopy::{MayFault, PageWalk, UserAddr, WalkAccess};

use crate::memory::Memory;

/// Page of the file that the first user page shows: what is mapped lies in two leaves.
pub(crate) const FIRST: usize = 61;
/// Pages of the file that are mapped, some of them past its end at first.
pub(crate) const FILES: usize = 8;
/// Pages of the program's own.
pub(crate) const OWN: usize = 3;

/// Where the first page lies.
pub(crate) const BASE: usize = 0x10_0000;

/// An entry. It owns a count of its frame.
#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: FrameNumber,
    writable: bool,
    /// Whether an access finds it.
    present: bool,
    /// The page of the file that it shows, if it is not the space's own.
    shows: Option<PageIndex>,
}

/// The page table. User pages `0..files` show these pages of the file; the others are its own.
#[derive(Debug)]
pub(crate) struct Space {
    memory: Memory,
    entries: Mutex<Vec<Option<Entry>>>,
    files: usize,
}

/// A handle of the space, as the reverse map of the file and as user memory.
#[derive(Clone, Debug)]
pub(crate) struct Mapped(pub(crate) Arc<Space>);

impl Space {
    /// `files` pages of the file, and `own` pages of the space's own, which hold zeros.
    pub(crate) fn new(memory: &Memory, files: usize, own: usize) -> Arc<Self> {
        let anonymous = |_| {
            let (frame, _) = memory.allocate(1).expect("memory");
            // SAFETY: a page that was just allocated.
            unsafe { memory.address(frame).write_bytes(0, PAGE_SIZE) };
            Some(Entry { frame, writable: true, present: true, shows: None })
        };
        let entries = (0..files).map(|_| None).chain((0..own).map(anonymous)).collect();
        Arc::new(Self { memory: memory.clone(), entries: Mutex::new(entries), files })
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Option<Entry>>> {
        self.entries.lock().expect("no panic under the lock")
    }

    /// Sets the entry of a page of the file.
    pub(crate) fn install<K: Kernel>(&self, page: usize, mapped: MappedFrame<'_, K>) {
        let writable = mapped.protection == Protection::Writable;
        let mut entries = self.entries();
        let shows = Some(PageIndex::new((FIRST + page) as u64));
        match &mut entries[page] {
            Some(entry) if entry.frame == mapped.frame.number() => entry.writable |= writable,
            Some(_) => panic!("a page of the file has two frames"),
            none => {
                let frame = mapped.frame.into_number();
                *none = Some(Entry { frame, writable, present: true, shows });
            }
        }
    }

    /// A page is swapped out, if it is the space's own; otherwise its entry goes.
    pub(crate) fn steal(&self, page: usize) {
        let mut entries = self.entries();
        if page >= self.files {
            entries[page].iter_mut().for_each(|entry| entry.present = false);
        } else if let Some(entry) = entries[page].take() {
            // SAFETY: the entry owned a count, and is gone.
            unsafe { self.memory.release(entry.frame) };
        }
    }

    /// A page of the space's own is there again.
    pub(crate) fn swap_in(&self, page: usize) {
        self.entries()[page].iter_mut().for_each(|entry| entry.present = true);
    }

    /// Whether an access of this kind finds the page.
    pub(crate) fn allows(&self, page: usize, access: Access) -> bool {
        let entry = self.entries()[page];
        entry.is_some_and(|entry| entry.present && (access == Access::Read || entry.writable))
    }

    /// Calls `body` with the bytes of a page, if an access of this kind finds it.
    fn with(&self, page: usize, access: Access, body: &mut dyn FnMut(*mut u8)) -> bool {
        if !self.allows(page, access) {
            return false;
        }
        let frame = self.entries()[page].map(|entry| entry.frame);
        frame.map(|frame| body(self.memory.address(frame).as_ptr())).is_some()
    }

    /// The program stores `bytes`, which lie in one page; whether it did not fault.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) -> bool {
        let (page, offset) = (at / PAGE_SIZE, at % PAGE_SIZE);
        assert!(offset + bytes.len() <= PAGE_SIZE, "one page");
        self.with(page, Access::Write, &mut |memory| {
            // SAFETY: so many bytes of a page; nothing else runs.
            unsafe { memory.wrapping_add(offset).copy_from(bytes.as_ptr(), bytes.len()) };
        })
    }

    /// What lies at `at`, whether it is there or not, for pages that have a frame.
    pub(crate) fn peek(&self, at: usize, len: usize) -> Vec<u8> {
        let entries = self.entries();
        let byte = |at: usize| {
            let entry = entries[at / PAGE_SIZE].expect("a page that was just accessed");
            // SAFETY: a byte of a frame that the entry counts.
            unsafe { self.memory.address(entry.frame).as_ptr().wrapping_add(at % PAGE_SIZE).read() }
        };
        (at..at + len).map(byte).collect()
    }

    /// Removes the entries that `gone` wants.
    fn remove(&self, gone: impl Fn(&Entry) -> bool) {
        for slot in self.entries().iter_mut() {
            if let Some(entry) = slot.take_if(|entry| gone(entry)) {
                // SAFETY: the entry owned a count, and is gone.
                unsafe { self.memory.release(entry.frame) };
            }
        }
    }

    /// Gives everything back.
    pub(crate) fn tear_down(&self) {
        self.remove(|_| true);
    }
}

impl Entry {
    fn shows_one_of(&self, first: PageIndex, end: PageIndex) -> bool {
        self.shows.is_some_and(|page| page >= first && page < end)
    }
}

impl UserMappings for Mapped {
    fn unmap(&self, _id: u64, first: PageIndex, end: PageIndex, _why: Unmap) {
        self.0.remove(|entry| entry.shows_one_of(first, end));
    }

    fn write_protect(&self, _id: u64, first: PageIndex, end: PageIndex) {
        for entry in self.0.entries().iter_mut().flatten() {
            entry.writable &= !entry.shows_one_of(first, end);
        }
    }
}

// SAFETY: the page stays, because nothing else runs while `body` does; an entry for stores is one
// that a fault for a store has made writable; `with_page` brings nothing in.
unsafe impl PageWalk for Mapped {
    fn user_range(&self) -> Range<usize> {
        BASE..BASE + self.0.entries().len() * PAGE_SIZE
    }

    fn with_page(&self, page: UserAddr, access: WalkAccess, body: &mut dyn FnMut(*mut u8)) -> bool {
        let access = if access == WalkAccess::Read { Access::Read } else { Access::Write };
        self.0.with((page.get() - BASE) / PAGE_SIZE, access, body)
    }

    fn resolve(&self, _token: &mut MayFault, address: UserAddr, _access: WalkAccess) -> bool {
        panic!("a call that must not fault brings {address:?} in");
    }
}
