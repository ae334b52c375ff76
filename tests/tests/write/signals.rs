//! W10 and W12: fatal signals, times and set-id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::Times;
use faultless::page::Errno;
use faultless_host::{Action, Event, When, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{PAGE, Rig, Setup, Tail, TestTask, pattern};

on_both_mmus! {
    /// S4: the 2007 loop never looked. A signal at any check ends the write with what has landed,
    /// or with EINTR.
    fn w10_s4_a_fatal_signal_ends_the_write_between_pages(machine) {
        for setup in Setup::distinct() {
            for cold in [false, true] {
                let initial = pattern(1, 10 * PAGE);
                let bytes = pattern(2, 150 * PAGE);
                let source_rig = Rig::new(machine, setup);
                let mut last = 0;
                for checks in (0..).map(|round: u64| round * round) {
                    let rig = &source_rig;
                    rig.fill(&initial);
                    if cold { rig.chill(); }
                    let source = rig.source_at(8, 77, &bytes);
                    if cold { rig.user().evict(8, 152); }
                    let task = TestTask::new().killed_after(checks);
                    let got = rig.write_as(&[source], &rig.at(1000), &task);
                    let landed = got.map_or(0, |written| written.bytes);
                    if checks == 0 {
                        assert_eq!(got, Err(Errno::Interrupted));
                    }
                    assert!(got.is_ok() || got == Err(Errno::Interrupted), "{got:?}");
                    assert!(landed >= last, "{checks} checks: {landed} after {last}");
                    let mut holds = initial.clone();
                    overlay(&mut holds, 1000, &bytes[..landed]);
                    rig.assert_holds(&holds);
                    rig.store().assert_in_order(holds.len() as u64);
                    last = landed;
                    if landed == bytes.len() {
                        break;
                    }
                    assert!(checks < 3000, "a write of 150 pages ends");
                }
            }
        }
    }

    fn w10_a_killed_writer_whose_source_keeps_vanishing_stops(machine) {
        for setup in Setup::simple() {
            let rig = Rig::holding(machine, setup, &pattern(1, 2 * PAGE));
            let source = rig.source_at(8, 0, &pattern(2, PAGE));
            let script = rig.user().script();
            script.add(Event::AtomicCopy, When::Every(1), Action::Steal);
            let task = TestTask::new().killed_after(1);
            let got = rig.write_as(&[source], &rig.at(0), &task);
            assert_eq!(got, Err(Errno::Interrupted));
            script.clear();
            rig.assert_holds(&pattern(1, 2 * PAGE));
        }
    }

    fn w10_throttling_comes_between_pages_and_with_nothing_locked(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let source = rig.source_at(8, 0, &pattern(2, 200 * PAGE));
        let task = TestTask::new();
        assert!(rig.write_as(&[source], &rig.at(0), &task).is_ok());
        assert!(task.throttled() >= 3, "four leaves, so three times at least: {}", task.throttled());
    }

    fn w12_times_are_stamped_and_set_id_is_gone_before_the_first_byte_is_copied(machine) {
        for setup in Setup::distinct() {
            for hot in [true, false] {
                let rig = Rig::holding(machine, setup, &pattern(1, PAGE));
                if !hot { rig.chill(); }
                rig.file().mark_set_id();
                let source = rig.source_at(8, 0, &pattern(2, 100));
                let seen = Arc::new(AtomicU64::new(0));
                let (file, note) = (Arc::clone(rig.file()), Arc::clone(&seen));
                let look = move |_| {
                    let stamped = file.times() == Times { modified: 42, changed: 42 } && !file.is_set_id();
                    note.fetch_or(if stamped { 1 } else { 2 }, Ordering::Relaxed);
                };
                let look: Arc<dyn Fn(faultless_host::script::Moment) + Send + Sync> = Arc::new(look);
                for event in [Event::AtomicCopy, Event::FaultingCopy, Event::FaultIn] {
                    rig.user().script().add(event, When::Every(1), Action::Call(Arc::clone(&look)));
                }
                let task = TestTask::new().at(42);
                assert!(rig.write_as(&[source], &rig.at(10), &task).is_ok());
                rig.user().script().clear();
                assert_eq!(seen.load(Ordering::Relaxed), 1, "1: stamped before each access");
                assert_eq!(rig.file().times(), Times { modified: 42, changed: 42 });
            }
        }
    }

    fn w12_a_second_write_stamps_again_and_appends_do_too(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let source = rig.source_at(8, 0, &pattern(2, 100));
        for (now, options) in [(5, rig.at(0)), (5, rig.at(0)), (6, rig.append()), (7, rig.at(50)), (8, rig.at(9000))] {
            rig.file().mark_set_id();
            let task = TestTask::new().at(now);
            assert!(rig.write_as(&[source], &options, &task).is_ok());
            assert_eq!((rig.file().times(), rig.file().is_set_id()), (Times { modified: now, changed: now }, false));
        }
    }

    fn w12_a_write_of_nothing_and_a_read_leave_times_and_set_id_alone(machine) {
        for setup in Setup::simple() {
            let rig = Rig::holding(machine, setup, &pattern(1, 100));
            let source = rig.source_at(8, 0, &pattern(2, 100));
            assert!(rig.write_as(&[source], &rig.at(0), &TestTask::new().at(5)).is_ok());
            rig.file().mark_set_id();
            let later = TestTask::new().at(6);
            assert!(rig.write_as(&[source.prefix(0)], &rig.at(0), &later).is_ok());
            assert!(rig.write_as(&[], &rig.append(), &later).is_ok());
            let _ = rig.contents();
            assert_eq!((rig.file().times(), rig.file().is_set_id()), (Times { modified: 5, changed: 5 }, true));
        }
    }

    /// The write that lands in part has stamped, too: bytes changed.
    fn w12_a_short_write_stamps(machine) {
        for setup in Setup::simple() {
            let rig = Rig::holding(machine, setup, &pattern(1, 100));
            let source = rig.source_before(8, &pattern(2, 9), Tail::Unmapped, 100);
            rig.file().mark_set_id();
            assert_eq!(rig.write_as(&[source], &rig.at(0), &TestTask::new().at(9)).map(|w| w.bytes), Ok(9));
            assert_eq!((rig.file().times(), rig.file().is_set_id()), (Times { modified: 9, changed: 9 }, false));
        }
    }

    /// However little there is to do: every page of the request is at hand.
    fn w10_a_task_that_is_killed_already_writes_nothing(machine) {
        for setup in Setup::simple() {
            let rig = Rig::holding(machine, setup, &pattern(1, 100));
            let source = rig.source_at(8, 0, &pattern(2, 10));
            let task = TestTask::new().killed_after(0);
            assert_eq!(rig.write_as(&[source], &rig.at(50), &task), Err(Errno::Interrupted));
            assert_eq!(rig.write_as(&[source], &rig.append(), &task), Err(Errno::Interrupted));
            rig.assert_holds(&pattern(1, 100));
        }
    }

    fn w12_a_task_without_a_clock_stamps_zero(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 100));
        let source = rig.source_at(8, 0, &pattern(2, 10));
        assert!(rig.write_as(&[source], &rig.at(0), &TestTask::new().at(9)).is_ok());
        assert_eq!(rig.write(0, source), Ok(10));
        assert_eq!(rig.file().times(), Times { modified: 0, changed: 0 });
    }
}
