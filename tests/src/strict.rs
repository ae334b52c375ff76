//! A store that trusts nobody: it keeps blocks of any size and panics when the core breaks a
//! promise.
//!
//! It checks that every `write_begin` is ended once and as it was begun (P5), that what was never
//! begun is zero at writeback (W9), and that nothing past the file's end reaches it but zeros (P2).
//! It fails on request. It is independent of the stores of the host on purpose.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless::page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, FillBuf, PAGE_SIZE, PAGES_PER_LEAF,
    PageIndex, Reserved, Strategy, SyncKind, WritebackRun,
};

/// The store.
#[derive(Debug)]
pub struct StrictStore {
    block: usize,
    strategy: Strategy,
    state: Mutex<State>,
}

/// What fails.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// Reads of these pages.
    pub read: BTreeSet<u64>,
    /// Writebacks of runs with these pages.
    pub writeback: BTreeSet<u64>,
    /// Room for a write to these pages: with what.
    pub begin: BTreeMap<u64, Errno>,
    /// Syncs.
    pub sync: Option<Errno>,
    /// No more blocks than this.
    pub capacity: Option<usize>,
}

/// How often what was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Pages read.
    pub reads: usize,
    /// Begun writes.
    pub begins: usize,
    /// Pages written back.
    pub written_back: usize,
    /// Syncs.
    pub syncs: usize,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u64, Vec<u8>>,
    begun: BTreeMap<u64, (u64, usize)>,
    size: u64,
    failures: Failures,
    calls: Calls,
}

impl StrictStore {
    /// An empty store with blocks of `block` bytes, which divide a page.
    ///
    /// # Panics
    /// If they do not.
    #[must_use]
    pub fn new(block: usize, strategy: Strategy) -> Arc<Self> {
        assert_eq!(PAGE_SIZE % block, 0, "blocks of {block} bytes");
        Arc::new(Self { block, strategy, state: Mutex::default() })
    }

    /// A store that holds a file of these bytes.
    #[must_use]
    pub fn with_contents(block: usize, strategy: Strategy, bytes: &[u8]) -> Arc<Self> {
        let store = Self::new(block, strategy);
        {
            let mut state = store.state();
            for (number, piece) in bytes.chunks(block).enumerate() {
                let mut content = piece.to_vec();
                content.resize(block, 0);
                state.blocks.insert(number as u64, content);
            }
            state.size = bytes.len() as u64;
        }
        store
    }

    /// What a read after a crash would find: the recorded size, and the blocks.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let state = self.state();
        let mut bytes = vec![0; state.size as usize];
        for (number, block) in &state.blocks {
            let start = (*number as usize * self.block).min(bytes.len());
            let len = self.block.min(bytes.len() - start);
            bytes[start..start + len].copy_from_slice(&block[..len]);
        }
        bytes
    }

    /// Changes what fails.
    pub fn fail(&self, change: impl FnOnce(&mut Failures)) {
        change(&mut self.state().failures);
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// Blocks that are held.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.state().blocks.len()
    }

    /// The first block that lies wholly at or past `size`, or holds something but zeros past it.
    #[must_use]
    pub fn stray(&self, size: u64) -> Option<u64> {
        let state = self.state();
        let dirt = |(number, block): (&u64, &Vec<u8>)| {
            let start = number * self.block as u64;
            let inside = size.saturating_sub(start).min(self.block as u64) as usize;
            inside == 0 || block[inside..].iter().any(|&byte| byte != 0)
        };
        state.blocks.iter().find(|&(number, block)| dirt((number, block))).map(|(n, _)| *n)
    }

    /// Asserts that every begun write was ended (P5).
    ///
    /// # Panics
    /// If one was not.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let begun = self.state().begun.clone();
        assert!(begun.is_empty(), "begun and not ended: {begun:?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocks_of(&self, pos: u64, len: usize) -> std::ops::Range<u64> {
        pos / self.block as u64..(pos + len as u64).div_ceil(self.block as u64)
    }

    fn blocks_of_page(&self, index: PageIndex) -> std::ops::Range<u64> {
        self.blocks_of(index.start(), PAGE_SIZE)
    }

    /// Makes room for bytes of one or more pages.
    fn begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let [index, last] = PageIndex::first_and_last(pos, len);
        let mut state = self.state();
        let state = &mut *state;
        state.calls.begins += 1;
        if let Some(&errno) = state.failures.begin.get(&index.get()) {
            return Err(errno);
        }
        let failing = state.failures.begin.range(index.get()..=last.get()).next();
        let failing = failing.map(|(index, _)| PageIndex::new(*index).start());
        let len = failing.map_or(len, |start| (start - pos) as usize);
        let blocks = self.blocks_of_page(index).start..self.blocks_of_page(last).end;
        let held = |state: &State| {
            blocks.clone().filter(|number| state.blocks.contains_key(number)).count()
        };
        let contents = if held(state) > 0 { Contents::Stored } else { Contents::Hole };
        let mut granted = 0;
        for number in self.blocks_of(pos, len) {
            let full = state.failures.capacity.is_some_and(|most| state.blocks.len() >= most);
            if full && !state.blocks.contains_key(&number) {
                break;
            }
            state.blocks.entry(number).or_insert_with(|| vec![0; self.block]);
            granted = ((number + 1) * self.block as u64 - pos).min(len as u64) as usize;
        }
        if granted == 0 {
            return Err(Errno::NoSpace);
        }
        let reserved = match held(state) == blocks.count() {
            true => Reserved::Fully,
            false => Reserved::Partly,
        };
        let before = state.begun.insert(index.get(), (pos, granted));
        assert_eq!(before, None, "{index} is begun twice");
        Ok(Begun { len: granted, contents, reserved })
    }
}

