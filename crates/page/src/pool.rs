//! Type-stable node pools: memory for leaves and inner nodes, carved from frames.
//!
//! A pool gives no memory back before its [`PageCache`](crate::PageCache) is without a user (module
//! `users`), and uses it for nodes of one type only, which stay initialised from the first time on.
//! So a `&T` from a pool is good for as long as the pool, even if the node has been taken since.
//!
//! The right to *change* a node exclusively is a [`Spare`]: the one handle of a node that is linked
//! nowhere.

use core::marker::PhantomData;
use core::mem::{self, align_of, size_of};
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;

use crate::{
    ConstSync, Errno, FrameNumber, Frames, Initial, PAGE_SIZE, Spin, SyncFamily, Word,
    fetch_for_write,
};

/// Bytes at the start of each frame of a pool, for [`Header`].
const HEADER_SIZE: usize = 64;

/// What a pool writes at the start of its frames.
struct Header {
    /// The frame that the pool got before this one.
    previous: Option<FrameNumber>,
}

/// A node type.
pub(crate) trait Node: Send + Sync {
    type Word: Word<u64>;
    /// An empty node.
    fn fresh() -> Self;
    /// The word that links free nodes.
    fn next(&self) -> &Self::Word;
}

/// A node that nothing links to. Not `Clone`: the one handle.
///
/// # Invariants
/// The node came from a pool that outlives `'c`, and is not on its free list.
pub(crate) struct Spare<'c, T>(&'c T);

impl<'c, T: Node> Spare<'c, T> {
    /// The handle of a node that has just been unlinked.
    ///
    /// # Safety
    /// The node came from a pool that outlives `'c`; the caller unlinked it and there is no other
    /// handle.
    pub(crate) unsafe fn from_unlinked(node: &'c T) -> Self {
        // INVARIANT: the caller's promise.
        Self(node)
    }

    /// Gives the handle up: the node is about to be linked.
    pub(crate) fn into_linked(self) -> &'c T {
        self.0
    }
}

impl<T> Deref for Spare<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

struct State {
    /// Exposed address of the first free node, or 0.
    free: u64,
    /// The newest frame.
    frame: Option<FrameNumber>,
    /// Nodes that were carved from it.
    carved: usize,
    frames: usize,
}

impl Initial for State {
    const INITIAL: Self = Self { free: 0, frame: None, carved: 0, frames: 0 };
}

/// A pool of nodes `T`.
///
/// # Invariants
/// Every node that was ever carved is initialised. The free list holds nodes that no [`Spare`] and
/// no link stands for.
pub(crate) struct Pool<S: SyncFamily, T: Node> {
    state: S::Spin<State>,
    nodes: PhantomData<T>,
}

impl<S: SyncFamily, T: Node> Pool<S, T> {
    /// Nodes in a frame.
    const PER_FRAME: usize = per_frame::<T>();

    pub(crate) const fn new() -> Self
    where
        S: ConstSync,
    {
        Self { state: S::Free::<State>::INITIAL, nodes: PhantomData }
    }

    pub(crate) fn at_run_time() -> Self {
        Self { state: Spin::new(State::INITIAL), nodes: PhantomData }
    }

