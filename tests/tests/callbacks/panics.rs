//! Callbacks that unwind, one after the other, out of every operation: nothing stays locked or
//! under writeback, the next sync is told of what failed, and bytes past the end never come back
//! (F2, P2, P5, W5, W9).

use std::collections::BTreeSet;
use std::sync::Arc;

use faultless::filemap::{
    Access, FileSize, InFault, MappedFrame, MsyncKind, NoTask, SyncKind, WriteOptions,
};
use faultless::page::{Errno, Fallocate, Mark, PAGE_SIZE, PageIndex, Strategy};
use faultless_host::stores::BlockStore;
use faultless_host::{Action, Event, Machine, MachineConfig, Mmu, Protection, When, lockcheck};
use faultless_host::{HostUserMappings, counting, syscall};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{FREE, File, PAGE, Process, assert_bytes, evict, fsync, set_size};
use faultless_tests::setup::STRATEGIES;

use crate::fuse::{Fuse, FusedTask, Side, fused};

/// Three and a half pages.
const SIZE: u64 = 3 * PAGE + PAGE / 2;
/// What the file holds at first.
const OLD: u8 = 0x6f;
/// What the program has stored through its mapping.
const STORED: u8 = 0x70;
/// The same past the end: it must never be seen in the file.
const SCRIBBLE: u8 = 0x73;
/// What is written.
const NEW: u8 = 0x6e;
/// Where the sources of writes lie.
const SOURCE: usize = FREE + 8;

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Write {
        pos: u64,
        len: usize,
    },
    Append {
        len: usize,
    },
    /// At the end of a page, from memory that is there.
    AppendPages {
        len: usize,
    },
    SyncedWrite {
        pos: u64,
        len: usize,
    },
    SetSize(u64),
    /// A hole or zeros, from a byte to another.
    Blocks(Fallocate, u64, u64),
    Fsync,
    Msync,
    Writeback,
    Evict,
    Read,
    Fault(Access, u64),
}

const OPERATIONS: &[Operation] = &[
    Operation::Write { pos: 100, len: 2 * PAGE_SIZE },
    Operation::Write { pos: SIZE + 5000, len: 3000 },
    Operation::Write { pos: SIZE - 100, len: 3 * PAGE_SIZE },
    Operation::Append { len: 3 * PAGE_SIZE + 100 },
    Operation::AppendPages { len: PAGE_SIZE },
    Operation::AppendPages { len: 2 * PAGE_SIZE },
    Operation::SyncedWrite { pos: SIZE - 10, len: PAGE_SIZE },
    Operation::SetSize(PAGE + 100),
    Operation::SetSize(0),
    Operation::SetSize(5 * PAGE),
    Operation::Blocks(Fallocate::PunchHole, 100, SIZE),
    Operation::Blocks(Fallocate::ZeroRange, PAGE / 2, 3 * PAGE + 100),
    Operation::Blocks(Fallocate::Allocate, 0, 5 * PAGE),
    Operation::Fsync,
    Operation::Msync,
    Operation::Writeback,
    Operation::Evict,
    Operation::Read,
    Operation::Fault(Access::Read, 1),
    Operation::Fault(Access::Write, 1),
];

/// A file of which page 1 is cold, page 2 is clean and mapped, and the others are dirty and mapped
/// writable.
struct Scene<'m, M: Mmu> {
    machine: &'m Machine<M>,
    process: Process<M>,
    blocks: Arc<BlockStore>,
    file: File,
    fuse: Arc<Fuse>,
}

impl<'m, M: Mmu> Scene<'m, M> {
    fn new(machine: &'m Machine<M>, strategy: Strategy, side: Side) -> Self {
        let (fuse, process) = (Fuse::new(), Process::new(machine));
        let blocks = BlockStore::with_contents(1024, 200, &[OLD; SIZE as usize]);
        let store = fused(Arc::clone(&blocks), Arc::clone(&fuse), strategy, side);
        let file = machine.inode(&store, SIZE);
        let addr = process.map(FREE, 6, &file, 0, Protection::ReadWrite);
        process.space.store(addr, &[STORED; 100]).expect("mapped");
        let end = addr.wrapping_add(SIZE as usize);
        process.space.store(addr.wrapping_add(SIZE as usize - 10), &[STORED; 10]).expect("mapped");
        process.space.store(end, &[SCRIBBLE; 50]).expect("mapped");
        // Mapped for loads: clean.
        assert_eq!(process.byte(addr.wrapping_add(2 * PAGE_SIZE)), Ok(OLD));
        process.space.map_anonymous(SOURCE, 4, Protection::ReadWrite);
        process.space.fill(process.space.at(SOURCE, 0), NEW, 4 * PAGE_SIZE).expect("mapped");
        process.space.evict(SOURCE, 4);
        let scene = Self { machine, process, blocks, file, fuse };
        scene.arm();
        scene
    }

