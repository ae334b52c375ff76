//! The bars of the throttle, and policies with a planted bug that miss them.

#![forbid(unsafe_code)]

use faultless_policy::throttle::{Limits, MOST_STEP, Rate, Step, Store, Writer};
use faultless_simulator::throttle::control::{Control, Ships};
use faultless_simulator::throttle::table::{Line, line, lines, scenes};

fn with(control: &impl Control, name: &str) -> Line {
    let all = scenes();
    let (scene, bar) = all.iter().find(|(scene, _)| scene.name == name).expect("a scene");
    line(scene, *bar, control)
}

#[test]
fn every_scene_reaches_its_bars() {
    for line in lines() {
        let (name, bar, out) = (line.scene.name, line.bar, &line.out);
        assert!(line.is_reached(), "{name}: {bar:?} {:?} {:?}", line.throughput(0), out.tasks);
    }
}

#[test]
fn dirty_and_promised_pages_together_never_exceed_the_hard_limit() {
    for line in lines() {
        let hard = line.scene.limits.hard();
        assert!(line.out.most_charged <= hard, "{}: {}", line.scene.name, line.out.most_charged);
        assert!(line.out.most_dirty <= line.out.most_charged, "{}", line.scene.name);
    }
    let crowd = with(&Ships, "200 writers, 100 MiB/s");
    assert_eq!(crowd.out.most_charged, crowd.scene.limits.hard(), "the limit was not tried");
}

#[test]
fn the_slow_store_gets_its_bandwidth_too() {
    let line = with(&Ships, "500 MiB/s, and 100 that stall for 1 s");
    let share = line.throughput(1).expect("two stores");
    // It writes for four of the five seconds.
    assert!(share >= 0.75, "{share}");
}

/// Pages are dirtied whether or not they were admitted.
struct NoAdmission;

impl Control for NoAdmission {
    fn admit(&self, _: &Limits, _: u64, wanted: u64) -> u64 {
        wanted
    }
}

#[test]
fn a_policy_that_admits_everything_exceeds_the_hard_limit() {
    for name in ["200 writers, 100 MiB/s", "300 writers, hard limit of 256 pages"] {
        let line = with(&NoAdmission, name);
        assert!(line.out.most_dirty > line.scene.limits.hard() && !line.is_reached(), "{name}");
    }
}

/// The limit is looked at, but what is promised to other writers is not counted: each sees room.
struct PromisesUncounted;

impl Control for PromisesUncounted {
    fn admit(&self, limits: &Limits, charged: u64, wanted: u64) -> u64 {
        if charged < limits.hard() { wanted } else { 0 }
    }
}

#[test]
fn a_policy_that_admits_a_whole_step_below_the_limit_exceeds_it() {
    assert!(!with(&PromisesUncounted, "300 writers, hard limit of 256 pages").is_reached());
}

/// Writers are stopped by the hard limit alone.
struct NeverPauses;

impl Control for NeverPauses {
    fn landed(
        &self,
        writer: &mut Writer,
        dirtied: u32,
        store: &Store,
        limits: (&Limits, u64),
        now: u64,
    ) -> Step {
        let step = writer.landed(dirtied, store, limits, now);
        Step { pause_ns: 0, pages: MOST_STEP, ..step }
    }
}

#[test]
fn a_policy_that_never_pauses_is_caught_by_small_slow_and_stalled_writers() {
    for name in [
        "a writer of 1 MiB/s beside 20",
        "2 writers of 2000 and 200 MiB/s",
        "2 writers, a stall of 1 s",
    ] {
        assert!(!with(&NeverPauses, name).is_reached(), "{name}");
    }
}

/// Every writer may have the bandwidth of the store, however many there are.
struct NeverLearns;

impl Control for NeverLearns {
    fn landed(
        &self,
        writer: &mut Writer,
        dirtied: u32,
        _: &Store,
        limits: (&Limits, u64),
        now: u64,
    ) -> Step {
        writer.landed(dirtied, &Store::new(Rate::per_second(25_600)), limits, now)
    }
}

#[test]
fn a_policy_that_does_not_learn_how_many_writers_there_are_is_unfair() {
    assert!(!with(&NeverLearns, "20 writers, 100 MiB/s").is_reached());
}

/// Every store may fill the limit of the whole cache.
struct NoShare;

impl Control for NoShare {
    fn share(&self, limits: &Limits, _: (Rate, Rate), _: u64) -> Limits {
        *limits
    }
}

#[test]
fn a_policy_without_shares_has_a_slow_store_stop_the_writer_of_a_fast_one() {
    let line = with(&NoShare, "100 and 1 MiB/s, 1 and 200 writers");
    assert!(!line.is_reached() && line.throughput(0) < Some(0.1), "{:?}", line.throughput(0));
}
