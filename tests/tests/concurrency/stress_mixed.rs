//! Everything at once, and what must be true afterwards: every byte was written there by somebody,
//! appends are there once and whole, overlapping writes do not interleave, cache and store agree,
//! and everything is given back (W2, W3, W5, P1–P7).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless_host::rng::{Rng, seed};
use faultless_host::{Machine, MachineConfig, Mmu, Protection, UserFault, counting};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, pattern, set_size, writeback,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::stress::{Job, Loop, against, rounds};
use faultless_tests::strict::StrictStore;

/// Pages of the mixed file: several leaves.
const PAGES: u64 = 140;

fn strategy(rng: &mut Rng) -> Strategy {
    STRATEGIES[rng.below(2) as usize]
}

/// What writer `writer`, `0..4`, writes at `pos`; never zero, never the poison of a free frame.
fn byte_of(writer: u64, pos: u64) -> u8 {
    (1 + writer + 8 * (pos % 29)) as u8
}

fn bytes_of(writer: u64, pos: u64, len: usize) -> Vec<u8> {
    (pos..pos + len as u64).map(|pos| byte_of(writer, pos)).collect()
}

/// Asserts that each byte is zero or some writer's for its position.
#[track_caller]
fn assert_legal(bytes: &[u8], pos: u64, what: &str) {
    for (at, &byte) in (pos..).zip(bytes) {
        let legal = byte == 0 || (0..4).any(|writer| byte == byte_of(writer, at));
        assert!(legal, "{what}: byte {at} is {byte:02x}");
    }
}

fn config() -> MachineConfig {
    MachineConfig::new().frames(4096).watchdog(std::time::Duration::from_secs(60))
}

/// Writes by system call, from memory that is cold or stolen meanwhile.
fn writer<'a, M: Mmu>(machine: &Machine<M>, file: &'a File, number: u64, seed: u64) -> Job<'a> {
    let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ number));
    Box::new(move || {
        for _ in 0..rounds(250) {
            let len = match rng.below(4) {
                0 => 1 + rng.below(20),
                1 => 1 + rng.below(2 * PAGE),
                2 => PAGE * (1 + rng.below(4)),
                _ => 1 + rng.below(90 * PAGE),
            } as usize;
            let pos = rng.below(PAGES * PAGE - len as u64);
            let pos = if rng.below(3) == 0 { pos & !(PAGE - 1) } else { pos };
            process.space.store(process.space.at(0, 0), &bytes_of(number, pos, len)).unwrap();
            if rng.below(2) == 0 {
                let pages = len.div_ceil(PAGE_SIZE);
                process.space.evict(rng.range(0..pages), 1 + rng.range(0..pages));
            }
            let options = WriteOptions::at(pos).with_strategy(strategy(&mut rng));
            let source = process.space.slice(0, 0, len);
            let (landed, counted) = counting(|| process.write_from(file, source, &options));
            assert_eq!(landed, Ok(len));
            assert_eq!(counted.faults_under_page_lock, 0);
        }
    })
}

/// Stores through a mapping; past the end it is a signal.
fn storer<'a, M: Mmu>(machine: &Machine<M>, file: &'a File, seed: u64) -> Job<'a> {
    let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ 0x5701));
    process.map(FREE, PAGES as usize, file, 0, Protection::ReadWrite);
    Box::new(move || {
        for _ in 0..rounds(3000) {
            let len = 1 + rng.below(100);
            let pos = rng.below(PAGES * PAGE - len);
            match process
                .space
                .store(process.space.at(FREE, pos as usize), &bytes_of(3, pos, len as usize))
            {
                Ok(()) | Err(UserFault::Bus) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
    })
}

fn reader<'a, M: Mmu>(machine: &Machine<M>, file: &'a File, seed: u64) -> Loop<'a> {
    let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ 0x3EAD));
    process.map(FREE, PAGES as usize, file, 0, Protection::Read);
    Box::new(move || {
        let pos = rng.below(PAGES * PAGE);
        let len = 1 + rng.below(5 * PAGE) as usize;
        let bytes = process.read(file, pos, len).expect("a read");
        assert_legal(&bytes, pos, "a read");
        let len = len.min((PAGES * PAGE - pos) as usize);
        if let Ok(bytes) = process.space.read_vec(process.space.at(FREE, pos as usize), len) {
            assert_legal(&bytes, pos, "a mapping");
        }
    })
}

