//! P6: between looking a page up and locking it, truncation, eviction and invalidation may come.
//! P7: the size is one word that grows under the lock of the page that makes it grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless_host::rng::{Rng, seed};
use faultless_host::stores::{BlockStore, Call, FaultyStore, MemoryStore};
use faultless_host::{Action, Event, Protection, UserFault, When};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size, writeback,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::stress::{Job, Loop, against, rounds};
use faultless_tests::strict::StrictStore;
use faultless_tests::waiting::until;

/// An action of a script that runs `work` on another thread and waits for it.
fn elsewhere(file: &File, work: impl Fn(&File) + Send + Sync + Clone + 'static) -> Action {
    let file = Arc::clone(file);
    Action::Call(Arc::new(move |_| {
        let (file, work) = (Arc::clone(&file), work.clone());
        faultless_tests::threads::spawn(move || work(&file)).join().expect("the other thread");
    }))
}

balanced_on_both_mmus! {
    /// The source faults; while the writer sleeps for it, its destination is cut off. The write is
    /// then one that grows.
    fn p6_a_destination_cut_off_during_the_fault_in_is_written_all_the_same(machine) {
        for strategy in STRATEGIES {
            for cut in [0, 100, PAGE, PAGE + 17, 2 * PAGE - 1] {
                let store = StrictStore::new(1024, strategy);
                let (process, file) = (Process::new(machine), machine.inode(&store, 0));
                assert_eq!(process.write(&file, 0, &pattern(1, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
                let new = pattern(50, 1000);
                process.space.store(process.space.at(5, 0), &new).unwrap();
                process.space.evict(5, 1);
                let truncate = elsewhere(&file, move |file| set_size(file, cut).unwrap());
                process.space.script().clear();
            process.space.script().add(Event::FaultIn, When::Nth(1), truncate);
                let source = process.space.slice(5, 0, 1000);
                let pos = PAGE + 500;
                let options = WriteOptions::at(pos).with_strategy(strategy);
                assert_eq!(process.write_from(&file, source, &options), Ok(1000));
                process.space.script().clear();
                let mut want = pattern(1, 2 * PAGE_SIZE)[..cut as usize].to_vec();
                let end = pos as usize + 1000;
                want.resize(want.len().max(end), 0);
                want[pos as usize..end].copy_from_slice(&new);
                assert_bytes(&process.contents(&file), &want, &format!("{strategy:?} cut at {cut}"));
                make_cold(&file);
                assert_bytes(&process.contents(&file), &want, "from the store");
                store.assert_balanced();
            }
        }
    }

    /// The page is sent, cleaned and dropped while the writer sleeps: it has to be found, or made,
    /// again.
    fn p6_a_destination_evicted_during_the_fault_in_is_written_where_it_is_now(machine) {
        for strategy in STRATEGIES {
            let store = StrictStore::with_contents(1024, strategy, &pattern(2, 3 * PAGE_SIZE));
            let (process, file) = (Process::new(machine), machine.inode(&store, 3 * PAGE));
            let _ = process.contents(&file);
            process.space.store(process.space.at(5, 0), &pattern(60, PAGE_SIZE)).unwrap();
            process.space.evict(5, 1);
            let drop_all = elsewhere(&file, |file| {
                fsync(file).unwrap();
                assert!(evict(file) > 0);
            });
            process.space.script().clear();
            process.space.script().add(Event::FaultIn, When::Nth(1), drop_all);
            let source = process.space.slice(5, 0, PAGE_SIZE);
            let options = WriteOptions::at(100).with_strategy(strategy);
            assert_eq!(process.write_from(&file, source, &options), Ok(PAGE_SIZE));
            process.space.script().clear();
            let mut want = pattern(2, 3 * PAGE_SIZE);
            want[100..100 + PAGE_SIZE].copy_from_slice(&pattern(60, PAGE_SIZE));
            assert_bytes(&process.contents(&file), &want, "new bytes among old");
            make_cold(&file);
            assert_bytes(&process.contents(&file), &want, "from the store");
        }
    }

    /// The whole leaf goes and comes back as another file's.
    fn p6_a_leaf_that_is_reused_by_another_file_gets_no_foreign_bytes(machine) {
        for strategy in STRATEGIES {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            let other = machine.inode(&MemoryStore::new(), 0);
            assert_eq!(process.write(&file, 0, &pattern(3, PAGE_SIZE)), Ok(PAGE_SIZE));
            process.space.store(process.space.at(5, 0), &[0x77; 100]).unwrap();
            process.space.evict(5, 1);
            let second = Process::new(machine);
            let reuse = {
                let (other, second) = (Arc::clone(&other), second.clone());
                elsewhere(&file, move |file| {
                    set_size(file, 0).unwrap();
                    assert_eq!(second.write(&other, 0, &pattern(4, PAGE_SIZE)), Ok(PAGE_SIZE));
                })
            };
            process.space.script().clear();
            process.space.script().add(Event::FaultIn, When::Nth(1), reuse);
            let source = process.space.slice(5, 0, 100);
            let options = WriteOptions::at(10).with_strategy(strategy);
            assert_eq!(process.write_from(&file, source, &options), Ok(100));
            process.space.script().clear();
            assert_bytes(&second.contents(&other), &pattern(4, PAGE_SIZE), "the other file");
            let want = [vec![0; 10], vec![0x77; 100]].concat();
            assert_bytes(&process.contents(&file), &want, "this file");
        }
    }

    /// A write is one event, as truncation is: the result is that of the one before the other.
    fn p6_a_write_of_many_steps_is_wholly_before_or_after_a_truncation(machine) {
        const PAGES: usize = 150;
        for (strategy, back) in STRATEGIES.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            assert_eq!(process.write(&file, 0, &vec![1; PAGES * PAGE_SIZE]), Ok(PAGES * PAGE_SIZE));
            process.space.fill(process.space.at(0, 0), 2, PAGES * PAGE_SIZE).unwrap();
            process.space.evict(PAGES - 1, 1);
            // Begun when the writer is in the middle; waited for at the end, because it may have to
            // wait for the writer.
            let cut = Arc::new(std::sync::Mutex::new(None));
            let begin = {
                let (file, cut) = (Arc::clone(&file), Arc::clone(&cut));
                Action::Call(Arc::new(move |_| {
                    let (file, started) = (Arc::clone(&file), Arc::new(AtomicBool::new(false)));
                    let flag = Arc::clone(&started);
                    let thread = faultless_tests::threads::spawn(move || {
                        flag.store(true, Ordering::Release);
                        set_size(&file, 3 * PAGE).unwrap();
                        if back {
                            set_size(&file, PAGES as u64 * PAGE).unwrap();
                        }
                    });
                    until("the other has started", || started.load(Ordering::Acquire));
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    *cut.lock().unwrap() = Some(thread);
                }))
            };
            let when = if strategy == Strategy::BeginEnd { 1 } else { PAGES as u64 };
            process.space.script().clear();
            process.space.script().add(Event::FaultIn, When::Nth(when), begin);
            let source = process.space.slice(0, 0, PAGES * PAGE_SIZE);
            let options = WriteOptions::at(0).with_strategy(strategy);
            assert_eq!(process.write_from(&file, source, &options), Ok(PAGES * PAGE_SIZE));
            cut.lock().unwrap().take().expect("a truncation").join().expect("the truncation");
            process.space.script().clear();
            let bytes = Process::new(machine).contents(&file);
            assert!(bytes.len() == 3 * PAGE_SIZE || bytes.len() == PAGES * PAGE_SIZE, "{}", bytes.len());
            let rest = bytes[3 * PAGE_SIZE..].first().copied().unwrap_or(2);
            assert!(bytes[..3 * PAGE_SIZE].iter().all(|&byte| byte == 2));
            assert!(rest == 2 || back && rest == 0, "{strategy:?}: {rest}");
            let torn = bytes[3 * PAGE_SIZE..].iter().any(|&byte| byte != rest);
            assert!(!torn, "{strategy:?}: torn by the truncation");
        }
    }

    /// A fault that has found its page and waits for the lock while the page is cut off: SIGBUS,
    /// not a lost page.
    fn p6_a_fault_on_a_page_that_is_cut_off_meanwhile_is_a_bus_error(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &pattern(5, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
        let addr = process.map(FREE, 2, &file, 0, Protection::ReadWrite);
        let truncate = elsewhere(&file, |file| set_size(file, PAGE).unwrap());
        process.space.script().clear();
            process.space.script().add(Event::Fault, When::Nth(1), truncate);
        assert_eq!(process.byte(addr.wrapping_add(PAGE_SIZE)), Err(UserFault::Bus));
        process.space.script().clear();
        assert_eq!(process.byte(addr), Ok(pattern(5, 1)[0]));
    }

    /// The last page is nowhere when truncation gives its blocks back, comes in, and finds them
    /// still there.
    fn p6_room_that_truncation_is_about_to_give_back_is_not_relied_on(machine) {
        for by_mapping in [false, true] {
            let store = FaultyStore::new(BlockStore::new(1024, 100), machine.watchdog());
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(1, PAGE_SIZE)), Ok(PAGE_SIZE));
            make_cold(&file);
            let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
            store.defer(Call::TruncateBlocks);
            let cutter = Arc::clone(&file);
            let cutter = faultless_tests::threads::spawn(move || set_size(&cutter, 100).unwrap());
            until("a call of the store stands still", || store.waiting() > 0);
            match by_mapping {
                true => process.space.store(addr, b"late").unwrap(),
                false => assert_eq!(process.write(&file, 0, b"late"), Ok(4)),
            }
            store.release(Call::TruncateBlocks);
            cutter.join().expect("the truncation");
            let new = pattern(50, 3000);
            assert_eq!(process.write(&file, 100, &new), Ok(3000));
            make_cold(&file);
            assert_eq!(store.inner().complaints(), Vec::<String>::new());
            let want = [b"late", &pattern(1, 100)[4..], &new].concat();
            assert_bytes(&process.contents(&file), &want, "from the store");
        }
    }

    /// A fault has asked for room up to the old end when a write moves the end up: behind the old
    /// end it has to ask again.
    fn p6_a_page_made_writable_while_the_end_moves_up_asks_again_for_the_rest(machine) {
        let store = FaultyStore::new(BlockStore::new(1024, 100), machine.watchdog());
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(1, 100)), Ok(100));
        make_cold(&file);
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        process.space.store(process.space.at(5, 0), b"far").unwrap();
        process.space.evict(5, 1);
        let (grown, begin) = (&AtomicBool::new(false), &Arc::new(AtomicBool::new(false)));
        std::thread::scope(|scope| {
            // The write has looked at the page of the old end when its source faults. Then the
            // other fault begins.
            let (faulty, go) = (Arc::clone(&store), Arc::clone(begin));
            let other_fault = Action::Call(Arc::new(move |_| {
                faulty.defer_next(Call::WriteBegin);
                go.store(true, Ordering::Release);
                until("a call of the store stands still", || faulty.waiting() > 0);
            }));
            process.space.script().add(Event::FaultIn, When::Nth(1), other_fault);
            let (process, file) = (&process, &file);
            let storing = faultless_tests::threads::spawn_in(scope, move || {
                until("the write has looked at the page", || begin.load(Ordering::Acquire));
                process.space.store(addr, b"near")
            });
            let writing = faultless_tests::threads::spawn_in(scope, move || {
                let source = process.space.slice(5, 0, 3);
                let wrote = process.write_from(file, source, &WriteOptions::at(2 * PAGE));
                grown.store(true, Ordering::Release);
                wrote
            });
            // The other fault stands still with its page locked: from here on, who waits for a page
            // is the write.
            until("a call of the store stands still", || store.waiting() > 0);
            let waits = || machine.check().describe().contains("waits for P(");
            until("the write waits or is over", || grown.load(Ordering::Acquire) || waits());
            store.release(Call::WriteBegin);
            assert_eq!(writing.join().expect("the write"), Ok(3));
            assert_eq!(storing.join().expect("the store"), Ok(()));
        });
        process.space.store(addr.wrapping_add(3000), b"behind").unwrap();
        make_cold(&file);
        assert_eq!(store.inner().complaints(), Vec::<String>::new());
        assert_eq!(&process.read(&file, 3000, 6).unwrap(), b"behind");
    }

    /// The source is the page that is cut off while it is faulted in: the source ends there, and so
    /// does the write.
    fn p6_a_source_cut_off_during_the_copy_ends_the_write(machine) {
        for strategy in STRATEGIES {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            let content = pattern(6, 2 * PAGE_SIZE);
            assert_eq!(process.write(&file, 0, &content), Ok(2 * PAGE_SIZE));
            process.map(FREE, 2, &file, 0, Protection::Read);
            let truncate = elsewhere(&file, |file| set_size(file, PAGE).unwrap());
            process.space.script().clear();
            process.space.script().add(Event::Fault, When::Nth(2), truncate);
            let out = machine.inode(&MemoryStore::new(), 0);
            let source = process.space.slice(FREE, 0, 2 * PAGE_SIZE);
            let options = WriteOptions::at(0).with_strategy(strategy);
            assert_eq!(process.write_from(&out, source, &options), Ok(PAGE_SIZE));
            process.space.script().clear();
            assert_bytes(&process.contents(&out), &content[..PAGE_SIZE], "the prefix");
        }
    }

    /// The size was looked at and the bytes not yet: the zeros that truncation put there were never
    /// in the file.
    fn w5_a_read_that_a_truncation_overtakes_ends_where_the_file_ends_now(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let content = pattern(1, 3000);
        assert_eq!(process.write(&file, 0, &content), Ok(3000));
        let cut = elsewhere(&file, |file| set_size(file, 1000).unwrap());
        process.space.script().clear();
        process.space.script().add(Event::AtomicCopy, When::Nth(1), cut);
        let got = process.read(&file, 0, 3000).unwrap();
        process.space.script().clear();
        assert_bytes(&got, &content[..1000], "what was read");
    }

    /// Readers against a truncating and growing file: old bytes, new bytes, zeros; never a recycled
    /// frame.
    fn p6_readers_never_see_a_recycled_frame(machine) {
        let seed = seed();
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        const PAGES: u64 = 20;
        assert_eq!(process.write(&file, 0, &[0x11; PAGES as usize * PAGE_SIZE]), Ok(PAGES as usize * PAGE_SIZE));
        let file = &file;
        let readers = (0..3_u64).map(|n| -> Job<'_> {
            let (reader, mut rng) = (Process::new(machine), Rng::new(seed + n));
            Box::new(move || {
                reader.map(FREE, PAGES as usize, file, 0, Protection::Read);
                for _ in 0..rounds(800) {
                    let pos = rng.below(PAGES * PAGE);
                    let len = 1 + rng.below(3 * PAGE) as usize;
                    let bytes = reader.read(file, pos, len).expect("a read");
                    assert!(bytes.iter().all(|byte| matches!(byte, 0 | 0x11)), "read at {pos}");
                    let at = reader.space.at(FREE, pos as usize);
                    match reader.space.read_vec(at, len.min((PAGES * PAGE - pos) as usize)) {
                        Ok(bytes) => assert!(bytes.iter().all(|byte| matches!(byte, 0 | 0x11))),
                        Err(fault) => assert_eq!(fault, UserFault::Bus),
                    }
                }
            })
        });
        let mut rng = Rng::new(seed ^ 77);
        let writer = Process::new(machine);
        let truncator: Loop<'_> = Box::new(move || {
            set_size(file, rng.below(PAGES * PAGE)).expect("truncation");
            let pos = rng.below((PAGES - 3) * PAGE);
            let len = 1 + rng.below(3 * PAGE) as usize;
            assert_eq!(writer.write(file, pos, &vec![0x11; len]), Ok(len));
        });
        // Takes the freed frames and fills them with something else.
        let recycler = Process::new(machine);
        let recycle: Loop<'_> = Box::new(move || {
            let other = machine.inode(&MemoryStore::new(), 0);
            let len = 30 * PAGE_SIZE;
            assert_eq!(recycler.write(&other, 0, &vec![0x99; len]), Ok(len));
        });
        against(machine.check(), readers.collect(), vec![truncator, recycle]);
    }

    /// P7: whoever sees a size finds bytes up to it, and the size only grows while only growing
    /// writes run.
    fn p7_a_reader_finds_the_bytes_that_the_size_promises(machine) {
        let seed = seed();
        for strategy in STRATEGIES {
            let file = machine.inode(&MemoryStore::new(), 0);
            let (file, done) = (&file, &AtomicBool::new(false));
            let writer = Process::new(machine);
            let mut jobs: Vec<Job<'_>> = vec![Box::new(move || {
                let mut rng = Rng::new(seed);
                for _ in 0..rounds(1500) {
                    let len = 1 + rng.below(500) as usize;
                    let options = WriteOptions::append().with_strategy(strategy);
                    assert_eq!(writer.write_with(file, &vec![0x55; len], &options), Ok(len));
                }
                done.store(true, Ordering::Release);
            })];
            for _ in 0..2 {
                let reader = Process::new(machine);
                jobs.push(Box::new(move || {
                    let mut last = 0;
                    while !done.load(Ordering::Acquire) {
                        let size = file.size();
                        assert!(size >= last, "the size went down from {last} to {size}");
                        last = size;
                        let len = size.min(600);
                        let bytes = reader.read(file, size - len, len as usize).expect("a read");
                        assert_eq!(bytes.len() as u64, len, "bytes before the end");
                        assert!(bytes.iter().all(|&byte| byte == 0x55), "before {size}");
                    }
                }));
            }
            against(machine.check(), jobs, vec![]);
        }
    }

    /// Two writes that grow the file in different pages: the larger end wins, whichever comes
    /// first.
    fn p7_concurrent_growth_keeps_the_largest_end(machine) {
        for round in 0..rounds(30) {
            let file = machine.inode(&MemoryStore::new(), 0);
            let file = &file;
            let jobs = (0..4_u64).map(|n| -> Job<'_> {
                let process = Process::new(machine);
                Box::new(move || {
                    for step in 0..10 {
                        let pos = (step * 4 + n) * 700 + round;
                        assert_eq!(process.write(file, pos, &[n as u8 + 1; 700]), Ok(700));
                    }
                })
            });
            against(machine.check(), jobs.collect(), vec![]);
            assert_eq!(file.size(), 40 * 700 + round);
            let bytes = Process::new(machine).contents(file);
            let expected = |at: usize| match at.checked_sub(round as usize) {
                None => 0,
                Some(at) => (at / 700 % 4) as u8 + 1,
            };
            assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == expected(at)));
        }
    }

    /// A write that lands nothing leaves the size alone, at any position (W1).
    fn p7_the_size_grows_by_what_landed_and_not_at_all_by_nothing(machine) {
        for strategy in STRATEGIES {
            let store = StrictStore::new(512, strategy);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, b"0123456789"), Ok(10));
            process.space.unmap(1, 1);
            for pos in [0, 9, 10, 11, 4095, 4096, 100_000] {
                let bad = process.space.slice(1, 0, 10);
                let options = WriteOptions::at(pos).with_strategy(strategy);
                assert_eq!(process.write_from(&file, bad, &options), Err(Errno::Fault));
                assert_eq!((file.size(), store.blocks()), (10, 1), "{strategy:?} at {pos}");
            }
            writeback(&file, 0..u64::MAX).unwrap();
            assert_eq!(process.contents(&file), b"0123456789");
        }
    }
}
