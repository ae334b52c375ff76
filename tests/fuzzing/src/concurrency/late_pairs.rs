//! Any two operations on stores that end their requests later, on a thread of their own.
//!
//! That thread runs when no other can, unless it is handed over to: so requests are under way for
//! as long as they can be. Each sweep hands over at every point of the first operation.

#![forbid(unsafe_code)]

use faultless_filemap::Strategy;

use super::super::Plant;
use super::pairs::{
    Extent, Failures, OnFile, collapse, hand_over, insert, meet, pair, square, trouble,
};
use super::script::{CELLS, Cached, Operation, PER_PAGE, Script};
use super::trouble::Stores;

/// Cells of the first file.
const SIZE: usize = 2 * PER_PAGE + PER_PAGE / 2;

/// The operations that make requests, and those that meet them.
const OPERATIONS: &[OnFile] = &[
    (0, Operation::Ahead),
    (0, Operation::Send),
    (0, Operation::Read { at: 0, cells: CELLS }),
    (0, Operation::Store { cell: SIZE - 1 }),
    (0, Operation::Write { at: 4, cells: PER_PAGE }),
    (0, Operation::Append { cells: PER_PAGE }),
    (0, Operation::Truncate { cells: PER_PAGE + 3 }),
    (0, Operation::Fsync),
    (0, Operation::Evict),
    (0, collapse(2, 2)),
    (0, insert(PER_PAGE, PER_PAGE)),
    (0, Operation::Load { page: 2 }),
    (0, Operation::Truncate { cells: CELLS - 1 }),
    (0, Operation::SyncWrite { at: 2, cells: 2 * PER_PAGE }),
];
/// So many of them in the short extent.
const SHORT: usize = 11;
/// Finds after which a sweep ends.
const ENOUGH: usize = 8;

/// From the first thread to that of the stores, which comes two behind it.
const TO_THE_STORES: u8 = 0x40;
/// From there to the second thread.
const ON_TO_THE_SECOND: u8 = 0x7f;
/// Points of the stores after which the second operation comes in, in the long extent.
const WITHIN: [u8; 9] = [1, 2, 3, 5, 8, 13, 21, 34, 55];

/// The second operation comes in while the stores are in the middle of ending the requests of the
/// first one.
fn within(script: &Script, strategy: Strategy) -> Result<u64, String> {
    let mut runs = 0;
    for points in WITHIN {
        let decisions = [TO_THE_STORES | points, ON_TO_THE_SECOND];
        runs += hand_over(script, strategy, Plant::None, &decisions)
            .map_err(|(first, what)| format!("after {first} points and {points}: {what}"))?;
    }
    Ok(runs)
}

/// Plays all pairs of files of which the cache holds so much; how many runs that were, and for each
/// pair that broke the contract how. In the long extent, each call of the stores fails besides.
#[must_use]
pub fn late_pairs(strategy: Strategy, extent: Extent, cached: Cached) -> (u64, Vec<String>) {
    let (mut runs, mut found) = (0, Vec::new());
    let operations = match extent {
        Extent::Short => &OPERATIONS[..SHORT],
        Extent::Long => OPERATIONS,
    };
    for [first, second] in square(operations, strategy, extent) {
        if found.len() >= ENOUGH {
            break;
        }
        let mut script = pair(cached, [first, second]);
        script.setting.stores = Stores::Late(Vec::new());
        let mut note = |played: Result<u64, String>| match played {
            Ok(more) => runs += more,
            Err(what) => found
                .push(format!("{strategy:?}, cached: {cached:?}, {first:?}, {second:?}: {what}")),
        };
        if extent == Extent::Short {
            let met = meet(&script, strategy, Plant::None);
            note(met.map_err(|(points, what)| format!("after {points} points: {what}")));
        } else {
            note(trouble(&script, strategy, Extent::Short, Failures::One, Plant::None));
            note(within(&script, strategy));
        }
    }
    (runs, found)
}
