//! L1, L2: every operation ends while others run without pause, and while memory is reclaimed under
//! it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faultless::filemap::{Task, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE, Strategy};
use faultless::usercopy::IovIter;
use faultless_fuzzing::{Longest, Plant, late_rivals, rivals};
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{
    Action, Event, Machine, MachineConfig, Mmu, RealMachine, ScriptedMachine, When, counting,
    syscall,
};
use faultless_tests::process::{
    File, PAGE, Process, SCRATCH_PAGES, assert_bytes, evict, fsync, pattern,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{TestTask, balanced_on_both_mmus};

/// Checks for a signal that no operation here needs.
const CHECKS: u64 = 20_000;

/// Makes the first `pages` pages of scratch memory resident: user memory is not reclaimed.
fn make_resident<M: Mmu>(process: &Process<M>, pages: usize) {
    process.space.fill(process.space.at(0, 0), 1, pages * PAGE_SIZE).expect("memory");
}

/// `pread` to scratch memory by `task`.
fn read_as<M: Mmu, T: Task>(
    process: &Process<M>,
    file: &File,
    pos: u64,
    len: usize,
    task: &T,
) -> Result<Vec<u8>, Errno> {
    let target = process.space.slice(0, 0, len);
    let mut to = IovIter::from_slice(&process.space, &target);
    let got = syscall(|token| file.read(token, &mut to, pos, task))?;
    Ok(process.space.read_vec(target.addr(), got).expect("scratch memory"))
}

/// An action of a script that cuts the file off at `size` and extends it again, on another thread,
/// unless that has to wait for a lock.
fn cut_and_extend(file: &File, size: u64) -> Action {
    let file = Arc::clone(file);
    Action::Call(Arc::new(move |_| {
        let file = &file;
        std::thread::scope(|scope| {
            let changes = || {
                let (old, task) = (file.size(), TestTask::new().killed_after(0));
                let cut = syscall(|token| file.set_size(token, size, &task));
                cut.and_then(|()| syscall(|token| file.set_size(token, old, &task)))
            };
            let changed = faultless_tests::threads::spawn_in(scope, changes)
                .join()
                .expect("the other thread");
            assert!(matches!(changed, Ok(()) | Err(Errno::Interrupted)), "{changed:?}");
        });
    }))
}

/// Reads bytes of the file, which is cut off at `size` during each copy; how many copies there
/// were.
fn read_beside_cuts<M: Mmu>(
    process: &Process<M>,
    file: &File,
    bytes: Range<u64>,
    size: u64,
) -> (Result<Vec<u8>, Errno>, u64) {
    let script = process.space.script();
    script.clear();
    script.add(Event::AtomicCopy, When::Every(1), cut_and_extend(file, size));
    let (len, task) = ((bytes.end - bytes.start) as usize, TestTask::new().killed_after(50));
    let got = read_as(process, file, bytes.start, len, &task);
    let copies = script.count(Event::AtomicCopy);
    script.clear();
    (got, copies)
}

/// A task under which another thread drops all clean pages of the file whenever it looks for a
/// signal: before each round of a read, and so between the filling of a page and its copy.
struct Thief {
    file: File,
    checks: AtomicU64,
}

impl Thief {
    fn of(file: &File) -> Self {
        Self { file: Arc::clone(file), checks: AtomicU64::new(0) }
    }
}

impl Task for Thief {
    fn fatal_signal_pending(&self) -> bool {
        std::thread::scope(|scope| {
            let _evicted = faultless_tests::threads::spawn_in(scope, || evict(&self.file))
                .join()
                .expect("the thief");
        });
        self.checks.fetch_add(1, Ordering::Relaxed) > 500
    }
}

balanced_on_both_mmus! {
    fn l1_a_read_of_more_pages_than_there_are_frames_ends_and_is_right(machine = MachineConfig::new().frames(100 + 40)) {
        let content = pattern(1, 100 * PAGE_SIZE);
        let process = Process::new(machine);
        make_resident(&process, 100);
        for above in [usize::MAX, 110, 0] {
            let file = machine.inode(&MemoryStore::with_contents(&content), 100 * PAGE);
            machine.reclaim_above(above);
            let task = TestTask::new().killed_after(CHECKS);
            let got = read_as(&process, &file, 0, 100 * PAGE_SIZE, &task);
            assert_bytes(&got.expect("a read that ends"), &content, "the file");
            machine.memory().stop_reclaiming();
        }
        assert!(machine.memory().reclaims() > 0, "memory was reclaimed");
    }

    fn l1_writes_of_more_pages_than_there_are_frames_end_and_are_right(machine = MachineConfig::new().frames(100 + 40)) {
        let content = pattern(2, 90 * PAGE_SIZE + 77);
        let process = Process::new(machine);
        process.space.store(process.space.at(0, 0), &content).expect("memory");
        for strategy in STRATEGIES {
            for above in [usize::MAX, 0] {
                let old = pattern(3, 100 * PAGE_SIZE);
                let store = MemoryStore::with_contents(&old);
                let file = machine.inode(&store, 100 * PAGE);
                machine.reclaim_above(above);
                let (mut done, mut rounds) = (0, 0);
                while done < content.len() {
                    // Dirty pages cannot be reclaimed: a write comes short, and goes on after a
                    // sync.
                    let source = process.space.slice(0, done, content.len() - done);
                    let options = WriteOptions::at(1000 + done as u64).with_strategy(strategy);
                    let task = TestTask::new().killed_after(CHECKS);
                    match process.writev_as(&file, &[source], &options, &task) {
                        Ok(landed) => done += landed,
                        Err(errno) => assert_eq!(errno, Errno::NoMemory),
                    }
                    assert_eq!(fsync(&file), Ok(()));
                    rounds += 1;
                    assert!(rounds < 50, "{strategy:?}: {done} bytes after {rounds} rounds");
                }
                machine.memory().stop_reclaiming();
                let mut want = old;
                want[1000..1000 + content.len()].copy_from_slice(&content);
                assert_bytes(&store.contents(), &want, "the store");
            }
        }
        assert!(machine.memory().reclaims() > 0, "memory was reclaimed");
    }

    /// The page that a reader waits for stays until it was copied.
    fn l1_a_read_whose_pages_are_taken_between_fill_and_copy_each_time_ends(machine) {
        let content = pattern(4, 5 * PAGE_SIZE);
        let process = Process::new(machine);
        make_resident(&process, 5);
        let file = machine.inode(&MemoryStore::with_contents(&content), 5 * PAGE);
        let (got, counted) = counting(|| read_as(&process, &file, 0, 5 * PAGE_SIZE, &Thief::of(&file)));
        assert_bytes(&got.expect("a read that ends"), &content, "the file");
        assert_eq!(counted.temporary_pages, 0);
    }

    /// Three rounds are lost to truncations; then the reader holds the inode lock, and they wait.
    fn l2_a_read_whose_bytes_are_cut_off_each_time_ends(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &pattern(7, 3000)), Ok(3000));
        let (got, copies) = read_beside_cuts(&process, &file, 200..1200, 100);
        assert_eq!(got, Ok(vec![0; 1000]));
        assert_eq!(copies, 4, "one while no truncation runs");
    }

    fn l2_a_read_goes_on_though_the_file_is_cut_off_behind_its_bytes(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let content = pattern(8, 3000);
        assert_eq!(process.write(&file, 0, &content), Ok(3000));
        let (got, copies) = read_beside_cuts(&process, &file, 200..1200, 1200);
        assert_bytes(&got.expect("a read"), &content[200..1200], "what was read");
        assert_eq!(copies, 1);
    }

    fn l1_a_write_whose_pages_are_taken_all_the_time_ends(machine) {
        for strategy in STRATEGIES {
            let (old, new) = (pattern(5, 5 * PAGE_SIZE), pattern(6, 3 * PAGE_SIZE));
            let process = Process::new(machine);
            process.space.store(process.space.at(0, 0), &new).expect("memory");
            let file = machine.inode(&MemoryStore::with_contents(&old), 5 * PAGE);
            let options = WriteOptions::at(300).with_strategy(strategy);
            let source = process.space.slice(0, 0, new.len());
            let landed = process.writev_as(&file, &[source], &options, &Thief::of(&file));
            assert_eq!(landed, Ok(new.len()), "{strategy:?}");
            let mut want = old;
            want[300..300 + new.len()].copy_from_slice(&new);
            assert_bytes(&process.contents(&file), &want, "the file");
        }
    }

    /// Operations at random, with all clean pages of two files dropped before each allocation.
    fn w2_w5_files_are_right_while_each_allocation_reclaims(machine) {
        let process = Process::new(machine);
        make_resident(&process, SCRATCH_PAGES);
        let seed = seed();
        for strategy in STRATEGIES {
            let mut rng = Rng::new(seed);
            let files = [0, 1].map(|_| machine.inode(&BlockStore::new(1024, 400), 0));
            let mut models = [Vec::new(), Vec::new()];
            machine.reclaim_above(0);
            for round in 0..150 {
                let which = rng.below(2) as usize;
                let (file, model) = (&files[which], &mut models[which]);
                let (pos, len) = (rng.below(40_000), 1 + rng.below(30_000) as usize);
                match rng.below(6) {
                    0 => {
                        assert_eq!(faultless_tests::process::set_size(file, pos), Ok(()));
                        model.resize(pos as usize, 0);
                    }
                    1 => assert_eq!(fsync(file), Ok(())),
                    2 | 3 => {
                        let bytes = pattern(round, len);
                        let options = WriteOptions::at(pos).with_strategy(strategy);
                        assert_eq!(process.write_with(file, &bytes, &options), Ok(len));
                        let end = pos as usize + len;
                        model.resize(model.len().max(end), 0);
                        model[pos as usize..end].copy_from_slice(&bytes);
                    }
                    _ => {
                        let got = process.read(file, pos, len).expect("a read");
                        let start = model.len().min(pos as usize);
                        let end = model.len().min(pos as usize + len);
                        assert_bytes(&got, &model[start..end], "a read");
                    }
                }
            }
            machine.memory().stop_reclaiming();
            for (file, model) in files.iter().zip(&models) {
                assert_bytes(&process.contents(file), model, "the file at the end");
            }
        }
        assert!(machine.memory().reclaims() > 0, "memory was reclaimed");
    }
}

