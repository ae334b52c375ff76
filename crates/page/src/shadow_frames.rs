//! Memory for what is remembered of pages that left: the words of the policy's table of shadows, in
//! frames.
//!
//! A frame of the table has 1024 words. Their numbers stand in frames as well, of 1024 each, and
//! the numbers of those in a short array. So the table need not be contiguous.

use core::mem;
use core::ptr::NonNull;

use faultless_policy::replacement::Shadows;

use crate::{Errno, FrameNumber, Frames, PAGE_SIZE};

/// Words in a frame.
const WORDS: u32 = (PAGE_SIZE / mem::size_of::<u32>()) as u32;
/// Frames of numbers. With 5 shadows for 4 pages of a cache: up to 100 GiB of it have as many
/// shadows as they should, larger ones have fewer.
const ROOTS: usize = 16;
/// Words of a table without memory, which every table has room for.
const FEW: usize = 4;

/// The words.
///
/// # Invariants
/// Each root owns a frame of numbers, up to the first that is 0, and each number a frame; nothing
/// else uses them. The first `words` words lie in frames that are there.
#[derive(Debug)]
pub struct ShadowFrames {
    roots: [Option<FrameNumber>; ROOTS],
    words: u32,
    few: [u32; FEW],
}

impl ShadowFrames {
    /// No memory, for `Shadows::new(0)`.
    pub(crate) const NONE: Self = Self { roots: [None; ROOTS], words: 0, few: [0; FEW] };

    /// Shadows, and memory for them, for a cache of `pages` pages: 5 for every 4. May sleep and
    /// reclaim.
    ///
    /// # Errors
    /// [`Errno::NoMemory`]: nothing was kept.
    pub(crate) fn for_pages(frames: &impl Frames, pages: u64) -> Result<(Shadows, Self), Errno> {
        let most = u64::from(WORDS) * u64::from(WORDS) * ROOTS as u64 * 2;
        let entries = (pages.saturating_mul(5) / 4).min(most) as u32;
        let shadows = Shadows::new(entries);
        let mut table = Self::NONE;
        while table.words < shadows.words() && shadows.words() > FEW as u32 {
            if let Err(errno) = table.grow(frames) {
                table.give_back(frames);
                return Err(errno);
            }
        }
        Ok((shadows, table))
    }

    /// Adds a frame of words, and one of numbers before if there is none for it.
    fn grow(&mut self, frames: &impl Frames) -> Result<(), Errno> {
        let frame_of_table = self.words / WORDS;
        let root = &mut self.roots[(frame_of_table / WORDS) as usize];
        let numbers = match *root {
            Some(numbers) => numbers,
            None => {
                let numbers = zeroed(frames)?;
                *root = Some(numbers);
                numbers
            }
        };
        let frame = zeroed(frames)?;
        // SAFETY: a frame of numbers of this table, which is borrowed uniquely.
        // INVARIANT: the number owns the frame.
        unsafe { word(frames, numbers, frame_of_table % WORDS).write(frame.get()) };
        self.words += WORDS;
        Ok(())
    }

    pub(crate) fn get(&self, frames: &impl Frames, index: u32) -> u32 {
        match self.place(frames, index) {
            // SAFETY: a word of a frame of this table; the borrow excludes writers.
            Some(word) => unsafe { word.read() },
            None => self.few[index as usize % FEW],
        }
    }

    pub(crate) fn set(&mut self, frames: &impl Frames, index: u32, value: u32) {
        match self.place(frames, index) {
            // SAFETY: a word of a frame of this table, which is borrowed uniquely.
            Some(word) => unsafe { word.write(value) },
            None => self.few[index as usize % FEW] = value,
        }
    }

    /// Where word `index` is, if there is a frame for it.
    fn place(&self, frames: &impl Frames, index: u32) -> Option<NonNull<u32>> {
        if index >= self.words {
            return None;
        }
        let frame_of_table = index / WORDS;
        let numbers = self.roots[(frame_of_table / WORDS) as usize]?;
        // SAFETY: a frame of numbers of this table; it is written only while the table grows.
        let number = unsafe { word(frames, numbers, frame_of_table % WORDS).read() };
        Some(word(frames, FrameNumber::new(number)?, index % WORDS))
    }

    /// Memory taken from the frames.
    pub(crate) fn bytes(&self) -> usize {
        let numbers = self.roots.iter().flatten().count();
        (numbers + (self.words / WORDS) as usize) * PAGE_SIZE
    }

    /// Gives the frames back.
    pub(crate) fn give_back(self, frames: &impl Frames) {
        for numbers in self.roots.into_iter().flatten() {
            for index in 0..WORDS {
                // SAFETY: a frame of numbers of this table, which is ours.
                let number = unsafe { word(frames, numbers, index).read() };
                let Some(frame) = FrameNumber::new(number) else { break };
                // SAFETY: by the invariant the number owned the frame, and is forgotten here.
                unsafe { frames.release(frame) };
            }
            // SAFETY: by the invariant the root owned the frame, and is forgotten here.
            unsafe { frames.release(numbers) };
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

/// Word `index`, below [`WORDS`], of a frame.
fn word(frames: &impl Frames, frame: FrameNumber, index: u32) -> NonNull<u32> {
    debug_assert!(index < WORDS, "inside the frame");
    // SAFETY: the index is below the number of words in a page, which the frame is.
    unsafe { frames.address(frame).cast::<u32>().add(index as usize) }
}
