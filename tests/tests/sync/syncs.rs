//! Failing stores beside other threads: what a sync owes (F1–F3), what evict may drop (F5), what a
//! growing write writes once, that a write is whole beside others (W2), and which page may be
//! read (P1).
//!
//! Each case is swept: one call of the store fails and takes as long as it can, and the other
//! thread comes in at every point.

use faultless::page::Strategy;
use faultless_fuzzing::{CASES, Case, Extent, Plant};

fn keeps_the_contract(name: &str) {
    let case = Case::find(name).expect("a case");
    let strategies = [Strategy::BeginEnd, Strategy::PrepareCommit];
    let swept = strategies.map(|strategy| case.sweep(strategy, Extent::Short, Plant::None));
    for runs in &swept {
        println!("{name}: {runs:?}");
    }
    let broken: Vec<_> = swept.into_iter().filter_map(Result::err).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        $(#[test]
        fn $case() {
            keeps_the_contract(stringify!($case));
        })*

        #[test]
        fn every_case_is_swept() {
            let swept = [$(stringify!($case)),*];
            let missing = CASES.iter().find(|case| !swept.contains(&case.name));
            assert!(missing.is_none(), "{missing:?}");
        }
    };
}

cases! {
    f5_evict_keeps_a_page_whose_writeback_just_failed,
    f1_an_fsync_believes_no_page_that_it_only_waited_for,
    f1_an_msync_believes_no_page_that_it_only_waited_for,
    f1_an_o_dsync_write_believes_no_page_that_it_only_waited_for,
    f2_each_of_two_waiters_is_told,
    f3_a_growing_write_between_its_steps_is_synced_with_its_size,
    f3_an_append_that_comes_short_is_synced_with_its_size,
    f3_an_msync_of_a_growing_write_between_its_steps_covers_its_size,
    f3_a_shrink_between_its_steps_is_synced_with_its_size,
    p2_a_store_between_the_seal_and_the_growth_stays_past_the_end,
    p2_a_store_between_the_seal_and_a_write_past_the_end_stays_past_the_end,
    w_a_growing_write_is_one_though_all_ranges_are_taken,
    p1_a_page_of_a_hole_is_read_once_all_of_it_is_defined,
    p1_a_short_copy_into_a_hole_is_read_once_all_of_the_page_is_defined,
    w9_room_that_a_truncation_is_about_to_give_back_is_not_relied_on,
    w9_what_is_on_its_way_when_a_truncation_comes_lands_before_its_room_goes,
    l3_a_killed_writer_lets_those_behind_it_in,
    w3_a_restarted_write_counts_what_is_in_the_file,
    w2_a_write_that_came_short_is_whole_though_the_file_is_cut_and_grows,
    w2_a_write_past_a_cut_is_whole_though_the_file_grows_again,
    p6_a_write_brings_no_page_in_while_the_store_moves_it,
    w2_a_write_that_came_short_is_whole_beside_one_that_grows_the_file_behind_a_cut,
    w2_a_write_of_two_leaves_is_whole_beside_one_that_grows_the_file_behind_a_cut,
}

/// The same on stores that end their requests later.
#[test]
fn every_case_keeps_the_contract_though_requests_end_later() {
    let mut broken = Vec::new();
    // One strategy each: these runs are long.
    let strategies = [Strategy::BeginEnd, Strategy::PrepareCommit].into_iter().cycle();
    for (case, strategy) in CASES.iter().zip(strategies) {
        match case.sweep_late(strategy, Extent::Short) {
            Ok(runs) => println!("{}, {strategy:?}: {runs} runs", case.name),
            Err(what) => broken.push(what),
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What was wrong with the code once is planted from outside, and found.
#[test]
fn planted_losses_are_found() {
    let twins = [
        (Plant::EvictAsksTwice, "f5_evict_keeps_a_page_whose_writeback_just_failed"),
        (Plant::SyncsBelieve, "f1_an_fsync_believes_no_page_that_it_only_waited_for"),
        (Plant::SyncsBelieve, "f1_an_msync_believes_no_page_that_it_only_waited_for"),
        (Plant::SyncsBelieve, "f2_each_of_two_waiters_is_told"),
        (
            Plant::SyncsForgetSize,
            "f3_an_msync_of_a_growing_write_between_its_steps_covers_its_size",
        ),
        (Plant::WritesTwice, "w_a_growing_write_is_one_though_all_ranges_are_taken"),
    ];
    for (plant, name) in twins {
        let case = Case::find(name).expect("a case");
        let found = case.sweep(Strategy::BeginEnd, Extent::Short, plant).expect_err(name);
        println!("{}: {found}", plant.name());
        assert!(plant.is_shown_by(&found), "{} by: {found}", plant.name());
    }
    let planted = |plant: &Plant| twins.iter().any(|(twin, _)| twin == plant);
    assert!(Plant::ALL.iter().filter(|plant| plant.target() == "syncs").all(planted));
}
