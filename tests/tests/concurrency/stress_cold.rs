//! A write from a mapping of the page that it writes, cold: the write of DL1, thousands of times
//! over, from four threads, with truncate, munmap, mprotect and mlock running against it (W1,
//! W6, W13, P3, U1).

use std::sync::atomic::{AtomicU64, Ordering};

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{AddressSpaceOperations, Errno, PAGE_SIZE};
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::{FileStore, MemoryStore};
use faultless_host::{Machine, MachineConfig, Mmu, Protection, counting};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, fsync, pattern, set_size, writeback,
};
use faultless_tests::stress::{Job, Loop, against, rounds};

const HALF: usize = PAGE_SIZE / 2;
const THREADS: u64 = 4;
/// Pages that belong to each writer.
const OWN: u64 = 3;
const REGION: u64 = THREADS * OWN;
/// Where the writers' source, and the disturbers' second view of the same pages, are mapped.
const SOURCE: usize = FREE;
const SECOND: usize = FREE + 50;
/// Scratch memory of the threads.
const THREAD_SCRATCH: usize = FREE + 200;

fn strategy(number: u64) -> Strategy {
    if number.is_multiple_of(2) { Strategy::BeginEnd } else { Strategy::PrepareCommit }
}

fn evict_page(file: &File, page: u64) {
    let range = page * PAGE..(page + 1) * PAGE;
    writeback(file, range.clone()).expect("writeback");
    faultless_host::syscall(|token| file.evict(token, range));
}

/// What a round may find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Enemy {
    /// Nobody takes the source away: the write lands as a whole.
    Mild,
    /// The source may be unmapped or protected at any moment: a prefix lands, to the byte.
    Unmaps,
    /// The file may be cut off at any moment.
    Truncates,
}

struct Writer<'a, M: Mmu> {
    process: Process<M>,
    file: &'a File,
    first: u64,
    rng: Rng,
    enemy: Enemy,
    tally: &'a Tally,
}

/// Writes of all writers.
#[derive(Default)]
struct Tally {
    /// Those that landed as a whole.
    whole: AtomicU64,
    /// Those that took a fault.
    cold: AtomicU64,
}

impl<M: Mmu> Writer<'_, M> {
    /// A pattern into the first half of a page; cold; then from its mapping into the second half.
    fn round(&mut self, number: u64) {
        let page = self.first + self.rng.below(OWN);
        let pos = page * PAGE;
        let header = pattern(number as u8, HALF);
        let filler = vec![0x5E; HALF];
        let whole = [header.clone(), filler].concat();
        assert_eq!(self.process.write(self.file, pos, &whole), Ok(PAGE_SIZE));
        evict_page(self.file, page);
        let from = self.rng.below(64) as usize;
        let len = 1 + self.rng.below((HALF - from) as u64) as usize;
        let to = HALF + self.rng.below((HALF - len + 1) as u64) as usize;
        let source = self.process.space.slice(SOURCE + page as usize, from, len);
        let options = WriteOptions::at(pos + to as u64).with_strategy(strategy(number));
        let (result, counted) = counting(|| self.process.write_from(self.file, source, &options));
        let landed = match result {
            Ok(landed) => landed,
            Err(Errno::Fault) if self.enemy != Enemy::Mild => 0,
            Err(errno) => panic!("{errno}"),
        };
        assert_eq!(counted.faults_under_page_lock, 0, "a fault under a page lock");
        self.tally.cold.fetch_add(u64::from(counted.faults > 0), Ordering::Relaxed);
        assert!(landed == len || self.enemy != Enemy::Mild, "{landed} of {len} bytes");
        self.tally.whole.fetch_add(u64::from(landed == len), Ordering::Relaxed);
        let mut want = whole;
        want[to..to + landed].copy_from_slice(&header[from..from + landed]);
        let got = self.process.read(self.file, pos, PAGE_SIZE).expect("a page");
        if self.enemy != Enemy::Truncates {
            assert_bytes(&got, &want, "the page");
            return;
        }
        for (at, byte) in got.iter().enumerate() {
            assert!(*byte == 0 || *byte == want[at] || *byte == 0x5E, "byte {at}: {byte:02x}");
        }
    }

    /// A cold page onto itself, in place: nothing changes.
    fn onto_itself(&mut self, number: u64) {
        let page = self.first + self.rng.below(OWN);
        let content = pattern(number as u8, PAGE_SIZE);
        assert_eq!(self.process.write(self.file, page * PAGE, &content), Ok(PAGE_SIZE));
        evict_page(self.file, page);
        let source = self.process.space.slice(SOURCE + page as usize, 0, PAGE_SIZE);
        let options = WriteOptions::at(page * PAGE).with_strategy(strategy(number));
        assert_eq!(self.process.write_from(self.file, source, &options), Ok(PAGE_SIZE));
        let got = self.process.read(self.file, page * PAGE, PAGE_SIZE).expect("a page");
        assert_bytes(&got, &content, "in place");
    }
}

/// mmap, munmap, mprotect and mlock of the second view, under M for writing: the other half of DL3.
fn disturb_second_view<M: Mmu>(process: &Process<M>, file: &File, rng: &mut Rng) {
    let at = SECOND + rng.below(REGION) as usize;
    let pages = 1 + rng.below(4) as usize;
    match rng.below(6) {
        0 => process.space.unmap(at, pages),
        1 => process.space.protect(at, pages, Protection::Read),
        2 => process.space.protect(at, pages, Protection::ReadWrite),
        3 => drop(process.map(SECOND, REGION as usize + 8, file, 0, Protection::ReadWrite)),
        // Past the end, or unmapped, it fails as it should.
        _ => drop(process.space.populate(at, pages)),
    }
}

