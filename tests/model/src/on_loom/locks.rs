//! Page locks with waiters, and the sleeping lock: they exclude, no wake-up is lost, and waiters
//! are killed and overtaken as is stated.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use faultless_page::{Errno, LockId, Mapping, PageIndex, PageRun, SleepMutex, Word};
use loom::cell::UnsafeCell;

use crate::checker::Bell;
use crate::on_loom::LoomBell;
use crate::on_loom::explore::Run;
use crate::on_loom::words::{self, LoomWord};
use crate::on_loom::world::{K, PAGE, World, cx};

/// Something that only the holder of a lock touches: loom reports two at once.
#[derive(Debug)]
pub(super) struct Guarded(UnsafeCell<u32>);

// SAFETY: loom judges the accesses.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    pub(super) fn touch(&self) {
        // SAFETY: loom hands out a pointer to the cell's value and panics if another thread may
        // have one.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    /// Looks at it, as others that share the lock may at the same time.
    pub(super) fn look(&self) -> u32 {
        // SAFETY: as above, but for others that look.
        self.0.with(|value| unsafe { *value })
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

pub(super) type Thread = Box<dyn FnOnce() + Send>;

/// A file with an empty leaf, and a thread-safe handle of it.
fn file(world: &World) -> Arc<Mapping<K>> {
    let mapping = world.mapping(0);
    drop(mapping.lock_or_create(cx(), PAGE).expect("memory"));
    mapping
}

/// L1: once a request for two pages waits for one of them, another thread gets the other page
/// before it at most once, however often it asks.
pub fn overtaking() -> Run {
    let world = World::new(4);
    let mapping = file(&world);
    // Not part of what is explored: they say what the schedule has led to.
    let (waits, entered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (file, announced, inside) =
        (Arc::clone(&mapping), Arc::clone(&waits), Arc::clone(&entered));
    let waiter = move || {
        // Asked once the request stands in the queue.
        let never = || {
            announced.store(true, Relaxed);
            false
        };
        let both = PageRun::new(PageIndex::ZERO, 2);
        let locked = file.lock_killable(cx(), both, &never).expect("not killed");
        inside.store(true, Relaxed);
        drop(locked);
    };
    let file = Arc::clone(&mapping);
    let holder = move || drop(file.lock(cx(), PageRun::single(PageIndex::new(1))));
    let (file, announced, inside) = (Arc::clone(&mapping), waits, entered);
    let passer = move || {
        let mut overtaken = 0;
        for _ in 0..2 {
            let behind = announced.load(Relaxed);
            let locked = file.lock(cx(), PAGE);
            overtaken += u32::from(behind && !inside.load(Relaxed));
            drop(locked);
        }
        assert!(overtaken <= 1, "a waiter was overtaken {overtaken} times");
    };
    let threads: Vec<Thread> = vec![Box::new(holder), Box::new(waiter), Box::new(passer)];
    Run { threads, end: Box::new(move || drop((world, mapping))) }
}

/// L3: a request behind a page that nobody unlocks is killed; one behind the request gets in.
pub fn killed_waiter() -> Run {
    let world = World::new(4);
    let mapping = file(&world);
    let held = mapping.lock(cx(), PAGE).expect("a leaf");
    std::mem::forget(held);
    let kill: Arc<LoomWord> = Arc::new(Word::<u64>::new(0));
    let (file, flag) = (Arc::clone(&mapping), Arc::clone(&kill));
    let victim = move || {
        let killed = || Word::<u64>::fetch_or(&*flag, 0, AcqRel) != 0;
        let both = PageRun::new(PageIndex::ZERO, 2);
        let error = file.lock_killable(cx(), both, &killed).map(drop);
        assert_eq!(error, Err(Errno::Interrupted));
    };
    let file = Arc::clone(&mapping);
    let behind = move || drop(file.lock(cx(), PageRun::single(PageIndex::new(1))));
    let (machine, flag) = (world.clone(), kill);
    let killer = move || {
        Word::<u64>::swap(&*flag, 1, AcqRel);
        machine.cache.wait().interrupt();
    };
    let threads: Vec<Thread> = vec![Box::new(victim), Box::new(behind), Box::new(killer)];
    Run { threads, end: Box::new(move || drop((world, mapping))) }
}

/// A killed request gives up, or gets its pages after all, while they are unlocked; a third thread
/// wants them too.
pub fn killed_beside_unlock() -> Run {
    let world = World::new(4);
    let mapping = file(&world);
    let guarded = Guarded::new();
    let locker = || {
        let (file, guarded) = (Arc::clone(&mapping), Arc::clone(&guarded));
        Box::new(move || {
            let locked = file.lock(cx(), PAGE);
            guarded.touch();
            drop(locked);
        }) as Thread
    };
    let (file, touched) = (Arc::clone(&mapping), Arc::clone(&guarded));
    let victim = Box::new(move || {
        if let Ok(Some(locked)) = file.lock_killable(cx(), PAGE, &|| true) {
            touched.touch();
            drop(locked);
        }
    });
    let threads = vec![locker(), victim, locker()];
    let end = move || {
        assert!(mapping.try_lock(cx(), PAGE).is_some(), "a lock was left behind");
        drop((world, mapping));
    };
    Run { threads, end: Box::new(end) }
}

/// L5: a leaf is pruned and becomes another file's, whose page stays locked until the locker on its
/// way to it has given up.
pub fn stale_waiter() -> Run {
    let world = World::new(6);
    let (from, to) = (file(&world), world.mapping(4));
    let bell = Arc::new(LoomBell::new());
    let (mapping, done) = (Arc::clone(&from), Arc::clone(&bell));
    let locker = move || {
        words::blind_if_planted();
        drop(mapping.lock(cx(), PAGE));
        done.ring();
    };
    let (old, new) = (Arc::clone(&from), Arc::clone(&to));
    let reuse = move || {
        old.prune(PageIndex::ZERO, PageIndex::new(64));
        let held = new.lock_or_create(cx(), PAGE).expect("memory");
        bell.wait();
        drop(held);
    };
    let threads: Vec<Thread> = vec![Box::new(locker), Box::new(reuse)];
    Run { threads, end: Box::new(move || drop((world, from, to))) }
}

/// Three threads take a sleeping lock.
pub fn sleep_mutex() -> Run {
    mutex_takers(&[false, false, false])
}

/// As before, but one of them has been killed: it takes the lock only if it comes free in time.
pub fn sleep_mutex_killed() -> Run {
    mutex_takers(&[false, true, false])
}

fn mutex_takers(killed: &[bool]) -> Run {
    let world = World::new(1);
    let lock: Arc<SleepMutex<K>> = Arc::new(SleepMutex::new(LockId::Inode(1)));
    let guarded = Guarded::new();
    let thread = |killed: bool| {
        let (world, lock, guarded) = (world.clone(), Arc::clone(&lock), Arc::clone(&guarded));
        Box::new(move || {
            if let Ok(held) = lock.lock_killable(world.cache.wait(), &|| killed) {
                guarded.touch();
                drop(held);
            } else {
                assert!(killed, "interrupted without a signal");
            }
        }) as Thread
    };
    let threads = killed.iter().copied().map(thread).collect();
    let end = move || {
        assert!(!lock.is_locked(), "a lock was left behind");
        drop((world, lock));
    };
    Run { threads, end: Box::new(end) }
}
