//! One file, an address space that maps it, and what both ought to hold.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Poll};

use faultless::filemap::{Access, FaultError, InFault, InKernel, NoTask, NotYet};
use faultless::page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageCache, PageIndex};
use faultless::usercopy::{UserAddr, UserSlice, WalkedUser};
use faultless_host::rng::Rng;
use faultless_host::stores::{DeferredStore, MemoryStore};

use crate::kernel::{Async, File, Polled};
use crate::space::{BASE, FILES, FIRST, Mapped, OWN, Space};

/// What the bytes ought to be. A byte of the file is named by where it is mapped.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) file: Vec<u8>,
    own: Vec<u8>,
    /// How often each page of the file has changed.
    changes: [u64; FILES],
}

impl Model {
    /// What the program finds at `at`.
    pub(crate) fn user(&self, at: usize, len: usize) -> Vec<u8> {
        let byte = |at: usize| match at.checked_sub(FILES * PAGE_SIZE) {
            Some(own) => self.own[own],
            None => self.file.get(at).copied().unwrap_or(0),
        };
        (at..at + len).map(byte).collect()
    }

    /// The program's memory at `at` becomes `bytes`.
    pub(crate) fn set_user(&mut self, at: usize, bytes: &[u8]) {
        match at.checked_sub(FILES * PAGE_SIZE) {
            Some(own) => self.own[own..own + bytes.len()].copy_from_slice(bytes),
            None => self.write(at, bytes),
        }
    }

    /// Bytes from `start` to `end` of the file have changed.
    fn touch(&mut self, start: usize, end: usize) {
        let pages = start / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        self.changes[pages].iter_mut().for_each(|changes| *changes += 1);
    }

    /// The file has `size` bytes, which are not fewer.
    pub(crate) fn grow(&mut self, size: usize) {
        self.touch(self.file.len(), size);
        self.file.resize(size, 0);
    }

    /// What a sync that begins now owes.
    pub(crate) fn changes(&self) -> [u64; FILES] {
        self.changes
    }

    /// Whether `stored` has the pages of the file that have not changed since.
    #[track_caller]
    pub(crate) fn assert_synced(&self, stored: &[u8], since: &[u64; FILES]) {
        for (page, bytes) in self.file.chunks(PAGE_SIZE).enumerate() {
            let start = page * PAGE_SIZE;
            let same = || stored.get(start..start + bytes.len()) == Some(bytes);
            assert!(self.changes[page] != since[page] || same(), "F1: page {page} is not stored");
        }
    }

    /// The file has `bytes` from `at` on.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.file.len() {
            self.grow(end);
        }
        self.touch(at, end);
        self.file[at..end].copy_from_slice(bytes);
    }
}

/// No request is left once it is dropped.
struct Drained(Arc<DeferredStore<MemoryStore>>);

impl Drop for Drained {
    fn drop(&mut self) {
        while self.0.work() {}
    }
}

/// The world of one schedule.
pub(crate) struct World {
    /// Ends its requests first, when a schedule has panicked.
    _drained: Drained,
    pub(crate) file: File,
    pub(crate) space: Arc<Space>,
    pub(crate) user: WalkedUser<Mapped>,
    pub(crate) store: Arc<DeferredStore<MemoryStore>>,
    pub(crate) model: RefCell<Model>,
    pub(crate) rng: RefCell<Rng>,
    /// Polls so far.
    pub(crate) now: Cell<u64>,
    /// Whether requests of the store fail.
    pub(crate) fails: bool,
}

impl World {
    /// A file of some bytes, none of them in the cache.
    pub(crate) fn new(cache: &Arc<PageCache<Async>>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let size = rng.range(1..(FILES - 3) * PAGE_SIZE);
        let file = rng.bytes(size);
        let whole = [vec![0; FIRST * PAGE_SIZE], file.clone()].concat();
        let store = DeferredStore::new(MemoryStore::with_contents(&whole), seed);
        let fails = seed % 4 == 3;
        store.fail_one_of(if fails { 6 } else { 0 });
        let space = Space::new(cache.frames(), FILES, OWN);
        let mapped = Mapped(Arc::clone(&space));
        let operations: Arc<dyn AddressSpaceOperations> = Arc::clone(&store) as _;
        let model = Model { file, own: vec![0; OWN * PAGE_SIZE], changes: [0; FILES] };
        Self {
            _drained: Drained(Arc::clone(&store)),
            file: File::new(Arc::clone(cache), operations, mapped.clone(), whole.len() as u64),
            space,
            user: WalkedUser::new(mapped),
            store,
            model: RefCell::new(model),
            rng: RefCell::new(rng),
            now: Cell::new(0),
            fails,
        }
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.rng.borrow_mut().below(end as u64) as usize
    }

