//! The shares that several stores have of the limit of dirty pages.

use std::boxed::Box;
use std::sync::Arc;

use faultless_page::{AddressSpaceOperations, Errno, StoreId};
use faultless_parts::{Answer, Call, When};

use super::kernel::{Idle, Patient, TestKernel, count_for};
use super::rig::{File, token};
use super::store::{Disk, TestStore, disk};
use super::throttle::{Limited, Queue, unclean, write};
use super::{PAGE, Rig, bytes};
use crate::{DirtyLimit, DirtyThresholds, NoTask, Strategy, Task};

type Limit = DirtyLimit<TestKernel, 2>;

/// The store of the rig, which answers at once.
const GOOD: StoreId = StoreId(0);
/// One that answers when it is told to.
const STUCK: StoreId = StoreId(1);
/// The hard limit.
const HARD: u64 = 128;
/// 10 ms.
const TICK: u64 = 10_000_000;

/// A file on each of two stores, in one cache, under one limit.
struct Two {
    limit: &'static Limit,
    below: &'static TestStore<Disk>,
    queue: Arc<Queue>,
    stuck: Arc<File>,
    rig: Rig,
}

impl Two {
    fn new() -> Self {
        let rig = Rig::on(disk(512), Strategy::BeginEnd, 300);
        let limit: &'static Limit = Box::leak(Box::new(Limit::new(DirtyThresholds::new(40, HARD))));
        count_for(limit);
        let below = TestStore::new(disk(512), Strategy::BeginEnd).numbered(STUCK.0);
        let below: &'static TestStore<Disk> = Box::leak(Box::new(below));
        let queue: Arc<Queue> = Arc::new(Queue::new(below, Patient));
        let store: Arc<dyn AddressSpaceOperations> = queue.clone();
        let stuck = Arc::new(File::new(rig.cache.clone(), store, rig.maps.clone(), 0));
        Self { limit, below, queue, stuck, rig }
    }

    /// What the two stores have.
    fn charged(&self) -> [u64; 2] {
        let charged = [GOOD, STUCK].map(|store| self.limit.charged_to(store));
        assert_eq!(charged.iter().sum::<u64>(), self.limit.charged());
        charged
    }

    fn good(&self) -> &Arc<File> {
        self.rig.file()
    }

    /// Dirties a page.
    #[track_caller]
    fn write_page(&self, file: &File, task: &Limited<2>, page: usize) {
        let written = write(&self.rig, file, task, page * PAGE, &bytes(page, PAGE));
        assert_eq!(written, Ok(PAGE), "page {page}");
        assert!(unclean(self.good()) + unclean(&self.stuck) <= HARD);
    }

    /// Writes pages of the stuck store until a wait for a promise, which ends by a signal; how many
    /// there are.
    fn write_until_stuck(&self, now: u64) -> usize {
        let task: &'static Limited<2> = Box::leak(Box::new(Limited::new(self.limit)));
        task.now.set(now);
        let _idle = Idle::with(|| {
            task.killed.set(true);
            true
        });
        let pages = (0..).take_while(|page| {
            let new = bytes(*page, PAGE);
            write(&self.rig, &self.stuck, task, page * PAGE, &new) == Ok(PAGE)
        });
        pages.count()
    }

    /// Sends what is dirty of the stuck store, which keeps it.
    fn send(&self) {
        while self.stuck.flush(&mut token(), 64, &NoTask).pages > 0 {}
    }

    /// Ends what the stuck store keeps.
    fn end(&self) {
        while self.queue.work() {}
    }
}

