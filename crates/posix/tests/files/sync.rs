//! `fsync`, `O_SYNC`, `sync_file_range`, `posix_fadvise`: F1–F5, W11.

use faultless::parts::{Answer, Call, When};
use faultless::prelude::Errno as CacheErrno;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::support::*;

#[test]
fn f2_each_open_file_is_told_of_a_failure_once_and_a_dup_is_the_same_one() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let (open, other) = (file.open_rw(), file.open(linux::O_RDONLY));
    let dup = std::sync::Arc::clone(&open);
    write(&open, b"x").unwrap();
    file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
    assert_eq!(fsync(&open), Err(Errno::IO));
    assert_eq!(fsync(&dup), Ok(()), "the page is written again");
    assert_eq!(fsync(&other), Err(Errno::IO));
    assert_eq!(fsync(&other), Ok(()));
    assert_eq!(fsync(&file.open_rw()), Ok(()), "opened after the report");
}

#[test]
fn f2_a_failure_that_no_one_was_told_of_is_told_to_the_next_open_file() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    write(&open, b"x").unwrap();
    file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
    assert_eq!(sync_range(&open, 0, 0, linux::SYNC_FILE_RANGE_WRITE), Ok(()), "does not wait");
    assert_eq!(fsync(&file.open_rw()), Err(Errno::IO));
    assert_eq!(fsync(&open), Err(Errno::IO));
    assert_eq!(fsync(&open), Ok(()));
}

#[test]
fn w11_each_kind_of_o_sync_and_rwf_sync_makes_a_write_durable() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let synced = |open: &Open, flags| {
        let before = (file.store().count(Call::Writeback), file.store().count(Call::Sync));
        assert_eq!(write_flags(open, b"x", flags), Ok(1));
        let after = (file.store().count(Call::Writeback), file.store().count(Call::Sync));
        (after.0 - before.0, after.1 - before.1)
    };
    assert_eq!(synced(&file.open_rw(), RwFlags::empty()), (0, 0));
    assert_eq!(synced(&file.open_rw(), RwFlags::HIPRI), (0, 0));
    for flags in [linux::O_DSYNC, linux::O_SYNC] {
        assert_eq!(synced(&file.open(linux::O_RDWR | flags), RwFlags::empty()), (1, 1));
    }
    for flags in [RwFlags::DSYNC, RwFlags::SYNC] {
        assert_eq!(synced(&file.open_rw(), flags), (1, 1));
    }
}

#[test]
fn w11_a_write_of_nothing_syncs_nothing() {
    let rig = Rig::new();
    let file = rig.disk_file();
    write(&file.open_rw(), b"x").unwrap();
    assert_eq!(write(&file.open(linux::O_RDWR | linux::O_SYNC), b""), Ok(0));
    assert_eq!(file.store().count(Call::Writeback), 0);
}

#[test]
fn w3_w11_a_sync_error_overrides_the_count_and_the_position_stays() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open(linux::O_RDWR | linux::O_SYNC);
    write(&open, b"ab").unwrap();
    file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
    assert_eq!(write(&open, b"cd"), Err(Errno::IO));
    // Linux: `f_pos` is stored only for a result that is no error.
    assert_eq!(position(&open), 2);
    assert_eq!(pread(&open, 9, 0), Ok(b"abcd".to_vec()), "but the bytes are there");
    assert_eq!(fsync(&open), Ok(()), "told already");
}

#[test]
fn f1_a_synced_file_can_be_dropped_from_the_cache_and_read_back() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    write(&open, &[5; 10_000]).unwrap();
    assert_eq!(file.evict_all(), 0, "dirty pages stay (F5)");
    fsync(&open).unwrap();
    assert_eq!(file.evict_all(), 3);
    assert_eq!(pread(&open, 20_000, 0), Ok(vec![5; 10_000]));
}

#[test]
fn sync_file_range_checks_range_and_flags_and_writes_what_it_is_asked_to() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    write(&open, &[1; 3 * 4096]).unwrap();
    let wait = linux::SYNC_FILE_RANGE_WAIT_BEFORE
        | linux::SYNC_FILE_RANGE_WRITE
        | linux::SYNC_FILE_RANGE_WAIT_AFTER;
    for (offset, len) in [(u64::MAX, 1), (1 << 63, 0), (0, 1 << 63), (1 << 62, 1 << 62)] {
        assert_eq!(sync_range(&open, offset, len, wait), Err(Errno::INVAL), "{offset} {len}");
    }
    assert_eq!(sync_range(&open, 0, 0, 8), Err(Errno::INVAL));
    assert_eq!(sync_range(&open, 0, 0, 0), Ok(()));
    assert_eq!(file.store().count(Call::Writeback), 0);
    assert_eq!(sync_range(&open, 4096, 1, wait), Ok(()));
    advise(&open, 0, 0, linux::POSIX_FADV_NORMAL).unwrap();
    assert_eq!(file.evict_all(), 1, "the one page that was written");
    assert_eq!(sync_range(&open, 4096, 0, wait), Ok(()));
    assert_eq!(file.evict_all(), 1, "the one behind it");
    assert_eq!(file.store().count(Call::Sync), 0, "nothing is synced");
    file.store().fail_writebacks();
    assert_eq!(sync_range(&open, 0, 0, wait), Err(Errno::IO));
}

