//! Page tables of programs: four levels, as the CPU walks them.
//!
//! The upper half of each is the kernel's, the same for all.

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::{FrameNumber, Frames, PAGE_SIZE};
use faultless_posix::{Entry, Errno, Owner, PageTable, Rights};

use crate::memory::frames::frames;
use crate::memory::map::{USER_END, boot_tables, direct_map, kernel_root, physical};

/// Bits of an entry that the CPU knows.
pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
pub(super) const NOT_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bits of an entry that are the kernel's: it is one, to which object its frame belongs, and its
/// rights from bit 52 on (the CPU knows no page without loads).
const ENTRY: u64 = 1 << 9;
const OWN: u64 = 1 << 10;
const RIGHTS_AT: u32 = 52;

/// Entries of a table.
const ENTRIES: usize = 512;
/// Entries of the top table that are the programs'.
const USER_ENTRIES: usize = 256;
/// Bits of a page's number that one level decodes.
const BITS: u32 = 9;

/// The tables of one address space.
#[derive(Debug)]
pub(crate) struct PageTables {
    root: usize,
    /// A lower table could not be made for want of memory.
    is_short: bool,
}

impl PageTables {
    /// Tables without entries.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self, Errno> {
        let root = new_table().ok_or(Errno::NOMEM)?;
        // SAFETY: not written to once there are programs.
        let kernel = unsafe { &boot_tables };
        for (at, entry) in kernel.iter().enumerate().skip(USER_ENTRIES) {
            word(root, at).store(*entry, Relaxed);
        }
        Ok(Self { root, is_short: false })
    }

    /// Whether the entry of a page was dropped, as a table for it could not be made; or of any, if
    /// none is given. The question takes the answer back.
    pub(crate) fn was_short(&mut self, page: Option<usize>) -> bool {
        let was = core::mem::take(&mut self.is_short);
        was && page.is_none_or(|page| self.find(page).is_none())
    }

    /// The word of a page in the lowest table, if that is there.
    fn find(&self, page: usize) -> Option<&'static AtomicU64> {
        lowest(self.root, page, || None)
    }
}

/// The word of a page in the lowest table below `root`. `make` makes the entry that leads to a
/// table which is not there.
fn lowest(root: usize, page: usize, make: impl Fn() -> Option<u64>) -> Option<&'static AtomicU64> {
    let mut table = root;
    for level in (1..4).rev() {
        let word = word(table, index(page, level));
        let mut entry = word.load(Relaxed);
        if entry & PRESENT == 0 {
            entry = make()?;
            word.store(entry, Relaxed);
        }
        table = (entry & ADDRESS) as usize;
    }
    Some(word(table, index(page, 0)))
}

/// The word of a page of the kernel's, in tables that all programs have: they are made where they
/// are missing. Calls for one part of the address space come one after the other.
pub(super) fn kernel_word(page: usize) -> Option<&'static AtomicU64> {
    lowest(kernel_root(), page, || Some(new_table()? as u64 | PRESENT | WRITE))
}

/// Which entry of a table of this level, of 0 to 3, leads to a page.
const fn index(page: usize, level: u32) -> usize {
    page >> (BITS * level) & (ENTRIES - 1)
}

/// An entry of a table. The CPU reads it at any time, and sets its bits "accessed" and "dirty".
fn word(table: usize, at: usize) -> &'static AtomicU64 {
    let words = direct_map(table).cast::<AtomicU64>();
    // SAFETY: a table that is in use has 512 words, and is reached by atomic accesses only.
    unsafe { &*words.wrapping_add(at) }
}

/// A table without entries.
fn new_table() -> Option<usize> {
    let (frame, _one) = frames().allocate(1).ok()?;
    let table = physical(frames().address(frame));
    (0..ENTRIES).for_each(|at| word(table, at).store(0, Relaxed));
    Some(table)
}