fn truncator<'a>(file: &'a File, seed: u64) -> Loop<'a> {
    let mut rng = Rng::new(seed ^ 0x7207);
    Box::new(move || {
        set_size(file, rng.below(PAGES * PAGE)).expect("truncation");
        for _ in 0..rng.below(300) {
            std::thread::yield_now();
        }
    })
}

fn janitor<'a>(file: &'a File, seed: u64) -> Loop<'a> {
    let mut rng = Rng::new(seed ^ 0x1A21);
    Box::new(move || match rng.below(4) {
        0 => fsync(file).expect("fsync"),
        1 | 2 => {
            let start = rng.below(PAGES * PAGE);
            writeback(file, start..start + 20 * PAGE).expect("writeback");
        }
        _ => drop(evict(file)),
    })
}

fn mixed<M: Mmu>(machine: &Machine<M>, block: usize, truncates: bool) {
    let seed = seed();
    let store = StrictStore::new(block, Strategy::BeginEnd);
    let file = &machine.inode(&store, 0);
    set_size(file, PAGES * PAGE).unwrap();
    let mut workers: Vec<Job<'_>> = (0..3).map(|n| writer(machine, file, n, seed)).collect();
    workers.push(storer(machine, file, seed));
    let mut disturbers = vec![reader(machine, file, seed), janitor(file, seed)];
    if truncates {
        disturbers.push(truncator(file, seed));
    }
    against(machine.check(), workers, disturbers);
    let process = Process::new(machine);
    let bytes = process.contents(file);
    assert_eq!(bytes.len() as u64, file.size());
    assert_legal(&bytes, 0, "the end");
    fsync(file).expect("fsync");
    assert_bytes(&store.contents(), &bytes, "the store");
    // A fault that met a change of the size may have asked for room past the end: the next change
    // gives it back.
    set_size(file, file.size()).unwrap();
    assert_eq!(store.stray(file.size()), None, "blocks past the end");
    store.assert_balanced();
    evict(file);
    assert_bytes(&process.contents(file), &bytes, "from the store");
}

const RECORD: usize = 61;

fn record(writer: u64, number: u64) -> Vec<u8> {
    let mut record = vec![writer as u8 + 1; RECORD];
    record[1..9].copy_from_slice(&number.to_le_bytes());
    record[RECORD - 1] = record[..RECORD - 1].iter().fold(7, |sum, byte| sum ^ byte);
    record
}

