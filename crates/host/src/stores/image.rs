//! What is on a disk, sector by sector, when a machine stops: the part of a store that survives a
//! crash.
//!
//! Key type: [`Image`]. [`CrashStore`](super::CrashStore) makes one for each way in which a crash
//! may end; a store that is loaded with it is what the next mount finds. It knows nothing of calls,
//! order or promises.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageIndex, Shift};

use super::Medium;

/// Bytes that reach a disk together or not at all.
pub const SECTOR: usize = 512;

/// How a disk knows the size of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizing {
    /// It is recorded, by `set_size`.
    #[default]
    Recorded,
    /// It is where the last byte ends that was written or cut off, as that of a host's file.
    Length,
}

/// A file on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Shared by the images that were made from each other, until one of them changes.
    sectors: BTreeMap<u64, Arc<[u8; SECTOR]>>,
    size: u64,
    sizing: Sizing,
}

impl Image {
    /// An empty file.
    #[must_use]
    pub fn empty(sizing: Sizing) -> Self {
        Self { sizing, ..Self::default() }
    }

    /// The size that a mount finds.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes up to the size.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.contents_from(0)
    }

    /// The bytes from `first`, the first of a sector, up to the size.
    #[must_use]
    pub fn contents_from(&self, first: u64) -> Vec<u8> {
        let first_sector = first / SECTOR as u64;
        let mut bytes = vec![0; self.size.saturating_sub(first) as usize];
        for (number, sector) in self.sectors.range(first_sector..) {
            let start = ((*number - first_sector) as usize * SECTOR).min(bytes.len());
            let len = SECTOR.min(bytes.len() - start);
            bytes[start..start + len].copy_from_slice(&sector[..len]);
        }
        bytes
    }

    /// The first byte of a sector; 0 in a hole.
    #[must_use]
    pub fn first_byte(&self, sector: u64) -> u8 {
        self.sectors.get(&sector).map_or(0, |bytes| bytes[0])
    }

    /// One sector arrives, of which the first `inside` bytes lie inside the file.
    pub(super) fn write(&mut self, number: u64, bytes: &Arc<[u8; SECTOR]>, inside: usize) {
        if self.sizing == Sizing::Recorded {
            self.sectors.insert(number, Arc::clone(bytes));
        } else if inside > 0 {
            let start = number * SECTOR as u64;
            self.size = self.size.max(start + inside as u64);
            let sector = self.sectors.entry(number).or_insert_with(|| Arc::new([0; SECTOR]));
            Arc::make_mut(sector)[..inside].copy_from_slice(&bytes[..inside]);
        }
    }

    /// What lies at or past `size` is given back, and the rest of the last sector is zero.
    pub(super) fn truncate_blocks(&mut self, size: u64) {
        self.sectors.retain(|number, _| number * (SECTOR as u64) < size);
        if let Some(last) = self.sectors.get_mut(&(size / SECTOR as u64)) {
            Arc::make_mut(last)[(size % SECTOR as u64) as usize..].fill(0);
        }
        if self.sizing == Sizing::Length {
            self.size = self.size.min(size);
        }
    }

    /// These bytes are zeros.
    pub(super) fn zero(&mut self, range: &Range<u64>) {
        for (sector, part) in super::parts(range, SECTOR) {
            if let Some(bytes) = self.sectors.get_mut(&sector) {
                Arc::make_mut(bytes)[part].fill(0);
            }
        }
    }

    /// What lies from the start of `range` on moves, and the size is `size`.
    pub(super) fn shift(&mut self, shift: Shift, range: &Range<u64>, size: u64) {
        super::shift_keys(&mut self.sectors, shift, range, SECTOR);
        self.size = size;
    }

    /// The size is recorded.
    pub(super) fn record_size(&mut self, size: u64) {
        if self.sizing == Sizing::Recorded {
            self.size = size;
        }
    }

    /// A sync gives the file its length, where nothing else does.
    pub(super) fn set_length(&mut self, size: u64) {
        if self.sizing == Sizing::Length {
            self.truncate_blocks(size);
            self.size = size;
        }
    }

    /// Puts all of it on an empty store, what lies past the size included.
    ///
    /// # Errors
    /// If the store has no room.
    pub fn load<S: Medium>(&self, store: &S) -> Result<(), Errno> {
        let mut pages = BTreeMap::<PageIndex, Vec<u8>>::new();
        for (number, sector) in &self.sectors {
            let pos = number * SECTOR as u64;
            store.write_begin(pos, SECTOR)?;
            store.write_end(pos, SECTOR, SECTOR);
            let index = PageIndex::containing(pos);
            let start = (pos - index.start()) as usize;
            let page = pages.entry(index).or_insert_with(|| vec![0; PAGE_SIZE]);
            page[start..start + SECTOR].copy_from_slice(&sector[..]);
        }
        pages.iter().try_for_each(|(index, page)| store.put_page(*index, page, PAGE_SIZE))?;
        AddressSpaceOperations::set_size(store, self.size);
        Ok(())
    }
}
