//! The fault handler's part, and CPU stores through a mapping: the test is the CPU.

use std::vec::Vec;

use faultless_page::{Errno, FrameNumber, Frames, LockId, PageIndex, Unmap};
use faultless_parts::{Answer, Call, When};

use super::kernel::{self, RmapCall};
use super::rig::{in_fault, token};
use super::store::Event;
use super::{PAGE, Rig, both, bytes, overlay};
use crate::{Access, FaultError, MappedFrame, Protection, ReadAhead};

/// What a fault maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    frame: FrameNumber,
    protection: Protection,
}

/// Resolves a fault; what would be mapped. No entry is set: the count is given back.
fn fault(rig: &Rig, index: usize, access: Access) -> Result<Mapped, FaultError> {
    let mut token = in_fault();
    let index = PageIndex::new(index as u64);
    let mapped = rig.file().fault(&mut token, index, access, &rig.task, |mapped| {
        let locked = kernel::held();
        assert!(matches!(locked[..], [LockId::Pages { .. }]), "the page and no more: {locked:?}");
        Mapped { frame: mapped.frame.number(), protection: mapped.protection }
    });
    assert_eq!(kernel::held(), [], "P3");
    mapped
}

/// A CPU store of `bytes` at `offset` of a page that is mapped writable.
#[track_caller]
fn cpu_store(rig: &Rig, mapped: Mapped, offset: usize, bytes: &[u8]) {
    assert_eq!(mapped.protection, Protection::Writable);
    assert!(offset + bytes.len() <= PAGE);
    let page = rig.cache.frames().address(mapped.frame).as_ptr();
    let to = page.wrapping_add(offset);
    // SAFETY: inside the page, which stays in the cache; this thread alone uses it.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

#[test]
fn p1_a_load_gets_the_bytes_of_the_file_read_only() {
    let rig = Rig::new();
    let old = bytes(1, PAGE + 50);
    rig.fill_cold(&old);
    let mapped = fault(&rig, 1, Access::Read).expect("inside the file");
    assert_eq!(mapped.protection, Protection::ReadOnly);
    assert_eq!(rig.cached_page(1), Some(overlay(&old[PAGE..], PAGE - 1, &[0])), "P2");
    assert_eq!(rig.store.take_events(), [Event::Read(1)]);
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.store.take_events(), [], "a load leaves the page clean");
}

#[test]
fn contiguous_frames_are_installed_in_one_lock_hold_and_the_length_of_the_run_is_told() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 16 * PAGE));
    let frame = rig.cache.allocate(1).expect("memory").take_first().expect("a frame");
    let moved = rig.file().migrate(&mut token(), PageIndex::new(9), frame, &rig.task);
    assert!(moved.is_ok());
    let (ahead, mapped) = (ReadAhead::new(), PageIndex::new(2)..PageIndex::new(100));
    let mut calls = Vec::new();
    let resolved = rig.file().fault_around(
        &mut in_fault(),
        PageIndex::new(4),
        Access::Read,
        mapped,
        &ahead,
        &rig.task,
        |index, mapped| {
            assert_eq!(kernel::held().len(), 1, "one lock hold");
            calls.push((index.get(), mapped.frame.number().get(), mapped.contiguous));
        },
    );
    assert_eq!((resolved, calls[0].0, calls[0].2), (Ok(()), 4, 1), "the page of the fault first");
    let around = &calls[1..];
    let pages: Vec<u64> = around.iter().map(|call| call.0).collect();
    assert_eq!(pages, (2..16).collect::<Vec<_>>());
    for pair in around.windows(2).filter(|pair| pair[0].2 > 1) {
        assert_eq!(pair[1], (pair[0].0 + 1, pair[0].1 + 1, pair[0].2 - 1));
    }
    let run_at = |page: usize| around[page - 2].2;
    assert_eq!((run_at(8), run_at(9)), (1, 1), "the page that has moved, and the one before");
    assert!(run_at(10) > 1, "{calls:?}");
}

