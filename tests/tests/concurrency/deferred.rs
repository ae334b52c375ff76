//! Everything at once on a store that ends its requests later, out of order, page by page, and
//! fails some of them: each writer finds at every moment just what it wrote (W2, W5, F2, L1).

use std::sync::Arc;

use faultless::filemap::{
    Access, InFault, NoTask, ReadAhead, ReadAheadLimits, Strategy, WriteOptions,
};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless::usercopy::IovIter;
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::DeferredStore;
use faultless_host::{Checked, HostKernel, Machine, MachineConfig, Mmu, Protection, UserFault};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size, writeback,
};
use faultless_tests::stress::{Job, Loop, against, rounds};
use faultless_tests::strict::StrictStore;

/// Pages that the writers share, each with a quarter of every page for itself.
const SHARED: u64 = 100;
/// Pages of the file at its longest; the end moves among those behind the shared ones.
const PAGES: u64 = 140;
/// Bytes of a writer's quarter.
const QUARTER: usize = PAGE_SIZE / 4;

type Store = Arc<DeferredStore<StrictStore>>;

/// What a writer has written: its quarter of each shared page.
struct Quarters {
    number: usize,
    bytes: Vec<u8>,
}

impl Quarters {
    fn new(number: usize, file: &[u8]) -> Self {
        let quarter = |page: &[u8]| page[number * QUARTER..][..QUARTER].to_vec();
        Self { number, bytes: file.chunks(PAGE_SIZE).flat_map(quarter).collect() }
    }

    fn of(&mut self, page: usize) -> &mut [u8] {
        &mut self.bytes[page * QUARTER..][..QUARTER]
    }

    fn pos(&self, page: usize) -> u64 {
        (page * PAGE_SIZE + self.number * QUARTER) as u64
    }

    /// Writes a part of one quarter: what has landed is known by its count, also after an error.
    fn write<M: Mmu>(&mut self, process: &Process<M>, file: &File, rng: &mut Rng) {
        let (page, at) = (rng.range(0..SHARED as usize), rng.range(0..QUARTER));
        let bytes = rng.bytes(1 + rng.clone().range(0..QUARTER - at));
        let strategy = [Strategy::BeginEnd, Strategy::PrepareCommit][rng.range(0..2)];
        let options = WriteOptions::at(self.pos(page) + at as u64).with_strategy(strategy);
        let landed = match process.write_with(file, &bytes, &options) {
            Ok(landed) => landed,
            // A cold page could not be read.
            Err(Errno::Io) => 0,
            Err(errno) => panic!("a write: {errno}"),
        };
        self.of(page)[at..at + landed].copy_from_slice(&bytes[..landed]);
    }

    /// Finds what was written.
    fn check<M: Mmu>(
        &mut self,
        process: &Process<M>,
        file: &File,
        ahead: &ReadAhead<HostKernel<Checked>>,
        page: usize,
    ) {
        let found = patiently(|| read_ahead(process, file, self.pos(page), QUARTER, ahead));
        let what = format!("quarter {} of page {page}", self.number);
        assert_bytes(&found, self.of(page), &what);
    }
}

/// Until the store does not fail it.
fn patiently<R>(mut call: impl FnMut() -> Result<R, Errno>) -> R {
    for _ in 0..1000 {
        match call() {
            Ok(value) => return value,
            Err(Errno::Io) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
    panic!("a call fails again and again");
}

fn read_ahead<M: Mmu>(
    process: &Process<M>,
    file: &File,
    pos: u64,
    len: usize,
    ahead: &ReadAhead<HostKernel<Checked>>,
) -> Result<Vec<u8>, Errno> {
    let target = process.space.slice(100, 0, len);
    let mut to = IovIter::from_slice(&process.space, &target);
    let got =
        faultless_host::syscall(|token| file.read_ahead(token, &mut to, pos, ahead, &NoTask))?;
    Ok(process.space.read_vec(process.space.at(100, 0), got).expect("scratch memory"))
}

fn writer<'a, M: Mmu>(
    machine: &Machine<M>,
    file: &'a File,
    quarters: &'a mut Quarters,
    seed: u64,
) -> Job<'a> {
    let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ quarters.number as u64));
    let ahead = ReadAhead::new();
    Box::new(move || {
        for _ in 0..rounds(1000) {
            quarters.write(&process, file, &mut rng);
            if rng.below(3) == 0 {
                let first = rng.below(SHARED) * PAGE;
                let _may_fail = writeback(file, first..first + 4 * PAGE);
                let pages = first..first + 4 * PAGE;
                faultless_host::syscall(|token| file.evict(token, pages));
            }
            quarters.check(&process, file, &ahead, rng.range(0..SHARED as usize));
        }
    })
}

