//! Each store under a real file: what was written comes back after everything was thrown out of the
//! cache.

use std::sync::{Arc, Mutex};

use faultless_filemap::{Inode, NoTask, SyncKind, WriteOptions};
use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageIndex, Strategy};
use faultless_usercopy::copy_from_user;

use super::{BlockStore, Call, FaultyStore, FileStore, HookedStore, MemoryStore, StoreLock};
use crate::kernel::HostKernel;
use crate::lockcheck::Kind;
use crate::machine::ScriptedMachine;
use crate::mmu::Protection;
use crate::rng::Rng;
use crate::script::When;

type File = Arc<Inode<HostKernel>>;

struct Bench {
    machine: ScriptedMachine,
    space: crate::space::AddressSpace<crate::mm_scripted::ScriptedMmu>,
}

impl Bench {
    fn new() -> Self {
        let machine = ScriptedMachine::new();
        let space = machine.space();
        space.map_anonymous(0, 64, Protection::ReadWrite);
        Self { machine, space }
    }

    fn write(&self, file: &File, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.space.store(self.space.at(0, 0), bytes).expect("user memory");
        let from = [self.space.slice(0, 0, bytes.len())];
        self.space.sys_write(file, &from, &WriteOptions::at(pos)).map(|done| done.bytes)
    }

    fn read(&self, file: &File) -> Result<Vec<u8>, Errno> {
        self.space.sys_read_all(file, self.space.slice(0, 0, 10_000))
    }

    fn fsync(&self, file: &File) -> Result<(), Errno> {
        self.space.sys_fsync(file, SyncKind::All)
    }

    /// Writes here and there, syncs, and compares with a model: in the cache, and in a new inode
    /// over the same store.
    fn round_trip<S: AddressSpaceOperations + 'static>(&self, store: &Arc<S>) -> Vec<u8> {
        let file = self.machine.inode(store, 0);
        let mut model: Vec<u8> = Vec::new();
        let mut rng = Rng::new(3);
        for _ in 0..40 {
            let bytes = rng.clone().bytes(rng.range(1..9000));
            let pos = rng.range(0..60_000);
            assert_eq!(self.write(&file, pos as u64, &bytes), Ok(bytes.len()));
            model.resize(model.len().max(pos + bytes.len()), 0);
            model[pos..pos + bytes.len()].copy_from_slice(&bytes);
        }
        assert_eq!(self.read(&file).as_ref(), Ok(&model));
        self.fsync(&file).expect("nothing fails");
        drop(file);
        let file = self.machine.inode(store, model.len() as u64);
        if store.is_persistent() {
            assert_eq!(self.read(&file).as_ref(), Ok(&model));
        }
        model
    }
}

#[test]
fn the_last_block_reads_as_zeros_from_the_end_on_after_a_truncation_that_found_no_page_in_the_cache()
 {
    let bench = Bench::new();
    let (blocks, pages) = (BlockStore::new(512, 64), MemoryStore::new());
    let files: [File; 2] = [bench.machine.inode(&blocks, 0), bench.machine.inode(&pages, 0)];
    for file in files {
        assert_eq!(bench.write(&file, 0, &[7; 3000]), Ok(3000));
        bench.fsync(&file).expect("nothing fails");
        assert!(bench.machine.syscall(|token| file.evict(token, 0..u64::MAX)) > 0);
        bench.space.sys_truncate(&file, 1000).expect("nothing fails");
        bench.space.sys_truncate(&file, 3000).expect("nothing fails");
        let read = bench.read(&file).expect("nothing fails");
        assert_eq!(read, [vec![7; 1000], vec![0; 2000]].concat());
    }
}

#[test]
fn every_store_gives_back_what_was_written() {
    let bench = Bench::new();
    let memory = MemoryStore::new();
    assert_eq!(bench.round_trip(&memory), memory.contents());
    for block_size in [512, 1024, 4096] {
        let blocks = BlockStore::new(block_size, 1000);
        assert_eq!(bench.round_trip(&blocks), blocks.contents());
        assert_eq!(blocks.complaints(), Vec::<String>::new());
        assert_eq!(blocks.blocks_past(blocks.size()), 0);
    }
    let _ = bench.round_trip(&MemoryStore::volatile());
    let _ = bench.round_trip(&StoreLock::new().around(MemoryStore::new()));
    assert!(bench.machine.check().take_report().is_none());
}

