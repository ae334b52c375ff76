//! A writeback that fails beside other system calls: what they may say, and that nothing is lost.
#![forbid(unsafe_code)]
// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_filemap::{NoTask, SyncKind, WriteOptions};
use faultless_page::{Errno, Strategy};

use super::machine::{File, Machine, token};
use crate::store::ModelStore;

/// Bytes of the file.
const LEN: usize = 8;

/// A file of old bytes on a store whose first writeback fails, and which is interrupted inside its
/// calls.
fn file(machine: &Machine) -> File {
    let old = [b'a'; LEN];
    let store = ModelStore::failing(&old, Strategy::BeginEnd, 1, shuttle::thread::yield_now);
    machine.file_on(store, LEN)
}

/// The new bytes are in the cache, and not yet on the store.
fn dirty(machine: &Machine) -> File {
    let file = file(machine);
    assert_eq!(machine.write(&file, 0, 0, 0, LEN), Ok(LEN));
    file
}

/// A sync that says Ok has made them durable (F1), whose writeback it was that failed or not.
fn sync(file: &File) {
    if file.fsync(&mut token(), SyncKind::All, &NoTask).is_ok() {
        assert_eq!(file.mapping().store().durable(), [b'p'; LEN], "F1: fsync said Ok");
    }
}

/// Nothing fails any more: once what failed has been told, a sync makes durable what was written
/// (F2, F5).
fn check(machine: Machine, file: File) {
    let told = file.fsync(&mut token(), SyncKind::All, &NoTask);
    let synced = told.or_else(|_| file.fsync(&mut token(), SyncKind::All, &NoTask));
    assert_eq!(synced, Ok(()), "F2: an error is told once");
    assert_eq!(file.mapping().store().durable(), [b'p'; LEN], "F5: what was written is lost");
    assert_eq!(machine.read(&file, 0, 2 * LEN), [b'p'; LEN]);
    machine.check(vec![], vec![file]);
}

/// F1, F2: a flusher's writeback fails while two syncs wait for it.
pub fn f1_flush_and_two_syncs() {
    let machine = Machine::new(6);
    let file = dirty(&machine);
    let (flushed, first, second) = (Arc::clone(&file), Arc::clone(&file), Arc::clone(&file));
    let threads = [
        machine.spawn(move |_| _ = flushed.writeback(&mut token(), 0..u64::MAX, &NoTask)),
        machine.spawn(move |_| sync(&first)),
        machine.spawn(move |_| sync(&second)),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("a thread panicked"));
    check(machine, file);
}

/// F1: a flusher sends what a write with `O_DSYNC` has just put there, and fails.
pub fn f1_write_through_and_flush() {
    let machine = Machine::new(6);
    let file = file(&machine);
    let (written, flushed) = (Arc::clone(&file), Arc::clone(&file));
    let threads = [
        machine.spawn(move |m| {
            let options = WriteOptions::at(0).with_sync(SyncKind::Data);
            match m.write_with(&written, 0, 0, LEN, options) {
                Ok(landed) => {
                    assert_eq!(landed, LEN);
                    let durable = written.mapping().store().durable();
                    assert_eq!(durable, [b'p'; LEN], "F1: a write with O_DSYNC said Ok");
                }
                Err(errno) => assert_eq!(errno, Errno::Io, "W11"),
            }
        }),
        machine.spawn(move |_| _ = flushed.writeback(&mut token(), 0..u64::MAX, &NoTask)),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("a thread panicked"));
    check(machine, file);
}

/// F5: evict looks at a page whose writeback fails at that moment.
pub fn f5_flush_and_evict() {
    let machine = Machine::new(6);
    let file = dirty(&machine);
    let (flushed, evicted) = (Arc::clone(&file), Arc::clone(&file));
    let threads = [
        machine.spawn(move |_| _ = flushed.writeback(&mut token(), 0..u64::MAX, &NoTask)),
        machine.spawn(move |m| m.evict(&evicted)),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("a thread panicked"));
    check(machine, file);
}
