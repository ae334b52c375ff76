//! The limit of dirty pages: what is promised, what is never exceeded, and how long writers pause.

use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use std::boxed::Box;
use std::panic::catch_unwind;
use std::sync::Arc;

use faultless_page::{AddressSpaceOperations, Errno, Mark, PageIndex, StoreId, SyncKind};
use faultless_parts::{Answer, Call, QueuedStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Idle, Patient, TestKernel, count_for, held, no_page_is_locked};
use super::rig::{File, in_fault, token};
use super::store::{Disk, TestStore};
use super::{PAGE, Rig, bytes, overlay};
use crate::{
    Access, DirtyLimit, DirtyThresholds, DirtyWriter, FaultError, NoTask, Strategy, Task,
    WriteOptions,
};

type Limit = DirtyLimit<TestKernel>;
pub(super) type Queue = QueuedStore<&'static TestStore<Disk>, Patient>;

/// A task that asks before it dirties pages.
pub(super) struct Limited<const STORES: usize = 1> {
    pub(super) writer: DirtyWriter<'static, TestKernel, STORES>,
    pub(super) now: Cell<u64>,
    /// Questions for a promise.
    asked: Cell<u32>,
    /// The task is to die.
    pub(super) killed: Cell<bool>,
    pub(super) longest_pause_ns: Cell<u64>,
}

impl<const STORES: usize> Limited<STORES> {
    pub(super) fn new(limit: &'static DirtyLimit<TestKernel, STORES>) -> Self {
        let [now, longest_pause_ns] = [1, 0].map(Cell::new);
        let (asked, killed) = (Cell::new(0), Cell::new(false));
        Self { writer: DirtyWriter::new(limit, &Patient), now, asked, killed, longest_pause_ns }
    }
}

impl<const STORES: usize> Task for Limited<STORES> {
    const LIMITS_DIRTY_PAGES: bool = true;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn fatal_signal_pending(&self) -> bool {
        self.killed.get()
    }

    fn throttle(&self) {
        no_page_is_locked("a throttle");
        let pause_ns = self.writer.pause_ns(self.now.get());
        self.now.set(self.now.get() + pause_ns);
        self.longest_pause_ns.set(self.longest_pause_ns.get().max(pause_ns));
    }

    fn admit_dirty(&self, store: StoreId, wanted: u32) -> u32 {
        no_page_is_locked("a wait for a promise");
        self.asked.set(self.asked.get() + 1);
        self.writer.admit(store, wanted, &|| self.killed.get())
    }

    fn settle_dirty(&self, dirtied: u32) {
        no_page_is_locked("the end of a step");
        self.writer.settle(dirtied);
    }
}

/// A file under a limit.
struct Under {
    limit: &'static Limit,
    rig: Rig,
}

impl Under {
    fn limit(background: u64, hard: u64) -> Self {
        Self::with(Strategy::BeginEnd, background, hard)
    }

    fn with(strategy: Strategy, background: u64, hard: u64) -> Self {
        let rig = Rig::with(strategy);
        let limit = Box::leak(Box::new(Limit::new(DirtyThresholds::new(background, hard))));
        count_for(limit);
        Self { limit, rig }
    }

    fn write(&self, task: &Limited, pos: usize, bytes: &[u8]) -> Result<usize, Errno> {
        write(&self.rig, self.rig.file(), task, pos, bytes)
    }
}

pub(super) fn write<const STORES: usize>(
    rig: &Rig,
    file: &File,
    task: &Limited<STORES>,
    pos: usize,
    bytes: &[u8],
) -> Result<usize, Errno> {
    let slice = rig.user.put(0, bytes);
    let mut from = IovIter::from_slice(&rig.user, &slice);
    let options = WriteOptions::at(pos as u64);
    let written = file.write(&mut token(), &mut from, &options, task);
    assert_eq!(held(), [], "P5: locks after a write");
    written.map(|written| written.bytes)
}

/// Pages of a file that are dirty or under writeback.
pub(super) fn unclean(file: &File) -> u64 {
    let (mut from, mut pages) = (PageIndex::ZERO, 0);
    while let Some(run) = file.mapping().find(from, PageIndex::new(1 << 20), Mark::Unclean) {
        pages += u64::from(run.pages());
        from = run.end();
    }
    pages
}

