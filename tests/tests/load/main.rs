//! A mixed load on a machine with memory for a quarter of its files, whose store ends its requests
//! late and fails one of a thousand: nothing is lost, every wait ends, no allocation fails, and no
//! pause is too long.

mod machine;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faultless::filemap::{
    DirtyVictims, Flusher, NoTask, ReadAhead, Reclaimer, Strategy, SyncKind, WriteOptions,
};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless::usercopy::{IovIter, KernelMemory, MayFault};
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::DeferredStore;
use faultless_host::wait::HostWait;
use faultless_host::{
    AddressSpace, Machine, MachineConfig, Protection, ScriptedMmu, UserFault, syscall,
};
use faultless_tests::process::{PAGE, assert_bytes};
use faultless_tests::stress::{Job, Loop, against, rounds};
use faultless_tests::strict::StrictStore;
use faultless_tests::waiting::until;

use machine::{DIRECT, FRAMES, File, LIMIT, Limited, Loaded, MOST_CHARGED, Table, WAIT};

/// Files that all workers write to, each to pages of its own.
const FILES: usize = 5;
/// Pages of each, and of each worker's log at most.
const PAGES: u64 = 256;
const WORKERS: u64 = 4;
/// Frames that are kept free.
const LOW: usize = 32;

type Host = Machine<ScriptedMmu, Loaded>;

fn write(file: &File, pos: u64, bytes: &[u8], task: &Limited) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::readable(bytes);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    let options = WriteOptions::at(pos);
    syscall(|token| file.write(token, &mut from, &options, task)).map(|written| written.bytes)
}

fn read(
    file: &File,
    pos: u64,
    into: &mut [u8],
    ahead: &ReadAhead<machine::Kernel>,
) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::writable(into);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    syscall(|token| file.read_ahead(token, &mut to, pos, ahead, &NoTask))
}

fn fsync(file: &File) -> Result<(), Errno> {
    syscall(|token| file.fsync(token, SyncKind::All, &NoTask))
}

/// What happened, over all workers.
#[derive(Debug, Default)]
struct Seen {
    operations: AtomicU64,
    errors: AtomicU64,
    longest_ns: AtomicU64,
    longest_pause_ns: AtomicU64,
}

/// A worker, and what it knows of the files.
struct Worker<'a> {
    number: u64,
    rng: Rng,
    files: &'a [File],
    /// The bytes of its pages: page `p` of file `f` at `f * PAGES + p`.
    pages: Vec<Vec<u8>>,
    log: File,
    logged: Vec<u8>,
    ahead: Vec<ReadAhead<machine::Kernel>>,
    /// The shared files, mapped one after the other.
    space: AddressSpace<ScriptedMmu, Loaded>,
    task: Limited,
    seen: &'a Seen,
}

