//! Shared and private mappings, and what changes under them.

use faultless_posix::{Owner, Sharing, Signal};
use linux_raw_sys::general as linux;

use crate::support::*;
use crate::{R, RW};

#[test]
fn stores_of_a_shared_mapping_are_in_the_file_and_writes_are_in_the_mapping() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let (a, b) = (rig.process(), rig.process());
    a.share(0, 3, &open);
    b.map(7, 2, (&open, 1), R, Sharing::Shared).unwrap();
    a.store(1, 77).unwrap();
    assert_eq!(b.load(7), Ok(77));
    assert_eq!(pread(&open, 1, 4096), Ok(vec![77]));
    pwrite(&open, &[88], 2 * 4096).unwrap();
    assert_eq!((a.load(2), b.load(8)), (Ok(88), Ok(88)));
    assert_eq!(b.store(7, 1), Err(Signal::Segv));
}

#[test]
fn stores_of_a_private_mapping_are_its_own_and_pages_without_one_show_the_file() {
    let rig = Rig::new();
    let open = rig.numbered(3).open(linux::O_RDONLY);
    let writer = rig.process();
    writer.map_private(0, 3, &open);
    writer.store(0, 77).unwrap();
    assert_eq!(writer.load(1), Ok(2));
    writer.store(1, 78).unwrap();
    assert_eq!(writer.loads(0..3), [Ok(77), Ok(78), Ok(3)]);
    assert_eq!(pread(&open, 1, 0), Ok(vec![1]));
    assert_eq!(writer.memory.load(at(0) + 1, 3), Ok(vec![1; 3]), "the rest of the copy");
    assert_eq!(
        [0, 1, 2].map(|n| writer.entry(n).unwrap().owner),
        [Owner::Space, Owner::Space, Owner::File]
    );
    assert_eq!([0, 1, 2].map(|n| writer.counts(n)), [1, 1, 2]);
}

#[test]
fn writes_to_the_file_show_in_a_private_mapping_until_it_has_a_copy() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.map_private(0, 2, &open);
    process.store(0, 77).unwrap();
    pwrite(&open, &[5; 8192], 0).unwrap();
    assert_eq!(process.loads(0..2), [Ok(77), Ok(5)]);
    assert_eq!(process.memory.load(at(0) + 1, 1), Ok(vec![1]));
}

#[test]
fn a_mapping_keeps_the_file_open_and_unmap_closes_it() {
    let rig = Rig::new();
    let file = rig.numbered(2);
    let process = rig.process();
    process.share(0, 2, &file.open_rw());
    process.map_private(5, 2, &file.open_rw());
    assert_eq!(file.handles(), 3);
    assert_eq!(process.load(0), Ok(1));
    process.unmap(0, 1).unwrap();
    process.unmap(5, 2).unwrap();
    assert_eq!(file.handles(), 2, "a page is still mapped");
    process.unmap(1, 1).unwrap();
    assert_eq!(file.handles(), 1);
}

#[test]
fn the_last_handle_of_a_file_goes_with_its_mapping() {
    let rig = Rig::new();
    let process = rig.process();
    process.share(0, 40, &rig.numbered(40).open_rw());
    for n in 0..40 {
        process.store(n, 99).unwrap();
    }
    // The drop of the file checks that no short lock is held.
    process.unmap(0, 40).unwrap();
    assert_eq!(rig.frames_in_use(), 0);
}

#[test]
fn map_over_another_mapping_replaces_it_with_its_entries_and_copies() {
    let rig = Rig::new();
    let (old, new) = (rig.numbered(4).open_rw(), rig.memory_file().open_rw());
    pwrite(&new, &[50; 8192], 0).unwrap();
    let process = rig.process();
    process.map_private(0, 4, &old);
    for n in 0..4 {
        process.store(n, 60 + n as u8).unwrap();
    }
    process.share(1, 2, &new);
    assert_eq!(process.loads(0..5), [Ok(60), Ok(50), Ok(50), Ok(63), Err(Signal::Segv)]);
    process.store(1, 51).unwrap();
    assert_eq!(pread(&new, 1, 0), Ok(vec![51]));
}

