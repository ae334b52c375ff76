//! The kernel's heap: a fixed part of memory, by `talc`.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use talc::{ErrOnOom, Span, Talc};

use crate::sync::Lock;

static HEAP: Lock<Talc<ErrOnOom>> = Lock::new(Talc::new(ErrOnOom));

/// The heap, for a program's `#[global_allocator]`. Never sleeps; its lock is a short one below all
/// others.
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
