//! W8: limits of size are looked at before the source, and clip what does not fit.

use faultless::filemap::{OpenFile, OpenFlags, Written};
use faultless::page::{Errno, MAX_FILE_SIZE, Strategy};
use faultless::usercopy::IovIter;
use faultless_host::stores::BlockStore;
use faultless_host::{Machine, Mmu, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{Backing, PAGE, Rig, Setup, Store, Tail, TestTask, calls, pattern};

/// A file on a device of 1 KiB blocks that allows files of at most `max_size` bytes.
fn small_rig<M: Mmu>(machine: &Machine<M>, strategy: Strategy, max_size: u64) -> Rig<'_, M> {
    let setup = Setup { backing: Backing::Blocks(1024), strategy };
    Rig::over(machine, setup, Store::on_blocks(BlockStore::with_max_size(1024, 4096, max_size)))
}

on_both_mmus! {
    fn w8_a_write_is_clipped_at_the_tasks_limit_wherever_that_lies(machine) {
        for setup in Setup::distinct() {
            let rig = Rig::new(machine, setup);
            let bytes = pattern(2, 3 * PAGE);
            let source = rig.source_at(8, 5, &bytes);
            for limit in [1, 2, 511, 513, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 100, 9 * PAGE] {
                let mut holds = pattern(1, 700);
                rig.fill(&holds);
                let task = TestTask::new().limited_to(limit as u64);
                for pos in [0, 1, limit - 1, limit / 2].into_iter().filter(|pos| *pos < limit) {
                    let fits = bytes.len().min(limit - pos);
                    let got = rig.write_as(&[source], &rig.at(pos as u64), &task);
                    let end = (pos + fits) as u64;
                    assert_eq!(got, Ok(Written { bytes: fits, end }), "at {pos} below {limit}");
                    overlay(&mut holds, pos, &bytes[..fits]);
                    rig.assert_holds(&holds);
                }
                assert_eq!(task.exceeded(), 0, "no signal for a write that was clipped");
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w8_at_or_past_the_tasks_limit_there_is_a_signal_and_efbig_and_nothing_else(machine) {
        for setup in Setup::simple() {
            let holds = pattern(1, 700);
            let rig = Rig::holding(machine, setup, &holds);
            let good = rig.source_at(8, 0, &pattern(2, 100));
            let bad = rig.user().slice(24, 0, 100);
            rig.file().mark_set_id();
            let times = rig.file().times();
            for (round, (limit, pos)) in [(700, 700), (0, 0), (10, 11), (10, u64::MAX), (699, 699)].into_iter().enumerate() {
                let task = TestTask::new().limited_to(limit).at(round as u64 + 5);
                for source in [good, bad] {
                    let got = rig.write_as(&[source], &rig.at(pos), &task);
                    assert_eq!(got, Err(Errno::FileTooBig), "at {pos} with limit {limit}");
                }
                assert_eq!(task.exceeded(), 2, "one signal for each");
            }
            assert_eq!(rig.file().times(), times, "the limit comes before the times");
            assert!(rig.file().is_set_id());
            rig.assert_holds(&holds);
        }
    }

    /// O_APPEND decides where the write goes before anything is checked.
    fn w8_an_append_is_checked_at_the_end_of_the_file(machine) {
        for setup in Setup::simple() {
            let mut holds = pattern(1, 700);
            let rig = Rig::holding(machine, setup, &holds);
            let source = rig.source_at(8, 0, &pattern(2, 100));
            let task = TestTask::new().limited_to(750);
            let append = rig.append();
            assert_eq!(rig.write_as(&[source], &append, &task), Ok(Written { bytes: 50, end: 750 }));
            holds.extend(&pattern(2, 100)[..50]);
            assert_eq!(task.exceeded(), 0);
            assert_eq!(rig.write_as(&[source], &append, &task), Err(Errno::FileTooBig));
            assert_eq!(task.exceeded(), 1);
            // Below the limit is the position, at the end is the file: what counts is the end.
            let mut open = OpenFile::new(rig.file(), OpenFlags::APPEND);
            let segments = [source];
            let mut from = IovIter::new(rig.user(), &segments).expect("a request");
            let got = machine.syscall(|token| open.write(rig.file(), token, &mut from, &task));
            assert_eq!((got, open.position(), from.count()), (Err(Errno::FileTooBig), 0, 100));
            rig.assert_holds(&holds);
        }
    }

    fn w8_the_largest_size_of_the_store_clips_and_refuses_without_a_signal(machine) {
        for strategy in faultless_tests::setup::STRATEGIES {
            for max in [1, 100, 1024, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1500] {
                let rig = small_rig(machine, strategy, max as u64);
                let bytes = pattern(2, 4 * PAGE);
                let source = rig.source_at(8, 0, &bytes);
                let task = TestTask::new();
                let pos = max / 3;
                let got = rig.write_as(&[source], &rig.at(pos as u64), &task);
                assert_eq!(got.map(|written| written.bytes), Ok(max - pos), "below {max}");
                let mut holds = Vec::new();
                overlay(&mut holds, pos, &bytes[..max - pos]);
                for pos in [max as u64, max as u64 + 1, MAX_FILE_SIZE, u64::MAX - 1] {
                    let got = rig.write_as(&[source], &rig.at(pos), &task);
                    assert_eq!(got, Err(Errno::FileTooBig), "at {pos}, with {max}");
                }
                let appended = rig.write_as(&[source], &rig.append(), &task);
                assert_eq!(appended, Err(Errno::FileTooBig));
                assert_eq!(task.exceeded(), 0, "the store's limit is not the task's");
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w8_the_tasks_limit_is_looked_at_before_the_stores(machine) {
        let rig = small_rig(machine, Strategy::BeginEnd, 100);
        let source = rig.source_at(8, 0, &pattern(2, 100));
        let task = TestTask::new().limited_to(90);
        assert_eq!(rig.write_as(&[source], &rig.at(200), &task), Err(Errno::FileTooBig));
        assert_eq!(task.exceeded(), 1);
        assert_eq!(rig.write_as(&[source], &rig.at(50), &task).map(|written| written.bytes), Ok(40));
    }

    /// A write that the limit clips and a bad source shortens further: the smaller of the two
    /// counts.
    fn w8_the_clip_and_the_readable_prefix_work_together(machine) {
        for setup in Setup::simple() {
            for (readable, limit, lands) in [(50, 100, 50), (150, 100, 100), (100, 100, 100), (5000, 4500, 4500)] {
                let rig = Rig::new(machine, setup);
                let bytes = pattern(3, readable);
                let source = rig.source_before(8, &bytes, Tail::NoAccess, 5000);
                let task = TestTask::new().limited_to(limit);
                let got = rig.write_as(&[source], &rig.at(0), &task);
                assert_eq!(got.map(|written| written.bytes), Ok(lands));
                rig.assert_holds_for_good(&bytes[..lands]);
            }
        }
    }

    /// C9: what the limit cut off is still in the cursor, for a task whose limit is raised.
    fn w8_c9_the_rest_of_a_clipped_request_can_be_written_later(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            let bytes = pattern(3, 9000);
            let whole = rig.source_at(8, 0, &bytes);
            let segments = [whole.prefix(10), whole.prefix(0), whole.skip(10)];
            let mut from = IovIter::new(rig.user(), &segments).expect("a request");
            let mut pos = 0;
            for limit in [7, 4096, 5000, 100_000] {
                let task = TestTask::new().limited_to(limit);
                let options = rig.at(pos);
                let got = machine.syscall(|token| rig.file().write(token, &mut from, &options, &task));
                pos = got.expect("bytes below the limit").end;
                assert_eq!(pos, limit.min(9000));
                assert_eq!(from.count() as u64, 9000 - pos);
            }
            rig.assert_holds_for_good(&bytes);
        }
    }

    fn w8_a_file_may_be_made_as_large_as_the_store_allows_and_no_larger(machine) {
        let rig = small_rig(machine, Strategy::BeginEnd, 5000);
        assert_eq!(calls::truncate(rig.file(), 5001), Err(Errno::FileTooBig));
        assert_eq!(calls::truncate(rig.file(), 5000), Ok(()));
        rig.assert_holds_for_good(&[0; 5000]);
    }

    fn w8_a_file_may_be_cut_off_above_the_tasks_limit_but_not_extended(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 1000));
        let task = TestTask::new().limited_to(500);
        let set_size = |size| machine.syscall(|token| rig.file().set_size(token, size, &task));
        assert_eq!(set_size(1001), Err(Errno::FileTooBig));
        assert_eq!((task.exceeded(), rig.file().size()), (1, 1000));
        assert_eq!(set_size(800), Ok(()));
        assert_eq!(set_size(400), Ok(()));
        assert_eq!(set_size(500), Ok(()));
        assert_eq!(set_size(501), Err(Errno::FileTooBig));
        assert_eq!((task.exceeded(), rig.file().size()), (2, 500));
        let mut holds = pattern(1, 400);
        holds.resize(500, 0);
        rig.assert_holds_for_good(&holds);
    }

    /// What the caller cut off his request is not the write's to give back, whichever way it took.
    fn w8_a_request_that_the_caller_has_cut_short_stays_so(machine) {
        for setup in Setup::simple() {
            let rig = Rig::holding(machine, setup, &pattern(1, 1000));
            let segments = [rig.source_at(8, 0, &pattern(2, 500))];
            let limited = TestTask::new().limited_to(960);
            for (task, options, landed) in [
                (&TestTask::new(), rig.at(100), 200),
                (&limited, rig.at(900), 60),
                (&TestTask::new(), rig.at(900), 200),
                (&TestTask::new(), rig.append(), 200),
            ] {
                let mut from = IovIter::new(rig.user(), &segments).expect("a request");
                from.truncate(200);
                let got = machine.syscall(|token| rig.file().write(token, &mut from, &options, task));
                assert_eq!(got.map(|written| written.bytes), Ok(landed));
                assert_eq!(from.count(), 200 - landed, "{options:?}");
                from.reexpand(usize::MAX);
                assert_eq!(from.count(), 500 - landed, "{options:?}");
            }
        }
    }
}
