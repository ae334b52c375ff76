//! A, second half: what a fault-in must find out, and what it must not do.

use faultless::filemap::WriteOptions;
use faultless::page::PageIndex;
use faultless::usercopy::{IovIter, MayFault, UserAddr, UserMemory, UserSlice};
use faultless_controls::{Control, Defect, Defects};
use faultless_host::accesses::CountingUser;
use faultless_host::{Action, Event, Kind, MachineConfig, Mmu, Protection, When, counting};
use faultless_tests::bytes::overlay;
use faultless_tests::{Backing, PAGE, Rig, Tail, TestTask, balanced_on_both_mmus, pattern};

use crate::copier::{Liar, Lie};
use crate::harness::{
    Answer, EFAULT, FAULTLESS, Failure, Subject, cool, exhibit, exhibit_to, room,
};
use crate::planted::Bug;

/// Readable bytes of A4's one segment, which has a page more.
const A04: usize = 255 * PAGE;

/// 2f718ffc: 1 MiB in one segment, the last page not mapped, nothing resident.
fn a04<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, pos: u64) -> Answer {
    let source = rig.source_before(8, &pattern(1, A04), Tail::Unmapped, PAGE);
    cool(rig, source);
    subject.write(rig, pos, &[source])
}

/// 6527c2bd: the second segment lies in a mapping of the very page that is written, which is not in
/// the cache.
fn a05<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, PAGE));
    rig.chill();
    let first = rig.source_at(8, 0, &pattern(2, 100));
    rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::Read);
    subject.write(rig, 0, &[first, rig.user().slice(50, 2000, 300)])
}

/// 295cf156: `readable` bytes, then nothing; 100 bytes are asked for.
fn a08<M: Mmu, U: UserMemory<Token = MayFault>>(
    rig: &Rig<'_, M>,
    subject: Subject,
    user: &U,
    readable: usize,
) -> Answer {
    let source = rig.user().slice(8, PAGE - readable, 100);
    rig.user().evict(8, 1);
    subject.write_as(rig, user, &[source], &WriteOptions::at(17))
}

fn a08_source<M: Mmu>(rig: &Rig<'_, M>) -> Vec<u8> {
    let bytes = pattern(2, PAGE);
    rig.source_before(8, &bytes, Tail::Unmapped, 100);
    bytes
}

/// 4e527d58: a request of 64 pages that are not resident. How many bytes were faulted in for it.
fn a10<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> (Answer, u64) {
    let source = rig.source_at(8, 0, &pattern(1, 64 * PAGE));
    cool(rig, source);
    let counted = CountingUser::new(rig.user());
    let answer = subject.write_as(rig, &counted, &[source], &WriteOptions::at(0));
    (answer, counted.accesses().fault_in_bytes)
}

/// Bytes of A12's source: several windows of any kind, and one.
const A12: usize = 1024 * PAGE + 1;

/// OpenZFS #19046: a valid mapping that is not resident, and that goes on losing its pages.
fn a12<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let source = rig.source_at(8, 0, &pattern(1, A12));
    cool(rig, source);
    rig.user().script().add(Event::AtomicCopy, When::Every(5), Action::StealAll);
    subject.write(rig, 0, &[source])
}

/// Looks whether `len` bytes at `addr` can be read; how many can not.
type Probe<U> = fn(&U, &mut MayFault, UserAddr, usize) -> usize;

fn checked_probe<U: UserMemory<Token = MayFault>>(
    user: &U,
    token: &mut MayFault,
    addr: UserAddr,
    len: usize,
) -> usize {
    match UserSlice::new(user, addr, len) {
        Ok(slice) => user.fault_in_readable(token, slice),
        Err(fault) => fault.expected - fault.completed,
    }
}

/// e23d4159: goes from the first byte to the last as long as the one lies before the other.
fn wrapping_probe<U: UserMemory<Token = MayFault>>(
    user: &U,
    token: &mut MayFault,
    addr: UserAddr,
    len: usize,
) -> usize {
    let end = addr.wrapping_add(len - 1);
    let mut at = addr;
    while at <= end {
        let Ok(byte) = UserSlice::new(user, at, 1) else { return len };
        if user.fault_in_readable(token, byte) > 0 {
            return len;
        }
        at = at.wrapping_add(PAGE);
    }
    0
}

