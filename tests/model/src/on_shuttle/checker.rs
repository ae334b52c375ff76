//! Shuttle as a [`Checker`].
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use faultless_host::stepped::{Mappings, Point, Threads};
use faultless_page::{LockId, Trace, Wait, WaitKey};

use crate::checker::{Checker, Watch};
use crate::memory::{self, ModelFrames};
use crate::on_shuttle::bell::ShuttleBell;
use crate::on_shuttle::held;
use crate::on_shuttle::words::{self, ShuttleSync};
use crate::wait::ModelWait;

/// The checker.
#[derive(Debug)]
pub struct Shuttle;

impl Checker for Shuttle {
    type Sync = ShuttleSync;
    type Bell = ShuttleBell;
    type Watch = ShuttleWatch;
    type Maps = Mappings<ModelFrames<Self>, ShuttleThreads>;
    type Replacement = ();

    fn trace(event: Trace) {
        match event {
            Trace::Acquired(LockId::Pages { .. }) => held::change(1),
            Trace::Released(LockId::Pages { .. }) => held::change(-1),
            Trace::Allocated | Trace::MayFault => held::assert_no_page_lock(),
            Trace::Zeroed(_) | Trace::Copied(_) | Trace::Bounced(_) => memory::publish(),
            _ => {}
        }
    }
}

/// Shuttle's threads, for the address space.
#[derive(Debug, Default)]
pub struct ShuttleThreads(ModelWait<Shuttle>);

impl Threads for ShuttleThreads {
    const PIECE: usize = 4;

    fn point(&self, at: Point) {
        match at {
            Point::Lock => {
                // M comes before page locks.
                held::assert_no_page_lock();
                words::lock_point();
            }
            Point::Step | Point::Entry => words::word_point(),
        }
    }

    fn wait_until(&self, key: WaitKey, _what: &'static str, ready: &mut dyn FnMut() -> bool) {
        self.0.wait_until(key, ready);
    }

    fn wake(&self, key: WaitKey) {
        self.0.wake(key);
    }
}

/// Whether the frame has an owner; memory is sequentially consistent, so the newest version is what
/// everyone sees.
#[derive(Debug)]
pub struct ShuttleWatch {
    owned: AtomicBool,
    version: AtomicU64,
}

impl Watch for ShuttleWatch {
    fn new() -> Self {
        Self { owned: AtomicBool::new(false), version: AtomicU64::new(0) }
    }

    fn used(&self) {
        assert!(self.owned.load(SeqCst), "a frame used after it was freed");
    }

    fn taken(&self) {
        self.owned.store(true, SeqCst);
    }

    fn given_away(&self) {
        self.owned.store(false, SeqCst);
    }

    fn publish(&self, version: u64) {
        self.version.store(version, SeqCst);
    }

    fn observe(&self) -> u64 {
        self.version.load(SeqCst)
    }
}
