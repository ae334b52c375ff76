//! W1, W4, W9, P1 to P8: one sequence of every kind of operation, and at each fallible call that it
//! makes in turn ENOSPC, EIO and ENOMEM, from the store and from the frame allocator, once and for
//! good. Counts are right, nothing is lost or leaked, and all of it again succeeds afterwards.
//!
//! The sweeps of `write/failures.rs` and `pages/memory.rs` look at single operations more closely;
//! this one looks at what one leaves to the next.

use std::sync::Arc;

use faultless::filemap::{MsyncKind, NoTask, Strategy, SyncKind, WriteOptions};
use faultless::page::{Errno, PageIndex};
use faultless_host::stores::{CrashStore, Lie, Spell};
use faultless_host::{
    AddressSpace, Machine, MachineConfig, Mmu, Protection, ScriptedMmu, UserFault, syscall,
};
use faultless_tests::bytes::overlay;
use faultless_tests::crash::Disk;
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{File, PAGE, Store, assert_same, balanced_on_both_mmus, pattern};

/// Where sources lie, reads go, and the file is mapped; pages of each.
const SOURCE: usize = 0;
const WINDOW: usize = 9;
const MAPPED: usize = 18;
const PAGES: usize = 8;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Store(Errno),
    Memory,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Store(Errno::NoSpace),
    Trouble::Store(Errno::Io),
    Trouble::Store(Errno::NoMemory),
    Trouble::Memory,
];

/// How many calls were made to fail, and operations that felt it.
#[derive(Debug, Default)]
struct Swept {
    injected: u64,
    short: u64,
    errors: u64,
}

/// A program, its file, and what the file ought to hold.
struct Subject<'m, M: Mmu> {
    machine: &'m Machine<M>,
    space: AddressSpace<M>,
    file: File,
    store: Arc<CrashStore>,
    below: Store,
    strategy: Strategy,
    source: Vec<u8>,
    holds: Vec<u8>,
    /// Whether an error of a writeback has still to be reported.
    owed: bool,
    trouble: Trouble,
    /// Allocations before the trouble, and which of those after it fails first.
    allocations: (u64, u64),
    felt: Swept,
}

impl<'m, M: Mmu> Subject<'m, M> {
    /// A cold file with a hole, that ends in the middle of a page.
    fn new(machine: &'m Machine<M>, setup: (Disk, Strategy), trouble: Trouble, lie: Lie) -> Self {
        let (disk, strategy) = setup;
        let below = disk.make();
        let inner = Arc::clone(below.operations());
        let store = CrashStore::new(inner, disk.sizing(), lie, machine.watchdog());
        let (file, space) = (machine.inode(&store, 0), machine.space());
        for page in [SOURCE, WINDOW] {
            space.map_anonymous(page, PAGES, Protection::ReadWrite);
            space.fill(space.at(page, 0), 1, PAGES * PAGE).expect("memory");
        }
        let source = pattern(5, PAGES * PAGE);
        space.store(space.at(SOURCE, 0), &source).expect("memory");
        space.map_file(MAPPED, PAGES, &file, PageIndex::ZERO, Protection::ReadWrite);
        let (holds, owed, felt) = (Vec::new(), false, Swept::default());
        let allocations = (0, u64::MAX);
        let mut subject = Self {
            machine,
            space,
            file,
            store,
            below,
            strategy,
            source,
            holds,
            owed,
            trouble,
            allocations,
            felt,
        };
        subject.write(0, 1000, 0, None);
        subject.write(2 * PAGE, 1500, 3, None);
        subject.fsync(SyncKind::All);
        subject.space.evict(MAPPED, PAGES);
        subject.evict();
        assert_eq!(subject.file.mapping().cached_pages(), 0, "the file is cold");
        subject
    }

    fn begin(&mut self, spell: Spell) {
        match (self.trouble, spell) {
            (Trouble::Store(errno), _) => self.store.fail(spell, errno),
            (Trouble::Memory, Spell::Once(nth)) => self.machine.memory().fail_allocation(nth),
            (Trouble::Memory, Spell::From(nth)) => self.machine.memory().fail_allocations_from(nth),
        }
        let (Spell::Once(nth) | Spell::From(nth)) = spell;
        self.allocations = (self.machine.memory().allocation_calls(), nth);
    }

    fn heal(&mut self) {
        self.store.heal();
        self.machine.memory().stop_failing();
    }

    /// How many calls have failed so far; of allocations, those from the first that does.
    fn failures(&self) -> u64 {
        match self.trouble {
            Trouble::Store(_) => self.store.failed(),
            Trouble::Memory => {
                let (before, nth) = self.allocations;
                (self.machine.memory().allocation_calls() - before).saturating_sub(nth - 1)
            }
        }
    }

