//! The staged deadlocks, whole: each scenario hangs on each control that has it, found by the lock
//! checker and by the watchdog, and finishes everywhere else, with the right bytes.

use std::sync::OnceLock;

use faultless_controls::deadlocks::{self, Algorithm, Destination, Ending, Scenario, Trial};

/// All trials, played once for all tests: a hang takes as long as the watchdog's patience.
fn trials() -> &'static [Trial] {
    static TRIALS: OnceLock<Vec<Trial>> = OnceLock::new();
    TRIALS.get_or_init(|| deadlocks::play_all(deadlocks::LIMIT))
}

#[track_caller]
fn trial(scenario: Scenario, algorithm: Algorithm, destination: Destination) -> &'static Trial {
    let sought = |trial: &&Trial| {
        (trial.scenario, trial.algorithm, trial.destination) == (scenario, algorithm, destination)
    };
    trials().iter().find(sought).expect("every act was played")
}

#[test]
fn every_scene_hangs_on_the_controls_that_have_it_and_finishes_on_the_others() {
    use Ending::{Finishes, Hangs};
    for scenario in Scenario::ALL {
        for destination in Destination::ALL {
            for (algorithm, ending) in [
                (Algorithm::Linux2623, Hangs),
                (Algorithm::Linux2624Rc1, Finishes),
                (Algorithm::PrefaultOnly, Hangs),
                (Algorithm::FaultlessA, Finishes),
                (Algorithm::FaultlessB, Finishes),
            ] {
                let trial = trial(scenario, algorithm, destination);
                assert_eq!(trial.ending, ending, "{trial}\n{:#?}", trial.fires);
                assert_eq!(algorithm.expected(), ending);
            }
        }
    }
}

#[test]
fn the_lock_checker_finds_the_cycle_of_each_hang_and_nothing_else() {
    for trial in trials() {
        match trial.ending {
            Ending::Finishes => assert!(trial.reports.is_empty(), "{trial}: {:#?}", trial.reports),
            Ending::Hangs => assert!(trial.cycle().is_some(), "{trial}: only {:#?}", trial.reports),
        }
    }
}

#[test]
fn the_watchdog_finds_each_hang_and_tells_who_waits_for_whom() {
    for trial in trials() {
        // Who is taken down first sees what T1 holds. The next one may be taken down while T1 gives
        // its locks back.
        let holds = |fire: &String| fire.contains("thread 'T1' holds");
        match trial.ending {
            Ending::Finishes => assert!(trial.fires.is_empty(), "{trial}: {:#?}", trial.fires),
            Ending::Hangs => assert!(trial.fires.iter().any(holds), "{trial}: {:#?}", trial.fires),
        }
        for fire in &trial.fires {
            assert!(fire.contains("waits for"), "{trial}: {fire}");
        }
    }
}

#[test]
fn the_cycle_names_the_threads_and_the_locks() {
    for (scenario, words) in [
        (Scenario::Dl1, ["'T1' holds P(", "wait for P("]),
        (Scenario::Dl2, ["'T1' holds P(", "'T2' holds P("]),
        (Scenario::Dl3, ["'T1' holds P(", "'T2' holds M("]),
        (Scenario::Dl3Prime, ["for reading", "a third thread queued for writing"]),
        (Scenario::Dl4, ["holds store(", "waits for store("]),
    ] {
        let trial = trial(scenario, Algorithm::Linux2623, Destination::Absent);
        let cycle = trial.cycle().expect("a cycle");
        for word in words {
            assert!(cycle.text.contains(word), "{scenario}: no \"{word}\" in {cycle}");
        }
        assert!(cycle.dot.starts_with("digraph"), "{}", cycle.dot);
    }
}
