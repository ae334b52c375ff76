//! The kernel of the load: its policy, its limit of dirty pages, and the files that it knows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use faultless::filemap::{
    DirtyLimit, DirtyThresholds, DirtyVictims, DirtyWriter, Files, Inode, Inodes, NoTask,
    Reclaimer, Task,
};
use faultless::page::{CoreSync, Count, LockContext, PageCache, StoreId, Trace, TwoQueues};
use faultless_host::wait::HostWait;
use faultless_host::{Checked, Flavor, HostKernel};

/// Frames for pages: a quarter of what the files have.
pub(super) const FRAMES: usize = 384;
/// Pages that may be dirty or under writeback.
const HARD: u64 = 120;
const BACKGROUND: u64 = 40;

pub(super) type Kernel = HostKernel<Loaded>;
pub(super) type File = Arc<Inode<Kernel>>;

/// Looks for pages, a millisecond apart, after which memory is at its end.
const MOST_LOOKS: u32 = 1000;

/// As [`Checked`], with a limit and direct reclaim.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loaded {}

/// The limit. One for the process: one load runs at a time.
pub(super) static LIMIT: DirtyLimit<Kernel> =
    DirtyLimit::new(DirtyThresholds::new(BACKGROUND, HARD));
/// How the kernel waits for a promise.
pub(super) static WAIT: OnceLock<HostWait> = OnceLock::new();
static TABLE: Mutex<BTreeMap<u64, Weak<Inode<Kernel>>>> = Mutex::new(BTreeMap::new());
/// The most that the limit ever counted: a page twice while it goes from dirty to writeback.
pub(super) static MOST_CHARGED: AtomicU64 = AtomicU64::new(0);
/// Times that an allocation had pages given up, and pages.
pub(super) static DIRECT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

impl Flavor for Loaded {
    type Sync = CoreSync;
    type Replacement = TwoQueues;
    const CHECKED: bool = true;

    fn trace(event: Trace) {
        Checked::trace(event);
    }

    fn count(store: StoreId, what: Count, pages: u32) {
        if let Some(wait) = WAIT.get() {
            LIMIT.count(store, what, pages, wait);
            MOST_CHARGED.fetch_max(LIMIT.charged(), Relaxed);
        }
    }

    fn reclaim(cache: &PageCache<Kernel>, mut locks: LockContext<'_>, wanted: u32) -> u32 {
        let reclaimer = Reclaimer::new(DirtyVictims::Leave);
        DIRECT[0].fetch_add(1, Relaxed);
        // All pages may be dirty or on their way: the flusher and the store go on meanwhile.
        for _ in 0..MOST_LOOKS {
            let done = reclaimer.step(cache, &Table, &mut locks, wanted, &NoTask);
            DIRECT[1].fetch_add(u64::from(done.dropped), Relaxed);
            if done.dropped > 0 {
                return done.dropped;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        0
    }
}

/// The files.
pub(super) struct Table;

impl Table {
    pub(super) fn add(file: &File) {
        Self::files().insert(file.mapping().id(), Arc::downgrade(file));
    }

    pub(super) fn clear() {
        Self::files().clear();
    }

    fn files() -> std::sync::MutexGuard<'static, BTreeMap<u64, Weak<Inode<Kernel>>>> {
        TABLE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files<Kernel> for Table {
    type Handle = File;

    fn find(&self, mapping: u64) -> Option<File> {
        Self::files().get(&mapping)?.upgrade()
    }
}

impl Inodes<Kernel> for Table {
    type Handle = File;

    fn next(&self, from: u64) -> Option<(u64, File)> {
        Self::files().range(from..).find_map(|(key, file)| Some((*key, file.upgrade()?)))
    }
}

/// A task that asks before it dirties pages, and pauses.
pub(super) struct Limited {
    writer: DirtyWriter<'static, Kernel>,
    began: Instant,
    pub(super) longest_pause: Cell<Duration>,
}

impl Limited {
    pub(super) fn new() -> Self {
        let wait = WAIT.get().expect("a machine");
        let (began, longest_pause) = (Instant::now(), Cell::new(Duration::ZERO));
        Self { writer: DirtyWriter::new(&LIMIT, wait), began, longest_pause }
    }
}

impl Task for Limited {
    const LIMITS_DIRTY_PAGES: bool = true;

    fn now(&self) -> u64 {
        1 + self.began.elapsed().as_nanos() as u64
    }

    fn throttle(&self) {
        let pause = Duration::from_nanos(self.writer.pause_ns(self.now()));
        self.longest_pause.set(self.longest_pause.get().max(pause));
        std::thread::sleep(pause);
    }

    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        self.writer.admit(store, wanted, &|| false)
    }

    fn settle_dirty(&self, dirtied: u32) {
        self.writer.settle(dirtied);
    }
}
