//! A crash at every call of the store: what fsync, fdatasync and msync promised is there, nothing
//! else is but what was written since (W11, P1, P2), and the file that is mounted afterwards works.
//!
//! The bugs that are planted below are what a sweep is for: each has to be found.

use faultless::filemap::Strategy;
use faultless_fuzzing::{CRASHES, Case, Extent};
use faultless_host::stores::Lie;
use faultless_host::{Machine, MachineConfig, Mmu, ScriptedMmu, rng};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::crash::{Disk, Explored, Mount, Plan, Requests, Script, Syncs, sweep};
use faultless_tests::setup::STRATEGIES;

/// A machine that is large enough for two files.
fn small() -> MachineConfig {
    MachineConfig::new().frames(256).space_pages(32)
}

/// Sweeps each script on each disk by both strategies.
fn sweep_all<M: Mmu>(
    machine: &Machine<M>,
    scripts: &[Script],
    disks: &[Disk],
    seed: u64,
) -> Explored {
    let mut all = Explored::default();
    for &disk in disks {
        for strategy in STRATEGIES {
            for script in scripts {
                match sweep(machine, script, &Plan::new(disk, strategy, seed)) {
                    Ok(explored) => all += explored,
                    Err(what) => panic!("{what}"),
                }
            }
        }
    }
    println!("{}: {all}", M::NAME);
    all
}

balanced_on_both_mmus! {
    fn p1_p2_w11_what_was_synced_survives_a_crash_at_every_call(machine = small()) {
        let disks = if M::NAME == ScriptedMmu::NAME { Disk::ALL } else { &[Disk::Blocks(1024)] };
        let all = sweep_all(machine, &Script::fixed(), disks, 1);
        assert!(all.calls > 100 * disks.len() as u64, "{all}");
        assert!(all.points > all.calls && all.torn > all.calls / 20, "{all}");
        assert!(all.mounts > all.points, "{all}");
    }
}

#[test]
fn p1_p2_w11_random_operations_survive_a_crash_at_every_call() {
    let machine = Machine::<ScriptedMmu>::with(small());
    let seed = rng::seed();
    let scripts: Vec<_> = (0..12).map(|nth| Script::random(seed.wrapping_add(nth), 25)).collect();
    let all = sweep_all(&machine, &scripts, Disk::ALL, seed);
    assert!(all.points > all.calls && all.calls > 1_000, "{all}");
    machine.finish();
}

/// The same on stores that end their requests later, on another thread and page by page.
#[test]
fn p1_p2_w11_what_was_synced_of_requests_that_end_later_survives_a_crash_at_every_call() {
    let machine = Machine::<ScriptedMmu>::with(small());
    let seed = rng::seed();
    let random = (0..8).map(|nth| Script::random(seed.wrapping_add(100 + nth), 25));
    let scripts: Vec<_> = Script::fixed().into_iter().chain(random).collect();
    let mut all = Explored::default();
    for disk in [Disk::Memory, Disk::Blocks(1024), Disk::Legacy] {
        for script in &scripts {
            let plan = Plan::new(disk, Strategy::BeginEnd, seed);
            let plan = Plan { requests: Requests::Later(seed), ..plan };
            all += sweep(&machine, script, &plan).unwrap_or_else(|what| panic!("{what}"));
        }
    }
    println!("{all}");
    assert!(all.points > all.calls && all.calls > 1_000, "{all}");
    machine.finish();
}

/// What a sweep of the fixed scripts finds where `plant` has changed something: how many of them
/// fail, and how.
fn findings(disk: Disk, plant: impl Fn(&mut Plan)) -> Vec<String> {
    let machine = Machine::<ScriptedMmu>::with(small());
    let mut found = Vec::new();
    for script in Script::fixed() {
        let mut plan = Plan::new(disk, Strategy::BeginEnd, 1);
        plant(&mut plan);
        found.extend(sweep(&machine, &script, &plan).err());
    }
    println!("{disk}: {} scripts find it: {found:#?}", found.len());
    found
}

