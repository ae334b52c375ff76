//! Frames at hand on each CPU: none is lost, handed out twice, or out of reach.

use std::boxed::Box;
use std::cell::Cell;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::vec::Vec;

use faultless_page::{Errno, FrameNumber, Frames, forward_to_frames};

use super::Rng;
use crate::{CpuFrames, CurrentCpu, FramePool, Page};

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

struct Cpu;
impl CurrentCpu for Cpu {
    fn cpu() -> usize {
        CPU.get()
    }
}

fn frames(total: usize) -> CpuFrames<FramePool, Cpu, 2> {
    let region = Box::leak(std::vec![Page::ZERO; total + 1].into_boxed_slice());
    CpuFrames::new(FramePool::new(region))
}

fn one(frames: &CpuFrames<FramePool, Cpu, 2>) -> Result<FrameNumber, Errno> {
    frames.allocate(1).map(|(frame, count)| {
        assert_eq!(count, 1);
        frame
    })
}

fn release(frames: &CpuFrames<FramePool, Cpu, 2>, frame: FrameNumber) {
    // SAFETY: the tests own what they release.
    unsafe { frames.release(frame) };
}

#[test]
fn a_cpu_asks_once_for_a_batch() {
    let frames = frames(64);
    let got: Vec<u32> = (0..16).map(|_| one(&frames).expect("free").get()).collect();
    assert_eq!(got, (1..=16).collect::<Vec<_>>(), "side by side, in ascending order");
    assert_eq!((frames.at_hand(), frames.source().free()), (0, 48));
}

#[test]
fn a_frame_comes_back_to_its_cpu_with_the_last_count() {
    let frames = frames(64);
    let frame = one(&frames).expect("free");
    frames.retain(frame);
    release(&frames, frame);
    assert_eq!((frames.at_hand(), frames.references(frame)), (15, 1), "one count is left");
    CPU.set(1);
    release(&frames, frame);
    assert_eq!(frames.at_hand(), 16);
    assert_eq!(one(&frames), Ok(frame), "the last one is the next");
    CPU.set(0);
    assert_ne!(one(&frames), Ok(frame));
}

#[test]
fn what_one_cpu_has_at_hand_is_not_out_of_reach_of_another() {
    let frames = frames(20);
    let mut got = Vec::new();
    for cpu in [0, 1].into_iter().cycle() {
        CPU.set(cpu);
        match one(&frames) {
            Ok(frame) => got.push(frame),
            Err(errno) => {
                assert_eq!(errno, Errno::NoMemory);
                break;
            }
        }
    }
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), 20, "each of them once");
    release(&frames, got[3]);
    CPU.set(0);
    assert_eq!(frames.allocate(8), Ok((got[3], 1)), "for a run as well");
}

#[test]
fn no_more_are_kept_at_hand_than_there_is_room_for() {
    let frames = frames(200);
    let got: Vec<FrameNumber> = (0..100).map(|_| one(&frames).expect("free")).collect();
    for frame in got {
        release(&frames, frame);
    }
    assert_eq!(frames.at_hand(), 64);
    assert_eq!(frames.source().free(), 136);
    frames.give_back();
    assert_eq!((frames.at_hand(), frames.source().free()), (0, 200));
}

/// A pool that remembers of which frame the address was asked last.
struct Watched(FramePool, Cell<Option<FrameNumber>>);

// SAFETY: the tests share it with no other thread.
unsafe impl Sync for Watched {}

// SAFETY: the pool's.
unsafe impl Frames for Watched {
    forward_to_frames!(self => self.0; allocate, retain, references, release);
    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        self.1.set(Some(frame));
        self.0.address(frame)
    }
}

#[test]
fn with_a_hot_frame_the_next_one_is_brought_near() {
    let region = Box::leak(std::vec![Page::ZERO; 18].into_boxed_slice());
    let frames: CpuFrames<Watched, Cpu, 2> =
        CpuFrames::new(Watched(FramePool::new(region), Cell::new(None)));
    CPU.set(0);
    let hot = || frames.allocate_hot(1).map(|(frame, count)| (frame.get(), count));
    assert_eq!((hot(), frames.source().1.take()), (Ok((1, 1)), None), "none was at hand");
    for number in 2..16 {
        assert_eq!(hot(), Ok((number, 1)));
        assert_eq!(frames.source().1.take().map(FrameNumber::get), Some(number + 1));
    }
    assert_eq!((hot(), frames.source().1.take()), (Ok((16, 1)), None), "the last one at hand");
    assert_eq!(frames.allocate_hot(2).map(|(frame, _)| frame.get()), Ok(17));
    assert_eq!(hot(), Err(Errno::NoMemory));
    // At hand of another CPU, and not out of reach.
    CPU.set(1);
    // SAFETY: handed out above, and released once.
    unsafe { frames.release(FrameNumber::new(7).expect("not 0")) };
    CPU.set(0);
    assert_eq!(hot(), Ok((7, 1)));
}

#[test]
fn spare_frames_are_asked_for_where_memory_is_known() {
    let frames = frames(64);
    let (first, count) = frames.allocate_spare(4).expect("free");
    assert_eq!((first.get(), count, frames.at_hand()), (1, 4, 0));
}

#[test]
fn drawn_calls_lose_no_frame_and_hand_none_out_twice() {
    let mut rng = Rng::new(17);
    let frames = frames(100);
    let mut owned: Vec<FrameNumber> = Vec::new();
    for _ in 0..20_000 {
        CPU.set(rng.below(2) as usize);
        if rng.below(2) == 0 {
            match frames.allocate(1 + rng.below(3) as u32) {
                Ok((first, count)) => {
                    owned.extend((0..count).filter_map(|place| first.checked_add(place)));
                }
                Err(errno) => assert_eq!((errno, owned.len()), (Errno::NoMemory, 100)),
            }
        } else if !owned.is_empty() {
            let place = rng.below(owned.len() as u64) as usize;
            release(&frames, owned.swap_remove(place));
        }
        let all: HashSet<_> = owned.iter().collect();
        assert_eq!(all.len(), owned.len(), "no frame has two owners");
        let known = owned.len() + frames.at_hand() + frames.source().free() as usize;
        assert_eq!(known, 100, "none is lost");
    }
}
