//! Reads and writes, and their flags.

use faultless::parts::Call;
use faultless::prelude::*;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::support::*;

#[test]
fn w3_write_moves_the_position_and_pwrite_does_not() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    assert_eq!(write(&open, b"hello"), Ok(5));
    assert_eq!(pwrite(&open, b"J", 0), Ok(1));
    assert_eq!(position(&open), 5);
    assert_eq!(pread(&open, 9, 0), Ok(b"Jello".to_vec()));
    assert_eq!(read(&open, 9), Ok(vec![]));
    assert_eq!(position(&open), 5);
}

#[test]
fn a_read_moves_the_position_behind_what_arrived() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    seek(&open, 4090, linux::SEEK_SET).unwrap();
    assert_eq!(read(&open, 100), Ok(vec![1; 6]));
    assert_eq!(position(&open), 4096);
}

#[test]
fn a_file_that_is_not_open_for_it_is_ebadf_whatever_the_length() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let (r, w) = (file.open(linux::O_RDONLY), file.open(linux::O_WRONLY));
    for bytes in [&b""[..], b"x"] {
        assert_eq!(write(&r, bytes), Err(Errno::BADF));
        assert_eq!(pwrite(&r, bytes, 0), Err(Errno::BADF));
    }
    for len in [0, 1] {
        assert_eq!(read(&w, len), Err(Errno::BADF));
        assert_eq!(pread(&w, len, 0), Err(Errno::BADF));
    }
    assert_eq!((position(&r), position(&w)), (0, 0));
}

#[test]
fn a_negative_position_is_einval_also_for_a_file_that_is_not_open_for_it() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let (r, w) = (file.open(linux::O_RDONLY), file.open(linux::O_WRONLY));
    for position in [u64::MAX, 1 << 63] {
        assert_eq!(pread(&w, 1, position), Err(Errno::INVAL));
        assert_eq!(pwrite(&r, b"x", position), Err(Errno::INVAL));
        assert_eq!(pwrite(&w, b"", position), Err(Errno::INVAL));
    }
}

#[test]
fn a_request_that_ends_past_the_largest_position_is_einval() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let last = i64::MAX as u64 - 1;
    assert_eq!(pread(&open, 1, last), Ok(vec![]));
    assert_eq!(pread(&open, 2, last), Err(Errno::INVAL));
    assert_eq!(pwrite(&open, b"xy", last), Err(Errno::INVAL));
    assert_eq!(pwrite_flags(&open, b"xy", last, RwFlags::APPEND), Err(Errno::INVAL));
    assert_eq!(pwrite(&open, b"x", last), Ok(1));
    assert_eq!(open.inode().size(), i64::MAX as u64);
    assert_eq!(pwrite_flags(&open, b"x", 0, RwFlags::APPEND), Err(Errno::FBIG));
    assert_eq!(truncate(&open, 0), Ok(()));
}

#[test]
fn w8_o_append_writes_at_the_end_wherever_the_position_is() {
    let rig = Rig::new();
    let file = rig.memory_file();
    let (open, other) = (file.open(linux::O_RDWR | linux::O_APPEND), file.open_rw());
    write(&other, b"abc").unwrap();
    assert_eq!(write(&open, b"de"), Ok(2));
    assert_eq!(position(&open), 5);
    assert_eq!(pwrite(&open, b"f", 1), Ok(1));
    assert_eq!(position(&open), 5, "pwrite leaves it");
    assert_eq!(write(&open, b""), Ok(0));
    assert_eq!(position(&open), 5, "nothing was appended");
    assert_eq!(pread(&open, 9, 0), Ok(b"abcdef".to_vec()));
    open.set_flags(0);
    assert_eq!(write(&open, b"X"), Ok(1));
    assert_eq!(pread(&open, 9, 0), Ok(b"abcdeX".to_vec()));
}

#[test]
fn rwf_append_and_noappend_are_for_one_call() {
    let rig = Rig::new();
    let file = rig.memory_file();
    let plain = file.open_rw();
    write(&plain, b"abc").unwrap();
    assert_eq!(pwrite_flags(&plain, b"d", 0, RwFlags::APPEND), Ok(1));
    assert_eq!(position(&plain), 3);
    seek(&plain, 0, linux::SEEK_SET).unwrap();
    assert_eq!(write_flags(&plain, b"e", RwFlags::APPEND), Ok(1));
    assert_eq!(position(&plain), 5);
    let appends = file.open(linux::O_RDWR | linux::O_APPEND);
    assert_eq!(pwrite_flags(&appends, b"A", 0, RwFlags::NOAPPEND), Ok(1));
    assert_eq!(write_flags(&appends, b"B", RwFlags::NOAPPEND), Ok(1));
    assert_eq!(position(&appends), 1);
    assert_eq!(pread(&plain, 9, 0), Ok(b"Bbcde".to_vec()));
}