/// Each operation against two threads that repeat another, and get far while it gets nowhere.
fn every_operation_ends(strategy: Strategy) {
    none_is_starved(strategy, rivals(strategy, Plant::None));
    none_is_starved(strategy, late_rivals(strategy));
}

#[track_caller]
fn none_is_starved(strategy: Strategy, (longest, found): (Longest, Vec<String>)) {
    println!("{strategy:?}: {longest:?}");
    assert!(found.is_empty(), "{} are starved: {found:#?}", found.len());
    assert!(longest.runs > 300, "{longest:?}");
}

#[test]
fn l1_every_operation_ends_against_any_that_is_repeated_by_strategy_a() {
    every_operation_ends(Strategy::PrepareCommit);
}

#[test]
fn l1_every_operation_ends_against_any_that_is_repeated_by_strategy_b() {
    every_operation_ends(Strategy::BeginEnd);
}

/// What waits for a wake that never comes is overtaken without end, or all wait.
#[test]
fn l1_a_waiter_whose_wake_is_lost_is_found() {
    let (longest, found) = rivals(Strategy::BeginEnd, Plant::ConcurrencyLostWake);
    println!("{longest:?}: {found:#?}");
    let shown = |what: &String| what.contains("L1: ") || what.contains("deadlock");
    assert!(found.iter().any(shown), "{found:#?}");
}

