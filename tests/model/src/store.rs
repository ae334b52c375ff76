//! A store of a few bytes in plain memory, outside the checker: each of its calls is one step, but
//! for writebacks on request, which take their data in one step and land in another, and can fail.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PageIndex, ReadRequest, Reserved,
    Strategy, SyncKind, WritebackRun,
};

use crate::memory;
use crate::plant::{self, Plant};

/// A file's bytes as the device has them.
#[derive(Debug)]
pub struct ModelStore {
    state: Mutex<State>,
    strategy: Strategy,
    /// Lets other threads run between the phases of a writeback, and of a sync.
    pause: fn(),
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    begun: u64,
    ended: u64,
    /// End of the bytes for which room was asked, and not given back.
    room: u64,
    /// Writebacks that are still to fail.
    failing: u32,
    /// What was there when the last sync that returned began.
    durable: Vec<u8>,
    /// Reads that were kept, if they are to be.
    kept: Option<Vec<ReadRequest>>,
}

impl ModelStore {
    /// A store that holds `bytes` and is written by `strategy`.
    #[must_use]
    pub fn new(bytes: &[u8], strategy: Strategy) -> Self {
        let room = bytes.len() as u64;
        let (bytes, durable) = (bytes.to_vec(), bytes.to_vec());
        let state = State { bytes, durable, room, ..State::default() };
        Self { state: Mutex::new(state), strategy, pause: || {} }
    }

    /// A store like [`new`](Self::new)'s whose first writebacks fail, `failing` of them, and which
    /// calls `pause` inside its writebacks and syncs.
    #[must_use]
    pub fn failing(bytes: &[u8], strategy: Strategy, failing: u32, pause: fn()) -> Self {
        let store = Self { pause, ..Self::new(bytes, strategy) };
        store.state().failing = failing;
        store
    }

    /// From now on reads are kept, for [`take_reads`](Self::take_reads).
    pub fn keep_reads(&self) {
        self.state().kept = Some(Vec::new());
    }

    /// The reads that were kept, which the caller ends.
    #[must_use]
    pub fn take_reads(&self) -> Vec<ReadRequest> {
        self.state().kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What a crash would leave: all that had landed when the last sync that returned began.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// What the store holds.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Calls of `write_begin` without their `write_end`.
    #[must_use]
    pub fn unbalanced(&self) -> u64 {
        let state = self.state();
        state.begun - state.ended
    }

    /// End of the bytes for which it has room.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.state().room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressSpaceOperations for ModelStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let state = self.state();
        let from = state.bytes.len().min(index.start() as usize);
        let to = state.bytes.len().min(index.plus(1).start() as usize);
        buf.write(&state.bytes[from..to]);
        buf.fill_hole();
        memory::publish();
        Ok(())
    }

    fn submit_read(&self, request: ReadRequest) {
        if let Some(kept) = &mut self.state().kept {
            kept.push(request);
            return;
        }
        request.fill(|index, buf| self.read(index, buf));
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let mut state = self.state();
        state.begun += 1;
        state.room = state.room.max(pos + len as u64);
        let start = PageIndex::containing(pos).start();
        let hole = start >= state.bytes.len() as u64;
        let contents = if hole { Contents::Hole } else { Contents::Stored };
        Ok(Begun { len, contents, reserved: Reserved::Fully })
    }

    fn write_end(&self, _pos: u64, len: usize, copied: usize) {
        assert!(copied <= len, "more copied than was begun");
        self.state().ended += 1;
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut bytes = vec![0; run.len()];
        run.copy_to(0, &mut bytes);
        (self.pause)();
        let mut state = self.state();
        if state.failing > 0 {
            state.failing -= 1;
            drop(state);
            (self.pause)();
            return if plant::is(Plant::SwallowedFailure) { Ok(()) } else { Err(Errno::Io) };
        }
        let start = run.pos() as usize;
        let end = start + bytes.len();
        if state.bytes.len() < end {
            state.bytes.resize(end, 0);
        }
        state.bytes[start..end].copy_from_slice(&bytes);
        drop(state);
        (self.pause)();
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        let mut state = self.state();
        state.bytes.truncate(size as usize);
        if !plant::is(Plant::KeptRoom) {
            state.room = state.room.min(size);
        }
    }

    fn set_size(&self, _size: u64) {}

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        let landed = self.bytes();
        (self.pause)();
        self.state().durable = landed;
        Ok(())
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }
}
