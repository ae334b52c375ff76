//! I/O that passes by the cache. The transfer is that of another inode on the same store.

use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Errno, Frames, PageIndex, Strategy, SyncKind};
use faultless_parts::{Answer, Call, RamStore, When};
use faultless_usercopy::MayFault;

use super::kernel::Tester;
use super::rig::{File, in_fault, token, write_elsewhere};
use super::store::Event;
use super::user::User;
use super::{PAGE, Rig, bytes, overlay};
use crate::{Access, DirectWrite, Inode};

/// The file without its cache.
fn device(rig: &Rig) -> File {
    let store: Arc<dyn AddressSpaceOperations> = rig.store.clone();
    Inode::new(rig.cache.clone(), store, Default::default(), rig.file().size())
}

/// What is on the store at `pos`.
fn peek(device: &File, pos: u64, len: usize) -> Vec<u8> {
    let user = User::new();
    let slice = user.slice(0, len);
    let mut to = faultless_usercopy::IovIter::from_slice(&user, &slice);
    assert_eq!(device.read(&mut token(), &mut to, pos, &Tester::new()), Ok(len));
    user.get(0, len)
}

/// Writes past the cache.
fn poke(device: &File, pos: u64, bytes: &[u8]) {
    write_elsewhere(device, pos, bytes);
    assert_eq!(device.fsync(&mut token(), SyncKind::Data, &Tester::new()), Ok(()));
}

fn direct_write(
    rig: &Rig,
    pos: u64,
    bytes: &[u8],
    meanwhile: impl FnOnce(&mut MayFault),
) -> Result<bool, Errno> {
    let device = device(rig);
    let range = pos..pos + bytes.len() as u64;
    let written = rig.file().direct_write(&mut token(), range, &rig.task, |token| {
        meanwhile(token);
        poke(&device, pos, bytes);
    });
    written.map(|DirectWrite { result: (), stale }| stale)
}

#[test]
fn a_direct_read_sees_what_is_dirty() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 3 * PAGE));
    assert_eq!(rig.write(PAGE as u64 + 9, b"dirty"), Ok(5));
    assert_eq!(rig.write(2 * PAGE as u64, b"elsewhere"), Ok(9));
    let (device, range) = (device(&rig), PAGE as u64..2 * PAGE as u64);
    let read = |_: &mut MayFault| peek(&device, PAGE as u64 + 9, 5);
    let got = rig.file().direct_read(&mut token(), range, &rig.task, read);
    assert_eq!(got, Ok(b"dirty".to_vec()));
    assert_eq!(rig.cached(), 3, "pages stay");
    assert_eq!(rig.file().residency(0..u64::MAX).dirty, 1, "only the range is sent");
}

#[test]
fn a_direct_write_is_seen_by_reads_and_dirty_neighbours_in_its_pages_are_kept() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    assert_eq!(rig.write(PAGE as u64 - 2, b"dirty"), Ok(5));
    rig.task.now.set(77);
    assert_eq!(direct_write(&rig, PAGE as u64 + 100, b"direct", |_| ()), Ok(false));
    assert_eq!(rig.file().times().modified, 77);
    assert_eq!(rig.file().residency(0..u64::MAX).cached, 2, "the page of the range is gone");
    let all = overlay(&overlay(&old, PAGE - 2, b"dirty"), PAGE + 100, b"direct");
    rig.assert_keeps(&all);
}

#[test]
fn a_page_that_is_read_or_mapped_meanwhile_is_dropped_as_well() {
    let rig = Rig::new();
    let old = bytes(1, 2 * PAGE);
    rig.fill(&old);
    let file = rig.file().clone();
    let stale = direct_write(&rig, 0, b"direct", move |_| {
        let mut in_fault = in_fault();
        let task = Tester::new();
        let fault = file.fault(&mut in_fault, PageIndex::ZERO, Access::Read, &task, |_| ());
        assert_eq!(fault, Ok(()));
        assert_eq!(peek(&file, 0, 6), bytes(1, 6), "the old bytes are in the cache again");
    });
    assert_eq!(stale, Ok(false));
    rig.assert_keeps(&overlay(&old, 0, b"direct"));
}

#[test]
fn a_store_through_a_mapping_meanwhile_wins_and_is_reported() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    let file = rig.file().clone();
    let stale = direct_write(&rig, 0, b"direct", move |_| {
        let (mut in_fault, task) = (in_fault(), Tester::new());
        let fault = file.fault(&mut in_fault, PageIndex::ZERO, Access::Write, &task, |_| ());
        assert_eq!(fault, Ok(()));
    });
    assert_eq!(stale, Ok(true));
    rig.assert_keeps(&old);
}

#[test]
fn f5_a_pinned_page_or_a_failing_writeback_ends_it_before_the_transfer() {
    let rig = Rig::new();
    let old = bytes(1, PAGE);
    rig.fill(&old);
    let mut in_fault = in_fault();
    let pin = rig.file().fault(&mut in_fault, PageIndex::ZERO, Access::Read, &rig.task, |mapped| {
        mapped.frame.into_number()
    });
    let never = |_: &mut MayFault| panic!("the transfer");
    assert_eq!(direct_write(&rig, 0, b"direct", never), Err(Errno::Busy));
    // SAFETY: the count that the fault gave away.
    unsafe { rig.cache.frames().release(pin.expect("a page of the file")) };
    assert_eq!(rig.write(0, b"dirty"), Ok(5));
    rig.store.faults.plan(Call::Writeback, When::Nth(1), Answer::Fail(Errno::NoSpace)).expect("");
    assert_eq!(direct_write(&rig, 0, b"direct", never), Err(Errno::NoSpace));
    assert_eq!(rig.fsync(), Err(Errno::NoSpace));
    rig.assert_keeps(&overlay(&old, 0, b"dirty"));
}

#[test]
fn ranges_that_are_empty_or_past_the_end_and_stores_without_data_are_refused() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100));
    rig.store.take_events();
    let never = |_: &mut MayFault| panic!("the transfer");
    assert_eq!(direct_write(&rig, 0, b"", never), Err(Errno::Invalid));
    assert_eq!(direct_write(&rig, 98, b"end", never), Err(Errno::Invalid));
    assert_eq!(direct_write(&rig, 1 << 40, b"far", never), Err(Errno::Invalid));
    assert_eq!(rig.store.take_events(), [] as [Event; 0]);
    let rig = Rig::on(RamStore::new(), Strategy::BeginEnd, 16);
    assert_eq!(rig.write(0, b"here"), Ok(4));
    let refused = rig.file().direct_write(&mut token(), 0..4, &rig.task, never);
    assert_eq!(refused, Err(Errno::Invalid));
}
