//! E11, E13, E14, E15: times, the ends of the numbers, short answers, and the last handle.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use faultless::filemap::{
    Access, FaultError, InFault, MsyncKind, NoTask, OpenFile, OpenFlags, SyncKind, Times,
    WriteOptions,
};
use faultless::page::{Errno, MAX_FILE_SIZE, PAGE_SIZE, PageIndex};
use faultless::usercopy::IovIter;
use faultless_host::stores::{Call, FaultyStore, HookedStore, MemoryStore};
use faultless_host::{Mmu, Protection, UserFault, syscall};
use faultless_tests::{Backing, File, PAGE, Rig, TestTask, balanced_on_both_mmus, calls, pattern};

use crate::harness::{Answer, Failure, Subject, exhibit, room};
use crate::kernels::{booked, lost, strict};
use crate::planted::{Bug, OldSync};
use crate::stores::{Short, ShortAnswer};
use crate::threads::{read_as, room_over, write_as};

/// What sends the stores of a mapping to the store.
type Sends = fn(&File, &TestTask) -> Result<(), Errno>;

const SENDS: [Sends; 4] = [
    |file, task| syscall(|token| file.msync(token, 0..u64::MAX, MsyncKind::Sync, task)),
    |file, task| syscall(|token| file.fsync(token, SyncKind::Data, task)),
    |file, task| syscall(|token| file.writeback(token, 0..1, task)),
    |file, task| {
        let mut open = OpenFile::new(file, OpenFlags::empty());
        syscall(|token| open.msync(file, token, 0..1, MsyncKind::Sync, task))
    },
];

/// What the times are before a CPU store through a mapping.
const BEFORE: Times = Times { modified: 5, changed: 5 };

/// openzfs PR 1127, linux-nova#25, osv#33: a page is mapped, and stored to without a fault; then it
/// is sent at time 42. What the times are.
fn e11<M: Mmu>(rig: &Rig<'_, M>, send: impl FnOnce(&File, &TestTask)) -> Times {
    rig.fill(&pattern(1, PAGE));
    rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::ReadWrite);
    let store = |byte: u8| rig.user().store(rig.user().at(50, 7), &[byte]).expect("the mapping");
    store(1);
    rig.file().set_times(BEFORE);
    store(2);
    assert_eq!(rig.file().times(), BEFORE, "the page was writable");
    send(rig.file(), &TestTask::new().at(42));
    rig.file().times()
}

/// Positions at the ends of the numbers.
const EDGES: [u64; 7] = [
    MAX_FILE_SIZE - 1,
    MAX_FILE_SIZE,
    MAX_FILE_SIZE + 1,
    MAX_FILE_SIZE + PAGE_SIZE as u64,
    u64::MAX - PAGE_SIZE as u64,
    u64::MAX - 1,
    u64::MAX,
];

const EFBIG: Answer = Err(Failure::Errno(Errno::FileTooBig));

/// ruxos#228, systemd PR 2314: ten bytes at `pos`, by a task without a limit. What the write says,
/// and how often the task had a signal.
fn e13<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, pos: u64) -> (Answer, u64) {
    let segments = [rig.source_at(8, 0, &[7; 10])];
    let mut from = IovIter::new(rig.user(), &segments).expect("a request");
    let task = TestTask::new();
    let options = WriteOptions::at(pos);
    let answer = subject.write_from(rig, rig.user(), &segments, &mut from, &options, &task);
    (answer, task.exceeded())
}

/// Ranges with both ends at the ends of the numbers, empty ones and backward ones too.
fn ranges() -> impl Iterator<Item = Range<u64>> {
    let ends = || [0, 1, PAGE as u64].into_iter().chain(EDGES);
    ends().flat_map(move |start| ends().map(move |end| start..end))
}

fn fault(file: &File, index: u64, access: Access) -> Result<(), FaultError> {
    // SAFETY: no page lock is held, and this thread has no other token.
    let mut in_fault = unsafe { InFault::enter() };
    file.fault(&mut in_fault, PageIndex::new(index), access, &NoTask, |_| ())
}

