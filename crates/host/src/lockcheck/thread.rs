//! The calling thread's side: what it holds, and which machine it belongs to at the moment.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use super::check::LockCheck;
use super::instance::Instance;
use super::record::{Record, lock};

/// Remembered events: a thread that does the same under the same locks again need not ask the
/// graph.
const REMEMBERED: usize = 64;

/// The calling thread's side of the checker.
pub(super) struct Local {
    pub(super) record: Arc<Mutex<Record>>,
    check: RefCell<Option<Arc<LockCheck>>>,
    seen: [Cell<u64>; REMEMBERED],
}

thread_local! {
    static LOCAL: Local = Local {
        record: Arc::new(Mutex::new(Record {
            name: std::thread::current().name().unwrap_or("unnamed").to_owned(),
            held: Vec::new(),
            waiting: None,
        })),
        check: const { RefCell::new(None) },
        seen: const { [const { Cell::new(0) }; REMEMBERED] },
    };
}

impl Local {
    /// Runs `f` with the calling thread's side; `None` while the thread is being torn down.
    pub(super) fn with<R>(f: impl FnOnce(&Self) -> R) -> Option<R> {
        LOCAL.try_with(f).ok()
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// The machine that the thread works for.
    pub(super) fn check(&self) -> Option<Arc<LockCheck>> {
        self.check.borrow().clone()
    }

    /// Whether this event has been seen lately by this thread, in the same state; remembers it.
    pub(super) fn seen(&self, check: &LockCheck, held: &[Instance], event: impl Hash) -> bool {
        let mut mix = Mix(0xcbf2_9ce4_8422_2325);
        (check.stamp(), held, event).hash(&mut mix);
        let hash = mix.finish() | 1;
        let place = &self.seen[(hash >> 32) as usize % REMEMBERED];
        place.replace(hash) == hash
    }
}

impl LockCheck {
    /// The calling thread works for this checker's machine from now on.
    pub fn adopt(self: &Arc<Self>) {
        let _ = Local::with(|local| {
            if local.check.borrow().as_ref().is_some_and(|check| Arc::ptr_eq(check, self)) {
                return;
            }
            *local.check.borrow_mut() = Some(Arc::clone(self));
            self.watch(&local.record);
        });
    }
}

/// A small multiplicative hash: this runs at every lock.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
