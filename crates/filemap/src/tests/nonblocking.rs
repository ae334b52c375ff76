//! Calls that do not sleep: what each is refused for, that its key is told before the last look and
//! woken afterwards, and what is kept from one call to the next.

use core::cell::RefCell;
use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Errno, Frames, LockContext, PageIndex, PageRun, StoreId, SyncKind,
    WaitKey,
};
use faultless_parts::{Answer, Call, When};
use faultless_usercopy::IovIter;

use super::kernel::{Patient, TestKernel, count_for, held, take_woken};
use super::rig::{File, in_fault, token, write_elsewhere};
use super::store::{Disk, TestStore};
use super::throttle::Queue;
use super::user::{READABLE, User};
use super::{PAGE, Rig, bytes, overlay};
use crate::ranges::ByteRange;
use crate::{
    Access, DirtyLimit, DirtyThresholds, DirtyWriter, FaultError, MappedFrame, NonBlocking, NotYet,
    Task, WriteOptions,
};

/// A task that is polled.
#[derive(Default)]
pub(super) struct Polled<'a> {
    /// Keys that it was told.
    told: RefCell<Vec<WaitKey>>,
    /// What another CPU does before it is told the next one.
    before: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl Task for Polled<'_> {
    fn would_wait(&self, key: WaitKey) {
        if let Some(before) = self.before.take() {
            before();
        }
        self.told.borrow_mut().push(key);
    }
}

impl Polled<'_> {
    /// Runs `call`, which is refused with a key that it was told, and holds nothing.
    #[track_caller]
    pub(super) fn refused<R: PartialEq + core::fmt::Debug, E: PartialEq + core::fmt::Debug>(
        &self,
        call: impl FnOnce() -> Result<R, NotYet<E>>,
    ) -> WaitKey {
        take_woken();
        self.told.take();
        let refused = call();
        let key = *self.told.borrow().last().expect("a key was told");
        assert_eq!(refused, Err(NotYet::WouldWait(key)));
        key
    }

    /// As `refused`; then `free` wakes the key.
    #[track_caller]
    pub(super) fn refused_until<
        R: PartialEq + core::fmt::Debug,
        E: PartialEq + core::fmt::Debug,
    >(
        &self,
        call: impl FnOnce() -> Result<R, NotYet<E>>,
        free: impl FnOnce(),
    ) {
        let key = self.refused(call);
        take_woken();
        free();
        assert!(take_woken().contains(&key), "no wake-up is lost");
    }
}

/// Writes what is left of a source at `pos`.
fn write_at(
    calls: &mut NonBlocking<'_, TestKernel>,
    from: &mut IovIter<'_, User>,
    pos: u64,
    task: &Polled<'_>,
) -> Result<usize, NotYet> {
    let written = calls.write(&mut token(), from, &WriteOptions::at(pos), task);
    written.map(|written| written.bytes)
}

pub(super) fn lock_context<'a>() -> LockContext<'a> {
    // SAFETY: the tests hold one page lock between calls of another task.
    unsafe { LockContext::new() }
}

/// A file whose reads and writebacks wait in a queue, and what it holds.
pub(super) fn queued(rig: &Rig, pages: usize) -> (File, Arc<Queue>, Vec<u8>) {
    let content = bytes(7, pages * PAGE - 100);
    rig.fill_cold(&content);
    let store: &'static Arc<TestStore<Disk>> = Box::leak(Box::new(rig.store.clone()));
    let queue = Arc::new(Queue::new(store, Patient));
    let below: Arc<dyn AddressSpaceOperations> = queue.clone();
    let file = File::new(rig.cache.clone(), below, rig.maps.clone(), content.len() as u64);
    (file, queue, content)
}

#[test]
fn l1_a_page_that_is_locked_refuses_a_write_and_wakes_it() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let mut calls = rig.file().nonblocking();
    let locked = rig.file().mapping().lock(lock_context(), PageRun::single(PageIndex::new(1)));
    let pos = PAGE as u64 - 20;
    task.refused_until(|| write_at(&mut calls, &mut from, pos, &task), || drop(locked));
    assert_eq!(write_at(&mut calls, &mut from, pos, &task), Ok(50));
    rig.assert_keeps(&overlay(&bytes(1, 2 * PAGE), PAGE - 20, &bytes(2, 50)));
}