/// What a probe says of ranges that wrap: none of them has a byte that can be read.
fn a07<M: Mmu, U: UserMemory<Token = MayFault>>(
    rig: &Rig<'_, M>,
    user: &U,
    probe: Probe<U>,
) -> Result<(), usize> {
    for (addr, len) in [(usize::MAX, 2), (usize::MAX - 100, 4096), (usize::MAX - PAGE, 3 * PAGE)] {
        let missed = rig.machine().syscall(|token| probe(user, token, UserAddr::new(addr), len));
        if missed != len {
            return Err(len - missed);
        }
    }
    Ok(())
}

balanced_on_both_mmus! {
    fn a04_everything_before_the_bad_page_lands(machine) {
        exhibit(machine, &[Backing::Memory, Backing::Legacy], |rig, subject| {
            for pos in [0, 100] {
                rig.fill(&[]);
                assert_eq!(a04(rig, subject, pos), Ok(A04), "at {pos}");
                let mut holds = Vec::new();
                overlay(&mut holds, pos as usize, &pattern(1, A04));
                rig.assert_holds(&holds);
                rig.store().assert_in_order(holds.len() as u64);
            }
        });
    }

    fn a04_a_probe_of_the_whole_request_that_refuses_it_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a04(&rig, Subject::Planted(Bug::WholeRequestOrNothing), 0), EFAULT);
        assert_eq!(rig.file().size(), 0, "nothing of 1 MiB was written");
        // The first cure does the same by chunks of a page (S3).
        let defects = Defects::only(Defect::WholeChunkRefused);
        let answer = a04(&rig, Subject::Control(Control::Linux2624Rc1(defects)), 100);
        assert_eq!(answer, Ok(A04 - 100), "the chunk with the bad page is refused as a whole");
    }

    fn a05_a_source_in_the_page_that_is_written_is_faulted_in_after_unlocking(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let (answer, counted) = counting(|| a05(rig, subject));
            assert_eq!(answer, Ok(400));
            assert_eq!(counted.faults_under_page_lock, 0);
            let old = pattern(1, PAGE);
            let mut holds = old.clone();
            overlay(&mut holds, 0, &pattern(2, 100));
            overlay(&mut holds, 100, &old[2000..2300]);
            rig.assert_holds_for_good(&holds);
        });
    }

    fn a05_a_faulting_copy_under_the_page_lock_is_caught(machine) {
        for control in [Control::Linux2623, Control::PrefaultOnly] {
            let rig = room(machine, Backing::Memory);
            let answer = a05(&rig, Subject::Control(control));
            assert_eq!(answer, Err(Failure::Deadlock(Kind::FaultUnderLock)), "{control:?}");
        }
    }

    fn a07_a_range_that_wraps_is_refused(machine) {
        exhibit_to(&FAULTLESS, machine, &[Backing::Memory], |rig, subject| {
            let Subject::Faultless(strategy) = subject else { return };
            rig.fill(&pattern(1, 10));
            let user = rig.user();
            user.map_anonymous(20, 1, Protection::ReadWrite);
            let vector = user.at(20, 0);
            let options = WriteOptions::at(0).with_strategy(strategy);
            let range = user.user_range();
            for (base, len) in [(usize::MAX, 2), (usize::MAX - 100, 4096), (range.end - 10, 20)] {
                // A good segment first, and room for it: the whole request is refused up front
                // (W7).
                let good = rig.source_at(8, 0, b"good");
                user.store_vector(vector, &[(good.addr().get(), 4), (base, len)]).expect("memory");
                let refused = user.sys_writev(rig.file(), vector, 2, &options);
                assert_eq!(refused, Err(faultless::page::Errno::Fault), "{base:#x}+{len}");
            }
            assert_eq!(a07(rig, user, checked_probe), Ok(()));
            rig.assert_holds_for_good(&pattern(1, 10));
        });
    }

    fn a07_a_probe_that_compares_wrapped_ends_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(a07(&rig, rig.user(), wrapping_probe), Err(2), "two bytes that nobody has");
    }

    fn a08_one_readable_byte_is_enough_to_go_on(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let old = pattern(1, 200);
            let bytes = a08_source(rig);
            for readable in (1..=40).chain([63, 64, 65]) {
                rig.fill(&old);
                assert_eq!(a08(rig, subject, rig.user(), readable), Ok(readable));
                let mut holds = old.clone();
                overlay(&mut holds, 17, &bytes[PAGE - readable..]);
                rig.assert_holds(&holds);
            }
        });
    }

    fn a08_a_copy_of_nothing_where_a_byte_is_readable_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        rig.fill(&pattern(1, 200));
        a08_source(&rig);
        let wide = Liar::new(rig.user(), Lie::LoadsWide);
        for readable in 1..8 {
            let answer = a08(&rig, Subject::Planted(Bug::KeepsTheLength), &wide, readable);
            assert_eq!(answer, Err(Failure::Livelock), "{readable}");
        }
        assert_eq!(a08(&rig, Subject::Planted(Bug::KeepsTheLength), &wide, 8), Ok(8));
    }

    /// A copier that breaks U2 is asked again for no more than the fault-in could reach.
    fn a08_a_copier_that_loads_wide_cannot_stall_it(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            let old = pattern(1, 200);
            let bytes = a08_source(rig);
            let wide = Liar::new(rig.user(), Lie::LoadsWide);
            for readable in 1..=9 {
                rig.fill(&old);
                assert_eq!(a08(rig, subject, &wide, readable), Ok(readable));
                let mut holds = old.clone();
                overlay(&mut holds, 17, &bytes[PAGE - readable..]);
                rig.assert_holds(&holds);
            }
        });
    }

    fn a10_no_more_is_faulted_in_than_is_copied(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let (answer, faulted_in) = a10(rig, subject);
            assert_eq!(answer, Ok(64 * PAGE));
            assert!(faulted_in <= 64 * PAGE as u64, "{faulted_in} bytes for {} ", 64 * PAGE);
            assert!(faulted_in > 0, "the source was not resident");
            rig.assert_holds(&pattern(1, 64 * PAGE));
        });
    }

    fn a10_a_fault_in_of_the_whole_rest_for_each_page_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let (answer, faulted_in) = a10(&rig, Subject::Planted(Bug::FaultsInTheRest));
        assert_eq!(answer, Ok(64 * PAGE));
        assert_eq!(faulted_in / PAGE as u64, (1..=64).sum(), "pages, for 64 pages");
    }

    fn a12_residency_is_invisible(machine = MachineConfig::new().frames(4096).space_pages(2048)) {
        exhibit(machine, &[Backing::Volatile], |rig, subject| {
            assert_eq!(a12(rig, subject), Ok(A12));
            rig.user().script().clear();
            rig.assert_holds(&pattern(1, A12));
        });
    }

    fn a12_taking_a_page_that_is_away_for_a_bad_one_is_caught(machine = MachineConfig::new().frames(4096).space_pages(2048)) {
        let rig = room(machine, Backing::Volatile);
        assert_eq!(a12(&rig, Subject::Planted(Bug::NeverFaultsIn)), EFAULT);
        rig.user().script().clear();
    }

    fn a13_a_write_of_nothing_from_nowhere_is_a_write_of_nothing(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            rig.fill(&pattern(1, 100));
            rig.file().mark_set_id();
            let before = rig.file().times();
            let task = TestTask::new().at(before.modified + 1).limited_to(0);
            let nowhere = rig.user().slice(500, 0, 0);
            for segments in [&[][..], &[nowhere][..], &[nowhere, nowhere][..]] {
                let counted = CountingUser::new(rig.user());
                let mut from = IovIter::new(&counted, segments).expect("a request");
                let options = WriteOptions::at(5000);
                let answer = subject.write_from(rig, &counted, segments, &mut from, &options, &task);
                assert_eq!(answer, Ok(0));
                assert_eq!(counted.accesses().besides_the_copy(), 0, "nothing is touched (U7)");
            }
            assert_eq!((rig.file().times(), rig.file().is_set_id()), (before, true));
            rig.assert_holds_for_good(&pattern(1, 100));
        });
    }

    fn a13_a_probe_before_the_length_is_looked_at_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let nowhere = rig.user().slice(500, 0, 0);
        let probing = Subject::Planted(Bug::ProbesAnEmptyRequest);
        assert_eq!(probing.write(&rig, 0, &[nowhere]), EFAULT);
    }
}

/// No syscall is needed for what the types say: a range that wraps cannot be made.
#[test]
fn a07_a_slice_that_wraps_cannot_be_made() {
    let machine = faultless_host::ScriptedMachine::new();
    let user = machine.space();
    assert!(UserSlice::new(&user, UserAddr::new(usize::MAX - 9), 20).is_err());
    assert!(UserSlice::new(&user, UserAddr::new(usize::MAX), 0).is_ok(), "nothing touches nothing");
}
