//! A store that completes its requests later: what waits, what is read ahead, and what fails.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Errno, PageIndex, ReadRequest, SyncKind, forward_to_store,
};
use faultless_parts::{Answer, Call, QueuedStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Idle, Patient, TestKernel, Tester, at_next_allocation};
use super::rig::{assert_same, in_fault, token};
use super::store::{Disk, Event, TestStore};
use super::{PAGE, Rig, bytes};
use crate::{
    Access, Advice, DirectWrite, Dirty, Inode, NoTask, Protection, ReadAhead, ReadAheadLimits,
    WriteOptions,
};

type Queue = QueuedStore<&'static TestStore<Disk>, Patient>;

/// A cold file of `pages` pages, seen by a second inode through a queue.
struct Cold {
    file: Arc<Inode<TestKernel>>,
    queue: Arc<Queue>,
    content: Vec<u8>,
    ahead: ReadAhead<TestKernel>,
    /// Dropped after the file: it looks whether all frames have come back.
    rig: Rig,
}

impl Cold {
    fn new(pages: usize) -> Self {
        Self::on(Rig::new(), pages)
    }

    /// On a store that wants pages to stay as they are while they are written back.
    fn stable(pages: usize) -> Self {
        let rig = Rig::new();
        rig.store.stable.store(true, Relaxed);
        Self::on(rig, pages)
    }

    fn on(rig: Rig, pages: usize) -> Self {
        let content = bytes(7, pages * PAGE - 100);
        rig.fill_cold(&content);
        let store: &'static Arc<TestStore<Disk>> = Box::leak(Box::new(rig.store.clone()));
        let queue = Arc::new(Queue::new(store, Patient));
        let below: Arc<dyn AddressSpaceOperations> = queue.clone();
        let size = content.len() as u64;
        let file = Arc::new(Inode::new(rig.cache.clone(), below, rig.maps.clone(), size));
        Self { rig, queue, file, content, ahead: ReadAhead::new() }
    }

    /// Reads `len` bytes at `pos`; whether the reader had to wait for the store.
    #[track_caller]
    fn read(&self, pos: usize, len: usize) -> bool {
        let queue = self.queue.clone();
        let idle = Idle::with(move || queue.work());
        let slice = self.rig.user.slice(0, len);
        let mut to = IovIter::from_slice(&self.rig.user, &slice);
        let got = self.file.read_ahead(&mut token(), &mut to, pos as u64, &self.ahead, &NoTask);
        let expected = &self.content[pos..(pos + len).min(self.content.len())];
        assert_same(&self.rig.user.get(0, got.unwrap()), expected, "read through the queue");
        idle.rounds() > 0
    }

    /// The device has all the time that it needs.
    fn settle(&self) {
        while self.queue.work() {}
    }

    /// Pages that were read from the store since the last call.
    fn pages_read(&self) -> Vec<u64> {
        let events = self.rig.store.take_events();
        let read = events.into_iter().filter_map(|event| match event {
            Event::Read(page) => Some(page),
            _ => None,
        });
        read.collect()
    }
}

impl Drop for Cold {
    /// The drop of the file waits for its requests.
    fn drop(&mut self) {
        self.settle();
    }
}

#[test]
fn a_sequential_reader_waits_for_its_first_pages_and_each_page_is_read_once() {
    let cold = Cold::new(100);
    let mut waits = 0;
    for pos in (0..cold.content.len()).step_by(2 * PAGE) {
        waits += u32::from(cold.read(pos, 2 * PAGE));
        cold.settle();
    }
    assert!((1..=2).contains(&waits), "{waits} waits");
    let mut read = cold.pages_read();
    read.sort_unstable();
    assert_eq!(read, (0..100).collect::<Vec<_>>());
}

#[test]
fn without_streams_only_what_is_asked_for_is_read() {
    let cold = Cold::new(60);
    cold.ahead.advise(Advice::Random);
    for page in [50, 3, 20, 21, 22, 40] {
        assert!(cold.read(page * PAGE, 100));
        cold.settle();
    }
    assert_eq!(cold.pages_read(), [50, 3, 20, 21, 22, 40]);
}

