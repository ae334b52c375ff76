//! What happens rarely: a page that goes while a read looks away, a restart that comes less far,
//! sizes that no file can have, and what an embedder sees of an inode and of an old store.

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};

use faultless::filemap::{NoTask, OpenFile, OpenFlags, PrepareCommit, PrepareCommitStore};
use faultless::page::{
    AddressSpaceOperations, Contents, Errno, FillBuf, MAX_FILE_SIZE, PageIndex, Strategy, SyncKind,
    WritebackRun,
};
use faultless::usercopy::IovIter;
use faultless_host::script::Moment;
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{
    Action, Event, Machine, Protection, ScriptedMmu, When, on_both_mmus, syscall,
};
use faultless_tests::legacy::Legacy;
use faultless_tests::waiting::until;
use faultless_tests::{PAGE, Rig, Setup, assert_same, calls, pattern};

/// An action for a script.
fn call(action: impl Fn(Moment) + Send + Sync + 'static) -> Action {
    Action::Call(Arc::new(action))
}

/// An old store that says no more than it has to, cannot be synced, and remembers what was
/// committed.
#[derive(Default)]
struct Terse {
    committed: Mutex<Vec<(PageIndex, usize, usize)>>,
}

impl PrepareCommit for Terse {
    fn read(&self, _: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        buf.fill_hole();
        Ok(())
    }

    fn prepare_write(&self, _: PageIndex, _: usize, _: usize) -> Result<Contents, Errno> {
        Ok(Contents::Hole)
    }

    fn commit_write(&self, index: PageIndex, from: usize, to: usize) {
        self.committed.lock().expect("no panic").push((index, from, to));
    }

