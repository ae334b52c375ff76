//! Any two operations on the same files, the second at every point of the first: a deterministic
//! sweep of single hand-overs.

use faultless::page::Strategy;
use faultless_fuzzing::{
    Cached, Extent, Plant, killed_pairs, late_killed_pairs, late_pairs, pairs, reclaiming_pairs,
    troubled_pairs, twice,
};

/// Every run keeps the contract, and there are as many as one would think.
fn all_keep_the_contract(strategy: Strategy, played: Result<u64, String>) {
    let runs = played.unwrap_or_else(|found| panic!("{found}"));
    println!("{strategy:?}: {runs} runs");
    assert!(runs > LEAST, "{runs} runs");
}

/// Runs of a sweep, at least.
const LEAST: u64 = 10_000;

#[test]
fn any_two_operations_on_cold_files_may_meet_at_any_point_by_strategy_a() {
    let strategy = Strategy::PrepareCommit;
    all_keep_the_contract(strategy, pairs(strategy, extent(), Cached::No, Plant::None));
}

#[test]
fn any_two_operations_on_cold_files_may_meet_at_any_point_by_strategy_b() {
    let strategy = Strategy::BeginEnd;
    all_keep_the_contract(strategy, pairs(strategy, extent(), Cached::No, Plant::None));
}

#[test]
fn any_two_operations_on_cached_files_may_meet_at_any_point_by_strategy_a() {
    let strategy = Strategy::PrepareCommit;
    all_keep_the_contract(strategy, pairs(strategy, extent(), Cached::Yes, Plant::None));
}

#[test]
fn any_two_operations_on_cached_files_may_meet_at_any_point_by_strategy_b() {
    let strategy = Strategy::BeginEnd;
    all_keep_the_contract(strategy, pairs(strategy, extent(), Cached::Yes, Plant::None));
}

#[test]
fn any_two_operations_may_meet_while_allocations_reclaim_by_strategy_a() {
    let strategy = Strategy::PrepareCommit;
    all_keep_the_contract(strategy, reclaiming_pairs(strategy, extent()));
}

#[test]
fn any_two_operations_may_meet_while_allocations_reclaim_by_strategy_b() {
    let strategy = Strategy::BeginEnd;
    all_keep_the_contract(strategy, reclaiming_pairs(strategy, extent()));
}

/// How much is swept: `FAULTLESS_PAIRS=long` asks for more.
fn extent() -> Extent {
    match std::env::var("FAULTLESS_PAIRS").as_deref() {
        Ok("long") => Extent::Long,
        _ => Extent::Short,
    }
}

/// The same while a call of the store fails.
fn all_keep_the_contract_though_a_call_fails(strategy: Strategy) {
    let (runs, found) = troubled_pairs(strategy, extent());
    println!("{strategy:?}: {runs} runs");
    assert!(found.is_empty(), "{} pairs break the contract: {found:#?}", found.len());
    assert!(runs > LEAST, "{runs} runs");
}

#[test]
fn any_two_operations_may_meet_while_a_call_of_the_store_fails_by_strategy_a() {
    all_keep_the_contract_though_a_call_fails(Strategy::PrepareCommit);
}

#[test]
fn any_two_operations_may_meet_while_a_call_of_the_store_fails_by_strategy_b() {
    all_keep_the_contract_though_a_call_fails(Strategy::BeginEnd);
}

/// The same while requests are under way, which end on a thread of the stores.
fn all_keep_the_contract_though_requests_end_later(strategy: Strategy, cached: Cached) {
    let (runs, found) = late_pairs(strategy, extent(), cached);
    println!("{strategy:?}: {runs} runs");
    assert!(found.is_empty(), "{} pairs break the contract: {found:#?}", found.len());
    assert!(runs > LEAST, "{runs} runs");
}

#[test]
fn any_two_operations_on_cold_files_may_meet_while_requests_are_under_way_by_strategy_a() {
    all_keep_the_contract_though_requests_end_later(Strategy::PrepareCommit, Cached::No);
}

#[test]
fn any_two_operations_on_cold_files_may_meet_while_requests_are_under_way_by_strategy_b() {
    all_keep_the_contract_though_requests_end_later(Strategy::BeginEnd, Cached::No);
}

#[test]
fn any_two_operations_on_dirty_files_may_meet_while_requests_are_under_way_by_strategy_a() {
    all_keep_the_contract_though_requests_end_later(Strategy::PrepareCommit, Cached::Dirty);
}

#[test]
fn any_two_operations_on_dirty_files_may_meet_while_requests_are_under_way_by_strategy_b() {
    all_keep_the_contract_though_requests_end_later(Strategy::BeginEnd, Cached::Dirty);
}

#[test]
fn operations_that_wait_for_each_other_may_meet_twice() {
    for strategy in [Strategy::PrepareCommit, Strategy::BeginEnd] {
        let runs = twice(strategy, extent(), Plant::None).unwrap_or_else(|found| panic!("{found}"));
        println!("{strategy:?}: {runs} runs");
    }
}

#[test]
fn l3_an_operation_that_waits_for_another_may_be_killed_by_strategy_a() {
    let strategy = Strategy::PrepareCommit;
    all_keep_the_contract(strategy, killed_pairs(strategy, extent()));
}

#[test]
fn l3_an_operation_that_waits_for_another_may_be_killed_by_strategy_b() {
    let strategy = Strategy::BeginEnd;
    all_keep_the_contract(strategy, killed_pairs(strategy, extent()));
}

#[test]
fn l3_an_operation_that_waits_for_a_request_may_be_killed_by_strategy_a() {
    let strategy = Strategy::PrepareCommit;
    all_keep_the_contract(strategy, late_killed_pairs(strategy, extent()));
}

#[test]
fn l3_an_operation_that_waits_for_a_request_may_be_killed_by_strategy_b() {
    let strategy = Strategy::BeginEnd;
    all_keep_the_contract(strategy, late_killed_pairs(strategy, extent()));
}

/// A wake that comes while a thread looks whether to wait is lost: it takes two hand-overs.
#[test]
fn a_planted_lost_wake_is_met_by_two_hand_overs() {
    let plant = Plant::ConcurrencyLostWake;
    let found = twice(Strategy::BeginEnd, Extent::Short, plant).expect_err(plant.name());
    println!("{}: {found}", plant.name());
    assert!(plant.is_shown_by(&found), "{} by: {found}", plant.name());
}

/// All of the target `concurrency` but a lost wake-up, for which a thread has to be interrupted
/// while it looks whether to wait.
#[test]
fn planted_bugs_are_met() {
    use Plant::{ConcurrencyLinux2623, ConcurrencyNoZap, ConcurrencyPrefaultOnly};
    for plant in [ConcurrencyLinux2623, ConcurrencyPrefaultOnly, ConcurrencyNoZap] {
        let on = |cached| pairs(Strategy::BeginEnd, Extent::Long, cached, plant);
        let found = on(Cached::No).and_then(|_| on(Cached::Yes)).expect_err(plant.name());
        println!("{}: {found}", plant.name());
        assert!(plant.is_shown_by(&found), "{} by: {found}", plant.name());
    }
}
