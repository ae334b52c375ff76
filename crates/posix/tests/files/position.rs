//! `lseek`, and what `dup` shares.

use std::sync::Arc;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::support::*;

const MAX: i64 = i64::MAX;

#[test]
fn seek_moves_from_the_start_the_position_and_the_end() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    assert_eq!(seek(&open, 10, linux::SEEK_SET), Ok(10));
    assert_eq!(seek(&open, -3, linux::SEEK_CUR), Ok(7));
    assert_eq!(seek(&open, -6, linux::SEEK_END), Ok(4090));
    assert_eq!(seek(&open, 6, linux::SEEK_END), Ok(4102));
    assert_eq!(read(&open, 1), Ok(vec![]), "past the end");
}

#[test]
fn a_position_that_cannot_be_is_einval_and_the_old_one_stays() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    seek(&open, 5, linux::SEEK_SET).unwrap();
    let refused = [
        (-1, linux::SEEK_SET),
        (i64::MIN, linux::SEEK_SET),
        (-6, linux::SEEK_CUR),
        (MAX, linux::SEEK_CUR),
        (-4097, linux::SEEK_END),
        (MAX, linux::SEEK_END),
        (0, 5),
        (0, u32::MAX),
    ];
    for (offset, whence) in refused {
        assert_eq!(seek(&open, offset, whence), Err(Errno::INVAL), "{offset} {whence}");
        assert_eq!(position(&open), 5);
    }
    assert_eq!(seek(&open, MAX, linux::SEEK_SET), Ok(MAX as u64));
    assert_eq!(seek(&open, 1, linux::SEEK_CUR), Err(Errno::INVAL));
    assert_eq!(write(&open, b"x"), Err(Errno::INVAL));
    assert_eq!(read(&open, 1), Err(Errno::INVAL));
    assert_eq!((write(&open, b""), read(&open, 0)), (Ok(0), Ok(vec![])));
    assert_eq!(position(&open), MAX as u64);
}

#[test]
fn data_is_where_something_was_written_and_a_hole_behind_the_end() {
    let rig = Rig::new();
    for file in [rig.memory_file(), rig.disk_file()] {
        let open = file.open_rw();
        assert_eq!(seek(&open, 0, linux::SEEK_DATA), Err(Errno::NXIO), "an empty file");
        pwrite(&open, b"x", 9999).unwrap();
        assert_eq!(seek(&open, 17, linux::SEEK_DATA), Ok(8192));
        assert_eq!(seek(&open, 17, linux::SEEK_HOLE), Ok(17));
        assert_eq!(seek(&open, 9000, linux::SEEK_HOLE), Ok(10_000));
        assert_eq!(position(&open), 10_000);
        for offset in [10_000, MAX, -1] {
            assert_eq!(seek(&open, offset, linux::SEEK_DATA), Err(Errno::NXIO));
            assert_eq!(seek(&open, offset, linux::SEEK_HOLE), Err(Errno::NXIO));
        }
        assert_eq!(fallocate(&open, 3, 8192, 4096), Ok(()), "a hole");
        assert_eq!(seek(&open, 17, linux::SEEK_DATA), Err(Errno::NXIO));
        assert_eq!(position(&open), 10_000);
    }
}

#[test]
fn a_dup_shares_the_position_and_another_open_does_not() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let open = file.open_rw();
    let (dup, other) = (Arc::clone(&open), file.open_rw());
    seek(&dup, 7, linux::SEEK_SET).unwrap();
    assert_eq!((position(&open), position(&other)), (7, 0));
}

#[test]
fn flags_that_f_setfl_changes_are_those_that_linux_does() {
    let rig = Rig::new();
    let open = rig.memory_file().open(linux::O_WRONLY | linux::O_DSYNC | linux::O_CREAT);
    assert_eq!(open.flags(), linux::O_WRONLY | linux::O_DSYNC);
    open.set_flags(linux::O_APPEND | linux::O_RDWR | linux::O_SYNC);
    assert_eq!(open.flags(), linux::O_WRONLY | linux::O_DSYNC | linux::O_APPEND);
    open.set_flags(0);
    assert_eq!(open.flags(), linux::O_WRONLY | linux::O_DSYNC);
}

#[test]
fn l3_a_task_that_is_to_die_does_not_wait_for_the_position() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    let task = TestTask::default();
    task.killed.set(true);
    // The lock is free: the call may go on, and moves the position as a whole, or not.
    let moved = syscall(|token| open.seek(token, 3, linux::SEEK_SET, &task));
    assert!(moved == Ok(3) || moved == Err(Errno::INTR), "{moved:?}");
}