#[test]
fn what_will_be_needed_is_read_without_a_wait_and_up_to_the_end_of_the_file() {
    let cold = Cold::new(90);
    let limits = ReadAheadLimits::DEFAULT;
    cold.file.will_need(&mut token(), 10 * PAGE as u64, u64::MAX, &limits);
    assert_eq!(cold.pages_read(), [], "it does not wait");
    assert!(cold.queue.waiting() >= 2, "at least a request for each leaf");
    cold.settle();
    assert_eq!(cold.pages_read(), (10..90).collect::<Vec<_>>());
    assert!(!cold.read(20 * PAGE, 4 * PAGE));
    cold.settle();
    assert_eq!(cold.pages_read(), []);
}

#[test]
fn l3_a_killed_direct_write_waits_for_no_read_that_began_meanwhile_and_says_so() {
    let cold = Cold::new(2);
    let task = Tester::new();
    let written = cold.file.direct_write(&mut token(), 0..4, &task, |token| {
        cold.file.will_need(token, 0, 1, &ReadAheadLimits::DEFAULT);
        assert_eq!(cold.queue.waiting(), 1);
        task.looks.set(0);
    });
    assert_eq!(written, Ok(DirectWrite { result: (), stale: true }));
    cold.settle();
    let once_more = cold.file.invalidate(&mut token(), 0..4, Dirty::Keep, &NoTask);
    assert_eq!((once_more, cold.file.mapping().cached_pages()), (Ok(()), 0));
}

#[test]
fn l3_reading_ahead_does_not_wait_for_pages_that_another_task_has_just_sent_for() {
    let cold = Cold::new(8);
    let file = cold.file.clone();
    let ahead = |file: &Inode<TestKernel>| {
        file.will_need(&mut token(), 0, u64::MAX, &ReadAheadLimits::DEFAULT);
    };
    // Between the look at what is absent and the lock. Nothing completes meanwhile.
    at_next_allocation(move || ahead(&file));
    ahead(&cold.file);
    assert_eq!(cold.queue.waiting(), 1);
    cold.settle();
    assert_eq!(cold.pages_read(), (0..8).collect::<Vec<_>>());
}

#[test]
fn l3_a_reader_that_is_killed_leaves_its_request_behind() {
    let cold = Cold::new(3);
    cold.rig.task.looks.set(3);
    let slice = cold.rig.user.slice(0, PAGE);
    let mut to = IovIter::from_slice(&cold.rig.user, &slice);
    let read = cold.file.read(&mut token(), &mut to, 0, &cold.rig.task);
    assert_eq!(read, Err(Errno::Interrupted));
    assert_eq!(cold.queue.waiting(), 1);
    cold.settle();
    assert!(!cold.read(0, PAGE), "it was read all the same");
}

#[test]
fn a_page_that_cannot_be_read_ahead_is_no_error_until_it_is_asked_for() {
    let cold = Cold::new(40);
    cold.read(0, PAGE);
    cold.rig
        .store
        .faults
        .plan(Call::Read, When::EveryNth(1), Answer::Fail(Errno::NoMemory))
        .unwrap();
    cold.settle();
    let slice = cold.rig.user.slice(0, PAGE);
    let queue = cold.queue.clone();
    let _idle = Idle::with(move || queue.work());
    let read = |page: usize| {
        let mut to = IovIter::from_slice(&cold.rig.user, &slice);
        cold.file.read(&mut token(), &mut to, (page * PAGE) as u64, &NoTask)
    };
    assert_eq!(read(0), Ok(PAGE));
    assert_eq!(read(1), Err(Errno::NoMemory), "the store's own error");
    cold.rig.store.faults.plan(Call::Read, When::EveryNth(0), Answer::Fail(Errno::Io)).unwrap();
    assert_eq!(read(1), Ok(PAGE), "it is read again");
}

