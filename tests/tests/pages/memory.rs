//! P8: every allocation may fail. Each in turn does: the error is ENOMEM (or a short count),
//! nothing is lost, and the same call succeeds afterwards.

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless_host::{FrameOrder, Machine, MachineConfig, Mmu, Protection, UserFault};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, fsync, make_cold, pattern, set_size,
};
use faultless_tests::setup::STRATEGIES;
use faultless_tests::strict::StrictStore;

/// Makes allocation 1, 2, 3, … of `call` fail, on a fresh file each time, until none is left that
/// could.
fn sweep<M: Mmu>(
    machine: &Machine<M>,
    mut fresh: impl FnMut() -> File,
    mut call: impl FnMut(&File, u64),
) {
    for number in 1.. {
        assert!(number < 300, "no end of allocations");
        let file = fresh();
        let before = machine.memory().allocation_calls();
        machine.memory().fail_allocation(number);
        call(&file, number);
        machine.memory().stop_failing();
        let calls = machine.memory().allocation_calls() - before;
        if calls < number {
            assert!(number > 1, "nothing was allocated");
            return;
        }
    }
}

balanced_on_both_mmus! {
    fn p8_a_write_survives_the_failure_of_each_allocation(machine = MachineConfig::new().order(FrameOrder::Scattered)) {
        for strategy in STRATEGIES {
            let process = Process::new(machine);
            let old = pattern(1, 3 * PAGE_SIZE);
            let new = pattern(99, 4 * PAGE_SIZE);
            let fresh = || {
                let store = StrictStore::with_contents(1024, strategy, &old);
                machine.inode(&store, 3 * PAGE)
            };
            sweep(machine, fresh, |file, number| {
                let options = WriteOptions::at(PAGE + 30).with_strategy(strategy);
                let landed = match process.write_with(file, &new, &options) {
                    Ok(landed) => landed,
                    Err(Errno::NoMemory) => 0,
                    Err(errno) => panic!("{strategy:?} {number}: {errno}"),
                };
                machine.memory().stop_failing();
                let mut want = old.clone();
                let end = PAGE_SIZE + 30 + landed;
                want.resize(want.len().max(end), 0);
                want[PAGE_SIZE + 30..end].copy_from_slice(&new[..landed]);
                if landed == 0 {
                    want.truncate(3 * PAGE_SIZE);
                }
                let what = format!("{strategy:?}, allocation {number}, {landed} landed");
                assert_bytes(&process.contents(file), &want, &what);
                // The same call again: nothing is in its way.
                assert_eq!(process.write_with(file, &new, &options), Ok(new.len()), "{what}");
                make_cold(file);
                assert_bytes(&process.contents(file)[PAGE_SIZE + 30..], &new, &what);
            });
        }
    }

    fn p8_an_append_survives_the_failure_of_each_allocation(machine) {
        for strategy in STRATEGIES {
            let process = Process::new(machine);
            let new = pattern(2, 70 * PAGE_SIZE);
            let fresh = || machine.inode(&StrictStore::new(512, strategy), 0);
            sweep(machine, fresh, |file, number| {
                let options = WriteOptions::append().with_strategy(strategy);
                let landed = match process.write_with(file, &new, &options) {
                    Ok(landed) => landed,
                    Err(errno) => {
                        assert_eq!(errno, Errno::NoMemory);
                        0
                    }
                };
                machine.memory().stop_failing();
                assert_eq!(file.size(), landed as u64, "allocation {number}");
                assert_bytes(&process.contents(file), &new[..landed], "what landed");
                assert_eq!(process.write_with(file, &new[landed..], &options), Ok(new.len() - landed));
                make_cold(file);
                assert_bytes(&process.contents(file), &new, "all of it");
            });
        }
    }

    fn p8_a_read_survives_the_failure_of_each_allocation(machine) {
        let process = Process::new(machine);
        let content = pattern(3, 130 * PAGE_SIZE);
        let fresh = || {
            machine.inode(&StrictStore::with_contents(4096, Strategy::BeginEnd, &content), 130 * PAGE)
        };
        sweep(machine, fresh, |file, number| {
            match process.read(file, 5, 129 * PAGE_SIZE) {
                Ok(bytes) => assert_bytes(&bytes, &content[5..5 + bytes.len()], "a prefix"),
                Err(errno) => assert_eq!(errno, Errno::NoMemory, "allocation {number}"),
            }
            machine.memory().stop_failing();
            assert_bytes(&process.contents(file), &content, "afterwards");
        });
    }

    fn p8_a_fault_survives_the_failure_of_each_allocation(machine) {
        let process = Process::new(machine);
        let content = pattern(4, 70 * PAGE_SIZE);
        let fresh = || {
            machine.inode(&StrictStore::with_contents(512, Strategy::BeginEnd, &content), 70 * PAGE)
        };
        for write in [false, true] {
            sweep(machine, fresh, |file, number| {
                let addr = process.map(FREE, 70, file, 0, Protection::ReadWrite);
                for page in [0, 69, 1] {
                    let addr = addr.wrapping_add(page * PAGE_SIZE);
                    let result = match write {
                        true => process.space.store(addr, b"s"),
                        false => process.byte(addr).map(|byte| assert_eq!(byte, content[page * PAGE_SIZE])),
                    };
                    let refused = Err(UserFault::Error(Errno::NoMemory));
                    assert!(result == Ok(()) || result == refused, "allocation {number}: {result:?}");
                }
                machine.memory().stop_failing();
                process.space.store(addr, b"s").unwrap();
                assert_eq!(process.byte(addr), Ok(b's'));
                process.space.unmap(FREE, 70);
                fsync(file).unwrap();
            });
        }
    }

    /// Truncation, writeback and eviction allocate nothing, so they work when memory is gone.
    fn p8_truncate_writeback_and_evict_need_no_memory(machine) {
        let (process, store) = (Process::new(machine), StrictStore::new(512, Strategy::BeginEnd));
        let file = machine.inode(&store, 0);
        let content = pattern(5, 100 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(100 * PAGE_SIZE));
        let addr = process.map(FREE, 100, &file, 0, Protection::ReadWrite);
        process.space.store(addr, b"store").unwrap();
        let before = machine.memory().allocation_calls();
        machine.memory().fail_allocations_from(1);
        fsync(&file).unwrap();
        set_size(&file, 50 * PAGE + 100).unwrap();
        set_size(&file, 90 * PAGE).unwrap();
        fsync(&file).unwrap();
        faultless_tests::process::evict(&file);
        set_size(&file, 3).unwrap();
        assert_eq!(machine.memory().allocation_calls(), before);
        machine.memory().stop_failing();
        assert_eq!(process.contents(&file), b"sto");
    }

    /// Memory is full for good: everything that was there can still be read, and overwriting what
    /// is cached works.
    fn p8_a_machine_without_memory_loses_nothing(machine) {
        for strategy in STRATEGIES {
            let process = Process::new(machine);
            let (store, content) = (StrictStore::new(1024, strategy), pattern(6, 20 * PAGE_SIZE));
            let file = machine.inode(&store, 0);
            assert_eq!(process.write(&file, 0, &content), Ok(20 * PAGE_SIZE));
            let scratch = process.space.slice(0, 0, PAGE_SIZE);
            process.space.fill(process.space.at(0, 0), 0x21, PAGE_SIZE).unwrap();
            machine.memory().fail_allocations_from(1);
            let at = |pos| WriteOptions::at(pos).with_strategy(strategy);
            assert_eq!(process.write_from(&file, scratch, &at(PAGE)), Ok(PAGE_SIZE));
            assert_eq!(process.write_from(&file, scratch, &at(25 * PAGE)), Err(Errno::NoMemory));
            assert_eq!(process.write_from(&file, scratch, &at(500 * PAGE)), Err(Errno::NoMemory));
            assert_eq!(file.size(), 20 * PAGE, "{strategy:?}: nothing landed, nothing grew");
            // The last bytes fit in the cached page, the rest needs a new one.
            let landed = process.write_from(&file, scratch, &at(20 * PAGE - 7));
            assert_eq!(landed, Ok(7), "{strategy:?}");
            machine.memory().stop_failing();
            let mut want = content.clone();
            want[PAGE_SIZE..2 * PAGE_SIZE].fill(0x21);
            let end = want.len();
            want[end - 7..].fill(0x21);
            assert_bytes(&process.contents(&file), &want, "nothing lost");
            make_cold(&file);
            assert_eq!(store.stray(file.size()), None);
            store.assert_balanced();
        }
    }

    /// The frames run out for real, not by request: in the middle of a large write.
    fn p8_a_write_larger_than_memory_lands_what_fits(machine = MachineConfig::new().frames(400)) {
        for strategy in STRATEGIES {
            let process = Process::new(machine);
            let file = machine.inode(&StrictStore::new(4096, strategy), 0);
            let content = pattern(7, 159 * PAGE_SIZE);
            let mut landed = 0;
            let error = loop {
                let options = WriteOptions::append().with_strategy(strategy);
                match process.write_with(&file, &content, &options) {
                    Ok(bytes) => landed += bytes,
                    Err(errno) => break errno,
                }
                assert!(landed < 400 * PAGE_SIZE, "more than there is memory");
            };
            assert_eq!((error, file.size()), (Errno::NoMemory, landed as u64));
            make_cold(&file);
            assert!(landed > 100 * PAGE_SIZE);
        }
    }
}
