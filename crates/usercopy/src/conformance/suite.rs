//! Which cases are run: the sweeps.
#![forbid(unsafe_code)]

use super::case::{Case, Promise};
use super::probes;
use super::{Failure, Layout, Operation};
use crate::{MayFault, UserAddr, UserMemory, UserSlice};

/// Every offset of a fault is tried for all lengths up to this.
const SWEEP: usize = 160;

/// Lengths of accesses beyond the sweep: around the thresholds at which implementations change
/// their ways.
const LONG: [usize; 14] =
    [191, 192, 193, 255, 256, 257, 511, 512, 575, 1023, 1024, 1025, 1500, super::case::MAX_LEN];

/// Fault offsets tried at both ends of a long access.
const NEAR: usize = 70;

/// All operations that copy or clear.
pub const COPIES: [Operation; 5] = [
    Operation::CopyFromUser,
    Operation::CopyFromUserAtomic,
    Operation::CopyToUser,
    Operation::CopyToUserAtomic,
    Operation::ClearUser,
];

/// Runs the suite with what the contract promises. May take faults and sleep.
///
/// # Errors
/// The first broken promise.
pub fn check<L: Layout + ?Sized>(layout: &L, token: &mut MayFault) -> Result<(), Failure> {
    run(layout, token, Promise::Contract)
}

/// Runs the suite with more than the contract promises: every copy goes exactly up to the byte that
/// faults, and the fault-in reaches exactly the accessible prefix. The back ends of
/// [`arch`](crate::arch) do that.
///
/// # Errors
/// The first broken promise.
pub fn check_exact<L: Layout + ?Sized>(layout: &L, token: &mut MayFault) -> Result<(), Failure> {
    run(layout, token, Promise::Exact)
}

fn run<L: Layout + ?Sized>(
    layout: &L,
    token: &mut MayFault,
    promise: Promise,
) -> Result<(), Failure> {
    refuses_out_of_range(layout)?;
    let mut case = Case::new(layout, token, promise);
    let hole = layout.base().wrapping_add(layout.page_size());
    let read_only = layout.base().wrapping_add(4 * layout.page_size());
    for operation in COPIES {
        case.operation = operation;
        every_offset_and_length(&mut case, hole)?;
        long_accesses(&mut case, hole)?;
        if operation.writes_user() {
            every_offset_and_length(&mut case, read_only)?;
        }
        across_accessible_pages(&mut case)?;
    }
    probes::check(layout, token, promise)
}

/// The fault is at `edge`; every length has every number of accessible bytes before it.
fn every_offset_and_length<L: Layout + ?Sized>(
    case: &mut Case<'_, L>,
    edge: UserAddr,
) -> Result<(), Failure> {
    for len in 0..=SWEEP {
        for accessible in 0..=len {
            case.run(edge, len, accessible, len + 3 * accessible)?;
        }
    }
    for len in 0..=40 {
        for accessible in 0..=len {
            for alignment in 0..8 {
                case.run(edge, len, accessible, alignment)?;
            }
        }
    }
    Ok(())
}

fn long_accesses<L: Layout + ?Sized>(
    case: &mut Case<'_, L>,
    edge: UserAddr,
) -> Result<(), Failure> {
    for len in LONG {
        let middle = (NEAR..len - NEAR).step_by(37);
        for accessible in (0..NEAR).chain(middle).chain(len - NEAR..=len) {
            case.run(edge, len, accessible, accessible)?;
        }
    }
    Ok(())
}

/// No fault at all: the access lies around the border of the two neighbouring read-write pages.
fn across_accessible_pages<L: Layout + ?Sized>(case: &mut Case<'_, L>) -> Result<(), Failure> {
    let border = case.base().wrapping_add(3 * case.page_size());
    for len in [1, 2, 7, 8, 15, 16, 33, 64, 100, 160, 1024, super::case::MAX_LEN] {
        for before in 0..=len.min(NEAR) {
            case.run(border.wrapping_add(len - before), len, len, before)?;
        }
    }
    Ok(())
}

fn refuses_out_of_range<L: Layout + ?Sized>(layout: &L) -> Result<(), Failure> {
    let range = layout.user().user_range();
    let refused = |addr, len| UserSlice::new(layout.user(), UserAddr::new(addr), len).is_err();
    let failure =
        |seen, len| Err(Failure::new(Operation::UserRange, "U5", seen).with_counts(len, 0, 0));
    for (addr, len) in [(range.end, 1), (range.start, range.len() + 1), (usize::MAX, 2)] {
        if !refused(addr, len) {
            return failure("a range outside was accepted", len);
        }
    }
    let pages = 5 * layout.page_size();
    if refused(layout.base().get(), pages) {
        return failure("the layout is not in range", pages);
    }
    Ok(())
}
