//! `syncfs`: what of all files of a store is sent, in which order, and who is told of failures.

use core::cell::Cell;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, Strategy, SyncKind};
use faultless_parts::{Answer, Call, QueuedStore, When};
use faultless_usercopy::IovIter;

use super::kernel::{Idle, Patient, TestKernel, Tester, no_page_is_locked};
use super::rig::{File, token, write_elsewhere};
use super::store::{Disk, Event, TestStore, disk};
use super::{PAGE, Rig, bytes};
use crate::{Inode, Inodes, StoreCursor, StoreErrors, WriteOptions};

type Queue = QueuedStore<&'static TestStore<Disk>, Patient>;

/// Files with two dirty pages each, on stores of their own that complete their requests later, and
/// on one device.
struct Disks {
    files: Vec<Arc<File>>,
    stores: Vec<&'static TestStore<Disk>>,
    queues: Vec<Arc<Queue>>,
    errors: StoreErrors<TestKernel>,
    task: Tester,
    /// Looks at the table.
    looks: Cell<u32>,
    /// Writebacks before the last sync of the device.
    synced: Cell<Option<usize>>,
    /// Dropped last.
    rig: Rig,
}

impl Inodes<TestKernel> for Disks {
    type Handle = Arc<File>;

    fn next(&self, from: u64) -> Option<(u64, Arc<File>)> {
        no_page_is_locked("a look at the table");
        self.looks.set(self.looks.get() + 1);
        // The table never ends: files come as fast as it is passed over.
        let at = from as usize % self.files.len();
        Some((from, self.files[at].clone()))
    }

    fn end(&self) -> u64 {
        self.files.len() as u64
    }
}

impl Disks {
    fn new(files: usize) -> Self {
        let rig = Rig::new();
        let mut disks = Self {
            files: Vec::new(),
            stores: Vec::new(),
            queues: Vec::new(),
            errors: StoreErrors::new(),
            task: Tester::new(),
            looks: Cell::new(0),
            synced: Cell::new(None),
            rig,
        };
        for number in 0..files {
            let store = Box::leak(Box::new(TestStore::new(disk(64), Strategy::BeginEnd)));
            let queue = Arc::new(Queue::new(&*store, Patient));
            let below: Arc<dyn AddressSpaceOperations> = queue.clone();
            let (cache, maps) = (disks.rig.cache.clone(), disks.rig.maps.clone());
            disks.files.push(Arc::new(Inode::new(cache, below, maps, 0)));
            disks.stores.push(store);
            disks.queues.push(queue);
            disks.write(number);
        }
        disks
    }

    fn write(&self, number: usize) {
        let slice = self.rig.user.put(0, &bytes(number, 2 * PAGE));
        let mut from = IovIter::from_slice(&self.rig.user, &slice);
        let options = WriteOptions::at(0);
        assert!(self.files[number].write(&mut token(), &mut from, &options, &self.task).is_ok());
    }

    /// Does a request of the last file that has one.
    fn work(queues: &[Arc<Queue>]) -> bool {
        queues.iter().rev().any(|queue| queue.work())
    }

    /// The device works whenever the call waits.
    fn sync(&self, cursor: &mut StoreCursor) -> Result<(), Errno> {
        self.sync_with(cursor, Ok(()))
    }

    fn sync_with(&self, cursor: &mut StoreCursor, device: Result<(), Errno>) -> Result<(), Errno> {
        let queues = self.queues.clone();
        let _idle = Idle::with(move || Self::work(&queues));
        self.call(cursor, device)
    }

    fn call(&self, cursor: &mut StoreCursor, device: Result<(), Errno>) -> Result<(), Errno> {
        let sync = || {
            no_page_is_locked("a sync of the store");
            self.synced.set(Some(self.sent()));
            device
        };
        self.errors.sync_files_since(self, &mut token(), cursor, sync, &self.task)
    }

    /// Pages that have reached the stores.
    fn sent(&self) -> usize {
        let events = self.stores.iter().flat_map(|store| store.events());
        let pages = events.map(|event| match event {
            Event::Writeback(_, pages, _) => pages as usize,
            _ => 0,
        });
        pages.sum()
    }

