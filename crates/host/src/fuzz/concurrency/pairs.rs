//! Any two operations, with one hand-over: the second comes in at each point of the first, in turn.
//!
//! A fuzzer gets to such an order by chance. Here are all of them, for operations that stand for the others.

#![forbid(unsafe_code)]

use faultless_filemap::Strategy;

use super::script::{CELLS, Cached, Deed, FileNumber, Leaves, Op, PER_PAGE, Script};
use super::{Plant, play};
use crate::fuzz::hunt::quietly;

/// Cells of the two files: two and a half pages, and one.
const INITIAL: [usize; 2] = [2 * PER_PAGE + PER_PAGE / 2, PER_PAGE];

/// The operations. Most are done to the first file, whose last page is half full.
const DEEDS: &[(FileNumber, Deed)] = &[
    (0, Deed::Write { at: 4, cells: PER_PAGE }),
    (0, Deed::Write { at: PER_PAGE, cells: PER_PAGE }),
    (0, Deed::Write { at: INITIAL[0] - 2, cells: 4 }),
    (0, Deed::Append { cells: 3 }),
    // From a mapping of the page that is written, of a later one, of the last one, of the other file.
    (0, Deed::Copy { at: 0, cells: 4, from: 0, page: 0 }),
    (0, Deed::Copy { at: 2, cells: 4, from: 0, page: 1 }),
    (0, Deed::Copy { at: INITIAL[0] - 1, cells: 4, from: 0, page: 2 }),
    (0, Deed::Copy { at: 1, cells: 4, from: 1, page: 0 }),
    (1, Deed::Copy { at: 1, cells: 4, from: 0, page: 0 }),
    (0, Deed::Read { at: 0, cells: CELLS }),
    (0, Deed::Truncate { cells: 0 }),
    (0, Deed::Truncate { cells: PER_PAGE + 3 }),
    (0, Deed::Truncate { cells: CELLS - 1 }),
    (0, Deed::Fsync),
    (0, Deed::Evict),
    (0, Deed::Store { cell: 5 }),
    (0, Deed::Store { cell: INITIAL[0] - 1 }),
    (0, Deed::Load { page: 0 }),
    (0, Deed::Load { page: 2 }),
    (0, Deed::Remap { page: 0 }),
    (0, Deed::Populate { page: 0 }),
    (0, Deed::Steal),
];

/// Hands over to the other thread, which then runs until it waits or ends.
const HAND_OVER: &[u8] = &[0x3f];

/// Plays all pairs by `strategy`; how many runs that were. It is deterministic.
///
/// # Errors
/// The first pair whose run broke the contract, after how many points it was handed over, and what was seen.
pub fn pairs(strategy: Strategy, plant: Plant) -> Result<u64, String> {
    let mut runs = 0;
    for cached in [Cached::No, Cached::Yes] {
        for &first in DEEDS {
            for &second in DEEDS {
                let script = pair(cached, [first, second]);
                runs += meet(&script, strategy, plant).map_err(|(points, what)| {
                    format!(
                        "{strategy:?}, cached: {cached:?}, {first:?}, after {points} points {second:?}: {what}"
                    )
                })?;
            }
        }
    }
    Ok(runs)
}

fn pair(cached: Cached, deeds: [(FileNumber, Deed); 2]) -> Script {
    let thread = |(tag, (file, deed))| vec![Op { file, deed, tag }];
    let threads = (1..).zip(deeds).map(thread).collect();
    Script { initial: INITIAL, cached, leaves: Leaves::One, threads }
}

/// Lets the first thread run for no point, one point, two, … until it is not interrupted any more. How often that was; or after how
/// many points it went wrong, and what was seen.
fn meet(script: &Script, strategy: Strategy, plant: Plant) -> Result<u64, (u32, String)> {
    for points in 0.. {
        let run = || play(script.clone(), strategy, plant, points, HAND_OVER);
        let used = quietly(run).map_err(|what| (points, what))?;
        if used < HAND_OVER.len() {
            return Ok(u64::from(points) + 1);
        }
    }
    unreachable!("a thread ends")
}
