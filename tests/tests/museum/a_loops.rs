//! A, first half: loops that never ended, and why.

use faultless::filemap::WriteOptions;
use faultless::page::Errno;
use faultless::usercopy::conformance::scripted::Scripted;
use faultless::usercopy::{
    IovIter, MAX_SEGMENTS, USER_IOVEC_BYTES, UserAddr, UserSlice, copy_from_user, import_iovec,
};
use faultless_controls::{Control, Defect, Defects};
use faultless_host::{Action, AddressSpace, Event, Mmu, Protection, When, syscall};
use faultless_tests::bytes::overlay;
use faultless_tests::{Backing, PAGE, Rig, balanced_on_both_mmus, pattern};

use crate::copier::{Liar, Lie};
use crate::harness::{
    Answer, EFAULT, FAULTLESS, Failure, Subject, bad, cool, empty, exhibit, exhibit_to, room,
};
use crate::planted::Bug;

/// What A1's second segment is.
#[derive(Clone, Copy, Debug)]
enum Second {
    Good,
    Bad,
}

/// 81b0c871, 124d3b70: two segments of 100 bytes, which are not resident, go to an uptodate page,
/// with `empties` empty segments before, between and behind them.
fn a01<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, empties: [usize; 3], second: Second) -> Answer {
    rig.fill(&pattern(1, PAGE));
    let first = rig.source_at(8, 50, &pattern(2, 100));
    let second = match second {
        Second::Good => rig.source_at(12, PAGE - 50, &pattern(3, 100)),
        Second::Bad => bad(rig, 100),
    };
    rig.user().evict(8, 6);
    let none = empty(rig);
    let mut segments = vec![none; empties[0]];
    segments.push(first);
    segments.resize(segments.len() + empties[1], none);
    segments.push(second);
    segments.resize(segments.len() + empties[2], none);
    subject.write(rig, 7, &segments)
}

/// CVE-2015-8785: the first segment is empty; the others are there.
fn a03<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let source = rig.source_at(8, 0, &pattern(1, 5000));
    subject.write(rig, 0, &[empty(rig), empty(rig), source.prefix(100), source.skip(100)])
}

/// f56f821f, d4690f1e: one page that is to be replaced, from three segments with a bad one in the
/// middle.
fn a06<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, PAGE));
    rig.chill();
    let (first, last) =
        (rig.source_at(8, 0, &pattern(2, 1000)), rig.source_at(10, 0, &pattern(3, 2596)));
    rig.user().evict(8, 4);
    subject.write(rig, 0, &[first, bad(rig, 500), last])
}

/// gfs2, 2021: six pages, of which the fourth is not mapped.
fn a09<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let source = rig.source_at(8, 10, &pattern(2, 6 * PAGE - 10));
    rig.user().unmap(11, 1);
    cool(rig, source);
    subject.write(rig, 3, &[source])
}

/// OpenZFS #17129: the pages of the source are unmapped just before a copy, and stay so.
fn a11<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, copy: u64) -> Answer {
    let source = rig.source_at(8, 0, &pattern(2, 8 * PAGE));
    let script = rig.user().script();
    for event in [Event::AtomicCopy, Event::FaultingCopy] {
        script.add(event, When::Nth(1), Action::Short(3000));
        script.add(event, When::Nth(copy), Action::Unmap);
    }
    subject.write(rig, 0, &[source])
}

/// Whether a walker over an array of segments looks whether anything is left before it looks at the
/// next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    AtTheCountFirst,
    AtTheSegmentFirst,
}

/// The walk of 2.6.24 over an array in user memory, as far as A2 goes: `total` bytes are known to
/// be asked for.
fn walk<M: Mmu>(
    space: &AddressSpace<M>,
    vector: UserAddr,
    total: usize,
    looks: Looks,
) -> Result<usize, Errno> {
    let mut left = total;
    let mut at = vector;
    loop {
        if looks == Looks::AtTheCountFirst && left == 0 {
            return Ok(total);
        }
        let mut entry = [0; USER_IOVEC_BYTES];
        let there = UserSlice::new(space, at, USER_IOVEC_BYTES).map_err(|_| Errno::Fault)?;
        syscall(|token| copy_from_user(space, token, &mut entry, there))
            .map_err(|_| Errno::Fault)?;
        let len = usize::from_ne_bytes(entry[8..].try_into().expect("a length"));
        at = at.wrapping_add(USER_IOVEC_BYTES);
        if len > 0 && left == 0 {
            return Ok(total);
        }
        left -= len.min(left);
    }
}