/// Every entry that takes a range, with all of them.
fn walk_ranges(file: &File) {
    let task = TestTask::new().killed_after(10_000);
    for range in ranges() {
        let what = format!("{range:?}");
        let sent = syscall(|token| file.writeback(token, range.clone(), &task));
        assert_eq!(sent, Ok(()), "writeback of {what}");
        let synced = syscall(|token| file.fsync_range(token, SyncKind::All, range.clone(), &task));
        assert_eq!(synced, Ok(()), "fsync of {what}");
        let synced = syscall(|token| file.msync(token, range.clone(), MsyncKind::Sync, &task));
        assert_eq!(synced, Ok(()), "msync of {what}");
        let evicted = syscall(|token| file.evict(token, range));
        assert!(evicted <= 3, "eviction of {what}: {evicted} pages");
    }
}

/// AgentENV PR 43, hf-mount#12: a store answers 1,000 bytes of each page of a file of two pages,
/// the second of which has 500. What a read of the first page says, and the first byte that it
/// missed.
fn e14<M: Mmu>(rig: &Rig<'_, M>, store: &Short) -> Result<u8, Errno> {
    rig.fill(&pattern(1, PAGE + 500));
    rig.chill();
    store.shorten(1000);
    read_as(rig.file(), 0, PAGE, &NoTask).map(|got| got[1000])
}

