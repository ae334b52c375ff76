//! A queue of requests in order of arrival, linked through the stack frames of the requesters.
//!
//! Key types: [`RequestList`], the head of the queue; [`Request`], one pinned entry; [`Requests`]
//! and [`OwnRequest`], the queue under its short lock. Neighbours: page locks and
//! [`SleepMutex`](crate::SleepMutex) wait in such queues; filemap keeps ranges of bytes in one. The
//! queue does not own what a request means, when one is granted, or how its thread sleeps.
//!
//! It needs no allocator and has no limit: a request brings its entry with it (L4).
//!
//! # Why a pointer in the queue is never dangling
//! An entry is linked only through a `Pin`, and only its own `Request` unlinks it. The pin promises
//! that the memory stays valid until `Request::drop` has run, and the drop unlinks under the
//! queue's lock. A request that is leaked is never dropped: its memory stays valid and the entry
//! stays in the queue, which costs other requests their turn and nothing else.

use core::cell::Cell;
use core::fmt;
use core::marker::{PhantomData, PhantomPinned};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use heapless::Vec;

use crate::{Spin, SyncFamily, Wait, WaitKey, Word};

/// Requests that are woken for one hold of the queue's lock.
const BATCH: usize = 8;

/// A queue of requests with values `T`, in the order in which they were linked.
///
/// Two words. Its methods take the queue's short lock and never sleep. The lock is held for a time
/// that grows with the number of linked requests. No method may be called from a closure that
/// another one has called.
pub struct RequestList<S: SyncFamily, T: Copy + Send + 'static> {
    first: S::Spin<First<S, T>>,
}

/// The oldest linked entry. The entries form a ring: the one before the oldest is the youngest.
///
/// # Invariants
/// Every entry of the ring is linked, and so alive; see the module's documentation. The cells of a
/// linked entry are used only under the queue's lock.
// Packed, so that the lock that holds it and the pointer take 12 bytes, as a leaf has room for.
#[repr(C, packed(4))]
struct First<S: SyncFamily, T>(Option<NonNull<Entry<S, T>>>);

// SAFETY: the pointer leads to entries whose cells are used only under the lock that holds this
// value; their values may be sent.
unsafe impl<S: SyncFamily, T: Send> Send for First<S, T> {}

/// What is linked.
struct Entry<S: SyncFamily, T> {
    next: Cell<NonNull<Self>>,
    previous: Cell<NonNull<Self>>,
    /// Larger than those of all older entries, as long as both are linked.
    ticket: Cell<u64>,
    /// `None`: not linked.
    value: Cell<Option<T>>,
    /// Not 0: signalled. Written under the lock, read without.
    signal: S::Word32,
}

/// One requester's entry for a [`RequestList`]. Pinned in the requester's frame by
/// [`core::pin::pin!`], then linked by [`OwnRequest::link`]. Dropping it unlinks it.
pub struct Request<'l, S: SyncFamily, T: Copy + Send + 'static> {
    list: &'l RequestList<S, T>,
    entry: Entry<S, T>,
    /// Whether the entry is linked; used by the requester only.
    linked: Cell<bool>,
    _pinned: PhantomPinned,
}

/// A [`RequestList`] under its lock. No call out of the crate that owns the values may be made
/// while it lives: above all no [`Wait::wake`], whose lock a sleeper's condition may hold while it
/// asks for this one.
pub struct Requests<'l, S: SyncFamily, T: Copy + Send + 'static> {
    first: <S::Spin<First<S, T>> as Spin<First<S, T>>>::Guard<'l>,
    /// Not shared between threads: the entries' cells are changed through shared references.
    one_thread: PhantomData<Cell<()>>,
}

/// A [`RequestList`] under its lock, as one of its requesters sees it. Derefs to [`Requests`].
pub struct OwnRequest<'r, S: SyncFamily, T: Copy + Send + 'static> {
    queue: Requests<'r, S, T>,
    request: &'r Request<'r, S, T>,
}

/// A linked request, as others see it under the queue's lock.
pub struct Linked<'q, S: SyncFamily, T> {
    entry: &'q Entry<S, T>,
}