    pub(crate) fn slice(&self, at: usize, len: usize) -> UserSlice {
        UserSlice::new(&self.user, UserAddr::new(BASE + at), len).expect("in the user range")
    }

    /// Calls `call` for the polled task until it no longer has to wait.
    pub(crate) async fn poll<R, E>(
        &self,
        mut call: impl FnMut(&Polled<'_>) -> Result<R, NotYet<E>>,
    ) -> Result<R, NotYet<E>> {
        let polled = |cx: &mut Context<'_>| {
            let mut meanwhile = || {
                if self.below(4) == 0 {
                    self.store.work();
                }
            };
            let wakers = self.file.mapping().cache().wait();
            let meanwhile = RefCell::new(&mut meanwhile as &mut dyn FnMut());
            let task = Polled { waker: cx.waker(), wakers, meanwhile };
            match call(&task) {
                Err(NotYet::WouldWait(_)) => Poll::Pending,
                result => Poll::Ready(result),
            }
        };
        std::future::poll_fn(polled).await
    }

    /// Lets other tasks go first.
    async fn go_last(&self) {
        let mut is_first = true;
        let once = |cx: &mut Context<'_>| {
            if std::mem::take(&mut is_first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        };
        std::future::poll_fn(once).await;
    }

    /// The fault handler: makes a page resident, which stays so until the next `await`. Whether it
    /// can be had.
    pub(crate) async fn fault(&self, page: usize, access: Access) -> bool {
        if page >= FILES {
            for _ in 0..self.below(3) {
                self.go_last().await;
            }
            self.space.swap_in(page);
            return true;
        }
        let mut calls = self.file.nonblocking();
        let index = PageIndex::new((FIRST + page) as u64);
        let resolved = self.poll(|task| {
            // SAFETY: nothing is locked between two calls, and this is the only token.
            let mut fault = unsafe { InFault::enter() };
            calls.fault(&mut fault, index, access, task, |mapped| self.space.install(page, mapped))
        });
        match resolved.await {
            Ok(()) => assert!(self.space.allows(page, access), "the entry that was installed"),
            Err(NotYet::Failed(FaultError::PastEnd)) => {
                let size = self.model.borrow().file.len();
                assert!(page * PAGE_SIZE >= size, "SIGBUS inside the file");
                return false;
            }
            Err(NotYet::Failed(FaultError::Failed(errno))) => {
                self.may_fail(errno);
                return false;
            }
            Err(other) => panic!("a fault ended with {other:?}"),
        }
        true
    }

    /// An operation ended with this error.
    pub(crate) fn may_fail(&self, errno: Errno) {
        assert!(self.fails && errno == Errno::Io, "{errno:?} without a failing store");
    }

    /// Something that takes pages away or sends them.
    pub(crate) fn disturb(&self) {
        let page = self.below(FILES + OWN);
        let first = ((FIRST + page) * PAGE_SIZE) as u64;
        // SAFETY: nothing is locked between two polls, and there is no other token.
        let mut token = unsafe { InKernel::enter() };
        match self.below(8) {
            0 => {
                let _sent = self.file.flush(&mut token, 1 + self.below(3) as u32, &NoTask);
            }
            1 => {
                self.file.evict(&mut token, first..first + 2 * PAGE_SIZE as u64);
            }
            2 => self.space.steal(page),
            _ => {}
        }
    }

    /// Sends all that is dirty, and compares the store with the model.
    pub(crate) fn finish(self) {
        self.store.fail_one_of(0);
        // SAFETY: nothing is locked, and there is no other token.
        let mut token = unsafe { InKernel::enter() };
        while self.store.work() {}
        self.space.tear_down();
        loop {
            let flushed = self.file.flush(&mut token, 16, &NoTask);
            if !self.store.work() && flushed.pages == 0 {
                break;
            }
        }
        let contents = self.store.inner().contents();
        let expected = &self.model.borrow().file;
        assert!(contents[FIRST * PAGE_SIZE..] == expected[..], "the store and the model differ");
        self.file.discard();
    }
}
