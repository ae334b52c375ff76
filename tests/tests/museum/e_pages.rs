//! E5, E9, E10, E16: pages that are written again, dropped, or read for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use faultless::filemap::{NoTask, Strategy, WriteOptions};
use faultless::page::{Frames, PageIndex, PageRun};
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, Machine, Mmu, Protection, When, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::waiting::until;
use faultless_tests::{
    Backing, File, PAGE, Rig, TestTask, assert_same, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Failure, Subject, exhibit, exhibit_to, room};
use crate::kernels::booked;
use crate::planted::{self, Bug};
use crate::threads::{Hooked, Sleeper, context, read_as, room_over, spawn, write_as};

/// Steps after which a read counts as endless. No exhibit needs a tenth of them.
const STEPS: u64 = 200;

/// Which eviction an exhibit is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Faultless,
    Planted,
}

impl Core {
    fn evict(self, file: &File) -> u64 {
        match self {
            Self::Faultless => calls::evict(file),
            Self::Planted => syscall(|token| planted::evict(file, token)),
        }
    }
}

/// Writers that stand in the middle of an overwrite of two bytes each.
const HOLDERS: usize = 20;
/// Bytes of E5's file before the append.
const BEFORE: usize = 1000;
/// Bytes that are appended.
const MORE: usize = PAGE + 500;
/// Where the later write goes, into what is visible of the append.
const LATER: (usize, [u8; 50]) = (BEFORE + 10, [0xee; 50]);

/// The kind of wasmer#6525: an append comes short beside many slow overwriters, and its visible
/// part is overwritten before it goes on. What the file has to hold.
fn e05<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Vec<u8> {
    let mut holds = pattern(1, BEFORE);
    rig.fill(&holds);
    let machine = rig.machine();
    let (held, bytes) = (Arc::new(AtomicUsize::new(0)), pattern(2, MORE));
    let go_on = Arc::new(AtomicBool::new(false));
    let task = Arc::new(Sleeper::new(machine.check()));
    let later = Arc::new(Mutex::new(None));
    std::thread::scope(|scope| {
        for holder in 0..HOLDERS {
            let (held, go_on) = (Arc::clone(&held), Arc::clone(&go_on));
            spawn(scope, &format!("holder {holder}"), move || {
                let space = machine.space_of(2);
                space.map_anonymous(0, 1, Protection::ReadWrite);
                space.store(space.at(0, 0), &[holder as u8 + 1; 2]).expect("the source");
                space.script().add(Event::AtomicCopy, When::Nth(1), Action::Short(1));
                space.script().add(Event::AtomicCopy, When::Nth(2), Action::Steal);
                let slow = move |_| {
                    held.fetch_add(1, Ordering::SeqCst);
                    until("the append is over", || go_on.load(Ordering::SeqCst));
                };
                space.script().add(Event::FaultIn, When::Nth(1), Action::Call(Arc::new(slow)));
                let options = WriteOptions::at(2 * holder as u64).with_strategy(Strategy::BeginEnd);
                let source = [space.slice(0, 0, 2)];
                let written = calls::write_as(&space, rig.file(), &source, &options, &NoTask);
                assert_eq!(written.map(|written| written.bytes), Ok(2), "holder {holder}");
                space.script().clear();
            });
        }
        until("all holders hold", || held.load(Ordering::SeqCst) == HOLDERS);
        let source = rig.source_at(8, 0, &bytes);
        let (file, other, handle) = (Arc::clone(rig.file()), Arc::clone(&task), Arc::clone(&later));
        let look = move |_| {
            let mut handle = handle.lock().expect("the later writer");
            if file.size() as usize > BEFORE && handle.is_none() {
                let (file, task) = (Arc::clone(&file), Arc::clone(&other));
                let write = move || {
                    let options = WriteOptions::at(LATER.0 as u64);
                    assert_eq!(write_as(&file, &LATER.1, &options, &*task), Ok(LATER.1.len()));
                };
                let thread = std::thread::Builder::new().name("later".into());
                let thread = thread
                    .spawn(faultless_host::lockcheck::on_same_machine(write))
                    .expect("a thread");
                until("the later write has landed, or waits", || {
                    thread.is_finished() || other.has_slept()
                });
                *handle = Some(thread);
            }
        };
        let script = rig.user().script();
        script.clear();
        script.add(Event::AtomicCopy, When::Nth(1), Action::Short(100));
        script.add(Event::AtomicCopy, When::Nth(2), Action::Steal);
        script.add(Event::FaultIn, When::From(1), Action::Call(Arc::new(look)));
        let landed = subject.append(rig, &[source]);
        script.clear();
        go_on.store(true, Ordering::SeqCst);
        assert_eq!(landed, Ok(MORE));
    });
    let thread = later.lock().expect("the later writer").take();
    thread.expect("a part was visible").join().expect("the later writer");
    (0..HOLDERS).for_each(|holder| overlay(&mut holds, 2 * holder, &[holder as u8 + 1; 2]));
    overlay(&mut holds, BEFORE, &bytes);
    overlay(&mut holds, LATER.0, &LATER.1);
    holds
}

