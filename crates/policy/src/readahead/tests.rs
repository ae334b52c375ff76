//! What one open file is told.

use std::vec::Vec;

use super::*;

const LIMITS: Limits = Limits::DEFAULT;

fn file(pages: u64) -> File<'static> {
    File { pages, dropped_unused: 0, limits: &LIMITS }
}

fn runs(window: Option<Window>) -> Vec<(u64, u64)> {
    window.iter().flat_map(Window::runs).map(|run| (run.first, run.pages)).collect()
}

/// Misses of one page each; what the last one reads ahead.
#[track_caller]
fn misses(readahead: &mut Readahead, pages: &[u64]) -> Option<Window> {
    let (last, before) = pages.split_last().expect("a page");
    for page in before {
        let window = readahead.miss(Run::new(*page, 1), &file(1 << 20));
        assert_eq!(window, None, "page {page}");
    }
    readahead.miss(Run::new(*last, 1), &file(1 << 20))
}

#[test]
fn the_second_access_in_sequence_starts_a_stream_and_its_marker_goes_on() {
    let mut readahead = Readahead::new();
    let window = misses(&mut readahead, &[100, 101]);
    assert_eq!(runs(window), [(102, 4)]);
    let marker = window.and_then(|window| window.marker()).expect("a marker");
    let next = readahead.marker(Run::new(marker, 1), &file(1 << 20));
    assert_eq!(runs(next), [(106, 8)]);
    assert_eq!(next.and_then(|window| window.marker()), Some(110));
}

#[test]
fn the_first_page_of_a_file_starts_a_stream() {
    assert_eq!(runs(misses(&mut Readahead::new(), &[0])), [(1, 4)]);
}

#[test]
fn the_third_access_backward_and_the_fourth_at_a_distance_start_a_stream() {
    assert_eq!(runs(misses(&mut Readahead::new(), &[100, 99, 98])), [(94, 4)]);
    let strided = misses(&mut Readahead::new(), &[100, 110, 120, 130]);
    assert_eq!(runs(strided), [(140, 1), (150, 1), (160, 1), (170, 1)]);
    let down = misses(&mut Readahead::new(), &[100, 90, 80, 70]);
    assert_eq!(runs(down), [(60, 1), (50, 1), (40, 1), (30, 1)]);
}

#[test]
fn random_accesses_read_nothing_ahead() {
    assert_eq!(misses(&mut Readahead::new(), &[100, 7, 9000, 35, 2100, 36_000, 50]), None);
}

#[test]
fn windows_grow_to_the_largest_end_with_a_leaf_and_with_the_file() {
    let mut readahead = Readahead::new();
    let mut window = misses(&mut readahead, &[0]);
    let mut sizes = Vec::new();
    while let Some(marker) = window.and_then(|window| window.marker()) {
        window = readahead.marker(Run::new(marker, 1), &file(640));
        sizes.extend(runs(window).iter().map(|(first, pages)| (*pages, (first + pages) % 64)));
    }
    let growing = [(8, 13), (16, 29), (32, 61), (64, 61), (67, 0)];
    let large = [(128, 0), (128, 0), (128, 0), (64, 0)];
    assert_eq!(sizes, [&growing[..], &large].concat());
}

#[test]
fn windows_grow_faster_on_a_store_of_long_latency() {
    let sizes = |latency_ns| {
        let limits = Limits::for_store(latency_ns, 2_000, 8);
        let file = File { limits: &limits, ..file(1 << 20) };
        let mut readahead = <Readahead>::new();
        let mut window = readahead.miss(Run::new(0, 1), &file);
        let mut sizes = Vec::new();
        while let Some(marker) = window.and_then(|window| window.marker())
            && sizes.len() < 5
        {
            sizes.push(runs(window).iter().map(|(_, pages)| pages).sum::<u64>());
            window = readahead.marker(Run::new(marker, 1), &file);
        }
        sizes
    };
    assert_eq!(sizes(100_000), [4, 8, 16, 32, 64], "twice as large each time");
    // Those of 128 pages or more end with a leaf.
    assert_eq!(sizes(500_000), [16, 64, 111, 256, 256]);
    assert_eq!(sizes(1_000_000), [32, 95, 256, 512, 512]);
}

#[test]
fn a_file_that_grew_is_read_on() {
    let mut readahead = <Readahead>::new();
    assert_eq!(runs(readahead.miss(Run::new(0, 1), &file(3))), [(1, 2)]);
    assert_eq!(runs(readahead.miss(Run::new(3, 1), &file(100))), [(4, 8)]);
}

#[test]
fn a_marker_of_a_stream_that_was_forgotten_is_followed() {
    let mut readahead = <Readahead>::new();
    assert_eq!(runs(readahead.marker(Run::new(500, 2), &file(1 << 20))), [(502, 8)]);
    assert_eq!(runs(readahead.marker(Run::new(506, 2), &file(1 << 20))), [(510, 16)]);
}

