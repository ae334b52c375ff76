//! The Linux oracle, in a length for every day: `cargo xtask oracle` is the long form,
//! `docs/oracle.md` the explanation.
//!
//! The tests take turns: the oracle lets one instance live at a time.

use faultless::filemap::Strategy;
use faultless_controls::{Defect, Defects};
use faultless_host::Protection;
use faultless_oracle::{
    At, Backing, Bytes, Case, Difference, Form, Op, OpenMode, Oracle, Place, Segment, Transfer,
};
use faultless_tests::PAGE;

/// Cases of a run that is to find nothing.
const CASES: u64 = 5_000;

/// Cases in which a planted bug must be found.
const ENOUGH: u64 = 1_000;

/// Runs cases until one differs; made small.
fn search(
    mut oracle: Oracle,
    cases: impl IntoIterator<Item = Case>,
) -> (Oracle, Option<(Case, Difference)>) {
    for case in cases {
        if let Err(difference) = oracle.run(&case) {
            let found = oracle.shrink(&case, *difference);
            return (oracle, Some(found));
        }
    }
    (oracle, None)
}

fn planted(defects: Defects) -> (Oracle, Option<(Case, Difference)>) {
    let seed = faultless_host::rng::seed();
    let oracle = Oracle::planted(&std::env::temp_dir(), defects).expect("files");
    let cases = (0..ENOUGH).map(|nth| Case::generate(seed.wrapping_add(nth)).for_control());
    search(oracle, cases)
}

/// The difference that a control with this defect makes, after a check that its case is small:
/// without any one of its operations, nothing differs.
fn found_small(defect: Defect) -> (Case, Difference) {
    let (mut oracle, found) = planted(Defects::only(defect));
    let (case, difference) = found.expect("found");
    for at in 0..case.ops.len() {
        let mut without = case.clone();
        without.ops.remove(at);
        assert!(oracle.run(&without).is_ok(), "operation {at} is not needed:\n{case}");
    }
    (case, difference)
}

#[test]
fn faultless_does_what_linux_does_on_tmpfs_and_on_the_disk_file_system() {
    let seed = faultless_host::rng::seed();
    let oracle = Oracle::new(&std::env::temp_dir()).expect("files");
    let cases = (0..CASES).map(|nth| Case::generate(seed.wrapping_add(nth)));
    let (oracle, found) = search(oracle, cases);
    if let Some((case, difference)) = found {
        panic!("{case}\n{difference}");
    }
    // A run that compares nothing finds nothing.
    let tally = oracle.tally();
    assert_eq!(tally.cases, CASES);
    for (what, count) in [
        ("short transfers", tally.short),
        ("errors", tally.errors),
        ("SIGXFSZ", tally.over_limit),
        ("signals", tally.signals),
        ("overlaps", tally.overlaps),
    ] {
        assert!(count > CASES / 100, "only {count} {what}: {tally:?}");
    }
    assert!(tally.left_out < tally.ops / 100, "too much is left out: {tally:?}");
}

#[test]
fn the_oracle_finds_a_loop_that_does_not_end_and_makes_the_case_small() {
    let (case, difference) = found_small(Defect::EmptySegmentLoop);
    assert_eq!(difference.faultless, "it did not end", "{case}\n{difference}");
}

#[test]
fn the_oracle_finds_a_size_that_grows_by_what_was_asked_and_makes_the_case_small() {
    let (case, difference) = found_small(Defect::GrowsByAsked);
    assert!(difference.what.contains("the size"), "{case}\n{difference}");
}

#[test]
fn the_oracle_finds_a_source_that_is_refused_as_a_whole_and_makes_the_case_small() {
    let (case, difference) = found_small(Defect::WholeChunkRefused);
    assert_eq!(difference.what, "the answer", "{case}\n{difference}");
}

#[test]
fn what_the_oracle_finds_in_the_control_are_its_defects() {
    let (_, found) = planted(Defects::NONE);
    assert!(found.is_none(), "{found:?}");
}

#[test]
fn a_write_from_pages_further_on_in_the_same_file_takes_each_byte_before_it_is_replaced() {
    for seed in 0..4 {
        let at = |page| Bytes { page, offset: 0, len: 4 };
        let segment = Segment { place: Place::Window(0, 0), len: 3 * PAGE };
        let request = Transfer { at: At::Offset(0), form: Form::Plain, segments: vec![segment] };
        let protection = Protection::Read;
        let case = Case {
            seed,
            strategy: if seed % 2 == 0 { Strategy::BeginEnd } else { Strategy::PrepareCommit },
            backing: Backing::Memory,
            mode: OpenMode::Plain,
            limit: None,
            size: 6 * PAGE as u64,
            ops: vec![
                Op::MapFile { page: 0, pages: 4, protection, first: 1 },
                // The copy gets as far as here at first, and then has to fault in the rest.
                Op::Load(at(0)),
                Op::Load(at(1)),
                Op::Write(request),
            ],
        };
        let mut oracle = Oracle::new(&std::env::temp_dir()).expect("files");
        oracle.run(&case).unwrap_or_else(|difference| panic!("{case}\n{difference}"));
    }
}
