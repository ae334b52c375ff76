//! `msync`, and what a sync owes to stores through mappings.

use faultless::parts::{Answer, Call, When};
use faultless::prelude::Errno as CacheErrno;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::support::*;

#[test]
fn msync_checks_its_flags() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(0, 1, &rig.numbered(1).open_rw());
    for flags in [0, linux::MS_ASYNC, linux::MS_SYNC, linux::MS_SYNC | linux::MS_INVALIDATE] {
        assert_eq!(process.msync(0, 1, flags), Ok(()));
    }
    for flags in [linux::MS_ASYNC | linux::MS_SYNC, 8, u32::MAX] {
        assert_eq!(process.msync(0, 1, flags), Err(Errno::INVAL));
    }
}

#[test]
fn msync_makes_stores_of_its_range_durable_also_before_a_gap() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(4);
    let process = rig.process();
    process.share(0, 4, &file.open_rw());
    for n in 0..4 {
        process.store(n, 60).unwrap();
    }
    process.unmap(2, 1).unwrap();
    let before = file.store().count(Call::Writeback);
    assert_eq!(process.msync(0, 1, linux::MS_ASYNC), Ok(()));
    assert_eq!(file.store().count(Call::Writeback), before);
    assert_eq!(process.msync(1, 3, linux::MS_SYNC), Err(Errno::NOMEM));
    assert_eq!(file.evict_all(), 2, "pages 1 and 3; 0 and 2 are dirty still");
    assert_eq!((process.load(1), process.load(3)), (Ok(60), Ok(60)));
}

#[test]
fn msync_of_a_private_mapping_writes_nothing() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(1);
    let process = rig.process();
    process.map_private(0, 1, &file.open_rw());
    pwrite(&file.open_rw(), b"x", 0).unwrap();
    let before = file.store().count(Call::Writeback);
    assert_eq!(process.msync(0, 1, linux::MS_SYNC), Ok(()));
    assert_eq!(file.store().count(Call::Writeback), before);
}

#[test]
fn f2_msync_and_fsync_of_one_open_file_report_a_failure_once() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(1);
    let (open, other) = (file.open_rw(), file.open_rw());
    let process = rig.process();
    process.share(0, 1, &open);
    process.map(1, 1, (&other, 0), crate::RW, faultless_posix::Sharing::Shared).unwrap();
    process.store(0, 9).unwrap();
    file.store().plan(Call::Writeback, When::Nth(1), Answer::Fail(CacheErrno::Io));
    assert_eq!(process.msync(0, 1, linux::MS_SYNC), Err(Errno::IO));
    assert_eq!(fsync(&open), Ok(()));
    assert_eq!(process.msync(1, 1, linux::MS_SYNC), Err(Errno::IO), "the other open file");
    assert_eq!(process.msync(1, 1, linux::MS_SYNC), Ok(()));
}

#[test]
fn a_store_after_a_writeback_is_dirty_again() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(1);
    let open = file.open_rw();
    let (a, b) = (rig.process(), rig.process());
    a.share(0, 1, &open);
    b.share(0, 1, &open);
    for byte in [10, 20, 30] {
        a.store(0, byte).unwrap();
        b.memory.store(at(0) + 1, &[byte]).unwrap();
        fsync(&open).unwrap();
        assert_eq!(file.evict_all(), 1);
        assert_eq!(pread(&open, 2, 0), Ok(vec![byte; 2]));
    }
}

#[test]
fn p1_a_store_between_two_syncs_is_on_the_disk_after_the_second() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let open = file.open_rw();
    let (process, other) = (rig.process(), rig.process());
    process.share(0, 2, &open);
    other.share(0, 2, &open);
    for byte in [10, 20, 30] {
        process.store(0, byte).unwrap();
        other.store(1, byte).unwrap();
        fsync(&open).unwrap();
        assert_eq!(stale_entries(process.space.root()), 0);
    }
    assert_eq!(file.evict_all(), 2);
    assert_eq!(process.loads(0..2), [Ok(30), Ok(30)]);
}
