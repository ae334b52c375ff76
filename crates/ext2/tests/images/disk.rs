//! A disk in memory: transfers are done later, by a thread of its own, in an order drawn from a
//! seed; it remembers what reached it, so that a power cut can be played, and fails on request.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use faultless::page::StoreId;
use faultless::prelude::Errno;
use faultless_ext2::{BlockDevice, ReadTransfer, WriteTransfer};

use crate::rng::Rng;

pub(crate) struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bytes: Vec<u8>,
    /// What has reached the disk since it was made, if that is remembered.
    log: Option<Vec<Event>>,
    queue: Vec<Transfer>,
    rng: Rng,
    faults: Faults,
    is_closing: bool,
}

/// Which transfers fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Blocks of 1 KiB that cannot be read.
    pub(crate) reads: BTreeSet<u64>,
    /// One write of so many fails; none if 0.
    pub(crate) writes: usize,
    /// This many flushes fail.
    pub(crate) flushes: usize,
}

/// What reached the disk.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write { position: u64, bytes: Vec<u8> },
    Flush,
}

enum Transfer {
    Read(ReadTransfer),
    Write(WriteTransfer),
}

/// The thread of a disk. Dropping it does what waits, and ends it.
pub(crate) struct Worker {
    disk: Arc<Disk>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// The number that a kernel knows it by.
    pub(crate) const STORE: StoreId = StoreId(7);

    pub(crate) fn new(bytes: Vec<u8>, seed: u64) -> Arc<Self> {
        let state = State {
            bytes,
            log: None,
            queue: Vec::new(),
            rng: Rng::new(seed),
            faults: Faults::default(),
            is_closing: false,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn worker(self: &Arc<Self>) -> Worker {
        let disk = Arc::clone(self);
        let thread = std::thread::spawn(move || disk.serve());
        Worker { disk: Arc::clone(self), thread: Some(thread) }
    }

    /// From now on, remembers what reaches the disk.
    pub(crate) fn remember(&self) {
        self.state().log = Some(Vec::new());
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().log.clone().unwrap_or_default()
    }

    /// How many events there are so far.
    pub(crate) fn now(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub(crate) fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic with the lock")
    }

    fn submit(&self, transfer: Transfer) {
        self.state().queue.push(transfer);
        self.changed.notify_all();
    }

    fn serve(&self) {
        loop {
            let mut state = self.state();
            while state.queue.is_empty() && !state.is_closing {
                state = self.changed.wait(state).expect("no panic with the lock");
            }
            if state.queue.is_empty() {
                return;
            }
            let len = state.queue.len();
            let at = state.rng.below(len);
            let transfer = state.queue.swap_remove(at);
            let end = state.apply(transfer);
            // An end may call back.
            drop(state);
            end();
        }
    }
}

impl State {
    /// Does a transfer; what ends it.
    fn apply(&mut self, transfer: Transfer) -> Box<dyn FnOnce()> {
        match transfer {
            Transfer::Read(read) => {
                let (from, len) = (read.position() as usize, read.len());
                let blocks = from as u64 / 1024..(from + len).div_ceil(1024) as u64;
                let fails = self.faults.reads.range(blocks).next().is_some();
                match self.bytes.get(from..from + len) {
                    Some(bytes) if !fails => {
                        let bytes = bytes.to_vec();
                        Box::new(move || read.fill(&bytes))
                    }
                    _ => Box::new(move || read.fail(Errno::Io)),
                }
            }
            Transfer::Write(write) => {
                let (position, mut bytes) = (write.position(), vec![0; write.len()]);
                assert!(position.is_multiple_of(1024) && bytes.len().is_multiple_of(1024));
                write.copy_to(&mut bytes);
                let place = position as usize..position as usize + bytes.len();
                let fails = self.faults.writes > 0 && self.rng.below(self.faults.writes) == 0;
                match self.bytes.get_mut(place) {
                    Some(disk) if !fails => disk.copy_from_slice(&bytes),
                    _ => return Box::new(move || write.complete(Err(Errno::Io))),
                }
                if let Some(log) = &mut self.log {
                    log.push(Event::Write { position, bytes });
                }
                Box::new(move || write.complete(Ok(())))
            }
        }
    }
}

impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    fn store_id(&self) -> StoreId {
        Self::STORE
    }

    fn read(&self, transfer: ReadTransfer) {
        self.submit(Transfer::Read(transfer));
    }

    fn write(&self, transfer: WriteTransfer) {
        self.submit(Transfer::Write(transfer));
    }

    fn flush(&self) -> Result<(), Errno> {
        let mut state = self.state();
        if state.faults.flushes > 0 {
            state.faults.flushes -= 1;
            return Err(Errno::Io);
        }
        if let Some(log) = &mut state.log {
            log.push(Event::Flush);
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A test that has failed may have panicked with the lock.
        if let Ok(mut state) = self.disk.state.lock() {
            state.is_closing = true;
        }
        self.disk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the disk's thread panicked");
        }
    }
}
