//! A store that ends its requests later: on threads of its own, in an order drawn from a seed,
//! often page by page, and some of them with an error.
//!
//! Key types: [`DeferredStore`], around any synchronous store, and [`Workers`], its threads. Calls
//! that are no requests go straight to the store below.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use faultless_page::{
    AddressSpaceOperations, Errno, ReadRequest, StoreRequest, WritebackRequest, forward_to_store,
};

use crate::lockcheck::on_same_machine;
use crate::rng::Rng;

/// A store around another one, which is asked later.
pub struct DeferredStore<S: ?Sized> {
    queue: Mutex<Queue>,
    changed: Condvar,
    inner: Arc<S>,
}

/// What has not ended yet.
struct Queue {
    waiting: Vec<StoreRequest>,
    rng: Rng,
    /// One request of so many fails; none if 0.
    failing: u64,
    /// Requests that were failed so far.
    failed: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The workers end once nothing waits.
    Closing,
}

/// The threads that end a store's requests. Dropping it ends what waits, and them.
pub struct Workers<S: AddressSpaceOperations + ?Sized + 'static> {
    store: Arc<DeferredStore<S>>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: AddressSpaceOperations + ?Sized> DeferredStore<S> {
    /// `inner`, with requests in an order drawn from `seed`. Requests wait until a thread calls
    /// [`work`](Self::work), or there are [`workers`](Self::workers).
    #[must_use]
    pub fn new(inner: Arc<S>, seed: u64) -> Arc<Self> {
        let queue = Queue {
            waiting: Vec::new(),
            rng: Rng::new(seed),
            failing: 0,
            failed: 0,
            state: State::Open,
        };
        Arc::new(Self { queue: Mutex::new(queue), changed: Condvar::new(), inner })
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// From now on one request of `requests` fails, with [`Errno::Io`]; none if it is 0.
    pub fn fail_one_of(&self, requests: u64) {
        self.queue().failing = requests;
    }

    /// Requests that have not ended.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Requests that were failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.queue().failed
    }

    /// Ends one of the requests that wait; whether there was one.
    pub fn work(&self) -> bool {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            return false;
        }
        let (request, failure) = queue.draw();
        drop(queue);
        match failure {
            None => request.submit_to(&*self.inner),
            Some(errno) => request.fail(errno),
        }
        true
    }

    fn submit(&self, request: StoreRequest) {
        self.queue().waiting.push(request);
        self.changed.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AddressSpaceOperations + ?Sized + 'static> DeferredStore<S> {
    /// Starts `threads` threads, which work for the machine of the calling one. A file on this
    /// store is dropped before them, or when nothing is under way.
    #[must_use]
    pub fn workers(self: &Arc<Self>, threads: usize) -> Workers<S> {
        let start = |_| {
            let store = Arc::clone(self);
            std::thread::spawn(on_same_machine(move || store.serve()))
        };
        Workers { store: Arc::clone(self), threads: (0..threads).map(start).collect() }
    }

    fn serve(&self) {
        loop {
            while self.work() {
                std::thread::yield_now();
            }
            let queue = self.queue();
            let idle = |queue: &mut Queue| queue.waiting.is_empty() && queue.state == State::Open;
            let queue = self.changed.wait_while(queue, idle);
            let queue = queue.unwrap_or_else(PoisonError::into_inner);
            if queue.waiting.is_empty() {
                return;
            }
        }
    }
}

impl Queue {
    /// Takes a request, or the first pages of one, with the error that it is to end with, if any.
    fn draw(&mut self) -> (StoreRequest, Option<Errno>) {
        let at = self.rng.range(0..self.waiting.len());
        let mut request = self.waiting.swap_remove(at);
        if self.rng.below(2) == 0 {
            let pages = 1 + self.rng.below(3) as u32;
            self.waiting.extend(request.split_off(pages));
        }
        let fails = self.failing != 0 && self.rng.below(self.failing) == 0;
        self.failed += u64::from(fails);
        (request, fails.then_some(Errno::Io))
    }
}

impl<S: AddressSpaceOperations + ?Sized> AddressSpaceOperations for DeferredStore<S> {
    fn submit_read(&self, request: ReadRequest) {
        self.submit(StoreRequest::Read(request));
    }

    fn submit_writeback(&self, mut request: WritebackRequest) {
        request.let_go();
        self.submit(StoreRequest::Writeback(request));
    }

    forward_to_store!(self => self.inner; all_but_requests);
}

impl<S: AddressSpaceOperations + ?Sized + 'static> Drop for Workers<S> {
    fn drop(&mut self) {
        self.store.queue().state = State::Closing;
        self.store.changed.notify_all();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a worker of the store panicked");
        }
        self.store.queue().state = State::Open;
    }
}

impl<S: ?Sized> fmt::Debug for DeferredStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredStore").finish_non_exhaustive()
    }
}

impl<S: AddressSpaceOperations + ?Sized + 'static> fmt::Debug for Workers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
