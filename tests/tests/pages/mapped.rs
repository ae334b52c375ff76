//! Mapped files: faults that read and that write, signals, coherence with read and write, eviction,
//! and frames that outlive their place in the file.

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{Protection, UserFault, counting};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size, writeback,
};
use faultless_tests::strict::StrictStore;

balanced_on_both_mmus! {
    fn p1_a_load_from_a_hole_is_zero_and_makes_nothing_dirty(machine) {
        let store = StrictStore::new(1024, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        set_size(&file, 3 * PAGE).unwrap();
        let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
        let bytes = process.space.read_vec(addr, 3 * PAGE_SIZE).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
        fsync(&file).unwrap();
        assert_eq!((store.blocks(), store.calls().written_back, store.calls().begins), (0, 0, 0));
    }

    /// mkwrite: the store is asked for room before the first store, and the bytes arrive there.
    fn w9_a_store_to_a_hole_gets_room_first(machine) {
        for block in [512, 4096] {
            let store = StrictStore::new(block, Strategy::BeginEnd);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            set_size(&file, 2 * PAGE + 100).unwrap();
            let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
            assert_eq!(process.byte(addr), Ok(0));
            process.space.store(addr.wrapping_add(PAGE_SIZE + 7), b"page one").unwrap();
            process.space.store(addr.wrapping_add(2 * PAGE_SIZE), b"the end").unwrap();
            let end = PAGE_SIZE / block + 100_usize.div_ceil(block);
            assert_eq!(store.blocks(), end, "room up to the end of the file, in {block}");
            make_cold(&file);
            assert_eq!(&process.read(&file, PAGE + 7, 8).unwrap(), b"page one");
            assert_eq!(&process.read(&file, 2 * PAGE, 7).unwrap(), b"the end");
            assert_eq!(store.stray(file.size()), None);
            store.assert_balanced();
        }
    }

    /// What the store said when the page became writable holds for whoever writes to the page
    /// later.
    fn w9_a_page_that_got_room_by_a_store_through_a_mapping_asks_for_none_when_written(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        set_size(&file, 3 * PAGE).unwrap();
        let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
        process.space.fill(addr, 7, 3 * PAGE_SIZE).unwrap();
        assert_eq!(store.calls().begins, 3);
        let bytes = pattern(1, 3 * PAGE_SIZE - 20);
        assert_eq!(process.write(&file, 10, &bytes), Ok(bytes.len()));
        assert_eq!(store.calls().begins, 3);
        make_cold(&file);
        assert_bytes(&process.read(&file, 10, bytes.len()).unwrap(), &bytes, "from the store");
    }

    fn w9_a_store_is_refused_when_the_store_is_full_and_a_load_is_not(machine) {
        let store = StrictStore::new(4096, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        set_size(&file, 4 * PAGE).unwrap();
        let addr = process.map(FREE, 4, &file, 0, Protection::ReadWrite);
        store.fail(|failures| failures.capacity = Some(1));
        process.space.store(addr, b"fits").unwrap();
        let second = addr.wrapping_add(PAGE_SIZE);
        let full = Err(UserFault::Error(Errno::NoSpace));
        assert_eq!(process.space.store(second, b"no"), full);
        assert_eq!(process.byte(second), Ok(0));
        assert_eq!(process.space.store(second, b"no"), full);
        fsync(&file).unwrap();
        assert_eq!(&process.read(&file, 0, 5).unwrap(), b"fits\0");
        store.fail(|failures| failures.capacity = None);
        process.space.store(second, b"yes").unwrap();
        store.assert_balanced();
    }

    /// A file that grew inside the page needs room for the new blocks although the page was
    /// writable already.
    fn c11_growth_inside_a_writable_page_asks_the_store_again(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, b"x"), Ok(1));
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        process.space.store(addr, b"y").unwrap();
        assert_eq!(store.blocks(), 1);
        set_size(&file, 3000).unwrap();
        process.space.store(addr.wrapping_add(2900), b"far").unwrap();
        // The strict store panics at data without room.
        make_cold(&file);
        assert_eq!(&process.read(&file, 2900, 3).unwrap(), b"far");
        assert_eq!(process.write(&file, 3500, b"z"), Ok(1));
        process.space.store(addr.wrapping_add(3100), b"gap").unwrap();
        make_cold(&file);
        assert_eq!(&process.read(&file, 3100, 3).unwrap(), b"gap");
    }

    /// Room that the store has promised stays, and so does a writable mapping.
    fn w9_a_size_that_stays_as_it_is_takes_nothing_from_anybody(machine) {
        for size in [PAGE, PAGE + 100] {
            let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(1, size as usize)), Ok(size as usize));
            let addr = process.map(FREE, 2, &file, 0, Protection::ReadWrite);
            let end = addr.wrapping_add(size as usize - 1);
            process.space.store(end, b"x").unwrap();
            let before = [Call::WriteBegin, Call::TruncateBlocks].map(|call| store.count(call));
            set_size(&file, size).unwrap();
            let (stored, counted) = counting(|| process.space.store(end, b"y"));
            assert_eq!((stored, counted.faults), (Ok(()), 0), "{size}");
            assert_eq!(process.write(&file, size - 5, b"z"), Ok(1));
            assert_eq!([Call::WriteBegin, Call::TruncateBlocks].map(|call| store.count(call)), before);
        }
    }

    fn p6_an_access_wholly_past_the_end_is_a_bus_error(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
        for (size, pages) in [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2), (3 * PAGE, 3), (PAGE, 1)] {
            set_size(&file, size).unwrap();
            for page in 0..3 {
                let at = addr.wrapping_add(page * PAGE_SIZE + 77);
                let load = process.byte(at).map(|_| ());
                let want = if page < pages { Ok(()) } else { Err(UserFault::Bus) };
                assert_eq!((load, process.space.store(at, b"s")), (want, want), "{size} {page}");
            }
        }
    }

    fn p2_stores_and_reads_and_writes_see_each_other(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            assert_eq!(process.write(&file, 0, &pattern(1, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
            let addr = process.map(FREE, 2, &file, 0, Protection::ReadWrite);
            let second = process.map(FREE + 4, 1, &file, 1, Protection::Read);
            for round in 0..5_u8 {
                let at = 4090 + u64::from(round);
                process.space.store(addr.wrapping_add(at as usize), &[round, round + 1]).unwrap();
                assert_eq!(process.read(&file, at, 2), Ok(vec![round, round + 1]));
                let options = WriteOptions::at(PAGE + 10).with_strategy(strategy);
                assert_eq!(process.write_with(&file, &[round + 100; 30], &options), Ok(30));
                assert_eq!(process.byte(second.wrapping_add(39)), Ok(round + 100));
                if round % 2 == 1 {
                    make_cold(&file);
                }
            }
        }
    }

    /// Two address spaces map one page: one frame.
    fn p5_processes_share_the_pages_of_a_file(machine) {
        let file = machine.inode(&MemoryStore::new(), PAGE);
        let (one, two) = (Process::new(machine), Process::new(machine));
        let (a, b) = [&one, &two].map(|p| p.map(FREE, 1, &file, 0, Protection::ReadWrite)).into();
        one.space.store(a, b"one").unwrap();
        assert_eq!(two.space.read_vec(b, 3).unwrap(), b"one");
        two.space.store(b, b"two").unwrap();
        fsync(&file).unwrap();
        assert_eq!(evict(&file), 1);
        assert_eq!(one.space.read_vec(a, 3).unwrap(), b"two");
    }

    fn p6_truncation_takes_pages_out_of_every_mapping(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let other = Process::new(machine);
        assert_eq!(process.write(&file, 0, &pattern(2, 5 * PAGE_SIZE)), Ok(5 * PAGE_SIZE));
        let addr = process.map(FREE, 5, &file, 0, Protection::ReadWrite);
        let middle = other.map(FREE, 2, &file, 2, Protection::Read);
        process.space.populate(FREE, 5).unwrap();
        other.space.populate(FREE, 2).unwrap();
        set_size(&file, 2 * PAGE + 10).unwrap();
        assert_eq!(process.byte(addr.wrapping_add(PAGE_SIZE)), Ok(pattern(2, PAGE_SIZE + 1)[PAGE_SIZE]));
        assert_eq!(process.byte(addr.wrapping_add(3 * PAGE_SIZE)), Err(UserFault::Bus));
        assert_eq!(other.byte(middle.wrapping_add(PAGE_SIZE)), Err(UserFault::Bus));
        assert_eq!(other.byte(middle.wrapping_add(10)), Ok(0));
        // And up again: zeros, not what was there.
        set_size(&file, 5 * PAGE).unwrap();
        assert_eq!(process.byte(addr.wrapping_add(3 * PAGE_SIZE)), Ok(0));
        assert_eq!(other.byte(middle.wrapping_add(PAGE_SIZE)), Ok(0));
    }

    /// Clean pages go although they are mapped, and come back with the same bytes.
    fn p6_clean_mapped_pages_are_evicted_and_come_back(machine) {
        let content = pattern(3, 70 * PAGE_SIZE);
        let store = StrictStore::with_contents(4096, Strategy::BeginEnd, &content);
        let (process, file) = (Process::new(machine), machine.inode(&store, 70 * PAGE));
        let addr = process.map(FREE, 70, &file, 0, Protection::ReadWrite);
        for round in 0..3 {
            let bytes = process.space.read_vec(addr, 70 * PAGE_SIZE).unwrap();
            assert_bytes(&bytes, &content, &format!("round {round}"));
            assert_eq!(evict(&file), 70);
            assert!(!process.space.is_resident(FREE) && !process.space.is_resident(FREE + 69));
        }
        // Dirty pages stay.
        process.space.store(addr.wrapping_add(5 * PAGE_SIZE), b"dirty").unwrap();
        let _ = process.space.read_vec(addr, 70 * PAGE_SIZE).unwrap();
        assert_eq!(evict(&file), 69);
        assert_eq!(process.space.read_vec(addr.wrapping_add(5 * PAGE_SIZE), 5).unwrap(), b"dirty");
    }

    fn p6_a_file_whose_only_copy_is_the_cache_is_never_evicted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::volatile(), 0));
        let content = pattern(4, 3 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(3 * PAGE_SIZE));
        fsync(&file).unwrap();
        assert_eq!(evict(&file), 0);
        assert_bytes(&process.contents(&file), &content, "still there");
    }

    /// What one page table still shows belongs to it, whoever gets the place in the file.
    fn p5_frames_outlive_the_file_that_is_still_mapped(machine) {
        let process = Process::new(machine);
        let addr = {
            let file = machine.inode(&MemoryStore::new(), 0);
            assert_eq!(process.write(&file, 0, &pattern(5, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
            process.map(FREE, 2, &file, 0, Protection::ReadWrite)
        };
        // The file has no name and no handle left but the mapping.
        process.space.store(addr, b"alive").unwrap();
        let recycler = machine.inode(&MemoryStore::new(), 0);
        assert_eq!(process.write(&recycler, 0, &vec![0x99; 100 * PAGE_SIZE]), Ok(100 * PAGE_SIZE));
        assert_eq!(process.space.read_vec(addr, 5).unwrap(), b"alive");
        process.space.unmap(FREE, 2);
        assert_eq!(process.byte(addr), Err(UserFault::Segv));
    }

    /// The second store to a writable page costs no fault, the first after a writeback does.
    fn p1_stores_fault_once_until_the_page_is_cleaned(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), PAGE));
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        let store = |byte: u8| counting(|| process.space.store(addr, &[byte]).unwrap()).1.faults;
        assert_eq!((store(1), store(2)), (1, 0));
        writeback(&file, 0..PAGE).unwrap();
        assert_eq!((store(3), store(4)), (1, 0));
        process.space.protect(FREE, 1, Protection::Read);
        assert_eq!(process.space.store(addr, b"x"), Err(UserFault::Segv));
        process.space.protect(FREE, 1, Protection::ReadWrite);
        assert_eq!(store(5), 1);
        assert_eq!(process.read(&file, 0, 1), Ok(vec![5]));
    }

    fn p3_mlock_of_a_cold_file_brings_everything_in(machine) {
        let content = pattern(6, 10 * PAGE_SIZE);
        let store = StrictStore::with_contents(4096, Strategy::BeginEnd, &content);
        let (process, file) = (Process::new(machine), machine.inode(&store, 10 * PAGE));
        let addr = process.map(FREE, 12, &file, 0, Protection::Read);
        assert_eq!(process.space.populate(FREE, 12), Err(UserFault::Bus));
        assert!((0..10).all(|page| process.space.is_resident(FREE + page)));
        let (bytes, counted) = counting(|| process.space.read_vec(addr, 10 * PAGE_SIZE).unwrap());
        assert_eq!(counted.faults, 0);
        assert_bytes(&bytes, &content, "what was there");
    }
}