#[test]
fn a_private_copy_is_made_and_installed_with_the_page_locked() {
    let rig = Rig::new();
    let old = bytes(1, PAGE + 50);
    rig.fill_cold(&old);
    let own = || rig.cache.allocate(1).expect("memory").take_first().expect("a frame");
    let copy = |index, frame| {
        let (mut token, index) = (in_fault(), PageIndex::new(index));
        rig.file().fault_copy(&mut token, index, frame, &rig.task, |frame| {
            assert!(matches!(kernel::held()[..], [LockId::Pages { .. }]));
            frame
        })
    };
    let copied = copy(1, own()).expect("inside the file");
    assert_eq!(copied.bytes()[..], overlay(&old[PAGE..], PAGE - 1, &[0])[..], "P2");
    assert_eq!(rig.write(PAGE as u64, b"new"), Ok(3));
    assert_eq!(copied.bytes()[..50], old[PAGE..], "it is the space's own");
    drop(copied);
    assert!(matches!(copy(2, own()), Err(FaultError::PastEnd)));
    assert_eq!(rig.fsync(), Ok(()));
    rig.chill();
    rig.store.faults.plan(Call::Read, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert!(matches!(copy(0, own()), Err(FaultError::Failed(Errno::Io))));
    assert_eq!(rig.file().residency(0..u64::MAX).dirty, 0, "the file is only read");
}

#[test]
fn p6_a_page_wholly_past_the_end_is_refused() {
    let rig = Rig::new();
    for access in [Access::Read, Access::Write] {
        assert_eq!(fault(&rig, 0, access), Err(FaultError::PastEnd));
    }
    rig.fill(&bytes(1, PAGE));
    assert_eq!(fault(&rig, 1, Access::Write), Err(FaultError::PastEnd));
    assert_eq!(fault(&rig, 1 << 20, Access::Read), Err(FaultError::PastEnd));
    assert!(fault(&rig, 0, Access::Write).is_ok());
    assert_eq!(rig.write(PAGE as u64, b"x"), Ok(1));
    assert!(fault(&rig, 1, Access::Read).is_ok());
    rig.assert_keeps(&overlay(&bytes(1, PAGE), PAGE, b"x"));
}

#[test]
fn f7_a_store_fault_makes_room_stamps_the_times_and_dirties_the_page() {
    let rig = Rig::new();
    assert_eq!(rig.set_size(PAGE as u64 + 100), Ok(()));
    rig.store.take_events();
    rig.task.now.set(44);
    let mapped = fault(&rig, 1, Access::Write).expect("room");
    assert_eq!(rig.file().times().modified, 44);
    let page = PAGE as u64;
    let asked = [Event::Read(1), Event::Begin(page, 100), Event::End(page, 100, 100)];
    assert_eq!(rig.store.take_events(), asked, "room up to the end of the file");
    cpu_store(&rig, mapped, 0, b"new");
    assert_eq!(rig.evict(), 0, "F5: dirty");
    rig.assert_keeps(&overlay(&overlay(&[], PAGE + 99, &[0]), PAGE, b"new"));
}

#[test]
fn f1_a_sync_write_protects_a_page_before_it_sends_it() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    let mapped = fault(&rig, 0, Access::Write).expect("room");
    cpu_store(&rig, mapped, 5, b"first");
    rig.maps.take();
    rig.task.now.set(90);
    let maps = rig.maps.clone();
    rig.store.at_next(Call::Writeback, move || {
        assert_eq!(maps.take(), [(0, 1, RmapCall::WriteProtect)], "before the page is sent");
    });
    assert_eq!(rig.fsync(), Ok(()));
    assert_eq!(rig.file().times().modified, 90, "F7: no later than the sync");
    rig.assert_stored(&overlay(&bytes(1, PAGE), 5, b"first"));
    // The next store faults again.
    let mapped = fault(&rig, 0, Access::Write).expect("room");
    cpu_store(&rig, mapped, 5, b"again");
    rig.assert_keeps(&overlay(&bytes(1, PAGE), 5, b"again"));
}

#[test]
fn f1_twin_a_cpu_store_that_was_not_asked_for_is_lost() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    let mapped = fault(&rig, 0, Access::Write).expect("room");
    assert_eq!(rig.fsync(), Ok(()));
    // The entry is read-only by now: a CPU could not.
    cpu_store(&rig, mapped, 5, b"late");
    assert_eq!(rig.fsync(), Ok(()));
    rig.assert_stored(&bytes(1, PAGE));
}

#[test]
fn p2_what_a_mapping_stored_past_the_end_is_zeros_on_the_store() {
    let rig = Rig::new();
    let old = bytes(1, 1000);
    rig.fill(&old);
    let mapped = fault(&rig, 0, Access::Write).expect("room");
    cpu_store(&rig, mapped, 990, &[7; 500]);
    assert_eq!(rig.writeback(), Ok(()));
    let expected = overlay(&old, 990, &[7; 10]);
    rig.assert_stored(&expected);
    rig.assert_keeps(&expected);
}

#[test]
fn p2_what_a_mapping_stored_past_the_end_is_zeros_once_the_file_grows() {
    both(|rig| {
        let old = bytes(1, 1000);
        for pos in [1000, 1010, PAGE, 3 * PAGE + 5] {
            assert_eq!(rig.set_size(0), Ok(()));
            rig.fill(&old);
            let mapped = fault(&rig, 0, Access::Write).expect("room");
            cpu_store(&rig, mapped, 1000, &[7; 500]);
            rig.maps.take();
            assert_eq!(rig.write(pos as u64, b"new"), Ok(3));
            let sealed = (0, 1, RmapCall::WriteProtect);
            assert_eq!(rig.maps.take(), [sealed], "the next store faults, and asks for room");
            rig.assert_keeps(&overlay(&old, pos, b"new"));
        }
    });
}