/// Before its file goes, which would wait.
impl Drop for Two {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_store_that_is_stuck_stops_its_own_writers_at_its_share_and_no_others() {
    let two = Two::new();
    let task = Limited::new(two.limit);
    two.write_page(&two.stuck, &Limited::new(two.limit), 0);
    two.send();
    // The writer of the good store finds out what both of them write.
    for page in 0..60 {
        two.write_page(two.good(), &task, page);
        assert_eq!(two.good().flush(&mut token(), 64, &NoTask).pages, 1);
        task.now.set(task.now.get() + TICK);
    }
    assert_eq!(two.charged(), [0, 1]);
    assert_eq!(two.write_until_stuck(task.now.get()), 7, "a page counts twice");
    assert_eq!(two.charged(), [0, HARD / 16]);
    two.send();
    // The other store has all that is left but a 16th.
    let left = HARD - HARD / 16;
    let most = left - left.div_ceil(16);
    assert_eq!(two.limit.share_of(GOOD).hard(), most);
    let (file, limit) = (two.good().clone(), two.limit);
    let idle = Idle::with(move || {
        assert_eq!(limit.charged_to(GOOD), most, "a writer waits below its share");
        assert_eq!(limit.to_flush(GOOD), most);
        file.flush(&mut token(), 64, &NoTask).pages > 0
    });
    for page in 0..240 {
        two.write_page(two.good(), &task, page % 120);
    }
    assert_eq!(idle.rounds(), 2, "for 64 pages each time");
    drop(idle);
    // It goes on.
    two.end();
    assert_eq!(two.charged()[1], 1, "a page was written again while it was kept");
    let task = Limited::new(two.limit);
    let (file, queue) = (two.stuck.clone(), two.queue.clone());
    let _idle = Idle::with(move || file.flush(&mut token(), 64, &NoTask).pages > 0 || queue.work());
    for page in 0..100 {
        two.write_page(&two.stuck, &task, page);
    }
}

#[test]
fn a_store_that_is_stuck_from_the_first_page_on_leaves_room_for_another() {
    let two = Two::new();
    assert_eq!(two.write_until_stuck(1), 120);
    assert_eq!(two.charged(), [0, HARD - HARD / 16]);
    two.send();
    let task = Limited::new(two.limit);
    let file = two.good().clone();
    let idle = Idle::with(move || file.flush(&mut token(), 64, &NoTask).pages > 0);
    for page in 0..100 {
        two.write_page(two.good(), &task, page);
    }
    assert!(idle.rounds() > 0);
    assert!(two.charged()[0] <= HARD / 16);
}

#[test]
fn a_flusher_is_told_what_is_above_the_thresholds_of_a_store_and_of_all() {
    let two = Two::new();
    let task = Limited::new(two.limit);
    let to_flush = || [GOOD, STUCK].map(|store| two.limit.to_flush(store));
    for page in 0..30 {
        two.write_page(two.good(), &task, page);
    }
    assert_eq!((two.limit.share_of(GOOD).background(), to_flush()), (37, [0, 0]));
    two.write_page(&two.stuck, &task, 0);
    assert_eq!((two.limit.share_of(GOOD).background(), to_flush()), (20, [10, 0]));
    for page in 1..16 {
        two.write_page(&two.stuck, &task, page);
    }
    assert_eq!((two.charged(), to_flush()), ([30, 16], [10, 6]));
    two.send();
    assert_eq!(to_flush(), [10, 0], "what is under writeback is not dirty");
}

#[test]
fn pages_are_charged_to_their_store_until_their_writeback_succeeds_or_they_are_gone() {
    let two = Two::new();
    let task = Limited::new(two.limit);
    two.write_page(two.good(), &task, 0);
    for page in 0..3 {
        two.write_page(&two.stuck, &task, page);
    }
    assert_eq!(two.charged(), [1, 3]);
    two.below.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).unwrap();
    two.send();
    assert_eq!(two.charged(), [1, 3]);
    two.end();
    assert_eq!(two.charged(), [1, 3], "they are dirty again");
    assert_eq!(two.stuck.set_size(&mut token(), PAGE as u64, &NoTask), Ok(()));
    assert_eq!(two.charged(), [1, 1], "cut off");
    two.send();
    two.end();
    assert_eq!(two.charged(), [1, 0]);
    assert_eq!(two.limit.charged_to(StoreId(7)), 0, "the last place of the table");
}

#[test]
fn a_promise_is_given_back_to_the_store_that_it_was_for() {
    let two = Two::new();
    let task = Limited::new(two.limit);
    // Steps that unwound, and are not settled.
    assert_eq!((task.admit_dirty(STUCK, 3), two.charged()), (3, [0, 3]));
    assert_eq!((task.admit_dirty(GOOD, 2), two.charged()), (2, [2, 0]));
    drop(task);
    assert_eq!(two.charged(), [0, 0]);
}

#[test]
fn what_is_known_of_a_store_is_forgotten_with_it() {
    let two = Two::new();
    let task = Limited::new(two.limit);
    two.write_page(&two.stuck, &task, 0);
    two.send();
    for page in 0..60 {
        two.write_page(two.good(), &task, page % 8);
        assert_eq!(two.good().flush(&mut token(), 64, &NoTask).pages, 1);
        task.now.set(task.now.get() + TICK);
    }
    two.end();
    two.write_page(two.good(), &task, 0);
    assert_eq!(two.limit.share_of(STUCK).hard(), HARD / 16);
    two.limit.forget(STUCK);
    assert!(two.limit.share_of(STUCK).hard() > HARD / 2);
}
