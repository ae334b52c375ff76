//! E1 to E4: what a sync promises.

use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::{MsyncKind, NoTask, OpenFile, OpenFlags, SyncKind, WriteOptions};
use faultless::page::{Errno, PageIndex};
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, Machine, Mmu, When, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::setup::STRATEGIES;
use faultless_tests::waiting::until;
use faultless_tests::{
    Backing, File, PAGE, TestTask, assert_same, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Failure, room};
use crate::planted::OldSync;
use crate::threads::{Hooked, Sleeper, elsewhere, read_as, room_over, spawn, write_as};

/// Steps after which a sync counts as endless. No exhibit needs a tenth of them.
const STEPS: u64 = 200;

/// Which sync an exhibit is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Faultless,
    Planted,
}

/// How bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Fsync,
    Msync,
    /// A write of a byte with `O_DSYNC`.
    WriteThrough,
}

impl Core {
    fn fsync(self, file: &File) -> Result<(), Failure> {
        match self {
            Self::Faultless => Ok(calls::fsync(file)?),
            Self::Planted => syscall(|token| OldSync::new(file, STEPS).fsync(token, &NoTask)),
        }
    }

    fn sync(self, how: How, file: &File, task: &Sleeper) -> Result<(), Failure> {
        match (self, how) {
            (Self::Planted, _) => syscall(|token| OldSync::new(file, STEPS).fsync(token, task)),
            (_, How::Fsync) => Ok(syscall(|token| file.fsync(token, SyncKind::All, task))?),
            (_, How::Msync) => {
                Ok(syscall(|token| file.msync(token, 0..u64::MAX, MsyncKind::Sync, task))?)
            }
            (_, How::WriteThrough) => {
                let options = WriteOptions::at(50).with_sync(SyncKind::Data);
                Ok(write_as(file, &[9], &options, task).map(drop)?)
            }
        }
    }
}

const EIO: Result<(), Failure> = Err(Failure::Errno(Errno::Io));

fn faulty<M: Mmu>(machine: &Machine<M>) -> Arc<FaultyStore<MemoryStore>> {
    FaultyStore::new(MemoryStore::new(), machine.watchdog())
}

/// The review of DragonOS PR 2160: a flusher has a page on its way when a sync comes, and fails to
/// send it.
fn e01<M: Mmu>(machine: &Machine<M>, core: Core, how: How) -> Result<(), Failure> {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let rig = room_over(&like, &store);
    let mut holds = pattern(1, 2 * PAGE);
    rig.fill(&holds);
    let new = pattern(2, 40);
    assert_eq!(rig.write(0, rig.source_at(8, 0, &new)), Ok(40));
    store.defer_next(Call::Writeback);
    store.fail_next(Call::Writeback, Errno::Io);
    let task = Sleeper::new(machine.check());
    let synced = std::thread::scope(|scope| {
        let flush = || syscall(|token| rig.file().writeback(token, 0..u64::MAX, &NoTask));
        let flusher = spawn(scope, "flusher", flush);
        until("the page is on its way", || store.waiting() == 1);
        let syncer = spawn(scope, "syncer", || core.sync(how, rig.file(), &task));
        until("the sync waits for the page", || task.has_slept());
        store.release(Call::Writeback);
        assert_eq!(flusher.join().expect("the flusher"), Err(Errno::Io));
        syncer.join().expect("the syncer")
    });
    overlay(&mut holds, 0, &new);
    if how == How::WriteThrough {
        overlay(&mut holds, 50, &[9]);
    }
    // What was told of a failure may have sent the page again by itself.
    let reached = store.inner().contents() == holds;
    assert_eq!(reached, core == Core::Faultless, "what is on the disk when the sync returns");
    let last = calls::fsync(rig.file());
    assert!(last.is_ok() || core == Core::Planted, "{last:?}");
    assert_same(&store.inner().contents(), &holds, "sent by the next sync");
    synced
}

