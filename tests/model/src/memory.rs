//! A few frames of plain memory, watched: a use after free, a frame freed twice or never, and a
//! byte that its reader may not have seen yet are all noticed.
//!
//! # How late bytes are modelled
//! The checker does not see copies. So the first and the last [`EDGE`] bytes of each frame (models
//! touch no others) are also kept as *versions*: whoever changed a frame publishes a new one by a
//! relaxed store, whoever copies from it observes one by a relaxed load. If nothing orders the two,
//! the load may return an old version, recycled poison among them, as the machine might. Changes
//! that the code under test makes itself (zeroing, a store's read) are found by comparing, at the
//! trace event that follows each of them.

use std::alloc::{self, Layout};
use std::cell::RefCell;
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use faultless_host::stepped::UserFrames;
use faultless_page::{Errno, FrameNumber, Frames, PAGE_SIZE, Spin, SyncFamily, Word};

use crate::checker::{Checker, Watch};

/// Bytes at each end of a frame that are kept as versions.
pub const EDGE: usize = 32;

/// What a free frame is filled with.
pub const POISON: u8 = 0xDB;

/// What a private page of the process is filled with.
pub const PRIVATE: u8 = b'p';

type Edges = [u8; 2 * EDGE];

/// The machine's memory.
pub struct Memory<C: Checker> {
    base: NonNull<u8>,
    frames: Vec<Frame<C>>,
    free: <C::Sync as SyncFamily>::Spin<Vec<usize>>,
}

struct Frame<C: Checker> {
    watch: C::Watch,
    count: <C::Sync as SyncFamily>::Word32,
    versions: Mutex<Vec<Edges>>,
}

// SAFETY: the bytes behind `base` are shared only under the rules of `Frames`; checkers run one
// thread at a time.
unsafe impl<C: Checker> Send for Memory<C> {}
// SAFETY: as above.
unsafe impl<C: Checker> Sync for Memory<C> {}

/// The seam's handle of a [`Memory`].
pub struct ModelFrames<C: Checker>(pub Arc<Memory<C>>);

thread_local! {
    /// Called where the code under test has just changed bytes itself. A checker's threads share
    /// one thread of the host.
    static PUBLISH: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Publishes what the code under test has just changed.
pub fn publish() {
    let hook = PUBLISH.with(|hook| hook.borrow().clone());
    if let Some(hook) = hook {
        hook();
    }
}

impl<C: Checker> Memory<C> {
    /// `frames` free frames.
    ///
    /// # Panics
    /// If the host has no memory.
    #[must_use]
    pub fn new(frames: usize) -> Arc<Self> {
        let layout = Self::layout(frames);
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc::alloc(layout) };
        let base = NonNull::new(base).expect("memory for a model");
        // SAFETY: as many bytes were just allocated.
        unsafe { base.write_bytes(POISON, layout.size()) };
        let frame = |_| Frame {
            watch: C::Watch::new(),
            count: Word::new(0),
            versions: Mutex::new(vec![[POISON; 2 * EDGE]]),
        };
        let memory = Arc::new(Self {
            base,
            frames: (0..frames).map(frame).collect(),
            free: Spin::new((0..frames).rev().collect()),
        });
        let weak = Arc::downgrade(&memory);
        let hook = move || {
            if let Some(memory) = weak.upgrade() {
                memory.publish_changes();
            }
        };
        PUBLISH.with(|place| *place.borrow_mut() = Some(Rc::new(hook)));
        memory
    }

    fn layout(frames: usize) -> Layout {
        Layout::from_size_align(frames.max(1) * PAGE_SIZE, PAGE_SIZE).expect("a few pages")
    }

    /// Frames that are in use.
    pub fn in_use(&self) -> usize {
        self.frames.len() - self.free.lock().len()
    }

    /// Whether `at` lies in a frame.
    #[must_use]
    pub fn contains(&self, at: *const u8) -> bool {
        at.addr().wrapping_sub(self.base.addr().get()) < self.frames.len() * PAGE_SIZE
    }

    /// Copies `bytes` to `to`, which lies in a frame, as a copy from user memory does.
    pub fn poke(&self, to: *mut u8, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = to.wrapping_add(done);
            let (number, offset) = self.place(at);
            let piece = &bytes[done..bytes.len().min(done + PAGE_SIZE - offset)];
            self.frames[number].watch.used();
            // SAFETY: the piece ends in the frame that `at` lies in, and `used` has just looked
            // that it is alive.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), at, piece.len()) };
            self.publish_change(number);
            done += piece.len();
        }
    }

    /// The `len` bytes at `from`, which lies in a frame, as a copy to user memory sees them.
    #[must_use]
    pub fn peek(&self, from: *const u8, len: usize) -> Vec<u8> {
        let mut seen = Vec::with_capacity(len);
        while seen.len() < len {
            let at = from.wrapping_add(seen.len());
            let (number, offset) = self.place(at);
            let piece = (len - seen.len()).min(PAGE_SIZE - offset);
            self.peek_frame(number, offset, piece, &mut seen);
        }
        seen
    }

    fn peek_frame(&self, number: usize, offset: usize, len: usize, seen: &mut Vec<u8>) {
        let frame = &self.frames[number];
        frame.watch.used();
        let version = frame.watch.observe() as usize;
        let edges = frame.versions()[version];
        let late = |at: usize| match at {
            at if at < EDGE => Some(edges[at]),
            at if at >= PAGE_SIZE - EDGE => Some(edges[at + 2 * EDGE - PAGE_SIZE]),
            _ => None,
        };
        // SAFETY: inside the frame.
        let from = unsafe { self.address_of(number).add(offset) };
        // SAFETY: inside the frame too, which is alive; checkers run one thread at a time.
        let now = unsafe { std::slice::from_raw_parts(from.as_ptr(), len) };
        seen.extend(now.iter().zip(offset..).map(|(&now, at)| late(at).unwrap_or(now)));
    }

    /// The number and offset of a place in memory.
    ///
    /// # Panics
    /// If it is none.
    fn place(&self, at: *const u8) -> (usize, usize) {
        let offset = at.addr().wrapping_sub(self.base.addr().get());
        let number = offset / PAGE_SIZE;
        assert!(number < self.frames.len(), "{at:p} is not in any frame");
        (number, offset % PAGE_SIZE)
    }

    fn address_of(&self, number: usize) -> NonNull<u8> {
        // SAFETY: frame numbers are below the number of frames, for which there is memory.
        unsafe { self.base.add(number * PAGE_SIZE) }
    }

    fn edges(&self, number: usize) -> Edges {
        let mut edges = [0; 2 * EDGE];
        let page = self.address_of(number).as_ptr();
        // SAFETY: the frame's first bytes, into as many.
        unsafe { std::ptr::copy_nonoverlapping(page, edges.as_mut_ptr(), EDGE) };
        // SAFETY: inside the page.
        let tail = unsafe { page.add(PAGE_SIZE - EDGE) };
        // SAFETY: the frame's last bytes, into as many.
        unsafe { std::ptr::copy_nonoverlapping(tail, edges[EDGE..].as_mut_ptr(), EDGE) };
        edges
    }

    fn publish_change(&self, number: usize) {
        let now = self.edges(number);
        let version = {
            let mut versions = self.frames[number].versions();
            if versions.last() == Some(&now) {
                return;
            }
            versions.push(now);
            versions.len() as u64 - 1
        };
        self.frames[number].watch.publish(version);
    }

    fn publish_changes(&self) {
        (0..self.frames.len()).for_each(|number| self.publish_change(number));
    }
}

