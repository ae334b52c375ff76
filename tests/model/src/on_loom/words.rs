//! Words and short locks for loom.
//!
//! Two things differ from a plain wrapper.
//!
//! **Sequential consistency.** Loom treats such an access as acquire-release. As [`Word`] asks, a
//! fence does the rest: one before each sequentially consistent *load*. Every pair that the code
//! under test relies on is a store or read-modify-write of one word followed by such a load of
//! another, so that is enough, and it is the least: further fences would hide orderings that are
//! missing elsewhere. Loom's partial-order reduction knows nothing of fences; so each of them is
//! preceded by a relaxed operation on a word of its own, which makes their order something to
//! explore.
//!
//! **Cold words.** A leaf has 77 words, an epoch 32 counters; a model changes a dozen of them, and
//! loom's time goes with their number. A word that is not changed while threads run needs no
//! exploring: it is *cold*, a plain value. Which words are hot is learned: if a thread is about to
//! change a cold one, the process starts itself afresh, with that word's serial number (words of
//! the set-up are made in the same order each time) among the hot ones.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::env;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64};

use faultless_page::{Spin, SyncFamily, Word};
use loom::sync::atomic::AtomicU64 as LoomAtomic;

use crate::plant::{self, Plant};

/// The family.
#[derive(Clone, Copy, Debug)]
pub struct LoomSync;

// SAFETY: the words and short locks are loom's.
unsafe impl SyncFamily for LoomSync {
    type Word64 = LoomWord;
    type Word32 = LoomWord;
    type Spin<T: Send> = LoomSpin<T>;
    const SPIN_ROUNDS: u32 = 0;

    fn fence(order: Ordering) {
        if plant::is(Plant::WeakFences) {
            return;
        }
        if order == SeqCst {
            touch_fences();
        }
        loom::sync::atomic::fence(order);
    }

    fn relax() {
        loom::thread::yield_now();
    }
}

/// A short lock: loom's mutex, which blocks instead of spinning.
#[derive(Debug)]
pub struct LoomSpin<T>(loom::sync::Mutex<T>);

/// Proof that a [`LoomSpin`] is held.
#[derive(Debug)]
pub struct LoomSpinGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

impl<T: Send> Spin<T> for LoomSpin<T> {
    type Guard<'a>
        = LoomSpinGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    fn lock(&self) -> Self::Guard<'_> {
        LoomSpinGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Deref for LoomSpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for LoomSpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

thread_local! {
    /// Serial number of the next word of the set-up; `None` while threads run.
    static SERIAL: Cell<Option<u32>> = const { Cell::new(None) };
    static HOT: RefCell<HashSet<u32>> = RefCell::new(known_hot());
    /// Touched before each fence.
    static FENCES: RefCell<Option<Rc<LoomAtomic>>> = const { RefCell::new(None) };
    /// A change that a planted bug holds back until the next wake: the word's address and the mask.
    static HELD_BACK: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
    /// As before, until the next mark is cleared: the word's address and its new value.
    static LATE_RECORD: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
}

/// Whether words that change now have to be hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// One thread, the same in each execution: words are counted.
    SetUp,
    /// Threads run: words made now are hot.
    Threads,
    /// One thread again.
    TearDown,
}

thread_local! {
    /// The thread that [`Plant::BlindWaiter`] makes blind.
    static BLIND: Cell<Option<loom::thread::ThreadId>> = const { Cell::new(None) };
}

/// The calling thread is the one that [`Plant::BlindWaiter`] makes blind, for the rest of the
/// execution.
pub fn blind_if_planted() {
    if plant::is(Plant::BlindWaiter) {
        BLIND.with(|blind| blind.set(Some(loom::thread::current().id())));
    }
}

fn is_blind() -> bool {
    let blind = BLIND.with(Cell::get);
    blind.is_some_and(|blind| loom::thread::current().id() == blind)
}

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::TearDown) };
}

/// Begins a phase of an execution.
pub fn enter(phase: Phase) {
    PHASE.with(|now| now.set(phase));
    if phase == Phase::SetUp {
        BLIND.with(|blind| blind.set(None));
        FENCES.with(|fences| *fences.borrow_mut() = Some(Rc::new(LoomAtomic::new(0))));
    }
    SERIAL.with(|serial| serial.set((phase == Phase::SetUp).then_some(0)));
}

fn is_with_threads() -> bool {
    PHASE.with(Cell::get) == Phase::Threads
}

/// How many words are hot.
#[must_use]
pub fn hot_words() -> usize {
    HOT.with(|hot| hot.borrow().len())
}

