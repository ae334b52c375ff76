//! The grace period: whoever was inside when it began is gone when it ends.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless_page::{Epoch, Kernel, SyncFamily, Wait, Word};
use loom::cell::UnsafeCell;

use crate::on_loom::Loom;
use crate::on_loom::explore::Run;
use crate::on_loom::words::{LoomSync, LoomWord};
use crate::on_loom::world::K;
use crate::plant::{self, Plant};
use crate::wait::ModelWait;

/// What a read section can find while it is linked, and must not touch once it is freed.
struct Thing {
    linked: LoomWord,
    life: UnsafeCell<()>,
}

// SAFETY: the cell holds nothing; loom judges the accesses.
unsafe impl Send for Thing {}
// SAFETY: as above.
unsafe impl Sync for Thing {}

impl Thing {
    fn new() -> Self {
        Self { linked: Word::<u64>::new(1), life: UnsafeCell::new(()) }
    }

    fn look(&self) {
        if Word::<u64>::load(&self.linked, SeqCst) != 0 {
            self.life.with(|_| ());
        }
    }

    fn unlink(&self) {
        Word::<u64>::store(&self.linked, 0, SeqCst);
    }

    fn free(&self) {
        self.life.with_mut(|_| ());
    }
}

trait Grace: Send + Sync + 'static {
    fn read(&self, wait: &ModelWait<Loom>, body: &dyn Fn());
    fn synchronize(&self, wait: &ModelWait<Loom>);
}

impl Grace for Epoch<<K as Kernel>::Sync> {
    fn read(&self, wait: &ModelWait<Loom>, body: &dyn Fn()) {
        let _section = self.enter(K::cpu(), wait);
        body();
    }

    fn synchronize(&self, wait: &ModelWait<Loom>) {
        Epoch::synchronize(self, wait);
    }
}

/// The planted bug [`Plant::OnePhase`]: turns readers to the other phase and waits for those of the
/// old one. A reader that read the old phase before, and counts itself in afterwards, is in a phase
/// that the next grace period does not wait for.
struct OnePhase {
    readers: [LoomWord; 2],
    phase: LoomWord,
}

impl Grace for OnePhase {
    fn read(&self, _wait: &ModelWait<Loom>, body: &dyn Fn()) {
        let phase: u64 = self.phase.load(Relaxed);
        let counter = &self.readers[phase as usize];
        Word::<u64>::fetch_add(counter, 1, SeqCst);
        body();
        Word::<u64>::fetch_sub(counter, 1, SeqCst);
    }

    fn synchronize(&self, _wait: &ModelWait<Loom>) {
        let phase: u64 = self.phase.load(Relaxed);
        Word::<u64>::store(&self.phase, phase ^ 1, SeqCst);
        while Word::<u64>::load(&self.readers[phase as usize], SeqCst) != 0 {
            LoomSync::relax();
        }
    }
}

fn removals(readers: usize, things: usize) -> Run {
    let grace: Arc<dyn Grace> = if plant::is(Plant::OnePhase) {
        let word = || Word::<u64>::new(0);
        Arc::new(OnePhase { readers: [word(), word()], phase: word() })
    } else {
        Arc::new(Epoch::<<K as Kernel>::Sync>::at_run_time())
    };
    let wait: Arc<ModelWait<Loom>> = Arc::new(ModelWait::new());
    let things: Arc<Vec<Thing>> = Arc::new((0..things).map(|_| Thing::new()).collect());
    let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for _ in 0..readers {
        let (grace, wait, things) = (Arc::clone(&grace), Arc::clone(&wait), Arc::clone(&things));
        threads.push(Box::new(move || grace.read(&wait, &|| things.iter().for_each(Thing::look))));
    }
    let (remover, sleepers, removed) = (Arc::clone(&grace), Arc::clone(&wait), Arc::clone(&things));
    threads.push(Box::new(move || {
        for thing in removed.iter() {
            thing.unlink();
            remover.synchronize(&sleepers);
            thing.free();
        }
        sleepers.wake(faultless_page::WaitKey(0));
    }));
    Run { threads, end: Box::new(move || drop((grace, wait, things))) }
}

/// One reader, two things removed one after the other.
pub fn two_removals() -> Run {
    removals(1, 2)
}

/// Two readers, one thing removed.
pub fn two_readers() -> Run {
    removals(2, 1)
}

/// Two removers at once, and a reader.
pub fn two_removers() -> Run {
    let epoch = Arc::new(Epoch::<<K as Kernel>::Sync>::at_run_time());
    let wait: Arc<ModelWait<Loom>> = Arc::new(ModelWait::new());
    let things: Arc<[Thing; 2]> = Arc::new([Thing::new(), Thing::new()]);
    let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for mine in 0..2 {
        let (epoch, wait, things) = (Arc::clone(&epoch), Arc::clone(&wait), Arc::clone(&things));
        threads.push(Box::new(move || {
            things[mine].unlink();
            epoch.synchronize(&*wait);
            things[mine].free();
        }));
    }
    let (reader, sleepers, seen) = (Arc::clone(&epoch), Arc::clone(&wait), Arc::clone(&things));
    threads.push(Box::new(move || reader.read(&sleepers, &|| seen.iter().for_each(Thing::look))));
    Run { threads, end: Box::new(move || drop((epoch, wait, things))) }
}