impl<C: Checker> Frame<C> {
    fn versions(&self) -> std::sync::MutexGuard<'_, Vec<Edges>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Checker> Drop for Memory<C> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout; the last owner is gone.
        unsafe { alloc::dealloc(self.base.as_ptr(), Self::layout(self.frames.len())) };
    }
}

// SAFETY: a frame is on the free list or has an owner, its memory is the page of its number,
// consecutive numbers have consecutive pages of one allocation, and it goes back when its count
// reaches zero.
unsafe impl<C: Checker> Frames for ModelFrames<C> {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let memory = &*self.0;
        let mut free = memory.free.lock();
        let first = free.pop().ok_or(Errno::NoMemory)?;
        let mut count = 1;
        while count < pages && free.last() == Some(&(first + count as usize)) {
            free.pop();
            count += 1;
        }
        drop(free);
        for frame in &memory.frames[first..first + count as usize] {
            let before = frame.count.swap(1, Acquire);
            assert_eq!(before, 0, "a frame handed out twice");
            frame.watch.taken();
        }
        FrameNumber::new(first as u32 + 1).map(|first| (first, count)).ok_or(Errno::NoMemory)
    }

    fn retain(&self, frame: FrameNumber) {
        let before = self.0.frames[frame.get() as usize - 1].count.fetch_add(1, Relaxed);
        assert_ne!(before, 0, "a free frame retained");
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        self.0.frames[frame.get() as usize - 1].count.load(Acquire)
    }

    unsafe fn release(&self, frame: FrameNumber) {
        let memory = &*self.0;
        let number = frame.get() as usize - 1;
        let before = memory.frames[number].count.fetch_sub(1, AcqRel);
        assert_ne!(before, 0, "a free frame released");
        if before == 1 {
            memory.frames[number].watch.given_away();
            // SAFETY: nobody has the frame; a page long.
            unsafe { memory.address_of(number).write_bytes(POISON, PAGE_SIZE) };
            memory.publish_change(number);
            memory.free.lock().push(number);
        }
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.0.address_of(frame.get() as usize - 1)
    }
}

// SAFETY: all bytes are moved, by way of a copy.
unsafe impl<C: Checker> UserFrames for ModelFrames<C> {
    fn allocate_user(&self) -> Option<FrameNumber> {
        let (frame, _) = self.allocate(1).ok()?;
        self.0.poke(self.address(frame).as_ptr(), &[PRIVATE; PAGE_SIZE]);
        Some(frame)
    }

    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize) {
        let bytes = if self.0.contains(from) {
            self.0.peek(from, len)
        } else {
            // SAFETY: by the caller; the bytes are copied before anything changes them.
            unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
        };
        if self.0.contains(to) {
            self.0.poke(to, &bytes);
        } else {
            // SAFETY: by the caller; `bytes` are the function's own.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        }
    }
}

impl<C: Checker> fmt::Debug for Memory<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<C: Checker> fmt::Debug for ModelFrames<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
