//! The counters: what each operation counts, and that the levels are what is in the cache.

use std::format;
use std::string::String;

use faultless_page::{AddressSpaceOperations, Errno, Mark, PAGE_SIZE, PageIndex};

use super::{COUNTERS, Rig, Rng};
use crate::faulty::{Answer, Call, FaultyStore, When};
use crate::{BlockStore, CacheCounters, CacheCounts, FixedMap, RamDisk};

/// Blocks of a page's size that the disk has.
const BLOCKS: usize = 96;

fn now() -> CacheCounts {
    COUNTERS.with(CacheCounters::now)
}

/// What `work` counts.
fn counted(work: impl FnOnce()) -> CacheCounts {
    let before = now();
    work();
    let after = now();
    CacheCounts {
        used: after.used - before.used,
        filled: after.filled - before.filled,
        faulted: after.faulted - before.faulted,
        cached: after.cached - before.cached,
        removed: after.removed - before.removed,
        dirtied: after.dirtied - before.dirtied,
        cleaned: after.cleaned - before.cleaned,
        writeback_begun: after.writeback_begun - before.writeback_begun,
        writeback_ended: after.writeback_ended - before.writeback_ended,
    }
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
    let disk = std::vec![0; BLOCKS * PAGE_SIZE].leak();
    let disk: RamDisk<_> = RamDisk::new(disk, PAGE_SIZE).expect("a block size");
    let map: FixedMap<BLOCKS> = FixedMap::new(0..BLOCKS as u64);
    let store: BlockStore<_, _> = BlockStore::new(disk, map).expect("a block size");
    let mut rig = Rig::new(store, 0, 200);
    let zero = CacheCounts::default();

    // A page that a write brings in whole is neither a hit nor a miss.
    let write = counted(|| assert_eq!(rig.write(0, &[1; 3 * PAGE_SIZE]), Ok(3 * PAGE_SIZE)));
    assert_eq!(write, CacheCounts { cached: 3, dirtied: 3, ..zero });
    let overwrite = counted(|| assert_eq!(rig.write(PAGE_SIZE as u64, b"hit"), Ok(3)));
    assert_eq!(overwrite, CacheCounts { used: 1, ..zero });
    let sync = counted(|| assert_eq!(rig.fsync(), Ok(())));
    let expected = CacheCounts { cleaned: 3, writeback_begun: 3, writeback_ended: 3, ..zero };
    assert_eq!(sync, expected);
    let evict = counted(|| assert_eq!(rig.evict(), 3));
    assert_eq!(evict, CacheCounts { removed: 3, ..zero });
    let read =
        counted(|| assert_eq!(rig.read(100, PAGE_SIZE).map(|read| read.len()), Ok(PAGE_SIZE)));
    assert_eq!(read, CacheCounts { used: 2, filled: 2, cached: 2, ..zero });
    assert_eq!((read.hits(), counted(|| drop(rig.read(0, 10))).hits()), (0, 1));
    // Of a page that is not there, a write of a part needs the rest.
    let part = counted(|| assert_eq!(rig.write(2 * PAGE_SIZE as u64 + 5, b"miss"), Ok(4)));
    assert_eq!(part, CacheCounts { used: 1, filled: 1, cached: 1, dirtied: 1, ..zero });
    let cut = counted(|| assert_eq!(rig.set_size(PAGE_SIZE as u64), Ok(())));
    assert_eq!(cut, CacheCounts { removed: 2, cleaned: 1, ..zero });
    assert_eq!(rig.write(0, b"lost"), Ok(4));
    let closed = counted(|| rig.reopen(0));
    assert_eq!(closed, CacheCounts { removed: 1, cleaned: 1, ..zero });
}

#[test]
fn levels_are_what_is_in_the_cache_after_any_operations() {
    let disk = std::vec![0; BLOCKS * PAGE_SIZE].leak();
    let disk: RamDisk<_> = RamDisk::new(disk, PAGE_SIZE).expect("a block size");
    let map: FixedMap<BLOCKS> = FixedMap::new(0..BLOCKS as u64);
    let store: BlockStore<_, _> = BlockStore::new(disk, map).expect("a block size");
    let store: FaultyStore<_> = FaultyStore::new(store);
    let rig = Rig::new(store, 0, 200);
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
    assert!(now().cleaned > 1000 && now().filled > 500, "{:?}", now());
    assert_eq!((now().pages(), now().dirty(), now().under_writeback()), (0, 0, 0));
    assert_eq!(now().cached, now().removed);
}
