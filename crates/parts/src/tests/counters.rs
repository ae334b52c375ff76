//! The counters: what each operation counts, and that the levels are what is in the cache.

use std::format;
use std::string::String;

use faultless_page::{AddressSpaceOperations, Count, Errno, Mark, PAGE_SIZE, PageIndex};

use super::{COUNTERS, Rig, Rng};
use crate::faulty::{Answer, Call, FaultyStore, When};
use crate::{BlockStore, CacheCounters, CacheCounts, FixedMap, RamDisk};

/// Blocks of a page's size that the disk has.
const BLOCKS: usize = 96;

type Disk = BlockStore<RamDisk<&'static mut [u8]>, FixedMap<BLOCKS>>;

/// A file on a disk that never fails, if `store` lets it.
fn rig<S: AddressSpaceOperations>(store: impl FnOnce(Disk) -> S) -> Rig<S> {
    let disk = RamDisk::new(std::vec![0; BLOCKS * PAGE_SIZE].leak(), PAGE_SIZE);
    let map = FixedMap::new(0..BLOCKS as u64);
    let disk = Disk::new(disk.expect("a block size"), map).expect("a block size");
    Rig::new(store(disk), 0, 200)
}

fn now() -> CacheCounts {
    COUNTERS.with(CacheCounters::now)
}

/// Whether `work` counts these and nothing else.
#[track_caller]
fn assert_counts(expected: &[(Count, u32)], work: impl FnOnce()) {
    let before = now();
    work();
    let counters = CacheCounters::new();
    expected.iter().for_each(|(what, pages)| counters.count(*what, *pages));
    assert_eq!(now().since(before), counters.now());
}

/// Whether the levels of the counters are what the file has in the cache.
fn check<S: AddressSpaceOperations + 'static>(rig: &Rig<S>) -> Result<(), String> {
    let mapping = rig.file().mapping();
    let of = |mark: Mark| {
        let (mut pages, mut from) = (0, PageIndex::ZERO);
        while let Some(run) = mapping.find(from, PageIndex::new(u64::MAX), mark) {
            pages += run.pages() as usize;
            from = run.end();
        }
        pages
    };
    let counts = now();
    let levels = (counts.pages(), counts.dirty(), counts.under_writeback());
    let found = (mapping.cached_pages() as usize, of(Mark::Dirty), 0);
    if levels == found { Ok(()) } else { Err(format!("{levels:?} counted, {found:?} found")) }
}

#[test]
fn each_operation_counts_what_it_does() {
    use Count::{Cached, Cleaned, Dirtied, Filled, Removed, Used, WritebackBegun, WritebackEnded};
    let mut rig = rig(|disk| disk);

    // A page that a write brings in whole is neither a hit nor a miss.
    let three = [1; 3 * PAGE_SIZE];
    assert_counts(&[(Cached, 3), (Dirtied, 3)], || assert_eq!(rig.write(0, &three), Ok(12_288)));
    assert_counts(&[(Used, 1)], || assert_eq!(rig.write(4096, b"hit"), Ok(3)));
    let synced = [(Cleaned, 3), (WritebackBegun, 3), (WritebackEnded, 3)];
    assert_counts(&synced, || assert_eq!(rig.fsync(), Ok(())));
    assert_counts(&[(Removed, 3)], || assert_eq!(rig.evict(), 3));
    let missed = [(Used, 2), (Filled, 2), (Cached, 2)];
    assert_counts(&missed, || assert_eq!(rig.read(100, 4096).map(|read| read.len()), Ok(4096)));
    assert_counts(&[(Used, 1)], || assert_eq!(rig.read(0, 3), Ok(std::vec![1; 3])));
    // A write of a part of a page that is not there needs the rest.
    let part = [(Used, 1), (Filled, 1), (Cached, 1), (Dirtied, 1)];
    assert_counts(&part, || assert_eq!(rig.write(2 * 4096 + 5, b"miss"), Ok(4)));
    assert_counts(&[(Removed, 2), (Cleaned, 1)], || assert_eq!(rig.set_size(4096), Ok(())));
    assert_eq!(rig.write(0, b"lost"), Ok(4));
    assert_counts(&[(Removed, 1), (Cleaned, 1)], || rig.reopen(0));
    assert_eq!((now().hits(), now().pages(), now().dirty(), now().under_writeback()), (3, 0, 0, 0));
}

#[test]
fn levels_of_two_cpus_are_those_of_the_sum() {
    let cpus = [CacheCounters::new(), CacheCounters::new()];
    cpus[0].count(Count::Dirtied, 5);
    cpus[1].count(Count::Cleaned, 3);
    assert_eq!(cpus[1].now().dirty(), 0);
    assert_eq!(cpus[0].now().plus(cpus[1].now()).dirty(), 2);
}

#[test]
fn levels_are_what_is_in_the_cache_after_any_operations() {
    let rig = rig(FaultyStore::<_>::new);
    let mut rng = Rng::new(1);
    for step in 0..2000 {
        let pos = rng.below(300_000);
        if rng.below(4) == 0 {
            let when = When::EveryNth(1 + rng.below(2));
            rig.store.plan(Call::Writeback, when, Answer::Fail(Errno::Io)).expect("it can fail");
        }
        let _may_fail = match rng.below(6) {
            0 | 1 => {
                let len = 1 + rng.below(20_000) as usize;
                rig.write(pos, &rng.bytes(len)).map(drop)
            }
            2 => rig.read(pos, 9000).map(drop),
            3 => rig.set_size(pos),
            4 => rig.fsync(),
            _ => {
                rig.evict();
                Ok(())
            }
        };
        rig.store.clear();
        check(&rig).unwrap_or_else(|what| panic!("step {step}: {what}"));
    }
    rig.fsync().expect("nothing fails now");
    drop(rig);
    assert!(now()[Count::Cleaned] > 1000 && now()[Count::Filled] > 500, "{:?}", now());
    assert_eq!((now().pages(), now().dirty(), now().under_writeback()), (0, 0, 0));
    assert_eq!(now()[Count::Cached], now()[Count::Removed]);
}