    fn errno(&self) -> Errno {
        match self.trouble {
            Trouble::Store(errno) => errno,
            Trouble::Memory => Errno::NoMemory,
        }
    }

    /// An operation came to less than it should have: only if something failed meanwhile.
    #[track_caller]
    fn excused(&self, before: u64, what: &str) {
        assert!(self.failures() > before, "{what}, and nothing has failed");
    }

    /// Writes `len` bytes of the source from `from` on: all of them, or those before the failure
    /// (W1, W4, W9).
    fn write(&mut self, at: usize, len: usize, from: usize, sync: Option<SyncKind>) {
        let before = self.failures();
        let split = len / 3;
        let slices = [
            self.space.slice(SOURCE, from, split),
            self.space.slice(SOURCE, from + split, len - split),
        ];
        let bytes = self.source[from..from + len].to_vec();
        let mut options = WriteOptions::at(at as u64).with_strategy(self.strategy);
        if let Some(kind) = sync {
            options = options.with_sync(kind);
        }
        let written = self.space.sys_write(&self.file, &slices, &options);
        let landed = match written {
            Ok(written) => written.bytes,
            Err(_) if sync.is_some() => self.landed_before_the_sync(at, &bytes),
            Err(errno) => {
                assert_eq!(errno, self.errno(), "W9");
                0
            }
        };
        if landed < len || written.is_err() {
            // An error of an earlier writeback is reported by whoever syncs next, once (W4).
            let reported = sync.is_some() && std::mem::take(&mut self.owed);
            if !reported {
                self.excused(before, "a short write");
            }
            self.felt.short += u64::from(landed > 0);
            self.felt.errors += u64::from(landed == 0);
        }
        overlay(&mut self.holds, at, &bytes[..landed]);
        assert_eq!(self.file.size(), self.holds.len() as u64, "W3");
    }

    /// How many bytes of a synchronous write landed before its error (W11): the file says.
    fn landed_before_the_sync(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.heal();
        let found = self.contents();
        let pairs = found.get(at..).unwrap_or_default().iter().zip(bytes);
        let landed = pairs.take_while(|(found, byte)| found == byte).count();
        let mut holds = self.holds.clone();
        overlay(&mut holds, at, &bytes[..landed]);
        assert_same(&found, &holds, "W11: a prefix of the write");
        landed
    }

    fn read(&mut self) {
        let before = self.failures();
        let target = self.space.slice(WINDOW, 0, PAGES * PAGE);
        let got = match self.space.sys_read(&self.file, &[target], 0) {
            Ok(got) => got,
            Err(errno) => {
                assert_eq!(errno, self.errno(), "W9");
                self.felt.errors += 1;
                0
            }
        };
        if got < self.holds.len() {
            self.excused(before, "a short read");
        }
        let bytes = self.space.read_vec(target.addr(), got).expect("memory");
        assert_same(&bytes, &self.holds[..got], "a read");
    }

    fn store_mapped(&mut self, at: usize, len: usize) {
        let before = self.failures();
        let bytes = pattern(at as u64, len);
        match self.space.store(self.space.at(MAPPED, at), &bytes) {
            Ok(()) => self.holds[at..at + len].copy_from_slice(&bytes),
            Err(fault) => {
                assert_eq!(fault, UserFault::Error(self.errno()));
                self.excused(before, "a fault");
                self.felt.errors += 1;
            }
        }
    }

    fn truncate(&mut self, size: usize) {
        assert_eq!(self.space.sys_truncate(&self.file, size as u64), Ok(()), "it cannot fail");
        self.holds.resize(size, 0);
    }

    fn writeback(&mut self) {
        let before = self.failures();
        if let Err(errno) = syscall(|token| self.file.writeback(token, 0..u64::MAX, &NoTask)) {
            assert_eq!(errno, self.errno(), "W4");
            self.excused(before, "a failed writeback");
            self.owed = true;
            self.felt.errors += 1;
        }
    }

    fn fsync(&mut self, kind: SyncKind) {
        let before = self.failures();
        let synced = self.space.sys_fsync(&self.file, kind);
        self.judge_sync(before, synced);
    }

    fn msync(&mut self) {
        let before = self.failures();
        let synced = syscall(|token| self.file.msync(token, 0..u64::MAX, MsyncKind::Sync, &NoTask));
        self.judge_sync(before, synced);
    }

