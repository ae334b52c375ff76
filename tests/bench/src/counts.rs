//! The rows that count: instructions, locked operations, cache lines, user touches, bytes of
//! metadata, allocations. The same each time.

#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::WriteOptions;
use faultless_host::CountingUser;
use faultless_host::stores::MemoryStore;
use faultless_page::{PAGE_SIZE, PAGES_PER_LEAF, Replacement, TwoQueues};
use faultless_usercopy::CurrentUser;
use faultless_usercopy::arch::NoWindow;

use super::board::{Judged, Line, Sense};
use super::frames::{Layout, RigFrames};
use super::instructions;
use super::kernel::{Bare, Measured, Noted, Rig, Whole};
use super::memory::Arena;
use super::recorder::{Trail, record, shared};

/// Bytes of the file, and of a leaf.
const FILE: usize = 64 << 20;
const LEAF: u64 = (PAGES_PER_LEAF * PAGE_SIZE) as u64;
/// Where calls are.
const MIDDLE: u64 = FILE as u64 / 2;

/// A row with one count.
fn line(number: u32, title: &str, found: f64, must: f64, stretch: f64) -> io::Result<Vec<Line>> {
    let goal = Judged::value(found, Sense::AtMost, must, stretch);
    let digits = if found.fract() == 0.0 { 0 } else { 2 };
    Ok(vec![Line::exact(number, title, format!("{found:.digits$}"), goal)])
}

/// A kernel whose memory a file fills, as far as it knows: all pages dirty.
fn filled<K: Measured>() -> io::Result<Rig<K>> {
    filled_over(MemoryStore::volatile())
}

/// The same over this store.
fn filled_over<K: Measured>(store: Arc<MemoryStore>) -> io::Result<Rig<K>> {
    const STEP: usize = 1 << 20;
    let memory = Arc::new(Arena::new(2 * STEP)?);
    let frames = Arena::new(FILE + (16 << 20))?;
    let rig = Rig::over(store, frames, Layout::Contiguous, memory);
    rig.set_capacity((FILE / PAGE_SIZE) as u64);
    for pos in (0..FILE).step_by(STEP) {
        rig.write(&WriteOptions::at(pos as u64), STEP);
    }
    Ok(rig)
}

/// What the second of two calls leaves.
fn second<R: Replacement>(cpu: usize, rig: &Rig<Noted<R>>, call: impl Fn(&Rig<Noted<R>>)) -> Trail {
    record(cpu, || call(rig));
    record(cpu, || call(rig))
}

/// Row 1: locked operations of a hot overwrite, at most.
pub(super) fn overwrite() -> io::Result<Vec<Line>> {
    let rig = filled::<Noted<()>>()?;
    let locked = |len| second(0, &rig, |rig| rig.write(&WriteOptions::at(MIDDLE), len)).locked;
    let most = [1, 64, 4096].map(locked).into_iter().max().unwrap_or(0);
    line(1, "locked operations of a hot overwrite, 1 B to 4 KiB", most as f64, 5.0, 3.0)
}

/// Row 10: the lock of a page is taken once, whatever the segments.
pub(super) fn segments() -> io::Result<Vec<Line>> {
    let rig = filled::<Noted<()>>()?;
    let locked = |count: usize, len: usize| {
        let segments = rig.segments(count, len);
        let options = WriteOptions::at(MIDDLE);
        second(0, &rig, |rig| rig.writev(&segments, &options, count * len)).locked
    };
    let most = locked(64, 64).max(locked(512, 8));
    line(10, "locked operations of a writev in one page, 512 segments", most as f64, 2.0, 2.0)
}

/// Row 15, in a build that is optimised, on an architecture that can count.
pub(super) fn instructions_of_one_byte() -> io::Result<Vec<Line>> {
    let title = "instructions of a 1 B overwrite, without the copy";
    let Some(net) = net_instructions(&["write 1 B"])? else {
        return Ok(vec![Line::void(15, title, "they are not counted here")]);
    };
    line(15, title, net[0], 250.0, 140.0)
}