impl<S: SyncFamily, T: Copy + Send + 'static> RequestList<S, T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { first: Spin::new(First(None)) }
    }

    /// Takes the queue's lock.
    pub fn lock(&self) -> Requests<'_, S, T> {
        Requests { first: self.first.lock(), one_thread: PhantomData }
    }

    /// Wakes the requests whose values are `chosen`, oldest first, with the lock free during each
    /// wake. Never sleeps.
    ///
    /// Requests that are linked during the call are looked at at most once, so it ends. A request
    /// that has gone when its wake arrives is not touched: what is woken is an address.
    #[inline(never)] // for the stack of its callers
    pub fn wake(&self, wait: &impl Wait, mut chosen: impl FnMut(T) -> bool) {
        let mut from = 0;
        let mut last = None;
        loop {
            let mut keys: Vec<WaitKey, BATCH> = Vec::new();
            {
                let queue = self.lock();
                let last =
                    *last.get_or_insert(queue.youngest().map_or(0, |entry| entry.ticket.get()));
                let mut next = from;
                let candidates =
                    queue.iter().filter(|entry| (from..=last).contains(&entry.ticket()));
                for entry in candidates {
                    if chosen(entry.value()) {
                        let _fits = keys.push(entry.key());
                        next = entry.ticket() + 1;
                        if keys.is_full() {
                            break;
                        }
                    }
                }
                from = next;
            }
            keys.iter().for_each(|key| wait.wake(*key));
            if !keys.is_full() {
                return;
            }
        }
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> Default for RequestList<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> Requests<'_, S, T> {
    /// Whether no request is linked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.oldest().is_none()
    }

    /// Whether the value of a linked request satisfies `predicate`.
    #[must_use]
    pub fn any(&self, mut predicate: impl FnMut(T) -> bool) -> bool {
        self.iter().any(|request| predicate(request.value()))
    }

    /// The linked requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Linked<'_, S, T>> {
        let mut next = self.oldest();
        core::iter::from_fn(move || {
            let entry = self.entry(next?);
            next = Some(entry.next.get()).filter(|next| Some(*next) != self.oldest());
            Some(Linked { entry })
        })
    }

    fn oldest(&self) -> Option<NonNull<Entry<S, T>>> {
        self.first.0
    }

    fn youngest(&self) -> Option<&Entry<S, T>> {
        let oldest = self.entry(self.oldest()?);
        Some(self.entry(oldest.previous.get()))
    }

    /// An entry of the ring.
    fn entry(&self, at: NonNull<Entry<S, T>>) -> &Entry<S, T> {
        // SAFETY: the pointer was read from the ring, whose lock is held: the entry is linked and
        // so alive by the invariant, and stays so until the lock is free, for which this borrow
        // must end.
        unsafe { at.as_ref() }
    }
}

impl<'l, S: SyncFamily, T: Copy + Send + 'static> Request<'l, S, T> {
    /// A request for `list`, not linked.
    #[must_use]
    pub fn new(list: &'l RequestList<S, T>) -> Self {
        let nowhere = NonNull::dangling();
        let entry = Entry {
            next: Cell::new(nowhere),
            previous: Cell::new(nowhere),
            ticket: Cell::new(0),
            value: Cell::new(None),
            signal: Word::new(0),
        };
        Self { list, entry, linked: Cell::new(false), _pinned: PhantomPinned }
    }

    /// Takes the queue's lock.
    pub fn lock(self: Pin<&Self>) -> OwnRequest<'_, S, T> {
        self.get_ref().lock_unpinned()
    }

    /// The list that this request is for.
    #[must_use]
    pub fn list(self: Pin<&Self>) -> &'l RequestList<S, T> {
        self.get_ref().list
    }

    /// Whether the request was [signalled](Linked::signal) since it was linked. Takes no lock; what
    /// its signaller did before is seen. Fit for the condition of a wait under [`key`](Self::key):
    /// the look and the signal are read-modify-writes of one word, so either this one sees the
    /// signal, or the wake that follows the signal finds a waiter that had registered before.
    #[must_use]
    pub fn is_signalled(self: Pin<&Self>) -> bool {
        self.entry.signal.fetch_or(0, AcqRel) != 0
    }

    /// What the requester sleeps on: an address that no other request has while this one lives.
    #[must_use]
    pub fn key(self: Pin<&Self>) -> WaitKey {
        self.entry.key()
    }

    fn lock_unpinned(&self) -> OwnRequest<'_, S, T> {
        OwnRequest { queue: self.list.lock(), request: self }
    }
}

impl<S: SyncFamily, T> Entry<S, T> {
    fn key(&self) -> WaitKey {
        WaitKey(ptr::from_ref(&self.signal).addr())
    }