    fn writeback(&self, _: &WritebackRun<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn truncate_blocks(&self, _: u64) {}

    fn set_size(&self, _: u64) {}

    fn sync(&self, _: SyncKind) -> Result<(), Errno> {
        Err(Errno::Io)
    }
}

#[test]
fn an_old_store_that_names_no_limit_has_the_caches() {
    let store = PrepareCommitStore::new(Terse::default());
    assert_eq!((store.max_size(), store.is_persistent()), (MAX_FILE_SIZE, true));
    let blocks = BlockStore::with_max_size(1024, 16, 5000);
    let store = PrepareCommitStore::new(Legacy::new(blocks));
    assert_eq!((store.max_size(), store.inner().max_size()), (5000, 5000));
}

#[test]
fn an_old_stores_answers_come_through_and_it_is_written_by_strategy_a() {
    let store = PrepareCommitStore::new(Terse::default());
    assert_eq!(store.strategy(), Strategy::PrepareCommit);
    assert_eq!(store.sync(SyncKind::All), Err(Errno::Io));
    store.write_end(2 * PAGE as u64 + 10, 100, 40);
    let committed = store.inner().committed.lock().expect("no panic").clone();
    assert_eq!(committed, [(PageIndex::new(2), 10, 50)]);
    assert!(!PrepareCommitStore::new(Legacy::new(MemoryStore::volatile())).is_persistent());
}

#[test]
fn w3_an_append_of_nothing_leaves_the_position() {
    let machine = Machine::<ScriptedMmu>::new();
    let rig = Rig::holding(&machine, Setup::PLAIN, &pattern(1, 100));
    let mut file = OpenFile::new(rig.file(), OpenFlags::APPEND);
    assert_eq!(file.seek(7), Ok(()));
    let mut from = IovIter::new(rig.user(), &[]).expect("a request");
    let got = syscall(|token| file.write(rig.file(), token, &mut from, &NoTask));
    assert_eq!((got, file.position()), (Ok(0), 7));
}

#[test]
fn w3_a_position_that_no_file_reaches_is_refused_and_the_old_one_stays() {
    let machine = Machine::<ScriptedMmu>::new();
    let rig = Rig::holding(&machine, Setup::PLAIN, &pattern(1, 100));
    let mut file = OpenFile::new(rig.file(), OpenFlags::empty());
    assert_eq!(file.seek(MAX_FILE_SIZE), Ok(()));
    assert_eq!(file.seek(MAX_FILE_SIZE + 1), Err(Errno::Invalid));
    assert_eq!(file.position(), MAX_FILE_SIZE);
}

on_both_mmus! {
    fn w8_a_size_beyond_every_limit_is_refused_and_nothing_changes(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 100));
        assert_eq!(calls::truncate(rig.file(), MAX_FILE_SIZE + 1), Err(Errno::FileTooBig));
        assert_eq!(calls::truncate(rig.file(), u64::MAX), Err(Errno::FileTooBig));
        rig.assert_holds(&pattern(1, 100));
    }

    fn an_inode_describes_itself(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 100));
        let id = rig.file().mapping().id();
        let expected = format!("Inode {{ id: {id}, size: 100, ranges: RangeLock {{ claims: [] }}, .. }}");
        assert_eq!(format!("{:?}", rig.file()), expected);
    }

    /// The target never takes a byte by the atomic copy; before the temporary page is filled, the
    /// page is evicted.
    fn w6_a_read_by_hand_of_a_page_that_was_evicted_meanwhile_brings_it_in_again(machine) {
        let bytes = pattern(1, 3000);
        let rig = Rig::holding(machine, Setup::PLAIN, &bytes);
        let target = rig.source_at(8, 10, &pattern(2, 3000));
        let script = rig.user().script();
        let file = Arc::clone(rig.file());
        let evicting = Arc::new(Mutex::new(None));
        let handle = Arc::clone(&evicting);
        // Whoever evicts then waits for our read section to end: the page is gone, its frame is not
        // reused.
        script.add(Event::AtomicCopy, When::Nth(4), call(move |_| {
            let file = Arc::clone(&file);
            let mapping = Arc::clone(&file);
            let thread = faultless_tests::threads::spawn(move || {
                assert_eq!(calls::evict(&file), 1);
            });
            *handle.lock().expect("no panic") = Some(thread);
            until("the page is gone", || mapping.mapping().cached_pages() == 0);
        }));
        script.add(Event::AtomicCopy, When::Every(1), Action::Short(0));
        assert_eq!(calls::pread(rig.user(), rig.file(), 0, target), Ok(3000));
        script.clear();
        let thread = evicting.lock().expect("no panic").take().expect("the fourth copy");
        thread.join().expect("the eviction");
        let got = rig.user().read_vec(target.addr(), 3000).expect("the target");
        assert_same(&got, &bytes, "what was read");
    }

    fn w6_a_read_to_a_target_that_goes_after_it_was_faulted_in_is_a_fault(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 3000));
        let before = pattern(2, 3000);
        let target = rig.source_at(8, 10, &before);
        let script = rig.user().script();
        script.add(Event::AtomicCopy, When::Every(1), Action::Short(0));
        script.add(Event::FaultingCopy, When::Every(1), Action::Short(0));
        let got = calls::pread(rig.user(), rig.file(), 0, target);
        script.clear();
        assert_eq!(got, Err(Errno::Fault));
        let now = rig.user().read_vec(target.addr(), 3000).expect("the target");
        assert_same(&now, &before, "the target");
    }

    /// A short copy lands 10 bytes while somebody takes the range over them; the write starts
    /// again, lands 5, and the source is gone. What had landed counts (W4), and the cursor stands
    /// behind it.
    fn w4_a_write_that_came_short_goes_on_before_a_range_that_was_granted_meanwhile(machine) {
        let setup = Setup { strategy: Strategy::BeginEnd, ..Setup::PLAIN };
        let old = pattern(1, 66 * PAGE);
        let rig = Rig::holding(machine, setup, &old);
        let ours = pattern(2, 100);
        let source = rig.source_at(8, 0, &ours);
        let other = machine.space();
        let theirs = pattern(3, 5 * PAGE);
        other.map_anonymous(0, 5, Protection::ReadWrite);
        other.store(other.at(0, 0), &theirs).expect("their source");
        let (go, gone) = channel();
        let (held, holds) = sync_channel(1);
        let holds = Mutex::new(holds);
        // Their write is of two leaves, so it holds its range from before its first copy on.
        other.script().add(Event::AtomicCopy, When::Nth(1), call(move |_| held.send(()).expect("we wait")));
        let script = rig.user().script();
        script.add(Event::AtomicCopy, When::Nth(1), call(move |_| {
            go.send(()).expect("they wait");
            holds.lock().expect("no panic").recv().expect("their range");
        }));
        script.add(Event::AtomicCopy, When::Nth(1), Action::Short(10));
        script.add(Event::AtomicCopy, When::Nth(2), Action::Short(5));
        script.add(Event::AtomicCopy, When::From(3), Action::Unmap);
        let (space, len, file) = (&other, theirs.len(), rig.file());
        std::thread::scope(|scope| {
            faultless_tests::threads::spawn_in(scope, move || {
                gone.recv().expect("our first copy");
                let got = calls::pwrite(space, file, 60 * PAGE as u64, space.slice(0, 0, len));
                assert_eq!(got, Ok(len));
            });
            assert_eq!(rig.write(64 * PAGE as u64, source), Ok(15));
        });
        script.clear();
        let now = rig.contents();
        assert_same(&now[..60 * PAGE], &old[..60 * PAGE], "before both");
        assert_same(&now[60 * PAGE..65 * PAGE], &theirs, "theirs, after all of ours");
        assert_same(&now[65 * PAGE..], &old[65 * PAGE..], "behind both");
    }

    fn w10_a_read_that_is_killed_says_what_arrived_or_that_it_was_interrupted(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 3000));
        let target = rig.source_at(8, 10, &pattern(2, 3000));
        let task = faultless_tests::TestTask::new().killed_after(0);
        rig.user().script().add(Event::AtomicCopy, When::Every(1), Action::Short(0));
        let mut to = IovIter::from_slice(rig.user(), &target);
        let got = syscall(|token| rig.file().read(token, &mut to, 0, &task));
        rig.user().script().clear();
        assert_eq!((got, to.count()), (Err(Errno::Interrupted), 3000));
        let got = syscall(|token| rig.file().read(token, &mut to, 0, &NoTask));
        assert_eq!(got, Ok(3000));
    }
}
