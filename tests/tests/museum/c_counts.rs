//! C, second half: what a call says it wrote, how long the file is, and where the cursor stands.

use std::sync::Arc;

use faultless::filemap::{NoTask, Strategy, WriteOptions};
use faultless::page::{Errno, PageIndex};
use faultless::usercopy::IovIter;
use faultless_controls::{Control, Defect, Defects};
use faultless_host::stores::{BlockStore, Call, FaultyStore};
use faultless_host::{Action, Event, Machine, Mmu, When};
use faultless_tests::bytes::overlay;
use faultless_tests::{
    Backing, PAGE, Rig, Setup, Store, Tail, TestTask, balanced_on_both_mmus, pattern,
};

use crate::harness::{Answer, EFAULT, Failure, Subject, bad, cool, exhibit, room};
use crate::planted::Bug;

/// S2 of 08291429cf: ten good bytes and ten bad ones are appended to a page that is in the cache.
fn c01<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, 100));
    let good = rig.source_at(8, 0, &pattern(2, 10));
    subject.append(rig, &[good, bad(rig, 10)])
}

/// Bytes of C6's request.
const C06: usize = 9000;

/// orangefs, 2025: every copy ends after `most` bytes, and the fault-in does nothing (5fe17237).
fn c06<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, most: usize) -> Answer {
    rig.user().script().clear();
    let source = rig.source_at(8, 200, &pattern(2, C06));
    rig.user().script().add(Event::AtomicCopy, When::From(1), Action::Short(most));
    rig.user().script().add(Event::FaultIn, When::From(1), Action::Lie);
    let answer = subject.write(rig, 123, &[source]);
    rig.user().script().clear();
    answer
}

/// A rig over blocks of 1 KiB that fail when they are told to.
fn faulty_room<M: Mmu>(
    machine: &Machine<M>,
    capacity: usize,
) -> (Rig<'_, M>, Arc<FaultyStore<BlockStore>>) {
    let blocks = BlockStore::new(1024, capacity);
    let faulty = FaultyStore::new(Arc::clone(&blocks), machine.watchdog());
    let setup = Setup { backing: Backing::Blocks(1024), strategy: Strategy::BeginEnd };
    (Rig::over(machine, setup, Store::around_blocks(Arc::clone(&faulty), blocks)), faulty)
}

/// What goes wrong after some progress in C7.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The device is full after six blocks.
    NoRoom,
    /// The third page cannot be read, and only a part of it is written.
    NoRead,
}

/// 31dec253, 7adfa2ff, 20c64ec8: a request of three pages at 100 that runs into trouble. How many
/// bytes can land, and the error of the next call.
fn c07<M: Mmu>(
    machine: &Machine<M>,
    subject: Subject,
    trouble: Trouble,
) -> (Answer, Answer, Vec<u8>) {
    let capacity = if matches!(trouble, Trouble::NoRoom) { 6 } else { 100 };
    let (rig, faulty) = faulty_room(machine, capacity);
    if matches!(trouble, Trouble::NoRead) {
        rig.fill(&pattern(1, 4 * PAGE));
        rig.chill();
        faulty.fail_page(Call::Read, PageIndex::new(2), Errno::Io);
    }
    let source = rig.source_at(8, 0, &pattern(2, 3 * PAGE - 200));
    let first = subject.write(&rig, 100, &[source]);
    let landed = first.unwrap_or(0).min(3 * PAGE - 201);
    let second = subject.write(&rig, 100 + landed as u64, &[source.skip(landed)]);
    faulty.heal();
    (first, second, rig.contents())
}

fn c07_right(trouble: Trouble) -> (Answer, Answer, Vec<u8>) {
    let (landed, errno, mut holds) = match trouble {
        Trouble::NoRoom => (6 * 1024 - 100, Errno::NoSpace, Vec::new()),
        Trouble::NoRead => (2 * PAGE - 100, Errno::Io, pattern(1, 4 * PAGE)),
    };
    overlay(&mut holds, 100, &pattern(2, landed));
    (Ok(landed), Err(Failure::Errno(errno)), holds)
}

