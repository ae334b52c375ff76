//! E17, E20, E21, E22: stores and devices that fail, and that work while a fault is under way.

use std::sync::{Arc, Mutex};

use faultless::filemap::{
    Access, FaultError, InFault, MsyncKind, NoTask, OpenFile, OpenFlags, ReadAheadLimits, SyncKind,
    WriteOptions,
};
use faultless::page::{AddressSpaceOperations, Errno, PageIndex, forward_to_store};
use faultless_host::stores::{Call, DeferredStore, FaultyStore, HookedStore, MemoryStore};
use faultless_host::{Kind, Machine, Mmu, Protection, RmapCall, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::{Backing, File, PAGE, assert_same, balanced_on_both_mmus, calls, pattern};

use crate::harness::{Failure, room};
use crate::planted::{self, OldSync};
use crate::threads::{elsewhere, read_as, room_over, spawn, write_as};

/// Steps after which a sync or a read counts as endless. No exhibit needs a tenth of them.
const STEPS: u64 = 200;

/// Which core an exhibit is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Faultless,
    Planted,
}

type Synced = Result<(), Failure>;
const EIO: Synced = Err(Failure::Errno(Errno::Io));

/// A device that drops its cache when a flush fails; the next flush succeeds.
struct Volatile(Arc<FaultyStore<MemoryStore>>);

impl AddressSpaceOperations for Volatile {
    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.0.sync(kind).inspect_err(|_| self.0.crash())
    }

    forward_to_store!(self => self.0; read, writeback, write_begin, write_end, truncate_blocks);
    forward_to_store!(self => self.0; set_size, strategy, max_size, is_persistent);
}

fn faulty<M: Mmu>(machine: &Machine<M>) -> Arc<FaultyStore<MemoryStore>> {
    FaultyStore::new(MemoryStore::new(), machine.watchdog())
}

/// redb#450: the flush of a device fails, and loses what was sent; the sync is tried again by its
/// program, and by another one. What the three syncs say, and whether the bytes are on the device.
fn e17<M: Mmu>(machine: &Machine<M>, core: Core) -> ([Synced; 3], bool) {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let rig = room_over(&like, &Arc::new(Volatile(Arc::clone(&store))));
    let (mut holds, new) = (pattern(1, 2 * PAGE), pattern(2, 40));
    rig.fill(&holds);
    let write = || assert_eq!(rig.write(0, rig.source_at(8, 0, &new)), Ok(40));
    write();
    overlay(&mut holds, 0, &new);
    let file = rig.file();
    let mut open = [OpenFile::new(file, OpenFlags::empty()); 2];
    store.fail_next(Call::Sync, Errno::Io);
    let mut sync = |program: usize| match core {
        Core::Faultless => {
            syscall(|token| open[program].fsync(file, token, SyncKind::All, &NoTask))
                .map_err(Failure::from)
        }
        Core::Planted => syscall(|token| OldSync::new(file, STEPS).fsync(token, &NoTask)),
    };
    let said = [0, 0, 1].map(&mut sync);
    let reached = store.inner().contents() == holds;
    // The embedder has the program write once more, and says so.
    write();
    file.accept_failed_sync();
    assert_eq!([sync(0), sync(1)], [Ok(()); 2]);
    assert_same(&store.inner().contents(), &holds, "written again");
    (said, reached)
}