#[test]
fn a_read_that_must_not_wait_ends_before_the_first_page_that_is_missing() {
    let cold = Cold::new(6);
    let try_read = |pos: usize, len: usize| {
        let slice = cold.rig.user.slice(0, len);
        let mut to = IovIter::from_slice(&cold.rig.user, &slice);
        let got = cold.file.try_read(&mut token(), &mut to, pos as u64, &NoTask)?;
        assert_eq!(to.count(), len - got);
        Ok(cold.rig.user.get(0, got))
    };
    assert_eq!(try_read(10, PAGE), Err(Errno::WouldBlock));
    assert_eq!(cold.queue.waiting(), 0, "nothing was started");
    cold.ahead.advise(Advice::Random);
    cold.read(0, 2 * PAGE);
    cold.settle();
    assert_same(&try_read(10, 3 * PAGE).unwrap(), &cold.content[10..2 * PAGE], "of what is there");
    assert_eq!(try_read(2 * PAGE, 1), Err(Errno::WouldBlock));
    assert_eq!(try_read(cold.content.len(), PAGE).as_deref(), Ok(&[][..]));
    // Memory that has to be faulted in is.
    cold.rig.user.atomic.set(50);
    assert_same(&try_read(0, 60).unwrap(), &cold.content[..60], "of a fault");
}

#[test]
fn f1_a_sync_returns_when_the_store_has_all_that_was_sent() {
    let cold = Cold::new(70);
    let queue = cold.queue.clone();
    let idle = Idle::with(move || queue.work());
    let slice = cold.rig.user.put(0, &[9; 300]);
    for page in [0, 1, 66] {
        let mut from = IovIter::from_slice(&cold.rig.user, &slice);
        let options = crate::WriteOptions::at(page * PAGE as u64 + 50);
        cold.file.write(&mut token(), &mut from, &options, &NoTask).unwrap();
    }
    assert!(idle.rounds() > 0, "the rest of each page was read");
    cold.settle();
    cold.rig.store.take_events();
    assert_eq!(cold.file.fsync(&mut token(), SyncKind::All, &NoTask), Ok(()));
    let events = cold.rig.store.take_events();
    let sent = |event: &Event| matches!(event, Event::Writeback(..));
    assert_eq!(events.iter().filter(|event| sent(event)).count(), 2);
    assert_eq!(events.last(), Some(&Event::Sync(SyncKind::All)));
}

#[test]
fn f2_a_writeback_that_fails_later_is_told_to_the_sync_that_waits() {
    let cold = Cold::new(2);
    cold.read(0, PAGE);
    let slice = cold.rig.user.put(0, &[9; 10]);
    let mut from = IovIter::from_slice(&cold.rig.user, &slice);
    cold.file.write(&mut token(), &mut from, &crate::WriteOptions::at(5), &NoTask).unwrap();
    cold.rig
        .store
        .faults
        .plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::NoSpace))
        .unwrap();
    let queue = cold.queue.clone();
    let _idle = Idle::with(move || queue.work());
    assert_eq!(cold.file.fsync(&mut token(), SyncKind::Data, &NoTask), Err(Errno::NoSpace));
    assert_eq!(cold.file.fsync(&mut token(), SyncKind::Data, &NoTask), Ok(()));
    assert_eq!(&cold.rig.store.page(0)[5..15], [9; 10]);
}

#[test]
fn writeback_of_a_range_is_started_without_a_wait_and_waited_for_apart() {
    let cold = Cold::new(3);
    for page in 0..3 {
        cold.read(page * PAGE, PAGE);
    }
    let write = |page: usize| {
        let slice = cold.rig.user.put(0, &[9; 10]);
        let mut from = IovIter::from_slice(&cold.rig.user, &slice);
        let options = crate::WriteOptions::at((page * PAGE) as u64);
        cold.file.write(&mut token(), &mut from, &options, &NoTask).unwrap();
    };
    (0..3).for_each(write);
    let range = |pages: core::ops::Range<u64>| pages.start * PAGE as u64..pages.end * PAGE as u64;
    let start = |pages| cold.file.start_writeback(&mut token(), range(pages), &NoTask);
    assert_eq!((start(1..2), cold.queue.waiting()), (Ok(()), 1));
    write(1);
    assert_eq!((start(0..3), cold.queue.waiting()), (Ok(()), 3), "but for the page under way");
    // Killed where it sleeps.
    cold.rig.task.looks.set(2);
    let killed = cold.file.wait_writeback(&mut token(), 0..u64::MAX, &cold.rig.task);
    assert_eq!((killed, cold.queue.waiting()), (Err(Errno::Interrupted), 3));
    let faults = &cold.rig.store.faults;
    faults.plan(Call::Writeback, When::Nth(2), Answer::Fail(Errno::NoSpace)).unwrap();
    let queue = cold.queue.clone();
    let _idle = Idle::with(move || queue.work());
    let wait = |pages| cold.file.wait_writeback(&mut token(), range(pages), &NoTask);
    assert_eq!((wait(1..2), cold.queue.waiting()), (Ok(()), 2), "of the range");
    assert_eq!((wait(0..3), cold.queue.waiting()), (Err(Errno::NoSpace), 0));
    let fsync = || cold.file.fsync(&mut token(), SyncKind::All, &NoTask);
    assert_eq!((fsync(), fsync()), (Err(Errno::NoSpace), Ok(())));
}