#[test]
fn l1_a_page_that_comes_free_before_the_task_is_registered_is_had_at_once() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let locked = rig.file().mapping().lock(lock_context(), PageRun::single(PageIndex::ZERO));
    *task.before.borrow_mut() = Some(Box::new(move || drop(locked)));
    assert_eq!(write_at(&mut rig.file().nonblocking(), &mut from, 0, &task), Ok(50));
}

#[test]
fn l1_an_inode_that_is_taken_refuses_a_growing_write_and_wakes_it() {
    let rig = Rig::new();
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let mut calls = rig.file().nonblocking();
    let size_lock = rig.file().lock.lock(rig.cache.wait());
    task.refused_until(|| write_at(&mut calls, &mut from, 0, &task), || drop(size_lock));
    assert_eq!(write_at(&mut calls, &mut from, 0, &task), Ok(50));
    let source = rig.user.put(0, &bytes(3, 50));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let size_lock = rig.file().lock.lock(rig.cache.wait());
    *task.before.borrow_mut() = Some(Box::new(move || drop(size_lock)));
    let written = calls.write(&mut token(), &mut from, &WriteOptions::append(), &task);
    assert_eq!(written.map(|written| written.end), Ok(100), "it came free before the last look");
    assert_eq!(held(), []);
}

#[test]
fn l1_a_range_that_is_claimed_refuses_a_write_and_wakes_it() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 2 * PAGE));
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let mut calls = rig.file().nonblocking();
    let entry = pin!(rig.file().ranges.request());
    let bytes = ByteRange { start: 10, end: 20 };
    let claim = rig.file().ranges.get_ahead(entry.as_ref(), rig.cache.wait(), bytes);
    task.refused_until(|| write_at(&mut calls, &mut from, 0, &task), || drop(claim));
    assert_eq!(write_at(&mut calls, &mut from, 0, &task), Ok(50));
    assert_eq!(held(), []);
}

#[test]
fn l1_pages_that_move_refuse_a_read_and_wake_it() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 2 * PAGE));
    let (task, target) = (Polled::default(), rig.user.slice(0, PAGE));
    let mut to = IovIter::from_slice(&rig.user, &target);
    let mut calls = rig.file().nonblocking();
    let moving = rig.file().moving.begin(rig.cache.wait(), PageIndex::ZERO, &rig.task);
    task.refused_until(|| calls.read(&mut token(), &mut to, 0, &task), || drop(moving));
    assert_eq!(calls.read(&mut token(), &mut to, 0, &task), Ok(PAGE));
    assert_eq!(rig.user.get(0, PAGE), bytes(1, PAGE));
}

#[test]
fn l1_a_page_under_writeback_that_has_to_be_stable_refuses_a_write_and_wakes_it() {
    let rig = Rig::new();
    rig.store.stable.store(true, Relaxed);
    let (file, queue, content) = queued(&rig, 1);
    bring_in(&rig, &file, &queue);
    write_elsewhere(&file, 0, &content[..10]);
    assert_eq!(file.flush(&mut token(), 1, &rig.task).pages, 1);
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let mut calls = file.nonblocking();
    task.refused_until(|| write_at(&mut calls, &mut from, 0, &task), || assert!(queue.work()));
    assert_eq!(write_at(&mut calls, &mut from, 0, &task), Ok(50));
    drop(calls);
    file.discard();
}

/// The first page of the file is in the cache.
fn bring_in(rig: &Rig, file: &File, queue: &Queue) {
    let target = rig.user.slice(0, 1);
    let (mut to, mut calls) = (IovIter::from_slice(&rig.user, &target), file.nonblocking());
    let task = Polled::default();
    task.refused_until(|| calls.read(&mut token(), &mut to, 0, &task), || assert!(queue.work()));
    assert_eq!(calls.read(&mut token(), &mut to, 0, &task), Ok(1));
}