/// DragonOS PR 2305: a CPU store faults, holds M, and waits for the store to make room for its
/// page; meanwhile another page of the same mapping is sent. What the sync of that one says, and
/// what it was sent by the time the fault was over.
fn e20<M: Mmu>(machine: &Machine<M>, takes_space: bool) -> (Result<(), Errno>, Vec<u8>) {
    let inner = MemoryStore::new();
    let store = Arc::new(HookedStore::new(Arc::clone(&inner)));
    let rig = room_over(&room(machine, Backing::Memory), &store);
    calls::truncate(rig.file(), 2 * PAGE as u64).expect("two pages without room");
    rig.user().map_file(50, 2, rig.file(), PageIndex::ZERO, Protection::ReadWrite);
    rig.user().store(rig.user().at(50, 0), b"sent").expect("the first page");
    if takes_space {
        let space = rig.user().clone();
        machine.user_mappings().watch(Arc::new(move |_, _, _, call| {
            if call == RmapCall::WriteProtect {
                drop(space.lock().read());
            }
        }));
    }
    let (file, said) = (Arc::clone(rig.file()), Arc::new(Mutex::new(None)));
    let note = Arc::clone(&said);
    store.hook(move |at, below| {
        if at.call == Call::WriteBegin {
            let range = 0..PAGE as u64;
            let sync = || syscall(|token| file.msync(token, range, MsyncKind::Sync, &NoTask));
            *note.lock().expect("the result") = Some(elsewhere(sync));
        }
        below()
    });
    let stored = rig.user().store(rig.user().at(51, 0), b"room");
    store.unhook();
    machine.user_mappings().unwatch();
    stored.expect("the second page");
    let said = said.lock().expect("the result").take();
    (said.expect("the fault asked for room"), inner.contents())
}

/// osv PR 1398: a page is sent, and the store fails. Whether the bytes of the write are there when
/// whatever is clean has left the cache.
fn e21<M: Mmu>(machine: &Machine<M>, core: Core, late: bool) -> bool {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let queue = DeferredStore::new(Arc::clone(&store), 1);
    let rig = if late { room_over(&like, &queue) } else { room_over(&like, &store) };
    let (file, mut holds) = (rig.file(), pattern(1, PAGE));
    // Whatever the queue has is done before a sync waits for it.
    let workers = queue.workers(1);
    rig.fill(&holds);
    drop(workers);
    assert_eq!(rig.write(0, rig.source_at(8, 0, &[7; 40])), Ok(40));
    overlay(&mut holds, 0, &[7; 40]);
    store.fail_next(Call::Writeback, Errno::Io);
    let sent = syscall(|token| match core {
        Core::Faultless => file.flush(token, u32::MAX, &NoTask).pages,
        Core::Planted => planted::send_clean(file, token),
    });
    assert_eq!((sent, queue.waiting()), (1, usize::from(late)));
    while queue.work() {}
    let dropped = calls::evict(file);
    let _workers = queue.workers(1);
    let kept = rig.contents() == holds;
    assert_eq!(kept, dropped == 0, "F5");
    if kept {
        assert_eq!(calls::fsync(file), Err(Errno::Io), "told");
        assert_same(&store.inner().contents(), &holds, "and sent again");
        assert_eq!(calls::fsync(file), Ok(()));
    }
    kept
}

/// Threads that read E22's page at the same time.
const READERS: usize = 6;
/// The page that cannot be read, of a file of eight.
const BAD: usize = 3;

fn fault(file: &File, index: usize, access: Access) -> Result<(), FaultError> {
    // SAFETY: no page lock is held, and this thread has no other token.
    let mut in_fault = unsafe { InFault::enter() };
    file.fault(&mut in_fault, PageIndex::new(index as u64), access, &NoTask, |_| ())
}

