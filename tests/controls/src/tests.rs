//! The controls do their work, apart from what they are known for.

use std::sync::Arc;

use faultless_filemap::{Inode, NoTask, WriteOptions};
use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageIndex};
use faultless_usercopy::{IovIter, MayFault, UserSlice};

use super::{Control, ControlFile, Defects, Failure, Request};
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{Kind, Machine, Mmu, Protection, on_both_mmus};

type File = Inode<faultless_host::HostKernel>;

const CONTROLS: [Control; 4] = [
    Control::Linux2623,
    Control::Linux2624Rc1(Defects::NONE),
    Control::Linux2624Rc1(Defects::ALL),
    Control::PrefaultOnly,
];

const STEPS: u64 = 1000;

fn write<M: Mmu>(
    space: &faultless_host::AddressSpace<M>,
    file: &File,
    control: Control,
    pos: u64,
    segments: &[UserSlice],
) -> Result<usize, Failure> {
    let request = Request { control, segments, options: WriteOptions::at(pos), steps: STEPS };
    let control = ControlFile::new(file);
    faultless_host::syscall(|token| control.write(&request, token, space, &NoTask)).map(|w| w.bytes)
}

/// The whole file, by way of the last pages of the address space.
fn contents<M: Mmu>(space: &faultless_host::AddressSpace<M>, file: &File) -> Vec<u8> {
    space.map_anonymous(900, 8, Protection::ReadWrite);
    let to = space.slice(900, 0, file.size() as usize);
    let read = |token: &mut MayFault| {
        file.read(token, &mut IovIter::from_slice(space, &to), 0, &NoTask).expect("a read")
    };
    let got = faultless_host::syscall(read);
    space.read_vec(to.addr(), got).expect("memory")
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(7).wrapping_add(seed) % 250) as u8 + 1).collect()
}

/// What the control knows to read under its own lock is a violation, and is expected.
fn writes_over<M: Mmu, S: AddressSpaceOperations + 'static>(
    machine: &Machine<M>,
    control: Control,
    store: &Arc<S>,
    old: &[u8],
) {
    let expecting = machine.check().expect();
    for (pos, len) in [(0, 1), (100, 5000), (4096, 4096), (5000, 9000), (12_000, 1), (14_000, 50)] {
        let file = machine.inode(store, old.len() as u64);
        let space = machine.space();
        space.map_anonymous(0, 4, Protection::ReadWrite);
        let source = bytes(len, len);
        space.store(space.at(0, 7), &source).expect("memory");
        let (first, second) = (len / 3, len - len / 3);
        let segments =
            [space.slice(0, 7, first), space.slice(3, 0, 0), space.slice(0, 7 + first, second)];
        let written = write(&space, &file, control, pos as u64, &segments);
        assert_eq!(written, Ok(len), "{control:?} at {pos}");
        let mut expected = old.to_vec();
        expected.resize(expected.len().max(pos + len), 0);
        expected[pos..pos + len].copy_from_slice(&source);
        assert!(contents(&space, &file) == expected, "{control:?}: {len} bytes at {pos}");
        // The next round begins from what the store holds.
        drop(file);
    }
    drop(expecting.reports());
}

on_both_mmus! {
    /// On a store of whole pages and on one of small blocks, into pages that are cached or not.
    fn a_resident_source_arrives_whole(machine) {
        let old = bytes(3, 10_000);
        for control in CONTROLS {
            writes_over(machine, control, &MemoryStore::with_contents(&old), &old);
            writes_over(machine, control, &MemoryStore::new(), &[]);
            writes_over(machine, control, &BlockStore::new(512, 1000), &[]);
        }
    }

    fn a_bad_source_is_refused(machine) {
        let expecting = machine.check().expect();
        for control in CONTROLS {
            let file = machine.inode(&MemoryStore::new(), 0);
            let space = machine.space();
            let refused = write(&space, &file, control, 0, &[space.slice(0, 0, 10)]);
            assert_eq!(refused, Err(Failure::Errno(Errno::Fault)), "{control:?}");
            assert_eq!((file.size(), file.mapping().cached_pages()), (0, 0), "{control:?}");
        }
        drop(expecting.reports());
    }

    /// B3: what stood behind the short copy is gone.
    fn linux_2623_zeroes_the_tail_of_a_short_copy(machine) {
        let expecting = machine.check().expect();
        for (control, tail) in [(Control::Linux2623, 0), (Control::PrefaultOnly, 9)] {
            let file = machine.inode(&MemoryStore::with_contents(&[9; PAGE_SIZE]), PAGE_SIZE as u64);
            let space = machine.space();
            space.map_anonymous(0, 1, Protection::ReadWrite);
            space.fill(space.at(0, 0), 5, PAGE_SIZE).expect("memory");
            let source = space.slice(0, PAGE_SIZE - 10, 30);
            assert_eq!(write(&space, &file, control, 100, &[source]), Ok(10), "{control:?}");
            let now = contents(&space, &file);
            assert_eq!(now[100..110], [5; 10], "{control:?}");
            assert_eq!(now[110..130], [tail; 20], "{control:?}");
            assert_eq!(now[130..140], [9; 10], "{control:?}");
        }
        drop(expecting.reports());
    }

    /// DL1, without having to hang: the source happens to be resident.
    fn the_lock_checker_sees_what_the_copy_could_have_done(machine) {
        let old = bytes(1, PAGE_SIZE);
        for control in CONTROLS {
            let file = machine.inode(&MemoryStore::with_contents(&old), PAGE_SIZE as u64);
            let space = machine.space();
            space.map_file(0, 1, &file, PageIndex::ZERO, Protection::Read);
            space.populate(0, 1).expect("a file page");
            let expecting = machine.check().expect();
            assert_eq!(write(&space, &file, control, 0, &[space.slice(0, 2000, 10)]), Ok(10));
            let reports = expecting.reports();
            match control {
                Control::Linux2624Rc1(_) => assert!(reports.is_empty(), "{reports:#?}"),
                _ => assert!(reports.iter().any(|r| r.kind == Kind::Recursive), "{reports:#?}"),
            }
        }
    }
}
