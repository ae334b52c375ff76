//! Frame pools: random allocation patterns against a model, and pools with one mistake each.

use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use faultless_page::{CoreSync, Errno, FrameNumber, Frames, PAGE_SIZE};

use super::Rng;
use crate::{FramePool, Page};

fn pool(frames: usize) -> FramePool {
    FramePool::new(Box::leak(std::vec![Page::ZERO; frames + 1].into_boxed_slice()))
}

fn number(frame: u32) -> FrameNumber {
    FrameNumber::new(frame).expect("not 0")
}

/// What the check knows: counts of the frames in use, with the byte that each was filled with.
#[derive(Default)]
struct Model {
    frames: BTreeMap<u32, (u32, u8)>,
}

/// Random allocations, retains and releases; what went wrong first.
fn check(pool: &impl Frames, total: u32, free: impl Fn() -> u32, seed: u64) -> Result<(), String> {
    let (mut model, mut rng) = (Model::default(), Rng::new(seed));
    for step in 0..3000_u32 {
        // Phases in which the pool fills up and empties.
        let wants_frames = (step / 500).is_multiple_of(2);
        let roll = rng.below(10);
        if roll < if wants_frames { 6 } else { 3 } {
            allocate(pool, total, &mut model, &mut rng)?;
        } else if let Some(frame) = pick(&model, &mut rng) {
            match roll {
                9 => retain(pool, &mut model, frame),
                _ => release(pool, &mut model, frame)?,
            }
        }
        let in_use = model.frames.len() as u32;
        if free() != total - in_use {
            return Err(format!("{} are free, and {in_use} of {total} in use", free()));
        }
    }
    Ok(())
}

fn pick(model: &Model, rng: &mut Rng) -> Option<u32> {
    let at = rng.below(model.frames.len().max(1) as u64) as usize;
    model.frames.keys().nth(at).copied()
}

fn allocate(
    pool: &impl Frames,
    total: u32,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<(), String> {
    let pages = 1 + rng.below(64) as u32;
    let (first, count) = match pool.allocate(pages) {
        Ok(run) => run,
        Err(Errno::NoMemory) if model.frames.len() as u32 == total => return Ok(()),
        Err(errno) => return Err(format!("{errno} with {} in use", model.frames.len())),
    };
    if !(1..=pages).contains(&count) {
        return Err(format!("{count} frames for {pages}"));
    }
    let (base, fill) = (pool.address(first), 1 + rng.below(255) as u8);
    for frame in first.get()..first.get() + count {
        if frame > total || model.frames.insert(frame, (1, fill)).is_some() {
            return Err(format!("frame {frame} is handed out"));
        }
        let address = pool.address(number(frame));
        let offset = (frame - first.get()) as usize * PAGE_SIZE;
        if address.addr().get() != base.addr().get() + offset || !is_aligned(address) {
            return Err(format!("frame {frame} is at {address:?}, the first at {base:?}"));
        }
        if pool.references(number(frame)) != 1 {
            return Err(format!("frame {frame} has {} counts", pool.references(number(frame))));
        }
        // SAFETY: the frame is ours, and a page long.
        unsafe { address.write_bytes(fill, PAGE_SIZE) };
    }
    Ok(())
}

fn is_aligned(address: NonNull<u8>) -> bool {
    address.addr().get().is_multiple_of(PAGE_SIZE)
}

fn retain(pool: &impl Frames, model: &mut Model, frame: u32) {
    pool.retain(number(frame));
    model.frames.entry(frame).and_modify(|(count, _)| *count += 1);
}

fn release(pool: &impl Frames, model: &mut Model, frame: u32) -> Result<(), String> {
    let (count, fill) = model.frames[&frame];
    if pool.references(number(frame)) != count {
        return Err(format!("frame {frame} has {} counts", pool.references(number(frame))));
    }
    let page = pool.address(number(frame)).cast::<[u8; PAGE_SIZE]>();
    // SAFETY: a count of it is ours, and nothing writes it meanwhile.
    let page = unsafe { page.as_ref() };
    if page.iter().any(|byte| *byte != fill) {
        return Err(format!("frame {frame} was written by another owner"));
    }
    match count {
        1 => model.frames.remove(&frame),
        _ => model.frames.insert(frame, (count - 1, fill)),
    };
    // SAFETY: the model has this count, and gives it up.
    unsafe { pool.release(number(frame)) };
    Ok(())
}

#[test]
fn random_allocations_never_share_a_frame_and_lose_none() {
    for (seed, frames) in [1, 2, 63, 64, 65, 200, 991].into_iter().enumerate() {
        let pool = pool(frames);
        assert!(pool.total() as usize >= frames, "{frames}");
        check(&pool, pool.total(), || pool.free(), seed as u64).expect("no mistake");
    }
}

/// A pool with a mistake.
struct Twin(FramePool, Bug);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A frame is free again after its first release.
    FreedAtOnce,
    /// `release` does nothing.
    NeverFreed,
    /// `retain` does nothing.
    NotRetained,
    /// Runs are one frame longer than they are.
    LongRuns,
    /// Frames after the 40th overlap.
    Overlapping,
    /// There is no last frame.
    LastIsRefused,
}