#[test]
fn p2_what_a_mapping_stored_past_the_end_is_zeros_after_a_change_of_the_size() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 1000));
    let mapped = fault(&rig, 0, Access::Write).expect("room");
    cpu_store(&rig, mapped, 1000, &[7; 500]);
    assert_eq!(rig.set_size(1200), Ok(()));
    rig.assert_keeps(&overlay(&bytes(1, 1000), 1199, &[0]));
}

#[test]
fn w9_a_store_fault_without_room_is_refused_and_the_page_stays_clean() {
    let rig = Rig::with_room(crate::Strategy::BeginEnd, 2);
    assert_eq!(rig.set_size(2 * PAGE as u64), Ok(()));
    let refused = Err(FaultError::Failed(Errno::NoSpace));
    assert_eq!(fault(&rig, 1, Access::Write), refused, "four blocks are wanted, two there");
    assert!(fault(&rig, 1, Access::Read).is_ok(), "a load needs no room");
    rig.store.take_events();
    assert_eq!(rig.writeback(), Ok(()));
    assert_eq!(rig.store.take_events(), [], "nothing is dirty");
    rig.assert_keeps(&std::vec![0; 2 * PAGE]);
}

#[test]
fn f8_a_page_that_cannot_be_read_is_not_mapped() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, PAGE));
    rig.store.faults.plan(Call::Read, When::Nth(1), Answer::Fail(Errno::Io)).expect("");
    assert_eq!(fault(&rig, 0, Access::Read), Err(FaultError::Failed(Errno::Io)));
    rig.store.faults.plan(Call::Read, When::Nth(1), Answer::Short).expect("");
    assert_eq!(fault(&rig, 0, Access::Write), Err(FaultError::Failed(Errno::Io)));
    assert!(fault(&rig, 0, Access::Read).is_ok());
    rig.assert_keeps(&bytes(1, PAGE));
}

#[test]
fn p8_a_fault_without_memory_is_enomem() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, PAGE));
    rig.grant(0);
    assert_eq!(fault(&rig, 0, Access::Read), Err(FaultError::Failed(Errno::NoMemory)));
    rig.grant(u64::MAX);
    assert!(fault(&rig, 0, Access::Read).is_ok());
}

#[test]
fn p6_a_truncation_between_two_rounds_of_a_fault_is_seen() {
    let rig = Rig::new();
    rig.fill_cold(&bytes(1, 2 * PAGE));
    // The size moves before the page's lock is asked for a second time, with a frame at hand.
    let file = rig.file().clone();
    rig.store.at_next(Call::Read, move || file.mapping().truncate_size(10));
    let mapped = fault(&rig, 1, Access::Read);
    assert_eq!(mapped, Err(FaultError::PastEnd));
}

#[test]
fn p2_a_killed_truncation_leaves_no_mapping_that_shows_what_was_cut_off() {
    let rig = Rig::new();
    let old = bytes(1, 3 * PAGE);
    rig.fill(&old);
    fault(&rig, 0, Access::Read).expect("inside the file");
    rig.maps.take();
    rig.cut_and_kill(1000, 2);
    assert!(
        rig.maps.take().contains(&(0, 1, RmapCall::Unmap(Unmap::Evict))),
        "the page of the end faults again"
    );
    let mut token = in_fault();
    let install = |_: MappedFrame<'_, _>| rig.cached_page(0).expect("in the cache");
    let page = rig.file().fault(&mut token, PageIndex::new(0), Access::Read, &rig.task, install);
    assert_eq!(page, Ok(overlay(&old[..1000], PAGE - 1, &[0])), "when it is mapped");
    assert_eq!(rig.set_size(1000), Ok(()), "completes the truncation");
    rig.assert_keeps(&old[..1000]);
}

#[test]
fn p5_the_count_of_the_frame_goes_to_the_entry_or_back() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    let frames = rig.cache.frames();
    let dropped = fault(&rig, 0, Access::Read).expect("inside the file").frame;
    assert_eq!(frames.references(dropped), 1, "no entry was set");
    let mut token = in_fault();
    let set = |mapped: MappedFrame<'_, _>| mapped.frame.into_number();
    let entry = rig.file().fault(&mut token, PageIndex::ZERO, Access::Read, &rig.task, set);
    assert_eq!((entry, frames.references(dropped)), (Ok(dropped), 2));
    assert_eq!(rig.evict(), 0, "the entry's count pins the page: this reverse map removes nothing");
    // SAFETY: the count that the entry was given.
    unsafe { frames.release(dropped) };
    assert_eq!((frames.references(dropped), rig.evict()), (1, 1));
}
