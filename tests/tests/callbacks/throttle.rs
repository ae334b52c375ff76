//! L6: the throttle is asked after each write that landed, with nothing held.

use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::{OpenFile, OpenFlags, SyncKind, Task, WriteOptions};
use faultless::page::{Errno, PageIndex, Strategy};
use faultless::usercopy::IovIter;
use faultless_host::stores::{BlockStore, Call, FaultyStore};
use faultless_host::{MachineConfig, lockcheck, on_both_mmus, syscall};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{PAGE, Rig, Setup, Store, Tail, pattern};

/// A task that counts the calls of its throttle, and looks at the locks in each.
#[derive(Debug, Default)]
struct Throttled {
    calls: AtomicU64,
    /// Those that came with nothing held.
    free: AtomicU64,
    /// The last one came with nothing held.
    last_free: AtomicU64,
}

impl Throttled {
    /// Calls so far, and those with nothing held.
    fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.free.load(Ordering::Relaxed))
    }
}

impl Task for Throttled {
    fn throttle(&self) {
        assert!(!lockcheck::holds_pages(), "P3: a writer is throttled with a page locked");
        let free = lockcheck::holds_nothing();
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.free.fetch_add(u64::from(free), Ordering::Relaxed);
        self.last_free.store(u64::from(free), Ordering::Relaxed);
    }
}

on_both_mmus! {
    fn l6_each_of_4000_appended_pages_is_throttled_with_nothing_held(machine = MachineConfig::new().frames(4400)) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let source = rig.source_at(8, 0, &pattern(2, PAGE));
        let task = Throttled::default();
        for page in 0..4000 {
            assert_eq!(rig.write_as(&[source], &rig.append(), &task).map(|w| w.bytes), Ok(PAGE));
            assert_eq!(task.counts(), (page + 1, page + 1), "calls, and those with nothing held");
        }
    }

    fn l6_each_hot_overwrite_and_each_small_write_is_throttled_with_nothing_held(machine) {
        for setup in Setup::distinct() {
            let rig = Rig::holding(machine, setup, &pattern(1, 4 * PAGE));
            let source = rig.source_at(8, 100, &pattern(2, 2 * PAGE));
            for (round, len) in [1, 100, PAGE, PAGE + 1, 2 * PAGE, 1].into_iter().enumerate() {
                let task = Throttled::default();
                let pos = (round * 700) as u64;
                assert!(rig.write_as(&[source.prefix(len)], &rig.at(pos), &task).is_ok());
                let (calls, free) = task.counts();
                // Strategy A goes page by page, and holds its range in between.
                assert_eq!(free, 1, "{len} bytes at {pos}: with nothing held, once");
                assert_eq!(task.last_free.load(Ordering::Relaxed), 1, "and that is the last one");
                if setup.strategy == Strategy::BeginEnd {
                    assert_eq!(calls, 1, "{len} bytes at {pos}");
                }
            }
        }
    }

    fn l6_a_synchronous_write_is_throttled_once_and_with_nothing_held(machine) {
        for flags in [OpenFlags::SYNC, OpenFlags::DATA_SYNC, OpenFlags::SYNC | OpenFlags::APPEND] {
            let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, PAGE));
            let source = rig.source_at(8, 0, &pattern(2, 300));
            let mut open = OpenFile::new(rig.file(), flags);
            let task = Throttled::default();
            let mut from = IovIter::from_slice(rig.user(), &source);
            let written = syscall(|token| open.write(rig.file(), token, &mut from, &task));
            assert_eq!((written, task.counts()), (Ok(300), (1, 1)), "{flags:?}");
            let options = WriteOptions::at(5).with_sync(SyncKind::All);
            assert!(rig.write_as(&[source], &options, &task).is_ok());
            assert_eq!(task.counts(), (2, 2), "{flags:?}");
        }
    }

    fn l6_a_write_that_lands_in_part_is_throttled_and_one_that_fails_is_not(machine) {
        for strategy in STRATEGIES {
            let store = FaultyStore::new(BlockStore::new(1024, 400), machine.watchdog());
            let rig = Rig::over(machine, Setup { strategy, ..Setup::PLAIN }, Store::plain(std::sync::Arc::clone(&store)));
            let task = Throttled::default();
            // No byte is readable; no room; past the limits; nothing to write.
            let source = rig.source_before(8, &pattern(2, 9), Tail::Unmapped, 100);
            let unreadable = source.skip(9);
            assert_eq!(rig.write_as(&[unreadable], &rig.at(0), &task), Err(Errno::Fault));
            store.fail_page(Call::WriteBegin, PageIndex::new(3), Errno::NoSpace);
            let at = rig.at(3 * PAGE as u64);
            assert_eq!(rig.write_as(&[source.prefix(9)], &at, &task), Err(Errno::NoSpace));
            let past = rig.at(u64::MAX);
            assert_eq!(rig.write_as(&[source.prefix(9)], &past, &task), Err(Errno::FileTooBig));
            assert_eq!(rig.write_as(&[source.prefix(0)], &rig.at(0), &task).map(|w| w.bytes), Ok(0));
            assert_eq!(task.counts(), (0, 0), "{strategy:?}: none of these landed");
            // Nine bytes of 109 do.
            assert_eq!(rig.write_as(&[source], &rig.at(0), &task).map(|w| w.bytes), Ok(9));
            assert_eq!(task.last_free.load(Ordering::Relaxed), 1, "{strategy:?}");
            let (_, free) = task.counts();
            assert_eq!(free, 1, "{strategy:?}: a short write landed");
        }
    }
}
