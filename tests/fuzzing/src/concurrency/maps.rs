//! The page table of the address space, and the reverse map over it: which entry shows which page
//! of which file.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use faultless_filemap::Protection;
use faultless_page::{FrameNumber, PageIndex, Unmap, UserMappings};

use super::super::Plant;
use super::scheduler;
use faultless_host::memory::PhysicalMemory;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) frame: FrameNumber,
    pub(super) protection: Protection,
    /// Which page of which mapping, if of a file.
    pub(super) shows: Option<(u64, PageIndex)>,
    pub(super) swapped: Swapped,
}

/// Whether a page of the program's own is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    In,
    /// The next access faults.
    Out,
    /// And its fault takes as long as it can.
    FarOut,
}

/// The page table, which the reverse map shares.
#[derive(Clone)]
pub(super) struct Maps {
    memory: Arc<PhysicalMemory>,
    pub(super) table: Arc<Mutex<Vec<Option<Entry>>>>,
    plant: Plant,
}

impl Maps {
    /// An empty page table of `pages` pages.
    pub(super) fn new(memory: &Arc<PhysicalMemory>, pages: usize, plant: Plant) -> Self {
        let table = Arc::new(Mutex::new(vec![None; pages]));
        Self { memory: Arc::clone(memory), table, plant }
    }

    /// Takes the entry of a page out.
    pub(super) fn clear(&self, page: usize) {
        if let Some(entry) = lock(&self.table)[page].take() {
            // SAFETY: the entry owned a count, and is gone.
            unsafe { self.memory.release(entry.frame) };
        }
    }

    /// The pages whose entries show one of pages `first..end` of file `id`.
    fn showing(&self, id: u64, first: PageIndex, end: PageIndex) -> Vec<usize> {
        let shown = |entry: &Entry| {
            entry.shows.is_some_and(|(of, index)| of == id && (first..end).contains(&index))
        };
        let table = lock(&self.table);
        (0..table.len()).filter(|page| table[*page].as_ref().is_some_and(shown)).collect()
    }
}

impl UserMappings for Maps {
    fn unmap(&self, id: u64, first: PageIndex, end: PageIndex, why: Unmap) {
        scheduler::point();
        // What is planted: a page that has left its file stays mapped.
        if why == Unmap::Truncate && self.plant == Plant::ConcurrencyNoZap {
            return;
        }
        self.showing(id, first, end).into_iter().for_each(|page| self.clear(page));
    }

    fn write_protect(&self, id: u64, first: PageIndex, end: PageIndex) {
        scheduler::point();
        for page in self.showing(id, first, end) {
            if let Some(entry) = &mut lock(&self.table)[page] {
                entry.protection = Protection::ReadOnly;
            }
        }
    }
}

/// Locks a mutex whose holder may have panicked. All threads are coroutines of one: a lock that is
/// held was kept across a point.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => panic!("a short lock of the address space is held"),
    }
}
