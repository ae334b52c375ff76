//! What `mmap` and the other calls check.

use std::sync::Arc;

use faultless::prelude::*;
use faultless_posix::{Errno as E, MapRequest, Owner, Rights, Sharing, Signal};
use linux_raw_sys::general as linux;

use crate::support::*;
use crate::{NONE, R, RW};

fn request(open: &Open, offset: u64, len: usize) -> MapRequest<Machine> {
    let (description, rights) = (Arc::clone(open), R);
    MapRequest { description, offset, len, rights, sharing: Sharing::Private }
}

#[test]
fn mmap_checks_length_offset_and_end_in_that_order() {
    let rig = Rig::new();
    let open = rig.numbered(1).open(linux::O_WRONLY);
    let check = |offset, len| request(&open, offset, len).check();
    assert_eq!(check(0, 0), Err(E::INVAL));
    assert_eq!(check(1, 1), Err(E::INVAL));
    assert_eq!(check(0, usize::MAX), Err(E::NOMEM));
    assert_eq!(check(1 << 63, 1), Err(E::OVERFLOW));
    assert_eq!(check(u64::MAX - 4095, 4096), Err(E::OVERFLOW));
    assert_eq!(check(i64::MAX as u64 - 4095, 1), Err(E::OVERFLOW));
    assert_eq!(check(i64::MAX as u64 - 2 * 4096 + 1, 1), Err(E::ACCES), "fits");
    let open = rig.numbered(1).open(linux::O_RDONLY);
    assert_eq!(request(&open, 0, 4097).check(), Ok(2));
}

#[test]
fn mmap_needs_a_file_open_for_reading_and_for_stores_to_it_for_writing() {
    let rig = Rig::new();
    let file = rig.numbered(1);
    let process = rig.process();
    let map = |flags, rights, sharing| process.map(0, 1, (&file.open(flags), 0), rights, sharing);
    for rights in [NONE, R, RW] {
        for sharing in [Sharing::Shared, Sharing::Private] {
            assert_eq!(map(linux::O_WRONLY, rights, sharing), Err(E::ACCES));
            assert_eq!(map(linux::O_RDWR, rights, sharing), Ok(()));
        }
        assert_eq!(map(linux::O_RDONLY, rights, Sharing::Private), Ok(()));
    }
    assert_eq!(map(linux::O_RDONLY, R, Sharing::Shared), Ok(()));
    assert_eq!(map(linux::O_RDONLY, RW, Sharing::Shared), Err(E::ACCES));
    assert!(process.space.area_at(at(0)).is_some(), "a refused request replaces nothing");
    assert_eq!(process.protect(0, 1, RW), Err(E::ACCES));
}

#[test]
fn an_address_that_is_not_the_start_of_a_page_is_einval_everywhere() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.share(0, 2, &open);
    let (space, odd) = (&process.space, at(0) + 1);
    assert_eq!(Space::map(space, odd, request(&open, 0, 1)), Err(E::INVAL));
    assert_eq!(Space::unmap(space, odd, 1), Err(E::INVAL));
    assert_eq!(Space::protect(space, odd, 1, R), Err(E::INVAL));
    assert_eq!(Space::discard(space, odd, 1), Err(E::INVAL));
    assert_eq!(Space::relocate(space, odd, at(9), 1), Err(E::INVAL));
    assert_eq!(Space::relocate(space, at(0), at(9) + 1, 1), Err(E::INVAL));
    assert_eq!(Space::extend(space, odd, 1), Err(E::INVAL));
    assert_eq!(Space::resident(space, odd, 1), Err(E::INVAL));
    assert_eq!(syscall(|token| Space::sync(space, token, odd, 1, 0, &NoTask)), Err(E::INVAL));
    assert_eq!(process.loads(0..2), [Ok(1), Ok(2)]);
}

#[test]
fn a_range_that_wraps_is_what_linux_says_for_each_call() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(0, 2, &rig.numbered(2).open_rw());
    let (space, len) = (&process.space, usize::MAX - at(1));
    assert_eq!(Space::unmap(space, at(2), len), Err(E::INVAL));
    assert_eq!(Space::discard(space, at(2), len), Err(E::INVAL));
    assert_eq!(Space::protect(space, at(2), len, R), Err(E::NOMEM));
    assert_eq!(Space::resident(space, at(2), len), Err(E::NOMEM));
    assert_eq!(syscall(|token| Space::sync(space, token, at(2), len, 0, &NoTask)), Err(E::NOMEM));
}