/// mlock and mprotect of the source itself; it stays readable.
fn disturb_source_mildly<M: Mmu>(process: &Process<M>, rng: &mut Rng) {
    let at = SOURCE + rng.below(REGION) as usize;
    match rng.below(4) {
        0 => process.space.protect(at, 1, Protection::Read),
        1 => process.space.protect(at, 1, Protection::ReadWrite),
        2 => process.space.evict(at, 2),
        _ => drop(process.space.populate(at, 1)),
    }
}

/// Down to the end of the writers' pages, or a little further, and up again.
fn truncate_behind(file: &File, rng: &mut Rng) {
    let size = REGION * PAGE + rng.below(70 * PAGE);
    set_size(file, size).expect("truncation");
    if rng.below(8) == 0 {
        fsync(file).expect("fsync");
    }
}

fn prepare<M: Mmu, S: AddressSpaceOperations + 'static>(
    machine: &Machine<M>,
    store: &std::sync::Arc<S>,
) -> (Process<M>, File) {
    let (process, file) = (Process::new(machine), machine.inode(store, 0));
    set_size(&file, REGION * PAGE).expect("a size");
    process.map(SOURCE, REGION as usize, &file, 0, Protection::ReadWrite);
    for thread in 0..THREADS as usize {
        process.space.map_anonymous(THREAD_SCRATCH + 8 * thread, 4, Protection::ReadWrite);
    }
    (process, file)
}

fn writers<'a, M: Mmu>(
    process: &Process<M>,
    file: &'a File,
    (seed, enemy, rounds): (u64, Enemy, u64),
    tally: &'a Tally,
) -> Vec<Job<'a>> {
    let writer = |thread: u64| -> Job<'a> {
        let process = process.thread(THREAD_SCRATCH + 8 * thread as usize);
        let (first, rng) = (thread * OWN, Rng::new(seed + thread));
        let mut writer = Writer { process, file, first, rng, enemy, tally };
        Box::new(move || {
            for number in 0..rounds {
                if enemy == Enemy::Mild && number % 4 == 3 {
                    writer.onto_itself(number);
                }
                writer.round(number);
            }
        })
    };
    (0..THREADS).map(writer).collect()
}

fn storm<M: Mmu, S: AddressSpaceOperations + 'static>(
    machine: &Machine<M>,
    store: &std::sync::Arc<S>,
    enemy: Enemy,
    number: u64,
) {
    let seed = seed();
    let (process, file) = prepare(machine, store);
    let tally = Tally::default();
    let (process, file) = (&process, &file);
    let workers = writers(process, file, (seed, enemy, number), &tally);
    let rng = |number: u64| Rng::new(seed ^ (0xD157 + number));
    let (mut a, mut b, mut c, mut d) = (rng(1), rng(2), rng(3), rng(4));
    let mut disturbers: Vec<Loop<'_>> = vec![
        Box::new(move || disturb_second_view(process, file, &mut a)),
        Box::new(move || disturb_source_mildly(process, &mut b)),
    ];
    match enemy {
        Enemy::Mild => disturbers.push(Box::new(move || truncate_behind(file, &mut c))),
        Enemy::Unmaps => disturbers.push(Box::new(move || {
            let at = SOURCE + d.below(REGION) as usize;
            match d.below(3) {
                0 => process.space.unmap(at, 1),
                1 => process.space.protect(at, 1, Protection::None),
                _ => drop(process.map(SOURCE, REGION as usize, file, 0, Protection::ReadWrite)),
            }
            for _ in 0..d.below(200) {
                std::thread::yield_now();
            }
        })),
        Enemy::Truncates => disturbers.push(Box::new(move || {
            set_size(file, d.below(REGION * PAGE)).expect("truncation");
            set_size(file, REGION * PAGE).expect("truncation");
            for _ in 0..d.below(200) {
                std::thread::yield_now();
            }
        })),
    }
    against(machine.check(), workers, disturbers);
    let (landed, cold, all) = (tally.whole.into_inner(), tally.cold.into_inner(), THREADS * number);
    println!("{}: of {all} writes {cold} were cold, {landed} landed as a whole", M::NAME);
    assert!(cold > all / 2, "{cold} of {all} writes were cold");
    assert!(landed > 0, "no write landed as a whole");
    assert!(enemy != Enemy::Mild || landed == all);
    fsync(file).expect("fsync");
}

fn config() -> MachineConfig {
    MachineConfig::new().watchdog(std::time::Duration::from_secs(60))
}

balanced_on_both_mmus! {
    /// The criterion: a thousand times, from four threads.
    fn dl1_a_cold_write_from_its_own_page_survives_truncate_munmap_mprotect_and_mlock(machine = config()) {
        storm(machine, &MemoryStore::new(), Enemy::Mild, rounds(1000));
    }

    fn u1_a_source_that_is_unmapped_meanwhile_lands_a_prefix_to_the_byte(machine = config()) {
        storm(machine, &MemoryStore::new(), Enemy::Unmaps, rounds(300));
    }

    fn p6_a_page_that_is_truncated_meanwhile_holds_old_bytes_new_bytes_or_zeros(machine = config()) {
        storm(machine, &MemoryStore::new(), Enemy::Truncates, rounds(300));
    }

    fn dl1_the_same_on_a_real_file(machine = config()) {
        let file = faultless_tests::process::temporary_file();
        storm(machine, &FileStore::new(file).expect("a store"), Enemy::Mild, rounds(100));
    }
}
