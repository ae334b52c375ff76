//! B, second half: when a page may be called uptodate, and what lies around the bytes that were
//! written.

use std::sync::Arc;

use faultless::filemap::{PrepareCommit, Strategy, WriteOptions};
use faultless::page::{AddressSpaceOperations, Contents, Errno, PageIndex};
use faultless_controls::{Control, Defects};
use faultless_host::stores::{BlockStore, Call, FaultyStore, MemoryStore};
use faultless_host::{Mmu, POISON, Protection};
use faultless_tests::bytes::overlay;
use faultless_tests::{
    Backing, PAGE, Rig, Setup, Store, Tail, assert_same, balanced_on_both_mmus, calls, pattern,
};

use crate::harness::{Answer, Failure, SOUND, Subject, exhibit, room};
use crate::planted::Bug;
use crate::stores::{Ledger, STALE, Twist};

const BLOCKS: Setup = Setup { backing: Backing::Blocks(1024), strategy: Strategy::BeginEnd };
const MEMORY: Setup = Setup { backing: Backing::Memory, strategy: Strategy::BeginEnd };

/// A rig over a store of whole pages with a ledger.
fn with_ledger<'m, M: Mmu>(rig: &Rig<'m, M>, twist: Twist) -> (Rig<'m, M>, Ledger) {
    let ledger = Ledger::new(MemoryStore::new(), twist);
    (Rig::over(rig.machine(), MEMORY, Store::plain(ledger.store())), ledger)
}

/// 77469c3f: a page that is not in the cache is replaced as a whole. What `read` shows, and how
/// many pages the store was asked for.
fn b06<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, ledger: &Ledger) -> (Answer, Vec<u8>, usize) {
    rig.fill(&pattern(1, PAGE));
    rig.chill();
    let source = rig.source_at(8, 0, &pattern(2, PAGE));
    ledger.clear();
    let answer = subject.write(rig, 0, &[source]);
    (answer, rig.contents(), ledger.reads())
}

/// f55aa591: the store has no room for a page of a hole. What `read` shows then.
fn b07<M: Mmu>(like: &Rig<'_, M>, subject: Subject) -> (Answer, Vec<u8>) {
    let blocks = BlockStore::new(1024, 100);
    let faulty = FaultyStore::new(Arc::clone(&blocks), like.machine().watchdog());
    let rig = Rig::over(like.machine(), BLOCKS, Store::around_blocks(Arc::clone(&faulty), blocks));
    calls::truncate(rig.file(), 2 * PAGE as u64).expect("a hole");
    faulty.fail_next(Call::WriteBegin, Errno::NoSpace);
    let source = rig.source_at(8, 0, &pattern(2, 50));
    let answer = subject.write(&rig, 100, &[source]);
    (answer, rig.contents())
}

/// e84e2e13: five bytes in the middle of a page that nobody has written, in memory that was another
/// file's.
fn b08<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, 8 * PAGE));
    rig.fill(&[]);
    let source = rig.source_at(8, 0, b"bytes");
    let answer = subject.write(rig, 3000, &[source]);
    calls::truncate(rig.file(), PAGE as u64).expect("the rest of the page");
    answer
}

fn b08_right() -> Vec<u8> {
    let mut holds = vec![0; PAGE];
    overlay(&mut holds, 3000, b"bytes");
    holds
}

/// 9c1ee184: blocks that were allocated, and not written, before the write: ten bytes go into one
/// of them.
fn b09<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, preallocated: &BlockStore) -> Answer {
    calls::truncate(rig.file(), PAGE as u64).expect("a size");
    let begun = AddressSpaceOperations::write_begin(preallocated, 0, PAGE).expect("room");
    assert_eq!(begun.len, PAGE);
    preallocated.write_end(0, PAGE, PAGE);
    let source = rig.source_at(8, 0, &pattern(2, 10));
    subject.write(rig, 1500, &[source])
}

fn b09_right() -> Vec<u8> {
    let mut holds = vec![0; PAGE];
    overlay(&mut holds, 1500, &pattern(2, 10));
    holds
}

/// NFS, 2014: ten bytes in a page that is not in the cache, which is then sent.
fn b10<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, 2 * PAGE));
    rig.chill();
    let source = rig.source_at(8, 0, &pattern(2, 10));
    let answer = subject.write(rig, 100, &[source]);
    rig.chill();
    answer
}