#[test]
fn unmap_in_the_middle_leaves_both_ends_where_they_are_in_the_file() {
    let rig = Rig::new();
    let open = rig.numbered(5).open_rw();
    let process = rig.process();
    process.share(0, 5, &open);
    process.store(1, 90).unwrap();
    process.unmap(1, 3).unwrap();
    let segv = Err(Signal::Segv);
    assert_eq!(process.loads(0..6), [Ok(1), segv, segv, segv, Ok(5), segv]);
    process.store(4, 91).unwrap();
    assert_eq!(pread(&open, 1, 4 * 4096), Ok(vec![91]));
    assert_eq!(pread(&open, 1, 4096), Ok(vec![90]));
    assert!(!process.space.has_mapping_in(at(1)..at(4)));
    assert!(process.space.has_mapping_in(at(1)..at(4) + 1));
    assert_eq!(process.space.area_at(at(4)).unwrap().first.get(), 4);
}

#[test]
fn unmap_of_more_pages_than_one_batch_gives_all_of_them_back() {
    let rig = Rig::new();
    let open = rig.numbered(200).open_rw();
    let process = rig.process();
    process.map_private(0, 200, &open);
    let before = rig.frames_in_use();
    for n in 0..200 {
        process.store(n, 1).unwrap();
    }
    assert_eq!(rig.frames_in_use(), before + 200);
    process.unmap(3, 190).unwrap();
    assert_eq!(rig.frames_in_use(), before + 10);
    assert_eq!(process.loads(2..4), [Ok(1), Err(Signal::Segv)]);
}

#[test]
fn memory_without_a_file_costs_one_frame_for_each_page_that_is_stored_to() {
    let rig = Rig::new();
    let zeros = rig.zeros(200);
    let process = rig.process();
    process.map_private(0, 200, &zeros.open_rw());
    let before = rig.frames_in_use();
    for n in 0..200 {
        process.store(n, 1).unwrap();
    }
    assert_eq!(rig.frames_in_use() - before, 200);
    assert_eq!(zeros.mapping().cached_pages(), 0);
    let child = process.fork(&rig);
    child.store(7, 2).unwrap();
    assert_eq!((process.load(7), child.load(7), child.load(8)), (Ok(1), Ok(2), Ok(1)));
    process.unmap(0, 200).unwrap();
    // A load shows the page of the file, and a store replaces that.
    process.map_private(0, 200, &zeros.open_rw());
    assert_eq!(process.load(9), Ok(0));
    process.store(9, 3).unwrap();
    assert_eq!(process.loads(9..11), [Ok(3), Ok(0)]);
}

#[test]
fn p6_truncation_takes_mappings_and_private_copies_with_the_pages() {
    let rig = Rig::new();
    let open = rig.numbered(100).open_rw();
    let (shared, private) = (rig.process(), rig.process());
    shared.share(0, 100, &open);
    private.map_private(0, 100, &open);
    for n in 0..100 {
        shared.store(n, 70).unwrap();
        private.store(n, 80).unwrap();
    }
    truncate(&open, 2 * 4096 + 10).unwrap();
    for process in [&shared, &private] {
        assert_eq!(process.load(2), process.load(1));
        assert!(process.loads(3..100).iter().all(|load| *load == Err(Signal::Bus)));
        assert_eq!(process.store(3, 1), Err(Signal::Bus));
    }
    assert_eq!(shared.memory.load(at(2) + 9, 3), Ok(vec![3, 0, 0]));
    // POSIX leaves the part of a copied page past the end open; Linux keeps the copy.
    assert_eq!(private.memory.load(at(2) + 9, 3), Ok(vec![3; 3]));
    truncate(&open, 100 * 4096).unwrap();
    assert_eq!((shared.load(3), private.load(3)), (Ok(0), Ok(0)));
    assert_eq!(private.load(1), Ok(80));
}

