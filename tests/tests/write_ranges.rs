//! Held ranges: who waits for a write that is under way in steps, and who does not (W2).
//!
//! A write stands still where it holds its range and no page; another thread then writes, and the lock checker says
//! whether that one waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use faultless_host::script::Moment;
use faultless_host::{Action, Event, Machine, Mmu, Protection, When, on_both_mmus};
use faultless_tests::{PAGE, Rig, Setup, assert_same, calls, pattern};

/// The name of the thread that writes meanwhile.
const OTHER: &str = "the other writer";

/// What the other writer was seen doing, while the first one stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Landed,
    Waiting,
}

/// Overwrites pages 1 and 2 of four with a copy that is short and then finds its source gone; while it stands between the two
/// with its range held, somebody writes `len` bytes at `pos`. Says what he was seen doing, his bytes, and the file in the end.
fn meanwhile<M: Mmu>(
    machine: &Machine<M>,
    pos: usize,
    len: usize,
) -> (Seen, Vec<u8>, Vec<u8>, Vec<u8>) {
    let old = pattern(1, 4 * PAGE);
    let rig = Rig::holding(machine, Setup::PLAIN, &old);
    let ours = pattern(2, 2 * PAGE);
    let source = rig.source_at(8, 0, &ours);
    let theirs = pattern(3, len);
    let other = machine.space();
    other.map_anonymous(0, 8, Protection::ReadWrite);
    other.store(other.at(0, 0), &theirs).expect("their source");
    let (go, gone) = channel();
    let seen = Arc::new(Mutex::new(None));
    let landed = Arc::new(AtomicBool::new(false));
    let (check, result, done) =
        (Arc::clone(machine.check()), Arc::clone(&seen), Arc::clone(&landed));
    let stand_still = move |_: Moment| {
        go.send(()).expect("they wait for it");
        let waits = |line: &str| line.contains(OTHER) && line.contains("waits for R(");
        *result.lock().expect("no panic") = Some(loop {
            if done.load(Ordering::Acquire) {
                break Seen::Landed;
            }
            if check.describe().lines().any(waits) {
                break Seen::Waiting;
            }
            std::thread::yield_now();
        });
    };
    let script = rig.user().script();
    script.add(Event::AtomicCopy, When::Nth(1), Action::Short(PAGE));
    script.add(Event::AtomicCopy, When::Nth(2), Action::Steal);
    script.add(Event::FaultIn, When::Nth(1), Action::Call(Arc::new(stand_still)));
    let (space, file) = (&other, rig.file());
    std::thread::scope(|scope| {
        let writes = move || {
            machine.check().adopt();
            gone.recv().expect("the first write stands still");
            let got = calls::pwrite(space, file, pos as u64, space.slice(0, 0, len));
            landed.store(true, Ordering::Release);
            assert_eq!(got, Ok(len));
        };
        let builder = std::thread::Builder::new().name(OTHER.to_owned());
        builder.spawn_scoped(scope, writes).expect("a thread");
        assert_eq!(rig.write(PAGE as u64, source), Ok(ours.len()));
    });
    script.clear();
    let mut before = old;
    before[PAGE..3 * PAGE].copy_from_slice(&ours);
    let seen = seen.lock().expect("no panic").take().expect("a fault-in");
    (seen, theirs, before, rig.contents())
}

on_both_mmus! {
    fn w2_a_write_over_one_that_is_under_way_comes_after_it_as_a_whole(machine) {
        // Over its first half and its second; over its last byte and behind; over its first and before.
        for (pos, len) in [(PAGE + PAGE / 2, PAGE), (3 * PAGE - 1, 100), (PAGE - 99, 100)] {
            let (seen, theirs, mut expected, now) = meanwhile(machine, pos, len);
            assert_eq!(seen, Seen::Waiting, "{len} bytes at {pos}");
            expected[pos..pos + len].copy_from_slice(&theirs);
            assert_same(&now, &expected, "the file");
        }
    }

    fn w2_a_write_next_to_one_that_is_under_way_does_not_wait_for_it(machine) {
        for (pos, len) in [(0, PAGE), (3 * PAGE, PAGE), (PAGE - 1, 1), (3 * PAGE, 1)] {
            let (seen, theirs, mut expected, now) = meanwhile(machine, pos, len);
            assert_eq!(seen, Seen::Landed, "{len} bytes at {pos}");
            expected[pos..pos + len].copy_from_slice(&theirs);
            assert_same(&now, &expected, "the file");
        }
    }
}