#[test]
fn a_length_of_nothing_does_nothing_but_for_munmap() {
    let rig = Rig::new();
    let process = rig.process();
    let open = rig.numbered(3).open(linux::O_RDONLY);
    process.map(0, 3, (&open, 0), R, Sharing::Shared).unwrap();
    assert_eq!(process.unmap(1, 0), Err(E::INVAL));
    assert_eq!(process.protect(1, 0, RW), Ok(()), "no page is refused");
    assert_eq!(process.discard(1, 0), Ok(()));
    assert_eq!(process.msync(1, 0, linux::MS_SYNC), Ok(()));
    assert_eq!(process.resident(1, 0), Ok(vec![]));
    assert_eq!(process.populate(1, 0), Ok(()));
    assert_eq!(process.space.area_at(at(1)).unwrap().pages.len(), 3, "nothing is split");
}

#[test]
fn mincore_tells_of_entries_and_of_pages_in_the_cache_over_all_mappings() {
    let rig = Rig::new();
    let process = rig.process();
    let file = rig.numbered_on_disk(4);
    let open = file.open_rw();
    // Nothing is read that no access asks for.
    advise(&open, 0, 0, linux::POSIX_FADV_RANDOM).unwrap();
    process.map(0, 2, (&open, 1), RW, Sharing::Shared).unwrap();
    process.map(2, 3, (&open, 2), RW, Sharing::Private).unwrap();
    file.evict_all();
    assert_eq!(process.resident(0, 5), Ok(vec![false; 5]));
    // Page 2 of the file: the second page of the one mapping, and the first of the other.
    assert_eq!(process.load(1), Ok(3));
    assert_eq!(process.resident(0, 5), Ok(vec![false, true, true, false, false]));
    // A private copy is in memory, whatever becomes of the page of the file.
    assert_eq!(process.store(3, 9), Ok(()));
    file.evict_all();
    assert_eq!(process.resident(0, 5), Ok(vec![false, false, false, true, false]));
    assert_eq!(process.resident(1, 3), Ok(vec![false, false, true]), "a part of it");
    assert_eq!(process.resident(4, 2), Err(E::NOMEM), "a page without a mapping");
}

#[test]
fn lengths_are_rounded_up_to_pages() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let process = rig.process();
    Space::map(&process.space, at(0), request(&open, 0, 4097)).unwrap();
    assert_eq!(process.loads(0..3), [Ok(1), Ok(2), Err(Signal::Segv)]);
    Space::unmap(&process.space, at(0), 1).unwrap();
    assert_eq!(process.loads(0..2), [Err(Signal::Segv), Ok(2)]);
}

#[test]
fn unmap_of_pages_without_a_mapping_is_fine() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(1, 1, &rig.numbered(1).open_rw());
    assert_eq!(process.unmap(0, 4), Ok(()));
    assert_eq!(process.unmap(0, 4), Ok(()));
}

#[test]
fn a_range_with_an_unmapped_page_is_enomem_for_those_that_need_all() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let process = rig.process();
    process.map_private(0, 3, &open);
    process.store(0, 60).unwrap();
    process.store(2, 62).unwrap();
    assert_eq!(process.resident(2, 2), Err(E::NOMEM), "the last one");
    assert_eq!(process.resident(3, 1), Err(E::NOMEM), "the only one");
    assert_eq!(process.msync(0, 4, linux::MS_ASYNC), Err(E::NOMEM));
    process.unmap(1, 1).unwrap();
    assert_eq!(process.resident(0, 3), Err(E::NOMEM));
    assert_eq!(process.msync(0, 3, linux::MS_ASYNC), Err(E::NOMEM));
    assert_eq!(process.populate(0, 3), Err(E::NOMEM));
    assert_eq!(process.relocate(0, 10, 3), Err(E::FAULT));
    assert_eq!(process.loads(0..1), [Ok(60)]);
    assert_eq!(process.discard(0, 3), Err(E::NOMEM));
    assert_eq!((process.load(0), process.load(2)), (Ok(1), Ok(3)), "the others are done (Linux)");
}

