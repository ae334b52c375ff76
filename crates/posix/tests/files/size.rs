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

const KEEP: u32 = linux::FALLOC_FL_KEEP_SIZE;
const HOLE: u32 = KEEP | linux::FALLOC_FL_PUNCH_HOLE;
const ZERO: u32 = linux::FALLOC_FL_ZERO_RANGE;
const COLLAPSE: u32 = linux::FALLOC_FL_COLLAPSE_RANGE;
const INSERT: u32 = linux::FALLOC_FL_INSERT_RANGE;

#[test]
fn fallocate_checks_its_range_then_the_mode_then_the_file() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let (r, w) = (file.open(linux::O_RDONLY), file.open(linux::O_WRONLY));
    let modes = [linux::FALLOC_FL_PUNCH_HOLE, HOLE | ZERO, 1 << 20];
    let shifts = [KEEP | COLLAPSE, KEEP | INSERT, COLLAPSE | INSERT, COLLAPSE | ZERO];
    for mode in modes.into_iter().chain(shifts) {
        assert_eq!(fallocate(&w, mode, 0, 0), Err(Errno::INVAL));
        assert_eq!(fallocate(&r, mode, 0, 4096), Err(Errno::OPNOTSUPP), "{mode:#x}");
    }
    for mode in [0, KEEP, HOLE, ZERO, ZERO | KEEP] {
        for (offset, len) in [(-1, 1), (0, 0), (0, -1), (i64::MIN, i64::MAX)] {
            assert_eq!(fallocate(&r, mode, offset, len), Err(Errno::INVAL), "{offset} {len}");
            assert_eq!(fallocate(&w, mode, offset, len), Err(Errno::INVAL), "{offset} {len}");
        }
        assert_eq!(fallocate(&r, mode, i64::MAX, 1), Err(Errno::BADF));
        assert_eq!(fallocate(&w, mode, i64::MAX, 1), Err(Errno::FBIG));
        assert_eq!(fallocate(&w, mode, 0, 1), Ok(()));
    }
}

#[test]
fn fallocate_moves_the_rest_of_a_file_where_the_store_can() {
    let rig = Rig::new();
    let file = rig.disk_file();
    let open = file.open_rw();
    let page = |value: u8| vec![value; 4096];
    pwrite(&open, &[page(1), page(2), page(3), vec![4; 100]].concat(), 0).unwrap();
    for mode in [COLLAPSE, INSERT] {
        assert_eq!(fallocate(&file.open(linux::O_RDONLY), mode, 0, 4096), Err(Errno::BADF));
        for (offset, len, errno) in [
            (-1, 4096, Errno::INVAL),
            (0, 0, Errno::INVAL),
            (100, 4096, Errno::INVAL),
            (0, 100, Errno::INVAL),
            (4 * 4096, 4096, Errno::INVAL),
            (i64::MAX - 4095, 4096, Errno::FBIG),
            (4096, DISK_PAGES as i64 * 4096, Errno::FBIG),
        ] {
            assert_eq!(fallocate(&open, mode, offset, len), Err(errno), "{mode:#x} {offset} {len}");
        }
    }
    assert_eq!(fallocate(&open, COLLAPSE, 4096, 3 * 4096), Err(Errno::INVAL), "up to the end");
    assert_eq!(fallocate(&open, COLLAPSE, 4096, 4096), Ok(()));
    let rest = [page(1), page(3), vec![4; 100]].concat();
    assert_eq!(pread(&open, 9 * 4096, 0).unwrap(), rest);
    assert_eq!(fallocate(&open, INSERT, 0, 2 * 4096), Ok(()));
    assert_eq!(pread(&open, 9 * 4096, 0).unwrap(), [page(0), page(0), rest].concat());
    assert_eq!(position(&open), 0);
    let in_memory = rig.memory_file();
    let open = in_memory.open_rw();
    pwrite(&open, &page(1), 0).unwrap();
    assert_eq!(fallocate(&open, COLLAPSE, 0, 4096), Err(Errno::OPNOTSUPP));
    assert_eq!(fallocate(&open, INSERT, 0, 4096), Err(Errno::OPNOTSUPP));
}

#[test]
fn fallocate_makes_room_holes_and_zeros_on_both_stores() {
    let rig = Rig::new();
    for file in [rig.memory_file(), rig.disk_file()] {
        let open = file.open_rw();
        pwrite(&open, &[7; 3 * 4096], 0).unwrap();
        assert_eq!(fallocate(&open, KEEP, 4096, 9 * 4096), Ok(()));
        assert_eq!(file.size(), 3 * 4096);
        assert_eq!(fallocate(&open, HOLE, 100, 4096), Ok(()));
        assert_eq!(fallocate(&open, ZERO, 3 * 4096 - 1, 100), Ok(()));
        assert_eq!(file.size(), 3 * 4096 + 99);
        assert_eq!(fallocate(&open, 0, 0, 4 * 4096), Ok(()));
        let mut expected = vec![0; 4 * 4096];
        expected[..3 * 4096 - 1].fill(7);
        expected[100..4196].fill(0);
        assert_eq!(pread(&open, 5 * 4096, 0).unwrap(), expected);
        assert_eq!(position(&open), 0);
    }
    let on_disk = rig.disk_file().open_rw();
    assert_eq!(fallocate(&on_disk, 0, 0, DISK_PAGES as i64 * 4096 + 1), Err(Errno::FBIG));
}