#[test]
fn flags_of_a_call_that_mean_nothing_are_refused() {
    let known = RwFlags::from_raw(linux::RWF_HIPRI | linux::RWF_DSYNC | linux::RWF_SYNC);
    assert_eq!(known, Ok(RwFlags::HIPRI | RwFlags::DSYNC | RwFlags::SYNC));
    assert_eq!(RwFlags::from_raw(0), Ok(RwFlags::empty()));
    assert_eq!(RwFlags::from_raw(linux::RWF_NOWAIT), Ok(RwFlags::NOWAIT));
    assert_eq!(RwFlags::from_raw(0x80), Ok(RwFlags::DONTCACHE));
    assert_eq!(RwFlags::from_raw(0x40), Err(Errno::OPNOTSUPP));
    assert_eq!(RwFlags::from_raw(1 << 30), Err(Errno::OPNOTSUPP));
    assert_eq!(RwFlags::from_raw(linux::RWF_APPEND | 0x20), Err(Errno::INVAL));
}

#[test]
fn rwf_nowait_reads_what_is_in_the_cache_and_is_refused_for_writes() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let open = file.open_rw();
    file.evict_all();
    let reads = || file.store().count(Call::Read);
    let before = reads();
    assert_eq!(try_pread(&open, 1, 4096), Err(Errno::AGAIN));
    assert_eq!(try_read(&open, 1), Err(Errno::AGAIN));
    assert_eq!((reads(), position(&open)), (before, 0), "nothing was started");
    assert_eq!(pread(&open, 1, 0), Ok(vec![1]));
    file.evict_all();
    assert_eq!(write(&open, b"x"), Ok(1));
    assert_eq!(try_pread(&open, 9000, 0).map(|got| got.len()), Ok(4096), "up to what is missing");
    assert_eq!(seek(&open, 0, linux::SEEK_SET), Ok(0));
    assert_eq!(try_read(&open, 1), Ok(b"x".to_vec()));
    assert_eq!(position(&open), 1);
    assert_eq!(try_pread(&open, 9, 8192), Ok(vec![]), "the end of the file");
    assert_eq!(write_flags(&open, b"y", RwFlags::NOWAIT), Err(Errno::OPNOTSUPP));
    let appends = file.open(linux::O_WRONLY);
    assert_eq!(try_read(&appends, 1), Err(Errno::BADF));
}

#[test]
fn w1_a_source_that_ends_gives_its_readable_prefix_and_then_efault() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let process = rig.process();
    process.memory.store(PLAIN, &[7; PLAIN_LEN]).unwrap();
    let near_end = PLAIN + PLAIN_LEN - 5000;
    assert_eq!(process.write(&open, near_end, 9000), Ok(5000));
    assert_eq!((position(&open), open.inode().size()), (5000, 5000));
    assert_eq!(process.write(&open, PLAIN + PLAIN_LEN, 10), Err(Errno::FAULT));
    assert_eq!((position(&open), open.inode().size()), (5000, 5000));
    assert_eq!(pread(&open, 9000, 0), Ok(vec![7; 5000]));
}

#[test]
fn a_destination_that_ends_gets_what_fits_and_then_efault() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let process = rig.process();
    assert_eq!(process.read(&open, PLAIN + PLAIN_LEN - 5000, 9000), Ok(5000));
    assert_eq!(position(&open), 5000);
    assert_eq!(process.read(&open, PLAIN + PLAIN_LEN, 10), Err(Errno::FAULT));
    assert_eq!(position(&open), 5000);
    let seen = process.memory.load(PLAIN + PLAIN_LEN - 5000, 5000).unwrap();
    assert_eq!(seen, numbered_bytes(2)[..5000]);
}

#[test]
fn w8_a_write_at_the_limit_fails_with_the_signal_and_one_below_is_clipped() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    let task = TestTask { limit: Some(10), ..TestTask::default() };
    let call = |at: u64| {
        let memory = KernelMemory::<MayFault>::readable(&[1; 8]);
        let slice = memory.slice();
        let mut from = IovIter::from_slice(&memory, &slice);
        syscall(|token| open.write_at(token, &mut from, at, RwFlags::empty(), &task))
    };
    assert_eq!((call(6), task.signals.get()), (Ok(4), 0));
    assert_eq!((call(10), task.signals.get()), (Err(Errno::FBIG), 1));
    assert_eq!(syscall(|token| open.truncate(token, 11, &task)), Err(Errno::FBIG));
    assert_eq!((task.signals.get(), open.inode().size()), (2, 10));
}

#[test]
fn w10_a_task_that_is_to_die_gets_eintr_and_moves_nothing() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    let task = TestTask::default();
    task.killed.set(true);
    let memory = KernelMemory::<MayFault>::readable(&[1; 8]);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    let written = syscall(|token| open.write(token, &mut from, RwFlags::empty(), &task));
    assert_eq!((written, position(&open)), (Err(Errno::INTR), 0));
    assert_eq!(from.count(), 8);
}