impl Worker<'_> {
    /// A page of its own.
    fn own(&mut self) -> (usize, u64) {
        let page = self.rng.below(PAGES / WORKERS) * WORKERS + self.number;
        // Some are used more often than others.
        let page = if self.rng.below(3) > 0 {
            page % (PAGES / 8) / WORKERS * WORKERS + self.number
        } else {
            page
        };
        (self.rng.range(0..FILES), page)
    }

    fn bytes_of(&mut self, file: usize, page: u64) -> &mut Vec<u8> {
        &mut self.pages[file * PAGES as usize + page as usize]
    }

    fn write(&mut self) -> Result<(), Errno> {
        let (file, page) = self.own();
        let (from, len) = match self.rng.below(3) {
            0 => (0, PAGE_SIZE),
            _ => {
                let from = self.rng.range(0..PAGE_SIZE);
                (from, 1 + self.rng.range(0..PAGE_SIZE - from))
            }
        };
        let new = self.rng.bytes(len);
        let landed = write(&self.files[file], page * PAGE + from as u64, &new, &self.task)?;
        self.bytes_of(file, page)[from..from + landed].copy_from_slice(&new[..landed]);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Errno> {
        let (file, page) = self.own();
        self.check_page(file, page)
    }

    fn check_page(&mut self, file: usize, page: u64) -> Result<(), Errno> {
        let mut found = vec![0xEE; PAGE_SIZE];
        let got = read(&self.files[file], page * PAGE, &mut found, &self.ahead[file])?;
        let expected = &self.bytes_of(file, page)[..got];
        assert_bytes(&found[..got], expected, &format!("page {page} of file {file}"));
        Ok(())
    }

    /// Stores a byte through a mapping; now and then it looks at others first.
    fn store(&mut self) -> Result<(), Errno> {
        let (file, page) = self.own();
        let (from, new) = (self.rng.range(0..PAGE_SIZE), self.rng.bytes(1));
        let mapped = self.space.at(file * PAGES as usize + page as usize, 0);
        if self.rng.below(3) == 0 {
            match self.space.read_vec(mapped, PAGE_SIZE) {
                Ok(found) => assert_bytes(&found, self.bytes_of(file, page), "a mapped page"),
                Err(UserFault::Error(errno)) => return Err(errno),
                Err(fault) => panic!("{fault}"),
            }
        }
        let at = self.space.at(file * PAGES as usize + page as usize, from);
        match self.space.store(at, &new) {
            Ok(()) => self.bytes_of(file, page)[from] = new[0],
            Err(UserFault::Error(errno)) => return Err(errno),
            Err(fault) => panic!("{fault}"),
        }
        Ok(())
    }

    /// Reads a part of a file from one end to the other.
    fn scan(&mut self) -> Result<(), Errno> {
        let (file, mut page) = (self.rng.range(0..FILES), self.rng.below(PAGES));
        let mut found = vec![0; 4 * PAGE_SIZE];
        let end = PAGES.min(page + 40);
        while page < end {
            let got = read(&self.files[file], page * PAGE, &mut found, &self.ahead[file])?;
            if got == 0 {
                break;
            }
            page += (got / PAGE_SIZE) as u64;
        }
        Ok(())
    }

    /// Appends to the log; cuts it now and then.
    fn log(&mut self) -> Result<(), Errno> {
        if self.logged.len() as u64 > PAGES * PAGE || self.rng.below(60) == 0 {
            let size = self.rng.range(0..self.logged.len() + 1);
            syscall(|token| self.log.set_size(token, size as u64, &NoTask))?;
            self.logged.truncate(size);
        }
        let len = 1 + self.rng.range(0..3 * PAGE_SIZE);
        let new = self.rng.bytes(len);
        let landed = write(&self.log, self.logged.len() as u64, &new, &self.task)?;
        self.logged.extend_from_slice(&new[..landed]);
        Ok(())
    }

    fn check_log(&mut self) -> Result<(), Errno> {
        let at = self.rng.range(0..self.logged.len() + 1);
        let mut found = vec![0xEE; 2 * PAGE_SIZE];
        let ahead = ReadAhead::new();
        let got = read(&self.log, at as u64, &mut found, &ahead)?;
        assert_bytes(&found[..got], &self.logged[at..at + got], "the log");
        assert!(got > 0 || at == self.logged.len(), "the log ends early");
        Ok(())
    }

    fn operation(&mut self) {
        let began = Instant::now();
        let result = match self.rng.below(22) {
            0..7 => self.write(),
            7..13 => self.check(),
            13 => self.scan(),
            14..17 => self.log(),
            17 => self.check_log(),
            18 | 19 => self.store(),
            _ => {
                let file = self.rng.range(0..FILES + 1);
                fsync(self.files.get(file).unwrap_or(&self.log))
            }
        };
        self.seen.operations.fetch_add(1, Relaxed);
        self.seen.longest_ns.fetch_max(began.elapsed().as_nanos() as u64, Relaxed);
        match result {
            Ok(()) => {}
            Err(Errno::Io) => drop(self.seen.errors.fetch_add(1, Relaxed)),
            Err(errno) => panic!("{errno:?}"),
        }
    }

    fn finish(self) -> Known {
        let pause = self.task.longest_pause.get().as_nanos() as u64;
        self.seen.longest_pause_ns.fetch_max(pause, Relaxed);
        Known { number: self.number, pages: self.pages, logged: self.logged }
    }
}

/// What a worker wrote.
struct Known {
    number: u64,
    pages: Vec<Vec<u8>>,
    logged: Vec<u8>,
}

impl Known {
    /// The whole of it is there.
    fn check(&self, shared: &[File], log: &File) {
        let mut found = vec![0; PAGE_SIZE];
        for (file, pages) in shared.iter().zip(self.pages.chunks(PAGES as usize)) {
            for page in (self.number..PAGES).step_by(WORKERS as usize) {
                let got = read(file, page * PAGE, &mut found, &ReadAhead::new());
                assert_eq!(got, Ok(PAGE_SIZE));
                assert_bytes(&found, &pages[page as usize], &format!("page {page} at the end"));
            }
        }
        assert_eq!(log.size(), self.logged.len() as u64);
        let mut found = vec![0; self.logged.len()];
        let mut at = 0;
        while at < found.len() {
            let got = read(log, at as u64, &mut found[at..], &ReadAhead::new());
            at += got.expect("a healthy store");
        }
        assert_bytes(&found, &self.logged, "a log at the end");
    }
}

/// An address space with these files.
fn mapped(machine: &Host, files: &[File]) -> AddressSpace<ScriptedMmu, Loaded> {
    let pages = PAGES as usize;
    let space = machine.space_of(files.len() * pages);
    for (number, file) in files.iter().enumerate() {
        space.map_file(number * pages, pages, file, PageIndex::ZERO, Protection::ReadWrite);
    }
    space
}

