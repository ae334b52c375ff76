//! A store in memory, which keeps pages; or nothing, because the cache is the only copy (tmpfs).

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE,
    PageIndex, Reserved, Shift, Strategy, SyncKind, WritebackRun,
};

use super::Medium;

/// A store that keeps whole pages in memory, or nothing.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<MemoryState>,
    strategy: Strategy,
    keeps: Keeps,
}

/// What becomes of pages that are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeps {
    #[default]
    Pages,
    Nothing,
}

/// What a [`MemoryStore`] holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    pages: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty store that is written by this algorithm.
    #[must_use]
    pub fn with_strategy(strategy: Strategy) -> Arc<Self> {
        Arc::new(Self { strategy, ..Self::default() })
    }

    /// The store of an empty file whose only copy is the cache, as tmpfs: pages are never dropped,
    /// and there is nothing to read.
    #[must_use]
    pub fn volatile() -> Arc<Self> {
        Arc::new(Self { keeps: Keeps::Nothing, ..Self::default() })
    }

    /// A store that holds a file of these bytes.
    #[must_use]
    pub fn with_contents(bytes: &[u8]) -> Arc<Self> {
        let store = Self::new();
        for (index, piece) in bytes.chunks(PAGE_SIZE).enumerate() {
            let mut page = piece.to_vec();
            page.resize(PAGE_SIZE, 0);
            store.lock().pages.insert(index as u64, page);
        }
        store.lock().size = bytes.len() as u64;
        store
    }

    /// The file as it would be read after a remount: as many bytes as the recorded size says.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let state = self.lock();
        let mut bytes = vec![0; state.size as usize];
        for (index, page) in &state.pages {
            let start = (*index as usize * PAGE_SIZE).min(bytes.len());
            let len = PAGE_SIZE.min(bytes.len() - start);
            bytes[start..start + len].copy_from_slice(&page[..len]);
        }
        bytes
    }

    /// What the store holds of a page, to the end of the page (P2).
    #[must_use]
    pub fn page(&self, index: PageIndex) -> Option<Vec<u8>> {
        self.lock().pages.get(&index.get()).cloned()
    }

    /// The size that the core recorded last.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// Pages held.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.lock().pages.len()
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressSpaceOperations for MemoryStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        if self.keeps == Keeps::Pages
            && let Some(page) = self.lock().pages.get(&index.get())
        {
            buf.write(page);
        }
        // A page that was never stored is a hole; pages are stored whole.
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.write_begin_run(pos, len)
    }

    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let [first, last] = PageIndex::first_and_last(pos, len).map(PageIndex::get);
        let is_stored =
            self.keeps == Keeps::Pages && self.lock().pages.range(first..=last).next().is_some();
        let contents = if is_stored { Contents::Stored } else { Contents::Hole };
        Ok(Begun { len, contents, reserved: Reserved::Fully })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        match self.keeps {
            Keeps::Pages => {
                super::each_page(run, |index, bytes, inside| self.put_page(index, bytes, inside))
            }
            Keeps::Nothing => Ok(()),
        }
    }

    fn truncate_blocks(&self, size: u64) {
        let mut state = self.lock();
        state.pages.retain(|index, _| PageIndex::new(*index).start() < size);
        if let Some(page) = state.pages.get_mut(&PageIndex::containing(size).get()) {
            page[(size % PAGE_SIZE as u64) as usize..].fill(0);
        }
    }

    fn set_size(&self, size: u64) {
        self.lock().size = size;
    }

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if change == Fallocate::Allocate {
            // There is always room.
            return Ok(());
        }
        let mut state = self.lock();
        for (index, part) in super::parts(&range, PAGE_SIZE) {
            if part.len() == PAGE_SIZE {
                state.pages.remove(&index);
            } else if let Some(page) = state.pages.get_mut(&index) {
                page[part].fill(0);
            }
        }
        Ok(())
    }

    /// Pages are what is kept; a store that keeps nothing cannot move them either.
    fn shift_unit(&self) -> Option<u64> {
        (self.keeps == Keeps::Pages).then_some(PAGE_SIZE as u64)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let mut state = self.lock();
        let gone = super::shift_keys(&mut state.pages, shift, &range, PAGE_SIZE);
        drop(gone);
        state.size = size;
        Ok(())
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        let pages = self.lock().pages.keys().copied().collect::<Vec<_>>();
        Ok(super::first_stretch(&pages, pos, PAGE_SIZE))
    }

    fn failed_sync(&self) -> FailedSync {
        FailedSync::Keeps
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn is_persistent(&self) -> bool {
        self.keeps == Keeps::Pages
    }

    fn is_empty(&self) -> bool {
        self.keeps != Keeps::Pages
    }
}

impl Medium for MemoryStore {
    type State = MemoryState;

    fn save(&self) -> MemoryState {
        self.lock().clone()
    }

    fn restore(&self, state: &MemoryState) {
        *self.lock() = state.clone();
    }

    fn put_page(&self, index: PageIndex, page: &[u8], _inside: usize) -> Result<(), Errno> {
        if self.keeps == Keeps::Pages {
            self.lock().pages.insert(index.get(), page.to_vec());
        }
        Ok(())
    }
}
