//! Whole system calls against each other: write, fault, munmap, mlock, truncate, writeback,
//! reclaim.
//!
//! Each scenario ends with `Machine::check`: nothing locked, nothing begun and not ended, no frame
//! leaked or freed twice. A deadlock, or a frame used after it was freed, ends it before.
#![forbid(unsafe_code)]
// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_host::Access;
use faultless_page::{Errno, PAGE_SIZE, PageIndex, Strategy};

use crate::on_shuttle::machine::Machine;

fn all_are(bytes: &[u8], allowed: &[u8]) {
    assert!(
        bytes.iter().all(|byte| allowed.contains(byte)),
        "{bytes:02x?} are none of {allowed:02x?}"
    );
}

/// DL1: the source is a mapping of the page that is written; it is stolen now and then.
pub fn own_page() {
    for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
        let machine = Machine::new(4);
        let file = machine.file(b'a', 16, strategy);
        machine.map(1, &file, PageIndex::ZERO);
        let to = Arc::clone(&file);
        let write = machine.spawn(move |m| assert_eq!(m.write(&to, 8, 1, 0, 8), Ok(8)));
        let steal = machine.spawn(|m| m.steal(1));
        write.join().expect("the writer");
        steal.join().expect("the thief");
        assert_eq!(machine.read(&file, 0, 32), [b'a'; 16]);
        machine.check(vec![], vec![file]);
    }
}

/// DL2: each of two files is written from a mapping of the other.
pub fn two_files() {
    let machine = Machine::new(8);
    let (a, b) =
        (machine.file(b'a', 8, Strategy::BeginEnd), machine.file(b'b', 8, Strategy::PrepareCommit));
    machine.map(0, &a, PageIndex::ZERO);
    machine.map(1, &b, PageIndex::ZERO);
    let (to_a, to_b) = (Arc::clone(&a), Arc::clone(&b));
    let threads = vec![
        machine.spawn(move |m| assert_eq!(m.write(&to_a, 0, 1, 0, 8), Ok(8))),
        machine.spawn(move |m| assert_eq!(m.write(&to_b, 0, 0, 0, 8), Ok(8))),
    ];
    machine.check(threads, vec![a, b]);
}

/// DL3: a write that faults inside, and `mlock` of a mapping of the page that it writes.
pub fn write_and_mlock() {
    let machine = Machine::new(4);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    let to = Arc::clone(&file);
    let threads = vec![
        machine.spawn(move |m| assert_eq!(m.write(&to, 0, 0, 0, 8), Ok(8))),
        machine.spawn(|m| m.populate(1, Access::Read).expect("a page of the file")),
    ];
    machine.check(threads, vec![file]);
}

/// DL3 with a thief: the source is there when it is probed and gone when it is copied.
pub fn stolen_source() {
    let machine = Machine::new(4);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    let to = Arc::clone(&file);
    let threads = vec![
        machine.spawn(move |m| assert_eq!(m.write(&to, 0, 0, 0, 8), Ok(8))),
        machine.spawn(|m| (0..3).for_each(|_| m.steal(0))),
        machine.spawn(|m| m.populate(1, Access::Write).expect("a page of the file")),
    ];
    machine.check(threads, vec![file]);
}

/// DL3′: nobody holds M for writing; a queued writer stands between two readers.
pub fn queued_writer() {
    let machine = Machine::new(4);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    let to = Arc::clone(&file);
    let threads = vec![
        machine.spawn(move |m| assert_eq!(m.write(&to, 0, 0, 0, 8), Ok(8))),
        machine.spawn(|m| all_are(&[m.load(1, 0).expect("a page of the file")], b"ap")),
        machine.spawn(|m| m.unmap(2)),
    ];
    machine.check(threads, vec![file]);
}

/// The source is unmapped during the write: all of it arrives, or a prefix, or nothing and EFAULT.
pub fn unmapped_source() {
    let machine = Machine::new(6);
    let file = machine.file(b'a', 16, Strategy::BeginEnd);
    let to = Arc::clone(&file);
    let write = machine.spawn(move |m| {
        // Half of the source lies in page 0, half in page 1.
        let result = m.write(&to, 0, 0, PAGE_SIZE - 4, 8);
        let landed = match result {
            Ok(landed) => landed,
            Err(errno) => {
                assert_eq!(errno, Errno::Fault);
                0
            }
        };
        assert!(landed == 8 || landed == 4 || landed == 0, "not a prefix: {landed}");
        let bytes = m.read(&to, 0, 32);
        assert_eq!(bytes.len(), 16, "the size changed");
        all_are(&bytes[..landed], b"p");
        all_are(&bytes[landed..], b"a");
    });
    let unmap = machine.spawn(|m| m.unmap(1));
    machine.check(vec![write, unmap], vec![file]);
}

