//! The sleeping reader–writer lock: writers are alone, a writer that waits is served before later
//! readers, no wake-up is lost, and a killed waiter holds up no other.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use faultless_page::{Errno, SleepRwGuard, SleepRwLock, Word};

use crate::on_loom::explore::Run;
use crate::on_loom::locks::{Guarded, Thread};
use crate::on_loom::words::LoomWord;
use crate::on_loom::world::{K, World};

/// How a thread takes the lock.
#[derive(Clone, Copy, Debug)]
enum Taker {
    Reader,
    Writer,
    /// A writer that was killed: it has the lock only if that is free at once, or in time.
    Killed,
}

use Taker::{Killed, Reader, Writer};

/// The lock, what it guards, and the machine to wait on.
#[derive(Clone)]
struct Shared {
    world: World,
    lock: Arc<SleepRwLock<K>>,
    guarded: Arc<Guarded>,
}

impl Shared {
    fn new() -> Self {
        Self { world: World::new(1), lock: Arc::new(SleepRwLock::new()), guarded: Guarded::new() }
    }

    fn read(&self, killed: &impl Fn() -> bool) -> Result<SleepRwGuard<'_, K>, Errno> {
        self.lock.read(self.world.cache.wait(), killed)
    }

    fn write(&self, killed: &impl Fn() -> bool) -> Result<SleepRwGuard<'_, K>, Errno> {
        self.lock.write(self.world.cache.wait(), killed)
    }

    /// A thread that takes the lock once, and uses what it guards.
    fn taker(&self, taker: Taker) -> Thread {
        let shared = self.clone();
        Box::new(move || match taker {
            Reader => {
                let held = shared.read(&|| false).expect("not killed");
                shared.guarded.look();
                drop(held);
            }
            Writer | Killed => {
                let is_killed = matches!(taker, Killed);
                match shared.write(&|| is_killed) {
                    Ok(held) => {
                        shared.guarded.touch();
                        drop(held);
                    }
                    Err(_) => assert!(is_killed, "interrupted without a signal"),
                }
            }
        })
    }

    /// What is left when all threads are done: a lock that a writer gets.
    fn end(self) -> Box<dyn FnOnce()> {
        Box::new(move || {
            let held = self.write(&|| true).expect("a lock was left behind");
            drop(held);
        })
    }
}

fn takers(takers: &[Taker]) -> Run {
    let shared = Shared::new();
    let threads = takers.iter().map(|taker| shared.taker(*taker)).collect();
    Run { threads, end: shared.end() }
}

/// A writer between two readers.
pub fn readers_and_writer() -> Run {
    takers(&[Reader, Writer, Reader])
}

/// Two writers and a reader.
pub fn writers_and_reader() -> Run {
    takers(&[Writer, Reader, Writer])
}

/// As the first, but the writer has been killed.
pub fn readers_and_killed_writer() -> Run {
    takers(&[Reader, Killed, Reader])
}

/// L1: a reader that comes once a writer waits is served after it.
pub fn writer_before_later_reader() -> Run {
    let shared = Shared::new();
    // Not part of what is explored: they say what the schedule has led to.
    let (waits, entered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (own, announced, inside) = (shared.clone(), Arc::clone(&waits), Arc::clone(&entered));
    let writer = move || {
        // Asked once the request stands in the queue.
        let never = || {
            announced.store(true, Relaxed);
            false
        };
        let held = own.write(&never).expect("not killed");
        inside.store(true, Relaxed);
        own.guarded.touch();
        drop(held);
    };
    let own = shared.clone();
    let later = move || {
        let behind = waits.load(Relaxed);
        let held = own.read(&|| false).expect("not killed");
        assert!(!behind || entered.load(Relaxed), "a writer that waits was overtaken");
        own.guarded.look();
        drop(held);
    };
    let threads: Vec<Thread> = vec![shared.taker(Reader), Box::new(writer), Box::new(later)];
    Run { threads, end: shared.end() }
}

/// L3: a writer behind a reader that never lets go is killed, and a reader behind the writer gets
/// in.
pub fn killed_writer_and_reader_behind() -> Run {
    let shared = Shared::new();
    let held = shared.read(&|| false).expect("free");
    std::mem::forget(held);
    let kill: Arc<LoomWord> = Arc::new(Word::<u64>::new(0));
    let (own, flag) = (shared.clone(), Arc::clone(&kill));
    let victim = move || {
        let killed = || Word::<u64>::fetch_or(&*flag, 0, AcqRel) != 0;
        assert_eq!(own.write(&killed).map(drop), Err(Errno::Interrupted));
    };
    let own = shared.clone();
    let killer = move || {
        Word::<u64>::swap(&*kill, 1, AcqRel);
        own.world.cache.wait().interrupt();
    };
    let threads: Vec<Thread> = vec![Box::new(victim), shared.taker(Reader), Box::new(killer)];
    Run { threads, end: Box::new(move || drop(shared)) }
}