/// A writer of whole leaves, a syncer and a truncation beside writers of single pages, which never
/// pause. The lock checker counts how often each waiter is overtaken.
fn whole_leaves_beside_single_pages<M: Mmu>(machine: &Machine<M>) {
    let file = machine.inode(&MemoryStore::new(), 0);
    let filler = Process::new(machine);
    assert_eq!(filler.write(&file, 0, &pattern(1, 65 * PAGE_SIZE)), Ok(65 * PAGE_SIZE));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for nth in 0..4 {
            let (file, over) = (&file, &over);
            faultless_tests::threads::spawn_in(scope, move || {
                let process = Process::new(machine);
                let mut page = nth;
                while !over.load(Ordering::Relaxed) {
                    page = (page + 7) % 64;
                    let written = process.write(file, page * PAGE + 5, b"a few bytes");
                    assert!(written.is_ok() || over.load(Ordering::Relaxed), "{written:?}");
                }
            });
        }
        // Also when an assertion fails: the others have to end.
        let _end = EndOnDrop(&over);
        for round in 0..20 {
            assert_eq!(filler.write(&file, 0, &pattern(round, 64 * PAGE_SIZE)), Ok(64 * PAGE_SIZE));
            assert_eq!(fsync(&file), Ok(()));
            let size = 65 * PAGE - u64::from(round) * 10;
            assert_eq!(faultless_tests::process::set_size(&file, size), Ok(()));
        }
    });
    assert!(machine.check().take_reports().is_empty(), "the lock checker has a report");
}

/// Tells threads that it is over.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn l1_no_waiter_among_small_writers_is_overtaken_too_often_real() {
    whole_leaves_beside_single_pages(&RealMachine::new());
}

#[test]
fn l1_no_waiter_among_small_writers_is_overtaken_too_often_scripted() {
    whole_leaves_beside_single_pages(&ScriptedMachine::new());
}