/// Where a process that starts itself afresh hands down what it knows: serial numbers with commas
/// between.
const HOT_WORDS: &str = "FAULTLESS_MODEL_HOT";

fn known_hot() -> HashSet<u32> {
    let known = env::var(HOT_WORDS).unwrap_or_default();
    known.split(',').filter_map(|serial| serial.parse().ok()).collect()
}

/// Starts the process afresh, with one more hot word.
fn start_afresh(serial: u32) -> ! {
    let mut known: Vec<String> =
        HOT.with(|hot| hot.borrow().iter().map(|serial| serial.to_string()).collect());
    known.push(serial.to_string());
    let program = env::current_exe().expect("the path of this program");
    let error =
        Command::new(program).args(env::args_os().skip(1)).env(HOT_WORDS, known.join(",")).exec();
    panic!("cannot start afresh: {error}");
}

const ANNOUNCED: u8 = 1;
const COUNTED: u8 = 2;
const OWNED: u8 = 4;
const HELD: u8 = 8;
const REQUESTED: u8 = 16;

/// A word, hot or cold.
#[derive(Debug)]
pub struct LoomWord {
    cold: AtomicU64,
    hot: Option<Box<LoomAtomic>>,
    serial: u32,
    /// What has been done to it, for planted bugs to recognise it by.
    role: AtomicU8,
    /// What was published first, for [`Plant::BlindWaiter`].
    published: AtomicU64,
}

impl LoomWord {
    fn with_value(value: u64) -> Self {
        let serial = SERIAL.with(|next| {
            next.get().inspect(|serial| next.set(Some(serial + 1))).unwrap_or(u32::MAX)
        });
        let hot = serial == u32::MAX || HOT.with(|hot| hot.borrow().contains(&serial));
        Self {
            cold: AtomicU64::new(value),
            hot: hot.then(|| Box::new(LoomAtomic::new(value))),
            serial,
            role: AtomicU8::new(0),
            published: AtomicU64::new(0),
        }
    }

    fn mark(&self, role: u8) {
        self.role.fetch_or(role, Relaxed);
    }

    fn is(&self, role: u8) -> bool {
        self.role.load(Relaxed) & role != 0
    }

    /// Whether it says whose a leaf is: the number of a mapping was published in it, and no
    /// address.
    fn is_owner(&self) -> bool {
        self.is(OWNED) && self.published.load(Relaxed) < 0x1000
    }

    fn get(&self, order: Ordering) -> u64 {
        if order == SeqCst
            && (self.is(ANNOUNCED) && plant::is(Plant::NoLook)
                || self.is(COUNTED) && plant::is(Plant::NoGrace))
        {
            return 0;
        }
        if order != Relaxed && self.is(REQUESTED) && plant::is(Plant::Unawaited) {
            return 0;
        }
        if order == Acquire && self.is(HELD) && plant::is(Plant::BlindRange)
            || order == Relaxed && self.is(ANNOUNCED) && plant::is(Plant::Barge)
        {
            return 0;
        } else if order == SeqCst && self.is_owner() && is_blind() {
            return self.published.load(Relaxed);
        }
        match &self.hot {
            None => self.cold.load(SeqCst),
            Some(word) if order == SeqCst => {
                full_fence();
                word.load(Acquire)
            }
            Some(word) => word.load(order),
        }
    }

    fn put(&self, value: u64, order: Ordering) {
        if order == SeqCst && value == 0 && self.is_owner() && plant::is(Plant::KeptIdentity) {
            return;
        }
        if order == Release && value != 0 {
            self.mark(OWNED);
            let _first = self.published.compare_exchange(0, value, Relaxed, Relaxed);
        }
        let weak = order == Release && plant::is(Plant::RelaxedSize);
        let order = if weak { Relaxed } else { order };
        match self.changing() {
            None => self.cold.store(value, SeqCst),
            Some(word) if order == SeqCst => word.store(value, Release),
            Some(word) => word.store(value, order),
        }
    }

    /// The atomic word, if it is hot. If it is cold and should not be, that is learned.
    fn changing(&self) -> Option<&LoomAtomic> {
        if self.hot.is_none() && PHASE.with(Cell::get) == Phase::Threads {
            start_afresh(self.serial);
        }
        self.hot.as_deref()
    }

    fn modify(
        &self,
        order: Ordering,
        cold: impl FnOnce(&AtomicU64) -> u64,
        hot: impl FnOnce(&LoomAtomic, Ordering) -> u64,
    ) -> u64 {
        match self.changing() {
            None => cold(&self.cold),
            Some(word) if order == SeqCst => hot(word, AcqRel),
            Some(word) => hot(word, order),
        }
    }

