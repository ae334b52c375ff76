//! Memory for what is remembered of pages that left: the words of the policy's table of shadows, in
//! frames.
//!
//! A frame of the table has 512 words. The numbers of these frames stand in a short array or, if
//! there are more, in frames of 1024 numbers, and the numbers of those in the array. So the table
//! need not be contiguous.

use core::mem;
use core::ptr::NonNull;

use faultless_policy::replacement::Shadows;

use crate::{Errno, FrameNumber, Frames, PAGE_SIZE};

/// Words in a frame.
const WORDS: u32 = (PAGE_SIZE / mem::size_of::<u64>()) as u32;
/// Numbers in a frame.
const NUMBERS: u32 = (PAGE_SIZE / mem::size_of::<u32>()) as u32;
/// Numbers without a frame: enough for a cache of 400 MiB. With frames of numbers, one of up to
/// 409 GiB has as many shadows as it should, and a larger one has fewer.
const ROOTS: usize = 32;

/// The words.
///
/// # Invariants
/// Each root owns a frame, up to the first that is `None`. If `is_deep`, these are frames of
/// numbers, and each number owns a frame, up to the first that is 0. Nothing else uses them. The
/// first `words` words lie in frames that are there.
#[derive(Debug)]
pub struct ShadowFrames {
    roots: [Option<FrameNumber>; ROOTS],
    is_deep: bool,
    words: u32,
}

impl ShadowFrames {
    /// No memory, for `Shadows::new(0)`.
    pub(crate) const NONE: Self = Self { roots: [None; ROOTS], is_deep: false, words: 0 };

    /// Shadows, and memory for them, for a cache of `pages` pages. The last frame is used whole.
    /// May sleep and reclaim.
    ///
    /// # Errors
    /// [`Errno::NoMemory`]: nothing was kept.
    pub(crate) fn for_pages(frames: &impl Frames, pages: u64) -> Result<(Shadows, Self), Errno> {
        let most = WORDS * NUMBERS * ROOTS as u32;
        let words = Shadows::words_for(pages).next_multiple_of(WORDS).min(most);
        let mut table = Self { is_deep: words > WORDS * ROOTS as u32, ..Self::NONE };
        while table.words < words {
            if let Err(errno) = table.grow(frames) {
                table.give_back(frames);
                return Err(errno);
            }
        }
        Ok((Shadows::new(words), table))
    }

    /// Adds a frame of words, and one of numbers before if there has to be one.
    fn grow(&mut self, frames: &impl Frames) -> Result<(), Errno> {
        let frame_of_table = self.words / WORDS;
        if self.is_deep {
            let root = &mut self.roots[(frame_of_table / NUMBERS) as usize];
            let numbers = match *root {
                Some(numbers) => numbers,
                None => *root.insert(zeroed(frames)?),
            };
            let frame = zeroed(frames)?;
            // SAFETY: a frame of numbers of this table, which is borrowed uniquely.
            // INVARIANT: the number owns the frame.
            unsafe { word(frames, numbers, frame_of_table % NUMBERS).write(frame.get()) };
        } else {
            // INVARIANT: the root owns the frame.
            self.roots[frame_of_table as usize] = Some(zeroed(frames)?);
        }
        self.words += WORDS;
        Ok(())
    }

    /// A word, if there is a frame for it.
    pub(crate) fn word(&mut self, frames: &impl Frames, index: u32) -> Option<&mut u64> {
        let place = self.place(frames, index)?;
        // SAFETY: a word of a frame of this table, which is borrowed uniquely.
        Some(unsafe { &mut *place.as_ptr() })
    }

    /// Where word `index` is, if there is a frame for it.
    fn place(&self, frames: &impl Frames, index: u32) -> Option<NonNull<u64>> {
        if index >= self.words {
            return None;
        }
        let frame = self.frame(frames, index / WORDS)?;
        let words = frames.address(frame).cast::<u64>();
        // SAFETY: the index is below the number of words in a page, which the frame is.
        Some(unsafe { words.add((index % WORDS) as usize) })
    }

    /// A frame of words, by its number in the table.
    fn frame(&self, frames: &impl Frames, frame_of_table: u32) -> Option<FrameNumber> {
        if !self.is_deep {
            return self.roots[frame_of_table as usize];
        }
        let numbers = self.roots[(frame_of_table / NUMBERS) as usize]?;
        // SAFETY: a frame of numbers of this table; it is written only while the table grows.
        FrameNumber::new(unsafe { word(frames, numbers, frame_of_table % NUMBERS).read() })
    }

    /// Memory taken from the frames.
    pub(crate) fn bytes(&self) -> usize {
        let numbers = if self.is_deep { self.roots.iter().flatten().count() } else { 0 };
        (numbers + (self.words / WORDS) as usize) * PAGE_SIZE
    }

    /// Gives the frames back.
    pub(crate) fn give_back(self, frames: &impl Frames) {
        let numbered = if self.is_deep { self.words / WORDS } else { 0 };
        for frame in (0..numbered).filter_map(|number| self.frame(frames, number)) {
            // SAFETY: by the invariant a number owned the frame, and is forgotten here.
            unsafe { frames.release(frame) };
        }
        for root in self.roots.into_iter().flatten() {
            // SAFETY: by the invariant the root owned the frame, and is forgotten here.
            unsafe { frames.release(root) };
        }
    }
}

/// A frame of zeros.
fn zeroed(frames: &impl Frames) -> Result<FrameNumber, Errno> {
    let (frame, _) = crate::frame::allocate(frames, 1)?;
    // SAFETY: the frame is ours, and a page long.
    unsafe { frames.address(frame).write_bytes(0, PAGE_SIZE) };
    Ok(frame)
}

/// Number `index`, below [`NUMBERS`], of a frame of numbers.
fn word(frames: &impl Frames, frame: FrameNumber, index: u32) -> NonNull<u32> {
    debug_assert!(index < NUMBERS, "inside the frame");
    // SAFETY: the index is below the number of such words in a page, which the frame is.
    unsafe { frames.address(frame).cast::<u32>().add(index as usize) }
}
