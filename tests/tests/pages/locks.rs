//! P3 and P4, as the lock checker sees them; P5, the balance of everything that is taken; and
//! planted violations, because a checker that finds nothing may be a checker that looks at nothing.

use std::sync::Arc;

use faultless::filemap::{NoTask, PageLocks, Strategy, SyncKind, Task, WriteOptions};
use faultless::page::{Errno, LockContext, PAGE_SIZE, PageIndex, PageRun};
use faultless::usercopy::{UserMemory, UserSlice};
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{
    Action, Event, Kind, Machine, MachineConfig, Mmu, Protection, When, counting, lockcheck,
    syscall,
};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{FREE, PAGE, Process, evict, fsync, make_cold, pattern, set_size};
use faultless_tests::strict::StrictStore;

/// A task that looks, wherever it may sleep, whether a page lock is held.
#[derive(Default)]
struct Watchful {
    throttled: std::cell::Cell<u32>,
}

impl Task for Watchful {
    fn throttle(&self) {
        assert!(!lockcheck::holds_pages(), "throttled under a page lock");
        self.throttled.set(self.throttled.get() + 1);
    }

    fn fatal_signal_pending(&self) -> bool {
        assert!(!lockcheck::holds_pages(), "signals are looked at under a page lock");
        false
    }
}

fn everything_once<M: Mmu>(machine: &Machine<M>, strategy: Strategy) {
    let store = StrictStore::new(1024, strategy);
    let (process, file) = (Process::new(machine), machine.inode(&store, 0));
    assert_eq!(process.write(&file, 3000, &pattern(1, 9 * PAGE_SIZE)), Ok(9 * PAGE_SIZE));
    make_cold(&file);
    let addr = process.map(FREE, 11, &file, 0, Protection::ReadWrite);
    let source = UserSlice::new(&process.space, addr.wrapping_add(50), 5 * PAGE_SIZE).unwrap();
    assert_eq!(process.write_from(&file, source, &WriteOptions::at(7)), Ok(5 * PAGE_SIZE));
    assert_eq!(process.write_from(&file, source, &WriteOptions::append()), Ok(5 * PAGE_SIZE));
    process.space.store(addr.wrapping_add(PAGE_SIZE), b"store").unwrap();
    assert_eq!(process.read(&file, 0, 10), Ok(process.space.read_vec(addr, 10).unwrap()));
    let _ = process.space.populate(FREE, 11);
    syscall(|token| file.msync(token, 0..PAGE, faultless::filemap::MsyncKind::Sync, &NoTask))
        .unwrap();
    set_size(&file, 5000).unwrap();
    set_size(&file, 50_000).unwrap();
    fsync(&file).unwrap();
    evict(&file);
    store.assert_balanced();
}