#[test]
fn w9_a_full_store_ends_a_write_short_and_the_next_one_is_enospc() {
    let rig = Rig::new();
    let open = rig.disk_file().open_rw();
    let room = DISK_PAGES * 4096;
    seek(&open, room as i64 - 4096, linux::SEEK_SET).unwrap();
    assert_eq!(write(&open, &[1; 8192]), Ok(4096));
    assert_eq!(position(&open), room as u64);
    assert_eq!(write(&open, &[1; 8192]), Err(Errno::FBIG));
    assert_eq!(position(&open), room as u64);
}

#[test]
fn w13_a_file_is_written_from_its_own_mapping() {
    // The reason for the project: DL1.
    let rig = Rig::new();
    let open = rig.numbered(4).open_rw();
    let process = rig.process();
    process.share(0, 4, &open);
    assert_eq!(process.pwrite(&open, at(0), 4096, 0), Ok(4096), "onto itself");
    assert_eq!(process.pwrite(&open, at(0), 2 * 4096, 2 * 4096), Ok(2 * 4096));
    assert_eq!(process.loads(0..4), [Ok(1), Ok(2), Ok(1), Ok(2)]);
    // Appended from itself: the source is the file's last page, and the file grows.
    seek(&open, 0, linux::SEEK_END).unwrap();
    assert_eq!(process.write(&open, at(3), 4096), Ok(4096));
    assert_eq!(pread(&open, 4096, 4 * 4096), Ok(vec![2; 4096]));
    // A read into a mapping of what is read.
    assert_eq!(process.pread(&open, at(1) + 100, 200, 0), Ok(200));
    assert_eq!(process.load(1), Ok(2));
    assert_eq!(process.memory.load(at(1) + 100, 200).unwrap(), [1; 200]);
}

#[test]
fn rwf_dontcache_leaves_nothing_of_what_it_brings_in() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(20);
    let cached = || file.mapping().cached_pages();
    let open = file.open_rw();
    assert_eq!(read_flags(&open, 3 * 4096, RwFlags::DONTCACHE), Ok(numbered_bytes(3)));
    assert_eq!((position(&open), cached()), (3 * 4096, 20), "they were there before");
    file.evict_all();
    seek(&open, 0, linux::SEEK_SET).unwrap();
    while !read_flags(&open, 3000, RwFlags::DONTCACHE).unwrap().is_empty() {}
    assert_eq!(cached(), 0);
    assert_eq!(pread_flags(&open, 4096, 4096, RwFlags::DONTCACHE), Ok(vec![2; 4096]));
    let nowait = RwFlags::DONTCACHE | RwFlags::NOWAIT;
    assert_eq!(pread_flags(&open, 4096, 4096, nowait), Err(Errno::AGAIN));
    assert_eq!(pwrite_flags(&open, &[9; 8192], 0, RwFlags::DONTCACHE), Ok(8192));
    assert_eq!(file.store().count(Call::Writeback), 1, "no write is a flush");
    assert_eq!(fsync(&open), Ok(()));
    assert_eq!(pread_flags(&open, 8192, 0, RwFlags::DONTCACHE), Ok(vec![9; 8192]));
    while !read_flags(&open, 3000, RwFlags::DONTCACHE).unwrap().is_empty() {}
    let memory = rig.numbered(3);
    let open = memory.open_rw();
    assert_eq!(write_flags(&open, &[7; 4096], RwFlags::DONTCACHE), Ok(4096));
    assert_eq!(fsync(&open), Ok(()));
    assert_eq!(read_flags(&open, 4096, RwFlags::DONTCACHE), Ok(vec![2; 4096]));
    assert_eq!(memory.mapping().cached_pages(), 3, "there is nowhere else");
}

#[test]
fn w13_a_source_that_is_evicted_each_time_still_ends() {
    let rig = Rig::new();
    let open = rig.numbered_on_disk(4).open_rw();
    let process = rig.process();
    process.share(0, 4, &open);
    open.file().evict_all();
    assert_eq!(process.pwrite(&open, at(0) + 100, 4096, 4096 - 50), Ok(4096));
    let seen = pread(&open, 4 * 4096, 0).unwrap();
    assert_eq!(seen[4096 - 50..2 * 4096 - 146], [1; 3996 + 4]);
}

#[test]
fn threads_that_share_a_position_or_append_write_over_nothing() {
    watched(|| {
        for flags in [linux::O_RDWR, linux::O_RDWR | linux::O_APPEND] {
            let rig = Rig::new();
            let file = rig.memory_file();
            let shared = file.open(flags);
            let appends = flags & linux::O_APPEND != 0;
            std::thread::scope(|scope| {
                for thread in 1..=3_u8 {
                    // One open file for all, or, to append, one for each.
                    let open = if appends { file.open(flags) } else { shared.clone() };
                    scope.spawn(move || {
                        for _ in 0..100 {
                            assert_eq!(write(&open, &[thread; 77]), Ok(77));
                        }
                    });
                }
            });
            let bytes = pread(&shared, 99_999, 0).unwrap();
            assert_eq!(bytes.len(), 300 * 77);
            assert!(bytes.chunks(77).all(|record| record.iter().all(|byte| *byte == record[0])));
            assert_eq!(position(&shared), if appends { 0 } else { 300 * 77 });
        }
    });
}