#[test]
fn p6_mappings_see_what_has_moved_and_private_copies_before_the_end_stay() {
    let rig = Rig::new();
    let open = rig.numbered_on_disk(6).open_rw();
    let (shared, private) = (rig.process(), rig.process());
    shared.share(0, 7, &open);
    private.map_private(0, 6, &open);
    shared.store(3, 70).unwrap();
    private.store(1, 80).unwrap();
    private.store(5, 85).unwrap();
    let bus = Err(Signal::Bus);
    let shift = |mode| fallocate(&open, mode, 4096, 4096).unwrap();
    shift(linux::FALLOC_FL_COLLAPSE_RANGE);
    assert_eq!(shared.loads(0..7), [Ok(1), Ok(3), Ok(70), Ok(5), Ok(6), bus, bus]);
    assert_eq!(private.loads(0..6), [Ok(1), Ok(80), Ok(70), Ok(5), Ok(6), bus]);
    shared.store(4, 90).unwrap();
    shift(linux::FALLOC_FL_INSERT_RANGE);
    assert_eq!(shared.loads(0..7), [Ok(1), Ok(0), Ok(3), Ok(70), Ok(5), Ok(90), bus]);
    assert_eq!(private.loads(0..6), [Ok(1), Ok(80), Ok(3), Ok(70), Ok(5), Ok(90)]);
}

#[test]
fn p2_what_a_mapping_stores_past_the_end_does_not_show_when_the_file_grows() {
    let rig = Rig::new();
    let open = rig.memory_file().open_rw();
    pwrite(&open, &[1; 10], 0).unwrap();
    let process = rig.process();
    process.share(0, 1, &open);
    process.memory.store(at(0) + 5, &[9; 100]).unwrap();
    truncate(&open, 50).unwrap();
    let mut expected = vec![1; 5];
    expected.extend([9; 5]);
    expected.extend([0; 40]);
    assert_eq!(pread(&open, 99, 0), Ok(expected.clone()));
    assert_eq!(process.memory.load(at(0), 50), Ok(expected));
    process.memory.store(at(0) + 20, &[7]).unwrap();
    assert_eq!(pread(&open, 1, 20), Ok(vec![7]));
}