/// Lays out two segments and `trailing` empty ones so that the array ends with a page, behind which
/// nothing is mapped.
fn a02<M: Mmu>(rig: &Rig<'_, M>, trailing: usize) -> (UserAddr, usize) {
    let user = rig.user();
    let source = rig.source_at(8, 100, &pattern(2, 6000));
    let (one, two) = (source.prefix(10), source.skip(10));
    let mut segments = vec![(one.addr().get(), one.len()), (two.addr().get(), two.len())];
    segments.resize(2 + trailing, (0, 0));
    user.map_anonymous(20, 1, Protection::ReadWrite);
    user.unmap(21, 1);
    let vector = user.at(20, PAGE - segments.len() * USER_IOVEC_BYTES);
    user.store_vector(vector, &segments).expect("the array");
    (vector, segments.len())
}

balanced_on_both_mmus! {
    fn a01_empty_segments_are_skipped_wherever_they_stand(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for empties in [[1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 2, 1], [0, 0, 0]] {
                let mut holds = pattern(1, PAGE);
                assert_eq!(a01(rig, subject, empties, Second::Good), Ok(200), "{empties:?}");
                overlay(&mut holds, 7, &pattern(2, 100));
                overlay(&mut holds, 107, &pattern(3, 100));
                rig.assert_holds(&holds);
                assert_eq!(a01(rig, subject, empties, Second::Bad), Ok(100), "{empties:?}");
            }
            rig.fill(&pattern(1, PAGE));
            assert_eq!(subject.write(rig, 7, &[empty(rig), bad(rig, 100)]), EFAULT);
            rig.assert_holds_for_good(&pattern(1, PAGE));
        });
    }

    fn a01_an_empty_segment_probed_in_place_of_the_next_is_caught(machine) {
        let control = Subject::Control(Control::Linux2624Rc1(Defects::only(Defect::EmptySegmentLoop)));
        for second in [Second::Good, Second::Bad] {
            let rig = room(machine, Backing::Memory);
            assert_eq!(a01(&rig, control, [1, 0, 0], second), Err(Failure::Livelock), "{second:?}");
        }
        let rig = room(machine, Backing::Memory);
        let cured = Subject::Control(Control::Linux2624Rc1(Defects::NONE));
        assert_eq!(a01(&rig, cured, [1, 0, 0], Second::Good), Ok(200));
    }

    fn a02_nothing_behind_the_last_segment_is_looked_at(machine) {
        exhibit_to(&FAULTLESS, machine, &[Backing::Memory], |rig, subject| {
            let Subject::Faultless(strategy) = subject else { return };
            for trailing in [0, 1, 5, 200] {
                let (vector, count) = a02(rig, trailing);
                let options = WriteOptions::at(0).with_strategy(strategy);
                let written = rig.user().sys_writev(rig.file(), vector, count, &options);
                assert_eq!(written.map(|written| written.bytes), Ok(6000), "{trailing}");
                assert_eq!(walk(rig.user(), vector, 6000, Looks::AtTheCountFirst), Ok(6000));
            }
            rig.assert_holds_for_good(&pattern(2, 6000));
        });
    }

    /// And the kernel's own array: a cursor at its end stays there.
    fn a02_a_cursor_at_the_end_of_its_segments_stays_there(machine) {
        let rig = room(machine, Backing::Memory);
        let (vector, count) = a02(&rig, 3);
        let mut room = [UserSlice::EMPTY; MAX_SEGMENTS];
        syscall(|token| {
            let mut from = import_iovec(rig.user(), token, vector, count, &mut room[..count]).expect("a request");
            from.advance(6000);
            assert_eq!((from.count(), from.segment().len()), (0, 0));
            from.advance(1);
            assert_eq!(from.fault_in_readable(token, 1), 0, "nothing is left to probe");
            from.revert(6000);
            assert_eq!((from.count(), from.segment().len()), (6000, 10));
        });
    }

    fn a02_looking_before_counting_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let (vector, _) = a02(&rig, 1);
        assert_eq!(walk(rig.user(), vector, 6000, Looks::AtTheSegmentFirst), Err(Errno::Fault));
    }

    fn a03_a_retry_leaves_an_empty_segment_behind(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(a03(rig, subject), Ok(5000));
            rig.assert_holds_for_good(&pattern(1, 5000));
        });
    }

    fn a03_a_retry_that_stays_in_its_segment_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a03(&rig, Subject::Planted(Bug::StuckOnEmpty)), Err(Failure::Livelock));
        let full = rig.source_at(8, 0, &pattern(1, 5000));
        let segments = [full.prefix(100), full.skip(100)];
        let written = Subject::Planted(Bug::StuckOnEmpty).write(&rig, 0, &segments);
        assert_eq!(written, Ok(5000), "without an empty segment nobody notices");
    }

    fn a06_every_segment_of_a_piece_is_probed(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(a06(rig, subject), Ok(1000));
            let mut holds = pattern(1, PAGE);
            overlay(&mut holds, 0, &pattern(2, 1000));
            rig.assert_holds_for_good(&holds);
        });
    }

    fn a06_a_probe_of_the_two_ends_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a06(&rig, Subject::Planted(Bug::ProbesTheEnds)), Err(Failure::Livelock));
    }

    /// Even below a probe that lies about the middle: what was copied counts, and rounds without a
    /// byte are numbered (W6).
    fn a06_a_lying_probe_cannot_make_it_loop(machine) {
        exhibit_to(&FAULTLESS, machine, Backing::DISTINCT, |rig, subject| {
            let source = rig.source_at(8, 0, &pattern(2, 5 * PAGE));
            rig.user().unmap(10, 1);
            rig.user().evict(8, 5);
            let liar = Liar::new(rig.user(), Lie::ProbesTheEnds);
            let written = subject.write_as(rig, &liar, &[source], &WriteOptions::at(5));
            assert_eq!(written, Ok(2 * PAGE));
            let mut holds = Vec::new();
            overlay(&mut holds, 5, &pattern(2, 5 * PAGE)[..2 * PAGE]);
            rig.assert_holds_for_good(&holds);
        });
    }

    fn a09_the_fault_in_and_the_copy_agree_on_what_is_enough(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let landed = 3 * PAGE - 10;
            assert_eq!(a09(rig, subject), Ok(landed));
            let mut holds = Vec::new();
            overlay(&mut holds, 3, &pattern(2, 6 * PAGE - 10)[..landed]);
            rig.assert_holds_for_good(&holds);
        });
    }

    fn a09_a_copy_that_wants_all_behind_a_probe_content_with_some_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a09(&rig, Subject::Planted(Bug::InnerWantsAll)), Err(Failure::Livelock));
    }

    fn a11_a_source_unmapped_midway_ends_the_write_with_what_landed(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for copy in [1, 2, 3] {
                rig.fill(&[]);
                rig.user().script().clear();
                let answer = a11(rig, subject, copy);
                let landed = answer.unwrap_or(0);
                assert!(answer == EFAULT || answer == Ok(landed) && landed > 0, "{answer:?}");
                assert!(landed < 8 * PAGE, "the rest of the source is gone");
                rig.assert_holds_for_good(&pattern(2, 8 * PAGE)[..landed]);
            }
        });
    }

    fn a11_a_retry_that_does_not_ask_the_probe_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a11(&rig, Subject::Planted(Bug::IgnoresTheProbe), 2), Err(Failure::Livelock));
        rig.user().script().clear();
    }
}

/// Of the iterator alone: nothing is read behind the slice, whatever it ends with.
#[test]
fn a02_trailing_empty_segments_end_a_request_of_nothing() {
    let segments = [UserSlice::EMPTY; 4];
    let user = Scripted::new();
    let mut from = IovIter::new(&user, &segments).expect("a request");
    from.advance(1);
    assert!(from.is_empty() && from.segment().is_empty());
}
