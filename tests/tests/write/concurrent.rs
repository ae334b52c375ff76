//! W5 and the order of overlapping writes: what others see while a write is under way.
//!
//! Each test runs a fixed number of rounds and stops; every wait is under the host's watchdog.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faultless::filemap::{Inode, NoTask, WriteOptions};
use faultless::page::{PageIndex, Strategy};
use faultless_host::stores::MemoryStore;
use faultless_host::{
    Action, AddressSpace, Event, HostKernel, Machine, MachineConfig, Mmu, POISON, Protection, When,
    on_both_mmus,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{File, PAGE, calls};

/// A space with `bytes` at page 0, and behind them room to read into.
fn space_with<M: Mmu>(machine: &Machine<M>, bytes: &[u8]) -> AddressSpace<M> {
    let pages = bytes.len().div_ceil(PAGE);
    let space = machine.space_of(2 * pages + 2);
    space.map_anonymous(0, 2 * pages + 2, Protection::ReadWrite);
    space.store(space.at(0, 0), bytes).expect("user memory");
    space
}

/// Writes all of `bytes`, which lie at page 0 of `space`, at `pos`.
#[track_caller]
fn write_all<M: Mmu>(
    space: &AddressSpace<M>,
    file: &Inode<HostKernel>,
    pos: u64,
    len: usize,
    strategy: Strategy,
) {
    let options = WriteOptions::at(pos).with_strategy(strategy);
    let got = calls::write_as(space, file, &[space.slice(0, 0, len)], &options, &NoTask);
    assert_eq!(got.map(|written| written.bytes), Ok(len));
}

/// Runs `writer` while `reader` is called again and again; at least once after the writer began.
fn against(writer: impl FnOnce() + Send, reader: impl Fn() + Send + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = faultless_tests::threads::spawn_in(scope, || {
            loop {
                let last = done.load(Ordering::Acquire);
                reader();
                if last {
                    break;
                }
            }
        });
        let written = faultless_tests::threads::spawn_in(scope, writer);
        let outcome = written.join();
        done.store(true, Ordering::Release);
        reading.join().expect("the reader");
        outcome.expect("the writer");
    });
}

/// Where the writes of the W5 tests go: the middle of a page to the middle of another, across the
/// edge of a leaf.
const AT: usize = 62 * PAGE + 1000;
const LEN: usize = 4 * PAGE;

/// A file that holds `1` wherever the tests write.
fn file_of_ones<M: Mmu>(machine: &Machine<M>) -> (AddressSpace<M>, File) {
    let file = machine.inode(&MemoryStore::new(), 0);
    let ones = space_with(machine, &[1; 70 * PAGE]);
    write_all(&ones, &file, 0, 70 * PAGE, Strategy::BeginEnd);
    (ones, file)
}

/// Writes 2s and 1s in turn over 1s, disturbed as `disturb` says; whoever looks sees 1s and 2s.
fn old_or_new<M: Mmu>(
    machine: &Machine<M>,
    cold: bool,
    disturb: &(dyn Fn(&AddressSpace<M>, u64) + Sync),
    look: impl Fn(&File, &[u8]) + Sync,
    seen: impl Fn(&File) -> Vec<u8> + Sync,
) {
    for strategy in STRATEGIES {
        let (ones, file) = file_of_ones(machine);
        let twos = space_with(machine, &[2; LEN]);
        let writer = || {
            for round in 0..60_u64 {
                if cold && round % 4 == 0 {
                    calls::fsync(&file).expect("a sync");
                    let _ = calls::evict(&file);
                }
                let space = if round % 2 == 0 { &twos } else { &ones };
                disturb(space, round);
                write_all(space, &file, AT as u64, LEN, strategy);
                space.script().clear();
            }
        };
        against(writer, || look(&file, &seen(&file)));
    }
}

#[track_caller]
fn only_ones_and_twos(bytes: &[u8]) {
    assert_eq!(bytes.len(), LEN, "the file does not get shorter");
    if let Some(at) = bytes.iter().position(|byte| !matches!(byte, 1 | 2)) {
        panic!("byte {at} was {:#04x}, which is neither old nor new", bytes[at]);
    }
}

