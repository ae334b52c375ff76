//! C, first half: blocks and pages that a failed attempt must not leave behind.

use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::Strategy;
use faultless::page::{Errno, PageIndex};
use faultless_host::stores::{BlockStore, Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, Mmu, POISON, Protection, When, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::waiting::until;
use faultless_tests::{
    Backing, PAGE, Rig, Setup, Store, Tail, assert_same, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Answer, EFAULT, FAULTLESS, Failure, Subject, bad, exhibit, room};
use crate::planted::Bug;

/// Stores whose blocks are smaller than a page: they are where a block can be too many.
const SMALL: &[Backing] = &[Backing::Blocks(512), Backing::Blocks(1024), Backing::Legacy];

/// Blocks of the rig's file that lie past its end.
fn blocks_past<M: Mmu>(rig: &Rig<'_, M>) -> usize {
    rig.store().blocks().expect("blocks").blocks_past(rig.file().size())
}

/// f8514083, ec8e2f74, 5ec8b75e: the file is to become three pages longer, but only `readable`
/// bytes come.
fn c02<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, readable: usize) -> Answer {
    let source = rig.source_before(8, &pattern(2, readable), Tail::Unmapped, 3 * PAGE);
    subject.append(rig, &[source])
}

/// 68eb3db0, b9a4207d: a page is begun as a whole, ten bytes come, and then the rest by a second
/// call.
fn c03<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> [Answer; 2] {
    let good = rig.source_at(8, 0, &pattern(2, PAGE));
    let first = subject.write(rig, 0, &[good.prefix(10), bad(rig, PAGE - 10)]);
    let second = subject.write(rig, 10, &[good.skip(10)]);
    calls::fsync(rig.file()).expect("a sync");
    [first, second]
}

/// cedabed4: ten bytes of a page, so that the file has grown and the rest of the page's blocks is
/// too much.
fn c04<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let good = rig.source_at(8, 0, &pattern(2, 10));
    subject.write(rig, 0, &[good, bad(rig, PAGE - 10)])
}

/// b90197b6, 3b136499: the source is a mapping of another file, which is cut off just before the
/// copy, when the page is locked and begun. The written page is a hole in the file.
fn c05<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    calls::truncate(rig.file(), 2 * PAGE as u64).expect("a hole");
    let source = rig.machine().inode(&MemoryStore::with_contents(&[7; PAGE]), PAGE as u64);
    rig.user().map_file(50, 1, &source, PageIndex::ZERO, Protection::Read);
    rig.user().populate(50, 1).expect("a page of a file");
    let cut_off = Action::Call(Arc::new(move |_| {
        let source = Arc::clone(&source);
        let thread = faultless_tests::threads::spawn(move || calls::truncate(&source, 0));
        assert_eq!(thread.join().expect("the other thread"), Ok(()));
    }));
    for event in [Event::AtomicCopy, Event::FaultingCopy] {
        rig.user().script().add(event, When::Nth(1), cut_off.clone());
    }
    let answer = subject.write(rig, 100, &[rig.user().slice(50, 0, 500)]);
    rig.user().script().clear();
    answer
}

/// d7b64041: the source is slow, and meanwhile somebody cuts the file off: all its blocks go.
/// (Where the write holds its range by then, the other has to wait, and the file ends empty.)
fn c11<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, 3 * PAGE));
    rig.chill();
    let source = rig.source_at(8, 0, &pattern(2, PAGE + 500));
    rig.user().evict(8, 2);
    let cutting = Arc::new(Mutex::new(None));
    let (file, check, thread) =
        (Arc::clone(rig.file()), Arc::clone(rig.machine().check()), Arc::clone(&cutting));
    let cut_off = Action::Call(Arc::new(move |_| {
        let file = Arc::clone(&file);
        // Only where the range is ours is a look at it by the other more than a moment.
        let ours = check.describe().contains("[R(");
        let other = faultless_tests::threads::spawn(move || calls::truncate(&file, 0));
        let waits = || ours && check.describe().contains("waits for R(");
        until("the other waits or is over", || other.is_finished() || waits());
        *thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
    }));
    rig.user().script().add(Event::FaultIn, When::Nth(1), cut_off);
    let answer = subject.write(rig, 300, &[source]);
    rig.user().script().clear();
    let other = cutting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let cut = other.expect("the source was faulted in").join().expect("the other thread");
    assert_eq!(cut, Ok(()));
    // What has to be sent is sent, and dropped: the rest is the store's.
    rig.chill();
    answer
}

