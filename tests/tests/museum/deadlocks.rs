//! The deadlock theatre, whole: each scene hangs on each control that has it, found by the lock
//! checker and by the watchdog, and finishes everywhere else, with the right bytes.

use std::sync::OnceLock;

use faultless_host::controls::theatre::{self, Act, Algorithm, Destination, Ending, Scene};

/// All acts, played once for all tests: a hang takes as long as the watchdog's patience.
fn acts() -> &'static [Act] {
    static ACTS: OnceLock<Vec<Act>> = OnceLock::new();
    ACTS.get_or_init(|| theatre::play_all(theatre::LIMIT))
}

#[track_caller]
fn act(scene: Scene, algorithm: Algorithm, destination: Destination) -> &'static Act {
    let sought =
        |act: &&Act| (act.scene, act.algorithm, act.destination) == (scene, algorithm, destination);
    acts().iter().find(sought).expect("every act was played")
}

#[test]
fn every_scene_hangs_on_the_controls_that_have_it_and_finishes_on_the_others() {
    use Ending::{Finishes, Hangs};
    for scene in Scene::ALL {
        for destination in Destination::ALL {
            for (algorithm, ending) in [
                (Algorithm::Linux2623, Hangs),
                (Algorithm::Linux2624Rc1, Finishes),
                (Algorithm::PrefaultOnly, Hangs),
                (Algorithm::FaultlessA, Finishes),
                (Algorithm::FaultlessB, Finishes),
            ] {
                let act = act(scene, algorithm, destination);
                assert_eq!(act.ending, ending, "{act}\n{:#?}", act.fires);
                assert_eq!(algorithm.expected(), ending);
            }
        }
    }
}

#[test]
fn the_lock_checker_finds_the_cycle_of_each_hang_and_nothing_else() {
    for act in acts() {
        match act.ending {
            Ending::Finishes => assert!(act.reports.is_empty(), "{act}: {:#?}", act.reports),
            Ending::Hangs => assert!(act.cycle().is_some(), "{act}: only {:#?}", act.reports),
        }
    }
}

#[test]
fn the_watchdog_finds_each_hang_and_tells_who_waits_for_whom() {
    for act in acts() {
        // Who is taken down first sees what T1 holds. The next one may be taken down while T1 gives
        // its locks back.
        let holds = |fire: &String| fire.contains("thread 'T1' holds");
        match act.ending {
            Ending::Finishes => assert!(act.fires.is_empty(), "{act}: {:#?}", act.fires),
            Ending::Hangs => assert!(act.fires.iter().any(holds), "{act}: {:#?}", act.fires),
        }
        for fire in &act.fires {
            assert!(fire.contains("waits for"), "{act}: {fire}");
        }
    }
}

#[test]
fn the_cycle_names_the_threads_and_the_locks() {
    for (scene, words) in [
        (Scene::Dl1, ["'T1' holds P(", "wait for P("]),
        (Scene::Dl2, ["'T1' holds P(", "'T2' holds P("]),
        (Scene::Dl3, ["'T1' holds P(", "'T2' holds M("]),
        (Scene::Dl3Prime, ["for reading", "a third thread queued for writing"]),
        (Scene::Dl4, ["holds store(", "waits for store("]),
    ] {
        let act = act(scene, Algorithm::Linux2623, Destination::Absent);
        let cycle = act.cycle().expect("a cycle");
        for word in words {
            assert!(cycle.text.contains(word), "{scene}: no \"{word}\" in {cycle}");
        }
        assert!(cycle.dot.starts_with("digraph"), "{}", cycle.dot);
    }
}