/// asterinas PR 2953: a block that can never be read, and a file around it that can be. Each use
/// of its page fails, of whatever kind, and the others do not.
fn e22<M: Mmu>(machine: &Machine<M>, late: bool) {
    let (store, like) = (faulty(machine), room(machine, Backing::Memory));
    let queue = DeferredStore::new(Arc::clone(&store), 1);
    let _workers = queue.workers(2);
    let rig = if late { room_over(&like, &queue) } else { room_over(&like, &store) };
    let (file, holds, at) = (rig.file(), pattern(1, 8 * PAGE), (BAD * PAGE) as u64);
    rig.fill(&holds);
    rig.chill();
    store.fail_page(Call::Read, PageIndex::new(BAD as u64), Errno::Io);
    let before = store.count(Call::Read);
    syscall(|token| file.will_need(token, 0, 8 * PAGE as u64, &ReadAheadLimits::DEFAULT));
    std::thread::scope(|scope| {
        let names = (0..READERS).map(|reader| format!("reader {reader}"));
        let read = || read_as(file, at, 9, &NoTask);
        let readers: Vec<_> = names.map(|name| spawn(scope, &name, read)).collect();
        for reader in readers {
            assert_eq!(reader.join().expect("it ends"), Err(Errno::Io));
        }
    });
    let short = read_as(file, 0, 8 * PAGE, &NoTask).expect("what comes before");
    assert_same(&short, &holds[..BAD * PAGE], "up to the page");
    assert_eq!(write_as(file, b"x", &WriteOptions::at(at + 5), &NoTask), Err(Errno::Io));
    for access in [Access::Read, Access::Write] {
        assert_eq!(fault(file, BAD, access), Err(FaultError::Failed(Errno::Io)));
    }
    let behind = read_as(file, at + PAGE as u64, 4 * PAGE, &NoTask).expect("what comes behind");
    assert_same(&behind, &holds[(BAD + 1) * PAGE..], "behind the page");
    // Ahead, by each reader, the long read, the write and the two faults; and the other pages once.
    let most = 1 + READERS as u64 + 2 + 1 + 2 + 7;
    let asked = store.count(Call::Read) - before;
    assert!(asked <= most, "the store was asked {asked} times");
    store.heal();
    rig.assert_holds(&holds);
}

balanced_on_both_mmus! {
    /// F1. Every later sync fails, of whichever open file, until the embedder has seen to it.
    fn e17_after_a_flush_that_lost_what_was_sent_no_sync_succeeds(machine) {
        assert_eq!(e17(machine, Core::Faultless), ([EIO; 3], false));
    }

    fn e17_a_sync_that_believes_the_second_flush_is_caught(machine) {
        let (said, reached) = e17(machine, Core::Planted);
        assert_eq!((said, reached), ([EIO, Ok(()), Ok(())], false), "Ok, and the data is gone");
    }

    /// P3, DL3. A writeback takes the page tables' locks, and never M.
    fn e20_a_writeback_ends_while_a_fault_waits_for_room(machine) {
        let (said, sent) = e20(machine, false);
        assert_eq!((said, &sent[..4]), (Ok(()), &b"sent"[..]));
        let edges = machine.check().dot();
        let edge = |line: &str, from: &str, to: &str| {
            line.split_once("->").is_some_and(|(a, b)| a.contains(from) && b.contains(to))
        };
        assert!(edges.lines().any(|line| edge(line, "\"M(", "\"P(")), "by the fault: {edges}");
        assert_eq!(edges.lines().find(|line| edge(line, "\"P(", "\"M(")), None);
    }

    fn e20_a_writeback_that_wants_the_address_space_is_caught(machine) {
        let expecting = machine.check().expect();
        let _ = e20(machine, true);
        let cycle = expecting.one(Kind::ReaderBehindQueuedWriter);
        assert!(cycle.text.contains("M("), "{cycle}");
    }

    /// F2, F5.
    fn e21_a_page_whose_writeback_fails_is_dirty_again(machine) {
        for late in [false, true] {
            assert!(e21(machine, Core::Faultless, late), "late: {late}");
        }
    }

    fn e21_a_page_that_is_clean_before_it_is_sent_is_caught(machine) {
        assert!(!e21(machine, Core::Planted, false), "lost");
    }

    /// F8.
    fn e22_a_block_that_cannot_be_read_is_an_error_for_each_reader(machine) {
        for late in [false, true] {
            e22(machine, late);
        }
    }

    fn e22_a_reader_that_waits_until_it_can_be_read_is_caught(machine) {
        let store = faulty(machine);
        let rig = room_over(&room(machine, Backing::Memory), &store);
        rig.fill(&pattern(1, 8 * PAGE));
        rig.chill();
        store.fail_page(Call::Read, PageIndex::new(BAD as u64), Errno::Io);
        let page = PageIndex::new(BAD as u64);
        let read = syscall(|token| planted::read_until_uptodate(rig.file(), token, page, STEPS));
        assert_eq!(read, Err(Failure::Livelock));
    }
}