/// 18e419f6: three whole pages; the first copy is short, and the store would have to block for the
/// third page. What the call says, how many bytes the cursor has left, and the same for a second
/// call with the same cursor, once nothing blocks.
fn c08<M: Mmu>(machine: &Machine<M>, subject: Subject) -> ([(Answer, usize); 2], Vec<u8>) {
    let (rig, faulty) = faulty_room(machine, 100);
    rig.fill(&pattern(1, 3 * PAGE));
    rig.chill();
    faulty.fail_page(Call::WriteBegin, PageIndex::new(2), Errno::WouldBlock);
    let source = rig.source_at(8, 0, &pattern(2, 3 * PAGE));
    rig.user().script().add(Event::AtomicCopy, When::Nth(1), Action::Short(100));
    let segments = [source.prefix(5000), source.skip(5000)];
    let mut from = IovIter::new(rig.user(), &segments).expect("a request");
    let mut write = |pos: usize| {
        let options = WriteOptions::at(pos as u64);
        let answer = subject.write_from(&rig, rig.user(), &segments, &mut from, &options, &NoTask);
        (answer, from.count())
    };
    let first = write(0);
    faulty.heal();
    let second = write(first.0.unwrap_or(0));
    ([first, second], rig.contents())
}

/// 2112ff5c, cd658695: a limit clips the request to a page and 100 bytes; then the rest of it is
/// issued again, without a limit.
fn c09<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> [(Answer, usize); 3] {
    let source = rig.source_at(8, 0, &pattern(2, 3 * PAGE));
    let segments = [source.prefix(100), source.skip(100)];
    let mut from = IovIter::new(rig.user(), &segments).expect("a request");
    let limit = PAGE as u64 + 100;
    let mut write = |pos: u64, task: &TestTask| {
        let options = WriteOptions::at(pos);
        let answer = subject.write_from(rig, rig.user(), &segments, &mut from, &options, task);
        (answer, from.count())
    };
    let limited = TestTask::new().limited_to(limit);
    [write(0, &limited), write(limit, &limited), write(limit, &TestTask::new())]
}

/// OpenZFS #12964: an append of which `readable` bytes come. By how much the file has grown.
fn c10<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, size: usize, readable: usize) -> (Answer, u64) {
    rig.fill(&pattern(1, size));
    rig.chill();
    let source = rig.source_before(8, &pattern(2, readable), Tail::NoAccess, 3 * PAGE);
    let answer = subject.append(rig, &[source]);
    (answer, rig.file().size() - size as u64)
}

/// ax-fs-ng 0.11: 12,288 bytes whose source ends after 4,096.
fn c12<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> (Answer, u64) {
    let source = rig.source_before(8, &pattern(2, 4096), Tail::Unmapped, 8192);
    cool(rig, source.prefix(4096));
    let answer = subject.write(rig, 0, &[source]);
    (answer, rig.file().size())
}