#[test]
fn mincore_says_what_is_in_memory_mapped_or_not() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(3);
    let open = file.open_rw();
    let process = rig.process();
    process.map_private(0, 4, &open);
    assert_eq!(process.resident(0, 4), Ok(vec![true, true, true, false]));
    process.store(1, 9).unwrap();
    file.evict_all();
    assert_eq!(process.resident(0, 4), Ok(vec![false, true, false, false]));
    pread(&open, 1, 2 * 4096).unwrap();
    assert_eq!(process.resident(1, 2), Ok(vec![true, true]));
}

#[test]
fn populate_brings_pages_in_as_the_first_access_would() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(4);
    let open = file.open_rw();
    let process = rig.process();
    process.share(0, 2, &open);
    process.map_private(2, 2, &open);
    file.evict_all();
    assert_eq!(process.populate(0, 4), Ok(()));
    let faults = process.faults();
    assert_eq!(process.loads(0..4), [Ok(1), Ok(2), Ok(1), Ok(2)]);
    process.store(3, 9).unwrap();
    assert_eq!(process.faults(), faults);
    assert_eq!(process.counts(2), 1, "a private copy already");
    process.share(4, 6, &open);
    assert_eq!(process.populate(4, 6), Err(E::NOMEM), "past the end of the file");
    assert!(process.entry(7).is_some());
    process.protect(0, 1, Rights::empty()).unwrap();
    assert_eq!(process.populate(0, 1), Err(E::NOMEM));
}

#[test]
fn pages_are_brought_in_for_loads_or_for_stores() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let open = file.open_rw();
    let process = rig.process();
    process.map_private(0, 3, &open);
    let bring_in = |n, pages, access| {
        // SAFETY: as at the entry of a system call: no lock is held.
        let mut token = unsafe { InFault::enter() };
        Space::populate_for(&process.space, &mut token, at(n), pages * PAGE_SIZE, access, &NoTask)
    };
    assert_eq!(bring_in(0, 1, Access::Read), Ok(()));
    assert_eq!(process.entry(0).map(|entry| entry.owner), Some(Owner::File));
    assert_eq!(bring_in(0, 2, Access::Write), Ok(()));
    assert_eq!(process.entry(1).map(|entry| entry.owner), Some(Owner::Space));
    assert_eq!(bring_in(1, 2, Access::Read), Err(E::FAULT), "past the end of the file");
    assert_eq!(bring_in(3, 1, Access::Read), Err(E::NOMEM), "no mapping");
    process.protect(0, 1, Rights::READ).unwrap();
    assert_eq!(bring_in(0, 1, Access::Write), Err(E::ACCES));
}

#[test]
fn bytes_of_another_address_space_are_copied_up_to_the_first_that_is_not_there() {
    let rig = Rig::new();
    let file = rig.numbered(2);
    let open = file.open_rw();
    let process = rig.process();
    process.share(0, 1, &open);
    process.map_private(1, 1, &open);
    // SAFETY: as at the entry of a system call: no lock is held.
    let mut token = unsafe { InFault::enter() };
    let (space, start) = (&process.space, at(1) - 4);
    assert_eq!(space.write_bytes(&mut token, start, b"abcdefgh", &NoTask), 8);
    let mut read = [0; 8];
    assert_eq!(space.read_bytes(&mut token, start, &mut read, &NoTask), 8);
    assert_eq!(&read, b"abcdefgh");
    assert_eq!(pread(&open, 4, 4092).unwrap(), b"abcd", "the file's");
    assert_eq!(process.load(1), Ok(b'e'));
    assert_eq!(pread(&open, 1, 0).unwrap(), [1], "a private copy");
    let mut more = [0; 5000];
    assert_eq!(space.read_bytes(&mut token, at(1), &mut more, &NoTask), PAGE_SIZE);
    process.protect(1, 1, Rights::READ).unwrap();
    assert_eq!(space.write_bytes(&mut token, start, b"12345678", &NoTask), 4);
    assert_eq!(space.read_bytes(&mut token, at(2), &mut read, &NoTask), 0);
}