#[test]
fn the_hard_limit_is_never_exceeded_by_many_writers_on_a_store_that_is_late() {
    for (strategy, hard) in
        [(Strategy::BeginEnd, 7), (Strategy::PrepareCommit, 5), (Strategy::BeginEnd, 1)]
    {
        let under = Under::with(strategy, hard / 2, hard);
        let rig = &under.rig;
        let store: &'static Arc<TestStore<Disk>> = Box::leak(Box::new(rig.store.clone()));
        let queue: Arc<Queue> = Arc::new(QueuedStore::new(store, Patient));
        let below: Arc<dyn AddressSpaceOperations> = queue.clone();
        let file: Arc<File> = Arc::new(File::new(rig.cache.clone(), below, rig.maps.clone(), 0));
        let (flushed, limit) = (file.clone(), under.limit);
        let idle = Idle::with(move || {
            assert!(unclean(&flushed) <= limit.limits().hard());
            // The store is late: pages stay under writeback while more are sent.
            let sent = flushed.flush(&mut token(), 3, &NoTask).pages;
            sent > 0 || queue.work()
        });
        let tasks = [(); 4].map(|()| Limited::new(under.limit));
        let mut expected = std::vec![];
        for round in 0..40 {
            let (task, pos) = (&tasks[round % 4], round * 37 % 40 * PAGE / 2);
            let new = bytes(round, 1 + round * 1709 % (4 * PAGE));
            assert_eq!(write(rig, &file, task, pos, &new), Ok(new.len()));
            expected = overlay(&expected, pos, &new);
            assert!(unclean(&file) <= hard, "{} of {hard} pages", unclean(&file));
            assert!(under.limit.charged() >= unclean(&file));
        }
        assert!(idle.rounds() > 0, "a writer had to wait");
        assert_eq!(file.fsync(&mut token(), SyncKind::All, &NoTask), Ok(()));
        rig.assert_stored(&expected);
        drop((idle, tasks));
        assert_eq!(under.limit.charged(), 0);
    }
}

#[test]
fn an_overwrite_of_dirty_pages_asks_for_nothing_and_changes_nothing() {
    let under = Under::limit(1, 4);
    let task = Limited::new(under.limit);
    assert_eq!(under.write(&task, 0, &bytes(1, 2 * PAGE)), Ok(2 * PAGE));
    let (asked, charged) = (task.asked.get(), under.limit.charged());
    for len in [1, PAGE, 2 * PAGE] {
        assert_eq!(under.write(&task, 0, &bytes(2, len)), Ok(len));
    }
    assert_eq!((task.asked.get(), under.limit.charged()), (asked, charged));
    assert_eq!(task.writer.pause_ns(5), 0);
    // The same pages, clean.
    assert_eq!(under.rig.fsync(), Ok(()));
    assert_eq!(under.write(&task, PAGE, &[7; 3]), Ok(3));
    assert_eq!((task.asked.get(), under.limit.charged()), (asked + 1, 1));
}

#[test]
fn l3_a_writer_that_waits_at_the_limit_ends_by_a_signal_and_what_landed_stands() {
    let under = Under::limit(0, 3);
    let task = Limited::new(under.limit);
    let killed: &'static Limited = Box::leak(Box::new(Limited::new(under.limit)));
    let _idle = Idle::with(|| {
        killed.killed.set(true);
        true
    });
    assert_eq!(under.write(killed, 0, &bytes(1, 5 * PAGE)), Ok(3 * PAGE));
    assert_eq!(under.rig.file().size(), 3 * PAGE as u64);
    killed.killed.set(false);
    assert_eq!(under.write(killed, 3 * PAGE, &bytes(2, 3)), Err(Errno::Interrupted));
    assert_eq!(under.limit.charged(), 3);
    under.rig.assert_holds(&bytes(1, 5 * PAGE)[..3 * PAGE]);
    assert_eq!(under.rig.fsync(), Ok(()));
    assert_eq!(under.write(&task, 3 * PAGE, &bytes(2, 3)), Ok(3), "there is room again");
}

