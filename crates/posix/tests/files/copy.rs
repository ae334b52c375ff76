//! `copy_file_range`.

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::support::*;

#[test]
fn a_copy_goes_to_the_end_of_the_source_and_moves_no_position() {
    let rig = Rig::new();
    let (from, to) = (rig.numbered(40).open_rw(), rig.memory_file().open_rw());
    assert_eq!(copy((&from, 4096), (&to, 10), usize::MAX / 2), Ok(39 * 4096));
    let seen = pread(&to, 40 * 4096, 0).unwrap();
    assert_eq!((&seen[..10], &seen[10..]), (&[0; 10][..], &numbered_bytes(40)[4096..]));
    assert_eq!((position(&from), position(&to)), (0, 0));
    assert_eq!(copy((&from, 40 * 4096), (&to, 0), 1), Ok(0), "at the end");
}

#[test]
fn a_copy_needs_both_files_open_for_it_before_it_looks_at_positions() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let (r, w, rw) = (file.open(linux::O_RDONLY), file.open(linux::O_WRONLY), file.open_rw());
    let appends = file.open(linux::O_RDWR | linux::O_APPEND);
    let negative = 1 << 63;
    assert_eq!(copy((&w, negative), (&rw, 0), 1), Err(Errno::BADF));
    assert_eq!(copy((&rw, negative), (&r, 0), 1), Err(Errno::BADF));
    assert_eq!(copy((&rw, 0), (&appends, 0), 1), Err(Errno::BADF));
    assert_eq!(copy((&r, negative), (&w, 0), 1), Err(Errno::INVAL));
    assert_eq!(copy((&r, 0), (&w, negative), 1), Err(Errno::INVAL));
    assert_eq!(copy((&r, u64::MAX), (&w, 0), 1), Err(Errno::OVERFLOW), "wraps");
    assert_eq!(copy((&r, 0), (&w, u64::MAX), 1), Err(Errno::OVERFLOW));
}

#[test]
fn overlap_is_judged_after_the_range_was_cut_at_the_end_of_the_file() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    write(&open, b"0123456789").unwrap();
    assert_eq!(copy((&open, 0), (&open, 9), 10), Err(Errno::INVAL));
    assert_eq!(copy((&open, 5), (&open, 0), 6), Ok(5), "only 5 bytes are there");
    assert_eq!(copy((&open, 0), (&open, 10), 4096), Ok(10));
    assert_eq!(pread(&open, 99, 0), Ok(b"56789567895678956789".to_vec()));
    assert_eq!(copy((&open, 3), (&open, 3), 0), Ok(0));
    assert_eq!(copy((&open, 3), (&open, 3), 1), Err(Errno::INVAL));
}

#[test]
fn w9_a_copy_that_fills_the_store_is_short() {
    let rig = Rig::new();
    let (from, to) = (rig.numbered(40).open_rw(), rig.disk_file().open_rw());
    let at = (DISK_PAGES as u64 - 10) * 4096;
    assert_eq!(copy((&from, 0), (&to, at), 40 * 4096), Ok(10 * 4096));
    assert_eq!(copy((&from, 0), (&to, at + 10 * 4096), 1), Err(Errno::FBIG));
}
