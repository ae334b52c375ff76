//! A file whose store is another file of the same cache, as behind a loop device: with a thread
//! between the two, each can be evicted while the other is read and written.

use std::sync::Arc;

use faultless::filemap::{InKernel, NoTask, Strategy, WriteOptions};
use faultless::page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PAGE_SIZE, PageIndex, ReadRequest,
    Reserved, SyncKind, WritebackRun,
};
use faultless::usercopy::{IovIter, KernelMemory};
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::DeferredStore;
use faultless_host::{Machine, MachineConfig, Mmu};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    File, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size,
};
use faultless_tests::stress::{Job, Loop, against, rounds};
use faultless_tests::strict::StrictStore;

/// Pages of either file.
const PAGES: usize = 90;

/// The bytes of a file, as a store of another one. Each call is made with no page of this file
/// locked, on a thread that has locked no page of the other one.
struct Loopback {
    below: File,
}

impl Loopback {
    fn token() -> InKernel {
        // SAFETY: the calls of this store are made by threads of its own, or where no page lock is
        // held; each makes one token.
        unsafe { InKernel::enter() }
    }
}

impl AddressSpaceOperations for Loopback {
    /// Not called: reads come as requests.
    fn read(&self, _index: PageIndex, _buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        Err(Errno::Invalid)
    }

    /// Reads the file below first, and then fills the pages: in `fill` they count as locked by the
    /// thread, which must not lock or allocate more.
    fn submit_read(&self, request: ReadRequest) {
        let mut bytes = vec![0; request.len()];
        let memory = KernelMemory::writable(&mut bytes);
        let slice = memory.slice();
        let mut to = IovIter::from_slice(&memory, &slice);
        let got = match self.below.read(&mut Self::token(), &mut to, request.pos(), &NoTask) {
            Ok(got) => got,
            Err(errno) => return request.fail(errno),
        };
        let start = request.pos();
        request.fill(|index, buf| {
            let from = ((index.start() - start) as usize).min(got);
            buf.write(&bytes[from..got.min(from + PAGE_SIZE)]);
            Ok(())
        });
    }

    fn write_begin(&self, _pos: u64, len: usize) -> Result<Begun, Errno> {
        Ok(Begun { len, contents: Contents::Stored, reserved: Reserved::Fully })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut bytes = vec![0; run.len()];
        run.copy_to(0, &mut bytes);
        let memory = KernelMemory::readable(&bytes);
        let slice = memory.slice();
        let mut from = IovIter::from_slice(&memory, &slice);
        let options = WriteOptions::at(run.pos());
        let written = self.below.write(&mut Self::token(), &mut from, &options, &NoTask)?;
        if written.bytes == bytes.len() { Ok(()) } else { Err(Errno::Io) }
    }

    fn truncate_blocks(&self, _size: u64) {}

    fn set_size(&self, _size: u64) {}

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.below.fsync(&mut Self::token(), kind, &NoTask)
    }
}

fn loops<M: Mmu>(machine: &Machine<M>) {
    let seed = seed();
    let disk = StrictStore::new(1024, Strategy::BeginEnd);
    let below = machine.inode(&disk, 0);
    set_size(&below, (PAGES * PAGE_SIZE) as u64).unwrap();
    let store = DeferredStore::new(Arc::new(Loopback { below: Arc::clone(&below) }), seed);
    let _workers = store.workers(1);
    let above = &machine.inode(&store, (PAGES * PAGE_SIZE) as u64);
    let mut bytes = vec![0; PAGES * PAGE_SIZE];
    let (process, mut rng) = (Process::new(machine), Rng::new(seed));
    let expected = &mut bytes;
    let work: Job<'_> = Box::new(move || {
        for round in 0..rounds(150) {
            let at = rng.range(0..(PAGES - 4) * PAGE_SIZE);
            let piece = pattern(round as u8, 1 + rng.range(0..4 * PAGE_SIZE));
            assert_eq!(process.write(above, at as u64, &piece), Ok(piece.len()));
            expected[at..at + piece.len()].copy_from_slice(&piece);
            if rng.below(4) == 0 {
                assert_eq!(fsync(above), Ok(()));
            }
            let from = rng.range(0..(PAGES - 8) * PAGE_SIZE);
            let found = process.read(above, from as u64, 8 * PAGE_SIZE);
            assert_bytes(&found.expect("a read"), &expected[from..from + 8 * PAGE_SIZE], "above");
        }
    });
    let file = &below;
    let evicts: Loop<'_> = Box::new(move || {
        evict(above);
        evict(file);
        let _below = fsync(file);
    });
    against(machine.check(), vec![work], vec![evicts]);
    assert_eq!(fsync(above), Ok(()));
    assert_bytes(&disk.contents(), &bytes, "the disk");
    make_cold(above);
    make_cold(&below);
    assert_bytes(&Process::new(machine).contents(above), &bytes, "read back");
    disk.assert_balanced();
}

fn config() -> MachineConfig {
    MachineConfig::new().watchdog(std::time::Duration::from_secs(30))
}

balanced_on_both_mmus! {
    fn l1_a_file_on_a_file_is_written_synced_evicted_and_read_back(machine = config()) {
        loops(machine);
    }

    fn l1_the_same_while_every_allocation_reclaims_both(machine = config()) {
        machine.reclaim_above(0);
        loops(machine);
        machine.memory().stop_reclaiming();
    }
}
