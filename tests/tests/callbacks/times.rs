//! F7: stores through mappings stamp the times, no later than the next writeback or sync of their
//! page.

use faultless::filemap::{Access, InFault, MsyncKind, NoTask, SyncKind, Task, Times};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, Mmu, Protection, syscall};
use faultless_tests::process::{FREE, File, PAGE, Process, pattern};
use faultless_tests::{TestTask, balanced_on_both_mmus};

type Sync = fn(&File, &TestTask) -> Result<(), Errno>;

/// What sends a page, in the name of a task with a clock.
const SYNCS: [(&str, Sync); 5] = [
    ("msync", |file, task| {
        syscall(|token| file.msync(token, PAGE..PAGE + 1, MsyncKind::Sync, task))
    }),
    ("fsync", |file, task| syscall(|token| file.fsync(token, SyncKind::All, task))),
    ("fdatasync", |file, task| syscall(|token| file.fsync(token, SyncKind::Data, task))),
    ("sync of a range", |file, task| {
        syscall(|token| file.fsync_range(token, SyncKind::Data, PAGE..PAGE + 1, task))
    }),
    ("writeback", |file, task| syscall(|token| file.writeback(token, 0..u64::MAX, task))),
];

const fn at(time: u64) -> Times {
    Times { modified: time, changed: time }
}

/// A file of three pages, and a process that has mapped it.
fn mapped<M: Mmu>(machine: &Machine<M>) -> (File, Process<M>) {
    let store = MemoryStore::with_contents(&pattern(1, 3 * PAGE_SIZE));
    let (file, process) = (machine.inode(&store, 3 * PAGE), Process::new(machine));
    let _ = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
    (file, process)
}

balanced_on_both_mmus! {
    fn f7_a_store_through_a_mapping_is_stamped_by_the_next_sync_of_its_page(machine) {
        for (name, sync) in SYNCS {
            let (file, process) = mapped(machine);
            file.set_times(at(5));
            let one = process.space.at(FREE + 1, 0);
            process.space.store(one, b"first").unwrap();
            file.set_times(at(5));
            assert_eq!(sync(&file, &TestTask::new().at(42)), Ok(()), "{name}");
            assert_eq!(file.times(), at(42), "{name}");
            // Read-only now, and clean: a sync has nothing to stamp for.
            assert_eq!(sync(&file, &TestTask::new().at(43)), Ok(()), "{name}");
            assert_eq!(file.times(), at(42), "{name}, with nothing stored since");
        }
    }

    /// No fault tells of the second store: the page has been writable since the first.
    fn f7_a_store_to_a_page_that_was_writable_long_before_is_stamped_too(machine) {
        for (name, sync) in SYNCS {
            let (file, process) = mapped(machine);
            let one = process.space.at(FREE + 1, 0);
            process.space.store(one, b"first").unwrap();
            let faults = faultless_host::Counters::now().faults;
            file.set_times(at(7));
            process.space.store(one, b"again").unwrap();
            assert_eq!(faultless_host::Counters::now().faults, faults, "no fault");
            assert_eq!(file.times(), at(7), "nothing knows of it yet");
            assert_eq!(sync(&file, &TestTask::new().at(44)), Ok(()), "{name}");
            assert_eq!(file.times(), at(44), "{name}");
        }
    }

    /// A page that a write has made dirty was stamped by the write.
    fn f7_a_sync_of_pages_that_no_mapping_stored_to_stamps_nothing(machine) {
        for (name, sync) in SYNCS {
            let (file, process) = mapped(machine);
            let _ = process.byte(process.space.at(FREE + 1, 0)).unwrap();
            let source = process.space.slice(0, 0, 10);
            let options = faultless::filemap::WriteOptions::at(PAGE);
            let written = process.writev_as(&file, &[source], &options, &TestTask::new().at(8));
            assert_eq!((written, file.times()), (Ok(10), at(8)));
            assert_eq!(sync(&file, &TestTask::new().at(45)), Ok(()), "{name}");
            assert_eq!(file.times(), at(8), "{name}");
        }
    }

    fn f7_a_fault_for_a_store_stamps_with_its_tasks_clock_and_one_for_a_load_does_not(machine) {
        let (file, _process) = mapped(machine);
        file.set_times(at(9));
        let fault = |access, now| {
            // SAFETY: nothing is locked, and there is no other handler on this thread.
            let mut in_fault = unsafe { InFault::enter() };
            let task = TestTask::new().at(now);
            file.fault(&mut in_fault, PageIndex::new(1), access, &task, |_| ())
        };
        assert_eq!((fault(Access::Read, 50), file.times()), (Ok(()), at(9)));
        assert_eq!((fault(Access::Write, 51), file.times()), (Ok(()), at(51)));
    }

    fn f7_times_that_the_embedder_sets_are_the_files_until_it_changes(machine) {
        let (file, process) = mapped(machine);
        assert_eq!(file.times(), Times::default());
        let times = Times { modified: 123, changed: u64::MAX };
        file.set_times(times);
        assert_eq!(file.times(), times);
        let _ = process.contents(&file);
        let _ = process.byte(process.space.at(FREE, 0)).unwrap();
        let synced = syscall(|token| file.fsync(token, SyncKind::All, &NoTask));
        assert_eq!((synced, file.times()), (Ok(()), times), "reads and syncs change no times");
        let resized = syscall(|token| file.set_size(token, PAGE, &TestTask::new().at(77)));
        assert_eq!((resized, file.times()), (Ok(()), at(77)));
        assert_eq!(TestTask::new().at(77).now(), 77);
    }
}