/// The thread that keeps frames free.
fn reclaimer<'a>(machine: &'a Host) -> Loop<'a> {
    Box::new(move || {
        let free = FRAMES.saturating_sub(machine.memory().in_use());
        if free >= LOW {
            std::thread::sleep(Duration::from_micros(200));
            return;
        }
        let wanted = (LOW - free) as u32;
        let reclaimer = Reclaimer::new(DirtyVictims::Send);
        let done = syscall(|token| reclaimer.step(machine.cache(), &Table, token, wanted, &NoTask));
        if done.dropped == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    })
}

/// The thread that flushes.
fn flusher<'a>() -> Loop<'a> {
    Box::new(move || {
        let task = Limited::new();
        let flusher = Flusher::new(20_000_000, LIMIT.limits().background());
        let dirty = LIMIT.charged();
        let done = syscall(|token| flusher.step(&Table, token, dirty, 64, &task));
        if done.pages == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    })
}

#[test]
fn nothing_is_lost_with_memory_for_a_quarter_and_a_store_that_fails() {
    let seed = seed();
    let config = MachineConfig::new().frames(FRAMES).watchdog(Duration::from_secs(60));
    let machine: Host = Machine::build(config);
    WAIT.get_or_init(|| HostWait::new(machine.watchdog().clone()));
    machine.cache().set_capacity(FRAMES as u64).expect("memory for the shadows");
    let store =
        |number: u64| DeferredStore::new(StrictStore::new(4096, Strategy::BeginEnd), seed ^ number);
    let stores: Vec<_> = (0..FILES as u64 + WORKERS).map(store).collect();
    let workers: Vec<_> = stores.iter().map(|store| store.workers(1)).collect();
    let files: Vec<File> = stores.iter().map(|store| machine.inode(store, 0)).collect();
    files.iter().for_each(Table::add);
    let (shared, logs) = files.split_at(FILES);
    for file in shared {
        assert_eq!(syscall(|token| file.set_size(token, PAGES * PAGE, &NoTask)), Ok(()));
    }
    stores.iter().for_each(|store| store.fail_one_of(1000));
    let seen = &Seen::default();
    let worker = |number: u64| Worker {
        number,
        rng: Rng::new(seed ^ (number << 8)),
        files: shared,
        pages: vec![vec![0; PAGE_SIZE]; FILES * PAGES as usize],
        log: Arc::clone(&logs[number as usize]),
        logged: Vec::new(),
        ahead: (0..FILES).map(|_| ReadAhead::new()).collect(),
        space: mapped(&machine, shared),
        task: Limited::new(),
        seen,
    };
    let known = &Mutex::new(Vec::new());
    let job = |number: u64| -> Job<'_> {
        Box::new(move || {
            let mut worker = worker(number);
            for _ in 0..rounds(1500) {
                worker.operation();
            }
            known.lock().expect("no worker panicked").push(worker.finish());
        })
    };
    against(machine.check(), (0..WORKERS).map(job).collect(), vec![reclaimer(&machine), flusher()]);

    let failed: u64 = stores.iter().map(|store| store.failed()).sum();
    stores.iter().for_each(|store| store.fail_one_of(0));
    for file in &files {
        // Told of the failures once, at most.
        let first = fsync(file);
        assert!(matches!(first, Ok(()) | Err(Errno::Io)), "{first:?}");
        assert_eq!(fsync(file), Ok(()));
    }
    let check = || {
        for known in &*known.lock().expect("no worker panicked") {
            known.check(shared, &logs[known.number as usize]);
        }
    };
    check();
    let all = machine.cache().reclaimable_pages() as u32;
    let reclaimer = Reclaimer::new(DirtyVictims::Leave);
    let mut dropped = 0;
    // The store may still have reads ahead, which nobody has waited for.
    until("no page is stuck", || {
        let done = syscall(|token| reclaimer.step(machine.cache(), &Table, token, all, &NoTask));
        dropped += done.dropped;
        machine.cache().reclaimable_pages() == 0
    });
    assert_eq!(dropped, all);
    check();
    let [direct, given] = DIRECT.each_ref().map(|count| count.load(Relaxed));
    println!(
        "{seen:?}; {failed} requests failed; {direct} times direct reclaim, which gave {given} pages; \
         {} pages charged at most",
        MOST_CHARGED.load(Relaxed)
    );
    // Readahead meets some of them, so that a call need not.
    assert!(failed > 0, "the store did not fail");
    assert!(given > 0, "memory was never short");
    assert!(seen.longest_pause_ns.load(Relaxed) <= 200_000_000, "a pause of more than 200 ms");
    Table::clear();
    drop(files);
    drop(workers);
    machine.finish();
}
