//! Fault-in: truthful, and without a trace (U6).
#![forbid(unsafe_code)]

use super::case::{Promise, first_wrong, poke_pattern, user_byte};
use super::{Failure, Layout, Operation};
use crate::{MayFault, UserMemory, UserSlice};

/// Where in its page a range begins or ends.
const OFFSETS: [usize; 6] = [0, 1, 100, 2048, 4094, 4095];

/// Probes ranges of all shapes over the five pages.
pub(super) fn check<L: Layout + ?Sized>(
    layout: &L,
    token: &mut MayFault,
    promise: Promise,
) -> Result<(), Failure> {
    let page = layout.page_size();
    let poke = |index: usize| poke_pattern(layout, layout.base().wrapping_add(index * page), page);
    [0, 2, 3, 4].into_iter().for_each(poke);
    for operation in [Operation::FaultInReadable, Operation::FaultInWriteable] {
        for first in 0..5 {
            for last in first..5 {
                for from in OFFSETS {
                    for to in OFFSETS {
                        let (from, to) = (first * page + from, last * page + to);
                        probe(layout, token, promise, operation, from..to)?;
                    }
                }
            }
        }
        unchanged(layout, operation)?;
    }
    Ok(())
}

/// Leading bytes of the range, given by offsets from the base, that `operation` can reach.
fn accessible<L: Layout + ?Sized>(
    layout: &L,
    operation: Operation,
    range: &core::ops::Range<usize>,
) -> usize {
    let page = layout.page_size();
    let reachable = |at: usize| match at / page {
        1 => false,
        4 => operation == Operation::FaultInReadable,
        _ => true,
    };
    let mut at = range.start;
    while at < range.end && reachable(at) {
        at = ((at / page + 1) * page).min(range.end);
    }
    at - range.start
}

fn probe<L: Layout + ?Sized>(
    layout: &L,
    token: &mut MayFault,
    promise: Promise,
    operation: Operation,
    range: core::ops::Range<usize>,
) -> Result<(), Failure> {
    let len = range.len();
    let accessible = accessible(layout, operation, &range);
    let fail = |rule, seen, reported| {
        Err(Failure::new(operation, rule, seen).with_counts(len, accessible, reported))
    };
    let user = layout.user();
    let Ok(slice) = UserSlice::new(user, layout.base().wrapping_add(range.start), len) else {
        return fail("U5", "a range inside was refused", 0);
    };
    let left = match operation {
        Operation::FaultInReadable => user.fault_in_readable(token, slice),
        _ => user.fault_in_writeable(token, slice),
    };
    let reported = len.wrapping_sub(left);
    if reported > accessible {
        return fail("U6", "claims bytes that cannot be reached", reported);
    }
    if reported == 0 && accessible > 0 {
        return fail("U6", "reached nothing although the first byte was accessible", reported);
    }
    let all = accessible == len || promise == Promise::Exact;
    if all && reported < accessible {
        return fail("U6", "did not reach accessible bytes", reported);
    }
    Ok(())
}

/// No byte of the accessible pages changed.
fn unchanged<L: Layout + ?Sized>(layout: &L, operation: Operation) -> Result<(), Failure> {
    let page = layout.page_size();
    for index in [0, 2, 3, 4] {
        let start = layout.base().wrapping_add(index * page);
        let wrong = first_wrong(layout, start, page, |at| user_byte(start.get().wrapping_add(at)));
        if let Some(at) = wrong {
            let failure = Failure::new(operation, "U6", "user memory was changed");
            return Err(failure.with_counts(page, page, page).with_byte(at));
        }
    }
    Ok(())
}