#[test]
fn a_truncation_waits_for_the_reads_of_the_pages_that_go() {
    let cold = Cold::new(8);
    cold.file.will_need(&mut token(), 0, u64::MAX, &ReadAheadLimits::DEFAULT);
    let queue = cold.queue.clone();
    let idle = Idle::with(move || queue.work());
    assert_eq!(cold.file.set_size(&mut token(), 100, &NoTask), Ok(()));
    assert!(idle.rounds() > 0);
    assert_eq!(cold.file.mapping().cached_pages(), 1);
}

/// A store that never ends a read of page 2.
struct Stuck {
    store: Arc<TestStore<Disk>>,
    kept: Mutex<Vec<ReadRequest>>,
}

impl AddressSpaceOperations for Stuck {
    fn submit_read(&self, request: ReadRequest) {
        if request.run().contains(PageIndex::new(2)) {
            self.kept.lock().expect("not held in a panic").push(request);
        } else {
            request.fill(|index, buf| self.store.read(index, buf));
        }
    }

    forward_to_store!(self => self.store; read, writeback, write_begin, write_end, set_size, sync);
    forward_to_store!(self => self.store; truncate_blocks, strategy, max_size, is_persistent);
}

#[test]
fn l4_a_reader_waits_for_its_first_page_and_not_for_one_behind_it_that_is_under_way() {
    let cold = Cold::new(4);
    let stuck = Arc::new(Stuck { store: cold.rig.store.clone(), kept: Mutex::default() });
    let below: Arc<dyn AddressSpaceOperations> = stuck.clone();
    let (cache, maps) = (cold.rig.cache.clone(), cold.rig.maps.clone());
    let file: Inode<TestKernel> = Inode::new(cache, below, maps, cold.content.len() as u64);
    file.will_need(&mut token(), 2 * PAGE as u64, PAGE as u64, &ReadAheadLimits::DEFAULT);
    let slice = cold.rig.user.slice(0, 4 * PAGE);
    let mut to = IovIter::from_slice(&cold.rig.user, &slice);
    cold.rig.task.looks.set(20);
    let read = file.read(&mut token(), &mut to, 0, &cold.rig.task);
    assert_eq!(read, Ok(2 * PAGE), "up to the page that never comes");
    stuck.kept.lock().expect("not held in a panic").clear();
}

#[test]
fn a_fault_waits_for_its_page_and_not_for_those_around_it() {
    let cold = Cold::new(40);
    let queue = cold.queue.clone();
    let idle = Idle::with(move || queue.work());
    let mapped = PageIndex::new(0)..PageIndex::new(30);
    let resolved = cold.file.fault_around(
        &mut in_fault(),
        PageIndex::new(20),
        Access::Read,
        mapped,
        &cold.ahead,
        &NoTask,
        |_, _| (),
    );
    assert_eq!((resolved, idle.rounds()), (Ok(()), 1));
    assert_eq!(cold.pages_read(), [20]);
    assert!(cold.queue.waiting() > 0, "the pages around it");
}