#[test]
fn a_fault_for_a_store_to_a_clean_page_asks_once_and_no_other_does() {
    let under = Under::limit(0, 2);
    under.rig.fill(&bytes(1, 3 * PAGE));
    assert_eq!(under.limit.charged(), 0);
    let task = Limited::new(under.limit);
    let fault = |page, access| {
        let fault = &mut in_fault();
        under.rig.file().fault(fault, PageIndex::new(page), access, &task, |_| {})
    };
    let counts = || (task.asked.get(), under.limit.charged());
    assert_eq!((fault(0, Access::Read), counts()), (Ok(()), (0, 0)));
    assert_eq!((fault(0, Access::Write), counts()), (Ok(()), (1, 1)));
    assert_eq!((fault(0, Access::Write), counts()), (Ok(()), (1, 1)), "it is dirty");
    assert_eq!((fault(1, Access::Write), counts()), (Ok(()), (2, 2)));
    task.killed.set(true);
    let interrupted = Err(FaultError::Failed(Errno::Interrupted));
    assert_eq!((fault(2, Access::Write), counts()), (interrupted, (3, 2)), "L3");
    task.killed.set(false);
    let file = under.rig.file().clone();
    let idle = Idle::with(move || file.flush(&mut token(), 1, &NoTask).pages > 0);
    assert_eq!((fault(2, Access::Write), counts()), (Ok(()), (4, 2)), "another page was sent");
    assert_eq!(idle.rounds(), 1);
}

#[test]
fn a_fault_that_fails_gives_its_promise_back() {
    let under = Under::limit(0, 2);
    under.rig.fill(&bytes(1, PAGE));
    assert_eq!(under.rig.set_size(3 * PAGE as u64), Ok(()));
    let faults = &under.rig.store.faults;
    faults.plan(Call::WriteBegin, When::Nth(1), Answer::Fail(Errno::NoSpace)).unwrap();
    let task = Limited::new(under.limit);
    let hole = PageIndex::new(2);
    let failed = under.rig.file().fault(&mut in_fault(), hole, Access::Write, &task, |_| {});
    assert_eq!(failed, Err(FaultError::Failed(Errno::NoSpace)));
    assert_eq!((task.asked.get(), under.limit.charged()), (1, 0));
}

#[test]
fn pages_are_charged_until_their_writeback_succeeds_or_they_are_gone() {
    let under = Under::limit(40, 80);
    let task = Limited::new(under.limit);
    assert_eq!(under.write(&task, 0, &bytes(1, 3 * PAGE)), Ok(3 * PAGE));
    assert_eq!(under.limit.charged(), 3, "what is dirty is not promised any more");
    drop(task);
    assert_eq!(under.limit.charged(), 3);
    let limit = under.limit;
    under.rig.store.at_next(Call::Writeback, move || assert_eq!(limit.charged(), 3));
    under.rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).unwrap();
    assert_eq!(under.rig.writeback(), Err(Errno::Io));
    assert_eq!(limit.charged(), 3, "they are dirty again");
    assert_eq!(under.rig.set_size(2 * PAGE as u64), Ok(()));
    assert_eq!(limit.charged(), 2, "cut off");
    // A task without a limit counts as well.
    assert_eq!(under.rig.write(5 * PAGE as u64, b"more"), Ok(4));
    assert_eq!(limit.charged(), 3);
    assert_eq!(under.rig.writeback(), Ok(()));
    assert_eq!(limit.charged(), 0);
}

#[test]
fn a_promise_comes_back_with_the_task_although_a_store_unwinds() {
    let under = Under::limit(0, 4);
    let task = Limited::new(under.limit);
    under.rig.store.at_next(Call::WriteBegin, || panic!("planned"));
    let step = AssertUnwindSafe(|| under.write(&task, 0, &bytes(1, PAGE)));
    assert!(catch_unwind(step).is_err());
    assert_eq!(under.limit.charged(), 1);
    drop(task);
    assert_eq!(under.limit.charged(), 0);
}

#[test]
fn a_promise_ends_with_its_step_although_nothing_landed() {
    let under = Under::limit(0, 4);
    let (task, other) = (Limited::new(under.limit), Limited::new(under.limit));
    assert_eq!((task.admit_dirty(StoreId(0), 1), under.limit.charged()), (1, 1));
    assert_eq!((other.admit_dirty(StoreId(0), 1), under.limit.charged()), (1, 2));
    // A source has to be faulted in, which may wait for writeback.
    task.settle_dirty(0);
    assert_eq!(under.limit.charged(), 1, "what is left is the other's");
}

#[test]
fn l6_writers_pause_above_the_middle_of_the_thresholds_and_not_below() {
    let under = Under::limit(20, 60);
    let task = Limited::new(under.limit);
    let mut pauses = std::vec![];
    for page in 0..59 {
        assert_eq!(under.write(&task, page * PAGE, &bytes(page, PAGE)), Ok(PAGE));
        pauses.push(task.longest_pause_ns.take());
    }
    assert!(pauses[..39].iter().all(|pause| *pause == 0), "{pauses:?}");
    assert!(pauses[40..].iter().any(|pause| *pause > 0), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 200_000_000), "{pauses:?}");
}