/// Reads what the tests write.
fn read_range<M: Mmu>(space: &AddressSpace<M>, file: &File) -> Vec<u8> {
    let target = space.slice(0, 0, LEN);
    let got = calls::pread(space, file, AT as u64, target).expect("a read");
    space.read_vec(target.addr(), got).expect("user memory")
}

/// Short copies at changing places, thefts, and lies in between.
fn trouble<M: Mmu>(space: &AddressSpace<M>, round: u64) {
    let short = (round as usize * 397) % LEN + 1;
    space.script().add(Event::AtomicCopy, When::Every(2), Action::Short(short));
    match round % 3 {
        0 => space.evict(0, 4),
        1 => space.script().add(Event::AtomicCopy, When::Nth(2), Action::StealAll),
        _ => space.script().add(Event::FaultIn, When::Nth(1), Action::Lie),
    }
}

on_both_mmus! {
    fn w5_a_reader_sees_each_byte_old_or_new_while_it_is_overwritten(machine) {
        let window = space_with(machine, &[0; LEN]);
        old_or_new(machine, false, &|_, _| {}, |_, bytes| only_ones_and_twos(bytes), |file| read_range(&window, file));
    }

    /// B1: a short copy and its retry are where Linux once showed zeros (01408c49).
    fn w5_b1_a_reader_sees_no_third_value_during_short_copies_and_retries(machine) {
        let window = space_with(machine, &[0; LEN]);
        for cold in [false, true] {
            old_or_new(machine, cold, &trouble, |_, bytes| only_ones_and_twos(bytes), |file| read_range(&window, file));
        }
    }

    fn w5_a_mapping_shows_no_third_value_during_short_copies_and_retries(machine) {
        let viewer = machine.space_of(80);
        for cold in [false, true] {
            let mapped = AtomicU64::new(0);
            old_or_new(machine, cold, &trouble, |_, bytes| only_ones_and_twos(bytes), |file| {
                if mapped.swap(file.mapping().id(), Ordering::Relaxed) != file.mapping().id() {
                    viewer.map_file(0, 70, file, PageIndex::ZERO, Protection::Read);
                }
                viewer.read_vec(viewer.at(0, AT), LEN).expect("inside the file")
            });
        }
        viewer.unmap(0, 80);
    }

    /// The file grows: what can be read is written, not zeros and not what the frames held before.
    fn w5_a_reader_of_a_growing_file_sees_only_bytes_that_were_written(machine = MachineConfig::new().frames(600)) {
        let window = space_with(machine, &[0; 2 * PAGE]);
        for strategy in STRATEGIES {
            for round in 0..4 {
                let file = machine.inode(&MemoryStore::new(), 0);
                let source = space_with(machine, &[7; 3000]);
                let writer = || {
                    let options = WriteOptions::append().with_strategy(strategy);
                    for nth in 0..60_usize {
                        let len = 1 + nth * 997 % 3000;
                        if round % 2 == 1 {
                            source.script().add(Event::AtomicCopy, When::Nth(1), Action::Short(len / 2 + 1));
                            source.script().add(Event::AtomicCopy, When::Nth(2), Action::Steal);
                        }
                        let got = calls::write_as(&source, &file, &[source.slice(0, 0, len)], &options, &NoTask);
                        source.script().clear();
                        assert_eq!(got.map(|written| written.bytes), Ok(len));
                    }
                };
                against(writer, || {
                    let from = file.size().saturating_sub(PAGE as u64);
                    let target = window.slice(0, 0, 2 * PAGE);
                    let got = calls::pread(&window, &file, from, target).expect("a read");
                    let bytes = window.read_vec(target.addr(), got).expect("user memory");
                    let wrong = bytes.iter().find(|byte| **byte != 7);
                    assert_eq!(wrong, None, "0 is a hole that nobody made, {POISON:#x} recycled memory");
                });
            }
        }
    }

    /// A write of several steps is one write to other writers: its bytes are all there, or none.
    fn w2_two_overlapping_writes_of_several_leaves_do_not_interleave(machine = MachineConfig::new().frames(3000)) {
        const PAGES: usize = 140;
        for strategies in [[Strategy::BeginEnd; 2], [Strategy::PrepareCommit; 2], STRATEGIES] {
            let file = machine.inode(&MemoryStore::new(), 0);
            let spaces = [3, 4].map(|value| space_with(machine, &vec![value; PAGES * PAGE]));
            write_all(&spaces[0], &file, 0, PAGES * PAGE, Strategy::BeginEnd);
            let window = space_with(machine, &vec![0; PAGES * PAGE]);
            for round in 0..8_u64 {
                std::thread::scope(|scope| {
                    for (space, strategy) in spaces.iter().zip(strategies) {
                        let file = &file;
                        faultless_tests::threads::spawn_in(scope, move || {
                            if round % 2 == 1 {
                                space.evict(0, PAGES);
                                space.script().add(Event::AtomicCopy, When::Every(3), Action::Short(5000));
                            }
                            write_all(space, file, 100, PAGES * PAGE - 200, strategy);
                            space.script().clear();
                        });
                    }
                });
                let target = window.slice(0, 0, PAGES * PAGE - 200);
                assert_eq!(calls::pread(&window, &file, 100, target), Ok(target.len()));
                let bytes = window.read_vec(target.addr(), target.len()).expect("user memory");
                let changes = bytes.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert_eq!(changes, 0, "round {round}: one of the writes is last everywhere");
            }
        }
    }

    /// A small write over a large one in progress comes before or after it, not in the middle.
    fn w2_a_small_write_does_not_land_in_the_middle_of_a_large_one(machine = MachineConfig::new().frames(3000)) {
        const PAGES: usize = 130;
        for strategy in STRATEGIES {
            let file = machine.inode(&MemoryStore::new(), 0);
            let large = space_with(machine, &vec![3; PAGES * PAGE]);
            let small = space_with(machine, &[4; 2 * PAGE]);
            write_all(&large, &file, 0, PAGES * PAGE, Strategy::BeginEnd);
            let window = space_with(machine, &[0; 2 * PAGE]);
            for _ in 0..12 {
                std::thread::scope(|scope| {
                    faultless_tests::threads::spawn_in(scope, || {
                        write_all(&large, &file, 0, PAGES * PAGE, strategy);
                    });
                    faultless_tests::threads::spawn_in(scope, || {
                        // Over the edge of a leaf: several steps itself.
                        write_all(&small, &file, 63 * PAGE as u64, 2 * PAGE, strategy);
                    });
                });
                let target = window.slice(0, 0, 2 * PAGE);
                assert_eq!(calls::pread(&window, &file, 63 * PAGE as u64, target), Ok(2 * PAGE));
                let bytes = window.read_vec(target.addr(), 2 * PAGE).expect("user memory");
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "all of one, or all of the other");
            }
        }
    }

    /// Appends from several threads: each lands whole, none over another (W3, W8).
    fn w3_appends_from_four_threads_land_one_after_the_other(machine) {
        const EACH: u64 = 40;
        for strategy in STRATEGIES {
            let file = machine.inode(&MemoryStore::new(), 0);
            std::thread::scope(|scope| {
                for thread in 0..4_u8 {
                    let file = &file;
                    faultless_tests::threads::spawn_in(scope, move || {
                        let len = 700 + 11 * usize::from(thread);
                        let space = space_with(machine, &vec![thread + 1; len]);
                        for nth in 0..EACH {
                            if nth % 5 == 0 { space.evict(0, 1); }
                            let options = WriteOptions::append().with_strategy(strategy);
                            let got = calls::write_as(&space, file, &[space.slice(0, 0, len)], &options, &NoTask);
                            assert_eq!(got.map(|written| written.bytes), Ok(len));
                        }
                    });
                }
            });
            let total: usize = (0..4).map(|thread| EACH as usize * (700 + 11 * thread)).sum();
            assert_eq!(file.size(), total as u64);
            let window = space_with(machine, &vec![0; total]);
            let target = window.slice(0, 0, total);
            assert_eq!(calls::pread(&window, &file, 0, target), Ok(total));
            let bytes = window.read_vec(target.addr(), total).expect("user memory");
            let mut rest = &bytes[..];
            while let Some(&value) = rest.first() {
                assert!((1..=4).contains(&value), "{value} was never written");
                let len = 700 + 11 * usize::from(value - 1);
                assert!(rest[..len].iter().all(|byte| *byte == value), "an append in one piece");
                rest = &rest[len..];
            }
        }
    }
}
