//! The bars of the replacement policy on generated traces, in three layouts: pages that are
//! neighbours share a leaf, each page has a leaf of its own, pages share leaves at random.

use faultless_simulator::reclaim::{
    Contestant, Costs, Faultless, Layout, Trace, generated, replay, run,
};

const LAYOUTS: [Layout; 3] = [Layout::Natural, Layout::Scattered, Layout::Shuffled];

fn percent(contestant: Contestant, trace: &Trace, pages: usize) -> f64 {
    run(contestant, trace, pages).hit_percent()
}

fn costs(layout: Layout, trace: &Trace, pages: usize) -> Costs {
    run(Contestant::Faultless(layout), trace, pages).costs.expect("the policy that ships")
}

/// In every layout, at least as many hits as S3-FIFO has, and so many points more.
#[track_caller]
fn beats_s3_fifo_by(points: f64, trace: &Trace, sizes: &[usize]) {
    for pages in sizes {
        let base = percent(Contestant::S3Fifo, trace, *pages);
        for layout in LAYOUTS {
            let ours = percent(Contestant::Faultless(layout), trace, *pages);
            assert!(ours >= base + points, "{layout:?}, {pages} pages: {ours:.2}, {base:.2}");
        }
    }
}

fn zipf(skew: f64) -> Trace {
    generated::zipf(10_000, skew, 80_000, 1)
}

#[test]
fn on_zipf_no_layout_is_a_point_below_s3_fifo() {
    for skew in [0.7, 1.0] {
        beats_s3_fifo_by(-1.0, &zipf(skew), &[100, 1000, 2000, 4000]);
    }
}

#[test]
fn on_zipf_with_scans_no_layout_is_a_point_below_s3_fifo() {
    for skew in [0.7, 1.0] {
        let trace = generated::zipf_with_scans(10_000, skew, 40_000, 2);
        beats_s3_fifo_by(-1.0, &trace, &[100, 1000, 2000, 4000]);
    }
}

#[test]
fn on_loops_a_little_larger_than_the_cache_every_layout_is_far_above_s3_fifo() {
    beats_s3_fifo_by(15.0, &generated::repeated_loop(2000, 40_000), &[1200, 1400, 1600]);
}

#[test]
fn on_loops_of_other_sizes_no_layout_is_below_s3_fifo() {
    let trace = generated::repeated_loop(2000, 40_000);
    beats_s3_fifo_by(0.0, &trace, &[200, 600, 1000, 1750, 1850]);
}

#[test]
fn on_sweeps_every_layout_has_three_fifths_of_the_hits_of_lru_and_more_than_s3_fifo() {
    let trace = generated::zigzag(2001, 52_001);
    for pages in [100, 200, 400, 500, 800] {
        let lru = percent(Contestant::Lru, &trace, pages);
        beats_s3_fifo_by(1.0, &trace, &[pages]);
        for layout in LAYOUTS {
            let ours = percent(Contestant::Faultless(layout), &trace, pages);
            assert!(ours >= 0.6 * lru, "{layout:?}, {pages} pages: {ours:.2} of {lru:.2}");
        }
    }
    assert!(percent(Contestant::Faultless(Layout::Natural), &trace, 500) >= 18.0);
}

#[test]
fn a_burst_of_four_requests_counts_as_one() {
    let trace = zipf(0.9);
    let four = trace.repeated(4);
    for pages in [100, 1000, 4000] {
        for layout in LAYOUTS {
            let once = percent(Contestant::Faultless(layout), &trace, pages);
            let misses = 100.0 - percent(Contestant::Faultless(layout), &four, pages);
            // A page that was brought in stays for the other three.
            let first = 100.0 - 4.0 * misses;
            assert!(first >= once - 1.5, "{layout:?}, {pages} pages: {first:.2}, {once:.2}");
        }
    }
}

#[test]
fn a_working_set_that_moves_widens_the_small_queue() {
    let numbers = (0..60_000_u64).map(|at| {
        // Recent pages are more popular, and the set advances by one page in ten requests.
        let spread = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        at / 10 + 2000 - (spread & 1023) * (spread >> 10 & 1023) / 512
    });
    beats_s3_fifo_by(-0.5, &Trace::of(numbers), &[500, 1000, 2000]);
}

#[test]
fn two_leaves_are_visited_for_each_page_dropped_and_fewer_where_leaves_are_dense() {
    for trace in [zipf(0.7), zipf(1.0), generated::zigzag(2001, 52_001)] {
        let pages = trace.pages() / 5;
        let sparse = costs(Layout::Scattered, &trace, pages).visits_per_eviction();
        assert!(sparse <= 3.5, "{sparse:.2}");
    }
    for trace in [generated::zigzag(2001, 52_001), generated::repeated_loop(2000, 40_000)] {
        let dense = costs(Layout::Natural, &trace, trace.pages() / 5).visits_per_eviction();
        assert!(dense <= 0.5, "{dense:.2}");
    }
}

#[test]
fn no_eviction_visits_more_than_64_leaves_besides_promotions() {
    for trace in [zipf(0.7), zipf(0.9).repeated(4), generated::repeated_loop(9_000, 60_000)] {
        for layout in LAYOUTS {
            let longest = costs(layout, &trace, 4000).longest;
            assert!(longest <= 80, "{layout:?}: {longest}");
        }
    }
}

#[test]
fn most_hits_write_nothing() {
    for layout in LAYOUTS {
        let costs = costs(layout, &zipf(1.0), 1000);
        assert!(costs.writes * 4 < costs.hits, "{layout:?}: {} of {}", costs.writes, costs.hits);
    }
}

#[test]
fn dense_leaves_cost_two_bytes_a_page_for_marks_shadows_and_queues() {
    // Leaves that are full, and leaves that pages have left.
    for (pages, most) in [(10_000, 2.0), (60_000, 2.5)] {
        let costs = costs(Layout::Natural, &Trace::of(0..pages), 10_000);
        assert!(costs.marks_per_page + costs.beside_per_page <= most, "{costs:?}");
    }
}

#[test]
fn dropping_many_pages_of_a_leaf_at_once_keeps_the_hits() {
    for trace in [zipf(0.9), generated::zigzag(2001, 52_001)] {
        let pages = trace.pages() / 4;
        for layout in LAYOUTS {
            let one = replay(&mut Faultless::new(&trace, pages, layout), &trace).hit_percent();
            let batch = (pages / 64) as u32;
            let mut batched = Faultless::batched(&trace, pages, layout, batch);
            let many = replay(&mut batched, &trace).hit_percent();
            assert!(many >= one - 1.0, "{layout:?}: {many:.2}, {one:.2}");
        }
    }
}

#[test]
fn tiny_caches_work() {
    let trace = generated::zipf(50, 0.8, 2000, 3);
    for pages in 1..60 {
        for layout in LAYOUTS {
            let ours = percent(Contestant::Faultless(layout), &trace, pages);
            let best = percent(Contestant::Belady, &trace, pages);
            assert!(ours > 0.0 && ours <= best, "{layout:?}, {pages} pages: {ours}, {best}");
        }
    }
}
