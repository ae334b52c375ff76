//! Open files: the position, and what the flags ask for.
#![forbid(unsafe_code)]

use faultless_page::{Errno, MAX_FILE_SIZE, SyncKind};
use faultless_parts::{Answer, Call, When};
use faultless_usercopy::IovIter;

use super::rig::token;
use super::store::Event;
use super::{PAGE, Rig, both, bytes, overlay};
use crate::{OpenFile, OpenFlags};

fn open(rig: &Rig, flags: OpenFlags) -> OpenFile {
    OpenFile::new(&**rig.file(), flags)
}

/// `write(2)`.
fn write(rig: &Rig, open: &mut OpenFile, bytes: &[u8]) -> Result<usize, Errno> {
    let slice = rig.user.put(0, bytes);
    let mut from = IovIter::from_slice(&rig.user, &slice);
    open.write(rig.file(), &mut token(), &mut from, &rig.task)
}

/// `pwrite(2)`.
fn write_at(rig: &Rig, open: &mut OpenFile, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let slice = rig.user.put(0, bytes);
    let mut from = IovIter::from_slice(&rig.user, &slice);
    open.write_at(rig.file(), &mut token(), &mut from, pos, &rig.task)
}

/// `read(2)`.
fn read(rig: &Rig, open: &mut OpenFile, len: usize) -> Result<std::vec::Vec<u8>, Errno> {
    let slice = rig.user.slice(0, len);
    let mut to = IovIter::from_slice(&rig.user, &slice);
    let got = open.read(rig.file(), &mut token(), &mut to, &rig.task)?;
    Ok(rig.user.get(0, got))
}

#[test]
fn w3_the_position_moves_by_what_landed_and_not_at_all_on_an_error() {
    both(|rig| {
        let mut file = open(&rig, OpenFlags::empty());
        assert_eq!((write(&rig, &mut file, b"abc"), file.position()), (Ok(3), 3));
        let new = bytes(1, 2 * PAGE);
        rig.user.ends_at(100);
        assert_eq!((write(&rig, &mut file, &new), file.position()), (Ok(100), 103));
        rig.user.ends_at(0);
        assert_eq!((write(&rig, &mut file, b"x"), file.position()), (Err(Errno::Fault), 103));
        rig.user.heal();
        assert_eq!((write(&rig, &mut file, b""), file.position()), (Ok(0), 103));
        assert_eq!((write_at(&rig, &mut file, 1, b"B"), file.position()), (Ok(1), 103));
        rig.assert_keeps(&overlay(b"aBc", 3, &new[..100]));
    });
}

#[test]
fn w3_a_read_moves_the_position_by_what_arrived() {
    let rig = Rig::new();
    let old = bytes(1, PAGE + 10);
    rig.fill_cold(&old);
    let mut file = open(&rig, OpenFlags::empty());
    assert_eq!(read(&rig, &mut file, PAGE).as_deref(), Ok(&old[..PAGE]));
    assert_eq!(read(&rig, &mut file, PAGE).as_deref(), Ok(&old[PAGE..]));
    assert_eq!(read(&rig, &mut file, PAGE).as_deref(), Ok(&[][..]));
    assert_eq!(file.position(), old.len() as u64);
    rig.store.faults.plan(Call::Read, When::EveryNth(1), Answer::Fail(Errno::Io)).expect("");
    rig.chill();
    assert_eq!(file.seek(5), Ok(()));
    assert_eq!((read(&rig, &mut file, 1), file.position()), (Err(Errno::Io), 5));
    assert_eq!(file.seek(MAX_FILE_SIZE + 1), Err(Errno::Invalid));
    assert_eq!((file.position(), file.seek(MAX_FILE_SIZE)), (5, Ok(())));
}

#[test]
fn w8_with_append_the_position_is_the_size_for_pwrite_too() {
    both(|rig| {
        rig.fill(b"old");
        let mut file = open(&rig, OpenFlags::APPEND);
        assert_eq!((write(&rig, &mut file, b""), file.position()), (Ok(0), 0), "no effect");
        assert_eq!((write(&rig, &mut file, b"new"), file.position()), (Ok(3), 6));
        assert_eq!(rig.write(6, b"by another"), Ok(10));
        assert_eq!((write_at(&rig, &mut file, 0, b"!"), file.position()), (Ok(1), 6));
        assert_eq!((write(&rig, &mut file, b"?"), file.position()), (Ok(1), 18));
        rig.assert_keeps(b"oldnewby another!?");
    });
}

#[test]
fn w11_the_flags_say_how_much_each_write_syncs() {
    let both_flags = OpenFlags::SYNC | OpenFlags::DATA_SYNC;
    for (flags, kind) in [
        (OpenFlags::empty(), None),
        (OpenFlags::DATA_SYNC, Some(SyncKind::Data)),
        (OpenFlags::SYNC, Some(SyncKind::All)),
        (both_flags, Some(SyncKind::All)),
    ] {
        both(|rig| {
            let mut file = open(&rig, flags);
            assert_eq!(write(&rig, &mut file, b"new"), Ok(3));
            let synced = |event: Event| match event {
                Event::Sync(kind) => Some(kind),
                _ => None,
            };
            let kinds: std::vec::Vec<SyncKind> =
                rig.store.take_events().into_iter().filter_map(synced).collect();
            assert_eq!(kinds, kind.into_iter().collect::<std::vec::Vec<_>>(), "{flags:?}");
            assert_eq!(write(&rig, &mut file, b""), Ok(0));
            assert_eq!(rig.store.take_events(), [], "nothing landed");
        });
    }
}

#[test]
fn w11_only_what_was_written_is_synced() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    assert_eq!(rig.write(0, b"other"), Ok(5));
    rig.store.take_events();
    let mut file = open(&rig, OpenFlags::DATA_SYNC);
    assert_eq!(write_at(&rig, &mut file, 2 * PAGE as u64 - 1, b"xy"), Ok(2));
    let sent = [Event::Writeback(1, 2, 2 * PAGE), Event::Sync(SyncKind::Data)];
    assert_eq!(rig.store.take_events(), sent);
}

#[test]
fn s5_a_failed_sync_overrides_the_count_and_the_position_stays() {
    both(|rig| {
        rig.fill(b"old");
        let mut file = open(&rig, OpenFlags::SYNC);
        rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
        assert_eq!((write(&rig, &mut file, b"new"), file.position()), (Err(Errno::Io), 0));
        assert_eq!((write(&rig, &mut file, b"new"), file.position()), (Ok(3), 3), "told once");
        assert_eq!(rig.fsync(), Err(Errno::Io), "F2: another caller has its own report");
        rig.assert_keeps(b"new");
    });
}
