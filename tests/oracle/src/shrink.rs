//! Makes a case smaller while it still differs: fewer operations, then fewer segments, then shorter
//! ones.

#![forbid(unsafe_code)]

use super::found::Difference;
use super::op::{Case, Op, Transfer};

/// The smallest case found, and its difference. `differs` runs a case.
pub(super) fn shrink(
    case: &Case,
    difference: Difference,
    mut differs: impl FnMut(&Case) -> Option<Difference>,
) -> (Case, Difference) {
    let mut best = (case.clone(), difference);
    best.0.ops.truncate(best.1.step.saturating_add(1));
    if let Some(difference) = differs(&best.0) {
        best.1 = difference;
    } else {
        best.0 = case.clone();
    }
    loop {
        let before = best.0.clone();
        fewer_ops(&mut best, &mut differs);
        simpler_ops(&mut best, &mut differs);
        if best.0 == before {
            return best;
        }
    }
}

type Best = (Case, Difference);

/// Takes the candidate if it still differs.
fn take(
    best: &mut Best,
    candidate: Case,
    differs: &mut impl FnMut(&Case) -> Option<Difference>,
) -> bool {
    match differs(&candidate) {
        Some(difference) => {
            *best = (candidate, difference);
            true
        }
        None => false,
    }
}

fn fewer_ops(best: &mut Best, differs: &mut impl FnMut(&Case) -> Option<Difference>) {
    let mut len = best.0.ops.len() / 2;
    while len > 0 {
        let mut at = 0;
        while at + len <= best.0.ops.len() {
            let mut candidate = best.0.clone();
            candidate.ops.drain(at..at + len);
            if !take(best, candidate, differs) {
                at += 1;
            }
        }
        len /= 2;
    }
}

fn simpler_ops(best: &mut Best, differs: &mut impl FnMut(&Case) -> Option<Difference>) {
    for at in 0..best.0.ops.len() {
        let mut nth = 0;
        while let Some(transfer) = transfer(&mut best.0.clone().ops[at]).cloned() {
            if nth >= transfer.segments.len() {
                break;
            }
            let mut without = transfer.clone();
            without.segments.remove(nth);
            let mut shorter = transfer.clone();
            shorter.segments[nth].len /= 2;
            let found = [without, shorter]
                .into_iter()
                .filter(|smaller| *smaller != transfer && !smaller.segments.is_empty())
                .any(|smaller| take(best, with(&best.0.clone(), at, smaller), differs));
            if !found {
                nth += 1;
            }
        }
    }
}

fn with(case: &Case, at: usize, smaller: Transfer) -> Case {
    let mut case = case.clone();
    if let Some(transfer) = transfer(&mut case.ops[at]) {
        *transfer = smaller;
    }
    case
}

fn transfer(op: &mut Op) -> Option<&mut Transfer> {
    match op {
        Op::Write(transfer) | Op::Read(transfer) => Some(transfer),
        _ => None,
    }
}
