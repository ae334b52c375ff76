//! [`QueuedStore`]: a queue before a store, and a thread that works it off.
#![forbid(unsafe_code)]

use core::fmt;
use core::ptr;

use faultless_page::{
    AddressSpaceOperations, CoreSync, ReadRequest, Spin, StoreRequest, SyncFamily, Wait, WaitKey,
    WritebackRequest, forward_to_store,
};
use heapless::Deque;

/// A store around another one, which gets its reads and writebacks later: from the threads of the
/// kernel that call [`work`](Self::work) or [`serve`](Self::serve). What a loop device, a
/// compressed store or a blocking driver needs, so that a reader goes on while its pages are read
/// ahead.
///
/// Up to `N` requests wait, in order of arrival. When the queue is full, a request is done at once,
/// on the thread that submits it: no request is refused, and none waits for room.
///
/// `S` is the family of the queue's short lock, which is free during the calls of the store below.
/// A request does not end by itself: with no thread that works, its waiters wait without end.
///
/// ```
/// use faultless_page::SpinWait;
/// use faultless_parts::{QueuedStore, RamStore};
///
/// let store: QueuedStore<RamStore, SpinWait> = QueuedStore::new(RamStore::new(), SpinWait);
/// assert!(!store.work(), "there is nothing to do");
/// ```
pub struct QueuedStore<T, W, S: SyncFamily = CoreSync, const N: usize = 32> {
    inner: T,
    wait: W,
    queue: S::Spin<Deque<StoreRequest, N>>,
}

impl<T: AddressSpaceOperations, W: Wait, S: SyncFamily, const N: usize> QueuedStore<T, W, S, N> {
    /// A queue before `inner`. Threads that have nothing to do sleep by `wait`.
    #[must_use]
    pub fn new(inner: T, wait: W) -> Self {
        Self { inner, wait, queue: Spin::new(Deque::new()) }
    }

    /// The store below.
    #[must_use]
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }

    /// Does the oldest request; whether there was one. Sleeps where the store below does. No lock
    /// of the cache is held, and none of a file whose data the requests carry.
    pub fn work(&self) -> bool {
        let request = self.queue.lock().pop_front();
        let Some(request) = request else { return false };
        request.submit_to(&self.inner);
        true
    }

    /// Does requests until `ends` says yes, and sleeps while there are none. A thread that makes
    /// `ends` say yes [wakes](Self::wake) the store.
    pub fn serve(&self, ends: impl Fn() -> bool) {
        while !ends() {
            if !self.work() {
                self.wait.wait_until(self.key(), &mut || ends() || self.waiting() > 0);
            }
        }
    }

    /// Makes threads in [`serve`](Self::serve) look again.
    pub fn wake(&self) {
        self.wait.wake(self.key());
    }

    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.queue).addr())
    }

    fn submit(&self, request: StoreRequest) {
        let refused = self.queue.lock().push_back(request);
        match refused {
            Ok(()) => self.wake(),
            Err(request) => request.submit_to(&self.inner),
        }
    }
}

impl<T, W, S, const N: usize> AddressSpaceOperations for QueuedStore<T, W, S, N>
where
    T: AddressSpaceOperations,
    W: Wait,
    S: SyncFamily,
{
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

impl<T: fmt::Debug, W, S: SyncFamily, const N: usize> fmt::Debug for QueuedStore<T, W, S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedStore")
            .field("inner", &self.inner)
            .field("waiting", &self.queue.lock().len())
            .finish_non_exhaustive()
    }
}
