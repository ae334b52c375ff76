//! What the oracle itself knows of a case while it runs: what is mapped in the window, and which
//! bytes past the end of the file the case stored there. That is all that the whitelist is decided
//! by.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

use faultless_page::PAGE_SIZE;

use super::op::{Bytes, Op, Place, Transfer, WINDOW, pattern};
use faultless_host::mmu::{Access, Protection};

/// A page of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    Nothing,
    Private(Protection),
    File(u64, Protection),
}

/// A program's memory as the operations have made it.
#[derive(Debug, Default)]
pub(super) struct Expected {
    slots: [Slot; WINDOW],
    /// Bytes past the end of the file that the case stored through a mapping: where, and which.
    junk: BTreeMap<u64, u8>,
}

/// Which byte of a request's memory, counted from the beginning of the window. `None`: somewhere
/// else.
pub(super) type Window = Option<usize>;

impl Expected {
    /// What the operation does to the window.
    pub(super) fn follow(&mut self, op: &Op) {
        match *op {
            Op::MapPrivate { page, pages, protection, .. } => {
                self.slots[page..page + pages].fill(Slot::Private(protection));
            }
            Op::MapFile { page, pages, protection, first } => {
                for nth in 0..pages {
                    self.slots[page + nth] = Slot::File(first + nth as u64, protection);
                }
            }
            Op::Unmap { page, pages } => self.slots[page..page + pages].fill(Slot::Nothing),
            Op::Protect { page, pages, protection } => {
                for slot in &mut self.slots[page..page + pages] {
                    match slot {
                        Slot::Nothing => {}
                        Slot::Private(old) | Slot::File(_, old) => *old = protection,
                    }
                }
            }
            _ => {}
        }
    }

    /// The byte of the file that lies at this byte of the window.
    pub(super) fn file_byte(&self, at: usize) -> Option<u64> {
        match self.slots.get(at / PAGE_SIZE)? {
            Slot::File(page, _) => Some(page * PAGE_SIZE as u64 + (at % PAGE_SIZE) as u64),
            Slot::Nothing | Slot::Private(_) => None,
        }
    }

    /// Whether the page of the window is private memory.
    pub(super) fn is_private(&self, page: usize) -> bool {
        matches!(self.slots.get(page), Some(Slot::Private(_)))
    }

    /// Whether the page of the window is private memory that can be read.
    pub(super) fn is_readable_private(&self, page: usize) -> bool {
        let slot = self.slots.get(page);
        matches!(slot, Some(Slot::Private(protection)) if protection.allows(Access::Read))
    }

    /// Whether the operation would look at junk through a mapping: what is there is then any
    /// guess, because whether the page was written back meanwhile, which zeroes it, is.
    pub(super) fn looks_at_junk(&self, op: &Op) -> bool {
        if self.junk.is_empty() {
            return false;
        }
        match op {
            Op::Load(at) => self.has_junk(at.page * PAGE_SIZE + at.offset, at.len),
            Op::Write(transfer) => transfer.segments.iter().any(|segment| match segment.place {
                Place::Window(page, offset) => {
                    self.has_junk(page * PAGE_SIZE + offset, segment.len)
                }
                _ => false,
            }),
            _ => false,
        }
    }

    fn has_junk(&self, start: usize, len: usize) -> bool {
        let end = start.saturating_add(len).min(WINDOW * PAGE_SIZE);
        pages_of(start..end).any(|part| {
            self.file_byte(part.start).is_some_and(|from| {
                self.junk.range(from..from + part.len() as u64).next().is_some()
            })
        })
    }

    /// Whether the first byte of the request lies in a readable page of the file that is past the
    /// end of a file of `size` bytes, but not past the end of one of `grown`.
    pub(super) fn begins_between(&self, transfer: &Transfer, size: u64, grown: u64) -> bool {
        let Some(Some(at)) = memory_of(transfer, 1).first().copied() else { return false };
        match self.slots.get(at / PAGE_SIZE) {
            Some(Slot::File(page, protection)) if protection.allows(Access::Read) => {
                (size..grown).contains(&(page * PAGE_SIZE as u64))
            }
            _ => false,
        }
    }

    /// The program stored bytes; as many as it could.
    pub(super) fn stored(&mut self, at: Bytes, seed: u64, size: u64) {
        let start = at.page * PAGE_SIZE + at.offset;
        let bytes = pattern(seed, at.len);
        for part in pages_of(start..start + at.len) {
            let writable = match self.slots.get(part.start / PAGE_SIZE) {
                Some(Slot::Private(protection)) => protection.allows(Access::Write),
                Some(Slot::File(page, protection)) => {
                    protection.allows(Access::Write) && page * (PAGE_SIZE as u64) < size
                }
                Some(Slot::Nothing) | None => false,
            };
            if !writable {
                return;
            }
            self.arrived(part.clone(), &bytes[part.start - start..part.end - start], size);
        }
    }

    /// These bytes arrived in a part of the window, all in one page.
    pub(super) fn arrived(&mut self, part: Range<usize>, bytes: &[u8], size: u64) {
        let Some(from) = self.file_byte(part.start) else { return };
        for (at, byte) in (from..).zip(bytes).skip_while(|(at, _)| *at < size) {
            self.junk.insert(at, *byte);
        }
    }

    /// The end of the file moved. The junk that now lies inside it, which no byte of `written` has
    /// replaced.
    pub(super) fn resized(&mut self, old: u64, new: u64, written: &Range<u64>) -> Vec<(u64, u8)> {
        if new < old {
            // Cut off, or zeroed with the rest of the last page.
            self.junk.clear();
            return Vec::new();
        }
        let outside = self.junk.split_off(&new);
        let inside = std::mem::replace(&mut self.junk, outside);
        inside.into_iter().filter(|(at, _)| !written.contains(at)).collect()
    }
}

/// Where in the window the first `len` bytes of the request lie.
pub(super) fn memory_of(transfer: &Transfer, len: usize) -> Vec<Window> {
    let mut all = Vec::with_capacity(len);
    for segment in &transfer.segments {
        let len = segment.len.min(len - all.len());
        match segment.place {
            Place::Window(page, offset) => {
                let start = page * PAGE_SIZE + offset;
                all.extend((start..start + len).map(Some));
            }
            _ => all.resize(all.len() + len, None),
        }
    }
    all
}

/// The parts of a range of the window that lie in one page each.
pub(super) fn pages_of(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut from = range.start;
    std::iter::from_fn(move || {
        let start = from;
        from = ((start / PAGE_SIZE + 1) * PAGE_SIZE).min(range.end);
        (start < range.end).then_some(start..from)
    })
}
