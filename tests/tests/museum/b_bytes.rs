//! B, first half: what a copy must not do to bytes, and who may see them meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::PageIndex;
use faultless::usercopy::{MayFault, UserMemory};
use faultless_controls::Control;
use faultless_host::{
    Action, AddressSpace, Event, FrameOrder, MachineConfig, Mmu, POISON, Protection, When,
};
use faultless_tests::bytes::overlay;
use faultless_tests::{
    Backing, File, PAGE, Rig, Setup, Store, Tail, assert_same, balanced_on_both_mmus, calls,
    pattern,
};

use crate::copier::{Liar, Lie};
use crate::harness::{Answer, EFAULT, Subject, bad, exhibit, room};
use crate::planted::Bug;
use crate::stores::{Ledger, Twist};

/// Strategy B, which believes the copier at once.
const FAULTLESS_B: Subject = Subject::Faultless(Strategy::BeginEnd);

/// What readers saw.
type Snapshots = Arc<Mutex<Vec<Vec<u8>>>>;

/// Reads the file on another thread, as another process.
fn snapshot<M: Mmu>(reader: &AddressSpace<M>, file: &File, seen: &Snapshots) {
    let (reader, file, seen) = (reader.clone(), Arc::clone(file), Arc::clone(seen));
    let thread = faultless_tests::threads::spawn(move || {
        let len = file.size() as usize;
        let target = reader.slice(0, 0, len);
        assert_eq!(calls::pread(&reader, &file, 0, target), Ok(len));
        let bytes = reader.read_vec(target.addr(), len).expect("memory of a program");
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    });
    thread.join().expect("the reader");
}

/// 01408c49: an uptodate page is overwritten; the copy ends after 1,000 bytes and goes on after a
/// fault-in. What was read at each copy and at each fault-in.
fn b01<M: Mmu, U: UserMemory<Token = MayFault>>(
    rig: &Rig<'_, M>,
    subject: Subject,
    user: &U,
) -> (Answer, Vec<Vec<u8>>) {
    rig.fill(&pattern(1, 2 * PAGE));
    let source = rig.source_at(8, PAGE - 1000, &pattern(2, 5000));
    rig.user().evict(9, 2);
    let reader = rig.machine().space_of(4);
    reader.map_anonymous(0, 4, Protection::ReadWrite);
    reader.populate(0, 4).expect("memory");
    let seen = Snapshots::default();
    let (file, snapshots) = (Arc::clone(rig.file()), Arc::clone(&seen));
    // No page lock is needed for it: every page is uptodate.
    let look = Action::Call(Arc::new(move |_| snapshot(&reader, &file, &snapshots)));
    for event in [Event::AtomicCopy, Event::FaultIn] {
        rig.user().script().add(event, When::From(1), look.clone());
    }
    let answer = subject.write_as(rig, user, &[source], &WriteOptions::at(50));
    rig.user().script().clear();
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    (answer, seen)
}

/// The first byte of a snapshot of B1 that is neither the old nor the new one.
fn third_value(snapshots: &[Vec<u8>]) -> Option<(usize, u8)> {
    let old = pattern(1, 2 * PAGE);
    let mut new = old.clone();
    overlay(&mut new, 50, &pattern(2, 5000));
    snapshots.iter().find_map(|bytes| {
        let odd = |at: &usize| bytes[*at] != old[*at] && bytes[*at] != new[*at];
        (0..bytes.len()).find(odd).map(|at| (at, bytes[at]))
    })
}

/// 42a886af: a fault at every place of a copy. The first case in which the answer, or the file, is
/// not what it must be.
fn b02<M: Mmu, U: UserMemory<Token = MayFault>>(
    rig: &Rig<'_, M>,
    subject: Subject,
    user: &U,
) -> Option<(usize, usize)> {
    let bytes = pattern(2, PAGE);
    let _ = rig.source_before(8, &bytes, Tail::Unmapped, 200);
    let old = pattern(1, 300);
    for len in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 200] {
        for readable in 0..=len {
            rig.fill(&old);
            let source = rig.user().slice(8, PAGE - readable, len);
            let answer = subject.write_as(rig, user, &[source], &WriteOptions::at(21));
            let right = if readable == 0 { EFAULT } else { Ok(readable) };
            let mut holds = old.clone();
            overlay(&mut holds, 21, &bytes[PAGE - readable..]);
            if answer != right || rig.contents() != holds {
                return Some((len, readable));
            }
        }
    }
    None
}