    /// A sync reports what failed in it, and what is owed; and nothing else (W4).
    fn judge_sync(&mut self, before: u64, synced: Result<(), Errno>) {
        let fails = std::mem::take(&mut self.owed) || self.failures() > before;
        assert_eq!(synced.is_err(), fails, "W4: a sync returns {synced:?}");
        self.felt.errors += u64::from(fails);
    }

    fn evict(&self) {
        let _ = syscall(|token| self.file.evict(token, 0..u64::MAX));
    }

    fn contents(&self) -> Vec<u8> {
        let target = self.space.slice(WINDOW, 0, PAGES * PAGE);
        self.space.sys_read_all(&self.file, target).expect("a file that can be read")
    }

    /// Every kind of operation, on pages that are cold, cached, holes, and past the end.
    fn sequence(&mut self) {
        self.write(500, 2 * PAGE, 100, None);
        self.write(self.holds.len(), PAGE + 700, 7, None);
        self.read();
        self.store_mapped(600, 50);
        self.truncate(PAGE + 77);
        self.truncate(5 * PAGE + 9);
        self.store_mapped(3 * PAGE + 40, 900);
        self.writeback();
        self.evict();
        self.fsync(SyncKind::All);
        self.write(2 * PAGE + 5, 3 * PAGE, 900, None);
        self.store_mapped(10, 10);
        self.msync();
        self.evict();
        self.write(PAGE - 10, 40, 33, None);
        self.fsync(SyncKind::Data);
        self.read();
        self.write(4 * PAGE, 2 * PAGE, 51, Some(SyncKind::Data));
    }

    /// Nothing fails any more: the file is what it ought to be, all of it works again, and nothing
    /// was left behind.
    fn recover(mut self) -> Swept {
        self.felt.injected = self.failures();
        self.heal();
        assert_same(&self.contents(), &self.holds, "the file, afterwards");
        let size = self.holds.len() as u64;
        self.below.assert_in_order(size);
        let felt = std::mem::take(&mut self.felt);
        // From here on a failure is one that nobody asked for.
        self.sequence();
        if self.owed {
            self.fsync(SyncKind::All);
        }
        assert_eq!(self.felt.short, 0, "a retry");
        assert!(self.felt.errors <= 1, "a retry, but for what was owed: {:?}", self.felt);
        self.space.unmap(MAPPED, PAGES);
        self.fsync(SyncKind::All);
        self.evict();
        assert_eq!(self.file.mapping().cached_pages(), 0, "a page stays in the cache");
        assert_same(&self.contents(), &self.holds, "the file, read back");
        self.below.assert_in_order(self.holds.len() as u64);
        felt
    }
}

/// The calls in turn, until there are no more.
fn sweep<M: Mmu>(machine: &Machine<M>, setup: (Disk, Strategy), lie: Lie, all: &mut Swept) {
    let spells: [fn(u64) -> Spell; 2] = [Spell::Once, Spell::From];
    for trouble in TROUBLES {
        for spell in spells {
            for nth in 1.. {
                assert!(nth < 300, "the sequence ends");
                println!("{setup:?}, {trouble:?}, {:?}", spell(nth));
                let mut subject = Subject::new(machine, setup, trouble, lie);
                subject.begin(spell(nth));
                subject.sequence();
                let swept = subject.recover();
                if swept.injected == 0 {
                    assert!(nth > 5, "only {nth} calls can fail");
                    break;
                }
                all.injected += 1;
                all.short += swept.short;
                all.errors += swept.errors;
            }
        }
    }
}

balanced_on_both_mmus! {
    fn w4_w9_p8_each_call_of_a_sequence_fails_in_turn(machine = MachineConfig::new().frames(256).space_pages(32)) {
        let disks = if M::NAME == ScriptedMmu::NAME { Disk::ALL } else { &[Disk::Blocks(1024)] };
        let mut all = Swept::default();
        for &disk in disks {
            for strategy in STRATEGIES {
                sweep(machine, (disk, strategy), Lie::None, &mut all);
            }
        }
        println!("{}: {all:?} (injections)", M::NAME);
        assert!(all.injected > 200 * disks.len() as u64, "{all:?}");
        assert!(all.short > 0 && all.errors > all.injected / 2, "{all:?}");
    }
}

/// The pages are clean then, and leave the cache.
#[test]
#[should_panic(expected = "a read: byte")]
fn a_store_that_swallows_an_error_is_found() {
    let machine = Machine::<ScriptedMmu>::new();
    let setup = (Disk::Memory, Strategy::BeginEnd);
    sweep(&machine, setup, Lie::SwallowsErrors, &mut Swept::default());
}