/// The kind of caffeinix PR 63: one of 64 pages is being read. How many are dropped meanwhile, and
/// how many afterwards.
fn e09<M: Mmu>(machine: &Machine<M>, core: Core) -> [u64; 2] {
    let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
    let rig = room_over(&room(machine, Backing::Memory), &store);
    let holds = pattern(1, 64 * PAGE);
    rig.fill(&holds);
    let page = 5 * PAGE as u64;
    assert_eq!(syscall(|token| rig.file().evict(token, page..page + 1)), 1);
    store.defer_next(Call::Read);
    let meanwhile = std::thread::scope(|scope| {
        let reader = spawn(scope, "reader", || read_as(rig.file(), page, 1, &NoTask));
        until("the page is being read", || store.waiting() == 1);
        let meanwhile = core.evict(rig.file());
        store.release(Call::Read);
        assert_eq!(reader.join().expect("the reader"), Ok(vec![holds[page as usize]]));
        meanwhile
    });
    let dropped = [meanwhile, core.evict(rig.file())];
    rig.assert_holds(&holds);
    dropped
}

/// LWN 753027: a device writes into a page that it has pinned, while memory is reclaimed. How many
/// pages were dropped, and what the file holds where the device wrote.
fn e10<M: Mmu>(rig: &Rig<'_, M>, core: Core) -> (u64, Vec<u8>) {
    rig.fill(&pattern(1, 3 * PAGE));
    let mapping = rig.file().mapping();
    let frames = mapping.cache().frames();
    let run = PageRun::single(PageIndex::new(1));
    let frame = mapping.lock(context(), run).and_then(|locked| locked.frame(run.first()));
    let frame = frame.expect("a cached page");
    frames.retain(frame);
    let dropped = core.evict(rig.file());
    // SAFETY: the pin keeps the frame, and nothing else uses it meanwhile.
    unsafe { frames.address(frame).write_bytes(0xdd, 100) };
    let got = rig.read(PAGE as u64, 100);
    // SAFETY: the count was taken above.
    unsafe { frames.release(frame) };
    (dropped, got)
}

/// Frames that the pages of E16's file can have.
const FRAMES: u64 = 16;

balanced_on_both_mmus! {
    /// W: a growing write is one.
    fn e05_a_later_write_to_the_visible_part_of_an_append_stands(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let holds = e05(rig, subject);
            rig.assert_holds_for_good(&holds);
        });
    }

    fn e05_an_append_that_writes_its_visible_part_again_is_caught(machine) {
        exhibit_to(&[Subject::Planted(Bug::WritesAgain)], machine, &[Backing::Memory], |rig, subject| {
            let holds = e05(rig, subject);
            assert_eq!(rig.file().size(), holds.len() as u64);
            assert_same(&rig.read(LATER.0 as u64, 50), &pattern(2, MORE)[10..60], "the later write is gone");
        });
    }

    /// L4.
    fn e09_an_eviction_drops_all_pages_but_the_one_that_is_being_read(machine) {
        assert_eq!(e09(machine, Core::Faultless), [63, 1]);
    }

    fn e09_an_eviction_of_all_pages_or_none_is_caught(machine) {
        assert_eq!(e09(machine, Core::Planted), [0, 64]);
    }

    /// F5.
    fn e10_a_pinned_page_stays(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(e10(&rig, Core::Faultless), (2, vec![0xdd; 100]));
        assert_eq!(calls::evict(rig.file()), 1, "until the pin is gone");
    }

    fn e10_an_eviction_that_ignores_pins_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let (dropped, got) = e10(&rig, Core::Planted);
        assert_eq!(dropped, 3);
        assert_same(&got, &pattern(1, 3 * PAGE)[PAGE..PAGE + 100], "what the device wrote is gone");
    }

    /// L1.
    fn e16_a_read_of_more_than_can_be_had_at_once_ends(machine) {
        let bytes = pattern(1, 64 * PAGE);
        let store = Hooked::holding(&bytes);
        let file = Arc::new(booked(machine, store.store(), bytes.len() as u64, FRAMES));
        file.mapping().cache().frames().squeeze(&file);
        store.hook(Some(Arc::new(|_, _| Ok(()))));
        let got = read_as(&file, 0, bytes.len(), &TestTask::new().killed_after(STEPS));
        assert_same(&got.expect("a read"), &bytes, "what was read");
        assert_eq!(store.calls(), 64, "each page is read once");
        assert!(file.mapping().cached_pages() <= FRAMES);
    }

    fn e16_a_read_that_insists_on_all_pages_is_caught(machine) {
        let bytes = pattern(1, 64 * PAGE);
        let store = MemoryStore::with_contents(&bytes);
        let file = Arc::new(booked(machine, &store, bytes.len() as u64, FRAMES));
        file.mapping().cache().frames().squeeze(&file);
        let run = PageRun::leaf(PageIndex::ZERO);
        let ended = syscall(|token| planted::bring_in_all(&file, token, run, STEPS));
        assert_eq!(ended, Err(Failure::Livelock));
    }
}
