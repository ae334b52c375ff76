//! Which files a step of a flusher sends, and in which order.

use core::cell::Cell;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, Strategy};
use faultless_parts::{Answer, Call, When};
use faultless_usercopy::IovIter;

use super::kernel::{TestKernel, Tester, no_page_is_locked};
use super::rig::{File, token};
use super::store::{Disk, Event, TestStore, disk};
use super::{PAGE, Rig, bytes};
use crate::{Flushed, Flusher, Inode, Inodes, Left, WriteOptions};

/// Nanoseconds after which a file is sent.
const AGE: u64 = 1000;
/// Dirty pages that may stay for so long.
const BACKGROUND: u64 = 6;

/// Files with stores of their own, and a table of them.
struct Many {
    files: Vec<(Arc<File>, Arc<TestStore<Disk>>)>,
    task: Tester,
    /// Calls of the table.
    looks: Cell<u32>,
    /// Dropped last.
    rig: Rig,
}

impl Inodes<TestKernel> for Many {
    type Handle = Arc<File>;

    fn next(&self, from: u64) -> Option<(u64, Arc<File>)> {
        no_page_is_locked("a look at the table");
        self.looks.set(self.looks.get() + 1);
        // Keys are even: 0, 2, …
        let at = from.div_ceil(2);
        self.files.get(at as usize).map(|(file, _)| (2 * at, file.clone()))
    }
}

impl Many {
    /// Files that became dirty at these times, with two pages each.
    fn dirtied_at(times: &[u64]) -> Self {
        let rig = Rig::new();
        let files = times.iter().map(|_| {
            let store = Arc::new(TestStore::new(disk(64), Strategy::BeginEnd));
            let below: Arc<dyn AddressSpaceOperations> = store.clone();
            (Arc::new(Inode::new(rig.cache.clone(), below, rig.maps.clone(), 0)), store)
        });
        let files = files.collect();
        let many = Self { files, task: Tester::new(), looks: Cell::new(0), rig };
        for (number, time) in times.iter().enumerate() {
            many.write(number, *time);
        }
        many
    }

    fn write(&self, number: usize, now: u64) {
        self.task.now.set(now);
        let slice = self.rig.user.put(0, &bytes(number, 2 * PAGE));
        let mut from = IovIter::from_slice(&self.rig.user, &slice);
        let file = &self.files[number].0;
        assert!(file.write(&mut token(), &mut from, &WriteOptions::at(0), &self.task).is_ok());
    }

    /// A step at time `now`; also the files that got something, with their pages, in their order.
    fn step(&self, now: u64, dirty_pages: u64, budget_pages: u32) -> (Flushed, Vec<(usize, u32)>) {
        self.task.now.set(now);
        let flusher = Flusher::new(AGE, BACKGROUND);
        let flushed = flusher.step(self, &mut token(), dirty_pages, budget_pages, &self.task);
        let pages = self.files.iter().map(|(_, store)| {
            let events = store.take_events();
            let sent = events.iter().map(|event| match event {
                Event::Writeback(_, pages, _) => *pages,
                _ => 0,
            });
            sent.sum::<u32>()
        });
        let sent = pages.enumerate().filter(|(_, pages)| *pages > 0).collect();
        (flushed, sent)
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        for (file, _) in self.files.drain(..) {
            Arc::into_inner(file).expect("the only handle").discard();
        }
    }
}

fn flushed(pages: u32, left: Left) -> Flushed {
    Flushed { pages, left }
}

#[test]
fn files_are_sent_when_they_reach_the_age_and_not_before() {
    let many = Many::dirtied_at(&[500, 300, 400]);
    assert_eq!(many.step(299 + AGE, BACKGROUND, 99), (flushed(0, Left::Nothing), [].into()));
    assert_eq!(many.step(300 + AGE, BACKGROUND, 99), (flushed(2, Left::Nothing), [(1, 2)].into()));
    let both = (flushed(4, Left::Nothing), [(0, 2), (2, 2)].into());
    assert_eq!(many.step(500 + AGE, BACKGROUND, 99), both);
    assert_eq!(many.step(9 * AGE, BACKGROUND, 99), (flushed(0, Left::Nothing), [].into()));
}

#[test]
fn a_step_keeps_to_its_budget_oldest_file_first_and_says_that_there_is_more() {
    let many = Many::dirtied_at(&[500, 300, 400]);
    assert_eq!(many.step(9 * AGE, 0, 3), (flushed(3, Left::Dirty), [(1, 2), (2, 1)].into()));
    assert_eq!(many.step(9 * AGE, 0, 1), (flushed(1, Left::Dirty), [(2, 1)].into()));
    assert_eq!(many.step(9 * AGE, 0, 2), (flushed(2, Left::Nothing), [(0, 2)].into()));
}

#[test]
fn above_the_threshold_young_files_are_sent_until_the_dirty_pages_are_few_enough() {
    let many = Many::dirtied_at(&[500, 300, 400]);
    assert_eq!(many.step(510, BACKGROUND, 99).0, flushed(0, Left::Nothing), "not above it");
    // Two files of two pages each.
    let sent = (flushed(4, Left::Nothing), [(1, 2), (2, 2)].into());
    assert_eq!(many.step(510, BACKGROUND + 3, 99), sent);
    assert_eq!(many.step(510, BACKGROUND + 3, 1), (flushed(1, Left::Dirty), [(0, 1)].into()));
    assert_eq!(many.step(510, u64::MAX, 99), (flushed(1, Left::Nothing), [(0, 1)].into()), "all");
}

#[test]
fn a_file_whose_writebacks_fail_comes_behind_the_others() {
    let many = Many::dirtied_at(&[300, 400]);
    let faults = &many.files[0].1.faults;
    faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io)).unwrap();
    let now = 300 + AGE;
    assert_eq!(many.step(now, 0, 99), (flushed(2, Left::Nothing), [(0, 2)].into()), "tried");
    assert_eq!(many.step(now + 100, 0, 2), (flushed(2, Left::Nothing), [(1, 2)].into()));
    assert_eq!(many.step(now + AGE - 1, 0, 2).0.pages, 0, "not at once");
    assert_eq!(many.step(now + AGE, 0, 2), (flushed(2, Left::Nothing), [(0, 2)].into()), "again");
    let synced = many.files[0].0.fsync(&mut token(), crate::SyncKind::All, &many.task);
    assert_eq!(synced, Err(Errno::Io), "F2");
}

#[test]
fn of_more_files_than_a_step_takes_the_oldest_come_first_and_each_comes() {
    let times: Vec<u64> = (0..40).map(|file| 100 + file * 7 % 40).collect();
    let many = Many::dirtied_at(&times);
    let mut sent = Vec::new();
    for expected in [16, 16, 8] {
        many.looks.set(0);
        let (step, files) = many.step(9 * AGE, 0, u32::MAX);
        assert_eq!(files.len(), expected);
        assert_eq!(step.left == Left::Dirty, sent.len() + expected < 40);
        assert!(many.looks.get() <= 41 + 16, "the table is passed over twice at most");
        let mut times: Vec<u64> = files.iter().map(|(file, _)| times[*file]).collect();
        times.sort_unstable();
        sent.extend(times);
    }
    assert_eq!(sent, (100..140).collect::<Vec<_>>());
}
