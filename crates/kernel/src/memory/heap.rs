//! The kernel's heap, by `talc`: a part of memory at first, which grows by frames.
//!
//! What is allocated in it cannot fail, as Rust has it. So nothing is begun that a program can have
//! as often as it likes when little is left ([`is_short`]): such a system call fails with `ENOMEM`,
//! and what is left is for those that end things.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use faultless::prelude::{Frames, PAGE_SIZE};
use talc::{OomHandler, Span, Talc};

use crate::memory::frames::frames;
use crate::sync::Lock;

static HEAP: Lock<Talc<Growing>> = Lock::new(Talc::new(Growing));

/// Pages that the heap grows by at least.
const GROWTH: usize = 64;

/// Bytes that are kept for what must not fail.
const RESERVE: usize = 4 << 20;

/// Where the heap grows: frames that come together, and are not given back.
struct Growing;

impl OomHandler for Growing {
    fn handle_oom(talc: &mut Talc<Self>, layout: Layout) -> Result<(), ()> {
        // A page more, for what `talc` keeps and for alignment within the frames.
        let len = layout.size().checked_add(layout.align() + PAGE_SIZE).ok_or(())?;
        grow(talc, len.div_ceil(PAGE_SIZE))
    }
}

/// Gives the heap at least so many pages more, which lie together.
fn grow(talc: &mut Talc<Growing>, pages: usize) -> Result<(), ()> {
    let wanted = u32::try_from(pages.max(GROWTH)).map_err(|_| ())?;
    let (first, granted) = frames().allocate(wanted).map_err(|_| ())?;
    if (granted as usize) < pages {
        for frame in (0..granted).filter_map(|at| first.checked_add(at)) {
            // SAFETY: just allocated, and used by nothing.
            unsafe { frames().release(frame) };
        }
        return Err(());
    }
    let span = Span::from_base_size(frames().address(first).as_ptr(), granted as usize * PAGE_SIZE);
    // SAFETY: the frames are the heap's from here on, and their addresses are consecutive.
    unsafe { talc.claim(span) }.map(drop)
}

/// Whether so little is left that nothing is to be begun that can be done without. Takes frames
/// while there are any.
pub(super) fn is_short() -> bool {
    let mut heap = HEAP.lock();
    while heap.get_counters().available_bytes < RESERVE {
        if grow(&mut heap, GROWTH).is_err() {
            return true;
        }
    }
    false
}

/// The heap, for a program's `#[global_allocator]`. Never sleeps; its lock is a short one, below
/// all others but that of the frames.
pub struct Heap(());

impl Heap {
    /// The one there is.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "there is one")]
    pub const fn new() -> Self {
        Self(())
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

/// Gives the heap its memory.
pub(super) fn init(start: *mut u8, len: usize) {
    // SAFETY: the caller hands over memory that nothing else uses.
    let claimed = unsafe { HEAP.lock().claim(Span::from_base_size(start, len)) };
    claimed.unwrap_or_else(|()| panic!("{len} bytes are too few for a heap"));
}

// SAFETY: `talc` under a lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's: the size is not 0.
        let allocated = unsafe { HEAP.lock().malloc(layout) };
        allocated.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(at) = NonNull::new(at) else { return };
        // SAFETY: the caller's: allocated here, with this layout.
        unsafe { HEAP.lock().free(at, layout) };
    }
}