/// The planted bug is found on each disk, and what is found is this bug and no other.
#[track_caller]
fn assert_found(disks: &[Disk], shown_by: &[&str], plant: impl Fn(&mut Plan)) {
    for &disk in disks {
        let found = findings(disk, &plant);
        assert!(!found.is_empty(), "{disk}: the planted bug is not found");
        for what in found {
            assert!(shown_by.iter().any(|shows| what.contains(shows)), "{disk}: {what}");
        }
    }
}

const LOST: &[&str] = &["was synced", "a size of"];

#[test]
fn a_store_whose_sync_returns_before_its_flush_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.lie = Lie::SyncKeepsNothing);
}

#[test]
fn a_store_whose_sync_keeps_the_first_write_only_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.lie = Lie::SyncKeepsFirstWrite);
}

#[test]
fn a_store_whose_data_sync_forgets_the_size_is_found() {
    assert_found(Disk::ALL, &["a size of"], |plan| plan.lie = Lie::DataSyncForgetsSize);
}

#[test]
fn a_store_that_acknowledges_a_torn_write_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.lie = Lie::TornWriteAcknowledged);
}

#[test]
fn a_store_that_forgets_a_trim_is_found() {
    let disks = &[Disk::Memory, Disk::Blocks(512), Disk::Legacy];
    assert_found(disks, LOST, |plan| plan.lie = Lie::TrimForgotten);
}

/// An `msync` or `fsync` that does not look for dirty pages: what came through a mapping, and what
/// was written, is forgotten.
#[test]
fn a_sync_that_sends_no_page_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.syncs = Syncs::SendNothing);
}

#[test]
fn a_sync_that_only_sends_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.syncs = Syncs::OnlySend);
}

#[test]
fn an_fsync_that_does_not_wait_for_pages_under_writeback_is_found() {
    assert_found(Disk::ALL, LOST, |plan| plan.syncs = Syncs::WaitForNobody);
}

/// P2: a file that lost its size but not its bytes shows them when it grows, unless the mount
/// forgets them.
#[test]
fn a_mount_that_keeps_junk_past_the_end_is_found() {
    let disks = &[Disk::Memory, Disk::Blocks(512), Disk::Blocks(4096), Disk::Legacy];
    assert_found(disks, &["grown: byte"], |plan| plan.mount = Mount::AsItIs);
}

/// Two threads or three, one of which syncs; the second comes in at every point of the first, and
/// the machine stops at every moment of the store.
#[test]
fn f1_f3_w11_what_a_sync_promised_beside_other_threads_survives_a_crash_at_every_moment() {
    let mut broken = Vec::new();
    for case in CRASHES {
        for strategy in STRATEGIES {
            match case.crash(strategy, Extent::Short, Lie::None) {
                Ok(runs) => println!("{}, {strategy:?}: {runs} runs", case.name),
                Err(what) => broken.push(what),
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The same on stores that end their requests later.
#[test]
fn f1_f3_w11_what_a_sync_promised_of_requests_that_end_later_survives_a_crash() {
    let mut broken = Vec::new();
    for case in CRASHES {
        for strategy in STRATEGIES {
            match case.crash_late(strategy, Extent::Short, Lie::None) {
                Ok(runs) => println!("{}, {strategy:?}: {runs} runs", case.name),
                Err(what) => broken.push(what),
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn late_stores_that_break_their_word_are_found() {
    let lie = Lie::SyncKeepsFirstWrite;
    let crash = |case: &Case| case.crash_late(Strategy::BeginEnd, Extent::Short, lie).err();
    let found: Vec<_> = CRASHES.iter().filter_map(crash).collect();
    println!("{lie:?}: {found:#?}");
    assert!(found.iter().any(|what| what.contains("is durable")), "{lie:?}: {found:?}");
}

#[test]
fn stores_that_break_their_word_beside_other_threads_are_found() {
    for lie in [Lie::SyncKeepsNothing, Lie::SyncKeepsFirstWrite] {
        let finds = CRASHES
            .iter()
            .filter_map(|case| case.crash(Strategy::BeginEnd, Extent::Short, lie).err());
        let found: Vec<_> = finds.collect();
        println!("{lie:?}: {found:#?}");
        assert!(found.iter().any(|what| what.contains("is durable")), "{lie:?}: {found:?}");
    }
}