#[test]
fn f8_a_read_that_fails_is_reported_to_the_call_that_comes_back() {
    let rig = Rig::new();
    let (file, queue, content) = queued(&rig, 2);
    let (task, memory) = (Polled::default(), rig.user.slice(0, 50));
    let mut calls = file.nonblocking();
    for is_write in [false, true] {
        let mut memory = IovIter::from_slice(&rig.user, &memory);
        let mut call = || match is_write {
            true => write_at(&mut calls, &mut memory, 100, &task),
            false => calls.read(&mut token(), &mut memory, 100, &task),
        };
        rig.store.faults.clear();
        rig.store.faults.plan(Call::Read, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
        task.refused_until(&mut call, || assert!(queue.work()));
        assert_eq!(call(), Err(NotYet::Failed(Errno::Io)));
        task.refused_until(&mut call, || assert!(queue.work()));
        assert_eq!(call(), Ok(50), "and is tried again by the next one");
        file.evict(&mut token(), 0..u64::MAX);
    }
    assert_eq!(content.len() as u64, file.size());
    drop(calls);
    file.discard();
}

#[test]
fn a_page_that_is_read_for_a_call_stays_until_it_comes_back() {
    let rig = Rig::new();
    let (file, queue, content) = queued(&rig, 2);
    let (task, target) = (Polled::default(), rig.user.slice(0, 50));
    let mut to = IovIter::from_slice(&rig.user, &target);
    let mut calls = file.nonblocking();
    task.refused_until(|| calls.read(&mut token(), &mut to, 7, &task), || assert!(queue.work()));
    assert_eq!(file.evict(&mut token(), 0..u64::MAX), 0, "L1: it is counted");
    assert_eq!(calls.read(&mut token(), &mut to, 7, &task), Ok(50));
    assert_eq!(rig.user.get(0, 50), content[7..57]);
    assert_eq!(file.evict(&mut token(), 0..u64::MAX), 1);
}

#[test]
fn w1_exactly_what_can_be_read_lands_also_in_a_page_that_takes_all_or_nothing() {
    let rig = Rig::new();
    let (file, queue, content) = queued(&rig, 3);
    let (task, new) = (Polled::default(), bytes(2, READABLE));
    rig.user.put(0, &new);
    let readable = PAGE + 300;
    rig.user.ends_at(readable);
    let source = rig.user.slice(100, 2 * PAGE);
    let mut from = IovIter::from_slice(&rig.user, &source);
    let (mut calls, mut pos, mut missing) = (file.nonblocking(), PAGE as u64, 0);
    loop {
        match write_at(&mut calls, &mut from, pos, &task) {
            Ok(landed) => pos += landed as u64,
            Err(NotYet::WouldWait(_)) => assert!(queue.work(), "the page is being read"),
            Err(NotYet::WouldFault(range)) => {
                assert_eq!(range.addr(), rig.user.slice(readable, 0).addr(), "the first byte");
                missing += 1;
                if range.addr() == from.segment().addr() {
                    break;
                }
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(missing <= 6, "{missing} refusals");
    let landed = readable - 100;
    assert_eq!((pos, from.count()), ((PAGE + landed) as u64, 2 * PAGE - landed));
    rig.user.heal();
    let (target, expected) = (rig.user.slice(0, READABLE), &new[100..readable]);
    let mut to = IovIter::from_slice(&rig.user, &target);
    let read = calls.read(&mut token(), &mut to, PAGE as u64, &task);
    assert!(read.is_ok_and(|bytes| bytes >= landed));
    assert_eq!(rig.user.get(0, landed), expected);
    let rest = pos as usize..2 * PAGE + PAGE / 2;
    let len = rest.len().min(3 * PAGE - rest.start);
    assert_eq!(rig.user.get(landed, len), content[rest.start..rest.start + len]);
    while queue.work() {}
    drop(calls);
    file.discard();
}

/// What a write that came short gives back (W9) may have to wait: that is not what it is refused
/// for, and comes free without a wake that the task needs.
#[test]
fn l1_a_write_is_refused_for_what_it_needs_and_not_for_what_it_gives_back() {
    let rig = Rig::new();
    let (file, queue, content) = queued(&rig, 1);
    let (file, source) = (Arc::new(file), rig.user.slice(0, 50));
    rig.user.ends_at(0);
    let other = file.clone();
    rig.store.at_next(Call::TruncateBlocks, move || {
        let (user, reader) = (User::new(), Polled::default());
        let target = user.slice(0, 1);
        let mut to = IovIter::from_slice(&user, &target);
        reader.refused(|| other.nonblocking().read(&mut token(), &mut to, 0, &reader));
    });
    let (task, mut from) = (Polled::default(), IovIter::from_slice(&rig.user, &source));
    let refused = write_at(&mut file.nonblocking(), &mut from, 2 * PAGE as u64, &task);
    assert!(queue.work(), "the read that has the page of the end locked");
    assert!(matches!(refused, Err(NotYet::WouldFault(_))), "{refused:?}");
    assert_eq!((file.size(), task.told.take()), (content.len() as u64, Vec::new()));
    rig.user.heal();
    let written = write_at(&mut file.nonblocking(), &mut from, 2 * PAGE as u64, &task);
    assert_eq!(written, Ok(50));
    Arc::into_inner(file).expect("the only handle").discard();
}

#[test]
fn w11_a_write_that_has_to_be_synced_is_not_taken() {
    let rig = Rig::new();
    let (task, source) = (Polled::default(), rig.user.put(0, &bytes(2, 50)));
    let mut from = IovIter::from_slice(&rig.user, &source);
    let options = WriteOptions::at(0).with_sync(SyncKind::Data);
    let written = rig.file().nonblocking().write(&mut token(), &mut from, &options, &task);
    assert_eq!(written, Err(NotYet::Failed(Errno::Invalid)));
    assert_eq!((rig.file().size(), from.count()), (0, 50));
}

/// A task that asks before it dirties pages.
struct Limited {
    writer: DirtyWriter<'static, TestKernel>,
    polled: Polled<'static>,
}

impl Task for Limited {
    const LIMITS_DIRTY_PAGES: bool = true;

    fn admit_dirty(&self, _store: StoreId, _wanted: u32) -> u32 {
        panic!("a call that must not sleep waits for a promise");
    }

    fn try_admit_dirty(&self, store: StoreId, wanted: u32, would_wait: &dyn Fn(WaitKey)) -> u32 {
        self.writer.try_admit(store, wanted, would_wait)
    }

    fn settle_dirty(&self, dirtied: u32) {
        self.writer.settle(dirtied);
    }

    fn would_wait(&self, key: WaitKey) {
        self.polled.would_wait(key);
    }
}

#[test]
fn l6_a_write_past_the_limit_of_dirty_pages_is_refused_and_woken() {
    let rig = Rig::new();
    let limit: &'static _ = Box::leak(Box::new(DirtyLimit::new(DirtyThresholds::new(1, 2))));
    count_for(limit);
    let task = Limited { writer: DirtyWriter::new(limit, &Patient), polled: Polled::default() };
    rig.user.put(0, &bytes(2, 3 * PAGE));
    let source = rig.user.slice(0, 3 * PAGE);
    let mut from = IovIter::from_slice(&rig.user, &source);
    let mut calls = rig.file().nonblocking();
    let mut write = |from: &mut IovIter<'_, User>, pos: usize| {
        let options = WriteOptions::at(pos as u64);
        let written = calls.write(&mut token(), from, &options, &task);
        written.map(|written| written.bytes)
    };
    assert_eq!(write(&mut from, 0), Ok(2 * PAGE));
    task.polled.refused_until(
        || write(&mut from, 2 * PAGE),
        || rig.file().fsync(&mut token(), SyncKind::Data, &rig.task).expect("a sync"),
    );
    assert_eq!(write(&mut from, 2 * PAGE), Ok(PAGE));
    assert_eq!(rig.fsync(), Ok(()));
}

#[test]
fn a_fault_is_refused_for_its_page_and_for_a_promise_and_past_the_end() {
    let rig = Rig::new();
    let (file, queue, content) = queued(&rig, 1);
    let (task, mut calls) = (Polled::default(), file.nonblocking());
    let mut fault = |index, access| {
        let first = |mapped: MappedFrame<'_, TestKernel>| {
            // SAFETY: the frame is counted while the value lives; nothing writes to it.
            unsafe { rig.cache.frames().pool.address(mapped.frame.number()).read() }
        };
        calls.fault(&mut in_fault(), PageIndex::new(index), access, &task, first)
    };
    task.refused_until(|| fault(0, Access::Write), || assert!(queue.work()));
    assert_eq!(fault(0, Access::Write), Ok(content[0]));
    assert_eq!(fault(1, Access::Read), Err(NotYet::Failed(FaultError::PastEnd)));
    drop(calls);
    file.discard();
}