fn c11_right() -> Vec<u8> {
    let mut holds = Vec::new();
    overlay(&mut holds, 300, &pattern(2, PAGE + 500));
    holds
}

balanced_on_both_mmus! {
    fn c02_no_block_past_the_end_survives_a_failed_extension(machine) {
        exhibit(machine, SMALL, |rig, subject| {
            for (size, readable) in [(0, 0), (0, 1), (100, 0), (100, 511), (PAGE, 600), (PAGE + 1, 2 * PAGE)] {
                let mut holds = pattern(1, size);
                rig.fill(&holds);
                let right = if readable == 0 { EFAULT } else { Ok(readable) };
                assert_eq!(c02(rig, subject, readable), right, "{size} {readable}");
                assert_eq!(blocks_past(rig), 0, "{size} {readable}");
                overlay(&mut holds, size, &pattern(2, readable));
                rig.assert_holds_for_good(&holds);
            }
        });
    }

    /// Every other way to fail: no frame, no block, and a page that cannot be read.
    fn c02_nor_when_something_else_than_the_copy_fails(machine) {
        exhibit(machine, &[Backing::Blocks(1024)], |like, subject| {
            for what in [None, Some(Call::WriteBegin), Some(Call::Read)] {
                let blocks = BlockStore::new(1024, 100);
                let faulty = FaultyStore::new(Arc::clone(&blocks), machine.watchdog());
                let setup = Setup { backing: Backing::Blocks(1024), strategy: Strategy::BeginEnd };
                let store = Store::around_blocks(Arc::clone(&faulty), blocks);
                let rig = Rig::over(machine, setup, store);
                let old = pattern(1, 3 * PAGE - 100);
                rig.fill(&old);
                rig.chill();
                let source = rig.source_at(8, 0, &pattern(2, 4 * PAGE));
                match what {
                    None => machine.memory().fail_allocations_from(1),
                    // The last page of the old file has to be read, or is begun.
                    Some(call) => faulty.fail_page(call, PageIndex::new(2), Errno::Io),
                }
                let answer = subject.append(&rig, &[source]);
                machine.memory().stop_failing();
                faulty.heal();
                let errno = if what.is_none() { Errno::NoMemory } else { Errno::Io };
                assert_eq!(answer, Err(Failure::Errno(errno)), "{what:?}");
                assert_eq!(blocks_past(&rig), 0, "{what:?}");
                rig.assert_holds_for_good(&old);
            }
            like.assert_holds(&[]);
        });
    }

    fn c02_a_block_that_is_not_taken_back_is_caught(machine) {
        let rig = room(machine, Backing::Blocks(512));
        assert_eq!(c02(&rig, Subject::Planted(Bug::NoTrim), 600), Ok(600));
        assert_eq!((rig.file().size(), blocks_past(&rig)), (600, 6), "the rest of the page");
    }

    fn c03_what_is_known_of_blocks_goes_with_them(machine) {
        exhibit(machine, SMALL, |rig, subject| {
            assert_eq!(c03(rig, subject), [Ok(10), Ok(PAGE - 10)]);
            rig.assert_holds_for_good(&pattern(2, PAGE));
            assert_same(&rig.store().blocks().expect("blocks").contents(), &pattern(2, PAGE), "the device");
        });
    }

    /// The other way in which a page loses blocks that it was known to have.
    fn c03_a_page_forgets_the_blocks_that_a_truncation_gives_back(machine) {
        exhibit(machine, SMALL, |rig, subject| {
            let good = rig.source_at(8, 0, &pattern(2, PAGE));
            assert_eq!(subject.write(rig, 0, &[good]), Ok(PAGE));
            calls::truncate(rig.file(), 10).expect("a shorter file");
            assert_eq!(blocks_past(rig), 0);
            assert_eq!(subject.write(rig, 10, &[good.skip(10)]), Ok(PAGE - 10));
            rig.assert_holds_for_good(&pattern(2, PAGE));
        });
    }

    fn c03_a_page_that_stays_backed_without_blocks_is_caught(machine) {
        let rig = room(machine, Backing::Blocks(1024));
        assert_eq!(c03(&rig, Subject::Planted(Bug::KeepsBacked)), [Ok(10), Ok(PAGE - 10)]);
        let blocks = rig.store().blocks().expect("blocks");
        let complaint = "data for block 1, which has no room".to_owned();
        assert!(blocks.complaints().contains(&complaint), "{:?}", blocks.complaints());
        assert_eq!(blocks.contents()[1024..], [0; 3072], "three blocks are lost");
    }

    fn c04_a_file_that_grew_gives_back_what_it_did_not_fill(machine) {
        exhibit(machine, SMALL, |rig, subject| {
            assert_eq!(c04(rig, subject), Ok(10));
            assert_eq!(blocks_past(rig), 0);
            rig.assert_holds_for_good(&pattern(2, 10));
        });
    }

    fn c04_a_trim_that_depends_on_the_size_is_caught(machine) {
        let rig = room(machine, Backing::Blocks(1024));
        assert_eq!(c04(&rig, Subject::Planted(Bug::TrimOnlyWithoutGrowth)), Ok(10));
        assert_eq!(blocks_past(&rig), 3);
    }

    fn c05_a_copy_of_nothing_leaves_things_as_if_it_had_not_begun(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(c05(rig, subject), EFAULT);
            syscall(|token| rig.file().evict(token, 0..u64::MAX));
            assert_eq!(rig.file().mapping().cached_pages(), 0, "nothing is dirty");
            rig.assert_holds_for_good(&[0; 2 * PAGE]);
        });
    }

    fn c05_a_page_dirtied_by_a_copy_of_nothing_is_caught(machine) {
        let rig = room(machine, Backing::Blocks(1024));
        assert_eq!(c05(&rig, Subject::Planted(Bug::DirtyOnZero)), EFAULT);
        syscall(|token| rig.file().evict(token, 0..u64::MAX));
        assert_eq!(rig.file().mapping().cached_pages(), 1, "a dirty page");
        assert_eq!(rig.read(100, 500), [POISON; 500], "of bytes that nobody wrote");
    }

    fn c11_blocks_are_asked_for_again_after_a_slow_source(machine) {
        exhibit(machine, SMALL, |rig, subject| {
            assert_eq!(c11(rig, subject), Ok(PAGE + 500));
            let waited = subject == FAULTLESS[1] && rig.file().size() == 0;
            let right = if waited { Vec::new() } else { c11_right() };
            rig.assert_holds_for_good(&right);
            assert_same(&rig.store().blocks().expect("blocks").contents(), &right, "the device");
        });
    }

    fn c11_room_that_was_asked_for_before_the_source_came_is_caught(machine) {
        let rig = room(machine, Backing::Blocks(1024));
        assert_eq!(c11(&rig, Subject::Planted(Bug::StaleMapping)), Ok(PAGE + 500));
        let complaints = rig.store().blocks().expect("blocks").complaints();
        assert!(complaints.iter().any(|line| line.contains("no room")), "{complaints:?}");
        assert_eq!(rig.read(300, 100), [0; 100], "what was written is lost");
    }
}