    /// Fuses that are not the store's: in unmaps, in the fault handler, in copies.
    fn arm(&self) {
        let fuse = Arc::clone(&self.fuse);
        let maps: &HostUserMappings = self.machine.user_mappings();
        maps.watch(Arc::new(move |_, _, _, _| fuse.pass("unmap")));
        for (event, name) in
            [(Event::Fault, "fault handler"), (Event::FaultingCopy, "faulting copy")]
        {
            let fuse = Arc::clone(&self.fuse);
            let call = Action::Call(Arc::new(move |_| fuse.pass(name)));
            self.process.space.script().add(event, When::Every(1), call);
        }
    }

    fn disarm(&self) {
        self.machine.user_mappings().unwatch();
        self.process.space.script().clear();
    }

    fn perform(&self, operation: Operation) {
        let (file, process) = (&self.file, &self.process);
        let task = FusedTask(Arc::clone(&self.fuse));
        let write = |options: &WriteOptions, len| {
            let source = process.space.slice(SOURCE, 0, len);
            assert_eq!(process.writev_as(file, &[source], options, &task), Ok(len));
        };
        match operation {
            Operation::Write { pos, len } => write(&WriteOptions::at(pos), len),
            Operation::Append { len } => write(&WriteOptions::append(), len),
            Operation::AppendPages { len } => {
                assert_eq!(set_size(file, 4 * PAGE), Ok(()));
                process.space.fill(process.space.at(SOURCE, 0), NEW, len).expect("mapped");
                write(&WriteOptions::append(), len);
            }
            Operation::SyncedWrite { pos, len } => {
                write(&WriteOptions::at(pos).with_sync(SyncKind::Data), len);
            }
            Operation::SetSize(size) => assert_eq!(set_size(file, size), Ok(())),
            Operation::Blocks(change, start, end) => {
                let changed = syscall(|token| match change {
                    Fallocate::PunchHole => file.punch_hole(token, start..end, &NoTask),
                    Fallocate::ZeroRange => {
                        file.zero_range(token, start..end, FileSize::Stays, &NoTask)
                    }
                    Fallocate::Allocate => {
                        file.allocate(token, start..end, FileSize::Grows, &NoTask)
                    }
                });
                assert_eq!(changed, Ok(()));
            }
            Operation::Fsync => assert_eq!(fsync(file), Ok(())),
            Operation::Msync => {
                let kind = MsyncKind::Sync;
                let synced = syscall(|token| file.msync(token, 0..u64::MAX, kind, &NoTask));
                assert_eq!(synced, Ok(()));
            }
            Operation::Writeback => {
                assert_eq!(syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask)), Ok(()));
            }
            Operation::Evict => drop(evict(file)),
            Operation::Read => {
                let target = process.space.slice(SOURCE, 0, SIZE as usize);
                assert_eq!(process.read_to(file, 0, target), Ok(SIZE as usize));
            }
            Operation::Fault(access, page) => self.fault(access, PageIndex::new(page)),
        }
    }

    fn fault(&self, access: Access, index: PageIndex) {
        // SAFETY: nothing is locked, and there is no other handler on this thread.
        let mut in_fault = unsafe { InFault::enter() };
        let install = |_: MappedFrame<'_, _>| self.fuse.pass("install");
        let resolved = self.file.fault(&mut in_fault, index, access, &NoTask, install);
        assert_eq!(resolved, Ok(()));
    }

    /// What has to hold after a callback has unwound.
    fn check(&self, blew: &str) {
        self.disarm();
        assert!(lockcheck::holds_nothing(), "a lock is held (P5)");
        let told = if blew == "writeback" { Err(Errno::Io) } else { Ok(()) };
        assert_eq!(fsync(&self.file), told, "F2: the next fsync");
        assert_eq!(fsync(&self.file), Ok(()), "F2: and the one after that");
        // What a truncation has left past the end goes with the next one.
        let end = PageIndex::new(self.file.size().div_ceil(PAGE));
        let unclean = self.file.mapping().find(PageIndex::ZERO, end, Mark::Unclean);
        assert!(unclean.is_none(), "F1: {unclean:?} is not clean after fsync");
        let size = self.file.size();
        let bytes = self.process.contents(&self.file);
        assert_eq!(bytes.len() as u64, size);
        let odd = bytes.iter().position(|byte| ![OLD, STORED, NEW, 0].contains(byte));
        assert_eq!(odd, None, "W5: a byte that was never in the file");
        assert_bytes(&self.blocks.contents(), &bytes, "the store after fsync");
        self.check_growth(&bytes);
        assert_eq!(set_size(&self.file, 10), Ok(()), "a later truncation");
        assert_eq!(fsync(&self.file), Ok(()));
        assert_eq!(self.blocks.blocks_past(10), 0, "W9: blocks past the end");
        assert_eq!(self.blocks.complaints(), Vec::<String>::new());
    }

    /// Growth shows zeros: by read, by a mapping, and read back.
    fn check_growth(&self, bytes: &[u8]) {
        let size = bytes.len();
        let grown = size + 2 * PAGE_SIZE;
        assert_eq!(set_size(&self.file, grown as u64), Ok(()), "growth");
        let mut want = bytes.to_vec();
        want.resize(grown, 0);
        for how in ["cached", "read back"] {
            assert_bytes(&self.process.contents(&self.file), &want, how);
            let pages = grown.div_ceil(PAGE_SIZE).min(6);
            let seen =
                self.process.space.read_vec(self.process.space.at(FREE, 0), pages * PAGE_SIZE);
            let seen = seen.expect("mapped");
            let inside = seen.len().min(grown);
            assert_bytes(&seen[..inside], &want[..inside], how);
            assert_eq!(fsync(&self.file), Ok(()));
            let _ = evict(&self.file);
            assert_eq!(self.file.mapping().cached_pages(), 0, "a page stays in the cache");
        }
    }
}