#[test]
fn fadvise_dontneed_drops_the_whole_pages_of_its_range() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    write(&open, &[1; 4 * 4096 + 100]).unwrap();
    let reads = || file.store().count(Call::Read);
    let advised = |offset, len| {
        advise(&open, offset, len, linux::POSIX_FADV_DONTNEED).unwrap();
        let before = reads();
        assert_eq!(pread(&open, 20_000, 0), Ok(vec![1; 4 * 4096 + 100]));
        reads() - before
    };
    assert_eq!(advised(1, 4096), 0, "no whole page");
    assert_eq!(advised(1, 2 * 4096), 1);
    assert_eq!(advised(0, 2 * 4096), 2);
    assert_eq!(advised(4 * 4096, 50), 0, "the last page is still needed");
    assert_eq!(advised(4 * 4096, 100), 1, "up to the end of the file");
    assert_eq!(advised(0, 0), 5, "all");
    assert_eq!(advised(u64::MAX, 0), 0);
    assert_eq!(advised(3 * 4096, i64::MAX as u64), 2);
}

#[test]
fn fadvise_checks_what_linux_checks() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    assert_eq!(advise(&open, 0, 1 << 63, linux::POSIX_FADV_NORMAL), Err(Errno::INVAL));
    assert_eq!(advise(&open, 0, 0, 99), Err(Errno::INVAL));
    for advice in 0..=5 {
        assert_eq!(advise(&open, 0, 0, advice), Ok(()));
    }
    assert_eq!(pread(&open, 1, 0), Ok(vec![1]), "memory files keep their pages");
}

#[test]
fn fadvise_dontneed_leaves_a_failed_writeback_to_the_next_sync() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    write(&open, b"x").unwrap();
    file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
    assert_eq!(advise(&open, 0, 0, linux::POSIX_FADV_DONTNEED), Ok(()));
    assert_eq!(pread(&open, 1, 0), Ok(b"x".to_vec()), "F5");
    assert_eq!(fsync(&open), Err(Errno::IO));
}

#[test]
fn f8_a_read_that_the_store_fails_is_eio_and_moves_nothing() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let open = file.open_rw();
    file.evict_all();
    advise(&open, 0, 0, linux::POSIX_FADV_RANDOM).unwrap();
    assert_eq!(pread(&open, 1, 0), Ok(vec![1]));
    file.store().plan(Call::Read, When::EveryNth(1), Answer::Fail(CacheErrno::Io));
    assert!(read(&open, 8192) == Ok(vec![1; 4096]), "progress beats the error (W4)");
    assert_eq!(read(&open, 1), Err(Errno::IO));
    file.store().clear();
    assert_eq!(position(&open), 4096);
    assert_eq!(read(&open, 1), Ok(vec![2]));
}

#[test]
fn what_is_read_ahead_follows_the_advice() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(8);
    let open = file.open_rw();
    let reads = || file.store().count(Call::Read);
    let read_one = |advice| {
        file.evict_all();
        advise(&open, 0, 0, advice).unwrap();
        let before = reads();
        assert_eq!(pread(&open, 1, 0), Ok(vec![1]));
        reads() - before
    };
    assert_eq!(read_one(linux::POSIX_FADV_RANDOM), 1);
    assert!(read_one(linux::POSIX_FADV_SEQUENTIAL) > 1);
    file.evict_all();
    let before = reads();
    advise(&open, 4096, 8192, linux::POSIX_FADV_WILLNEED).unwrap();
    assert_eq!(reads() - before, 2, "the two pages of the range");
    assert_eq!(pread(&open, 8192, 4096).map(|bytes| bytes.len()), Ok(8192));
    assert_eq!(reads() - before, 2);
}

#[test]
fn f2_threads_that_sync_one_open_file_at_a_time_miss_no_failure() {
    watched(|| {
        let rig = Rig::new();
        let file = rig.disk_file();
        let open = file.open_rw();
        for _ in 0..50 {
            write(&open, b"x").unwrap();
            file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
            let told = std::thread::scope(|scope| {
                let syncs = [(); 2].map(|()| scope.spawn(|| fsync(&open)));
                syncs.map(|sync| sync.join().expect("no panic"))
            });
            assert!(told.contains(&Err(Errno::IO)), "{told:?}");
            // At most once more, if the two saw different ends of the sequence.
            let _again = fsync(&open);
            assert_eq!(fsync(&open), Ok(()));
        }
    });
}

#[test]
fn cachestat_counts_the_pages_of_a_range_as_linux_reads_its_arguments() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(4);
    let open = file.open_rw();
    file.evict_all();
    let stat = |offset, len| {
        let stat = open.cache_stat(offset, len, 0).expect("no flags");
        (stat.cached, stat.dirty, stat.writeback)
    };
    assert_eq!(stat(0, 0), (0, 0, 0));
    advise(&open, 0, 0, linux::POSIX_FADV_RANDOM).unwrap();
    assert_eq!(pread(&open, 1, 4096), Ok(vec![2]));
    write(&open, b"x").unwrap();
    assert_eq!(stat(0, 0), (2, 1, 0), "to the end");
    assert_eq!(stat(4095, 2), (2, 1, 0), "every page that is touched");
    assert_eq!(stat(4096, 4096), (1, 0, 0));
    assert_eq!(stat(8192, u64::MAX), (0, 0, 0), "a range that wraps");
    assert_eq!(open.cache_stat(0, 0, 1), Err(Errno::INVAL));
    fsync(&open).unwrap();
    assert_eq!(stat(0, 0), (2, 0, 0));
}