#[test]
fn a_real_file_gives_back_what_was_written() {
    let path = std::env::temp_dir().join(format!("faultless-{}", std::process::id()));
    let open =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    let store = FileStore::new(open.expect("a file")).expect("its size");
    let model = Bench::new().round_trip(&store);
    let kept = std::fs::read(&path);
    std::fs::remove_file(&path).expect("the file");
    assert_eq!(kept.expect("the file"), model);
}

#[test]
fn a_full_device_gives_a_short_count_and_then_no_space() {
    let bench = Bench::new();
    let store = BlockStore::new(1024, 6);
    let file = bench.machine.inode(&store, 0);
    assert_eq!(bench.write(&file, 0, &[1; 3 * PAGE_SIZE]), Ok(6 * 1024));
    assert_eq!(bench.write(&file, 6 * 1024, &[1; 10]), Err(Errno::NoSpace));
    assert_eq!((file.size(), store.allocated(), store.free()), (6 * 1024, 6, 0));
    assert_eq!(store.blocks_past(file.size()), 0);
}

#[test]
fn a_faulty_store_fails_when_it_is_told_to() {
    let bench = Bench::new();
    let store = FaultyStore::new(MemoryStore::new(), bench.machine.watchdog());
    let file = bench.machine.inode(&store, 0);
    store.fail_next(Call::WriteBegin, Errno::Io);
    assert_eq!(bench.write(&file, 0, &[1; 10]), Err(Errno::Io));
    assert_eq!((bench.write(&file, 0, &[1; 10]), file.size()), (Ok(10), 10));
    store.fail(Call::Writeback, When::From(1), Errno::Io);
    assert_eq!(bench.fsync(&file), Err(Errno::Io));
    store.heal();
    assert_eq!(bench.fsync(&file), Ok(()));
    assert_eq!(store.inner().contents(), [1; 10]);
    store.shorten_grants(3);
    assert_eq!(bench.write(&file, 5000, &[2; 100]), Ok(100));
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let bench = Bench::new();
    let store = FaultyStore::new(MemoryStore::new(), bench.machine.watchdog());
    let file = bench.machine.inode(&store, 0);
    assert_eq!(bench.write(&file, 0, &[1; PAGE_SIZE]), Ok(PAGE_SIZE));
    bench.fsync(&file).expect("nothing fails");
    assert_eq!(bench.write(&file, 0, &[2; 3 * PAGE_SIZE]), Ok(3 * PAGE_SIZE));
    bench
        .machine
        .syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask))
        .expect("nothing fails");
    assert_eq!(store.inner().contents().first(), Some(&2));
    store.crash();
    assert_eq!(store.inner().contents(), [1; PAGE_SIZE]);
}

#[test]
fn reordered_writeback_arrives_by_the_next_sync_or_in_part() {
    let bench = Bench::new();
    let store = FaultyStore::new(MemoryStore::new(), bench.machine.watchdog());
    store.reorder(11);
    let file = bench.machine.inode(&store, 0);
    assert_eq!(bench.write(&file, 0, &[1; 8 * PAGE_SIZE]), Ok(8 * PAGE_SIZE));
    bench
        .machine
        .syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask))
        .expect("nothing fails");
    assert_eq!(store.inner().pages(), 0);
    bench.fsync(&file).expect("nothing fails");
    assert_eq!(store.inner().contents(), [1; 8 * PAGE_SIZE]);
    assert_eq!(bench.write(&file, 0, &[2; 8 * PAGE_SIZE]), Ok(8 * PAGE_SIZE));
    bench
        .machine
        .syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask))
        .expect("nothing fails");
    store.crash();
    let contents = store.inner().contents();
    assert!(
        contents.chunks(PAGE_SIZE).all(|page| page == [1; PAGE_SIZE] || page == [2; PAGE_SIZE])
    );
    assert!(contents.contains(&1) && contents.contains(&2), "some pages arrive and some do not");
}