    fn add(&self, value: u64, order: Ordering) -> u64 {
        match order {
            SeqCst => self.mark(COUNTED),
            Release => self.mark(HELD),
            Relaxed => self.mark(REQUESTED),
            AcqRel if plant::is(Plant::Uncounted) => return self.get(Relaxed),
            _ => {}
        }
        self.modify(order, |word| word.fetch_add(value, SeqCst), |word, o| word.fetch_add(value, o))
    }

    fn and(&self, value: u64, order: Ordering) -> u64 {
        if order == SeqCst && self.is(ANNOUNCED) && plant::is(Plant::ClearAfterWake) {
            let at = std::ptr::from_ref(self).expose_provenance();
            HELD_BACK.with(|held| held.set(Some((at, value))));
            return self.get(Relaxed);
        }
        let before = self.modify(
            order,
            |word| word.fetch_and(value, SeqCst),
            |word, o| word.fetch_and(value, o),
        );
        if order == SeqCst {
            after_clear();
        }
        before
    }

    fn or(&self, value: u64, order: Ordering) -> u64 {
        if order == SeqCst {
            self.mark(ANNOUNCED);
        }
        let weak = order == Release && plant::is(Plant::RelaxedPublish);
        let order = if weak { Relaxed } else { order };
        self.modify(order, |word| word.fetch_or(value, SeqCst), |word, o| word.fetch_or(value, o))
    }

    fn exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        if success == AcqRel && current == 0 && plant::is(Plant::LateRecord) && is_with_threads() {
            let at = std::ptr::from_ref(self).expose_provenance();
            LATE_RECORD.with(|late| late.set(Some((at, new))));
            return Ok(current);
        }
        let Some(word) = self.changing() else {
            return self.cold.compare_exchange(current, new, SeqCst, SeqCst);
        };
        if success == SeqCst {
            return word.compare_exchange(current, new, AcqRel, Acquire);
        }
        word.compare_exchange(current, new, success, failure)
    }
}

fn full_fence() {
    if plant::is(Plant::WeakSeqCst) {
        return;
    }
    touch_fences();
    loom::sync::atomic::fence(SeqCst);
}

/// Makes the order of fences something to explore.
fn touch_fences() {
    if PHASE.with(Cell::get) == Phase::Threads
        && let Some(order) = FENCES.with(|fences| fences.borrow().clone())
    {
        order.fetch_add(1, Relaxed);
    }
}

/// Does what [`Plant::ClearAfterWake`] held back. Called by [`ModelWait`](crate::wait::ModelWait)
/// after each wake.
pub fn after_wake() {
    if let Some((at, mask)) = HELD_BACK.with(Cell::take) {
        let word: *const LoomWord = std::ptr::with_exposed_provenance(at);
        // SAFETY: the caller of the wake still uses the word: it is in the leaf that was just
        // unlocked, and leaves live as long as their cache.
        let word = unsafe { &*word };
        word.modify(SeqCst, |word| word.fetch_and(mask, SeqCst), |word, o| word.fetch_and(mask, o));
    }
}

/// Does what [`Plant::LateRecord`] held back.
fn after_clear() {
    if let Some((at, value)) = LATE_RECORD.with(Cell::take) {
        let word: *const LoomWord = std::ptr::with_exposed_provenance(at);
        // SAFETY: the word of an anchor, which lives as long as its cache; the caller is in the
        // midst of ending a request, which keeps that.
        let word = unsafe { &*word };
        word.modify(AcqRel, |word| word.swap(value, SeqCst), |word, o| word.swap(value, o));
    }
}

macro_rules! impl_word {
    ($value:ty) => {
        impl Word<$value> for LoomWord {
            fn new(value: $value) -> Self {
                Self::with_value(u64::from(value))
            }
            fn load(&self, order: Ordering) -> $value {
                self.get(order) as $value
            }
            fn store(&self, value: $value, order: Ordering) {
                self.put(u64::from(value), order);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                let value = u64::from(value);
                self.modify(order, |w| w.swap(value, SeqCst), |w, o| w.swap(value, o)) as $value
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.add(u64::from(value), order) as $value
            }
            fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                let value = u64::from(value);
                self.modify(order, |w| w.fetch_sub(value, SeqCst), |w, o| w.fetch_sub(value, o))
                    as $value
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                // The high half of a 32-bit word stays 0.
                self.and(u64::from(value), order) as $value
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.or(u64::from(value), order) as $value
            }
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.exchange(u64::from(current), u64::from(new), success, failure)
                    .map(|value| value as $value)
                    .map_err(|value| value as $value)
            }
        }
    };
}

impl_word!(u64);
impl_word!(u32);
