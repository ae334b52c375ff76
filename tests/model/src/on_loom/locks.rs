//! Page locks with waiters, and the sleeping lock: they exclude, and no wake-up is lost.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_page::{LockId, PageIndex, PageRun, SleepMutex};
use loom::cell::UnsafeCell;

use crate::on_loom::explore::Run;
use crate::on_loom::world::{K, World, cx};

/// Something that only the holder of a lock touches: loom reports two at once.
#[derive(Debug)]
struct Guarded(UnsafeCell<u32>);

// SAFETY: loom judges the accesses.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn touch(&self) {
        // SAFETY: loom hands out a pointer to the cell's value and panics if another thread may have one.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

fn lockers(runs: &'static [&'static [(u64, u64)]]) -> Run {
    let world = World::new(4);
    let mapping = world.mapping(0);
    drop(mapping.lock_or_create(cx(), PageRun::leaf(PageIndex::ZERO)).expect("memory"));
    let pages: Arc<[_; 3]> = Arc::new([Guarded::new(), Guarded::new(), Guarded::new()]);
    let thread = |runs: &'static [(u64, u64)]| {
        let (mapping, pages) = (Arc::clone(&mapping), Arc::clone(&pages));
        Box::new(move || {
            for &(first, len) in runs {
                let run = PageRun::new(PageIndex::new(first), len);
                let locked = mapping.lock(cx(), run).expect("the leaf stays");
                (first..first + len).for_each(|page| pages[page as usize].touch());
                drop(locked);
            }
        }) as Box<dyn FnOnce() + Send>
    };
    let threads = runs.iter().copied().map(thread).collect();
    Run { threads, end: Box::new(move || drop((world, mapping))) }
}

/// Two threads lock one page, one of them twice.
pub fn one_page() -> Run {
    lockers(&[&[(0, 1), (0, 1)], &[(0, 1)]])
}

/// Three threads lock one page.
pub fn one_page_three_threads() -> Run {
    lockers(&[&[(0, 1)], &[(0, 1)], &[(0, 1)]])
}

/// Three threads lock runs that overlap in the middle one.
pub fn overlapping_runs() -> Run {
    lockers(&[&[(0, 2)], &[(1, 2)], &[(0, 1)]])
}

/// Three threads take a sleeping lock.
pub fn sleep_mutex() -> Run {
    let world = World::new(1);
    let lock: Arc<SleepMutex<K>> = Arc::new(SleepMutex::new(LockId::Inode(1)));
    let guarded = Guarded::new();
    let thread = |_| {
        let (world, lock, guarded) = (world.clone(), Arc::clone(&lock), Arc::clone(&guarded));
        Box::new(move || {
            let held = lock.lock(world.cache.wait());
            guarded.touch();
            drop(held);
        }) as Box<dyn FnOnce() + Send>
    };
    Run { threads: (0..3).map(thread).collect(), end: Box::new(move || drop((world, lock))) }
}
