//! Reads and writes that leave nothing behind: how much stays meanwhile, and what stays for good.

use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, PageIndex, SharedFrame};
use faultless_parts::{Answer, Call, QueuedStore, RamStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Idle, Patient, TestKernel, Tester};
use super::rig::{File, assert_same, in_fault, token};
use super::store::{Disk, Event, TestStore, disk};
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, DropBehind, Inode, PageLocks, ReadAhead, Strategy, SyncKind, WriteOptions};

/// Pages of a list of the open file.
const LIST: u64 = 2;
/// Pages that a writer of single pages has in the cache at most.
const BOUND: u64 = 2 * LIST + 1;
/// Pages of a long file.
const LONG: usize = 50 * BOUND as usize;
/// Frames for all of it.
const FRAMES: usize = LONG + 50;

/// An open file of the rig's inode.
struct Open {
    ahead: ReadAhead<TestKernel>,
    behind: DropBehind<TestKernel>,
}

impl Open {
    fn new() -> Self {
        Self { ahead: ReadAhead::new(), behind: DropBehind::with_pages(LIST as u32) }
    }

    /// Writes `bytes` at `pos`, and leaves nothing behind.
    #[track_caller]
    fn write<S: AddressSpaceOperations>(&self, rig: &Rig<S>, pos: usize, bytes: &[u8]) {
        self.write_to(rig.file(), rig, &WriteOptions::at(pos as u64), bytes);
    }

    #[track_caller]
    fn write_to<S: AddressSpaceOperations>(
        &self,
        file: &File,
        rig: &Rig<S>,
        options: &WriteOptions,
        bytes: &[u8],
    ) {
        let slice = rig.user.put(0, bytes);
        let mut from = IovIter::from_slice(&rig.user, &slice);
        let written = file.write_behind(&mut token(), &mut from, options, &self.behind, &rig.task);
        assert_eq!(written.map(|written| written.bytes), Ok(bytes.len()));
    }

    /// Reads `len` bytes at `pos`, and leaves nothing behind.
    #[track_caller]
    fn read<S: AddressSpaceOperations>(&self, rig: &Rig<S>, pos: usize, len: usize) -> Vec<u8> {
        let slice = rig.user.slice(0, len);
        let mut to = IovIter::from_slice(&rig.user, &slice);
        let (file, pos) = (rig.file(), pos as u64);
        let read =
            file.read_behind(&mut token(), &mut to, pos, &self.ahead, &self.behind, &rig.task);
        rig.user.get(0, read.expect("a file that can be read"))
    }

    /// Reads the whole file, two pages at a time.
    #[track_caller]
    fn assert_reads(&self, rig: &Rig, content: &[u8]) {
        for (at, piece) in content.chunks(2 * PAGE).enumerate() {
            assert_same(&self.read(rig, at * 2 * PAGE, 2 * PAGE), piece, "of the file");
        }
        self.finish(rig);
    }

    fn finish<S: AddressSpaceOperations>(&self, rig: &Rig<S>) {
        self.behind.finish(rig.file(), &mut token(), &rig.task);
    }
}

/// A file for a long stream.
fn long() -> Rig {
    Rig::on(disk(4 * LONG), Strategy::BeginEnd, FRAMES)
}

/// How many writebacks the store was asked for.
fn writebacks(rig: &Rig) -> usize {
    let events = rig.store.take_events();
    events.iter().filter(|event| matches!(event, Event::Writeback(..))).count()
}

/// Which of the first pages are in the cache.
fn cached(rig: &Rig, pages: u64) -> Vec<u64> {
    (0..pages).filter(|page| rig.cached_page(*page).is_some()).collect()
}

/// A pin on a cached page.
fn pin(file: &File, index: u64) -> SharedFrame<'_, TestKernel> {
    let (mut token, page) = (token(), PageIndex::new(index));
    let run = faultless_page::PageRun::single(page);
    let locked = file.mapping().try_lock_free(token.page_locks(), run).expect("free");
    locked.pin(file.mapping(), page).expect("cached")
}

#[test]
fn a_long_stream_of_writes_has_two_lists_in_the_cache_and_flushes_once_a_list() {
    let (rig, open) = (long(), Open::new());
    let content = bytes(3, LONG * PAGE);
    let mut most = 0;
    for (at, page) in content.chunks(PAGE).enumerate() {
        open.write(&rig, at * PAGE, page);
        most = most.max(rig.cached());
    }
    assert!(most <= BOUND, "{most} pages, more than {BOUND}");
    let flushes = writebacks(&rig);
    assert!(flushes <= LONG / LIST as usize + LONG / 64 + 1, "{flushes} writebacks");
    open.finish(&rig);
    assert_eq!(rig.cached(), 0);
    rig.assert_keeps(&content);
}