/// Reads from front to back, by reads and by loads through a mapping; and grows the tail.
fn reader<'a, M: Mmu>(machine: &Machine<M>, file: &'a File, seed: u64) -> Loop<'a> {
    let (process, mut rng) = (Process::new(machine), Rng::new(seed ^ 0x3EAD));
    process.map(FREE, PAGES as usize, file, 0, Protection::Read);
    let ahead = ReadAhead::with_limits(ReadAheadLimits::DEFAULT);
    let mut pos = 0;
    Box::new(move || {
        let len = 1 + rng.range(0..3 * PAGE_SIZE);
        pos = match read_ahead(&process, file, pos, len, &ahead) {
            Ok(bytes) if bytes.is_empty() => 0,
            Ok(bytes) => pos + bytes.len() as u64,
            Err(errno) => {
                assert_eq!(errno, Errno::Io);
                rng.below(PAGES * PAGE)
            }
        };
        match process.byte(process.space.at(FREE, rng.range(0..(PAGES * PAGE) as usize))) {
            Ok(_) | Err(UserFault::Bus | UserFault::Error(Errno::Io)) => {}
            Err(fault) => panic!("{fault}"),
        }
        if rng.below(4) == 0 {
            let tail = SHARED * PAGE + rng.below((PAGES - SHARED - 4) * PAGE);
            let _may_fail = process.write(file, tail, &[7; 3 * PAGE_SIZE]);
        }
    })
}

/// Faults around, as an embedder's handler does; the frames are not mapped.
fn faulter<'a>(file: &'a File, seed: u64) -> Loop<'a> {
    let (mut rng, ahead) = (Rng::new(seed ^ 0xFA17), ReadAhead::new());
    Box::new(move || {
        // SAFETY: this thread has just entered here, with no page lock, and has no other token.
        let mut fault = unsafe { InFault::enter() };
        let index = PageIndex::new(rng.below(PAGES));
        let area = PageIndex::ZERO..PageIndex::new(PAGES);
        let mut first = None;
        let resolved = file.fault_around(
            &mut fault,
            index,
            Access::Read,
            area,
            &ahead,
            &NoTask,
            |at, mapped| {
                first.get_or_insert(at);
                drop(mapped);
            },
        );
        assert!(resolved.is_err() || first == Some(index), "the page of the fault comes first");
    })
}

fn janitor<'a>(file: &'a File, seed: u64) -> Loop<'a> {
    let mut rng = Rng::new(seed ^ 0x1A21);
    Box::new(move || match rng.below(8) {
        0 => set_size(file, SHARED * PAGE + rng.below((PAGES - SHARED) * PAGE)).expect("no limit"),
        1 => {
            let _may_fail = fsync(file);
        }
        2 | 3 => {
            let start = rng.below(PAGES * PAGE);
            let _may_fail = writeback(file, start..start + 20 * PAGE);
        }
        4 => faultless_host::syscall(|token| {
            let start = rng.below(PAGES * PAGE);
            file.will_need(token, start, 40 * PAGE, &ReadAheadLimits::DEFAULT);
        }),
        _ => drop(evict(file)),
    })
}

fn storm<M: Mmu>(machine: &Machine<M>, reclaims: bool) {
    let seed = seed();
    let old = pattern(3, (SHARED * PAGE) as usize);
    let strict = StrictStore::with_contents(1024, Strategy::BeginEnd, &old);
    let store: Store = DeferredStore::new(strict, seed);
    // Dropped after the file, whose drop waits for what was read ahead.
    let _workers = store.workers(2);
    let file = &machine.inode(&store, SHARED * PAGE);
    store.fail_one_of(20);
    if reclaims {
        machine.reclaim_above(0);
    }
    let mut quarters: Vec<Quarters> = (0..4).map(|number| Quarters::new(number, &old)).collect();
    let jobs = quarters.iter_mut().map(|own| writer(machine, file, own, seed)).collect();
    let disturbers = vec![reader(machine, file, seed), faulter(file, seed), janitor(file, seed)];
    against(machine.check(), jobs, disturbers);
    machine.memory().stop_reclaiming();
    store.fail_one_of(0);
    let failed = store.failed();
    println!("{failed} requests failed");
    assert!(failed > 20, "only {failed} requests failed");
    let process = Process::new(machine);
    let ahead = ReadAhead::new();
    // Pages that no sync has taken yet may have failed before: that is told once (F2).
    patiently(|| fsync(file));
    let bytes = process.contents(file);
    assert_bytes(&store.inner().contents(), &bytes, "the store");
    make_cold(file);
    for own in &mut quarters {
        (0..SHARED as usize).for_each(|page| own.check(&process, file, &ahead, page));
    }
    set_size(file, file.size()).unwrap();
    store.inner().assert_balanced();
    drop(process);
}

fn config() -> MachineConfig {
    MachineConfig::new().frames(4096).watchdog(std::time::Duration::from_secs(60))
}

balanced_on_both_mmus! {
    fn w2_each_writer_finds_what_it_wrote_whatever_the_store_delays_and_fails(machine = config()) {
        storm(machine, false);
    }

    fn l1_the_same_while_every_allocation_reclaims(machine = config()) {
        storm(machine, true);
    }
}
