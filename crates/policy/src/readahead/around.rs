//! Ranges that need no state: the pages around a fault, and those that `fadvise` names.
#![forbid(unsafe_code)]

use super::limits::Limits;
use super::window::Run;

/// The pages around a fault on page `page`: the naturally aligned group of `pages` pages that
/// holds it, cut to the pages `mapped` of the mapping and to the file. `pages` is a power of two,
/// and is rounded up to one.
///
/// Fault-around installs those of them that are in the cache in one pass over the page table. An
/// aligned group of at most 512 pages lies in one page table. A page with a marker is left out, so
/// that its first use still faults.
///
/// Empty if the page is not in the mapping or not in the file.
#[must_use]
#[doc(alias = "fault_around_bytes")]
pub fn around(page: u64, pages: u32, mapped: Run, file_pages: u64) -> Run {
    let group = u64::from(pages.clamp(1, 1 << 31).next_power_of_two());
    let inside = mapped.clipped(Run::new(0, file_pages));
    if page < inside.first || page >= inside.end() {
        return Run::new(page, 0);
    }
    Run::new(page & !(group - 1), group).clipped(inside)
}

/// What `POSIX_FADV_WILLNEED` reads of the pages `wanted`: windows of at most
/// [`Limits::most`] pages, in ascending order, cut at the end of the file. Windows after the first
/// begin at a multiple of that, so that a window does not share a leaf with the next one.
#[doc(alias = "POSIX_FADV_WILLNEED")]
pub fn will_need(wanted: Run, file_pages: u64, limits: &Limits) -> impl Iterator<Item = Run> {
    let most = u64::from(limits.most.max(1));
    let mut rest = wanted.clipped(Run::new(0, file_pages));
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = most - rest.first % most;
        let window = Run::new(rest.first, rest.pages.min(room));
        rest = Run::between(window.end(), rest.end());
        Some(window)
    })
}

/// The pages that lie whole in the bytes `[pos, pos + len_bytes)` of a file of `file_bytes` bytes:
/// what `POSIX_FADV_DONTNEED` drops. A length of zero means up to the end of the file. The last
/// page of the file counts as whole if the range reaches the end of the file. A page has
/// `1 << page_shift` bytes; the shift is below 64.
#[must_use]
#[doc(alias = "POSIX_FADV_DONTNEED")]
pub fn whole_pages(pos: u64, len_bytes: u64, file_bytes: u64, page_shift: u32) -> Run {
    let page_shift = page_shift % u64::BITS;
    let up = |bytes: u64| {
        let whole = bytes >> page_shift;
        if whole << page_shift == bytes { whole } else { whole + 1 }
    };
    let end = if len_bytes == 0 { u64::MAX } else { pos.saturating_add(len_bytes) };
    let end = if end >= file_bytes { up(file_bytes) } else { end >> page_shift };
    Run::between(up(pos), end)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const MAPPED: Run = Run::new(3, 40);

    #[test]
    fn pages_around_a_fault_are_aligned_and_stay_in_the_mapping_and_the_file() {
        assert_eq!(around(20, 16, MAPPED, 100), Run::new(16, 16));
        assert_eq!(around(5, 16, MAPPED, 100), Run::new(3, 13));
        assert_eq!(around(40, 16, MAPPED, 100), Run::new(32, 11));
        assert_eq!(around(20, 16, MAPPED, 22), Run::new(16, 6));
        assert!(around(2, 16, MAPPED, 100).is_empty());
        assert!(around(30, 16, MAPPED, 30).is_empty());
    }

    #[test]
    fn a_fault_is_always_among_the_pages_around_it() {
        for (page, pages) in (0..60).flat_map(|page| (0..70).map(move |pages| (page, pages))) {
            let run = around(page, pages, MAPPED, 50);
            let inside = (3..43).contains(&page);
            assert_eq!(run.first <= page && page < run.end(), inside, "{page} {pages}");
        }
        assert!(around(u64::MAX, u32::MAX, Run::new(0, u64::MAX), u64::MAX).is_empty());
        let last = around(u64::MAX - 1, u32::MAX, Run::new(0, u64::MAX), u64::MAX);
        assert_eq!(last.end(), u64::MAX);
    }

    #[test]
    fn a_range_that_is_needed_is_covered_by_bounded_windows() {
        let windows: Vec<Run> = will_need(Run::new(100, 400), 450, &Limits::DEFAULT).collect();
        let expected =
            [Run::new(100, 28), Run::new(128, 128), Run::new(256, 128), Run::new(384, 66)];
        assert_eq!(windows, expected);
        assert_eq!(will_need(Run::new(9, 0), 450, &Limits::DEFAULT).count(), 0);
        let tiny = Limits { most: 0, ..Limits::DEFAULT };
        assert_eq!(will_need(Run::new(5, 3), 450, &tiny).count(), 3);
    }

    #[test]
    fn only_whole_pages_are_dropped_and_the_last_one_counts_at_the_end() {
        assert_eq!(whole_pages(1, 3 * 4096, 1 << 20, 12), Run::new(1, 2));
        assert_eq!(whole_pages(0, 4096, 1 << 20, 12), Run::new(0, 1));
        assert_eq!(whole_pages(4096, 0, 10_000, 12), Run::new(1, 2));
        assert_eq!(whole_pages(0, 9_999, 10_000, 12), Run::new(0, 2));
        assert!(whole_pages(u64::MAX, u64::MAX, 10_000, 12).is_empty());
        assert_eq!(whole_pages(0, 0, u64::MAX, 0), Run::new(0, u64::MAX));
    }
}
