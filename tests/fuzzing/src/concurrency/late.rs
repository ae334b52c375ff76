//! Requests that end later: the stores hand them to a thread of their own, which the scheduler
//! interrupts as any other. It takes the oldest one, and lets the first page of it end by itself.
//!
//! Neighbours: [`trouble`](super::trouble) says what becomes of the calls that the thread makes.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_host::stores::PhasedStore;
use faultless_page::{
    AddressSpaceOperations, ReadRequest, StoreRequest, WritebackRequest, forward_to_store,
};

use super::scheduler;

/// The requests of all stores of a world.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Mutex<VecDeque<(Arc<PhasedStore>, StoreRequest)>>,
    /// Threads that may still make requests.
    users: AtomicUsize,
}

impl Requests {
    /// No request yet, of so many threads.
    pub(super) fn of(users: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), users: AtomicUsize::new(users) })
    }

    /// A thread has ended.
    pub(super) fn left(&self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
        scheduler::wake(self.key());
    }

    /// What the thread of the stores does, until the others have ended and nothing waits.
    pub(super) fn serve(&self) {
        loop {
            match self.next() {
                Some((store, request)) => request.submit_to(&*store),
                None if self.users.load(Ordering::Relaxed) == 0 => return,
                None => scheduler::block(self.key(), "a request"),
            }
        }
    }

    /// The first page of the oldest request; the others of its pages stand behind all that wait.
    fn next(&self) -> Option<(Arc<PhasedStore>, StoreRequest)> {
        let (store, mut request) = self.waiting().pop_front()?;
        // Not under the lock: there are points in it.
        if let Some(rest) = request.split_off(1) {
            self.waiting().push_back((Arc::clone(&store), rest));
        }
        Some((store, request))
    }

    fn push(&self, store: &Arc<PhasedStore>, request: StoreRequest) {
        self.waiting().push_back((Arc::clone(store), request));
        scheduler::wake(self.key());
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Arc<PhasedStore>, StoreRequest)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// A store whose requests wait for the thread of the stores. While no thread runs they end at once.
#[derive(Debug)]
pub(super) struct LateStore {
    pub(super) inner: Arc<PhasedStore>,
    pub(super) requests: Arc<Requests>,
}

impl LateStore {
    fn submit(&self, request: StoreRequest) {
        if scheduler::running() {
            self.requests.push(&self.inner, request);
        } else {
            request.submit_to(&*self.inner);
        }
    }
}

impl AddressSpaceOperations for LateStore {
    fn submit_read(&self, mut request: ReadRequest) {
        request.let_go();
        self.submit(StoreRequest::Read(request));
    }

    fn submit_writeback(&self, mut request: WritebackRequest) {
        request.let_go();
        self.submit(StoreRequest::Writeback(request));
    }

    forward_to_store!(self => self.inner; all_but_requests);
}
