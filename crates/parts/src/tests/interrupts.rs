//! Short locks with interrupts off, on a fake CPU for each thread, whose handler runs whenever
//! interrupts come on.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::string::String;
use std::sync::Arc;
use std::thread_local;

use faultless_filemap::{Inode, NoTask};
use faultless_page::{Kernel, NoUserMappings, PageCache, Spin, SpinWait, SyncFamily, SyncKind};

use crate::{
    BlockStore, FixedMap, FramePool, InterruptControl, InterruptsOff, InterruptsOffLock, Page,
    RamDisk,
};

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
    static CALLS: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
    static HANDLER: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// The CPU of the calling thread.
struct Fake;

impl InterruptControl for Fake {
    type State = bool;
    fn save_and_disable() -> bool {
        CALLS.with(|calls| calls.set([calls.get()[0] + 1, calls.get()[1]]));
        ENABLED.replace(false)
    }
    fn restore(state: Self::State) {
        CALLS.with(|calls| calls.set([calls.get()[0], calls.get()[1] + 1]));
        ENABLED.set(state);
        if state {
            HANDLER.with_borrow(|handler| handler.iter().for_each(|run| run()));
        }
    }
}

/// A lock under test, with a look at whether it is held.
trait Lock: Spin<u32> + 'static {
    fn is_held(&self) -> bool;
}

impl Lock for InterruptsOffLock<Fake, u32> {
    fn is_held(&self) -> bool {
        self.lock.is_locked()
    }
}

/// Takes two locks, one in the other; what was wrong first.
fn check<L: Lock>() -> Result<(), String> {
    let (outer, inner) = (Rc::new(L::new(0)), Rc::new(L::new(0)));
    let met_held = Rc::new(Cell::new(false));
    let (seen, met) = ([outer.clone(), inner.clone()], met_held.clone());
    HANDLER.set(Some(Box::new(move || {
        met.set(met.get() || seen.iter().any(|lock| lock.is_held()));
    })));
    CALLS.set([0; 2]);
    ENABLED.set(true);
    let done = nest(&*outer, &*inner);
    HANDLER.set(None);
    done?;
    if met_held.get() {
        return Err("a handler ran while a lock was held".into());
    }
    match CALLS.get() {
        [2, 2] => Ok(()),
        calls => Err(std::format!("{calls:?} calls for two locks")),
    }
}

fn nest<L: Lock>(outer: &L, inner: &L) -> Result<(), String> {
    let held = outer.lock();
    are_off("with the first lock")?;
    let mut both = inner.lock();
    *both += 1;
    are_off("with both locks")?;
    drop(both);
    are_off("with the first lock again")?;
    drop(held);
    if ENABLED.get() { Ok(()) } else { Err("interrupts are off with no lock".into()) }
}

fn are_off(when: &str) -> Result<(), String> {
    if ENABLED.get() { Err(std::format!("interrupts are on {when}")) } else { Ok(()) }
}

#[test]
fn interrupts_are_off_while_a_lock_is_held_and_as_before_afterwards() {
    check::<InterruptsOffLock<Fake, u32>>().expect("no mistake");
}

/// A lock with a mistake, chosen by a number.
struct Twin<const BUG: u8>(spin::Mutex<u32>);

/// Interrupts stay on.
const STAY_ON: u8 = 0;
/// Interrupts come on before the lock is free.
const ON_TOO_EARLY: u8 = 1;
/// Interrupts are on afterwards, whatever they were.
const ALWAYS_ON: u8 = 2;
/// Interrupts stay off.
const STAY_OFF: u8 = 3;

struct TwinGuard<'a, const BUG: u8> {
    value: Option<spin::MutexGuard<'a, u32>>,
    state: bool,
}

impl<const BUG: u8> Spin<u32> for Twin<BUG> {
    type Guard<'a> = TwinGuard<'a, BUG>;
    fn new(value: u32) -> Self {
        Self(spin::Mutex::new(value))
    }
    fn lock(&self) -> TwinGuard<'_, BUG> {
        let state = BUG == STAY_ON || Fake::save_and_disable();
        TwinGuard { value: Some(self.0.lock()), state }
    }
}

impl<const BUG: u8> Drop for TwinGuard<'_, BUG> {
    fn drop(&mut self) {
        match BUG {
            ON_TOO_EARLY => Fake::restore(self.state),
            ALWAYS_ON => {
                self.value = None;
                Fake::restore(true);
            }
            _ => {}
        }
    }
}

impl<const BUG: u8> std::ops::Deref for TwinGuard<'_, BUG> {
    type Target = u32;
    fn deref(&self) -> &u32 {
        self.value.as_ref().expect("held")
    }
}

impl<const BUG: u8> std::ops::DerefMut for TwinGuard<'_, BUG> {
    fn deref_mut(&mut self) -> &mut u32 {
        self.value.as_mut().expect("held")
    }
}

impl<const BUG: u8> Lock for Twin<BUG> {
    fn is_held(&self) -> bool {
        self.0.is_locked()
    }
}

#[test]
fn each_planted_mistake_of_a_lock_is_found() {
    check::<Twin<STAY_ON>>().expect_err("interrupts stay on");
    check::<Twin<ON_TOO_EARLY>>().expect_err("interrupts come on too early");
    check::<Twin<ALWAYS_ON>>().expect_err("interrupts come on inside a lock");
    check::<Twin<STAY_OFF>>().expect_err("interrupts stay off");
}

#[test]
fn the_locks_exclude_threads() {
    let lock = <InterruptsOff<Fake> as SyncFamily>::Spin::<u32>::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(*lock.lock(), 4000);
}

type Device = RamDisk<[u8; 16 * 512], InterruptsOff<Fake>>;
type Store = BlockStore<Device, FixedMap<16, InterruptsOff<Fake>>>;

/// A kernel with preemption: every short lock turns interrupts off.
struct Preemptible;

impl Kernel for Preemptible {
    type Sync = InterruptsOff<Fake>;
    type Frames = FramePool<InterruptsOff<Fake>>;
    type Wait = SpinWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = Box<Store>;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

#[test]
fn a_kernel_of_such_locks_leaves_interrupts_on_after_each_call() {
    let region = Box::leak(std::vec![Page::ZERO; 33].into_boxed_slice());
    let cache = Arc::new(PageCache::new(FramePool::with_locks(region), SpinWait));
    let disk = Device::with_locks([0; 16 * 512], 512).expect("a block size");
    let store = Store::new(disk, FixedMap::with_locks(0..16)).expect("a block size");
    let file = Inode::<Preemptible>::new(cache, Box::new(store), NoUserMappings, 0);
    ENABLED.set(true);
    file.set_size(&mut super::token(), 5000, &NoTask).expect("room");
    assert!(ENABLED.get());
    file.fsync(&mut super::token(), SyncKind::All, &NoTask).expect("works");
    assert!(ENABLED.get());
    drop(file);
    assert!(ENABLED.get() && CALLS.get()[0] > 0 && CALLS.get()[0] == CALLS.get()[1]);
}
