//! Callbacks that unwind: a fuse that blows at its nth use, and a store that has one in each of its
//! calls.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::Task;
use faultless::page::Strategy;
use faultless_host::stores::{At, Below, BlockStore, Call, HookedStore};

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

/// `inner` with a fuse on one side of each of its calls, which then unwind.
pub(crate) fn fused(
    inner: Arc<BlockStore>,
    fuse: Arc<Fuse>,
    strategy: Strategy,
    side: Side,
) -> Arc<HookedStore<BlockStore>> {
    let hook = move |at: &At, below: &mut Below<'_>| {
        if side == Side::Before {
            fuse.pass(name(at.call));
        }
        let result = below();
        if side == Side::After {
            fuse.pass(name(at.call));
        }
        result
    };
    Arc::new(HookedStore::new(inner).around(hook).with_strategy(strategy))
}

/// What a call of a store is called where it blew.
const fn name(call: Call) -> &'static str {
    match call {
        Call::Read => "read",
        Call::WriteBegin => "write_begin",
        Call::WriteEnd => "write_end",
        Call::Writeback => "writeback",
        Call::TruncateBlocks => "trim",
        Call::SetSize => "set_size",
        Call::Sync => "sync",
        Call::Fallocate => "fallocate",
        Call::PrepareSize => "prepare_size",
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
