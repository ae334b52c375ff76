//! D: deadlocks beyond the five that are staged.
//!
//! What hangs is caught by the lock checker before it does: the planted runs here end at once. The
//! deadlocks (`tests/deadlocks.rs`) lets the same controls really hang.

use std::sync::Arc;

use faultless::filemap::{Access, FaultError, InFault, NoTask, PageLocks, Strategy, WriteOptions};
use faultless::page::{AddressSpaceOperations, Errno, LockContext, LockedRun, PageIndex, PageRun};
use faultless::usercopy::{MayFault, UserMemory, copy_from_user};
use faultless_controls::Control;
use faultless_host::stores::{HookedStore, MemoryStore, StoreLock};
use faultless_host::{Action, Event, Kind, MachineConfig, Mmu, Protection, When, counting};
use faultless_tests::bytes::overlay;
use faultless_tests::stress::{Job, against};
use faultless_tests::{
    Backing, File, Kernel, PAGE, Rig, Setup, Store, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Answer, FAULTLESS, Failure, Subject, exhibit, exhibit_to, room, watched};

const MEMORY: Setup = Setup { backing: Backing::Memory, strategy: Strategy::BeginEnd };

/// A store with a lock of its own, which each of its calls takes.
struct Locking {
    store: Arc<HookedStore<MemoryStore>>,
    lock: Arc<StoreLock>,
}

/// A rig over such a store; and the store.
fn locking_room<'m, M: Mmu>(like: &Rig<'m, M>) -> (Rig<'m, M>, Locking) {
    let lock = StoreLock::new();
    let store = lock.around(MemoryStore::new());
    let rig = Rig::over(like.machine(), MEMORY, Store::plain(Arc::clone(&store)));
    (rig, Locking { store, lock })
}

/// Where the page of D1's source and destination is when the write comes.
#[derive(Clone, Copy, Debug)]
enum Page {
    Mapped,
    Cached,
    Cold,
}

/// btrfs 2.6.35, asterinas #3257, Kerla: a page is written from a mapping of itself, from its
/// second half to its first.
fn d01<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, page: Page) -> Answer {
    rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::Read);
    rig.fill(&pattern(1, PAGE));
    match page {
        Page::Mapped => rig.user().populate(50, 1).expect("a page of a file"),
        Page::Cached => {}
        Page::Cold => rig.chill(),
    }
    subject.write(rig, 10, &[rig.user().slice(50, 2048, 1000)])
}

fn d01_right() -> Vec<u8> {
    let old = pattern(1, PAGE);
    let mut holds = old.clone();
    overlay(&mut holds, 10, &old[2048..3048]);
    holds
}

/// Permission to lock a page without a borrow of the token: what the types forbid, and what D2, D6
/// and a control need.
fn context_without_token<'t>() -> LockContext<'t> {
    // SAFETY: the promise is about deadlock, not about memory, and is broken on purpose; the lock
    // checker watches.
    unsafe { LockContext::new() }
}

fn lock(file: &File, index: u64) -> LockedRun<'_, Kernel> {
    let run = PageRun::single(PageIndex::new(index));
    file.mapping().lock_or_create(context_without_token(), run).expect("an index node")
}

/// Pages of D4's mapping: three leaves and a byte.
const D04: usize = 192 * PAGE + 1;

/// OpenZFS #18135: a file is written from a mapping of itself, several windows long, which loses
/// its pages again and again.
fn d04<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, pos: u64) -> Answer {
    rig.fill(&pattern(1, D04));
    rig.chill();
    rig.user().map_file(200, 193, rig.file(), PageIndex::ZERO, Protection::Read);
    for event in [Event::AtomicCopy, Event::FaultingCopy] {
        rig.user().script().add(event, When::Every(3), Action::StealAll);
    }
    let answer = subject.write(rig, pos, &[rig.user().slice(200, 0, D04)]);
    rig.user().script().clear();
    answer
}