#[test]
fn a_stream_of_small_writes_appends_and_is_bounded_as_well() {
    for len in [100, 1000, 3 * PAGE / 2] {
        let (rig, open) = (long(), Open::new());
        let content = bytes(4, 40 * PAGE + 5);
        let mut most = 0;
        for piece in content.chunks(len) {
            open.write_to(rig.file(), &rig, &WriteOptions::append(), piece);
            most = most.max(rig.cached());
        }
        assert!(most <= BOUND + 1, "{most} pages, more than {BOUND}, for pieces of {len}");
        open.finish(&rig);
        assert_eq!(rig.cached(), 0);
        rig.assert_keeps(&content);
    }
}

#[test]
fn scattered_writes_are_bounded_by_the_stretches_of_a_list() {
    let (rig, open) = (long(), Open::new());
    let mut content = bytes(5, LONG * PAGE);
    for (at, piece) in content.chunks(4 * PAGE).enumerate() {
        open.write(&rig, at * 4 * PAGE, piece);
    }
    open.finish(&rig);
    for step in 0..LONG {
        let at = (step * 77 % LONG) * PAGE + 5;
        open.write(&rig, at, b"scattered");
        content = overlay(&content, at, b"scattered");
        assert!(rig.cached() <= 2 * 8 + 1, "{} pages", rig.cached());
    }
    open.finish(&rig);
    assert_eq!(rig.cached(), 0);
    rig.assert_keeps(&content);
}

#[test]
fn one_large_write_is_bounded_by_its_steps() {
    let (rig, open) = (long(), Open::new());
    let content = bytes(6, PAGE);
    let slice = rig.user.put(0, &content);
    let segments = std::vec![slice; LONG];
    let mut from = IovIter::new(&rig.user, &segments).expect("a vector");
    let options = WriteOptions::append();
    let written =
        rig.file().write_behind(&mut token(), &mut from, &options, &open.behind, &rig.task);
    assert_eq!(written.map(|written| written.bytes), Ok(LONG * PAGE));
    assert!(rig.cached() <= 2 * 64 + 1, "{} pages", rig.cached());
    open.finish(&rig);
    assert_eq!(rig.cached(), 0);
    rig.assert_keeps(&content.repeat(LONG));
}

#[test]
fn a_store_that_completes_later_is_waited_for_a_list_behind() {
    type Queue = QueuedStore<&'static TestStore<Disk>, Patient>;
    let rig = long();
    let store: &'static Arc<TestStore<Disk>> = Box::leak(Box::new(rig.store.clone()));
    let queue = Arc::new(Queue::new(store, Patient));
    let below: Arc<dyn AddressSpaceOperations> = queue.clone();
    let file: File = Inode::new(rig.cache.clone(), below, rig.maps.clone(), 0);
    let open = Open::new();
    let content = bytes(7, LONG * PAGE);
    let device = queue.clone();
    let idle = Idle::with(move || device.work());
    let mut most = 0;
    for (at, page) in content.chunks(PAGE).enumerate() {
        open.write_to(&file, &rig, &WriteOptions::at((at * PAGE) as u64), page);
        most = most.max(file.mapping().cached_pages());
        if at < 2 * LIST as usize - 1 {
            let lists = (at + 1) / LIST as usize;
            assert_eq!((queue.waiting(), idle.rounds()), (lists, 0), "handed over, not waited for");
        }
    }
    assert!(most <= BOUND, "{most} pages, more than {BOUND}");
    open.behind.finish(&file, &mut token(), &rig.task);
    assert_eq!((file.mapping().cached_pages(), queue.waiting()), (0, 0));
    let stored: Vec<u8> = (0..LONG as u64).flat_map(|page| rig.store.page(page)).collect();
    assert_same(&stored, &content, "on the store");
}

#[test]
fn pages_that_are_read_mapped_pinned_or_written_otherwise_stay() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(8, 8 * PAGE);
    open.write(&rig, 0, &content[..3 * PAGE]);
    assert_eq!(rig.read(PAGE as u64 + 10, 20).as_deref(), Ok(&content[PAGE + 10..PAGE + 30]));
    let mapped =
        rig.file().fault(&mut in_fault(), PageIndex::new(2), Access::Read, &rig.task, |mapped| {
            mapped.frame.number()
        });
    assert!(mapped.is_ok(), "and the frame's count is gone again");
    open.write(&rig, 3 * PAGE, &content[3 * PAGE..6 * PAGE]);
    let pinned = pin(rig.file(), 4);
    assert_eq!(rig.write(5 * PAGE as u64, b"over"), Ok(4));
    let content = overlay(&content, 5 * PAGE, b"over");
    open.write(&rig, 6 * PAGE, &content[6 * PAGE..]);
    open.finish(&rig);
    assert_eq!(cached(&rig, 8), [1, 2, 4, 5]);
    drop(pinned);
    rig.assert_keeps(&content);
}