#[test]
fn pages_around_a_fault_are_installed_in_one_pass() {
    let cold = Cold::new(40);
    let queue = cold.queue.clone();
    let idle = Idle::with(move || queue.work());
    let fault = |page: u64| {
        let mut installed = Vec::new();
        let mapped = PageIndex::new(0)..PageIndex::new(30);
        let index = PageIndex::new(page);
        let resolved = cold.file.fault_around(
            &mut in_fault(),
            index,
            Access::Read,
            mapped,
            &cold.ahead,
            &NoTask,
            |index, mapped| {
                assert_eq!(mapped.protection, Protection::ReadOnly);
                installed.push(index.get());
            },
        );
        assert_eq!(resolved, Ok(()));
        installed
    };
    assert_eq!(fault(20)[0], 20);
    assert!(idle.rounds() > 0);
    cold.settle();
    let read = cold.pages_read();
    assert!(read.contains(&20) && read.iter().all(|page| (16..30).contains(page)), "{read:?}");
    // Those that have arrived by then come with the next fault.
    let again = fault(20);
    assert_eq!(again[0], 20, "the page of the fault comes first");
    let (mut rest, mut all) = (again[1..].to_vec(), read);
    rest.sort_unstable();
    all.sort_unstable();
    all.retain(|page| *page != 20);
    let left_out = all.iter().filter(|page| !rest.contains(page)).count();
    assert!(left_out <= 1, "all but a page with a marker: {rest:?} of {all:?}");
}

/// Writes a byte at `pos`.
fn write_beside_a_writeback(cold: &Cold, pos: u64) -> Result<usize, Errno> {
    let slice = cold.rig.user.put(0, b"!");
    let mut from = IovIter::from_slice(&cold.rig.user, &slice);
    let options = WriteOptions::at(pos);
    cold.file.write(&mut token(), &mut from, &options, &cold.rig.task).map(|written| written.bytes)
}

#[test]
fn a_page_that_must_be_stable_does_not_change_while_it_is_written_back() {
    for stable in [false, true] {
        let cold = if stable { Cold::stable(3) } else { Cold::new(3) };
        let queue = cold.queue.clone();
        let idle = Idle::with(move || queue.work());
        assert_eq!(write_beside_a_writeback(&cold, 9), Ok(1));
        let _sent = cold.file.flush(&mut token(), 8, &NoTask);
        assert_eq!(cold.queue.waiting(), 1, "the writeback is under way");
        let before = idle.rounds();
        assert_eq!(write_beside_a_writeback(&cold, 11), Ok(1));
        assert_eq!((idle.rounds() > before, cold.queue.waiting()), (stable, usize::from(!stable)));
        cold.settle();
        let stored = cold.rig.store.page(0)[11];
        assert_eq!(stored == cold.content[11], stable, "what was sent");
    }
}

#[test]
fn a_cpu_store_to_a_page_that_must_be_stable_waits_for_its_writeback() {
    for stable in [false, true] {
        let cold = if stable { Cold::stable(3) } else { Cold::new(3) };
        let queue = cold.queue.clone();
        let idle = Idle::with(move || queue.work());
        assert_eq!(write_beside_a_writeback(&cold, 9), Ok(1));
        let _sent = cold.file.flush(&mut token(), 8, &NoTask);
        let waiting = Cell::new(usize::MAX);
        let before = idle.rounds();
        let fault = |access| {
            let installed =
                cold.file.fault(&mut in_fault(), PageIndex::ZERO, access, &NoTask, |mapped| {
                    waiting.set(cold.queue.waiting());
                    mapped.protection
                });
            installed.expect("a page of the file")
        };
        assert_eq!(fault(Access::Read), Protection::ReadOnly);
        assert_eq!((waiting.get(), idle.rounds()), (1, before), "a load waits for nothing");
        assert_eq!(fault(Access::Write), Protection::Writable);
        assert_eq!(waiting.get(), usize::from(!stable), "stable: {stable}");
    }
}

#[test]
fn l3_the_wait_for_a_stable_page_ends_with_a_signal() {
    let cold = Cold::stable(3);
    {
        let queue = cold.queue.clone();
        let _idle = Idle::with(move || queue.work());
        assert_eq!(write_beside_a_writeback(&cold, 9), Ok(1));
    }
    let _sent = cold.file.flush(&mut token(), 8, &NoTask);
    cold.rig.task.looks.set(4);
    assert_eq!(write_beside_a_writeback(&cold, 11), Err(Errno::Interrupted));
    cold.rig.task.looks.set(u64::MAX);
    assert_eq!(cold.queue.waiting(), 1);
    cold.settle();
    assert_eq!(cold.rig.store.page(0)[11], cold.content[11], "nothing was written");
}