    /// Takes a node: a recycled one, or a fresh one. May call [`Frames::allocate`], which may
    /// sleep: no page lock held. Calls `allocated` if a frame was had.
    ///
    /// # Safety
    /// Each call of a pool is given the same `frames`.
    pub(crate) unsafe fn take<'c>(
        &'c self,
        frames: &impl Frames,
        allocated: fn(),
    ) -> Result<Spare<'c, T>, Errno> {
        if let Some(node) = self.take_ready(frames) {
            return Ok(node);
        }
        let (frame, _) = crate::frame::allocate(frames, 1)?;
        allocated();
        if let Some(node) = self.take_ready(frames) {
            // SAFETY: the count came from `allocate` just now; the frame has no other owner.
            unsafe { frames.release(frame) };
            return Ok(node);
        }
        let mut state = self.state.lock();
        let header = Header { previous: state.frame };
        // SAFETY: the frame is ours, a page long and page-aligned, so the header fits at its start.
        unsafe { frames.address(frame).cast::<Header>().write(header) };
        if state.frame.is_some() && state.carved < Self::PER_FRAME {
            // Another thread has carved a frame meanwhile; what is left of this one is put on the
            // free list.
            self.carve_all(&mut state, frames);
        }
        state.frame = Some(frame);
        state.carved = 0;
        state.frames += 1;
        let node = Self::carve(&mut state, frames, frame);
        drop(state);
        Ok(node)
    }

    /// Gives a node back. It is reused at once: after a grace period, if readers may have seen it.
    pub(crate) fn put(&self, node: Spare<'_, T>) {
        let mut state = self.state.lock();
        Self::push(&mut state, &node);
    }

    /// Memory taken from the frames, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().frames * PAGE_SIZE
    }

    fn push(state: &mut State, node: &T) {
        node.next().store(state.free, Relaxed);
        state.free = ptr::from_ref(node).expose_provenance() as u64;
    }

    fn take_ready<'c>(&'c self, frames: &impl Frames) -> Option<Spare<'c, T>> {
        let mut state = self.state.lock();
        if state.free != 0 {
            let node: *const T = ptr::with_exposed_provenance(state.free as usize);
            // SAFETY: the free list holds addresses of nodes of this pool, which lives for `'c`.
            let node: &'c T = unsafe { &*node };
            state.free = node.next().load(Relaxed);
            if let Some(next) = NonNull::new(ptr::with_exposed_provenance_mut(state.free as usize))
            {
                // A thread that fills a file takes that one next.
                fetch_for_write(next, size_of::<T>());
            }
            // INVARIANT: it was on the free list, and is not any more.
            return Some(Spare(node));
        }
        match state.frame {
            Some(frame) if state.carved < Self::PER_FRAME => {
                Some(Self::carve(&mut state, frames, frame))
            }
            _ => None,
        }
    }

    fn carve_all(&self, state: &mut State, frames: &impl Frames) {
        while let Some(frame) = state.frame
            && state.carved < Self::PER_FRAME
        {
            let node = Self::carve(state, frames, frame);
            Self::push(state, &node);
        }
    }

    /// Makes the next node of `frame`, which is the pool's newest and not used up.
    fn carve<'c>(state: &mut State, frames: &impl Frames, frame: FrameNumber) -> Spare<'c, T> {
        let node = place::<T>(frames, frame, state.carved);
        state.carved += 1;
        // SAFETY: the place lies in a frame of the pool, is aligned, and has not been used before.
        unsafe { node.write(T::fresh()) };
        // SAFETY: just initialised; the pool owns the frame until it is dropped, and never makes a
        // unique reference to a node before.
        // INVARIANT: the node is new, so it is on no list.
        Spare(unsafe { node.as_ref() })
    }

    /// All nodes, in use or not. The pool begins anew.
    pub(crate) fn take_all(&self) -> Taken<T> {
        let state = mem::replace(&mut *self.state.lock(), State::INITIAL);
        Taken { frame: state.frame, carved: state.carved, nodes: PhantomData }
    }
}

/// The nodes of a pool that has begun anew.
///
/// # Invariants
/// `frame` is the newest frame that the pool had, of which `carved` nodes are initialised; the
/// frames before it were used up. It owns them.
pub(crate) struct Taken<T> {
    frame: Option<FrameNumber>,
    carved: usize,
    nodes: PhantomData<T>,
}

impl<T: Node> Taken<T> {
    /// Drops the nodes and gives their frames back.
    ///
    /// # Safety
    /// `frames` is what the pool was given, and nothing uses one of its nodes any more.
    pub(crate) unsafe fn give_back(mut self, frames: &impl Frames) {
        while let Some(frame) = self.frame {
            for n in 0..self.carved {
                // SAFETY: carved nodes are initialised, and no longer used.
                unsafe { place::<T>(frames, frame, n).drop_in_place() };
            }
            let header = frames.address(frame).cast::<Header>();
            // SAFETY: `take` wrote a header into each frame of the pool.
            let header = unsafe { header.read() };
            // SAFETY: it owns the one count that `allocate` gave, and forgets the frame here.
            unsafe { frames.release(frame) };
            self.frame = header.previous;
            self.carved = per_frame::<T>();
        }
    }
}

/// Nodes in a frame.
const fn per_frame<T>() -> usize {
    assert!(align_of::<T>() <= HEADER_SIZE && size_of::<Header>() <= HEADER_SIZE);
    let nodes = (PAGE_SIZE - HEADER_SIZE) / size_of::<T>();
    assert!(nodes >= 1);
    nodes
}

/// Where node `n` of a frame is.
fn place<T>(frames: &impl Frames, frame: FrameNumber, n: usize) -> NonNull<T> {
    debug_assert!(n < per_frame::<T>());
    let first = frames.address(frame);
    // SAFETY: `n` is below what a frame has room for, so the node lies inside the page at `first`.
    unsafe { first.byte_add(HEADER_SIZE + n * size_of::<T>()) }.cast()
}
