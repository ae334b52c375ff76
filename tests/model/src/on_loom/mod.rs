//! Loom: exhaustive up to a bound of preemptions, with the weak memory of C11.
//!
//! [`words`] is the family, [`Loom`] the checker; [`explore`] runs a model. The models, one file a
//! subject: [`locks`], [`epoch`], [`index`], [`marks`],
//! [`reclaim`], [`requests`], [`rwlock`], [`writes`].

pub mod epoch;
pub mod explore;
pub mod index;
pub mod locks;
pub mod marks;
pub mod reclaim;
pub mod requests;
pub mod rwlock;
pub mod words;
pub mod world;
pub mod writes;

use std::sync::PoisonError;

use faultless_page::{NoUserMappings, Trace, TwoQueues};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};

use crate::checker::{Bell, Checker, Watch};
use crate::memory;
use crate::on_loom::words::{LoomSync, LoomWord};
use faultless_page::Word;
use std::sync::atomic::Ordering::Relaxed;

/// The checker.
#[derive(Clone, Debug)]
pub struct Loom;

/// The same, for a cache that keeps books about what it gives up.
#[derive(Clone, Debug)]
pub struct LoomWithBooks;

impl Checker for LoomWithBooks {
    type Sync = LoomSync;
    type Bell = LoomBell;
    type Watch = LoomWatch;
    type Maps = NoUserMappings;
    type Replacement = TwoQueues;

    fn trace(event: Trace) {
        Loom::trace(event);
    }

    fn after_wake() {
        Loom::after_wake();
    }
}

impl Checker for Loom {
    type Sync = LoomSync;
    type Bell = LoomBell;
    type Watch = LoomWatch;
    type Maps = NoUserMappings;
    type Replacement = ();

    fn trace(event: Trace) {
        if matches!(event, Trace::Zeroed(_) | Trace::Copied(_) | Trace::Bounced(_)) {
            memory::publish();
        }
    }

    fn after_wake() {
        words::after_wake();
    }
}

/// A flag under loom's mutex, with its condition variable.
#[derive(Debug)]
pub struct LoomBell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell for LoomBell {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }

    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// Loom's race detector for the frame's life, and a relaxed word for its bytes.
#[derive(Debug)]
pub struct LoomWatch {
    life: UnsafeCell<()>,
    version: LoomWord,
}

// SAFETY: the cell holds nothing; it is there for loom to check accesses to it.
unsafe impl Send for LoomWatch {}
// SAFETY: as above.
unsafe impl Sync for LoomWatch {}

impl Watch for LoomWatch {
    fn new() -> Self {
        Self { life: UnsafeCell::new(()), version: <LoomWord as Word<u64>>::new(0) }
    }

    fn used(&self) {
        self.life.with(|_| ());
    }

    fn taken(&self) {}

    fn given_away(&self) {
        self.life.with_mut(|_| ());
    }

    fn publish(&self, version: u64) {
        Word::store(&self.version, version, Relaxed);
    }

    fn observe(&self) -> u64 {
        Word::load(&self.version, Relaxed)
    }
}