impl AddressSpaceOperations for StrictStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let mut state = self.state();
        state.calls.reads += 1;
        let failed = state.failures.read.contains(&index.get());
        for number in self.blocks_of_page(index) {
            if failed && number != self.blocks_of_page(index).start {
                // Late, so that a part of the page is filled already.
                return Err(Errno::Io);
            }
            match state.blocks.get(&number) {
                Some(block) => {
                    buf.write(block);
                }
                None => {
                    buf.skip_zero(self.block);
                }
            }
        }
        if failed { Err(Errno::Io) } else { Ok(()) }
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        assert!(0 < len && len <= PageIndex::bytes_from(pos), "one page");
        self.begin(pos, len)
    }

    /// For one to three pages.
    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let [first, last] = PageIndex::first_and_last(pos, len);
        assert!(last.get() < first.leaf_base().plus(PAGES_PER_LEAF as u64).get(), "of one leaf");
        let end = first.plus(1 + first.get() % 3).start();
        self.begin(pos, len.min((end - pos) as usize))
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        assert!(copied <= len, "{copied} of {len} bytes landed");
        let index = PageIndex::containing(pos);
        let begun = self.state().begun.remove(&index.get());
        assert_eq!(begun, Some((pos, len)), "{index} is ended as it was begun");
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut state = self.state();
        let pages = run.first().get()..run.first().get() + u64::from(run.pages());
        state.calls.written_back += run.pages() as usize;
        if state.failures.writeback.range(pages).next().is_some() {
            return Err(Errno::Io);
        }
        let mut bytes = vec![0; run.padded_len()];
        run.copy_to(0, &mut bytes);
        assert!(bytes[run.len()..].iter().all(|&byte| byte == 0), "bytes past the end (P2)");
        let first = run.pos() / self.block as u64;
        for (number, content) in bytes.chunks(self.block).enumerate() {
            match state.blocks.get_mut(&(first + number as u64)) {
                Some(block) => block.copy_from_slice(content),
                None => {
                    let clean = content.iter().all(|&byte| byte == 0);
                    assert!(clean, "data in block {} without room for it", first + number as u64);
                }
            }
        }
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        let mut state = self.state();
        let first_gone = size.div_ceil(self.block as u64);
        state.blocks.retain(|&number, _| number < first_gone);
        let inside = (size % self.block as u64) as usize;
        if inside != 0
            && let Some(last) = state.blocks.get_mut(&(size / self.block as u64))
        {
            last[inside..].fill(0);
        }
    }

    fn set_size(&self, size: u64) {
        self.state().size = size;
    }

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        let mut state = self.state();
        state.calls.syncs += 1;
        state.failures.sync.take().map_or(Ok(()), Err)
    }

    fn failed_sync(&self) -> FailedSync {
        FailedSync::Keeps
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }
}
