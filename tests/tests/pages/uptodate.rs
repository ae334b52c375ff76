//! P1: a page is uptodate only when every byte of it is defined and as new as the store.

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, POISON, Protection, UserFault, When};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::strict::StrictStore;

balanced_on_both_mmus! {
    /// The store fails after it has filled half of the page: nobody may see that half as the page.
    fn p1_a_failed_read_leaves_the_page_not_uptodate(machine) {
        let content = pattern(1, 3 * PAGE_SIZE);
        let store = StrictStore::with_contents(512, Strategy::BeginEnd, &content);
        let (process, file) = (Process::new(machine), machine.inode(&store, 3 * PAGE));
        store.fail(|failures| failures.read.extend([1]));
        assert_eq!(process.read(&file, PAGE + 5, 10), Err(Errno::Io));
        assert_bytes(&process.read(&file, 0, 3 * PAGE_SIZE).unwrap(), &content[..PAGE_SIZE], "a prefix");
        let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
        let second = addr.wrapping_add(PAGE_SIZE);
        assert_eq!(process.byte(second), Err(UserFault::Error(Errno::Io)));
        assert_eq!(process.space.store(second, b"x"), Err(UserFault::Error(Errno::Io)));
        store.fail(|failures| failures.read.clear());
        assert_bytes(&process.contents(&file), &content, "once the store answers");
        assert_eq!(process.byte(second), Ok(content[PAGE_SIZE]));
    }

    /// Further pages are left for later when one is bad; a single one is not asked for twice, which
    /// would hide the error.
    fn w4_a_store_that_fails_once_is_heard_by_a_read_of_one_page(machine) {
        let content = pattern(1, 2 * PAGE_SIZE);
        let store = FaultyStore::new(MemoryStore::with_contents(&content), machine.watchdog());
        let (process, file) = (Process::new(machine), machine.inode(&store, 2 * PAGE));
        store.fail_next(Call::Read, Errno::Io);
        assert_eq!((process.read(&file, 5, 10), store.count(Call::Read)), (Err(Errno::Io), 1));
        assert_bytes(&process.contents(&file), &content, "afterwards");
    }

    fn p1_a_partial_write_to_an_unreadable_page_changes_nothing(machine) {
        for strategy in STRATEGIES {
            let content = pattern(2, 2 * PAGE_SIZE);
            let store = StrictStore::with_contents(1024, strategy, &content);
            let (process, file) = (Process::new(machine), machine.inode(&store, 2 * PAGE));
            store.fail(|failures| failures.read.extend([0]));
            assert_eq!(process.write(&file, 10, b"abc"), Err(Errno::Io), "{strategy:?}");
            store.fail(|failures| failures.read.clear());
            assert_bytes(&process.contents(&file), &content, "nothing landed");
            store.assert_balanced();
        }
    }

    /// A write that covers the page needs no read, so the bad block does not matter; a short one
    /// would have.
    fn p1_a_page_that_is_wholly_replaced_is_uptodate_without_a_read(machine) {
        for strategy in STRATEGIES {
            let store = StrictStore::with_contents(4096, strategy, &pattern(3, 2 * PAGE_SIZE));
            let (process, file) = (Process::new(machine), machine.inode(&store, 2 * PAGE));
            store.fail(|failures| failures.read.extend([0]));
            let new = pattern(90, PAGE_SIZE);
            assert_eq!(process.write(&file, 0, &new), Ok(PAGE_SIZE), "{strategy:?}");
            assert_eq!(store.calls().reads, 0, "{strategy:?}");
            assert_bytes(&process.read(&file, 0, PAGE_SIZE).unwrap(), &new, "the new page");
        }
    }

    /// Every k: a copy that stops after k bytes in a page that was to be replaced as a whole.
    /// Neither poison nor the frame's earlier life may ever be seen, and the store's bytes must
    /// come back.
    fn p1_a_short_copy_into_a_fresh_page_never_exposes_the_frame(machine) {
        let old = pattern(4, PAGE_SIZE);
        for strategy in STRATEGIES {
            for short in [0, 1, 7, 8, 63, 64, 2047, 4088, 4095] {
                let store = StrictStore::with_contents(512, strategy, &old);
                let (process, file) = (Process::new(machine), machine.inode(&store, PAGE));
                let new = pattern(77, PAGE_SIZE);
                process.space.store(process.space.at(0, PAGE_SIZE - short), &new[..short]).unwrap();
                // Only `short` bytes of the source are there for good.
                process.space.unmap(1, 1);
                let source = process.space.slice(0, PAGE_SIZE - short, PAGE_SIZE);
                let options = WriteOptions::at(0).with_strategy(strategy);
                let result = process.write_from(&file, source, &options);
                process.space.map_anonymous(1, 1, Protection::ReadWrite);
                let landed = if short == 0 { Err(Errno::Fault) } else { Ok(short) };
                assert_eq!(result, landed, "{strategy:?}, {short} bytes");
                let mut want = old.clone();
                want[..short].copy_from_slice(&new[..short]);
                assert_bytes(&process.contents(&file), &want, "old and new bytes");
                make_cold(&file);
                assert_bytes(&store.contents(), &want, "in the store");
            }
        }
    }

    fn p1_a_short_copy_into_a_hole_leaves_zeros_around_it(machine) {
        for strategy in STRATEGIES {
            for short in [1, 100, 4095] {
                let store = StrictStore::new(512, strategy);
                let (process, file) = (Process::new(machine), machine.inode(&store, 0));
                set_size(&file, 4 * PAGE).unwrap();
                process.space.fill(process.space.at(0, PAGE_SIZE - short), 0x77, short).unwrap();
                process.space.unmap(1, 1);
                let source = process.space.slice(0, PAGE_SIZE - short, 2000 + short);
                let options = WriteOptions::at(PAGE + 50).with_strategy(strategy);
                let result = process.write_from(&file, source, &options);
                process.space.map_anonymous(1, 1, Protection::ReadWrite);
                assert_eq!(result, Ok(short), "{strategy:?}");
                let mut want = vec![0; 4 * PAGE_SIZE];
                want[PAGE_SIZE + 50..PAGE_SIZE + 50 + short].fill(0x77);
                assert_bytes(&process.contents(&file), &want, "zeros and the new bytes");
                make_cold(&file);
                assert_bytes(&process.contents(&file), &want, "the same from the store");
            }
        }
    }

    /// The reader looks between the failed copy and the retry: it must not find a page that is not
    /// finished (W5).
    fn p1_between_a_short_copy_and_its_retry_the_page_reads_as_before(machine) {
        let old = pattern(5, PAGE_SIZE);
        let store = StrictStore::with_contents(512, Strategy::BeginEnd, &old);
        let (process, file) = (Process::new(machine), machine.inode(&store, PAGE));
        let other = Process::new(machine);
        process.space.script().add(Event::AtomicCopy, When::Nth(1), Action::Short(0));
        process.space.script().add(Event::AtomicCopy, When::Nth(2), Action::Short(9));
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let look = {
            let (seen, file) = (std::sync::Arc::clone(&seen), std::sync::Arc::clone(&file));
            move |_| {
                let (other, file) = (other.clone(), std::sync::Arc::clone(&file));
                let look = faultless_tests::threads::spawn(move || other.contents(&file));
                seen.lock().unwrap().push(look.join().expect("the reader"));
            }
        };
        let look = Action::Call(std::sync::Arc::new(look));
        process.space.script().add(Event::FaultIn, When::From(1), look);
        let new = pattern(66, PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &new), Ok(PAGE_SIZE));
        process.space.script().clear();
        for seen in &*seen.lock().unwrap() {
            for (at, byte) in seen.iter().enumerate() {
                assert!(*byte == old[at] || *byte == new[at], "byte {at} is {byte:02x}");
            }
        }
        assert_bytes(&process.contents(&file), &new, "at the end");
    }

    /// Frames are recycled with poison in them. Holes, tails and fresh pages must never show it.
    fn p1_recycled_frames_never_show_through(machine = faultless_host::MachineConfig::new().frames(400)) {
        let store = StrictStore::new(1024, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        for round in 0..20_u64 {
            set_size(&file, 0).unwrap();
            set_size(&file, 40 * PAGE).unwrap();
            for page in (0..40).step_by(3) {
                let pos = page * PAGE + 100 + round;
                assert_eq!(process.write(&file, pos, &[0x11; 30]), Ok(30));
            }
            let bytes = process.contents(&file);
            assert_eq!(bytes.len(), 40 * PAGE_SIZE);
            assert!(bytes.iter().all(|&byte| byte == 0 || byte == 0x11), "round {round}");
            assert!(!bytes.contains(&POISON), "round {round}");
        }
    }

    /// Bytes that a mapping stores into a page under a read of the page are not lost: it is read
    /// once.
    fn p1_an_uptodate_page_is_never_read_again(machine) {
        let content = pattern(6, PAGE_SIZE);
        let store = StrictStore::with_contents(4096, Strategy::BeginEnd, &content);
        let (process, file) = (Process::new(machine), machine.inode(&store, PAGE));
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        process.space.store(addr, b"mine").unwrap();
        for _ in 0..3 {
            assert_eq!(process.write(&file, 100, b"more"), Ok(4));
            let _ = process.read(&file, 0, PAGE_SIZE).unwrap();
            evict(&file);
        }
        assert_eq!(store.calls().reads, 1);
        fsync(&file).unwrap();
        assert_eq!(evict(&file), 1);
        assert_eq!(&process.read(&file, 0, 4).unwrap(), b"mine");
        assert_eq!(store.calls().reads, 2);
    }
}
