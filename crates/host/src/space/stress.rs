//! Everything at once, on both MMUs: writers whose sources are mappings of both files, a mapper
//! that takes the sources away, and a janitor that truncates, syncs and reclaims. The lock checker
//! and the watchdog look on.
#![forbid(unsafe_code)]

use std::sync::Arc;

use faultless_filemap::{Inode, SyncKind, WriteOptions};
use faultless_page::{Errno, PAGE_SIZE, PageIndex};

use super::AddressSpace;
use crate::kernel::HostKernel;
use crate::machine::{Machine, MachineConfig};
use crate::memory::POISON;
use crate::mmu::{Mmu, Protection, UserFault};
use crate::on_both_mmus;
use crate::rng::{Rng, seed};
use crate::stores::BlockStore;

type File = Arc<Inode<HostKernel>>;

const PAGES: usize = 12;
const ROUNDS: usize = 150;
/// Pages `PRIVATE..PRIVATE + PAGES` are the writers' own; the files are mapped before them.
const PRIVATE: usize = 2 * PAGES;

/// Pages from which a writer writes: the mappings of both files, or private memory.
fn writer<M: Mmu>(space: &AddressSpace<M>, files: &[File; 2], rng: &mut Rng) {
    for _ in 0..ROUNDS {
        let file = &files[rng.range(0..2)];
        let page = rng.range(0..PRIVATE + PAGES - 3);
        let from = space.slice(page, rng.range(0..PAGE_SIZE), rng.range(1..2 * PAGE_SIZE));
        let pos = rng.below((PAGES * PAGE_SIZE) as u64);
        let before = from.len();
        match space.sys_write(file, &[from], &WriteOptions::at(pos)) {
            Ok(written) => assert!(written.bytes <= before && written.end <= pos + before as u64),
            Err(error) => assert_eq!(error, Errno::Fault),
        }
    }
}

fn mapper<M: Mmu>(space: &AddressSpace<M>, files: &[File; 2], rng: &mut Rng) {
    for _ in 0..ROUNDS {
        let (which, page) = (rng.range(0..2), rng.range(0..PAGES - 2));
        let at = which * PAGES + page;
        let index = PageIndex::new(page as u64);
        match rng.below(7) {
            0 => space.unmap(at, 2),
            1 => space.protect(at, 2, Protection::Read),
            2 => drop(space.populate(at, 2)),
            3 => space.evict(rng.range(0..PRIVATE), PAGES),
            4 => match space.store(space.at(at, 5), &[3; 10]) {
                Ok(()) | Err(UserFault::Segv | UserFault::Bus) => {}
                Err(other) => panic!("{other}"),
            },
            _ => space.map_file(at, 2, &files[which], index, Protection::ReadWrite),
        }
    }
}

fn janitor<M: Mmu>(
    machine: &Machine<M>,
    space: &AddressSpace<M>,
    files: &[File; 2],
    rng: &mut Rng,
) {
    for _ in 0..ROUNDS {
        let file = &files[rng.range(0..2)];
        match rng.below(4) {
            0 => {
                let size = rng.below((PAGES * PAGE_SIZE) as u64);
                assert_eq!(space.sys_truncate(file, size), Ok(()));
            }
            1 => assert_eq!(space.sys_fsync(file, SyncKind::All), Ok(())),
            2 => drop(machine.syscall(|token| file.evict(token, 0..u64::MAX))),
            _ => {
                let to = space.slice(PRIVATE + PAGES, 0, PAGES * PAGE_SIZE);
                let read = space.sys_read(file, &[to], 0).expect("mapped");
                let bytes = space.read_vec(to.addr(), read).expect("mapped");
                let known = |byte: &u8| [0, 1, 2, 3].contains(byte);
                let strange = bytes.iter().position(|byte| !known(byte));
                assert_eq!(strange.map(|at| (at, bytes[at], POISON)), None, "a byte nobody wrote");
            }
        }
    }
}

fn run<M: Mmu>(machine: &Machine<M>) {
    let seed = seed();
    let store = || BlockStore::new(1024, 4 * 2 * PAGES);
    let files = [machine.inode(&store(), 0), machine.inode(&store(), 0)];
    let space = machine.space();
    space.map_anonymous(PRIVATE, 2 * PAGES, Protection::ReadWrite);
    for (which, file) in files.iter().enumerate() {
        space.map_file(which * PAGES, PAGES, file, PageIndex::ZERO, Protection::ReadWrite);
        let byte = which as u8 + 1;
        space.fill(space.at(PRIVATE, 0), byte, PAGES * PAGE_SIZE).expect("mapped");
        let from = space.slice(PRIVATE, 0, PAGES * PAGE_SIZE);
        let written = space.sys_write(file, &[from], &WriteOptions::at(0));
        assert_eq!(written.map(|done| done.bytes), Ok(PAGES * PAGE_SIZE));
    }
    std::thread::scope(|scope| {
        let (space, files) = (&space, &files);
        for thread in 0..2 {
            scope.spawn(move || writer(space, files, &mut Rng::new(seed + thread)));
        }
        scope.spawn(move || mapper(space, files, &mut Rng::new(seed + 2)));
        scope.spawn(move || janitor(machine, space, files, &mut Rng::new(seed + 3)));
    });
    assert!(machine.check().take_report().is_none());
}

on_both_mmus! {
    fn writers_mappers_and_reclaim_run_together_without_a_lock_out_of_order(
        machine = MachineConfig::new().space_pages(8 * PAGES)
    ) {
        run(machine);
        assert_eq!(machine.memory().in_use() * PAGE_SIZE, machine.cache().metadata_bytes());
    }

    fn scattered_frames_change_nothing(
        machine = MachineConfig::new()
            .space_pages(8 * PAGES)
            .order(crate::memory::FrameOrder::Scattered)
    ) {
        run(machine);
    }
}