/// Lets each callback of each operation unwind in turn; which callbacks did.
fn sweep<M: Mmu>(machine: &Machine<M>, strategy: Strategy, side: Side) -> BTreeSet<&'static str> {
    let mut all = BTreeSet::new();
    for &operation in OPERATIONS {
        for nth in 1.. {
            let scene = Scene::new(machine, strategy, side);
            println!("{strategy:?}, {side:?}: {operation:?}, callback {nth}");
            let Some(blew) = scene.fuse.blow(nth, || scene.perform(operation)) else {
                scene.disarm();
                assert!(nth > 1, "{operation:?} has a callback");
                break;
            };
            println!("unwound from {blew}");
            scene.check(blew);
            let _ = all.insert(blew);
        }
    }
    all
}

/// Every kind of callback that there is, and that these operations use.
const CALLBACKS: [&str; 13] = [
    "fallocate",
    "fault handler",
    "faulting copy",
    "install",
    "prepare_size",
    "read",
    "set_size",
    "sync",
    "throttle",
    "trim",
    "unmap",
    "write_begin",
    "writeback",
];

balanced_on_both_mmus! {
    fn f2_p2_p5_w5_any_callback_of_any_operation_may_unwind(machine = MachineConfig::new().frames(400)) {
        let mut all = BTreeSet::new();
        for strategy in STRATEGIES {
            for side in [Side::Before, Side::After] {
                all.extend(sweep(machine, strategy, side));
            }
        }
        for name in CALLBACKS {
            assert!(all.contains(name), "nothing unwound from {name}: {all:?}");
        }
    }

    /// What an unfinished truncation has left in the cache is past the end: nothing is lost with
    /// it, and nothing is told (F6).
    fn f6_pages_that_an_unfinished_truncation_left_are_not_lost_data(machine) {
        for close in [true, false] {
            let scene = Scene::new(machine, Strategy::BeginEnd, Side::Before);
            // The store has agreed to it before.
            let blew = scene.fuse.blow(2, || scene.perform(Operation::SetSize(PAGE)));
            assert_eq!(blew, Some("unmap"));
            scene.disarm();
            assert_eq!((scene.file.size(), fsync(&scene.file)), (PAGE, Ok(())));
            assert!(scene.file.mapping().find(PageIndex::ZERO, PageIndex::new(9), Mark::Dirty).is_some());
            if !close {
                assert_eq!(scene.process.write(&scene.file, 0, b"lost"), Ok(4));
            }
            scene.process.space.unmap(FREE, 6);
            let mut file = Arc::into_inner(scene.file).expect("the last handle");
            let ((), counted) = counting(|| {
                if close {
                    assert_eq!(syscall(|token| file.close(token, &NoTask)), Ok(()));
                }
                drop(file);
            });
            assert_eq!(counted.dropped_dirty, u64::from(!close), "pages of the file that were lost");
        }
    }
}