#[test]
fn what_was_there_before_stays_and_so_does_what_another_has_made_dirty() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(9, 8 * PAGE);
    rig.fill(&content);
    open.write(&rig, PAGE, &content[PAGE..6 * PAGE]);
    open.assert_reads(&rig, &content);
    assert_eq!(cached(&rig, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rig.fsync(), Ok(()));
    rig.chill();
    assert_eq!(rig.write(2 * PAGE as u64, b"mine"), Ok(4));
    let content = overlay(&content, 2 * PAGE, b"mine");
    open.assert_reads(&rig, &content);
    assert_eq!(cached(&rig, 8), [2]);
    rig.assert_keeps(&content);
}

#[test]
fn f2_pages_that_the_store_fails_to_take_stay_dirty_and_a_sync_reports_it() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(10, 20 * PAGE);
    let planned =
        rig.store.faults.plan(Call::Writeback, When::EveryNth(1), Answer::Fail(Errno::Io));
    assert_eq!(planned, Ok(()));
    for (at, page) in content.chunks(PAGE).enumerate() {
        open.write(&rig, at * PAGE, page);
    }
    open.finish(&rig);
    assert_eq!(rig.cached(), 20, "nothing is lost");
    rig.assert_holds(&content);
    assert_eq!(rig.fsync(), Err(Errno::Io));
    rig.store.faults.clear();
    rig.assert_keeps(&content);
}

#[test]
fn a_long_stream_of_reads_leaves_nothing_but_what_is_read_ahead() {
    let (rig, open) = (long(), Open::new());
    let content = bytes(11, LONG * PAGE);
    for (at, piece) in content.chunks(4 * PAGE).enumerate() {
        open.write(&rig, at * 4 * PAGE, piece);
    }
    open.finish(&rig);
    for len in [700, PAGE, 5 * PAGE] {
        let (mut at, mut most) = (0, 0);
        rig.store.take_events();
        while at < content.len() {
            let got = open.read(&rig, at, len);
            assert!(got == content[at..at + got.len()]);
            at += got.len();
            most = most.max(rig.cached());
        }
        let ahead = 2 * 128 + 8;
        assert!(most <= ahead.min(LONG as u64 - 1), "{most} pages, reads of {len}");
        assert_eq!(rig.cached(), 0, "after the end, reads of {len}");
        let events = rig.store.take_events();
        let reads = events.iter().filter(|event| matches!(event, Event::Read(_))).count();
        assert_eq!(reads, LONG, "each page once: the stream was followed, reads of {len}");
    }
}

#[test]
fn pages_that_another_reads_of_those_read_ahead_stay() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(12, 20 * PAGE);
    rig.fill_cold(&content);
    assert_eq!(open.read(&rig, 0, PAGE), content[..PAGE]);
    assert_eq!(cached(&rig, 20), [1, 2, 3, 4], "read ahead");
    assert_eq!(rig.read(2 * PAGE as u64, 5).as_deref(), Ok(&content[2 * PAGE..2 * PAGE + 5]));
    let mut at = PAGE;
    while at < content.len() {
        at += open.read(&rig, at, 2 * PAGE).len();
    }
    assert_eq!(cached(&rig, 20), [2]);
    assert_eq!(rig.file().dropped_unused.load(Relaxed), 0);
}

#[test]
fn transient_pages_that_leave_are_not_counted_as_read_ahead_for_nothing() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(13, 3 * PAGE);
    open.write(&rig, 0, &content);
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.evict(), 3);
    assert_eq!(rig.file().dropped_unused.load(Relaxed), 0);
    rig.assert_keeps(&content);
}

#[test]
fn scattered_reads_drop_a_page_once_the_next_begins_elsewhere() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(14, 60 * PAGE);
    rig.fill_cold(&content);
    open.ahead.advise(crate::Advice::Random);
    for step in 0..40 {
        let at = (step * 23 % 60) * PAGE + 100;
        assert_eq!(open.read(&rig, at, 200), content[at..at + 200]);
        assert_eq!(rig.cached(), 1);
    }
    open.finish(&rig);
    assert_eq!(rig.cached(), 0);
}

#[test]
fn a_store_that_keeps_nothing_has_its_pages_stay() {
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, FRAMES);
    let open = Open::new();
    let content = bytes(15, 20 * PAGE);
    for (at, page) in content.chunks(PAGE).enumerate() {
        open.write(&rig, at * PAGE, page);
    }
    assert_eq!(open.read(&rig, 3 * PAGE, 2 * PAGE), content[3 * PAGE..5 * PAGE]);
    open.finish(&rig);
    assert_eq!(rig.cached(), 20);
    rig.assert_holds(&content);
}

#[test]
fn l3_a_killed_task_does_not_wait_and_loses_nothing() {
    let (rig, open) = (Rig::new(), Open::new());
    let content = bytes(16, PAGE);
    open.write(&rig, 0, &content);
    let killed = Tester::new();
    killed.looks.set(0);
    open.behind.finish(rig.file(), &mut token(), &killed);
    assert_eq!(rig.cached(), 1);
    assert_eq!(rig.file().fsync(&mut token(), SyncKind::All, &rig.task), Ok(()));
    rig.assert_keeps(&content);
}