#[test]
fn what_is_under_way_when_the_file_is_cut_off_arrives_cut_off() {
    let bench = Bench::new();
    let store = FaultyStore::new(BlockStore::new(PAGE_SIZE, 4), bench.machine.watchdog());
    store.reorder(11);
    let file = bench.machine.inode(&store, 0);
    assert_eq!(bench.write(&file, 0, &[1; 100]), Ok(100));
    bench
        .machine
        .syscall(|token| file.writeback(token, 0..u64::MAX, &NoTask))
        .expect("nothing fails");
    bench.space.sys_truncate(&file, 70).expect("a size");
    bench.space.sys_truncate(&file, 100).expect("a size");
    bench.fsync(&file).expect("nothing fails");
    let expected = [[1; 70].as_slice(), &[0; 30]].concat();
    assert_eq!(store.inner().contents(), expected, "P2");
}

#[test]
fn a_deferred_call_waits_until_it_is_released() {
    let bench = Bench::new();
    let store = FaultyStore::new(MemoryStore::new(), bench.machine.watchdog());
    let file = bench.machine.inode(&store, 0);
    assert_eq!(bench.write(&file, 0, &[1; 10]), Ok(10));
    store.defer(Call::Writeback);
    std::thread::scope(|scope| {
        let machine = &bench.machine;
        let syncing =
            scope.spawn(|| machine.syscall(|token| file.fsync(token, SyncKind::All, &NoTask)));
        while store.waiting() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(store.inner().pages(), 0);
        store.release(Call::Writeback);
        assert_eq!(syncing.join().expect("the thread"), Ok(()));
    });
    assert_eq!(store.inner().contents(), [1; 10]);
}

#[test]
fn a_store_lock_held_over_a_copy_is_found_without_a_hang() {
    let bench = Bench::new();
    let lock = StoreLock::new();
    let store = lock.around(MemoryStore::with_contents(&[1; PAGE_SIZE]));
    let file = bench.machine.inode(&store, PAGE_SIZE as u64);
    bench.space.map_file(0, 1, &file, PageIndex::ZERO, Protection::Read);
    // The fault handler takes the store's lock under the page's.
    assert_eq!(bench.space.read_vec(bench.space.at(0, 0), 1), Ok(vec![1]));
    let expected = bench.machine.check().expect();
    bench.machine.syscall(|token| {
        let _held = lock.lock();
        let from = bench.space.slice(0, 0, 1);
        copy_from_user(&bench.space, token, &mut [0], from).expect("the page is resident");
    });
    let report = expected.one(Kind::ReaderBehindQueuedWriter);
    assert!(report.text.contains("holds store("), "{report}");
}

#[test]
fn a_hook_can_refuse_note_and_leave_out_a_call() {
    let store = HookedStore::new(MemoryStore::new()).with_strategy(Strategy::PrepareCommit);
    assert_eq!(store.strategy(), Strategy::PrepareCommit);
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    store.hook(move |at, below| {
        let result = match at.call {
            Call::WriteBegin if at.pos > 0 => Err(Errno::NoSpace),
            Call::SetSize => Ok(()),
            _ => below(),
        };
        notes.lock().expect("no panic").push((at.call, at.pos, result));
        result
    });
    assert_eq!(store.write_begin(0, 10).map(|begun| begun.len), Ok(10));
    assert_eq!(store.write_begin(4096, 10), Err(Errno::NoSpace));
    store.set_size(7);
    store.unhook();
    store.set_size(5);
    assert_eq!(store.inner().size(), 5, "and never 7");
    let told = told.lock().expect("no panic");
    let begins = [(Call::WriteBegin, 0, Ok(())), (Call::WriteBegin, 4096, Err(Errno::NoSpace))];
    assert_eq!(*told, [&begins[..], &[(Call::SetSize, 7, Ok(()))]].concat());
}

#[test]
#[should_panic(expected = "is begun below")]
fn a_hook_that_leaves_a_beginning_out_and_does_not_fail_is_found() {
    let store = HookedStore::new(MemoryStore::new()).around(|_, _| Ok(()));
    let _ = store.write_begin(0, 10);
}
