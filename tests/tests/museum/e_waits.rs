//! E6, E7, E8, E12: operations that wait, and that end.

use std::sync::Arc;
use std::time::Duration;

use faultless::filemap::{Access, FaultError, InFault, MsyncKind, NoTask, SyncKind, WriteOptions};
use faultless::page::{Errno, PageIndex, PageRun};
use faultless::usercopy::IovIter;
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, Machine, MachineConfig, Mmu, Watchdog, When, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::waiting::until;
use faultless_tests::{
    Backing, File, PAGE, Rig, TestTask, assert_same, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Answer, Failure, room};
use crate::planted::{lock_all_at_once, read_again};
use crate::threads::{
    Hooked, Relay, Sleeper, WORKER, Worker, context, elsewhere, read_as, room_over, spawn, write_as,
};

/// Tries after which a wait counts as endless. No exhibit needs a tenth of them.
const STEPS: u64 = 100;

/// Which way of waiting an exhibit is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Faultless,
    Planted,
}

/// Runs `work` on a file of 64 pages, against two readers of pages 3 and 4 of which at each moment
/// one has its page locked. How `work` ended, and how often it was overtaken while it waited.
fn against_a_relay<M: Mmu>(
    machine: &Machine<M>,
    work: impl Fn(&File, &Worker<'_>) -> Result<(), Failure> + Sync,
) -> (Result<(), Failure>, Option<u64>) {
    let (store, like) = (Hooked::new(), room(machine, Backing::Memory));
    let rig = room_over(&like, store.store());
    rig.fill(&pattern(1, 64 * PAGE));
    let slow = 3 * PAGE as u64..5 * PAGE as u64;
    assert_eq!(syscall(|token| rig.file().evict(token, slow)), 2);
    // From here on the pages are in the cache, and not uptodate.
    store.hook(Some(Arc::new(|call, _| if call == Call::Read { Err(Errno::Io) } else { Ok(()) })));
    for page in [3, 4] {
        assert_eq!(read_as(rig.file(), page * PAGE as u64, 1, &NoTask), Err(Errno::Io));
    }
    let relay = Relay::new(machine.check());
    let turns = Arc::clone(&relay);
    store.hook(Some(Arc::new(move |call, index| match (call, index.get()) {
        (Call::Read, page @ 3..=4) => {
            turns.turn(page as usize - 3);
            Err(Errno::Io)
        }
        _ => Ok(()),
    })));
    let (relay, file): (&Relay, &File) = (&relay, rig.file());
    let ended = std::thread::scope(|scope| {
        spawn(scope, "reader 0", move || relay.read(0, file, 3 * PAGE as u64));
        spawn(scope, "reader 1", move || relay.read(1, file, 4 * PAGE as u64));
        until("both readers have come", || relay.turns() >= 2);
        let worker = spawn(scope, WORKER, || work(file, &Worker(relay)));
        let ended = worker.join();
        relay.end();
        ended.expect("the worker")
    });
    store.hook(None);
    (ended, relay.overtakings())
}

/// How often `work` is overtaken while it waits, in a run in which it does: a lock that comes free
/// at once is not waited for.
fn overtakings<M: Mmu>(
    machine: &Machine<M>,
    work: impl Fn(&File, &Worker<'_>) -> Result<(), Failure> + Sync,
) -> u64 {
    let runs = (0..STEPS).find_map(|_| {
        let (ended, overtakings) = against_a_relay(machine, &work);
        assert_eq!(ended, Ok(()));
        overtakings
    });
    runs.expect("a run in which it waits")
}

/// What the planted ways have in common: the 64 pages when all are free at once, or never.
fn all_at_once(file: &File, task: &Worker<'_>) -> Result<(), Failure> {
    let run = PageRun::leaf(PageIndex::ZERO);
    let next = || {
        let before = task.0.turns();
        until("the relay goes on", || task.0.turns() > before);
    };
    lock_all_at_once(file, context, run, STEPS, next).map(drop)
}

/// 620a324b744a, from its other side: while a page at the start is copied, the file is cut at its
/// end. What the reader got, and how many copies that took.
fn e07<M: Mmu>(rig: &Rig<'_, M>, core: Core) -> (Answer, u64) {
    rig.fill(&pattern(1, 4 * PAGE));
    let target = rig.source_at(8, 0, &[0; PAGE]);
    let file = Arc::clone(rig.file());
    let cut = move |_| elsewhere(|| calls::truncate(&file, file.size() - 1)).expect("a truncation");
    let script = rig.user().script();
    script.clear();
    script.add(Event::AtomicCopy, When::Every(1), Action::Call(Arc::new(cut)));
    let segments = [target];
    let mut to = IovIter::new(rig.user(), &segments).expect("a request");
    let answer = syscall(|token| match core {
        Core::Faultless => rig
            .file()
            .read(token, &mut to, 0, &TestTask::new().killed_after(STEPS))
            .map_err(Failure::from),
        Core::Planted => read_again(rig.file(), token, &mut to, 0, STEPS),
    });
    let copies = script.count(Event::AtomicCopy);
    script.clear();
    (answer, copies)
}

/// A file of two leaves and a page over a store that may stop answering.
struct Stuck<'m, M: Mmu> {
    rig: Rig<'m, M>,
    store: Arc<FaultyStore<MemoryStore>>,
    holds: Vec<u8>,
}

/// The size of that file.
const SIZE: usize = 129 * PAGE;

impl<'m, M: Mmu> Stuck<'m, M> {
    fn new(machine: &'m Machine<M>) -> Self {
        // A watchdog of its own: a store may be slow where a wait for a lock may not.
        let watchdog = Watchdog::new(Watchdog::default_limit(), Arc::clone(machine.check()));
        let store = FaultyStore::new(MemoryStore::new(), &watchdog);
        let rig = room_over(&room(machine, Backing::Memory), &store);
        let holds = pattern(1, SIZE);
        rig.fill(&holds);
        Self { rig, store, holds }
    }

    fn file(&self) -> &File {
        self.rig.file()
    }

    /// `hold` is in a call of the store that does not end. `wait` waits for something that `hold`
    /// has, and its task is killed. What `wait` says, or how it panicked; the store answers only
    /// when it is over.
    fn killed<R: Send>(
        &self,
        call: Call,
        hold: impl FnOnce() + Send,
        wait: impl FnOnce(&Sleeper) -> R + Send,
    ) -> std::thread::Result<R> {
        let machine = self.rig.machine();
        let task = Sleeper::new(machine.check());
        self.store.defer_next(call);
        std::thread::scope(|scope| {
            let holder = spawn(scope, "holder", hold);
            until("the store is asked", || self.store.waiting() == 1);
            let waiter = spawn(scope, "waiter", || wait(&task));
            until("the waiter sleeps, or has given up", || {
                task.has_slept() || waiter.is_finished()
            });
            task.kill(machine.cache().wait());
            let said = waiter.join();
            self.store.release(call);
            holder.join().expect("the holder");
            said
        })
    }

    /// The same, where `wait` has to end.
    #[track_caller]
    fn ends<R: Send + PartialEq + std::fmt::Debug>(
        &self,
        call: Call,
        hold: impl FnOnce() + Send,
        wait: impl FnOnce(&Sleeper) -> R + Send,
        right: R,
    ) {
        let said = self.killed(call, hold, wait);
        assert_eq!(said.ok(), Some(right), "a killed waiter ends");
    }

    /// Nothing was lost: the file is what it was, with `bytes` at `pos`.
    #[track_caller]
    fn holds_with(&mut self, pos: usize, bytes: &[u8]) {
        overlay(&mut self.holds, pos, bytes);
        self.rig.assert_holds_for_good(&self.holds);
        assert_same(&self.store.inner().contents(), &self.holds, "the store");
    }

    fn flush(&self) {
        assert_eq!(syscall(|token| self.file().writeback(token, 0..u64::MAX, &NoTask)), Ok(()));
    }

    fn overwrite(&self, pos: usize, bytes: &[u8]) {
        assert_eq!(
            write_as(self.file(), bytes, &WriteOptions::at(pos as u64), &NoTask),
            Ok(bytes.len())
        );
    }

    fn cool(&self, page: u64) {
        let range = page * PAGE as u64..(page + 1) * PAGE as u64;
        assert_eq!(syscall(|token| self.file().evict(token, range)), 1);
    }

    fn load(&self, page: u64) {
        assert_eq!(
            read_as(self.file(), page * PAGE as u64, 1, &NoTask).map(|got| got.len()),
            Ok(1)
        );
    }
}

const EINTR: Result<usize, Errno> = Err(Errno::Interrupted);

fn cut(file: &File, size: usize, task: &Sleeper) -> Result<(), Errno> {
    syscall(|token| file.set_size(token, size as u64, task))
}

fn fault(file: &File, page: u64, task: &Sleeper) -> Result<(), FaultError> {
    // SAFETY: no page lock is held, and this thread has no other token.
    let mut in_fault = unsafe { InFault::enter() };
    file.fault(&mut in_fault, PageIndex::new(page), Access::Write, task, |_| ())
}

balanced_on_both_mmus! {
    /// L1.
    fn e06_a_truncation_ends_against_lockers_in_turns(machine) {
        let overtaken = overtakings(machine, |file, task| {
            Ok(syscall(|token| file.set_size(token, PAGE as u64, task))?)
        });
        assert!(overtaken <= 2, "each of the two readers once, and not {overtaken} times");
    }

    fn e06_a_truncation_that_wants_all_pages_at_once_is_caught(machine) {
        assert_eq!(against_a_relay(machine, all_at_once).0, Err(Failure::Livelock));
    }

    /// L2.
    fn e07_a_reader_of_the_start_does_not_care_about_cuts_at_the_end(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(e07(&rig, Core::Faultless), (Ok(PAGE), 1), "read once");
    }

    fn e07_a_reader_that_starts_again_for_each_cut_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(e07(&rig, Core::Planted), (Err(Failure::Livelock), STEPS));
    }

    /// L1. A write of a leaf locks its pages twice: to look, and to prepare those that are not
    /// uptodate.
    fn e08_a_write_of_a_leaf_ends_against_slow_readers_of_single_pages(machine) {
        let new = pattern(2, 64 * PAGE);
        let overtaken = overtakings(machine, |file, task| {
            assert_eq!(write_as(file, &new, &WriteOptions::at(0), task)?, new.len());
            Ok(())
        });
        assert!(overtaken <= 4, "each of the two readers once for each lock, and not {overtaken} times");
    }

    fn e08_a_write_that_wants_all_pages_at_once_is_caught(machine) {
        assert_eq!(against_a_relay(machine, all_at_once).0, Err(Failure::Livelock));
    }

    /// L3.
    fn e12_a_killed_task_waits_no_longer_for_a_page(machine) {
        let mut stuck = Stuck::new(machine);
        let this = &stuck;
        this.cool(1);
        let pos = PAGE as u64 + 5;
        this.ends(Call::Read, || this.load(1), |task| {
            write_as(this.file(), b"lost", &WriteOptions::at(pos), task)
        }, EINTR);
        this.cool(1);
        this.ends(Call::Read, || this.load(1), |task| read_as(this.file(), pos, 9, task), Err(Errno::Interrupted));
        this.cool(1);
        let interrupted = Err(FaultError::Failed(Errno::Interrupted));
        this.ends(Call::Read, || this.load(1), |task| fault(this.file(), 1, task), interrupted);
        // What lands before the page that is waited for counts.
        this.cool(64);
        let two_leaves = pattern(3, 65 * PAGE);
        this.ends(Call::Read, || this.load(64), |task| {
            write_as(this.file(), &two_leaves, &WriteOptions::at(0), task)
        }, Ok(64 * PAGE));
        stuck.holds_with(0, &two_leaves[..64 * PAGE]);
    }

    /// L3. A truncation that has happened is not undone, and is completed later.
    fn e12_a_killed_truncation_that_waits_for_a_page_has_happened(machine) {
        let mut stuck = Stuck::new(machine);
        let this = &stuck;
        this.cool(70);
        let size = 65 * PAGE + 9;
        // Whether the reader's byte is still there when it has been read is open.
        let hold = || drop(read_as(this.file(), 70 * PAGE as u64, 1, &NoTask));
        this.ends(Call::Read, hold, |task| cut(this.file(), size, task), Ok(()));
        assert_eq!(this.file().size(), size as u64);
        assert_eq!(calls::truncate(this.file(), SIZE as u64), Ok(()));
        stuck.holds.truncate(size);
        stuck.holds.resize(SIZE, 0);
        stuck.holds_with(0, &[]);
    }

    /// L3.
    fn e12_a_killed_task_waits_no_longer_for_the_inode_lock(machine) {
        let mut stuck = Stuck::new(machine);
        let this = &stuck;
        let tail = pattern(4, 10);
        // The growing write has I, and waits for the store to make room.
        let grow = || this.overwrite(SIZE, &tail);
        this.ends(Call::WriteBegin, grow, |task| {
            write_as(this.file(), b"lost", &WriteOptions::append(), task)
        }, EINTR);
        let grow = || this.overwrite(SIZE + PAGE, &tail);
        this.ends(Call::WriteBegin, grow, |task| cut(this.file(), 0, task), Err(Errno::Interrupted));
        overlay(&mut stuck.holds, SIZE, &tail);
        stuck.holds_with(SIZE + PAGE, &tail);
    }

    /// L3.
    fn e12_a_killed_task_waits_no_longer_for_a_range(machine) {
        let mut stuck = Stuck::new(machine);
        let new = pattern(5, 65 * PAGE);
        for truncates in [false, true] {
            let this = &stuck;
            this.cool(64);
            // Its first leaf has landed; it waits for the second one with its range held.
            let hold = || this.overwrite(0, &new[..65 * PAGE - 1]);
            if truncates {
                this.ends(Call::Read, hold, |task| cut(this.file(), 0, task), Err(Errno::Interrupted));
            } else {
                this.ends(Call::Read, hold, |task| {
                    write_as(this.file(), b"lost", &WriteOptions::at(7), task)
                }, EINTR);
            }
            stuck.holds_with(0, &new[..65 * PAGE - 1]);
        }
    }

    /// L3, fsync included.
    fn e12_a_killed_sync_waits_no_longer_for_a_writeback(machine) {
        let mut stuck = Stuck::new(machine);
        let this = &stuck;
        let interrupted = Err(Errno::Interrupted);
        this.overwrite(0, b"one");
        this.ends(Call::Writeback, || this.flush(), |task| {
            syscall(|token| this.file().fsync(token, SyncKind::All, task))
        }, interrupted);
        this.overwrite(0, b"two");
        this.ends(Call::Writeback, || this.flush(), |task| {
            syscall(|token| this.file().msync(token, 0..9, MsyncKind::Sync, task))
        }, interrupted);
        this.overwrite(0, b"six");
        this.ends(Call::Writeback, || this.flush(), |task| {
            write_as(this.file(), b"+", &WriteOptions::at(3).with_sync(SyncKind::Data), task)
        }, EINTR);
        stuck.holds_with(0, b"six+");
        let this = &stuck;
        this.overwrite(SIZE - 9, b"gone");
        this.ends(Call::Writeback, || this.flush(), |task| cut(this.file(), SIZE - PAGE, task), Ok(()));
        assert_eq!(calls::truncate(this.file(), SIZE as u64), Ok(()));
        stuck.holds_with(SIZE - PAGE, &[0; PAGE]);
    }

    /// L2, L3.
    fn e12_a_killed_reader_of_many_cached_pages_stops_early(machine) {
        let stuck = Stuck::new(machine);
        let whole = read_as(stuck.file(), 0, SIZE, &NoTask).map(|got| got.len());
        let part = read_as(stuck.file(), 0, SIZE, &TestTask::new().killed_after(1));
        let none = read_as(stuck.file(), 0, SIZE, &TestTask::new().killed_after(0));
        assert_eq!((whole, none), (Ok(SIZE), Err(Errno::Interrupted)));
        assert_same(&part.expect("what was read"), &stuck.holds[..64 * PAGE], "one leaf");
    }

    fn e12_a_wait_that_does_not_ask_for_a_signal_is_caught(machine = MachineConfig::new().watchdog(Duration::from_millis(300))) {
        let stuck = Stuck::new(machine);
        let this = &stuck;
        let fires = |said: std::thread::Result<()>| {
            let panic = said.expect_err("it does not end");
            panic.downcast_ref::<String>().is_some_and(|text| text.contains("watchdog"))
        };
        this.cool(1);
        let said = this.killed(Call::Read, || this.load(1), |_| {
            drop(this.file().mapping().lock(context(), PageRun::single(PageIndex::new(1))));
        });
        assert!(fires(said), "a page lock");
        this.overwrite(0, b"one");
        let said = this.killed(Call::Writeback, || this.flush(), |_| {
            this.file().mapping().wait_writeback(PageRun::single(PageIndex::ZERO));
        });
        assert!(fires(said), "a writeback");
    }
}
