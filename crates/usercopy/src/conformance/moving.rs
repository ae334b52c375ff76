//! Mappings that change while a copy runs: U1 and U2 then, too.
#![forbid(unsafe_code)]

use super::case::{Case, MAX_LEN, Promise};
use super::change::{Change, MovingLayout, Present};
use super::{Failure, Operation};
use crate::MayFault;

/// Which accesses are tried.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// Their lengths in bytes, at most 2048.
    pub lengths: &'a [usize],
    /// How many bytes of them lie in the first page; those that are longer than the access are left
    /// out.
    pub in_first: &'a [usize],
}

impl Sweep<'static> {
    /// Lengths up to more than two blocks of 64 bytes, each with the border at every byte.
    pub const THOROUGH: Self = Self { lengths: &LENGTHS, in_first: &EVERY };

    /// Lengths around the widths of words and blocks, with the border at some: for points that cost
    /// much.
    pub const COARSE: Self =
        Self { lengths: &[2, 7, 13, 17, 40, 64, 79], in_first: &[0, 1, 8, 15, 40, 61] };
}

/// Longest access of the thorough sweep.
const LONGEST: usize = 132;

/// The numbers from 0 to [`LONGEST`].
const EVERY: [usize; LONGEST + 1] = up_to();

/// All below 71, and some around further block sizes.
const LENGTHS: [usize; 78] = {
    let mut lengths: [usize; 78] = up_to();
    let mut at = 71;
    let long = [79, 80, 96, 127, 128, 129, LONGEST];
    while at < 78 {
        lengths[at] = long[at - 71];
        at += 1;
    }
    lengths
};

const fn up_to<const N: usize>() -> [usize; N] {
    let mut numbers = [0; N];
    let mut at = 0;
    while at < N {
        numbers[at] = at;
        at += 1;
    }
    numbers
}

/// Runs `operations` with one change of the mappings during each: at every point, from every state
/// of the two pages with at least one accessible to every other state. Checks U1 and U2 after each.
/// May take faults and sleep.
///
/// # Errors
/// The first broken promise; a layout whose points are never reached, by the rule "layout".
pub fn check_moving<L: MovingLayout + ?Sized>(
    layout: &L,
    token: &mut MayFault,
    operations: &[Operation],
    sweep: Sweep<'_>,
) -> Result<(), Failure> {
    let mut case = Case::new(layout, token, Promise::Contract);
    for &operation in operations {
        case.operation = operation;
        let mut reached = 0;
        for &len in sweep.lengths.iter().filter(|&&len| len <= MAX_LEN) {
            for &in_first in sweep.in_first.iter().filter(|&&in_first| in_first <= len) {
                reached += every_change(&mut case, len, in_first, len + 3 * in_first)?;
            }
        }
        if reached == 0 {
            return Err(Failure::new(operation, "layout", "no copy reached a point"));
        }
    }
    Ok(())
}

/// All changes at all points of one access. Returns how many took place.
fn every_change<L: MovingLayout + ?Sized>(
    case: &mut Case<'_, L>,
    len: usize,
    in_first: usize,
    alignment: usize,
) -> Result<usize, Failure> {
    let mut reached = 0;
    for before in [Present::Both, Present::First, Present::Second] {
        for after in Present::ALL.into_iter().filter(|&after| after != before) {
            let mut change = Change { before, point: 0, after, in_first };
            while case.run_moving(len, alignment, change)? {
                (reached, change.point) = (reached + 1, change.point + 1);
            }
        }
    }
    Ok(reached)
}