/// What a call does in the name of a file system that takes its own lock around it.
fn under<R>(
    rig: &Rig<'_, impl Mmu>,
    locking: &Locking,
    work: impl FnOnce(&mut MayFault) -> R,
) -> Result<R, Failure> {
    watched(rig.machine().check(), || {
        Ok(faultless_host::syscall(|token| {
            let _held = locking.lock.lock();
            work(token)
        }))
    })
}

balanced_on_both_mmus! {
    fn d01_a_page_can_be_written_from_a_mapping_of_itself(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for page in [Page::Mapped, Page::Cached, Page::Cold] {
                assert_eq!(d01(rig, subject, page), Ok(1000), "{page:?}");
                rig.assert_holds(&d01_right());
            }
        });
    }

    fn d01_a_page_that_waits_for_itself_is_caught(machine) {
        for control in [Control::Linux2623, Control::PrefaultOnly] {
            let rig = room(machine, Backing::Memory);
            let answer = d01(&rig, Subject::Control(control), Page::Cold);
            assert_eq!(answer, Err(Failure::Deadlock(Kind::FaultUnderLock)), "{control:?}");
            // By chance the page is there, and nothing hangs: the checker sees what could have
            // been.
            let expecting = machine.check().expect();
            assert_eq!(d01(&rig, Subject::Control(control), Page::Mapped), Ok(1000));
            let cycle = expecting.one(Kind::Recursive);
            assert!(cycle.text.contains("waits for itself"), "{cycle}");
        }
    }

    /// 4f06dd92: two requests over the same eight pages, each from a mapping of those that the
    /// other one writes; and each from pages of its own.
    fn d02_pages_of_a_request_are_never_waited_for_one_by_one(machine) {
        let rounds = faultless_tests::stress::rounds(40);
        exhibit_to(&FAULTLESS, machine, &[Backing::Memory, Backing::Legacy], |rig, subject| {
            rig.fill(&pattern(1, 16 * PAGE));
            rig.user().map_file(50, 16, rig.file(), PageIndex::ZERO, Protection::Read);
            let write = |pos: usize, from: usize| {
                for round in 0..rounds {
                    rig.user().evict(50, 16);
                    let source = rig.user().slice(50, from + round as usize, 8 * PAGE);
                    assert_eq!(subject.write(rig, pos as u64, &[source]), Ok(8 * PAGE));
                }
            };
            let jobs: Vec<Job<'_>> = vec![
                Box::new(|| write(0, 4 * PAGE)),
                Box::new(|| write(6 * PAGE + 100, 0)),
            ];
            against(machine.check(), jobs, Vec::new());
            assert_eq!(rig.file().size(), 16 * PAGE as u64);
        });
    }

    fn d02_locking_pages_one_by_one_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        rig.fill(&pattern(1, 2 * PAGE));
        rig.user().map_file(50, 2, rig.file(), PageIndex::ZERO, Protection::Read);
        rig.user().populate(50, 2).expect("pages of a file");
        // Out of order (P4) …
        let expecting = machine.check().expect();
        faultless_host::syscall(|_| {
            let _second = lock(rig.file(), 1);
            let _first = lock(rig.file(), 0);
        });
        assert!(expecting.one(Kind::Order).text.contains("not ascending"));
        // … and with the source in a page of the request that is locked already.
        let expecting = machine.check().expect();
        faultless_host::syscall(|token| {
            let _first = lock(rig.file(), 0);
            let _second = lock(rig.file(), 1);
            let source = rig.user().slice(50, 100, 8);
            copy_from_user(rig.user(), token, &mut [0; 8], source).expect("by chance it is there");
        });
        let _ = expecting.one(Kind::Recursive);
    }

    /// The lock is the store's, inside each of its calls; the copy comes between the calls.
    fn d03_no_lock_of_a_store_is_held_over_the_copy(machine) {
        exhibit(machine, &[Backing::Memory], |like, subject| {
            let (rig, locking) = locking_room(like);
            rig.fill(&pattern(1, 2 * PAGE));
            rig.chill();
            // The source is a mapping of another file of the same volume: to fault it in is to take
            // the store's lock.
            let other = machine.inode(&locking.store, 2 * PAGE as u64);
            rig.user().map_file(50, 2, &other, PageIndex::ZERO, Protection::Read);
            let answer = subject.write(&rig, 700, &[rig.user().slice(50, PAGE, 500)]);
            assert_eq!(answer, Ok(500));
            let mut holds = pattern(1, 2 * PAGE);
            overlay(&mut holds, 700, &pattern(1, 2 * PAGE)[PAGE..PAGE + 500]);
            rig.assert_holds_for_good(&holds);
        });
    }

    fn d03_a_lock_of_the_store_that_is_held_over_the_copy_is_caught(machine) {
        let (rig, locking) = locking_room(&room(machine, Backing::Memory));
        rig.fill(&pattern(1, PAGE));
        rig.chill();
        rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::Read);
        let source = rig.user().slice(50, 0, 8);
        let copied = under(&rig, &locking, |token| copy_from_user(rig.user(), token, &mut [0; 8], source));
        // The fault handler takes it under the page lock that it needs.
        assert_eq!(copied, Err(Failure::Deadlock(Kind::ForeignLock)));
    }

    fn d04_every_window_is_faulted_in_with_no_page_locked(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            let (answer, counted) = counting(|| d04(rig, subject, 0));
            assert_eq!((answer, counted.faults_under_page_lock), (Ok(D04), 0));
            assert!(counted.faults >= 193, "{} faults", counted.faults);
            rig.assert_holds(&pattern(1, D04));
            assert_eq!(d04(rig, subject, D04 as u64), Ok(D04));
            rig.assert_holds(&pattern(1, D04).repeat(2));
        });
    }

    fn d04_a_window_that_is_faulted_in_under_a_lock_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let answer = d04(&rig, Subject::Control(Control::PrefaultOnly), 0);
        assert_eq!(answer, Err(Failure::Deadlock(Kind::FaultUnderLock)));
    }

    /// To fault a page in for a store is to ask the store for room, under its lock.
    fn d05_a_target_is_made_writeable_before_any_lock_is_taken(machine) {
        exhibit_to(&FAULTLESS, machine, &[Backing::Memory], |like, _| {
            let (rig, locking) = locking_room(like);
            rig.fill(&pattern(1, 2 * PAGE));
            rig.chill();
            let other = machine.inode(&StoreLock::new().around(MemoryStore::new()), 0);
            calls::truncate(&other, PAGE as u64).expect("a hole");
            for target in [&other, rig.file()] {
                rig.user().map_file(50, 1, target, PageIndex::ZERO, Protection::ReadWrite);
                let to = rig.user().slice(50, 0, 100);
                assert_eq!(calls::pread(rig.user(), rig.file(), PAGE as u64, to), Ok(100));
                let got = rig.user().read_vec(to.addr(), 100).expect("the mapping");
                assert_eq!(got, pattern(1, 2 * PAGE)[PAGE..PAGE + 100]);
            }
            drop(locking);
        });
    }

    fn d05_a_probe_for_writing_under_a_lock_that_it_needs_is_caught(machine) {
        let (rig, locking) = locking_room(&room(machine, Backing::Memory));
        calls::truncate(rig.file(), PAGE as u64).expect("a hole");
        rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::ReadWrite);
        rig.user().read_vec(rig.user().at(50, 0), 1).expect("it can be read");
        let to = rig.user().slice(50, 0, 8);
        let probed = under(&rig, &locking, |token| rig.user().fault_in_writeable(token, to));
        // Even with a page that is there: the handler asks for room, under M and that lock.
        assert_eq!(probed, Err(Failure::Deadlock(Kind::ReaderBehindQueuedWriter)));
    }

    /// The host takes every allocation for one that may reclaim, and so enter the file system
    /// again: none happens under a page lock.
    fn d06_memory_is_allocated_with_nothing_locked(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let source = rig.source_at(8, 0, &pattern(2, 3 * PAGE));
            let mut holds = Vec::new();
            for pos in [100, 70 * PAGE + 5, 5 * PAGE] {
                let (answer, counted) = counting(|| subject.write(rig, pos as u64, &[source]));
                assert_eq!(answer, Ok(3 * PAGE));
                assert!(counted.allocations > 0, "pages were new at {pos}");
                overlay(&mut holds, pos, &pattern(2, 3 * PAGE));
            }
            rig.chill();
            let (read, counted) = counting(|| rig.contents());
            assert!(read == holds && counted.allocations > 0, "pages were read in");
        });
    }

    fn d06_an_allocation_under_a_page_lock_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let allocated: Result<(), Failure> = watched(machine.check(), || {
            faultless_host::syscall(|token| {
                let run = PageRun::single(PageIndex::ZERO);
                let _locked = rig.file().mapping().lock_or_create(token.page_locks(), run)?;
                drop(machine.cache().allocate(1)?);
                Ok(())
            })
        });
        assert_eq!(allocated, Err(Failure::Deadlock(Kind::SleepUnderPageLock)));
    }

    /// ax-fs-ng 0.11: the source is a cold page of another file, and of the same one: to read it is
    /// to come back into the same cache.
    fn d07_a_source_whose_read_comes_back_into_the_cache_is_no_trouble(machine = MachineConfig::new().frames(512)) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let other = room(machine, rig.setup().backing);
            other.fill(&pattern(3, 4 * PAGE));
            for file in [other.file(), rig.file()] {
                rig.fill(&pattern(1, 4 * PAGE));
                rig.chill();
                other.chill();
                let bytes = if Arc::ptr_eq(file, rig.file()) { pattern(1, 4 * PAGE) } else { pattern(3, 4 * PAGE) };
                rig.user().map_file(50, 4, file, PageIndex::ZERO, Protection::Read);
                let source = rig.user().slice(50, 2 * PAGE + 7, PAGE);
                let (answer, counted) = counting(|| subject.write(rig, 50, &[source]));
                assert_eq!((answer, counted.faults_under_page_lock), (Ok(PAGE), 0));
                assert!(counted.faults > 0, "the source was cold");
                let mut holds = pattern(1, 4 * PAGE);
                overlay(&mut holds, 50, &bytes[2 * PAGE + 7..3 * PAGE + 7]);
                rig.assert_holds_for_good(&holds);
            }
        });
    }

    /// One lock around the whole cache, as there: here it is the store's, taken around a whole
    /// write.
    fn d07_a_lock_around_the_cache_is_caught(machine) {
        let (rig, locking) = locking_room(&room(machine, Backing::Memory));
        rig.fill(&pattern(1, 2 * PAGE));
        rig.chill();
        rig.user().map_file(50, 2, rig.file(), PageIndex::ZERO, Protection::Read);
        let options = WriteOptions::at(0);
        let segments = [rig.user().slice(50, PAGE, 100)];
        let written = under(&rig, &locking, |token| {
            let mut from = faultless::usercopy::IovIter::new(rig.user(), &segments).expect("a request");
            rig.file().write(token, &mut from, &options, &faultless::filemap::NoTask)
        });
        assert_eq!(written, Err(Failure::Deadlock(Kind::ForeignLock)));
    }
}

/// A fault handler has nothing that could reach user memory, and a store has nothing to lock a page
/// with: neither of the two can come back in by the front door. Checked when this compiles.
const _: () = {
    type Install = fn(faultless::filemap::MappedFrame<'_, Kernel>);
    type Fault = fn(
        &faultless::filemap::Inode<Kernel>,
        &mut InFault,
        PageIndex,
        Access,
        &NoTask,
        Install,
    ) -> Result<(), FaultError>;
    let _: Fault = faultless::filemap::Inode::<Kernel>::fault::<NoTask, ()>;
    let _: fn(&MemoryStore, u64, usize) -> Result<faultless::page::Begun, Errno> =
        <MemoryStore as AddressSpaceOperations>::write_begin;
};