#[test]
fn a_fault_shows_what_is_in_the_cache_around_it_and_no_copy_or_store_but_its_own() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(40);
    let process = rig.process();
    let open = file.open_rw();
    // The second page of the mapping is page 6 of the file: the group of 16 begins at page 0.
    process.map(0, 20, (&open, 5), RW, Sharing::Shared).unwrap();
    process.map(30, 4, (&open, 5), RW, Sharing::Private).unwrap();
    let entries = |pages: std::ops::Range<usize>| {
        pages.filter(|page| process.entry(*page).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(process.load(1), Ok(7));
    assert_eq!(entries(0..20), (0..11).collect::<Vec<_>>(), "pages 5 to 15 of the file");
    assert_eq!(process.load(10), Ok(16));
    let loads_only = |page: usize| process.entry(page).map(|entry| entry.rights);
    assert_eq!(loads_only(3), Some(R));
    assert_eq!(process.store(3, 99), Ok(()));
    assert_eq!((loads_only(3), loads_only(4)), (Some(RW), Some(R)));
    // A store to a private page copies that page and shows no other.
    assert_eq!(process.store(31, 1), Ok(()));
    assert_eq!(entries(30..34), [31]);
    assert_eq!(process.load(30), Ok(6));
    assert_eq!(entries(30..34), [30, 31, 32, 33]);
    assert_eq!(process.loads(30..34), [Ok(6), Ok(1), Ok(8), Ok(99)]);
}

#[test]
fn eviction_takes_clean_pages_from_mappings_and_leaves_private_copies() {
    let rig = Rig::new();
    let file = rig.numbered_on_disk(4);
    let open = file.open_rw();
    let process = rig.process();
    process.share(0, 4, &open);
    process.map_private(4, 4, &open);
    process.store(4, 77).unwrap();
    assert_eq!(process.loads(0..4), [Ok(1), Ok(2), Ok(3), Ok(4)]);
    assert_eq!(file.evict_all(), 4);
    assert!((0..4).all(|n| process.entry(n).is_none()));
    assert_eq!(process.loads(0..8)[3..], [Ok(4), Ok(77), Ok(2), Ok(3), Ok(4)]);
    process.store(1, 55).unwrap();
    assert_eq!(file.evict_all(), 3, "a page that is mapped writable is dirty (F5)");
    fsync(&open).unwrap();
    assert_eq!(file.evict_all(), 1);
    assert_eq!(process.loads(0..6), [Ok(1), Ok(55), Ok(3), Ok(4), Ok(77), Ok(55)]);
}

#[test]
fn f8_a_page_that_the_store_fails_is_sigbus_and_comes_later() {
    use faultless::parts::{Answer, Call, When};
    let rig = Rig::new();
    let file = rig.numbered_on_disk(2);
    let process = rig.process();
    process.share(0, 2, &file.open_rw());
    process.map_private(2, 2, &file.open_rw());
    file.evict_all();
    let errno = faultless::prelude::Errno::Io;
    file.store().plan(Call::Read, When::EveryNth(1), Answer::Fail(errno));
    assert_eq!(process.load(0), Err(Signal::Bus));
    assert_eq!(process.store(2, 1), Err(Signal::Bus));
    file.store().clear();
    assert_eq!((process.load(0), process.store(2, 1)), (Ok(1), Ok(())));
}

#[test]
fn p8_without_memory_for_a_copy_the_signal_is_sigkill_and_nothing_is_lost() {
    let rig = Rig::with_frames(16);
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.map_private(0, 2, &open);
    let filler = rig.memory_file().open_rw();
    while rig.free_frames() > 0 {
        write(&filler, &[1; 4096]).unwrap();
    }
    assert_eq!(process.load(0), Ok(1));
    assert_eq!(process.store(0, 7), Err(Signal::Kill));
    assert_eq!(process.load(0), Ok(1));
    truncate(&filler, 0).unwrap();
    assert_eq!(process.store(0, 7), Ok(()));
    assert_eq!(process.load(0), Ok(7));
}

#[test]
fn a_copy_has_pages_given_up_before_it_fails() {
    let rig = Rig::with_frames(32);
    let open = rig.numbered(2).open_rw();
    let [first, second] = [rig.numbered_on_disk(4), rig.numbered_on_disk(4)];
    let process = rig.process();
    process.map_private(0, 2, &open);
    assert_eq!(process.load(0), Ok(1));
    for victim in [&first, &second] {
        process.share(2, 4, &victim.open_rw());
        assert_eq!(process.load(2), Ok(1));
        process.unmap(2, 4).unwrap();
    }
    let filler = rig.memory_file().open_rw();
    while rig.free_frames() > 0 {
        write(&filler, &[1; 4096]).unwrap();
    }
    let (child, pages) = (process.fork(&rig), first.clone());
    at_reclaim(move || pages.evict_all() as u32);
    // A copy of the file's page; then a copy of the copy.
    assert_eq!(process.store(0, 7), Ok(()));
    let child_of_copy = process.fork(&rig);
    while rig.free_frames() > 0 {
        write(&filler, &[1; 4096]).unwrap();
    }
    assert_eq!(child_of_copy.store(0, 9), Err(Signal::Kill));
    let pages = second.clone();
    at_reclaim(move || pages.evict_all() as u32);
    assert_eq!(child_of_copy.store(0, 9), Ok(()));
    assert_eq!([&process, &child, &child_of_copy].map(|space| space.load(0)), [7, 1, 9].map(Ok));
}

#[test]
fn one_file_mapped_twice_in_one_space_is_one_page() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.share(0, 2, &open);
    process.map(2, 2, (&open, 0), RW, Sharing::Shared).unwrap();
    process.store(0, 9).unwrap();
    assert_eq!(process.load(2), Ok(9));
    process.unmap(0, 2).unwrap();
    // Still in the reverse map: a truncation finds the other mapping.
    process.store(3, 8).unwrap();
    truncate(&open, 4096).unwrap();
    assert_eq!(process.loads(2..4), [Ok(9), Err(Signal::Bus)]);
}