// SAFETY: none: the mistakes are found by the check, which writes only inside the pool's region.
unsafe impl Frames for Twin {
    fn allocate(&self, pages: u32) -> Result<(FrameNumber, u32), Errno> {
        if self.1 == Bug::LastIsRefused && self.0.free() == 1 {
            return Err(Errno::NoMemory);
        }
        let (first, count) = self.0.allocate(pages)?;
        let more = u32::from(self.1 == Bug::LongRuns && first.get() + count <= self.0.total());
        Ok((first, count + more))
    }
    fn retain(&self, frame: FrameNumber) {
        if self.1 != Bug::NotRetained {
            self.0.retain(frame);
        }
    }
    fn references(&self, frame: FrameNumber) -> u32 {
        self.0.references(frame)
    }
    unsafe fn release(&self, frame: FrameNumber) {
        let releases = match self.1 {
            Bug::FreedAtOnce => self.0.references(frame),
            Bug::NeverFreed => 0,
            _ => 1,
        };
        for _ in 0..releases {
            // SAFETY: counts that there are.
            unsafe { self.0.release(frame) };
        }
    }
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        match self.1 {
            Bug::Overlapping if frame.get() > 40 => self.0.address(number(frame.get() - 1)),
            _ => self.0.address(frame),
        }
    }
}

#[test]
fn each_planted_mistake_of_a_pool_is_found() {
    for bug in [
        Bug::FreedAtOnce,
        Bug::NeverFreed,
        Bug::NotRetained,
        Bug::LongRuns,
        Bug::Overlapping,
        Bug::LastIsRefused,
    ] {
        let twin = Twin(pool(200), bug);
        let found = check(&twin, twin.0.total(), || twin.0.free(), 1);
        assert!(found.is_err(), "{bug:?} was not found");
    }
}

#[test]
fn fresh_memory_comes_in_runs_of_64() {
    let pool = pool(300);
    let runs: Vec<(u32, u32)> = (0..4)
        .map(|_| pool.allocate(1000).map(|(first, n)| (first.get(), n)).expect("room"))
        .collect();
    assert_eq!(runs, [(1, 64), (65, 64), (129, 64), (193, 64)]);
}

#[test]
fn a_run_ends_where_a_frame_is_in_use_and_the_search_wraps() {
    let pool = pool(9);
    assert_eq!(pool.allocate(9), Ok((number(1), 9)));
    for frame in [2, 3, 5] {
        // SAFETY: the count that `allocate` gave.
        unsafe { pool.release(number(frame)) };
    }
    assert_eq!(pool.allocate(64), Ok((number(2), 2)));
    assert_eq!(pool.allocate(64), Ok((number(5), 1)));
    assert_eq!(pool.allocate(1), Err(Errno::NoMemory));
}

#[test]
fn a_raw_region_that_is_not_aligned_loses_its_ragged_ends() {
    let bytes = Box::leak(std::vec![0xa5_u8; 10 * PAGE_SIZE].into_boxed_slice());
    let (base, len) = (NonNull::from(&mut *bytes).cast::<u8>(), bytes.len());
    // SAFETY: inside the region.
    let second = unsafe { base.add(1) };
    // SAFETY: leaked, and not used otherwise; one byte less at each end.
    let pool = unsafe { FramePool::<CoreSync>::from_raw(second, len - 2) };
    assert!((7..=8).contains(&pool.total()), "{pool:?}");
    check(&pool, pool.total(), || pool.free(), 9).expect("no mistake");
    // SAFETY: an empty region.
    let empty = unsafe { FramePool::<CoreSync>::from_raw(base, 100) };
    assert_eq!((empty.total(), empty.allocate(1)), (0, Err(Errno::NoMemory)));
}

#[test]
fn a_region_of_one_page_has_no_frame() {
    assert_eq!(pool(0).total(), 0);
}

#[test]
fn threads_share_a_pool() {
    let pool = pool(50);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let Ok((first, count)) = pool.allocate(1 + round % 7) else { continue };
                    for frame in first.get()..first.get() + count {
                        assert_eq!(pool.references(number(frame)), 1);
                        // SAFETY: just allocated.
                        unsafe { pool.release(number(frame)) };
                    }
                }
            });
        }
    });
    assert_eq!(pool.free(), pool.total());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "released once too often")]
fn a_second_release_is_caught() {
    let pool = pool(4);
    let (frame, _) = pool.allocate(1).expect("room");
    // SAFETY: the count that `allocate` gave.
    unsafe { pool.release(frame) };
    // SAFETY: none: the mistake is caught before it does anything.
    unsafe { pool.release(frame) };
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "retained while it was free")]
fn a_retain_of_a_free_frame_is_caught() {
    pool(4).retain(number(1));
}

#[test]
#[should_panic(expected = "not of this pool")]
fn the_address_of_a_foreign_frame_is_refused() {
    let pool = pool(4);
    let _address = pool.address(number(pool.total() + 1));
}

#[test]
fn an_address_leads_back_to_its_frame_and_to_no_other() {
    let (pool, other) = (pool(5), pool(5));
    for frame in 1..=5 {
        let address = pool.address(number(frame));
        assert_eq!(pool.frame_at(address), Some(number(frame)));
        assert_eq!(other.frame_at(address), None);
        let inside = NonNull::new(address.as_ptr().wrapping_add(1)).expect("not 0");
        assert_eq!(pool.frame_at(inside), None);
    }
    let last = pool.address(number(5)).as_ptr();
    let outside =
        [pool.address(number(1)).as_ptr().wrapping_sub(PAGE_SIZE), last.wrapping_add(PAGE_SIZE)];
    assert!(outside.into_iter().filter_map(NonNull::new).all(|at| pool.frame_at(at).is_none()));
}
