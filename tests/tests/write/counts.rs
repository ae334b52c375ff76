//! W1, W2 and W3: how many bytes a write says it wrote, which bytes those are, and what the size is
//! then.
//!
//! The file is in one of several states when it is written to, and the source ends at every
//! interesting byte.

use faultless::filemap::{NoTask, OpenFile, OpenFlags};
use faultless::page::Errno;
use faultless::usercopy::{IovIter, UserSlice};
use faultless_host::{Mmu, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{PAGE, Rig, Setup, Tail, TestTask, pattern};

/// What the file looks like to the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Four pages and a bit, in the cache.
    Hot,
    /// The same, in the store only.
    Cold,
    /// The same size, but a hole.
    Hole,
    /// Every other page a hole, and the rest cold.
    Sieve,
    /// Nothing.
    Empty,
}

const STATES: [State; 5] = [State::Hot, State::Cold, State::Hole, State::Sieve, State::Empty];

/// Size of the file in every state but `Empty`: it ends within a page and within a block.
const SIZE: usize = 4 * PAGE + 1234;

/// Puts the file into `state` and says what it holds.
fn prepare<M: Mmu>(rig: &Rig<'_, M>, state: State) -> Vec<u8> {
    let full = pattern(1, SIZE);
    match state {
        State::Empty => {
            rig.fill(&[]);
            return Vec::new();
        }
        State::Hot | State::Cold => rig.fill(&full),
        State::Hole => {
            rig.fill(&[]);
            faultless_tests::calls::truncate(rig.file(), SIZE as u64).expect("a hole");
        }
        State::Sieve => {
            rig.fill(&[]);
            faultless_tests::calls::truncate(rig.file(), SIZE as u64).expect("a hole");
            for page in [0, 2, 4] {
                let end = (page * PAGE + PAGE).min(SIZE);
                let piece = rig.source_at(900, 0, &full[page * PAGE..end]);
                assert_eq!(rig.write((page * PAGE) as u64, piece), Ok(end - page * PAGE));
            }
        }
    }
    let mut holds = full;
    match state {
        State::Hole => holds.fill(0),
        State::Sieve => {
            holds[PAGE..2 * PAGE].fill(0);
            holds[3 * PAGE..4 * PAGE].fill(0);
        }
        _ => {}
    }
    if state != State::Hot {
        rig.chill();
    }
    holds
}

/// Writes `bytes` at `pos` with nothing readable behind them, and checks everything that W1 to W3
/// say.
#[track_caller]
fn write_prefix<M: Mmu>(
    rig: &Rig<'_, M>,
    holds: &mut Vec<u8>,
    pos: usize,
    bytes: &[u8],
    tail: Tail,
    more: usize,
) {
    println!("{} readable of {} at {pos}, then {tail:?}", bytes.len(), bytes.len() + more);
    let source = rig.source_before(8, bytes, tail, more);
    let expected = if bytes.is_empty() { Err(Errno::Fault) } else { Ok(bytes.len()) };
    assert_eq!(rig.write(pos as u64, source), expected);
    overlay(holds, pos, bytes);
    rig.assert_holds(holds);
}

