//! Callbacks that unwind: a fuse that blows at its nth use, and a store that has one in each of its
//! calls.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::Task;
use faultless::page::{
    AddressSpaceOperations, Begun, Errno, FillBuf, PageIndex, Strategy, SyncKind, WritebackRun,
};
use faultless_host::stores::BlockStore;

/// What a fuse unwinds with: no message is printed.
struct Blown;

/// Unwinds out of the callback that uses it for the nth time.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    /// Uses left until it blows; 0 if it is not armed.
    left: AtomicU64,
    blew: Mutex<Option<&'static str>>,
}

impl Fuse {
    /// A fuse that is not armed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// It is used by a callback of this name.
    pub(crate) fn pass(&self, name: &'static str) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            *self.blew.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
            resume_unwind(Box::new(Blown));
        }
    }

    /// Runs `work` with the `nth` use blowing (from 1): the callback that it unwound from, or none
    /// if there were fewer uses.
    pub(crate) fn blow(&self, nth: u64, work: impl FnOnce()) -> Option<&'static str> {
        *self.blew.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.left.store(nth, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(work));
        self.left.store(0, Ordering::Relaxed);
        let blew = self.blew.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(panic) = result {
            assert_planted(panic);
            assert!(blew.is_some(), "it blew");
        }
        blew
    }
}

/// Goes on with a panic that is not a fuse's.
fn assert_planted(panic: Box<dyn Any + Send>) {
    if !panic.is::<Blown>() {
        resume_unwind(panic);
    }
}

/// On which side of a store's call its fuse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The call unwinds before it has done anything.
    Before,
    /// The call unwinds when it is done.
    After,
}

/// A store whose calls unwind.
#[derive(Debug)]
pub(crate) struct FusedStore {
    pub(crate) inner: Arc<BlockStore>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) strategy: Strategy,
    pub(crate) side: Side,
}

impl FusedStore {
    fn within<R>(&self, name: &'static str, call: impl FnOnce(&BlockStore) -> R) -> R {
        if self.side == Side::Before {
            self.fuse.pass(name);
        }
        let result = call(&self.inner);
        if self.side == Side::After {
            self.fuse.pass(name);
        }
        result
    }
}

impl AddressSpaceOperations for FusedStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.within("read", |inner| inner.read(index, buf))
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.within("write_begin", |inner| inner.write_begin(pos, len))
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.within("write_end", |inner| inner.write_end(pos, len, copied));
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.within("writeback", |inner| inner.writeback(run))
    }

    fn truncate_blocks(&self, size: u64) {
        self.within("trim", |inner| inner.truncate_blocks(size));
    }

    fn set_size(&self, size: u64) {
        self.within("set_size", |inner| inner.set_size(size));
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.within("sync", |inner| inner.sync(kind))
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }
}

/// A task whose throttle unwinds.
#[derive(Debug)]
pub(crate) struct FusedTask(pub(crate) Arc<Fuse>);

impl Task for FusedTask {
    fn throttle(&self) {
        self.0.pass("throttle");
    }
}