    fn fails(&self, number: usize, errno: Errno) {
        let faults = &self.stores[number].faults;
        faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(errno)).unwrap();
    }

    fn fsync(&self, number: usize) -> Result<(), Errno> {
        let queues = self.queues.clone();
        let _idle = Idle::with(move || Self::work(&queues));
        self.files[number].fsync(&mut token(), SyncKind::All, &self.task)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        while Self::work(&self.queues) {}
        for file in self.files.drain(..) {
            Arc::into_inner(file).expect("the only handle").discard();
        }
    }
}

#[test]
fn f1_the_pages_of_all_files_reach_their_stores_and_then_the_device_is_synced_once() {
    let disks = Disks::new(3);
    assert_eq!(disks.sync(&mut disks.errors.cursor()), Ok(()));
    assert_eq!(disks.synced.take(), Some(6), "pages");
    assert_eq!(disks.sent(), 6);
    for (number, store) in disks.stores.iter().enumerate() {
        let size = Event::Size(2 * PAGE as u64);
        let sent = [size, Event::Writeback(0, 2, 2 * PAGE)];
        let calls: Vec<Event> = store
            .take_events()
            .into_iter()
            .filter(|event| matches!(event, Event::Size(_) | Event::Writeback(..) | Event::Sync(_)))
            .collect();
        assert_eq!(calls, sent, "F3: the size first");
        assert!(store.page(1) == bytes(number, 2 * PAGE)[PAGE..]);
    }
    assert_eq!((disks.sync(&mut disks.errors.cursor()), disks.sent()), (Ok(()), 0), "all is clean");
}

#[test]
fn f4_a_table_that_grows_and_files_that_are_written_meanwhile_do_not_hold_it_up() {
    let disks = Disks::new(3);
    // The files behind it are written when it is sent.
    let files = [1, 2].map(|file: usize| disks.files[file].clone());
    disks.stores[0].at_next(Call::Writeback, move || {
        let write = move || {
            for file in files {
                write_elsewhere(&file, 0, b"again");
                write_elsewhere(&file, 2 * PAGE as u64, &[1; PAGE]);
            }
        };
        std::thread::spawn(write).join().expect("the writer");
    });
    assert_eq!(disks.sync(&mut disks.errors.cursor()), Ok(()));
    assert_eq!((disks.synced.take(), disks.sent()), (Some(6), 6), "the pages of its start");
    assert!(disks.looks.get() <= 3 * 4, "three passes over three files: {}", disks.looks.get());
}

#[test]
fn l3_a_killed_call_leaves_requests_of_all_files_under_way_and_its_place_in_the_errors() {
    let disks = Disks::new(3);
    disks.fails(0, Errno::Io);
    let mut cursor = disks.errors.cursor();
    // The first pass asks once for each file; the second one waits, with nothing at work.
    disks.task.looks.set(3 + 2);
    assert_eq!(disks.call(&mut cursor, Ok(())), Err(Errno::Interrupted));
    let waiting: Vec<usize> = disks.queues.iter().map(|queue| queue.waiting()).collect();
    assert_eq!((waiting, disks.synced.take()), ([1; 3].into(), None), "none waits for another");
    disks.task.looks.set(u64::MAX);
    assert_eq!(disks.sync(&mut cursor), Err(Errno::Io), "told after all");
    assert_eq!(disks.sync(&mut cursor), Ok(()));
}

#[test]
fn f1_a_page_that_a_flusher_has_under_way_is_waited_for_and_its_failure_told() {
    let disks = Disks::new(2);
    let flushed = disks.files[1].flush(&mut token(), u32::MAX, &disks.task);
    assert_eq!((flushed.pages, disks.queues[1].waiting()), (2, 1));
    disks.fails(1, Errno::NoSpace);
    let mut cursor = disks.errors.cursor();
    assert_eq!(disks.sync(&mut cursor), Err(Errno::NoSpace));
    assert_eq!(disks.sync(&mut cursor), Ok(()));
    assert!(disks.stores[1].page(1) == bytes(1, 2 * PAGE)[PAGE..]);
}