on_both_mmus! {
    /// Every byte of the source that can be read is written, and not one more, wherever it ends.
    fn w1_exactly_the_readable_prefix_lands_in_every_kind_of_page(machine) {
        for setup in Setup::distinct() {
            let rig = Rig::new(machine, setup);
            for state in STATES {
                println!("{state:?}");
                let mut holds = prepare(&rig, state);
                for (round, len) in [1, 511, 3000, PAGE + 1, 2 * PAGE].into_iter().enumerate() {
                    let pos = [0, 1, 700, PAGE - 1, PAGE][round];
                    let bytes = pattern(round as u64 + 10, len);
                    write_prefix(&rig, &mut holds, pos, &bytes, Tail::Unmapped, 5000);
                }
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w1_the_prefix_is_exact_for_every_length_up_to_a_cache_line_and_around_every_power_of_two(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            let lengths = (0..=65).chain([127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 4095]);
            for state in [State::Hot, State::Empty] {
                let mut holds = prepare(&rig, state);
                for len in lengths.clone() {
                    let bytes = pattern(len as u64, len);
                    write_prefix(&rig, &mut holds, 4090 - len % 7, &bytes, Tail::Unmapped, 300);
                }
            }
        }
    }

    fn w1_it_does_not_matter_why_the_source_ends(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            for tail in Tail::ALL {
                let mut holds = prepare(&rig, State::Cold);
                write_prefix(&rig, &mut holds, 5000, &pattern(2, 77), tail, 1);
                write_prefix(&rig, &mut holds, 5000, &[], tail, PAGE);
                write_prefix(&rig, &mut holds, SIZE, &pattern(3, 5000), tail, 3 * PAGE);
            }
        }
    }

    /// A prefix of nothing is EFAULT, and the file is what it was: not longer (as in Linux 6.18),
    /// not dirtier, with no block more.
    fn w1_nothing_readable_changes_nothing_not_even_the_size(machine) {
        for setup in Setup::all() {
            let rig = Rig::new(machine, setup);
            for state in STATES {
                println!("{state:?}");
                let holds = prepare(&rig, state);
                for pos in [0, 1, PAGE, SIZE - 1, SIZE, SIZE + 1, 10 * PAGE, 100 * PAGE + 7] {
                    for tail in Tail::ALL {
                        let source = rig.source_before(8, &[], tail, 2 * PAGE + 1);
                        assert_eq!(rig.write(pos as u64, source), Err(Errno::Fault), "at {pos}");
                        let appended = rig.write_as(&[source], &rig.append(), &NoTask);
                        assert_eq!(appended, Err(Errno::Fault));
                    }
                    rig.assert_holds(&holds);
                    rig.store().assert_in_order(holds.len() as u64);
                }
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w1_a_failed_write_leaves_no_dirty_page_behind(machine) {
        for setup in Setup::distinct() {
            let rig = Rig::new(machine, setup);
            let holds = prepare(&rig, State::Cold);
            let source = rig.source_before(8, &[], Tail::NoAccess, 3 * PAGE);
            assert_eq!(rig.write(100, source), Err(Errno::Fault));
            assert_eq!(rig.write(SIZE as u64 + 9000, source), Err(Errno::Fault));
            // Whatever was read in is clean and can be dropped without a writeback.
            let _ = faultless_tests::calls::evict(rig.file());
            assert_eq!(rig.file().mapping().cached_pages(), 0);
            rig.assert_holds(&holds);
        }
    }

    fn w1_a_write_of_nothing_returns_nothing_and_does_nothing(machine) {
        for setup in Setup::all() {
            let rig = Rig::new(machine, setup);
            let holds = prepare(&rig, State::Hot);
            let task = TestTask::new().at(77).limited_to(0);
            rig.file().mark_set_id();
            let before = rig.file().times();
            let nowhere = rig.user().slice(500, 0, 0);
            for pos in [0, SIZE as u64 + 5000, u64::MAX] {
                let written = rig.write_as(&[nowhere, nowhere], &rig.at(pos), &task);
                assert_eq!(written.map(|written| written.bytes), Ok(0));
            }
            let written = rig.write_as(&[], &rig.append(), &task).expect("nothing");
            assert_eq!((written.bytes, written.end), (0, SIZE as u64));
            assert_eq!(task.exceeded(), 0, "no signal for a write of nothing");
            assert_eq!(rig.file().times(), before);
            assert!(rig.file().is_set_id());
            rig.assert_holds(&holds);
        }
    }

    fn w2_other_bytes_stay_for_every_offset_and_length_around_pages_and_blocks(machine) {
        let places = [0, 1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097];
        for setup in Setup::all() {
            let rig = Rig::new(machine, setup);
            let mut holds = prepare(&rig, State::Sieve);
            let source = rig.source_at(8, 3, &pattern(9, 3 * PAGE));
            let bytes = pattern(9, 3 * PAGE);
            for (round, pos) in places.into_iter().enumerate() {
                for len in [1, places[places.len() - 1 - round].max(1), 2 * PAGE] {
                    let at = pos + (round % 3) * PAGE;
                    assert_eq!(rig.write(at as u64, source.prefix(len)), Ok(len));
                    overlay(&mut holds, at, &bytes[..len]);
                }
                rig.assert_holds(&holds);
                rig.chill();
            }
            rig.assert_holds_for_good(&holds);
        }
    }

    fn w2_a_hole_between_the_old_end_and_the_write_reads_as_zeros(machine) {
        for setup in Setup::all() {
            for gap in [1, 511, 1025, PAGE - 1, PAGE, 3 * PAGE + 5, 70 * PAGE] {
                for size in [0, 1, 100, PAGE, PAGE + 513] {
                    let rig = Rig::new(machine, setup);
                    let mut holds = pattern(4, size);
                    rig.fill(&holds);
                    let bytes = pattern(5, 600);
                    let source = rig.source_at(8, 0, &bytes);
                    assert_eq!(rig.write((size + gap) as u64, source), Ok(600));
                    overlay(&mut holds, size + gap, &bytes);
                    rig.assert_holds(&holds);
                }
            }
        }
    }

    /// Recycled frames are poisoned: a page that shows one was not defined everywhere (W5, B8).
    fn w2_a_write_into_the_middle_of_a_new_page_shows_no_recycled_memory(machine = faultless_host::MachineConfig::new().frames(160)) {
        for setup in Setup::distinct() {
            let rig = Rig::new(machine, setup);
            for round in 0..12_u64 {
                // Frames go round: what the last file left is what this one gets.
                rig.fill(&[]);
                let pos = 3000 * (round as usize + 1);
                let mut holds = Vec::new();
                let bytes = pattern(round, 5);
                write_prefix(&rig, &mut holds, pos, &bytes, Tail::Unmapped, 9000);
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w3_the_size_is_the_old_one_or_the_end_of_what_landed(machine) {
        for setup in Setup::all() {
            let rig = Rig::new(machine, setup);
            for (size, pos, readable, more) in [
                (0, 0, 1, 0),
                (10, 0, 5, 0),
                (10, 5, 5, 0),
                (10, 5, 6, 0),
                (10, 5, 3, 100),
                (10, 10, 10, 10),
                (PAGE, PAGE - 1, 2, 2 * PAGE),
                (PAGE + 1, 100, 3 * PAGE, 70 * PAGE),
                (5000, 6000, 5000, 5000),
            ] {
                let mut holds = pattern(6, size);
                rig.fill(&holds);
                write_prefix(&rig, &mut holds, pos, &pattern(7, readable), Tail::NoAccess, more);
                assert_eq!(rig.file().size(), size.max(pos + readable) as u64);
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w3_an_append_lands_at_the_end_whatever_the_end_is(machine) {
        for setup in Setup::all() {
            let rig = Rig::new(machine, setup);
            let mut holds = Vec::new();
            for (round, len) in [1, 4095, 1, PAGE, 3, 511, 513, 9000, 1].into_iter().enumerate() {
                let bytes = pattern(round as u64, len);
                let source = rig.source_at(8, 17, &bytes);
                let written = rig.write_as(&[source], &rig.append(), &NoTask).expect("an append");
                holds.extend(bytes);
                assert_eq!((written.bytes, written.end), (len, holds.len() as u64));
                rig.assert_holds(&holds);
            }
            rig.assert_holds_for_good(&holds);
        }
    }

    fn w3_the_position_moves_by_what_landed_and_not_at_all_on_an_error(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 100));
        let mut open = OpenFile::new(rig.file(), OpenFlags::empty());
        open.seek(90).expect("a position");
        let write = |open: &mut OpenFile, source: UserSlice, task: &TestTask| {
            let segments = [source];
            let mut from = IovIter::new(rig.user(), &segments).expect("a request");
            machine.syscall(|token| open.write(rig.file(), token, &mut from, task))
        };
        let task = TestTask::new();
        let good = rig.source_at(8, 0, &pattern(2, 20));
        assert_eq!(write(&mut open, good, &task), Ok(20));
        assert_eq!((open.position(), rig.file().size()), (110, 110));
        let short = rig.source_before(8, &pattern(3, 7), Tail::Unmapped, 20);
        assert_eq!(write(&mut open, short, &task), Ok(7));
        assert_eq!(open.position(), 117);
        let bad = rig.source_before(8, &[], Tail::Unmapped, 20);
        assert_eq!(write(&mut open, bad, &task), Err(Errno::Fault));
        assert_eq!(write(&mut open, good.prefix(0), &task), Ok(0));
        assert_eq!(write(&mut open, bad, &TestTask::new().limited_to(50)), Err(Errno::FileTooBig));
        assert_eq!((open.position(), rig.file().size()), (117, 117));
    }

    fn w3_pwrite_leaves_the_position_and_o_append_moves_it_to_the_end(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 100));
        let source = rig.source_at(8, 0, &pattern(2, 20));
        let segments = [source];
        let mut open = OpenFile::new(rig.file(), OpenFlags::APPEND);
        let from = || IovIter::new(rig.user(), &segments).expect("a request");
        let written = machine.syscall(|token| open.write(rig.file(), token, &mut from(), &NoTask));
        assert_eq!((written, open.position(), rig.file().size()), (Ok(20), 120, 120));
        // pwrite with O_APPEND appends, and the position is not its business.
        let written = machine.syscall(|token| open.write_at(rig.file(), token, &mut from(), 3, &NoTask));
        assert_eq!((written, open.position(), rig.file().size()), (Ok(20), 120, 140));
        let mut plain = OpenFile::new(rig.file(), OpenFlags::empty());
        let written = machine.syscall(|token| plain.write_at(rig.file(), token, &mut from(), 3, &NoTask));
        assert_eq!((written, plain.position(), rig.file().size()), (Ok(20), 0, 140));
    }
}