balanced_on_both_mmus! {
    /// F7.
    fn e11_stores_through_a_mapping_stamp_the_times_no_later_than_their_sync(machine) {
        for send in SENDS {
            let rig = room(machine, Backing::Memory);
            let times = e11(&rig, |file, task| assert_eq!(send(file, task), Ok(())));
            assert_eq!(times, Times { modified: 42, changed: 42 });
        }
    }

    /// F7.
    fn e11_a_fault_for_a_store_stamps_the_times(machine) {
        let rig = room(machine, Backing::Memory);
        rig.fill(&pattern(1, PAGE));
        let task = TestTask::new().at(50);
        for (access, modified) in [(Access::Read, 5), (Access::Write, 50)] {
            rig.file().set_times(BEFORE);
            // SAFETY: no page lock is held, and this thread has no other token.
            let mut in_fault = unsafe { InFault::enter() };
            let mapped = rig.file().fault(&mut in_fault, PageIndex::ZERO, access, &task, |_| ());
            assert_eq!((mapped, rig.file().times().modified), (Ok(()), modified));
        }
    }

    fn e11_a_sync_that_does_not_stamp_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let times = e11(&rig, |file, task| {
            syscall(|token| OldSync::new(file, 10).fsync(token, task)).expect("a sync");
        });
        assert_eq!(times, BEFORE);
    }

    /// W8.
    fn e13_a_write_at_the_end_of_the_numbers_is_refused_or_clipped_without_a_signal(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            for pos in EDGES {
                let right = if pos < MAX_FILE_SIZE { Ok(1) } else { EFBIG };
                assert_eq!(e13(rig, subject, pos), (right, 0), "{pos}");
                assert_eq!(rig.file().size(), MAX_FILE_SIZE);
            }
            assert_eq!(rig.read(MAX_FILE_SIZE - 1, 9), [7]);
            calls::truncate(rig.file(), 0).expect("an empty file");
        });
    }

    /// W8.
    fn e13_every_other_entry_refuses_or_clips_what_is_out_of_range(machine) {
        let rig = room(machine, Backing::Memory);
        let (file, task) = (rig.file(), TestTask::new());
        rig.fill(&pattern(1, 2 * PAGE));
        walk_ranges(file);
        let mut open = OpenFile::new(file, OpenFlags::empty());
        let pages = [u64::MAX, u64::MAX >> 12, (MAX_FILE_SIZE >> 12) + 1];
        for size in [2 * PAGE as u64, MAX_FILE_SIZE] {
            for pos in EDGES {
                let read = read_as(file, pos, 10, &task);
                let inside = pos < MAX_FILE_SIZE && size == MAX_FILE_SIZE;
                match pos {
                    pos if pos > MAX_FILE_SIZE => assert_eq!(read, Err(Errno::Invalid), "{pos}"),
                    _ => assert_eq!(read, Ok(vec![0; usize::from(inside)]), "{pos}"),
                }
                let moved = if pos > MAX_FILE_SIZE { Err(Errno::Invalid) } else { Ok(()) };
                assert_eq!(open.seek(pos), moved, "{pos}");
                let empty = syscall(|token| {
                    let mut from = IovIter::new(rig.user(), &[]).expect("a request");
                    file.write(token, &mut from, &WriteOptions::at(pos), &task).map(drop)
                });
                assert_eq!(empty, Ok(()), "a write of nothing at {pos}");
                if pos > MAX_FILE_SIZE {
                    let cut = syscall(|token| file.set_size(token, pos, &task));
                    assert_eq!(cut, Err(Errno::FileTooBig), "{pos}");
                }
            }
            for page in pages {
                assert_eq!(fault(file, page, Access::Write), Err(FaultError::PastEnd), "{page}");
            }
            if size < MAX_FILE_SIZE {
                let grown = syscall(|token| file.set_size(token, MAX_FILE_SIZE, &task));
                assert_eq!((grown, file.size()), (Ok(()), MAX_FILE_SIZE));
            }
        }
        for access in [Access::Read, Access::Write] {
            assert_eq!(fault(file, MAX_FILE_SIZE >> 12, access), Ok(()));
        }
        assert_eq!(write_as(file, b"x", &WriteOptions::append(), &task), Err(Errno::FileTooBig));
        let through = WriteOptions::at(MAX_FILE_SIZE - 1).with_sync(SyncKind::All);
        assert_eq!(write_as(file, b"xyz", &through, &task), Ok(1));
        walk_ranges(file);
        assert_eq!(task.exceeded(), 0, "SIGXFSZ for a task without a limit");
        calls::truncate(file, 2 * PAGE as u64).expect("a truncation");
        rig.assert_holds(&pattern(1, 2 * PAGE));
    }

    /// W8. What an embedder or a store says of sizes is clipped.
    fn e13_wild_sizes_of_embedders_and_stores_are_clipped(machine) {
        let empty = MemoryStore::new();
        for size in [MAX_FILE_SIZE, MAX_FILE_SIZE + 1, u64::MAX] {
            let file = machine.inode(&empty, size);
            assert_eq!(file.size(), MAX_FILE_SIZE);
            assert_eq!(read_as(&file, MAX_FILE_SIZE - 1, 10, &NoTask), Ok(vec![0]));
            assert_eq!(calls::fsync(&file), Ok(()));
        }
        for (max_size, written) in [
            (0, Err(Errno::FileTooBig)),
            (5000, Ok(5000)),
            (u64::MAX, Ok(10_000)),
        ] {
            let store = Arc::new(HookedStore::new(MemoryStore::new()).with_max_size(max_size));
            let file = machine.inode(&store, 0);
            let task = TestTask::new();
            assert_eq!(write_as(&file, &[7; 10_000], &WriteOptions::at(0), &task), written);
            let past = max_size.min(MAX_FILE_SIZE) + 1;
            let grown = syscall(|token| file.set_size(token, past, &task));
            assert_eq!((grown, task.exceeded()), (Err(Errno::FileTooBig), 0), "{max_size}");
            assert_eq!(calls::fsync(&file), Ok(()));
        }
    }

    fn e13_no_limit_taken_for_a_limit_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let (answer, signals) = e13(&rig, Subject::Planted(Bug::NoLimitIsALimit), u64::MAX);
        assert_eq!((answer, signals), (EFBIG, 1), "a signal for a task without a limit");
    }

    /// F8.
    fn e14_a_short_answer_inside_the_file_is_an_error_for_every_reader(machine) {
        let store = Short::new(ShortAnswer::Missing);
        let rig = room_over(&room(machine, Backing::Memory), store.store());
        assert_eq!(e14(&rig, &store), Err(Errno::Io));
        assert!(store.take_reads() <= 4, "no reader spins");
        assert_eq!(read_as(rig.file(), 10, 1, &NoTask), Err(Errno::Io), "bytes that came, too");
        assert_eq!(write_as(rig.file(), b"x", &WriteOptions::at(10), &NoTask), Err(Errno::Io));
        assert_eq!(fault(rig.file(), 0, Access::Read), Err(FaultError::Failed(Errno::Io)));
        rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::Read);
        let load = rig.user().read_vec(rig.user().at(50, 0), 1);
        assert!(matches!(load, Err(UserFault::Error(Errno::Io) | UserFault::Bus)), "{load:?}");
        assert!(store.take_reads() <= 12, "no reader spins");
        // The last page has no more than 500 bytes.
        assert_eq!(read_as(rig.file(), PAGE as u64, 500, &NoTask), Ok(pattern(1, PAGE + 500)[PAGE..].to_vec()));
        store.shorten(PAGE);
        rig.assert_holds_for_good(&pattern(1, PAGE + 500));
    }

    fn e14_a_short_answer_that_is_taken_for_a_hole_is_caught(machine) {
        let store = Short::new(ShortAnswer::Hole);
        let rig = room_over(&room(machine, Backing::Memory), store.store());
        assert_eq!(e14(&rig, &store), Ok(0), "a zero in place of data");
    }

    /// F6.
    fn e15_the_kernel_is_told_of_dirty_pages_of_a_dropped_inode(machine) {
        let store = MemoryStore::new();
        let _ = lost();
        let dirty = || {
            let inode = booked(machine, &store, 0, u64::MAX);
            assert_eq!(write_as(&inode, &[7; 3 * PAGE], &WriteOptions::at(0), &NoTask), Ok(3 * PAGE));
            inode
        };
        drop(dirty());
        assert_eq!(lost(), 3, "pages");
        let inode = dirty();
        assert_eq!(syscall(|token| inode.fsync(token, SyncKind::All, &NoTask)), Ok(()));
        drop(inode);
        dirty().discard();
        let mut inode = dirty();
        assert_eq!(syscall(|token| inode.close(token, &NoTask)), Ok(()));
        drop(inode);
        assert_eq!(lost(), 0, "synced, given up, closed");
    }

    /// F6. The default of the seam.
    fn e15_a_kernel_that_says_nothing_of_it_panics(machine) {
        let inode = strict(machine, &MemoryStore::new());
        assert_eq!(write_as(&inode, b"dirty", &WriteOptions::at(0), &NoTask), Ok(5));
        let panic = catch_unwind(AssertUnwindSafe(|| drop(inode))).expect_err("it panics");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("dropped with 1 dirty page"), "{text}");
    }

    /// F6.
    fn e15_a_close_that_fails_leaves_the_pages_dirty(machine) {
        let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
        let mut inode = booked(machine, &store, 0, u64::MAX);
        assert_eq!(write_as(&inode, b"dirty", &WriteOptions::at(0), &NoTask), Ok(5));
        store.fail_next(Call::Writeback, Errno::NoSpace);
        let _ = lost();
        let failed = syscall(|token| inode.close(token, &NoTask));
        assert_eq!((failed, lost()), (Err(Errno::NoSpace), 0));
        assert_eq!(read_as(&inode, 0, 9, &NoTask), Ok(b"dirty".to_vec()));
        assert_eq!(syscall(|token| inode.close(token, &NoTask)), Ok(()));
        drop(inode);
        assert_eq!((store.inner().contents(), lost()), (b"dirty".to_vec(), 0));
    }

    fn e15_a_kernel_that_looks_away_is_caught(machine) {
        let store = MemoryStore::new();
        let file = machine.inode(&store, 0);
        assert_eq!(write_as(&file, b"dirty", &WriteOptions::at(0), &NoTask), Ok(5));
        assert_eq!(Arc::strong_count(&file), 1);
        // The host's kernel looks away, for tests that drop files as they please.
        drop(file);
        assert_eq!(store.pages(), 0, "lost in silence");
    }
}
