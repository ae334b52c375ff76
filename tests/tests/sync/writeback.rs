//! Writeback, fsync, fdatasync and msync: what is durable afterwards, and who hears of an error,
//! and how often (W4, W11, P1, P2).

use faultless::filemap::{
    MsyncKind, NoTask, OpenFile, OpenFlags, Strategy, SyncKind, WriteOptions,
};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless_host::stores::{BlockStore, Call, FaultyStore, FileStore, MemoryStore};
use faultless_host::{Protection, syscall};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size,
    temporary_file, writeback,
};
use faultless_tests::strict::StrictStore;
use faultless_tests::waiting::until;

fn msync(file: &File, range: std::ops::Range<u64>, kind: MsyncKind) -> Result<(), Errno> {
    syscall(|token| file.msync(token, range, kind, &NoTask))
}

type Sync = fn(&File) -> Result<(), Errno>;

/// How bytes are made durable.
const SYNCS: [Sync; 3] = [
    |file| syscall(|token| file.fsync(token, SyncKind::All, &NoTask)),
    |file| syscall(|token| file.fsync(token, SyncKind::Data, &NoTask)),
    |file| msync(file, 0..u64::MAX, MsyncKind::Sync),
];

balanced_on_both_mmus! {
    fn p1_writes_and_stores_are_durable_after_each_kind_of_sync(machine) {
        for sync in SYNCS {
            let (memory, blocks) = (MemoryStore::new(), BlockStore::new(512, 1000));
            let host = temporary_file();
            let on_disk = FileStore::new(host.try_clone().unwrap()).unwrap();
            let files =
                [machine.inode(&memory, 0), machine.inode(&blocks, 0), machine.inode(&on_disk, 0)];
            let process = Process::new(machine);
            let mut want = pattern(1, 66 * PAGE_SIZE + 123);
            for file in &files {
                assert_eq!(process.write(file, 0, &want), Ok(want.len()));
                let addr = process.map(FREE, 67, file, 0, Protection::ReadWrite);
                process.space.store(addr.wrapping_add(5000), b"through a mapping").unwrap();
                sync(file).unwrap();
            }
            want[5000..5017].copy_from_slice(b"through a mapping");
            assert_bytes(&memory.contents(), &want, "memory");
            assert_bytes(&blocks.contents(), &want, "blocks");
            assert_eq!(blocks.complaints(), Vec::<String>::new());
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut { rewind(host) }, &mut bytes).unwrap();
            assert_bytes(&bytes, &want, "a real file");
            for file in &files {
                make_cold(file);
                assert_bytes(&process.contents(file), &want, "read back");
            }
        }
    }

    /// A crash right after the sync loses nothing that was written before it.
    fn p1_what_was_synced_survives_a_crash(machine) {
        for seed in 0..10 {
            let store = FaultyStore::new(BlockStore::new(1024, 2000), machine.watchdog());
            let process = Process::new(machine);
            let content = pattern(2, 9 * PAGE_SIZE);
            {
                let file = machine.inode(&store, 0);
                store.reorder(seed);
                assert_eq!(process.write(&file, 0, &content), Ok(9 * PAGE_SIZE));
                fsync(&file).unwrap();
                assert_eq!(process.write(&file, 4 * PAGE, &pattern(88, 20_000)), Ok(20_000));
                writeback(&file, 0..u64::MAX).unwrap();
            }
            store.crash();
            let file = machine.inode(&store, store.inner().size());
            let bytes = process.contents(&file);
            assert!(bytes.len() >= 9 * PAGE_SIZE, "{}", bytes.len());
            assert_bytes(&bytes[..4 * PAGE_SIZE], &content[..4 * PAGE_SIZE], "synced and untouched");
            let new = pattern(88, 20_000);
            for (at, byte) in bytes[4 * PAGE_SIZE..9 * PAGE_SIZE].iter().enumerate() {
                let old = content[4 * PAGE_SIZE + at];
                assert!(*byte == old || Some(byte) == new.get(at), "byte {at} after the crash");
            }
        }
    }

    fn w4_an_error_of_writeback_is_reported_once_by_fsync(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        let content = pattern(3, 5 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(5 * PAGE_SIZE));
        store.fail(|failures| failures.writeback.extend([2]));
        assert_eq!(writeback(&file, 0..u64::MAX), Err(Errno::Io));
        store.fail(|failures| failures.writeback.clear());
        assert_eq!(fsync(&file), Err(Errno::Io), "the next fsync says so");
        assert_eq!(fsync(&file), Ok(()), "and only the next");
        assert_bytes(&store.contents(), &content, "dirty again, and sent again");
        assert_eq!(evict(&file), 5);
    }

    fn f2_each_of_two_open_files_is_told_of_a_failure_once(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        let mut open = [(); 2].map(|()| OpenFile::new(&file, OpenFlags::empty()));
        for _ in 0..2 {
            assert_eq!(process.write(&file, 0, b"a page"), Ok(6));
            store.fail(|failures| failures.writeback.extend([0]));
            assert_eq!(writeback(&file, 0..u64::MAX), Err(Errno::Io));
            store.fail(|failures| failures.writeback.clear());
            for told in [Err(Errno::Io), Ok(())] {
                for open in &mut open {
                    let synced = syscall(|token| open.fsync(&file, token, SyncKind::All, &NoTask));
                    assert_eq!(synced, told);
                }
            }
        }
    }

    fn w4_an_error_of_fsyncs_own_writeback_is_reported_once(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(4, 130 * PAGE_SIZE)), Ok(130 * PAGE_SIZE));
        store.fail(|failures| failures.writeback.extend([70]));
        assert_eq!(fsync(&file), Err(Errno::Io));
        // The other leaves were sent all the same.
        assert_bytes(&store.contents()[..64 * PAGE_SIZE], &pattern(4, 64 * PAGE_SIZE), "the first leaf");
        assert_eq!(fsync(&file), Err(Errno::Io), "still failing");
        store.fail(|failures| failures.writeback.clear());
        assert_eq!((fsync(&file), fsync(&file)), (Ok(()), Ok(())));
        assert_bytes(&store.contents(), &pattern(4, 130 * PAGE_SIZE), "all of it");
    }

    fn w4_an_error_of_the_stores_sync_is_reported_once(machine) {
        for kind in [SyncKind::Data, SyncKind::All] {
            let store = StrictStore::new(4096, Strategy::BeginEnd);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, b"x"), Ok(1));
            store.fail(|failures| failures.sync = Some(Errno::NoSpace));
            assert_eq!(syscall(|token| file.fsync(token, kind, &NoTask)), Err(Errno::NoSpace));
            assert_eq!(syscall(|token| file.fsync(token, kind, &NoTask)), Ok(()));
        }
    }

    /// Museum S5: the error of an O_SYNC write is not lost after progress, and is not told twice.
    fn w11_a_synchronous_write_reports_its_writebacks_error(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        store.fail(|failures| failures.writeback.extend([0]));
        let options = WriteOptions::at(0).with_sync(SyncKind::Data);
        assert_eq!(process.write_with(&file, b"data", &options), Err(Errno::Io));
        assert_eq!(file.size(), 4, "it landed all the same");
        store.fail(|failures| failures.writeback.clear());
        assert_eq!(fsync(&file), Ok(()));
        assert_eq!(process.write_with(&file, b"more", &options), Ok(4));
        assert_eq!(store.contents(), b"more");
        assert_eq!(store.calls().syncs, 3);
    }

    fn w11_a_synchronous_write_sends_its_own_pages_only(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(5, 10 * PAGE_SIZE)), Ok(10 * PAGE_SIZE));
        let options = WriteOptions::at(3 * PAGE + 4000).with_sync(SyncKind::All);
        assert_eq!(process.write_with(&file, &[1; 200], &options), Ok(200));
        assert_eq!(store.calls().written_back, 2);
    }

    /// Write-protected at writeback: the store that comes later makes the page dirty again, and
    /// none is lost.
    fn p1_a_store_after_writeback_makes_the_page_dirty_again(machine) {
        let store = StrictStore::new(1024, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(6, PAGE_SIZE)), Ok(PAGE_SIZE));
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        for round in 1..10_u8 {
            process.space.store(addr.wrapping_add(round as usize), &[round]).unwrap();
            fsync(&file).unwrap();
            assert_eq!(store.contents()[round as usize], round);
        }
        let before = store.calls().written_back;
        fsync(&file).unwrap();
        assert_eq!(store.calls().written_back, before, "clean pages are not sent");
    }

    /// The store is in the middle of the writeback when the bytes change: the page is dirty
    /// afterwards.
    fn p1_a_write_during_writeback_is_sent_by_the_next_one(machine) {
        for by_mapping in [false, true] {
            let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(7, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
            let addr = process.map(FREE, 2, &file, 0, Protection::ReadWrite);
            store.defer(Call::Writeback);
            let sender = {
                let file = std::sync::Arc::clone(&file);
                faultless_tests::threads::spawn(move || writeback(&file, 0..u64::MAX).unwrap())
            };
            until("a call of the store stands still", || store.waiting() > 0);
            // Nobody waits for the writeback to write to the page, or to read it.
            match by_mapping {
                true => process.space.store(addr.wrapping_add(100), b"late").unwrap(),
                false => assert_eq!(process.write(&file, 100, b"late"), Ok(4)),
            }
            assert_eq!(&process.read(&file, 100, 4).unwrap(), b"late");
            assert_eq!(evict(&file), 0, "pages under writeback stay");
            store.release(Call::Writeback);
            sender.join().unwrap();
            fsync(&file).unwrap();
            assert_eq!(&store.inner().contents()[100..104], b"late");
        }
    }

    /// Truncation waits for pages that are on their way, so that the blocks are still theirs.
    fn p6_truncation_waits_for_the_writeback_of_what_it_cuts(machine) {
        // With and without a last page that is cut in two.
        for size in [PAGE + 5, PAGE] {
            let store = FaultyStore::new(BlockStore::new(512, 1000), machine.watchdog());
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(8, 5 * PAGE_SIZE)), Ok(5 * PAGE_SIZE));
            store.defer(Call::Writeback);
            let spawn = |work: fn(&File, u64)| {
                let file = std::sync::Arc::clone(&file);
                faultless_tests::threads::spawn(move || work(&file, size))
            };
            let sender = spawn(|file, _| writeback(file, 0..u64::MAX).unwrap());
            until("a call of the store stands still", || store.waiting() > 0);
            let cutter = spawn(|file, size| set_size(file, size).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert_eq!(store.count(Call::TruncateBlocks), 0, "blocks were given back under a writeback");
            store.release(Call::Writeback);
            sender.join().unwrap();
            cutter.join().unwrap();
            assert_eq!(store.inner().blocks_past(file.size()), 0);
            assert_eq!(store.inner().complaints(), Vec::<String>::new());
            make_cold(&file);
            assert_bytes(&process.contents(&file), &pattern(8, size as usize), "what is left");
        }
    }

    /// fsync waits for a writeback that somebody else began.
    fn p1_fsync_waits_for_pages_that_are_on_their_way(machine) {
        let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, b"on its way"), Ok(10));
        store.defer(Call::Writeback);
        let spawn = |work: fn(&File)| {
            let file = std::sync::Arc::clone(&file);
            faultless_tests::threads::spawn(move || work(&file))
        };
        let sender = spawn(|file| writeback(file, 0..u64::MAX).unwrap());
        until("a call of the store stands still", || store.waiting() > 0);
        let syncer = spawn(|file| fsync(file).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!((syncer.is_finished(), store.count(Call::Sync)), (false, 0));
        store.release(Call::Writeback);
        syncer.join().unwrap();
        sender.join().unwrap();
        assert_eq!(store.inner().contents(), b"on its way");
    }

    /// A dirty page that truncation has cut off and not yet reached is sent to nobody.
    fn p2_a_page_that_is_wholly_past_the_end_is_clean_without_the_store(machine) {
        let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, PAGE, b"in the way"), Ok(10));
        store.defer(Call::Writeback);
        let spawn = |work: fn(&File)| {
            let file = std::sync::Arc::clone(&file);
            faultless_tests::threads::spawn(move || work(&file))
        };
        let sender = spawn(|file| writeback(file, PAGE..2 * PAGE).unwrap());
        until("a call of the store stands still", || store.waiting() > 0);
        assert_eq!(process.write(&file, 70 * PAGE, b"cut off"), Ok(7));
        // It comes to page 1 first, and waits for its writeback.
        let cutter = spawn(|file| set_size(file, 100).unwrap());
        until("the size is set", || file.size() <= 100);
        assert_eq!(writeback(&file, 70 * PAGE..71 * PAGE), Ok(()));
        assert_eq!(store.count(Call::Writeback), 1);
        store.release(Call::Writeback);
        sender.join().unwrap();
        cutter.join().unwrap();
        assert_eq!(process.contents(&file).len(), 100);
    }

    /// Of a page of one leaf that was stored to past the end, the end of the file in another leaf
    /// knows nothing.
    fn p2_a_scribble_is_zeroed_in_the_page_where_the_file_ends_and_nowhere_else(machine) {
        for last in [0, 2, 63, 64] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            let size = last * PAGE_SIZE + 100;
            let mut want = pattern(5, size);
            assert_eq!(process.write(&file, 0, &want), Ok(size));
            fsync(&file).unwrap();
            let addr = process.map(FREE, last + 1, &file, 0, Protection::ReadWrite);
            // Page 1 stays clean, so that the pages around it are sent one after the other.
            for page in [0, 62, last] {
                if page <= last {
                    process.space.store(addr.wrapping_add(page * PAGE_SIZE + 7), b"data").unwrap();
                    want[page * PAGE_SIZE + 7..][..4].copy_from_slice(b"data");
                }
            }
            process.space.store(addr.wrapping_add(size), b"scribble").unwrap();
            fsync(&file).unwrap();
            set_size(&file, (last as u64 + 1) * PAGE).unwrap();
            want.resize((last + 1) * PAGE_SIZE, 0);
            assert_bytes(&process.contents(&file), &want, &format!("from the cache, {last}"));
            make_cold(&file);
            assert_bytes(&process.contents(&file), &want, &format!("from the store, {last}"));
        }
    }

    fn p1_msync_async_sends_nothing_and_sync_sends_its_range(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        set_size(&file, 6 * PAGE).unwrap();
        let addr = process.map(FREE, 6, &file, 0, Protection::ReadWrite);
        process.space.fill(addr, 7, 6 * PAGE_SIZE).unwrap();
        msync(&file, 0..6 * PAGE, MsyncKind::Async).unwrap();
        assert_eq!(store.calls().written_back, 0);
        msync(&file, PAGE..3 * PAGE, MsyncKind::Sync).unwrap();
        assert_eq!(store.calls().written_back, 2);
        msync(&file, 0..6 * PAGE, MsyncKind::Sync).unwrap();
        assert_eq!(store.calls().written_back, 6);
    }

    /// A page that cannot be sent stays dirty and readable, and keeps the file from nothing else.
    fn w4_a_page_that_fails_to_go_is_neither_lost_nor_in_the_way(machine) {
        let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        let content = pattern(9, 3 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(3 * PAGE_SIZE));
        store.fail_page(Call::Writeback, PageIndex::new(1), Errno::Io);
        for _ in 0..3 {
            assert_eq!(fsync(&file), Err(Errno::Io));
            evict(&file);
            assert_bytes(&process.contents(&file), &content, "still there");
        }
        set_size(&file, PAGE).unwrap();
        assert_eq!(fsync(&file), Ok(()), "the bad page is gone");
    }
}

fn rewind(mut file: std::fs::File) -> std::fs::File {
    std::io::Seek::rewind(&mut file).expect("to rewind");
    file
}