/// fsyncgate: a writeback fails, and two programs sync. What each of their syncs says, and what the
/// next ones say.
fn e02<M: Mmu>(machine: &Machine<M>, core: Core) -> [Result<(), Failure>; 4] {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let rig = room_over(&like, &store);
    rig.fill(&pattern(1, PAGE));
    let file = rig.file();
    let mut open = [OpenFile::new(file, OpenFlags::empty()); 2];
    let old = OldSync::new(file, STEPS);
    assert_eq!(rig.write(0, rig.source_at(8, 0, &pattern(2, 40))), Ok(40));
    store.fail_next(Call::Writeback, Errno::Io);
    let flushed = match core {
        Core::Faultless => {
            syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask)).map_err(Failure::from)
        }
        Core::Planted => syscall(|token| old.writeback(token)),
    };
    assert_eq!(flushed, EIO, "the flusher");
    let mut sync = |program: usize| match core {
        Core::Faultless => {
            syscall(|token| open[program].fsync(file, token, SyncKind::All, &NoTask))
                .map_err(Failure::from)
        }
        Core::Planted => syscall(|token| old.fsync(token, &NoTask)),
    };
    let said = [0, 1, 0, 1].map(&mut sync);
    if core == Core::Faultless {
        let mut late = OpenFile::new(file, OpenFlags::empty());
        let told = syscall(|token| late.fsync(file, token, SyncKind::All, &NoTask));
        assert_eq!(told, Ok(()), "a file that is opened when the failure has been told");
    }
    said
}

/// d87815cb2090, f446daaea9d4: whenever a page is sent, a page behind it gets dirty. What the sync
/// says, and how many calls of the store it took.
fn e03<M: Mmu>(
    machine: &Machine<M>,
    core: Core,
    dirty: fn(&File, PageIndex),
) -> (Result<(), Failure>, u64) {
    let (store, like) = (Hooked::new(), room(machine, Backing::Memory));
    let rig = room_over(&like, store.store());
    rig.fill(&pattern(1, 2 * PAGE));
    assert_eq!(rig.write(0, rig.source_at(8, 0, &[7; 1])), Ok(1));
    let file = Arc::clone(rig.file());
    store.hook(Some(Arc::new(move |call, index| {
        if call == Call::Writeback {
            elsewhere(|| dirty(&file, index));
        }
        Ok(())
    })));
    let synced = match core {
        // Killed where it would be endless.
        Core::Faultless => {
            let task = TestTask::new().killed_after(STEPS);
            syscall(|token| rig.file().fsync(token, SyncKind::All, &task)).map_err(Failure::from)
        }
        Core::Planted => core.fsync(rig.file()),
    };
    let calls = store.calls();
    store.hook(None);
    (synced, calls)
}

/// An appender as fast as the device.
fn append(file: &File, _index: PageIndex) {
    assert_eq!(write_as(file, &[1; PAGE], &WriteOptions::append(), &NoTask), Ok(PAGE));
}

/// Two neighbours in turns.
fn neighbour(file: &File, index: PageIndex) {
    let pos = (index.get() ^ 1) * PAGE as u64;
    assert_eq!(write_as(file, &[2], &WriteOptions::at(pos), &NoTask), Ok(1));
}

/// What a reader saw, and what a crash would have left.
#[derive(Debug, Default)]
struct Seen {
    visible: Vec<u8>,
    durable: Vec<u8>,
}

/// e4545de5b035: a growing write of several steps, between two of which another program reads what
/// there is and syncs it.
fn e04_grows<M: Mmu>(machine: &Machine<M>, core: Core, options: WriteOptions) -> Seen {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let rig = room_over(&like, &store);
    let bytes = pattern(2, 66 * PAGE);
    let source = rig.source_at(8, 0, &bytes);
    rig.user().evict(8 + 64, 2);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (file, note, disk) = (Arc::clone(rig.file()), Arc::clone(&seen), Arc::clone(&store));
    let look = move |_| {
        let mut note = note.lock().unwrap_or_else(PoisonError::into_inner);
        let size = file.size() as usize;
        if size > 0 && note.visible.is_empty() {
            note.visible = elsewhere(|| read_as(&file, 0, size, &NoTask)).expect("a read");
            elsewhere(|| core.fsync(&file)).expect("a sync");
            note.durable = disk.inner().contents();
        }
    };
    rig.user().script().add(Event::FaultIn, When::From(1), Action::Call(Arc::new(look)));
    let written = rig.write_as(&[source], &options, &NoTask).map(|written| written.bytes);
    rig.user().script().clear();
    assert_eq!(written, Ok(bytes.len()));
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(!seen.visible.is_empty() && seen.visible.len() < bytes.len(), "{}", seen.visible.len());
    assert_same(&seen.visible, &bytes[..seen.visible.len()], "what was visible");
    seen
}

