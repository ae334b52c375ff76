//! The models hold, and each bug planted in them is found. See the crate's documentation;
//! `FAULTLESS_MODEL=long` explores more.

use std::env;
use std::path::Path;

use faultless_model::suite::{self, Case, Effort, Verdict};

fn effort() -> Effort {
    match env::var("FAULTLESS_MODEL").as_deref() {
        Ok("long") => Effort::Long,
        _ => Effort::Everyday,
    }
}

#[track_caller]
fn assert_all(cases: &[Case]) {
    let program = Path::new(env!("CARGO_BIN_EXE_faultless-model"));
    let mut bad = Vec::new();
    for case in cases {
        let outcome = case.run(program);
        println!("{} {} {}: {}", case.model, case.plant.name(), case.search, outcome.summary);
        if outcome.verdict == Verdict::Bad {
            let schedule = outcome.schedule.unwrap_or_default();
            bad.push(format!(
                "{} with {} planted, {}: {} {schedule}",
                case.model,
                case.plant.name(),
                case.search,
                outcome.summary
            ));
        }
    }
    assert!(bad.is_empty(), "not as it must be:\n{}", bad.join("\n"));
}

#[test]
fn every_interleaving_up_to_the_bound_holds_under_loom() {
    assert_all(&suite::loom_cases(effort()));
}

#[test]
fn every_planted_bug_is_found_under_loom() {
    assert_all(&suite::loom_twins());
}

#[test]
fn system_calls_against_each_other_hold_under_shuttle() {
    assert_all(&suite::shuttle_cases(effort()));
}

#[test]
fn every_planted_bug_and_historical_control_is_found_under_shuttle() {
    assert_all(&suite::shuttle_twins());
}
