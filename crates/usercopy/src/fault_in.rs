//! Faulting in: one byte of every page, so that an atomic copy that follows finds the pages present
//! (U6).
//!
//! The probe never changes user memory. It is advice: the pages may be gone again when the copy
//! comes, and the copy has the last word.
#![forbid(unsafe_code)]

use crate::{UserAddr, UserSlice};

/// Distance between probes: the smallest page of the supported architectures. Larger pages are
/// merely probed more than once.
pub const PROBE_STEP: usize = 4096;

/// Probes the first byte, the first byte of every further page, and the last byte (which matters
/// only where protection is finer than a page). Stops at the first probe that fails. Returns the
/// bytes at the end of `slice` that could not be reached.
pub(crate) fn unreached(slice: UserSlice, mut probe: impl FnMut(UserAddr) -> bool) -> usize {
    let mut next = 0;
    while next < slice.len() {
        let addr = slice.addr().wrapping_add(next);
        if !probe(addr) {
            return slice.len() - next;
        }
        next = next.saturating_add(PROBE_STEP - addr.get() % PROBE_STEP);
    }
    let Some(last) = slice.len().checked_sub(1) else { return 0 };
    let last_page = last.saturating_sub(slice.addr().wrapping_add(last).get() % PROBE_STEP);
    if last_page == last || probe(slice.addr().wrapping_add(last)) {
        return 0;
    }
    // Of the last page only the byte that was probed first is known to be there.
    slice.len() - (last_page + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserMemory;
    use crate::conformance::scripted::Scripted;
    use std::vec::Vec;

    fn probes(offset: usize, len: usize) -> Vec<usize> {
        let user = Scripted::new();
        let start = user.user_range().start + offset;
        let slice = UserSlice::new(&user, UserAddr::new(start), len).unwrap();
        let mut seen = Vec::new();
        let left = unreached(slice, |addr| {
            seen.push(addr.get() - user.user_range().start);
            true
        });
        assert_eq!(left, 0);
        seen
    }

    #[test]
    fn every_page_is_probed_once_and_the_last_byte() {
        assert_eq!(probes(0, 0), []);
        assert_eq!(probes(0, 1), [0]);
        assert_eq!(probes(0, 4096), [0, 4095]);
        assert_eq!(probes(0, 4097), [0, 4096]);
        assert_eq!(probes(4095, 2), [4095, 4096]);
        assert_eq!(probes(100, 8192), [100, 4096, 8192, 8291]);
    }

    #[test]
    fn what_is_reported_as_reached_is_a_prefix_that_answered() {
        let user = Scripted::new();
        let start = user.user_range().start;
        let slice = UserSlice::new(&user, UserAddr::new(start + 100), 8192).unwrap();
        let reached = |bad: usize| slice.len() - unreached(slice, |a| a.get() - start < bad);
        assert_eq!(reached(100), 0);
        assert_eq!(reached(4096), 4096 - 100);
        assert_eq!(reached(8192), 8192 - 100);
        assert_eq!(reached(8291), 8192 - 100 + 1, "sub-page hole: only the probed byte counts");
        assert_eq!(reached(8292), 8192);
    }
}