/// Row 16, likewise.
pub(super) fn instructions_of_a_page() -> io::Result<Vec<Line>> {
    let title = "instructions for each further 4 KiB page";
    let Some(net) = net_instructions(&["write 4 KiB", "write 64 KiB"])? else {
        return Ok(vec![Line::void(16, title, "they are not counted here")]);
    };
    line(16, title, (net[1] - net[0]) / 15.0, 25.0, 10.0)
}

/// Instructions of these calls without the copies. `None` if they cannot be counted.
fn net_instructions(calls: &[&str]) -> io::Result<Option<Vec<f64>>> {
    if cfg!(debug_assertions) {
        return Ok(None);
    }
    let profiles = match instructions::of(calls) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(None),
        profiles => profiles?,
    };
    Ok(Some(profiles.iter().map(|profile| profile.net() as f64).collect()))
}

/// Overwrites of several sizes and places, as this user asks for them.
fn overwrites(rig: &Rig, user: &CountingUser<'_, CurrentUser<NoWindow>>) {
    for len in [1, 64, 4096, 65536] {
        for pos in [0, 4095, 5 << 20] {
            rig.write_as(user, &WriteOptions::at(pos), len);
        }
    }
    assert!(user.accesses().atomic_copies > 0, "nothing was copied");
}

/// Row 18.
pub(super) fn user_touches() -> io::Result<Vec<Line>> {
    let rig = filled::<Bare>()?;
    let user = CountingUser::new(rig.user());
    overwrites(&rig, &user);
    let found = user.accesses().besides_the_copy() as f64;
    line(18, "user touches besides the copy", found, 0.0, 0.0)
}

/// Row 19.
pub(super) fn metadata() -> io::Result<Vec<Line>> {
    let found = filled::<Bare>()?.metadata_per_page();
    line(19, "bytes of metadata for each cached page", found, 32.0, 10.0)
}

/// Row 20.
pub(super) fn allocations() -> io::Result<Vec<Line>> {
    let rig = filled::<Bare>()?;
    let before = RigFrames::allocated();
    overwrites(&rig, &CountingUser::new(rig.user()));
    rig.writev(&rig.segments(512, 8), &WriteOptions::at(5), PAGE_SIZE);
    let found = (RigFrames::allocated() - before) as f64;
    line(20, "allocations for cached overwrites", found, 0.0, 0.0)
}

/// Row 21: the injector is another implementor of the trait; this one is what ships.
pub(super) fn injector() -> io::Result<Vec<Line>> {
    let rig = Rig::new(Arena::new(1 << 20)?, Layout::Contiguous, Arc::new(Arena::new(1 << 12)?));
    let found = size_of_val(rig.user()) as f64 - size_of::<Range<usize>>() as f64;
    line(21, "bytes of short-copy injector in a user's address space", found, 0.0, 0.0)
}

/// Row 23: locked operations for each look at half a leaf whose pages stay.
pub(super) fn looks() -> io::Result<Vec<Line>> {
    // Only what a store keeps may be given up.
    let rig = filled_over::<Noted<TwoQueues>>(MemoryStore::new())?;
    let mut kept = 0;
    let trail = record(0, || kept = rig.reclaim(PAGES_PER_LEAF as u32).kept);
    let looks = f64::from(kept) / (PAGES_PER_LEAF / 2) as f64;
    assert!(looks > 0.0, "pages are looked at");
    let title = "reclaim: locked operations for each leaf looked at";
    let mut lines = line(23, title, trail.locked as f64 / looks, 6.0, 2.0)?;
    lines.iter_mut().flat_map(|line| &mut line.goals).for_each(|goal| goal.must = None);
    Ok(lines)
}

/// Row 24.
pub(super) fn state_for_reclaim() -> io::Result<Vec<Line>> {
    let found = filled::<Whole>()?.metadata_per_page() - filled::<Bare>()?.metadata_per_page();
    line(24, "bytes of state for reclaim for each cached page", found, 2.0, 1.0)
}