/// 04fff641: 500 bytes arrive in an uptodate page, then the source ends.
fn b03<M: Mmu, U: UserMemory<Token = MayFault>>(
    rig: &Rig<'_, M>,
    subject: Subject,
    user: &U,
) -> Answer {
    rig.fill(&pattern(1, PAGE));
    let source = rig.source_before(8, &pattern(2, 500), Tail::NoAccess, 1500);
    subject.write_as(rig, user, &[source], &WriteOptions::at(100))
}

fn b03_right() -> Vec<u8> {
    let mut holds = pattern(1, PAGE);
    overlay(&mut holds, 100, &pattern(2, 500));
    holds
}

/// 5b41e74a: a file of 400,000 bytes of nothing; one byte, then a segment that is not mapped.
fn b04<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    calls::truncate(rig.file(), 400_000).expect("a hole");
    let first = rig.source_at(8, 0, b"a");
    subject.write(rig, 0, &[first, bad(rig, PAGE)])
}

/// CVE-2014-0069: 1,000 bytes, then 2,000 that are not mapped, to an empty file, which is then made
/// durable.
fn b05<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let source = rig.source_before(8, &pattern(2, 1000), Tail::Unmapped, 2000);
    let answer = subject.write(rig, 0, &[source]);
    calls::fsync(rig.file()).expect("a sync");
    answer
}

/// A rig whose store keeps a ledger of blocks of 1 KiB.
fn ledger_room<'m, M: Mmu>(rig: &Rig<'m, M>, twist: Twist) -> (Rig<'m, M>, Ledger) {
    let blocks = Arc::clone(Backing::Blocks(1024).make().blocks().expect("blocks"));
    let ledger = Ledger::new(Arc::<faultless_host::stores::BlockStore>::clone(&blocks), twist);
    let setup = Setup { backing: Backing::Blocks(1024), strategy: Strategy::BeginEnd };
    let store = Store::around_blocks(ledger.store(), blocks);
    (Rig::over(rig.machine(), setup, store), ledger)
}

/// What the store's file would be after a remount.
fn durable<M: Mmu>(rig: &Rig<'_, M>) -> Vec<u8> {
    rig.store().blocks().expect("blocks").contents()
}

/// 931e80e4: the program has stored to its mapping of a page, so that its line of the cache is
/// dirty; then the page is written. `hardware` is what happens to the line afterwards. What the
/// mapping and `read` show at the end.
fn b11<M: Mmu>(
    rig: &Rig<'_, M>,
    subject: Subject,
    hardware: impl FnOnce(&AddressSpace<M>),
) -> (Answer, Vec<u8>, Vec<u8>) {
    rig.fill(&pattern(1, PAGE));
    rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::ReadWrite);
    rig.user().store(rig.user().at(50, 0), &pattern(3, 64)).expect("the mapping");
    let source = rig.source_at(8, 0, &pattern(2, 64));
    let answer = subject.write(rig, 0, &[source]);
    hardware(rig.user());
    let mapped = rig.user().read_vec(rig.user().at(50, 0), PAGE).expect("the mapping");
    (answer, mapped, rig.contents())
}

/// CVE-2024-50222: three pages and a bit, in frames that lie apart.
fn b12<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    let source = rig.source_at(8, 0, &pattern(2, 3 * PAGE + 100));
    subject.write(rig, 300, &[source])
}

