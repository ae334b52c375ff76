//! The checks.

use super::{Failure, Layout, Operation};
use crate::{MayFault, UserAddr, UserMemory, UserSlice};

/// Runs the whole suite.
///
/// # Errors
/// The first broken promise.
pub fn check<L: Layout + ?Sized>(layout: &L, may: &mut MayFault) -> Result<(), Failure> {
    let _ = may;
    refuses_out_of_range(layout)
}

fn refuses_out_of_range<L: Layout + ?Sized>(layout: &L) -> Result<(), Failure> {
    let range = layout.user().user_range();
    for (addr, len) in [(range.end, 1), (range.start, range.len() + 1), (usize::MAX, 2)] {
        if UserSlice::new(layout.user(), UserAddr::new(addr), len).is_ok() {
            return Err(Failure {
                operation: Operation::UserRange,
                rule: "U5",
                seen: "a range outside was accepted",
                len,
                accessible: 0,
                reported: 0,
                at: None,
            });
        }
    }
    Ok(())
}