balanced_on_both_mmus! {
    /// The checker watches every operation there is: it would panic.
    fn p3_p4_no_operation_sleeps_faults_or_allocates_under_a_page_lock(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let ((), counted) = counting(|| everything_once(machine, strategy));
            assert!(counted.faults > 0 && counted.page_locks > 0 && counted.allocations > 0);
            assert_eq!(counted.faults_under_page_lock, 0);
        }
    }

    fn p3_throttling_and_signals_see_no_page_lock(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            process.space.fill(process.space.at(0, 0), 1, 80 * PAGE_SIZE).unwrap();
            process.space.evict(0, 80);
            let task = Watchful::default();
            let segments = [process.space.slice(0, 5, 80 * PAGE_SIZE - 5)];
            let options = WriteOptions::at(100).with_strategy(strategy);
            let landed = process.writev_as(&file, &segments, &options, &task);
            assert_eq!(landed, Ok(80 * PAGE_SIZE - 5));
            assert!(task.throttled.get() > 0, "{strategy:?}: never throttled");
        }
    }

    /// A fault handler that is entered finds the thread without a page lock, in every kind of
    /// access.
    fn p3_the_fault_handler_finds_no_page_lock(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &pattern(1, 4 * PAGE_SIZE)), Ok(4 * PAGE_SIZE));
        process.map(FREE, 4, &file, 0, Protection::ReadWrite);
        let look = Action::Call(Arc::new(|_| assert!(!lockcheck::holds_pages())));
        process.space.script().add(Event::Fault, When::From(1), look);
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            process.space.evict(FREE, 4);
            let source = process.space.slice(FREE, 9, 3 * PAGE_SIZE);
            let options = WriteOptions::at(70).with_strategy(strategy);
            assert_eq!(process.write_from(&file, source, &options), Ok(3 * PAGE_SIZE));
            process.space.evict(FREE, 4);
            assert_eq!(process.read_to(&file, 0, source), Ok(3 * PAGE_SIZE));
        }
        assert!(process.space.script().count(Event::Fault) > 0);
        process.space.script().clear();
    }

    fn p3_a_fault_under_a_page_lock_is_found_when_it_is_planted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &pattern(1, PAGE_SIZE)), Ok(PAGE_SIZE));
        let expecting = machine.check().expect();
        syscall(|token| {
            let run = PageRun::single(PageIndex::ZERO);
            let locked = file.mapping().lock(planted_context(), run).expect("a page");
            let slice = process.space.slice(0, 0, 1);
            assert_eq!(process.space.fault_in_readable(token, slice), 0);
            drop(locked);
        });
        let _ = expecting.one(Kind::FaultUnderLock);
        machine.check().clear();
    }

    fn p3_an_allocation_under_a_page_lock_is_found_when_it_is_planted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, b"x"), Ok(1));
        let expecting = machine.check().expect();
        syscall(|token| {
            let run = PageRun::single(PageIndex::ZERO);
            let locked = file.mapping().lock(token.page_locks(), run).expect("a page");
            drop(file.mapping().cache().allocate(1).expect("memory"));
            drop(locked);
        });
        let _ = expecting.one(Kind::SleepUnderPageLock);
        machine.check().clear();
    }

    fn p3_a_call_that_returns_with_a_page_lock_is_found_when_it_is_planted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, b"x"), Ok(1));
        let expecting = machine.check().expect();
        let run = PageRun::single(PageIndex::ZERO);
        let locked = syscall(|_| file.mapping().lock(planted_context(), run).expect("a page"));
        drop(locked);
        let _ = expecting.one(Kind::Leaked);
        machine.check().clear();
    }

    fn p4_page_locks_of_one_file_out_of_order_are_found_when_planted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &pattern(1, 66 * PAGE_SIZE)), Ok(66 * PAGE_SIZE));
        let single = |index| PageRun::single(PageIndex::new(index));
        // Ascending is fine, from leaf to leaf.
        drop((
            file.mapping().lock(planted_context(), single(0)),
            file.mapping().lock(planted_context(), single(64)),
        ));
        // Descending is not, nor are two runs of one leaf: a request for both would stand between
        // them.
        for [one, two] in [[64, 0], [1, 0], [0, 1]] {
            let expecting = machine.check().expect();
            let held = file.mapping().lock(planted_context(), single(one));
            drop((file.mapping().lock(planted_context(), single(two)), held));
            let _ = expecting.one(Kind::Order);
            machine.check().clear();
        }
    }

    fn p4_page_locks_of_two_files_are_found_when_planted(machine) {
        let process = Process::new(machine);
        let files = [0, 1].map(|_| machine.inode(&MemoryStore::new(), 0));
        for file in &files {
            assert_eq!(process.write(file, 0, b"x"), Ok(1));
        }
        let expecting = machine.check().expect();
        let run = PageRun::single(PageIndex::ZERO);
        let one = files[0].mapping().lock(planted_context(), run);
        let two = files[1].mapping().lock(planted_context(), run);
        drop((two, one));
        let _ = expecting.one(Kind::Order);
        machine.check().clear();
    }

    /// Every way in which a write can fail, with the store watching that each begin has its end.
    fn p5_begin_and_end_balance_on_every_failure(machine = MachineConfig::new().frames(300)) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            for block in [512, 4096] {
                let store = StrictStore::with_contents(block, strategy, &pattern(1, 2 * PAGE_SIZE));
                let (process, file) = (Process::new(machine), machine.inode(&store, 2 * PAGE));
                process.space.unmap(9, 1);
                let to_the_hole = process.space.slice(5, 100, 5 * PAGE_SIZE);
                let hole = process.space.slice(9, 0, 10);
                let options = WriteOptions::at(5).with_strategy(strategy);
                assert_eq!(process.write_from(&file, hole, &options), Err(Errno::Fault));
                let landed = 4 * PAGE_SIZE - 100;
                assert_eq!(process.write_from(&file, to_the_hole, &options), Ok(landed));
                store.fail(|failures| failures.read.extend([0, 1, 2, 3]));
                evict(&file);
                let _ = process.write_from(&file, to_the_hole, &options);
                store.fail(|failures| failures.begin.extend([(6, Errno::Io)]));
                let far = WriteOptions::at(5 * PAGE + 90).with_strategy(strategy);
                let _ = process.write_from(&file, to_the_hole, &far);
                store.fail(|failures| failures.capacity = Some(1));
                let end = WriteOptions::append().with_strategy(strategy);
                let _ = process.write_from(&file, process.space.slice(0, 0, 20_000), &end);
                store.fail(|failures| *failures = Default::default());
                store.assert_balanced();
                fsync(&file).unwrap();
                assert_eq!(store.stray(file.size()), None, "blocks past the end (W9)");
            }
        }
    }

    /// A frame belongs to the file and to each page table that shows it, and to nobody else.
    fn p5_counts_of_frames_follow_mappings(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, b"x"), Ok(1));
        let frame = || {
            syscall(|token| {
                let run = PageRun::single(PageIndex::ZERO);
                file.mapping().lock(token.page_locks(), run).expect("a page").frame(PageIndex::ZERO)
            })
            .expect("a frame")
        };
        let frame = frame();
        let count = || machine.memory().count(frame);
        assert_eq!(count(), 1);
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        let second = process.map(FREE + 1, 1, &file, 0, Protection::Read);
        assert_eq!((process.byte(addr), process.byte(second)), (Ok(b'x'), Ok(b'x')));
        assert_eq!(count(), 3);
        process.space.unmap(FREE, 1);
        assert_eq!(count(), 2);
        let _ = process.read(&file, 0, 1).unwrap();
        assert_eq!(process.write(&file, 0, b"y"), Ok(1));
        fsync(&file).unwrap();
        assert_eq!(count(), 2);
        assert_eq!(evict(&file), 1);
        assert_eq!(count(), 0);
    }

    fn p5_dropping_a_file_with_dirty_and_mapped_pages_gives_everything_back(machine) {
        let before = machine.memory().in_use();
        {
            let (process, file) = (Process::new(machine), machine.inode(&BlockStore::new(512, 9999), 0));
            assert_eq!(process.write(&file, 0, &pattern(1, 100 * PAGE_SIZE)), Ok(100 * PAGE_SIZE));
            let addr = process.map(FREE, 100, &file, 0, Protection::ReadWrite);
            process.space.fill(addr, 9, 100 * PAGE_SIZE).unwrap();
            drop(file);
            process.space.unmap(FREE, 100);
            syscall(|_| ());
        }
        // Nodes stay in their pools until the cache goes.
        let nodes = machine.cache().metadata_bytes().div_ceil(PAGE_SIZE);
        assert!(machine.memory().in_use() <= before + nodes);
    }

    fn p5_syncs_leave_nothing_locked_after_errors(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(1, 70 * PAGE_SIZE)), Ok(70 * PAGE_SIZE));
        store.fail(|failures| failures.writeback.extend([0, 65]));
        assert_eq!(syscall(|token| file.fsync(token, SyncKind::Data, &NoTask)), Err(Errno::Io));
        store.fail(|failures| failures.writeback.clear());
        // Would wait for ever for a page that is still locked or under writeback.
        set_size(&file, 1).unwrap();
        fsync(&file).unwrap();
        assert_eq!(evict(&file), 1);
    }
}

/// A second permission to lock pages, which safe code cannot have.
fn planted_context() -> LockContext<'static> {
    // SAFETY: not discharged: the promise is broken on purpose. It can deadlock but corrupt
    // nothing, and it does not deadlock because nobody else is there.
    unsafe { LockContext::new() }
}