balanced_on_both_mmus! {
    fn b01_a_reader_sees_the_old_or_the_new_byte_at_any_moment(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let (answer, snapshots) = b01(rig, subject, rig.user());
            assert_eq!(answer, Ok(5000));
            assert!(snapshots.len() >= 2, "{} snapshots", snapshots.len());
            assert_eq!(third_value(&snapshots), None);
        });
    }

    fn b01_a_copy_that_zeroes_what_it_could_not_get_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let liar = Liar::new(rig.user(), Lie::ZeroesTheTail);
        let (answer, snapshots) = b01(&rig, FAULTLESS_B, &liar);
        assert_eq!(answer, Ok(5000), "at the end nothing is to be seen of it");
        assert_eq!(third_value(&snapshots), Some((1050, 0)));
    }

    fn b02_what_is_reported_was_stored(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            assert_eq!(b02(rig, subject, rig.user()), None);
        });
    }

    fn b02_a_copy_that_reports_the_block_with_the_fault_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let liar = Liar::new(rig.user(), Lie::OverReports);
        assert_eq!(b02(&rig, FAULTLESS_B, &liar), Some((1, 0)), "one byte that nobody has");
    }

    fn b03_bytes_behind_a_short_copy_stay(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(b03(rig, subject, rig.user()), Ok(500));
            rig.assert_holds_for_good(&b03_right());
        });
    }

    fn b03_a_copy_that_zeroes_its_tail_in_a_good_page_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let liar = Liar::new(rig.user(), Lie::ZeroesTheTail);
        assert_eq!(b03(&rig, FAULTLESS_B, &liar), Ok(500));
        let mut wrong = b03_right();
        wrong[600..2100].fill(0);
        assert_same(&rig.contents(), &wrong, "old bytes are gone");
        // 2.6.23 did it to itself; its other sin is not looked at here.
        let rig = room(machine, Backing::Memory);
        let expecting = machine.check().expect();
        assert_eq!(b03(&rig, Subject::Control(Control::Linux2623), rig.user()), Ok(500));
        drop(expecting.reports());
        assert_same(&rig.contents(), &wrong, "old bytes are gone");
    }

    fn b04_a_short_copy_into_a_new_page_shows_no_kernel_memory(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(b04(rig, subject), Ok(1));
            let mut holds = vec![0; 400_000];
            holds[0] = b'a';
            rig.assert_holds_for_good(&holds);
        });
    }

    fn b04_a_page_marked_uptodate_after_a_short_copy_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(b04(&rig, Subject::Planted(Bug::RestUndefined)), Ok(1));
        assert_eq!(rig.read(0, 4), [b'a', POISON, POISON, POISON], "memory of the kernel");
    }

    fn b05_what_was_copied_is_sent(machine) {
        exhibit(machine, &[Backing::Blocks(1024)], |rig, subject| {
            let (rig, ledger) = ledger_room(rig, Twist::None);
            assert_eq!(b05(&rig, subject), Ok(1000));
            assert_eq!(ledger.landed_until(), 1000);
            assert_eq!(ledger.wrong(), Vec::<String>::new());
            assert_same(&durable(&rig), &pattern(2, 1000), "the store");
        });
    }

    fn b05_sending_what_was_asked_is_caught(machine) {
        let (rig, ledger) = ledger_room(&room(machine, Backing::Memory), Twist::None);
        assert_eq!(b05(&rig, Subject::Planted(Bug::CommitsAsked)), Ok(1000));
        assert!(ledger.landed_until() >= 3000, "up to {}", ledger.landed_until());
        assert_eq!(durable(&rig)[1000..], [POISON; 2000], "memory of the kernel on the disk");
    }

    /// There is no hook to forget: the core is for machines whose caches agree about a frame,
    /// whatever addresses it is seen at.
    fn b11_a_mapping_and_read_agree_after_a_write(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            let (answer, mapped, read) = b11(rig, subject, |_| ());
            assert_eq!(answer, Ok(64));
            let mut holds = pattern(1, PAGE);
            overlay(&mut holds, 0, &pattern(2, 64));
            assert_same(&mapped, &holds, "the mapping");
            assert_same(&read, &holds, "read");
            rig.assert_holds_for_good(&holds);
        });
    }

    fn b11_a_dirty_line_that_comes_back_after_the_write_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let line = pattern(3, 64);
        let (answer, _, read) = b11(&rig, FAULTLESS_B, |user| user.poke(user.at(50, 0), &line));
        assert_eq!(answer, Ok(64));
        assert_same(&read[..64], &line, "old data resurfaces");
    }

    fn b12_each_frame_is_asked_for_its_own_address(machine = MachineConfig::new().order(FrameOrder::Scattered)) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            for _cold_then_hot in 0..2 {
                assert_eq!(b12(rig, subject), Ok(3 * PAGE + 100));
                let mut holds = Vec::new();
                overlay(&mut holds, 300, &pattern(2, 3 * PAGE + 100));
                rig.assert_holds(&holds);
            }
        });
    }

    fn b12_one_address_for_two_pages_is_caught(machine = MachineConfig::new().order(FrameOrder::Scattered)) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(b12(&rig, Subject::Planted(Bug::OneMapForAll)), Ok(3 * PAGE + 100));
        let bytes = rig.read(0, 2 * PAGE);
        assert_same(&bytes[300..PAGE], &pattern(2, PAGE - 300), "the first page");
        assert_eq!(bytes[PAGE..], [0; PAGE], "the second page got nothing");
    }
}
