//! The rivals are what they are called: hits as libCacheSim 0.3.5 counts them on the same traces.

use faultless_simulator::reclaim::{Contestant, Trace, TraceError, generated, run};

/// Hits in per cent of FIFO, LRU, CLOCK, 2Q, ARC, LIRS, S3-FIFO, Clock2Q+ and SIEVE.
#[track_caller]
fn has(trace: &Trace, pages: usize, reference: [f64; 9]) {
    let contestants = [
        Contestant::Fifo,
        Contestant::Lru,
        Contestant::Clock,
        Contestant::TwoQueues,
        Contestant::Arc,
        Contestant::Lirs,
        Contestant::S3Fifo,
        Contestant::Clock2QPlus,
        Contestant::Sieve,
    ];
    for (contestant, expected) in contestants.into_iter().zip(reference) {
        let found = run(contestant, trace, pages).hit_percent();
        let name = contestant.name();
        assert!((found - expected).abs() <= 0.3, "{name}: {found:.2} instead of {expected:.2}");
    }
}

#[test]
fn the_rivals_agree_with_libcachesim_on_zipf() {
    let trace = generated::zipf(5000, 0.9, 50_000, 4);
    has(&trace, 100, [26.37, 30.49, 31.85, 40.13, 41.46, 41.79, 42.51, 41.50, 42.48]);
    has(&trace, 500, [48.20, 52.90, 54.21, 58.60, 59.83, 60.03, 60.85, 59.94, 60.44]);
}

#[test]
fn the_rivals_agree_with_libcachesim_on_sweeps() {
    let trace = generated::zigzag(1000, 20_000);
    has(&trace, 250, [23.75, 23.75, 23.75, 12.81, 22.46, 0.10, 2.38, 2.38, 23.75]);
}

#[test]
fn the_rivals_agree_with_libcachesim_on_zipf_with_scans() {
    let trace = generated::zipf_with_scans(2000, 0.8, 20_000, 5);
    has(&trace, 400, [20.97, 21.97, 22.02, 27.26, 29.65, 29.80, 29.90, 29.63, 29.25]);
}

#[test]
fn no_policy_is_better_than_the_optimum_and_a_cache_of_all_pages_misses_each_once() {
    let trace = generated::zipf(500, 0.8, 5000, 6);
    let first = trace.pages() as f64 * 100.0 / 5000.0;
    for contestant in Contestant::ALL {
        let name = contestant.name();
        let best = run(Contestant::Belady, &trace, 50).hit_percent();
        assert!(run(contestant, &trace, 50).hit_percent() <= best, "{name}");
        let all = run(contestant, &trace, 500).hit_percent();
        assert!((all - (100.0 - first)).abs() < 1e-9, "{name}: {all}");
    }
}

#[test]
fn a_trace_is_one_number_a_line() {
    let trace = Trace::parse("7\n\n 9\r\n*\n7\n").expect("a trace");
    assert_eq!(trace.requests(), [0, 1, 0]);
    assert_eq!(trace.numbers(), [7, 9]);
    assert_eq!(Trace::parse("1\n2 3\n"), Err(TraceError::NotANumber(2)));
    assert_eq!(Trace::parse("1\n-1\n"), Err(TraceError::NotANumber(2)));
    assert_eq!(Trace::parse("\n*\n"), Err(TraceError::Empty));
}

#[test]
fn sweeps_turn_at_both_ends() {
    let trace = generated::zigzag(3, 9);
    assert_eq!(trace.requests(), [0, 1, 2, 1, 0, 1, 2, 1, 0]);
}
