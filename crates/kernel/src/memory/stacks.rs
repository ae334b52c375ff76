//! Kernel stacks: in a part of the address space of their own, with a page below each that nothing
//! is mapped to. A stack that overflows faults there, instead of changing what lies below.
//!
//! Stacks of threads that have ended are kept for later ones, up to a number. The frames of others
//! are given back by [`trim`]: a drop may come in an interrupt handler, and cannot wait for TLBs.

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use alloc::vec::Vec;

use faultless::prelude::{FrameNumber, Frames, PAGE_SIZE};

use crate::arch::shootdown;
use crate::memory::frames::frames;
use crate::memory::map::physical;
use crate::memory::table::{NOT_EXECUTE, PRESENT, WRITE, frame_of, kernel_word};
use crate::sync::Lock;

/// Bytes of a kernel stack.
pub(crate) const STACK: usize = 64 * 1024;

/// Where the first page below a stack lies, and from there to the next one.
const AREA: usize = 0xffff_9000_0000_0000;
const STRIDE: usize = PAGE_SIZE + STACK;

/// Places in the area: as many as one entry of the top table leads to.
const PLACES: usize = (512 << 30) / STRIDE;

/// Stacks that are kept.
const KEPT: usize = 64;

const PAGES: usize = STACK / PAGE_SIZE;

static PLACES_LEFT: Lock<Places> =
    Lock::new(Places { first_unused: 0, empty: Vec::new(), ready: Vec::new() });

/// Which places of the area have no stack in use.
struct Places {
    /// From here on none was used yet.
    first_unused: usize,
    /// Those with nothing mapped.
    empty: Vec<usize>,
    /// Those with a stack that was used before.
    ready: Vec<usize>,
}

/// A kernel stack.
pub(crate) struct KernelStack {
    place: usize,
}

/// The pages of a stack, as page numbers.
const fn pages(place: usize) -> Range<usize> {
    let first = (AREA + place * STRIDE) / PAGE_SIZE + 1;
    first..first + PAGES
}

/// Makes the upper tables of the area, which the tables of all programs lead to. Before there is a
/// program.
///
/// # Panics
/// There is no memory.
pub(super) fn init() {
    assert!(kernel_word(pages(0).start).is_some(), "no memory for the tables of stacks");
}

/// Whether an address lies in a page below a stack.
pub(crate) fn is_below_stack(address: usize) -> bool {
    let place = address.wrapping_sub(AREA) / STRIDE;
    place < PLACES && !pages(place).contains(&(address / PAGE_SIZE))
}

impl KernelStack {
    /// A stack; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        let mut places = PLACES_LEFT.lock();
        if let Some(place) = places.ready.pop() {
            return Some(Self { place });
        }
        let place = places.empty.pop().or_else(|| {
            let unused = places.first_unused;
            places.first_unused += 1;
            (unused < PLACES).then_some(unused)
        })?;
        // With the lock held: tables are made by one thread at a time.
        if map(place).is_none() {
            places.empty.push(place);
            return None;
        }
        Some(Self { place })
    }

    /// Its first byte.
    pub(crate) const fn start(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(pages(self.place).start * PAGE_SIZE)
    }
}

impl Drop for KernelStack {
    /// No thread runs on it any more.
    fn drop(&mut self) {
        PLACES_LEFT.lock().ready.push(self.place);
    }
}

/// Maps the pages of a place. Nothing is mapped if there is no memory.
fn map(place: usize) -> Option<()> {
    let mut found: [Option<FrameNumber>; PAGES] = [None; PAGES];
    let is_complete = found.iter_mut().zip(pages(place)).all(|(frame, page)| {
        *frame = frames().allocate(1).ok().map(|(first, _one)| first);
        frame.is_some() && kernel_word(page).is_some()
    });
    for (frame, page) in found.into_iter().zip(pages(place)) {
        let (Some(frame), word) = (frame, kernel_word(page).filter(|_| is_complete)) else {
            continue;
        };
        match word {
            // No CPU has an entry to forget: none keeps those that are not present.
            Some(word) => {
                let address = physical(frames().address(frame)) as u64;
                word.store(address | PRESENT | WRITE | NOT_EXECUTE, Relaxed);
            }
            // SAFETY: allocated above, and used by nothing.
            None => unsafe { frames().release(frame) },
        }
    }
    is_complete.then_some(())
}

/// Gives the frames of stacks back that are more than are kept. Interrupts are on, and no lock is
/// held.
pub(crate) fn trim() {
    loop {
        let place = {
            let mut places = PLACES_LEFT.lock();
            if places.ready.len() <= KEPT {
                return;
            }
            places.ready.pop()
        };
        let Some(place) = place else { return };
        let mut found: [Option<FrameNumber>; PAGES] = [None; PAGES];
        for (frame, page) in found.iter_mut().zip(pages(place)) {
            let Some(word) = kernel_word(page) else { continue };
            *frame = frame_of(word.swap(0, Relaxed));
        }
        shootdown::flush_kernel(&pages(place));
        for frame in found.into_iter().flatten() {
            // SAFETY: the count of `map`; no CPU reaches the frame by the stack any more.
            unsafe { frames().release(frame) };
        }
        PLACES_LEFT.lock().empty.push(place);
    }
}
