//! Descriptors: `dup`, `dup2`, `close`, `fork`, `exec`.

use std::sync::Arc;

use faultless_posix::{Descriptors, Errno, OnExec};

use crate::support::*;

fn table(limit: usize) -> Descriptors<Open> {
    Descriptors::new(limit)
}

#[test]
fn the_lowest_free_descriptor_is_given() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let mut table = table(4);
    let add =
        |table: &mut Descriptors<Open>, least| table.add(least, Arc::clone(&open), OnExec::Keep);
    assert_eq!((add(&mut table, 0), add(&mut table, 0)), (Ok(0), Ok(1)));
    assert_eq!(add(&mut table, 3), Ok(3));
    assert_eq!(add(&mut table, 3), Err(Errno::MFILE));
    assert_eq!(add(&mut table, 4), Err(Errno::INVAL));
    table.remove(0).unwrap();
    assert_eq!((add(&mut table, 1), add(&mut table, 0)), (Ok(2), Ok(0)));
    assert_eq!(add(&mut table, 0), Err(Errno::MFILE));
}

#[test]
fn a_new_limit_leaves_what_is_open_and_holds_for_what_comes() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let mut table = table(8);
    table.set(7, Arc::clone(&open), OnExec::Keep).unwrap();
    table.set_limit(1);
    assert!(table.get(7).is_ok());
    assert_eq!(table.add(0, Arc::clone(&open), OnExec::Keep), Ok(0));
    assert_eq!(table.add(0, Arc::clone(&open), OnExec::Keep), Err(Errno::MFILE));
    assert_eq!(table.set(1, Arc::clone(&open), OnExec::Keep).err(), Some(Errno::BADF));
    table.set_limit(2);
    assert_eq!(table.add(0, Arc::clone(&open), OnExec::Keep), Ok(1));
}

#[test]
fn dup2_returns_what_it_replaces_and_close_what_was_open() {
    let rig = Rig::new();
    let (a, b) = (rig.memory_file().open_rw(), rig.memory_file().open_rw());
    let mut table = table(8);
    assert!(table.set(5, Arc::clone(&a), OnExec::Close).unwrap().is_none());
    let old = table.set(5, Arc::clone(&b), OnExec::Keep).unwrap();
    assert!(old.is_some_and(|old| Arc::ptr_eq(&old, &a)));
    assert_eq!(table.on_exec(5), Ok(OnExec::Keep));
    assert!(Arc::ptr_eq(table.get(5).unwrap(), &b));
    assert_eq!(table.set(8, Arc::clone(&b), OnExec::Keep).err(), Some(Errno::BADF));
    assert!(table.remove(5).is_ok_and(|open| Arc::ptr_eq(&open, &b)));
    for missing in [0, 4, 5, 8, usize::MAX] {
        assert_eq!(table.get(missing).err(), Some(Errno::BADF));
        assert_eq!(table.remove(missing).err(), Some(Errno::BADF));
        assert_eq!(table.on_exec(missing), Err(Errno::BADF));
        assert_eq!(table.set_on_exec(missing, OnExec::Keep), Err(Errno::BADF));
    }
}

#[test]
fn a_child_shares_open_files_and_not_the_table() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let mut parent = table(8);
    parent.add(2, Arc::clone(&open), OnExec::Close).unwrap();
    let mut child = parent.fork();
    assert_eq!(child.on_exec(2), Ok(OnExec::Close));
    write(child.get(2).unwrap(), b"abc").unwrap();
    assert_eq!(position(parent.get(2).unwrap()), 3, "one position");
    child.remove(2).unwrap();
    assert!(parent.get(2).is_ok());
    parent.set_on_exec(2, OnExec::Keep).unwrap();
    assert_eq!(parent.on_exec(2), Ok(OnExec::Keep));
}

#[test]
fn exec_closes_what_is_marked_and_exit_everything() {
    let rig = Rig::new();
    let file = rig.memory_file();
    let mut table = table(8);
    for on_exec in [OnExec::Keep, OnExec::Close, OnExec::Keep, OnExec::Close] {
        table.add(0, file.open_rw(), on_exec).unwrap();
    }
    assert_eq!(table.remove_if(|_, on_exec| on_exec == OnExec::Close).len(), 2);
    assert_eq!(table.iter().map(|(at, _)| at).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(table.remove_if(|_, _| true).len(), 2);
    assert_eq!(table.iter().count(), 0);
    assert_eq!(file.handles(), 1, "the last open file is gone");
}