    fn signal(&self) {
        self.signal.swap(1, AcqRel);
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> Drop for Request<'_, S, T> {
    /// Unlinks the request. Wakes no other.
    fn drop(&mut self) {
        if self.linked.get() {
            let _value = self.lock_unpinned().unlink();
        }
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> OwnRequest<'_, S, T> {
    /// Links the request at the tail, not signalled. One that is linked already gets the value and
    /// keeps its place.
    pub fn link(&mut self, value: T) {
        let entry = &self.request.entry;
        entry.signal.store(0, Relaxed);
        if entry.value.replace(Some(value)).is_some() {
            return;
        }
        self.request.linked.set(true);
        let this = NonNull::from(entry);
        match self.queue.oldest() {
            None => {
                entry.next.set(this);
                entry.previous.set(this);
                entry.ticket.set(0);
                self.queue.first.0 = Some(this);
            }
            Some(first) => {
                let oldest = self.queue.entry(first);
                let youngest = self.queue.entry(oldest.previous.get());
                entry.next.set(first);
                entry.previous.set(oldest.previous.get());
                entry.ticket.set(youngest.ticket.get() + 1);
                youngest.next.set(this);
                oldest.previous.set(this);
            }
        }
        // INVARIANT: the request is pinned (`Request::lock` is the only public way here), and its
        // drop unlinks it.
    }

    /// Unlinks the request, and returns its value; `None` if it was not linked. Wakes no other.
    pub fn unlink(&mut self) -> Option<T> {
        let entry = &self.request.entry;
        let value = entry.value.take()?;
        let (next, previous) = (entry.next.get(), entry.previous.get());
        let this = NonNull::from(entry);
        if next == this {
            self.queue.first.0 = None;
        } else {
            self.queue.entry(previous).next.set(next);
            self.queue.entry(next).previous.set(previous);
            if self.queue.oldest() == Some(this) {
                self.queue.first.0 = Some(next);
            }
        }
        self.request.linked.set(false);
        Some(value)
    }

    /// The request's value; `None` if it is not linked.
    #[must_use]
    pub fn value(&self) -> Option<T> {
        self.request.entry.value.get()
    }

    /// Changes the value of the request, if it is linked.
    pub fn set(&mut self, value: T) {
        if self.value().is_some() {
            self.request.entry.value.set(Some(value));
        }
    }

    /// Signals the request, as [`Linked::signal`] does.
    pub fn signal(&self) {
        self.request.entry.signal();
    }

    /// Whether the value of a request that was linked before this one satisfies `predicate`. If
    /// this one is not linked, all linked ones were before it.
    #[must_use]
    pub fn any_before(&self, mut predicate: impl FnMut(T) -> bool) -> bool {
        let own = &self.request.entry;
        self.queue
            .iter()
            .take_while(|other| !ptr::eq(other.entry, own))
            .any(|other| predicate(other.value()))
    }
}

impl<'r, S: SyncFamily, T: Copy + Send + 'static> Deref for OwnRequest<'r, S, T> {
    type Target = Requests<'r, S, T>;
    fn deref(&self) -> &Self::Target {
        &self.queue
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> DerefMut for OwnRequest<'_, S, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.queue
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> Linked<'_, S, T> {
    /// Its value.
    ///
    /// # Panics
    /// Never: a linked request has a value.
    #[must_use]
    pub fn value(&self) -> T {
        self.entry.value.get().expect("linked")
    }

    /// Changes its value.
    pub fn set(&self, value: T) {
        self.entry.value.set(Some(value));
    }

    /// Tells its requester something, without waking it: [`Request::is_signalled`] says yes from
    /// now on. A wake under its [`key`](Self::key) is to follow.
    pub fn signal(&self) {
        self.entry.signal();
    }

    /// What its requester sleeps on. To be woken once the queue's lock is free.
    #[must_use]
    pub fn key(&self) -> WaitKey {
        self.entry.key()
    }

    fn ticket(&self) -> u64 {
        self.entry.ticket.get()
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static + fmt::Debug> fmt::Debug for RequestList<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static + fmt::Debug> fmt::Debug for Requests<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|request| request.value())).finish()
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static> fmt::Debug for Request<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signalled = self.entry.signal.load(Relaxed) != 0;
        f.debug_struct("Request").field("signalled", &signalled).finish_non_exhaustive()
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static + fmt::Debug> fmt::Debug for OwnRequest<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRequest")
            .field("value", &self.value())
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl<S: SyncFamily, T: Copy + Send + 'static + fmt::Debug> fmt::Debug for Linked<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Linked").field(&self.value()).finish()
    }
}
