//! A kernel without threads: its waits are wakers, and none of its calls sleeps.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use faultless::filemap::{Inode, Task};
use faultless::page::{AddressSpaceOperations, CoreSync, Kernel, PageCache, Wait, WaitKey};
use faultless::parts::{FramePool, Page};

use crate::memory::Memory;
use crate::space::Mapped;

/// A file.
pub(crate) type File = Inode<Async>;

/// The kernel.
pub(crate) struct Async;

impl Kernel for Async {
    type Sync = CoreSync;
    type Frames = Memory;
    type Wait = Wakers;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<dyn AddressSpaceOperations>;
    type UserMappings = Mapped;
    type Replacement = ();

    /// Only after a panic.
    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {
        assert!(std::thread::panicking(), "each file is discarded");
    }
}

/// A cache with memory for `frames` frames, or a few more.
pub(crate) fn cache(frames: usize) -> Arc<PageCache<Async>> {
    let region = vec![Page::ZERO; frames + 4].leak();
    let memory = Memory::of(FramePool::new(region));
    Arc::new(PageCache::new(memory, Wakers::default()))
}

/// Tasks by the keys that they are registered for.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<Vec<(WaitKey, Waker)>>);

impl Wakers {
    /// `waker` is woken by the next wake of `key`, and of no key that it was registered for before.
    fn register(&self, key: WaitKey, waker: &Waker) {
        let mut registered = self.0.lock().expect("no panic under the lock");
        registered.retain(|(_, other)| !other.will_wake(waker));
        registered.push((key, waker.clone()));
    }
}

impl Wait for Wakers {
    /// Only for what holds at once: nothing here may sleep.
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        assert!(condition(), "a call that must not sleep waits for {key:?}");
    }

    fn wake(&self, key: WaitKey) {
        let mut registered = self.0.lock().expect("no panic under the lock");
        let (woken, others) = registered.drain(..).partition(|(other, _)| *other == key);
        *registered = others;
        drop(registered);
        let woken: Vec<(WaitKey, Waker)> = woken;
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// What another CPU does while a call is about to be refused.
type Meanwhile<'a> = RefCell<&'a mut dyn FnMut()>;

/// The task that is polled.
pub(crate) struct Polled<'a> {
    pub(crate) waker: &'a Waker,
    pub(crate) wakers: &'a Wakers,
    /// Happens before the task is registered, and after.
    pub(crate) meanwhile: Meanwhile<'a>,
}

impl Task for Polled<'_> {
    fn would_wait(&self, key: WaitKey) {
        (self.meanwhile.borrow_mut())();
        self.wakers.register(key, self.waker);
        (self.meanwhile.borrow_mut())();
    }
}
