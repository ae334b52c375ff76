//! `ftruncate` and `fallocate`.

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::support::*;

#[test]
fn truncate_cuts_and_extends_with_zeros_and_leaves_the_position() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    seek(&open, 5000, linux::SEEK_SET).unwrap();
    assert_eq!(truncate(&open, 100), Ok(()));
    assert_eq!(truncate(&open, 5000), Ok(()));
    let seen = pread(&open, 9999, 0).unwrap();
    assert_eq!((&seen[..100], &seen[100..]), (&[1; 100][..], &[0; 4900][..]));
    assert_eq!(position(&open), 5000);
}

#[test]
fn truncate_needs_a_file_that_is_open_for_writing_and_a_size_that_can_be() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    assert_eq!(truncate(&file.open(linux::O_RDONLY), 0), Err(Errno::INVAL));
    let open = file.open(linux::O_WRONLY);
    assert_eq!(truncate(&open, 1 << 63), Err(Errno::INVAL));
    assert_eq!(truncate(&open, i64::MAX as u64), Ok(()));
    assert_eq!(truncate(&open, 4096), Ok(()));
    let on_disk = rig.disk_file().open_rw();
    assert_eq!(truncate(&on_disk, DISK_PAGES as u64 * 4096 + 1), Err(Errno::FBIG));
    assert_eq!(on_disk.inode().size(), 0);
}

#[test]
fn fallocate_checks_its_range_before_the_file_and_then_declines() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let (r, w) = (file.open(linux::O_RDONLY), file.open(linux::O_WRONLY));
    for range in [(-1, 1), (0, 0), (0, -1), (i64::MIN, i64::MAX)] {
        assert_eq!(r.allocate(range.0, range.1), Err(Errno::INVAL), "{range:?}");
        assert_eq!(w.allocate(range.0, range.1), Err(Errno::INVAL), "{range:?}");
    }
    assert_eq!(r.allocate(i64::MAX, 1), Err(Errno::BADF));
    assert_eq!(w.allocate(i64::MAX, 1), Err(Errno::FBIG));
    assert_eq!(w.allocate(0, 1), Err(Errno::OPNOTSUPP));
}
