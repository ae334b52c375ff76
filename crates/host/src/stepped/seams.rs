//! What a checker supplies: its scheduler and its memory.

use std::fmt;

use faultless_page::{FrameNumber, Frames, WaitKey};

use crate::memory::HostFrames;

/// A place at which another thread may come in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before M is taken.
    Lock,
    /// Before a piece of an access, before a call of the reverse map, and before a page that was
    /// swapped out is there again.
    Step,
    /// Before an entry of the page table changes for another reason.
    Entry,
}

/// The scheduler of a checker.
pub trait Threads: fmt::Debug + Send + Sync {
    /// Bytes of a piece of an access: those that are moved without a point in between. Divides a
    /// page.
    const PIECE: usize;

    /// A place at which another thread may come in between.
    fn point(&self, at: Point);

    /// Sleeps under `key` until `ready`; `what` is waited for. No other thread comes in between
    /// the last look and the return.
    fn wait_until(&self, key: WaitKey, what: &'static str, ready: &mut dyn FnMut() -> bool);

    /// Makes every thread that sleeps under `key` look again. It is no point by itself.
    fn wake(&self, key: WaitKey);

    /// The thread takes as long as it can here. For a scheduler that tries every order, as long as
    /// at any point.
    fn idle(&self) {}
}

/// Frames that user accesses go to.
///
/// # Safety
/// [`copy`](Self::copy) moves all of the bytes, and touches no others.
pub unsafe trait UserFrames: Frames {
    /// A frame for a private page, with a count of 1.
    fn allocate_user(&self) -> Option<FrameNumber>;

    /// Moves `len` bytes, as an instruction of the processor does. One of the two places lies in a
    /// frame; the other one may. They may overlap.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of `len` bytes.
    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize);
}

// SAFETY: it is one move of all the bytes.
unsafe impl UserFrames for HostFrames {
    fn allocate_user(&self) -> Option<FrameNumber> {
        self.memory().allocate_user()
    }

    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: by the caller.
        unsafe { from.copy_to(to, len) };
    }
}