/// The same for a truncation that waits for the store.
fn e04_shrinks<M: Mmu>(machine: &Machine<M>, core: Core) -> Seen {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let rig = room_over(&like, &store);
    let old = pattern(1, 4 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(3 * PAGE as u64, rig.source_at(8, 0, &[7; 9])), Ok(9));
    let task = Sleeper::new(machine.check());
    let cut = PAGE + 100;
    let seen = std::thread::scope(|scope| {
        store.defer_next(Call::Writeback);
        let flush = || syscall(|token| rig.file().writeback(token, 0..u64::MAX, &NoTask));
        let flusher = spawn(scope, "flusher", flush);
        until("the page is on its way", || store.waiting() == 1);
        let cutter = spawn(scope, "cutter", || {
            syscall(|token| rig.file().set_size(token, cut as u64, &task))
        });
        until("the truncation waits for it", || task.has_slept());
        let visible = rig.contents();
        core.fsync(rig.file()).expect("a sync");
        let seen = Seen { visible, durable: store.inner().contents() };
        store.release(Call::Writeback);
        assert_eq!(flusher.join().expect("the flusher"), Ok(()));
        assert_eq!(cutter.join().expect("the cutter"), Ok(()));
        seen
    });
    assert_same(&seen.visible, &old[..cut], "what was visible");
    seen
}

balanced_on_both_mmus! {
    /// F1, F2.
    fn e01_a_sync_that_waited_for_anothers_failed_writeback_is_told(machine) {
        for how in [How::Fsync, How::Msync, How::WriteThrough] {
            assert_eq!(e01(machine, Core::Faultless, how), EIO, "{how:?}");
        }
    }

    fn e01_a_sync_that_believes_what_others_send_is_caught(machine) {
        assert_eq!(e01(machine, Core::Planted, How::Fsync), Ok(()));
    }

    /// F2.
    fn e02_each_of_two_programs_is_told_of_a_failed_writeback_once(machine) {
        assert_eq!(e02(machine, Core::Faultless), [EIO, EIO, Ok(()), Ok(())]);
    }

    fn e02_an_error_of_the_inode_that_the_first_sync_takes_is_caught(machine) {
        assert_eq!(e02(machine, Core::Planted), [EIO, Ok(()), Ok(()), Ok(())]);
    }

    /// F4.
    fn e03_a_sync_ends_however_fast_pages_get_dirty_behind_it(machine) {
        let (synced, calls) = e03(machine, Core::Faultless, append);
        assert_eq!((synced, calls), (Ok(()), 1), "the page of its start");
        let (synced, calls) = e03(machine, Core::Faultless, neighbour);
        assert_eq!(synced, Ok(()));
        assert!(calls <= 2, "each page of its range once, and not {calls} calls");
    }

    fn e03_a_sync_that_chases_pages_is_caught(machine) {
        for dirty in [append, neighbour] {
            let (synced, calls) = e03(machine, Core::Planted, dirty);
            assert_eq!((synced, calls), (Err(Failure::Livelock), STEPS));
        }
    }

    /// F3.
    fn e04_what_was_visible_and_was_synced_survives_a_crash(machine) {
        for strategy in STRATEGIES {
            let options = WriteOptions::append().with_strategy(strategy);
            let seen = e04_grows(machine, Core::Faultless, options);
            assert_same(&seen.durable, &seen.visible, "the disk, in a growing write");
        }
        let seen = e04_shrinks(machine, Core::Faultless);
        assert_same(&seen.durable, &seen.visible, "the disk, in a truncation");
    }

    fn e04_a_size_that_the_store_learns_at_the_end_is_caught(machine) {
        let seen = e04_grows(machine, Core::Planted, WriteOptions::append());
        assert_eq!(seen.durable.len(), 0, "all of it is gone");
        let seen = e04_shrinks(machine, Core::Planted);
        assert_eq!(seen.durable.len(), 4 * PAGE, "what was cut off is back");
    }
}