/// Gives the frame of a table back.
///
/// # Safety
/// Nothing leads to it any more.
unsafe fn drop_table(table: usize) {
    let address = core::ptr::NonNull::new(direct_map(table));
    if let Some(frame) = address.and_then(|address| frames().frame_at(address)) {
        // SAFETY: the count of `new_table`.
        unsafe { frames().release(frame) };
    }
}

fn encode(entry: Entry) -> u64 {
    let address = physical(frames().address(entry.frame)) as u64;
    let rights = entry.rights;
    let mut bits = address | ENTRY | u64::from(rights.bits()) << RIGHTS_AT;
    for (bit, is_set) in [
        (PRESENT | USER, !rights.is_empty()),
        (WRITE, rights.contains(Rights::WRITE)),
        (NOT_EXECUTE, !rights.contains(Rights::EXECUTE)),
        (OWN, entry.owner == Owner::Space),
    ] {
        bits |= if is_set { bit } else { 0 };
    }
    bits
}

/// The frame that an entry leads to.
pub(super) fn frame_of(bits: u64) -> Option<FrameNumber> {
    frames().frame_at(core::ptr::NonNull::new(direct_map((bits & ADDRESS) as usize))?)
}

fn decode(bits: u64) -> Option<Entry> {
    if bits & ENTRY == 0 {
        return None;
    }
    let frame = frame_of(bits)?;
    let rights = Rights::from_bits_truncate((bits >> RIGHTS_AT) as u32 & 7);
    let owner = if bits & OWN == 0 { Owner::File } else { Owner::Space };
    Some(Entry { frame, rights, owner })
}

// SAFETY: an entry is encoded with all that it says, and decoded as that.
unsafe impl PageTable for PageTables {
    fn root(&self) -> usize {
        self.root
    }

    fn prepare(&mut self, page: usize) {
        let made = || Some(new_table()? as u64 | PRESENT | WRITE | USER);
        self.is_short |= lowest(self.root, page, made).is_none();
    }

    fn get(&self, page: usize) -> Option<Entry> {
        decode(self.find(page)?.load(Relaxed))
    }

    fn next(&self, pages: Range<usize>) -> Option<(usize, Entry)> {
        let end = pages.end.min(USER_END / PAGE_SIZE);
        let mut page = pages.start;
        'pages: while page < end {
            let mut table = self.root;
            for level in (1..4).rev() {
                let entry = word(table, index(page, level)).load(Relaxed);
                if entry & PRESENT == 0 {
                    // Past all that the missing table would have.
                    let span = 1 << (BITS * level);
                    page = (page / span + 1) * span;
                    continue 'pages;
                }
                table = (entry & ADDRESS) as usize;
            }
            for at in index(page, 0)..ENTRIES {
                if page >= end {
                    return None;
                }
                if let Some(entry) = decode(word(table, at).load(Relaxed)) {
                    return Some((page, entry));
                }
                page += 1;
            }
        }
        None
    }

    fn set(&mut self, page: usize, entry: Option<Entry>) {
        let bits = entry.map_or(0, encode);
        match (self.find(page), entry) {
            (Some(word), _) => word.store(bits, Relaxed),
            // SAFETY: the entry's count, which no table keeps.
            (None, Some(entry)) => unsafe { frames().release(entry.frame) },
            (None, None) => {}
        }
    }
}

impl Drop for PageTables {
    fn drop(&mut self) {
        // SAFETY: no CPU uses the table: the address space is gone.
        unsafe { drop_tables(self.root, 3, USER_ENTRIES) };
    }
}

/// Gives back a table and those below it.
///
/// # Safety
/// As for [`drop_table`].
unsafe fn drop_tables(table: usize, level: u32, entries: usize) {
    for at in (0..entries).filter(|_| level > 0) {
        let entry = word(table, at).load(Relaxed);
        if entry & PRESENT != 0 {
            // SAFETY: the caller's promise.
            unsafe { drop_tables((entry & ADDRESS) as usize, level - 1, ENTRIES) };
        }
    }
    // SAFETY: as above.
    unsafe { drop_table(table) };
}
