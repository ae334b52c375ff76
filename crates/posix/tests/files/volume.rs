//! `sync`, `syncfs` and steps of the flusher, over the files of a store: F1, F2, F4.

use std::sync::{Arc, Mutex};

use faultless::filemap::{Flusher, Inodes, Left};
use faultless::parts::{Answer, Call, When};
use faultless::prelude::{AddressSpaceOperations, Errno as CacheErrno, NoTask, SyncKind};
use faultless_posix::{Errno, Volume};
use linux_raw_sys::general as linux;

use crate::support::*;

/// Files by their place.
#[derive(Debug, Default)]
struct Table(Mutex<Vec<File>>);

impl Inodes<TestKernel> for Table {
    type Handle = File;

    fn next(&self, from: u64) -> Option<(u64, File)> {
        let files = self.0.lock().expect("not held in a panic");
        files.get(from as usize).map(|file| (from, file.clone()))
    }

    fn end(&self) -> u64 {
        self.0.lock().expect("not held in a panic").len() as u64
    }
}

/// Nanoseconds after which a file is flushed: for ever, on the clock of a task without one.
const AGE: u64 = 1;
/// Dirty pages that may stay.
const BACKGROUND: u64 = 3;

struct Mounted {
    volume: Volume<Machine, Table>,
    /// Dropped last.
    rig: Rig,
}

impl Mounted {
    fn new() -> Self {
        let volume = Volume::new(Table::default(), Flusher::new(AGE, BACKGROUND));
        Self { rig: Rig::new(), volume }
    }

    /// An open file with two dirty pages.
    fn dirty_file(&self) -> (File, Open) {
        let file = self.rig.disk_file();
        self.volume.files().0.lock().expect("not held in a panic").push(file.clone());
        let open = self.open(&file);
        write(&open, &[7; 8192]).expect("room");
        (file, open)
    }

    fn open(&self, file: &File) -> Open {
        Arc::new(self.volume.open(file.clone(), linux::O_RDWR))
    }

    fn sync_stores(&self) -> Result<(), CacheErrno> {
        let files = self.volume.files().0.lock().expect("not held in a panic").clone();
        files.iter().try_for_each(|file| file.store().sync(SyncKind::All))
    }

    fn sync(&self) -> Result<(), Errno> {
        syscall(|token| self.volume.sync(token, || self.sync_stores(), &NoTask))
    }

    fn syncfs(&self, open: &Open) -> Result<(), Errno> {
        syscall(|token| self.volume.syncfs(open, token, || self.sync_stores(), &NoTask))
    }
}

fn fail_next(file: &File, call: Call) {
    file.store().plan(call, When::Nth(1), Answer::Fail(CacheErrno::Io));
}

fn sent(file: &File) -> (u64, u64) {
    (file.store().count(Call::Writeback), file.store().count(Call::Sync))
}

#[test]
fn f1_syncfs_and_sync_make_every_file_durable_and_sync_each_store_once() {
    let mounted = Mounted::new();
    let files = [(); 3].map(|()| mounted.dirty_file());
    assert_eq!(mounted.syncfs(&files[2].1), Ok(()));
    for (file, _) in &files {
        assert_eq!((sent(file), file.evict_all()), ((1, 1), 2));
    }
    pwrite(&files[0].1, b"x", 0).expect("room");
    assert_eq!(mounted.sync(), Ok(()));
    assert_eq!(files.each_ref().map(|(file, _)| sent(file)), [(2, 2), (1, 2), (1, 2)]);
}

#[test]
fn f2_each_open_file_of_the_volume_is_told_of_a_failure_once() {
    let mounted = Mounted::new();
    let (file, open) = mounted.dirty_file();
    let (_, other) = mounted.dirty_file();
    fail_next(&file, Call::Writeback);
    assert_eq!(mounted.sync(), Ok(()), "sync reports nothing");
    let late = mounted.open(&file);
    for open in [&open, &other, &late] {
        assert_eq!(mounted.syncfs(open), Err(Errno::IO));
        assert_eq!(mounted.syncfs(open), Ok(()));
    }
    assert_eq!(mounted.syncfs(&mounted.open(&file)), Ok(()), "opened after the report");
    assert_eq!((fsync(&open), fsync(&open)), (Err(Errno::IO), Ok(())), "fsync has its own");
    fail_next(&file, Call::Sync);
    assert_eq!(mounted.syncfs(&other), Err(Errno::IO), "the store");
}

#[test]
fn f4_a_step_of_the_flusher_keeps_to_its_budget_and_to_the_threshold() {
    let mounted = Mounted::new();
    let files = [(); 2].map(|()| mounted.dirty_file());
    let step = |dirty: u64, budget: u32| {
        let flushed = syscall(|token| mounted.volume.flush(token, dirty, budget, &NoTask));
        (flushed.pages, flushed.left)
    };
    assert_eq!(step(BACKGROUND, 9), (0, Left::Nothing));
    assert_eq!(step(BACKGROUND + 1, 1), (1, Left::Nothing), "down to the threshold");
    assert_eq!(step(u64::MAX, 2), (2, Left::Dirty));
    assert_eq!(step(u64::MAX, 2), (1, Left::Nothing));
    assert_eq!(files.each_ref().map(|(file, _)| file.evict_all()), [2, 2]);
    assert_eq!(files[0].0.store().count(Call::Sync), 0, "nothing is synced");
}

#[test]
fn sync_file_range_waits_and_sends_as_its_flags_say() {
    let mounted = Mounted::new();
    let (file, open) = mounted.dirty_file();
    let sends = |flags: u32| {
        let before = sent(&file);
        assert_eq!(sync_range(&open, 0, 0, flags), Ok(()), "{flags}");
        sent(&file).0 - before.0
    };
    let [before, write, after] = [
        linux::SYNC_FILE_RANGE_WAIT_BEFORE,
        linux::SYNC_FILE_RANGE_WRITE,
        linux::SYNC_FILE_RANGE_WAIT_AFTER,
    ];
    assert_eq!([before, after, before | after].map(sends), [0; 3], "a wait sends nothing");
    for flags in [write, before | write, write | after, before | write | after] {
        assert_eq!((sends(flags), sends(flags)), (1, 0), "{flags}");
        pwrite(&open, b"x", 0).expect("room");
    }
    fail_next(&file, Call::Writeback);
    assert_eq!(sync_range(&open, 0, 0, write), Ok(()), "which does not wait");
    for flags in [write | after, before | write | after] {
        fail_next(&file, Call::Writeback);
        assert_eq!(sync_range(&open, 0, 0, flags), Err(Errno::IO), "{flags}");
    }
    assert_eq!((fsync(&open), fsync(&open)), (Err(Errno::IO), Ok(())));
}