balanced_on_both_mmus! {
    fn p1_p7_writes_reads_stores_truncations_and_writeback_at_once(machine = config()) {
        mixed(machine, 1024, true);
    }

    fn w2_without_truncation_nothing_is_ever_lost(machine = config()) {
        mixed(machine, 4096, false);
    }

    /// Museum C10: each append is there once, whole, and in its writer's order.
    fn w3_concurrent_appends_are_all_there_once(machine = config()) {
        let (seed, each) = (seed(), rounds(400));
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let file = &machine.inode(&store, 0);
        let appender = |writer: u64| -> Job<'_> {
            let (process, mut rng) = (Process::new(machine), Rng::new(seed + writer));
            Box::new(move || {
                for number in 0..each {
                    let at = rng.range(0..PAGE_SIZE);
                    process.space.store(process.space.at(0, at), &record(writer, number)).unwrap();
                    process.space.evict(rng.range(0..2), 1);
                    let options = WriteOptions::append().with_strategy(strategy(&mut rng));
                    let source = process.space.slice(0, at, RECORD);
                    assert_eq!(process.write_from(file, source, &options), Ok(RECORD));
                }
            })
        };
        // A source that ends after 20 of 40 bytes appends just these: never more than landed, and
        // nothing of a hole.
        let shorts = &AtomicU64::new(0);
        let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ 5));
        process.space.unmap(1, 1);
        let short: Loop<'_> = Box::new(move || {
            process.space.fill(process.space.at(0, PAGE_SIZE - 20), 0xF0, 20).unwrap();
            let options = WriteOptions::append().with_strategy(strategy(&mut rng));
            let source = process.space.slice(0, PAGE_SIZE - 20, 40);
            assert_eq!(process.write_from(file, source, &options), Ok(20));
            shorts.fetch_add(20, Ordering::Relaxed);
            let nothing = process.space.slice(1, 0, 40);
            assert_eq!(process.write_from(file, nothing, &options), Err(Errno::Fault));
        });
        // What a reader has seen stays as it was: appends change nothing.
        let seen = &Mutex::new(Vec::new());
        let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ 6));
        let look: Loop<'_> = Box::new(move || {
            let pos = rng.below(file.size().max(1));
            let bytes = process.read(file, pos, 500).expect("a read");
            let mut seen = seen.lock().unwrap();
            if seen.len() < 10_000 {
                seen.push((pos as usize, bytes));
            }
        });
        let disturbers = vec![short, janitor(file, seed), look];
        against(machine.check(), (0..4).map(appender).collect(), disturbers);
        let bytes = Process::new(machine).contents(file);
        for (pos, early) in &*seen.lock().unwrap() {
            assert_bytes(early, &bytes[*pos..pos + early.len()], "seen while it grew");
        }
        let mut next = [0; 4];
        let (mut at, mut short) = (0, 0);
        while at < bytes.len() {
            if bytes[at] == 0xF0 {
                assert!(bytes[at..at + 20].iter().all(|&byte| byte == 0xF0), "at {at}");
                (at, short) = (at + 20, short + 20);
                continue;
            }
            let writer = bytes[at] as usize - 1;
            assert_eq!(bytes[at..at + RECORD], record(writer as u64, next[writer]), "at {at}");
            next[writer] += 1;
            at += RECORD;
        }
        assert_eq!((next, short), ([each; 4], shorts.load(Ordering::Relaxed)));
        fsync(file).unwrap();
        assert_bytes(&store.contents(), &bytes, "the store");
        assert_eq!(store.stray(file.size()), None);
    }

    /// Several leaves, cold sources: whoever comes last, its write is there as a whole.
    fn w2_overlapping_writes_of_many_steps_do_not_interleave(machine = config()) {
        const LEN: usize = 150 * PAGE_SIZE - 77;
        let seed = seed();
        for round in 0..rounds(6) {
            let file = &machine.inode(&StrictStore::new(4096, Strategy::BeginEnd), 0);
            if round % 2 == 0 {
                set_size(file, 33 + LEN as u64).unwrap();
            }
            let workers = (0..4_u64).map(|n| -> Job<'_> {
                let (process, mut rng) = (Process::new(machine), Rng::new(seed + 10 * round + n));
                Box::new(move || {
                    process.space.fill(process.space.at(0, 0), n as u8 + 1, LEN).unwrap();
                    process.space.evict(0, 150);
                    let options = WriteOptions::at(33).with_strategy(strategy(&mut rng));
                    let source = process.space.slice(0, 0, LEN);
                    assert_eq!(process.write_from(file, source, &options), Ok(LEN));
                })
            });
            against(machine.check(), workers.collect(), vec![janitor(file, seed)]);
            let bytes = Process::new(machine).contents(file);
            let last = bytes[33];
            assert!((1..=4).contains(&last));
            assert!(bytes[33..].iter().all(|&byte| byte == last), "round {round}: interleaved");
        }
    }

    /// Museum D1 and D2: a from a mapping of b, b from a mapping of a, cold,
    /// over and over.
    fn dl2_two_files_written_from_each_others_mappings(machine = config()) {
        let seed = seed();
        let stores = [0, 1].map(|_| StrictStore::new(4096, Strategy::BeginEnd));
        let files = [0, 1].map(|n| machine.inode(&stores[n], 0));
        let process = Process::new(machine);
        let contents = [pattern(3, 8 * PAGE_SIZE), pattern(120, 8 * PAGE_SIZE)];
        for (file, content) in files.iter().zip(&contents) {
            assert_eq!(process.write(file, 0, content), Ok(8 * PAGE_SIZE));
        }
        // All threads in one address space: one M for everybody.
        process.map(FREE, 8, &files[0], 0, Protection::ReadWrite);
        process.map(FREE + 10, 8, &files[1], 0, Protection::ReadWrite);
        let (process, files) = (&process, &files);
        let copier = |n: usize| -> Job<'_> {
            let mut rng = Rng::new(seed + n as u64);
            Box::new(move || {
                for _ in 0..rounds(1500) {
                    let (pos, len) = (rng.below(6 * PAGE), 1 + rng.below(2 * PAGE) as usize);
                    let source = process.space.slice(FREE + 10 * ((n + 1) % 2), pos as usize, len);
                    let options = WriteOptions::at(pos).with_strategy(strategy(&mut rng));
                    if rng.below(2) == 0 {
                        process.space.evict(FREE, 20);
                    }
                    assert_eq!(process.write_from(&files[n % 2], source, &options), Ok(len));
                }
            })
        };
        let mut rng = Rng::new(seed ^ 9);
        let disturb: Loop<'_> = Box::new(move || match rng.below(4) {
            0 => drop(process.space.populate(FREE, 18)),
            1 => process.space.protect(FREE + 10 * rng.range(0..2), 8, Protection::ReadWrite),
            n => {
                fsync(&files[n as usize % 2]).expect("fsync");
                evict(&files[n as usize % 2]);
            }
        });
        against(machine.check(), (0..4).map(copier).collect(), vec![disturb]);
        for file in files {
            let bytes = Process::new(machine).contents(file);
            for (at, byte) in bytes.iter().enumerate() {
                assert!(*byte == contents[0][at] || *byte == contents[1][at], "byte {at}");
            }
        }
    }

    /// Read into a mapping of the same file, which is another way into the cycle.
    fn dl1_reads_into_a_mapping_of_the_file_itself(machine = config()) {
        let seed = seed();
        let store = StrictStore::new(1024, Strategy::BeginEnd);
        let (process, file) = (&Process::new(machine), &machine.inode(&store, 0));
        let half = 8 * PAGE_SIZE;
        let content = pattern(9, half);
        assert_eq!(process.write(file, 0, &content), Ok(half));
        set_size(file, 2 * half as u64).unwrap();
        process.map(FREE, 16, file, 0, Protection::ReadWrite);
        let copier = |n: u64| -> Job<'_> {
            let mut rng = Rng::new(seed + n);
            Box::new(move || {
                for _ in 0..rounds(600) {
                    let pos = rng.below(half as u64 - 2 * PAGE);
                    let len = 1 + rng.below(2 * PAGE) as usize;
                    let target = process.space.slice(FREE + 8, pos as usize, len);
                    process.space.evict(FREE, 16);
                    assert_eq!(process.read_to(file, pos, target), Ok(len));
                }
            })
        };
        against(machine.check(), (0..3).map(copier).collect(), vec![janitor(file, seed)]);
        let bytes = Process::new(machine).contents(file);
        assert_bytes(&bytes[..half], &content, "the source");
        let copied = bytes[half..].iter().zip(&content).all(|(got, want)| *got == 0 || got == want);
        assert!(copied, "the copy");
        assert_eq!(Arc::strong_count(file), 2, "the file and its mapping");
    }
}