/// Truncation against a mapping: whoever still has the page in its page table afterwards would see
/// what the file has not.
pub fn truncate_and_fault() {
    let machine = Machine::new(6);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    assert_eq!(machine.load(1, 0), Ok(b'a'));
    let cut = Arc::clone(&file);
    let threads = vec![
        machine.spawn(|m| {
            m.steal(1);
            if let Ok(byte) = m.load(1, 0) {
                all_are(&[byte], b"a\0");
            }
            let _killed = m.store(1, 1, b'p');
        }),
        machine.spawn(move |m| {
            m.cut(&cut, 0);
            assert!(m.load(1, 0).is_err(), "a page past the end is mapped");
            m.cut(&cut, 8);
            let bytes = m.read(&cut, 0, 8);
            all_are(&bytes[..1], b"\0");
            all_are(&bytes[1..], b"\0p");
        }),
    ];
    machine.check(threads, vec![file]);
}

/// Truncation while a reader and a fault bring the page in: what was cut off is not seen again.
pub fn truncate_and_fill() {
    let machine = Machine::new(6);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    let (reading, cutting) = (Arc::clone(&file), Arc::clone(&file));
    let threads = [
        machine.spawn(move |m| all_are(&m.read(&reading, 0, 8), b"a")),
        machine.spawn(|m| _ = m.load(1, 0)),
        machine.spawn(move |m| m.cut(&cutting, 0)),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("a thread panicked"));
    machine.cut(&file, 8);
    assert_eq!(machine.read(&file, 0, 16), [0; 8], "cut off, and back again");
    machine.check(vec![], vec![file]);
}

/// Truncation to nothing, and a write that brings the page in: it is cut off, or comes after the
/// cut and makes the file grow.
pub fn truncate_and_overwrite() {
    for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
        let machine = Machine::new(6);
        let file = machine.file(b'a', 8, strategy);
        let (writing, cutting) = (Arc::clone(&file), Arc::clone(&file));
        let write = machine.spawn(move |m| assert_eq!(m.write(&writing, 0, 0, 0, 8), Ok(8)));
        let cut = machine.spawn(move |m| m.cut(&cutting, 0));
        write.join().expect("the writer");
        cut.join().expect("the cutter");
        if file.size() == 0 {
            machine.cut(&file, 8);
            assert_eq!(machine.read(&file, 0, 16), [0; 8], "cut off, and back again");
        } else {
            assert_eq!(machine.read(&file, 0, 16), [b'p'; 8]);
        }
        machine.check(vec![], vec![file]);
    }
}

/// Truncation to nothing, and an overwrite that has asked for room when it finds out that its
/// source is not there.
pub fn truncate_and_fail() {
    let machine = Machine::new(6);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.unmap(0);
    let (writing, cutting) = (Arc::clone(&file), Arc::clone(&file));
    let threads = vec![
        machine.spawn(move |m| assert_eq!(m.write(&writing, 0, 0, 0, 8), Err(Errno::Fault))),
        machine.spawn(move |m| m.cut(&cutting, 0)),
    ];
    machine.check(threads, vec![file]);
}

/// Stores through a mapping, while the page is written back and dropped: none is lost.
pub fn store_and_writeback() {
    let machine = Machine::new(6);
    let file = machine.file(b'a', 8, Strategy::BeginEnd);
    machine.map(1, &file, PageIndex::ZERO);
    machine.store(1, 0, b'r').expect("a page of the file");
    let device = Arc::clone(&file);
    let store = machine.spawn(|m| {
        for (offset, byte) in [(0, b's'), (1, b't')] {
            m.store(1, offset, byte).expect("a page of the file");
            assert_eq!(m.load(1, offset), Ok(byte), "a store is gone");
        }
    });
    let send = machine.spawn(move |m| {
        m.write_back(&device);
        m.evict(&device);
    });
    store.join().expect("the process");
    send.join().expect("the flusher");
    machine.write_back(&file);
    machine.evict(&file);
    assert_eq!(&file.mapping().store().bytes()[..2], b"st", "a store did not reach the device");
    machine.check(vec![], vec![file]);
}

/// Everything at once, on two files of two pages.
pub fn everything() {
    let machine = Machine::new(12);
    let pos = PAGE_SIZE as u64 - 4;
    let a = machine.file(b'a', PAGE_SIZE + 8, Strategy::BeginEnd);
    let b = machine.file(b'b', PAGE_SIZE + 8, Strategy::PrepareCommit);
    machine.map(1, &b, PageIndex::new(1));
    let (f1, f2, f3, f4, g3) =
        (Arc::clone(&a), Arc::clone(&a), Arc::clone(&a), Arc::clone(&a), Arc::clone(&b));
    let threads = vec![
        // From a private page into a mapping of the other file, across a page of the file.
        machine.spawn(move |m| match m.write(&f1, pos, 0, PAGE_SIZE - 4, 8) {
            Ok(landed) => assert!(landed == 4 || landed == 8, "{landed} landed"),
            Err(errno) => panic!("{errno}, though the private page is readable"),
        }),
        machine.spawn(move |m| {
            m.cut(&f2, pos + 2);
            m.cut(&f2, pos + 6);
        }),
        machine.spawn(move |m| {
            m.write_back(&f3);
            m.evict(&f3);
            m.evict(&g3);
        }),
        machine.spawn(move |m| {
            m.steal(0);
            let _gone = m.populate(1, Access::Read);
            m.unmap(1);
        }),
        machine.spawn(move |m| all_are(&m.read(&f4, pos, 8), b"apb\0")),
    ];
    machine.check(threads, vec![a, b]);
}