/// da2dccd7: a mapping stores past the end of the file; then a write makes the file longer.
fn b13<M: Mmu>(rig: &Rig<'_, M>, subject: Subject) -> Answer {
    rig.fill(&pattern(1, 100));
    rig.user().map_file(50, 1, rig.file(), PageIndex::ZERO, Protection::ReadWrite);
    rig.user().store(rig.user().at(50, 100), &[0x77; 1000]).expect("the mapping");
    let source = rig.source_at(8, 0, &pattern(2, 10));
    subject.write(rig, 5000, &[source])
}

fn b13_right() -> Vec<u8> {
    let mut holds = pattern(1, 100);
    overlay(&mut holds, 5000, &pattern(2, 10));
    holds
}

/// a98ee8c1, abe2f414, 2a754b51: writes that begin and end inside pages, and one that comes short.
/// What the store's ledger finds wrong.
fn b14<M: Mmu>(rig: &Rig<'_, M>, subject: Subject, ledger: &Ledger) -> (Vec<Answer>, Vec<String>) {
    ledger.clear();
    let long = rig.source_at(8, 0, &pattern(2, 2 * PAGE));
    let short = rig.source_before(20, &pattern(3, 700), Tail::Unmapped, 5000);
    let answers = vec![subject.write(rig, 5000, &[long]), subject.write(rig, 4500, &[short])];
    (answers, ledger.wrong())
}

fn b14_right() -> Vec<u8> {
    let mut holds = Vec::new();
    overlay(&mut holds, 5000, &pattern(2, 2 * PAGE));
    overlay(&mut holds, 4500, &pattern(3, 700));
    holds
}

