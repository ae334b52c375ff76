//! The whitelist's first entry: which bytes of a copy are unspecified because source and
//! destination overlap in one page (W13).
//!
//! Byte by byte, in the order of the copy: a byte is unspecified if its source is a byte of the
//! file that the same copy writes, too, less than a page before or after; or if its source is a
//! byte that the copy has already written, unspecified. Everything else is determined, at a
//! distance of a page or more too: copies go forward, and no step of one is longer.

#![forbid(unsafe_code)]

use faultless_page::PAGE_SIZE;

/// For each byte of a copy whether it is unspecified; `None` if none is. `from` and `to` say which
/// bytes of the file are read and written, where `None` is memory that is not the file's.
pub(super) fn unspecified(from: &[Option<u64>], to: &[Option<u64>]) -> Option<Vec<bool>> {
    let (first, last) = (*to.iter().flatten().min()?, *to.iter().flatten().max()?);
    let inside = |at: &u64| (first..=last).contains(at);
    if !from.iter().flatten().any(inside) {
        return None;
    }
    // Which byte of the file is written when.
    let mut writes: Vec<(u64, usize)> =
        to.iter().enumerate().filter_map(|(nth, at)| at.map(|at| (at, nth))).collect();
    writes.sort_unstable();
    let is_written_near = |at: u64, nth: usize| {
        let from = (at, (nth + 1).saturating_sub(PAGE_SIZE));
        let after = writes.partition_point(|write| *write < from);
        writes.get(after).is_some_and(|write| *write < (at, nth + PAGE_SIZE))
    };
    let mut open_in_file = vec![false; (last - first + 1) as usize];
    let mut result = Vec::with_capacity(from.len());
    for (nth, (from, to)) in from.iter().zip(to).enumerate() {
        let source = from.filter(inside);
        let open = source
            .is_some_and(|at| open_in_file[(at - first) as usize] || is_written_near(at, nth));
        if let Some(at) = to {
            open_in_file[(at - first) as usize] = open;
        }
        result.push(open);
    }
    result.contains(&true).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(from: u64, to: u64, len: u64) -> Option<Vec<bool>> {
        let bytes = |start: u64| (start..start + len).map(Some).collect::<Vec<_>>();
        unspecified(&bytes(from), &bytes(to))
    }

    #[test]
    fn only_bytes_whose_source_is_written_by_the_same_copy_are_unspecified() {
        assert_eq!(copy(0, 100, 100), None);
        assert_eq!(copy(0, 3, 5), Some(vec![false, false, false, true, true]));
        assert_eq!(copy(3, 0, 5), Some(vec![true, true, false, false, false]));
    }

    #[test]
    fn copies_over_a_page_or_more_are_determined() {
        assert_eq!(copy(0, 4096, 4096), None);
        assert_eq!(copy(0, 4096, 8192), None);
        assert_eq!(copy(4096, 0, 8192), None);
        assert!(copy(1, 4096, 8192).is_some());
    }

    #[test]
    fn a_read_to_a_page_of_the_file_and_then_elsewhere_meets_its_own_bytes() {
        let from: Vec<Option<u64>> = (100..108).map(Some).collect();
        let to = [Some(104), Some(105), None, None, None, None, None, None];
        let open = unspecified(&from, &to).expect("an overlap");
        assert_eq!(open, [false, false, false, false, true, true, false, false]);
    }

    #[test]
    fn what_is_unspecified_goes_on_to_the_next_page() {
        let open = copy(0, 10, 4100).expect("an overlap");
        assert!(open[..10].iter().all(|open| !open));
        assert!(open[10..].iter().all(|open| *open));
    }
}