/// Row 25: what replacement adds to the locked operations of hot calls.
pub(super) fn all_on() -> io::Result<Vec<Line>> {
    fn locked<R: Replacement>() -> io::Result<u64> {
        let rig = filled::<Noted<R>>()?;
        let write = second(0, &rig, |rig| rig.write(&WriteOptions::at(MIDDLE), 64)).locked;
        Ok(write + second(0, &rig, |rig| rig.read(MIDDLE, 64)).locked)
    }
    let found = locked::<TwoQueues>()? as f64 - locked::<()>()? as f64;
    line(25, "locked operations more of an overwrite and a read, all on", found, 0.0, 0.0)
}

/// Two CPUs' calls, each with its own part of the user's memory.
fn shared_lines(rig: &Rig<Noted<()>>, call: impl Fn(&Rig<Noted<()>>, usize)) -> usize {
    shared(&[0, 1].map(|cpu| second(cpu, rig, |rig| call(rig, cpu))))
}

/// Row 26: lines that two readers of one page share, one of which writes.
pub(super) fn lines_of_reads() -> io::Result<Vec<Line>> {
    let rig = filled::<Noted<()>>()?;
    let found =
        [64, 4096].map(|len| shared_lines(&rig, |rig, cpu| rig.read_to(cpu << 20, MIDDLE, len)));
    let found = found.into_iter().max().unwrap_or(0) as f64;
    line(26, "lines written and shared by two readers of one page", found, 0.0, 0.0)
}

/// Row 27: lines that two writers of one file share, one of which writes.
pub(super) fn lines_of_overwrites() -> io::Result<Vec<Line>> {
    let rig = filled::<Noted<()>>()?;
    let mut lines = Vec::new();
    for (title, distance) in [
        ("lines written and shared by overwrites of two leaves", LEAF),
        ("lines written and shared by overwrites of two pages of a leaf", PAGE_SIZE as u64),
    ] {
        let found = lines_at(&rig, distance) as f64;
        lines.extend(line(27, title, found, 1.0, 0.0)?);
    }
    Ok(lines)
}

/// The lines that two overwrites share which are so far apart.
fn lines_at(rig: &Rig<Noted<()>>, distance: u64) -> usize {
    shared_lines(rig, |rig, cpu| {
        let pos = MIDDLE + cpu as u64 * distance;
        rig.write_from(cpu << 20, &WriteOptions::at(pos), 4096);
    })
}

/// Lines that travel for each disjoint overwrite: of different leaves, and of one.
///
/// # Errors
/// The system's.
pub(super) fn travelling_lines() -> io::Result<[usize; 2]> {
    let rig = filled::<Noted<()>>()?;
    Ok([LEAF, PAGE_SIZE as u64].map(|distance| lines_at(&rig, distance)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Verdict;

    /// All that count the same in each build.
    const ALL: &[fn() -> io::Result<Vec<Line>>] = &[
        overwrite,
        segments,
        user_touches,
        metadata,
        allocations,
        injector,
        looks,
        state_for_reclaim,
        all_on,
        lines_of_reads,
        lines_of_overwrites,
    ];

    #[test]
    fn every_count_is_within_what_a_release_needs() {
        for count in ALL {
            for line in count().expect("memory") {
                println!("row {}: {}: {}", line.number, line.title, line.figure);
                assert_ne!(line.verdict(), Verdict::Missed, "{}: {}", line.title, line.figure);
            }
        }
    }

    #[test]
    fn a_hot_overwrite_takes_two_locked_operations() {
        assert_eq!(overwrite().expect("memory")[0].goals[0].found, 2.0);
        assert_eq!(segments().expect("memory")[0].goals[0].found, 2.0);
    }

    #[test]
    fn cached_overwrites_allocate_nothing() {
        assert_eq!(allocations().expect("memory")[0].goals[0].found, 0.0);
    }

    #[test]
    fn overwrites_of_two_leaves_share_no_line_and_of_one_leaf_its_first() {
        assert_eq!(travelling_lines().expect("memory"), [0, 1]);
    }
}