balanced_on_both_mmus! {
    fn b06_a_page_replaced_as_a_whole_is_uptodate(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            let (rig, ledger) = with_ledger(rig, Twist::None);
            let (answer, read, asked) = b06(&rig, subject, &ledger);
            assert_eq!((answer, asked), (Ok(PAGE), 0), "nothing had to be read");
            assert_same(&read, &pattern(2, PAGE), "the page");
            rig.assert_holds_for_good(&pattern(2, PAGE));
        });
    }

    fn b06_a_page_that_is_dirty_and_never_uptodate_is_caught(machine) {
        let (rig, ledger) = with_ledger(&room(machine, Backing::Memory), Twist::None);
        let (answer, read, asked) = b06(&rig, Subject::Planted(Bug::NeverUptodate), &ledger);
        assert_eq!((answer, asked), (Ok(PAGE), 1));
        assert_same(&read, &pattern(1, PAGE), "what was written is read over");
    }

    fn b07_a_page_without_room_is_not_uptodate(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            let (answer, read) = b07(rig, subject);
            assert_eq!(answer, Err(Failure::Errno(Errno::NoSpace)));
            assert_same(&read, &[0; 2 * PAGE], "the hole");
        });
    }

    fn b07_a_page_called_uptodate_before_the_store_was_asked_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        let (answer, read) = b07(&rig, Subject::Planted(Bug::UptodateEarly));
        assert_eq!(answer, Err(Failure::Errno(Errno::NoSpace)));
        assert_eq!(read[..PAGE], [POISON; PAGE], "garbage in a hole");
    }

    fn b08_a_recycled_frame_is_defined_before_it_is_uptodate(machine) {
        exhibit(machine, &[Backing::Volatile, Backing::Memory, Backing::Blocks(1024)], |rig, subject| {
            assert_eq!(b08(rig, subject), Ok(5));
            rig.assert_holds_for_good(&b08_right());
        });
    }

    fn b08_a_recycled_frame_that_is_not_zeroed_is_caught(machine) {
        let rig = room(machine, Backing::Volatile);
        assert_eq!(b08(&rig, Subject::Planted(Bug::RestUndefined)), Ok(5));
        assert_eq!(rig.read(2998, 7), [POISON, POISON, b'b', b'y', b't', b'e', b's']);
    }

    fn b09_the_rest_of_an_unwritten_block_reads_as_zeros(machine) {
        exhibit(machine, &[Backing::Blocks(512), Backing::Blocks(1024), Backing::Legacy], |rig, subject| {
            let blocks = Arc::clone(rig.store().blocks().expect("blocks"));
            assert_eq!(b09(rig, subject, &blocks), Ok(10));
            rig.assert_holds_for_good(&b09_right());
            assert_same(&blocks.contents(), &b09_right(), "the device");
        });
    }

    fn b09_a_store_that_takes_unwritten_blocks_for_data_is_caught(machine) {
        let blocks = BlockStore::new(1024, 100);
        let ledger = Ledger::new(Arc::<BlockStore>::clone(&blocks), Twist::UnwrittenIsData);
        for subject in SOUND {
            let rig = Rig::over(machine, BLOCKS, Store::plain(ledger.store()));
            assert_eq!(b09(&rig, subject, &blocks), Ok(10));
            assert_eq!(rig.read(1499, 1), [STALE], "{subject:?}: what the device happened to hold");
        }
    }

    fn b10_a_partial_write_sends_no_more_than_is_known(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(b10(rig, subject), Ok(10));
            let mut holds = pattern(1, 2 * PAGE);
            overlay(&mut holds, 100, &pattern(2, 10));
            rig.assert_holds_for_good(&holds);
        });
    }

    fn b10_a_partial_write_promoted_to_a_whole_page_is_caught(machine) {
        let rig = room(machine, Backing::Memory);
        assert_eq!(b10(&rig, Subject::Planted(Bug::RestUndefined)), Ok(10));
        assert_eq!(rig.read(98, 3), [POISON, POISON, pattern(2, 1)[0]], "junk was sent");
    }

    fn b13_a_scribble_past_the_end_never_becomes_data(machine) {
        exhibit(machine, Backing::DISTINCT, |rig, subject| {
            assert_eq!(b13(rig, subject), Ok(10));
            rig.assert_holds_for_good(&b13_right());
        });
    }

    fn b13_an_extension_that_does_not_look_for_scribbles_is_caught(machine) {
        let first_cure = Subject::Control(Control::Linux2624Rc1(Defects::NONE));
        for subject in [Subject::Planted(Bug::IgnoresScribbles), first_cure] {
            let rig = room(machine, Backing::Memory);
            assert_eq!(b13(&rig, subject), Ok(10));
            assert_eq!(rig.read(99, 3)[1..], [0x77; 2], "{subject:?}: the scribble is in the file");
        }
    }

    fn b14_the_store_is_told_positions_of_the_file_and_what_landed(machine) {
        exhibit(machine, &[Backing::Memory], |rig, subject| {
            let (rig, ledger) = with_ledger(rig, Twist::None);
            let (answers, wrong) = b14(&rig, subject, &ledger);
            assert_eq!((answers, wrong), (vec![Ok(2 * PAGE), Ok(700)], Vec::new()));
            rig.assert_holds_for_good(&b14_right());
        });
    }

    fn b14_an_offset_in_the_page_for_a_position_is_caught(machine) {
        let (rig, ledger) = with_ledger(&room(machine, Backing::Memory), Twist::None);
        let (_, wrong) = b14(&rig, Subject::Planted(Bug::InPageOffset), &ledger);
        assert!(wrong.iter().any(|line| line.contains("at 904 never began")), "{wrong:?}");
    }

    /// What a store grants beyond what was asked for, or short of anything, is clipped: its lie
    /// stays its own.
    fn b14_a_lying_grant_is_clipped(machine) {
        for twist in [Twist::GrantsTooMuch, Twist::GrantsNothing] {
            exhibit(machine, &[Backing::Memory], |rig, subject| {
                let (rig, ledger) = with_ledger(rig, twist);
                let bytes = pattern(2, 200);
                let source = rig.source_at(8, 0, &bytes);
                let answer = subject.write_as(&rig, rig.user(), &[source], &WriteOptions::at(PAGE as u64 - 100));
                assert_eq!(answer, Ok(200), "{twist:?}");
                assert_eq!(ledger.wrong(), Vec::<String>::new());
                let mut holds = Vec::new();
                overlay(&mut holds, PAGE - 100, &bytes);
                rig.assert_holds_for_good(&holds);
            });
        }
    }
}

/// The end of a write returns nothing, so it cannot return more than was copied; and an offset in a
/// page is another type than a position in the file, or stands beside the page that it lies in.
/// Checked when this compiles.
const _: () = {
    let _: fn(&MemoryStore, u64, usize, usize) = <MemoryStore as AddressSpaceOperations>::write_end;
    let _: fn(&faultless_tests::legacy::Legacy, PageIndex, usize, usize) =
        <faultless_tests::legacy::Legacy as PrepareCommit>::commit_write;
    let _: fn(
        &faultless_tests::legacy::Legacy,
        PageIndex,
        usize,
        usize,
    ) -> Result<Contents, Errno> =
        <faultless_tests::legacy::Legacy as PrepareCommit>::prepare_write;
};
