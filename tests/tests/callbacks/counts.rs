//! Calls and waits that are not made: unmaps of files that were never mapped, and grace periods
//! that are shared.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless::page::PAGE_SIZE;
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, MachineConfig, Mmu, Protection, counting};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, evict, fsync, pattern, set_size, writeback,
};

/// Counts the calls of `unmap` from here on.
fn unmaps<M: Mmu>(machine: &Machine<M>) -> Arc<AtomicU64> {
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    machine.user_mappings().watch(Arc::new(move |_, _, _, _| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    calls
}

/// Every other page of `pages` is in the cache, and clean.
fn every_other<M: Mmu>(process: &Process<M>, file: &File, pages: u64) {
    for page in (0..pages).step_by(2) {
        assert_eq!(process.write(file, page * PAGE, b"x"), Ok(1));
    }
    fsync(file).unwrap();
    assert_eq!(file.mapping().cached_pages(), pages / 2);
}

balanced_on_both_mmus! {
    fn a_file_that_was_never_mapped_is_written_back_and_evicted_without_an_unmap(machine) {
        let (store, process) = (MemoryStore::new(), Process::new(machine));
        let file = machine.inode(&store, 0);
        let calls = unmaps(machine);
        for round in 0..3 {
            assert_eq!(process.write(&file, round, &pattern(1, 130 * PAGE_SIZE)), Ok(130 * PAGE_SIZE));
            writeback(&file, 0..u64::MAX).unwrap();
            fsync(&file).unwrap();
            assert!(evict(&file) >= 130);
            assert_eq!(process.read(&file, 0, 10).unwrap().len(), 10);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        machine.user_mappings().unwatch();
    }

    /// A page that is mapped for loads only need not be write-protected; one that was mapped
    /// writable is, once.
    fn only_pages_that_were_mapped_writable_are_write_protected_when_they_are_sent(machine) {
        let (store, process) = (MemoryStore::new(), Process::new(machine));
        let file = machine.inode(&store, 0);
        assert_eq!(process.write(&file, 0, &pattern(1, 10 * PAGE_SIZE)), Ok(10 * PAGE_SIZE));
        let addr = process.map(FREE, 10, &file, 0, Protection::ReadWrite);
        let _ = process.space.read_vec(addr, 10 * PAGE_SIZE).unwrap();
        let calls = unmaps(machine);
        fsync(&file).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 0, "mapped for loads");
        process.space.store(addr.wrapping_add(3 * PAGE_SIZE), b"x").unwrap();
        fsync(&file).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "one page was stored to");
        assert_eq!(process.write(&file, 3 * PAGE, b"y"), Ok(1));
        fsync(&file).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "it has been read-only since");
        machine.user_mappings().unwatch();
    }

    fn truncating_every_other_page_of_2000_shares_its_grace_periods(machine = MachineConfig::new().frames(1400)) {
        let (store, process) = (MemoryStore::new(), Process::new(machine));
        let file = machine.inode(&store, 0);
        every_other(&process, &file, 2000);
        let (cut, counted) = counting(|| set_size(&file, 0));
        assert_eq!((cut, file.mapping().cached_pages()), (Ok(()), 0));
        println!("{} grace periods", counted.grace_periods);
        assert!((1..=16).contains(&counted.grace_periods), "{} grace periods", counted.grace_periods);
    }

    fn evicting_every_other_page_of_2000_shares_its_grace_periods(machine = MachineConfig::new().frames(1400)) {
        let (store, process) = (MemoryStore::new(), Process::new(machine));
        let file = machine.inode(&store, 0);
        every_other(&process, &file, 2000);
        let evicted = Cell::new(0);
        let ((), counted) = counting(|| evicted.set(evict(&file)));
        assert_eq!(evicted.get(), 1000);
        println!("{} grace periods", counted.grace_periods);
        assert!((1..=16).contains(&counted.grace_periods), "{} grace periods", counted.grace_periods);
    }
}