balanced_on_both_mmus! {
    fn c01_the_size_grows_by_what_was_copied(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(c01(rig, subject), Ok(10));
            let mut holds = pattern(1, 100);
            holds.extend(pattern(2, 10));
            rig.assert_holds_for_good(&holds);
        });
    }

    fn c01_a_size_that_grows_by_what_was_asked_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let defects = Defects::only(Defect::GrowsByAsked);
        assert_eq!(c01(&rig, Subject::Control(Control::Linux2624Rc1(defects))), Ok(10));
        assert_eq!(rig.file().size(), 120, "ten bytes that nobody wrote");
    }

    fn c06_accounting_follows_what_landed_however_short_the_copies_are(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for most in [37, 1000, 4095] {
                for size in [0, 10_000] {
                    let mut holds = pattern(1, size);
                    rig.fill(&holds);
                    rig.chill();
                    assert_eq!(c06(rig, subject, most), Ok(C06), "{most} {size}");
                    overlay(&mut holds, 123, &pattern(2, C06));
                    rig.assert_holds(&holds);
                }
            }
        });
    }

    fn c06_a_range_that_advances_by_what_was_asked_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(c06(&rig, Subject::Planted(Bug::AdvancesByAsked), 1000), Ok(C06));
        let first = rig.read(123, 1001);
        assert_eq!(first[..1000], pattern(2, 1000)[..]);
        assert_eq!(first[1000], 0, "the next byte never came");
    }

    fn c07_progress_beats_the_error_which_comes_next_time(machine) {
        exhibit(machine, &[Backing::Memory], |_, subject| {
            for trouble in [Trouble::NoRoom, Trouble::NoRead] {
                assert_eq!(c07(machine, subject, trouble), c07_right(trouble), "{trouble:?}");
            }
        });
    }

    fn c07_an_error_or_a_full_count_after_a_part_is_caught(machine) {
        for trouble in [Trouble::NoRoom, Trouble::NoRead] {
            let (_, error, _) = c07_right(trouble);
            let (answer, ..) = c07(machine, Subject::Planted(Bug::ErrorBeatsProgress), trouble);
            assert_eq!(answer, error, "{trouble:?}");
            let (answer, ..) = c07(machine, Subject::Planted(Bug::CountsAsked), trouble);
            assert_eq!(answer, Ok(3 * PAGE - 200), "{trouble:?}");
        }
    }

    fn c08_a_cursor_stands_just_behind_what_landed(machine) {
        exhibit(machine, &[Backing::Memory], |_, subject| {
            let (calls, holds) = c08(machine, subject);
            assert_eq!(calls, [(Ok(2 * PAGE), PAGE), (Ok(PAGE), 0)]);
            assert_eq!(holds, pattern(2, 3 * PAGE));
        });
    }

    fn c08_a_cursor_that_keeps_what_was_not_accepted_is_caught(machine) {
        let (calls, holds) = c08(machine, Subject::Planted(Bug::NoRevert));
        assert_eq!(calls[0], (Ok(2 * PAGE), PAGE - 100), "100 bytes are gone");
        assert_ne!(holds, pattern(2, 3 * PAGE));
    }

    fn c09_a_clipped_request_can_be_issued_again(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let (landed, left) = (PAGE + 100, 2 * PAGE - 100);
            let too_big = Err(Failure::Errno(Errno::FileTooBig));
            assert_eq!(c09(rig, subject), [(Ok(landed), left), (too_big, left), (Ok(left), 0)]);
            rig.assert_holds_for_good(&pattern(2, 3 * PAGE));
        });
    }

    fn c09_a_clip_that_is_forgotten_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let calls = c09(&rig, Subject::Planted(Bug::ForgetsTheClip));
        assert_eq!(calls[0], (Ok(PAGE + 100), 0), "the rest of the request is lost");
        assert_eq!(calls[2], (Ok(0), 0));
    }

    fn c10_an_append_reports_what_it_appended(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for size in [0, 100, PAGE] {
                for readable in [0, 1, 511, 512, 513, PAGE, PAGE + 700, 2 * PAGE + 1] {
                    let (answer, grown) = c10(rig, subject, size, readable);
                    let right = if readable == 0 { EFAULT } else { Ok(readable) };
                    assert_eq!((answer, grown), (right, readable as u64), "{size} {readable}");
                    let mut holds = pattern(1, size);
                    holds.extend(pattern(2, readable));
                    rig.assert_holds(&holds);
                }
            }
        });
    }

    fn c10_an_append_that_reports_more_than_it_kept_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let answer = c10(&rig, Subject::Planted(Bug::CommitsSectors), 0, 700);
        assert_eq!(answer, (Ok(700), 512));
    }

    fn c12_a_source_that_dies_leaves_the_size_at_what_landed(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(c12(rig, subject), (Ok(4096), 4096));
            rig.assert_holds_for_good(&pattern(2, 4096));
        });
    }

    fn c12_a_size_that_is_set_first_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(c12(&rig, Subject::Planted(Bug::GrowsFirst)), (EFAULT, 12_288));
    }
}