#[test]
fn a_marker_is_found_among_pages_that_are_all_marked() {
    let mut readahead = Readahead::new();
    let window = misses(&mut readahead, &[100, 101]);
    let marker = window.and_then(|window| window.marker()).expect("a marker");
    let before = Run::between(98, marker);
    assert_eq!(readahead.marker_among(before, before, &file(1 << 20)), None);
    let used = Run::new(marker - 1, 2);
    let next = readahead.marker_among(used, Run::new(marker - 1, 3), &file(1 << 20));
    assert_eq!(runs(next), [(106, 8)]);
    assert_eq!(readahead.marker_among(used, used, &file(1 << 20)), None, "no stream is adopted");
}

#[test]
fn a_page_dropped_before_its_use_shrinks_the_window_of_its_stream() {
    let mut readahead = Readahead::new();
    let mut window = misses(&mut readahead, &[0]);
    for _ in 0..6 {
        let marker = window.and_then(|window| window.marker()).expect("a marker");
        window = readahead.marker(Run::new(marker, 1), &file(1 << 20));
    }
    let (first, pages) = runs(window)[0];
    assert_eq!(pages, 128);
    assert_eq!(runs(readahead.miss(Run::new(first + 3, 1), &file(1 << 20))), [(first + 4, 32)]);
}

#[test]
fn pages_dropped_unused_halve_the_largest_window_which_recovers() {
    let mut readahead = <Readahead>::new();
    let mut file = file(1 << 30);
    let mut window = readahead.miss(Run::new(0, 1), &file);
    let mut next = |readahead: &mut Readahead, dropped: u64| {
        file.dropped_unused += dropped;
        let marker = window.and_then(|window| window.marker()).expect("a marker");
        window = readahead.marker(Run::new(marker, 1), &file);
        window.map_or(0, |window| window.pages())
    };
    for _ in 0..20 {
        next(&mut readahead, 0);
    }
    assert_eq!(next(&mut readahead, 0), 128);
    let shrunk: Vec<u64> = (0..8).map(|_| next(&mut readahead, 64)).collect();
    assert_eq!(shrunk, [64, 32, 16, 8, 4, 4, 4, 4]);
    let grown = (0..200).map(|_| next(&mut readahead, 0)).last();
    assert_eq!(grown, Some(128));
}

#[test]
fn advice_random_reads_nothing_and_sequential_starts_at_once_and_doubles() {
    let mut readahead = <Readahead>::new();
    readahead.advise(Advice::Random);
    assert_eq!(misses(&mut readahead, &[0, 1, 2, 3]), None);
    assert_eq!(readahead.marker(Run::new(3, 1), &file(100)), None);
    assert_eq!(readahead.fault_miss(7, Run::new(0, 100), &file(100)), None);
    readahead.advise(Advice::Sequential);
    let mut window = misses(&mut readahead, &[5000]);
    assert_eq!(runs(window), [(5001, 4)]);
    for _ in 0..8 {
        let marker = window.and_then(|window| window.marker()).expect("a marker");
        window = readahead.marker(Run::new(marker, 1), &file(1 << 20));
    }
    assert_eq!(window.map(|window| window.pages()), Some(256));
}

#[test]
fn a_fault_reads_around_and_faults_in_sequence_are_a_stream() {
    let mut readahead = <Readahead>::new();
    let mapped = Run::new(0, 1 << 20);
    let window = readahead.fault_miss(100, mapped, &file(1 << 20));
    assert_eq!(runs(window), [(96, 16)]);
    let window = readahead.fault_miss(112, mapped, &file(1 << 20));
    assert_eq!(runs(window), [(113, 4)]);
}

#[test]
fn random_faults_stop_reading_around_until_faults_hit() {
    let mut readahead = <Readahead>::new();
    let mut at = 7_u64;
    let mut fault = |readahead: &mut Readahead| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 8;
        readahead.fault_miss(at % (1 << 20), Run::new(0, 1 << 20), &file(1 << 20))
    };
    let around = (0..1000).filter(|_| fault(&mut readahead).is_some()).count();
    assert!(around < 50, "{around}");
    (0..10).for_each(|_| readahead.fault_hit());
    assert!(fault(&mut readahead).is_some());
}

#[test]
fn the_state_takes_what_is_documented() {
    assert_eq!(size_of::<Readahead>(), 608);
    assert_eq!(<Readahead<0>>::new().miss(Run::new(0, 1), &file(9)), None);
}

#[test]
fn no_input_overflows_and_every_window_lies_in_the_file() {
    let mut state = 1_u64;
    let mut any = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let ends = [0, 1, 2, 63, 64, 1 << 20, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let mut readahead = <Readahead>::new();
    for _ in 0..200_000 {
        let mut pick = || {
            let base = ends[(any() % 9) as usize];
            if any() % 2 == 0 { base } else { base.wrapping_add(any() % 9) }
        };
        let limits = Limits { start: pick() as u32, most: pick() as u32, around: pick() as u32 };
        let file = File { pages: pick(), dropped_unused: pick(), limits: &limits };
        let asked = Run::new(pick(), pick());
        let window = match pick() % 4 {
            0 => readahead.marker(asked, &file),
            1 => readahead.fault_miss(asked.first, Run::new(pick(), pick()), &file),
            _ => readahead.miss(asked, &file),
        };
        let Some(window) = window else { continue };
        assert!(window.runs().count() <= 32);
        for run in window.runs() {
            assert!(run.pages > 0 && run.first + run.pages <= file.pages, "{run:?} {file:?}");
        }
    }
}