#[test]
fn f2_each_open_file_of_the_store_is_told_of_a_failure_once_and_fsync_takes_none_away() {
    let disks = Disks::new(3);
    let mut cursors = [(); 2].map(|()| disks.errors.cursor());
    disks.fails(1, Errno::NoSpace);
    assert_eq!(disks.sync(&mut cursors[0]), Err(Errno::NoSpace));
    assert_eq!(disks.sent(), 6, "the others were sent, and the failed one was tried");
    assert_eq!(disks.sync(&mut cursors[0]), Ok(()), "once");
    assert_eq!(disks.sync(&mut cursors[1]), Err(Errno::NoSpace));
    assert_eq!(disks.sync(&mut disks.errors.cursor()), Ok(()), "opened after it was told");
    assert_eq!((disks.fsync(1), disks.fsync(1)), (Err(Errno::NoSpace), Ok(())), "of the file");
    assert_eq!(disks.fsync(0), Ok(()));
    disks.write(1);
    disks.fails(1, Errno::Io);
    assert_eq!(disks.fsync(1), Err(Errno::Io));
    assert_eq!(disks.sync(&mut cursors[0]), Err(Errno::Io), "a failure that was told to an fsync");
}

#[test]
fn f1_a_failed_sync_of_the_device_is_told_and_if_it_has_lost_pages_for_each_file() {
    let disks = Disks::new(2);
    let mut cursors = [(); 2].map(|()| disks.errors.cursor());
    assert_eq!(disks.sync_with(&mut cursors[0], Err(Errno::Io)), Err(Errno::Io));
    assert_eq!(cursors.each_mut().map(|cursor| disks.sync(cursor)), [Ok(()), Err(Errno::Io)]);
    assert_eq!(disks.fsync(0), Ok(()), "the store has kept what was sent");
    disks.stores[0].loses();
    assert_eq!(disks.sync_with(&mut cursors[0], Err(Errno::Io)), Err(Errno::Io));
    assert_eq!([disks.fsync(0), disks.fsync(1)], [Err(Errno::Io), Ok(())]);
    assert_eq!(disks.sync(&mut cursors[0]), Err(Errno::Io), "for ever");
    disks.files[0].accept_failed_sync();
    assert_eq!((disks.sync(&mut cursors[0]), disks.fsync(0)), (Ok(()), Ok(())));
}

#[test]
fn f2_a_sync_without_an_open_file_leaves_failures_to_those_that_ask() {
    let disks = Disks::new(1);
    let queues = disks.queues.clone();
    let _idle = Idle::with(move || Disks::work(&queues));
    disks.fails(0, Errno::Io);
    let sync = || disks.errors.sync_files(&disks, &mut token(), || Ok(()), &disks.task);
    assert_eq!(sync(), Ok(()));
    assert_eq!(disks.sync(&mut disks.errors.cursor()), Err(Errno::Io), "the next open file");
    assert_eq!(disks.sync(&mut disks.errors.cursor()), Ok(()));
}

#[test]
fn f2_the_failures_of_a_file_that_has_left_the_table_are_told() {
    let mut disks = Disks::new(2);
    let mut cursor = disks.errors.cursor();
    let flushed = disks.files[1].flush(&mut token(), u32::MAX, &disks.task);
    disks.fails(1, Errno::NoSpace);
    while Disks::work(&disks.queues) {}
    assert_eq!(flushed.pages, 2);
    let mut file = disks.files.pop().and_then(Arc::into_inner).expect("the only handle");
    let closed = {
        let queues = disks.queues.clone();
        let _idle = Idle::with(move || Disks::work(&queues));
        file.close(&mut token(), &disks.task)
    };
    assert_eq!(closed, Ok(()), "the pages are there, with the second attempt");
    disks.errors.leaves(&file);
    drop(file);
    assert_eq!(disks.sync(&mut cursor), Err(Errno::NoSpace));
    assert_eq!(disks.sync(&mut cursor), Ok(()));
}
