//! The example kernel with real page faults: what an address space owes its files, and the frames
//! that it counts.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::ops::Range;
use std::sync::Arc;

use faultless::prelude::*;
use faultless_example_kernel::{Outcome, Owner, Sharing, Signal, Vma};
use support::*;

/// A file of pages of 1, 2, 3, …
fn numbered(pages: usize) -> File {
    new_file(&contents(pages))
}

fn contents(pages: usize) -> Vec<u8> {
    (0..pages).flat_map(|page| [page as u8 + 1; PAGE_SIZE]).collect()
}

/// Maps the first pages of a file, for loads and stores.
fn map(space: &Arc<Space>, pages: Range<usize>, file: &File, sharing: Sharing) {
    let (pages, file) = (page(pages.start)..page(pages.end), file.clone());
    let vma = Vma { pages, file, first: PageIndex::new(0), access: Access::Write, sharing };
    Space::map(space, vma).expect("room");
}

fn unmap(space: &Arc<Space>, pages: Range<usize>) -> Result<(), Errno> {
    Space::unmap(space, page(pages.start)..page(pages.end))
}

/// A space that maps four pages of a file, and is running.
fn running(file: &File, sharing: Sharing) -> Arc<Space> {
    let space = new_space();
    map(&space, 0..4, file, sharing);
    switch_to(&space);
    space
}

/// The user program loads the first byte of a page.
fn load_page(n: usize) -> Result<u8, Signal> {
    let mut byte = [0];
    load(at(n), &mut byte).map(|()| byte[0])
}

/// Ends the machine: the spaces exit, the files are dropped, and every frame has come back.
#[track_caller]
fn finish<const S: usize, const F: usize>(spaces: [Arc<Space>; S], files: [File; F]) {
    for space in &spaces {
        Space::exit(space);
        assert!((0..PAGES).all(|n| entry(space, n).is_none()), "an entry after the exit");
    }
    switch_to(&new_space());
    files.iter().for_each(File::sync);
    for space in spaces {
        assert_eq!(Arc::strong_count(&space), 1, "a file still knows the space");
    }
    drop(files);
    assert_eq!(frames_in_use(), 0, "frames that no page and no entry has");
}

#[test]
fn a_write_from_its_own_cold_mapping_returns_and_is_right() {
    let file = numbered(4);
    let space = running(&file, Sharing::Shared);
    let before = faults();
    // Each page from itself, and then the whole file one page further, from its cold mapping.
    for n in 0..4 {
        assert_eq!(file.sys_write(at(n), PAGE_SIZE, (n * PAGE_SIZE) as u64), Ok(PAGE_SIZE));
    }
    file.sync();
    assert_eq!((file.evict_all(), faults() > before), (4, true));
    assert_eq!(file.sys_write(at(1), PAGE_SIZE, 0), Ok(PAGE_SIZE));
    let len = 2 * PAGE_SIZE - 1;
    assert_eq!(file.sys_write(at(0) + 1, len, 2 * PAGE_SIZE as u64), Ok(len));
    file.sync();
    let mut right = contents(4);
    right[..PAGE_SIZE].fill(2);
    right.copy_within(1..1 + len, 2 * PAGE_SIZE);
    assert!(disk_bytes(&file, 4) == right);
    finish([space], [file]);
}

#[test]
fn a_write_from_a_hole_in_the_mappings_ends_before_it() {
    let file = numbered(4);
    let space = running(&file, Sharing::Shared);
    unmap(&space, 1..2).expect("room");
    assert_eq!(file.sys_write(at(0), 2 * PAGE_SIZE, PAGE_SIZE as u64), Ok(PAGE_SIZE));
    assert_eq!(file.sys_write(at(1), 1, 0), Err(Errno::Fault));
    assert_eq!([0, 2, 3].map(load_page), [Ok(1), Ok(3), Ok(4)]);
    assert_eq!(store(at(1), &[0]), Err(Signal::Segv));
    finish([space], [file]);
}

#[test]
fn a_load_and_then_a_store_raise_one_entry_and_count_its_frame_once() {
    let file = numbered(4);
    let space = running(&file, Sharing::Shared);
    assert_eq!(load_page(0), Ok(1));
    let loaded = entry(&space, 0).expect("an entry");
    assert_eq!((loaded.protection, counts(loaded.frame)), (Protection::ReadOnly, 2));
    store(at(0), &[9]).expect("mapped");
    let stored = entry(&space, 0).expect("an entry");
    assert_eq!((stored.protection, stored.frame), (Protection::Writable, loaded.frame));
    assert_eq!(counts(stored.frame), 2, "the page's and the entry's");
    file.sync();
    assert_eq!(disk_bytes(&file, 1)[0], 9);
    finish([space], [file]);
}

/// Between look-up and install another thread resolves the same fault.
#[test]
fn install_finds_an_entry_with_the_same_frame() {
    let file = numbered(4);
    let space = running(&file, Sharing::Shared);
    preempt_at(0, || assert_eq!(load_page(0), Ok(1)));
    store(at(0), &[9]).expect("mapped");
    assert!(was_preempted());
    let entry = entry(&space, 0).expect("an entry");
    assert_eq!((entry.protection, counts(entry.frame)), (Protection::Writable, 2));
    finish([space], [file]);
}

/// Between look-up and install another thread stores to the page, and gets a copy of its own.
#[test]
fn install_finds_a_private_copy_and_leaves_it() {
    for outer_stores in [Access::Read, Access::Write] {
        let file = numbered(4);
        let space = running(&file, Sharing::Private);
        preempt_at(0, || store(at(0) + 1, &[9]).expect("mapped"));
        match outer_stores {
            Access::Read => assert_eq!(load_page(0), Ok(1)),
            Access::Write => store(at(0), &[8]).expect("mapped"),
        }
        assert!(was_preempted());
        let mut bytes = [0; 2];
        load(at(0), &mut bytes).expect("mapped");
        assert_eq!(bytes[1], 9, "the other thread's store is lost");
        let entry = entry(&space, 0).expect("an entry");
        assert_eq!((entry.owner, counts(entry.frame)), (Owner::Space, 1));
        finish([space], [file]);
    }
}

/// Wherever another thread unmaps the page in the middle of a fault, nothing is mapped, and the
/// file's page has one count.
#[test]
fn a_page_that_is_unmapped_during_a_fault_is_not_mapped_again() {
    for sharing in [Sharing::Shared, Sharing::Private] {
        for n in 0.. {
            let file = numbered(4);
            let space = running(&file, sharing);
            let other = Arc::clone(&space);
            preempt_at(n, move || unmap(&other, 0..4).expect("room"));
            let stored = store(at(0), &[9]);
            if !was_preempted() {
                assert_eq!((stored, n > 5), (Ok(()), true));
                finish([space], [file]);
                break;
            }
            assert!(matches!(stored, Ok(()) | Err(Signal::Segv)), "{stored:?}");
            assert_eq!(entry(&space, 0), None, "unlock {n}");
            assert_eq!(load_page(0), Err(Signal::Segv), "unlock {n}");
            finish([space], [file]);
        }
    }
}

/// The same, where the file's page is being read, and another file comes in its place.
#[test]
fn a_page_of_another_file_in_its_place_is_found_by_the_next_try() {
    let (file, new) = (numbered(4), new_file(&[7; PAGE_SIZE]));
    let space = running(&file, Sharing::Shared);
    let (other, theirs) = (Arc::clone(&space), new.clone());
    file.at_read(move || {
        unmap(&other, 0..1).expect("room");
        map(&other, 0..1, &theirs, Sharing::Shared);
    });
    assert_eq!(load_page(0), Ok(7));
    finish([space], [file, new]);
}

#[test]
fn private_stores_stay_private_through_a_fork_both_ways() {
    let file = numbered(4);
    let (parent, child) = (running(&file, Sharing::Private), new_space());
    assert_eq!(load_page(3), Ok(4));
    (0..2).for_each(|n| store(at(n), &[50]).expect("mapped"));
    let before = entry(&parent, 0).expect("an entry");
    Space::fork(&parent, &child).expect("room");
    assert_eq!(counts(before.frame), 2, "both sides'");
    // The parent stores to one page, the child to another one.
    store(at(0), &[60]).expect("mapped");
    switch_to(&child);
    assert_eq!([0, 1, 2].map(load_page), [Ok(50), Ok(50), Ok(3)]);
    store(at(1), &[70]).expect("mapped");
    store(at(2), &[71]).expect("mapped");
    switch_to(&parent);
    assert_eq!([0, 1, 2].map(load_page), [Ok(60), Ok(50), Ok(3)]);
    assert_ne!(entry(&parent, 0).expect("an entry").frame, before.frame);
    file.sync();
    assert!(disk_bytes(&file, 4) == contents(4), "the file has a private store");
    finish([parent, child], [file]);
}

#[test]
fn the_last_owner_of_a_copy_stores_to_it_without_another() {
    let file = numbered(4);
    let (parent, child) = (running(&file, Sharing::Private), new_space());
    store(at(0), &[50]).expect("mapped");
    Space::fork(&parent, &child).expect("room");
    Space::exit(&parent);
    switch_to(&child);
    let before = entry(&child, 0).expect("an entry");
    store(at(0), &[51]).expect("mapped");
    let after = entry(&child, 0).expect("an entry");
    assert_eq!((after.frame, after.protection), (before.frame, Protection::Writable));
    finish([parent, child], [file]);
}

/// Wherever another thread unmaps, forks or stores in the middle of a copy on write.
#[test]
fn copy_on_write_of_a_forked_page_survives_another_thread() {
    for what in 0..3 {
        for n in 0.. {
            let file = numbered(1);
            let (parent, child, third) =
                (running(&file, Sharing::Private), new_space(), new_space());
            store(at(0), &[50]).expect("mapped");
            Space::fork(&parent, &child).expect("room");
            let (other, another) = (Arc::clone(&parent), Arc::clone(&third));
            preempt_at(n, move || match what {
                0 => unmap(&other, 0..4).expect("room"),
                1 => Space::fork(&other, &another).expect("room"),
                _ => store(at(0) + 1, &[61]).expect("mapped"),
            });
            let stored = store(at(0), &[60]);
            let over = !was_preempted();
            match (over, what) {
                (false, 0) => assert_eq!(load_page(0), Err(Signal::Segv)),
                _ => assert_eq!((stored, load_page(0)), (Ok(()), Ok(60))),
            }
            let mut bytes = [0; 2];
            if !over && what == 2 {
                load(at(0), &mut bytes).expect("mapped");
                assert_eq!(bytes, [60, 61], "unlock {n}");
            }
            switch_to(&child);
            load(at(0), &mut bytes).expect("mapped");
            assert_eq!(bytes, [50, 1], "unlock {n}");
            finish([parent, child, third], [file]);
            if over {
                break;
            }
        }
    }
}

#[test]
fn truncation_takes_private_copies_and_eviction_does_not() {
    let file = numbered(4);
    let space = running(&file, Sharing::Private);
    store(at(2), &[50]).expect("mapped");
    assert_eq!([1, 3].map(load_page), [Ok(2), Ok(4)]);
    assert_eq!(file.evict_all(), 3);
    let resident = [1, 2, 3].map(|n| entry(&space, n).is_some());
    assert_eq!(resident, [false, true, false]);
    assert_eq!([1, 2, 3].map(load_page), [Ok(2), Ok(50), Ok(4)]);
    file.truncate(2 * PAGE_SIZE as u64);
    assert_eq!([1, 2, 3].map(load_page), [Ok(2), Err(Signal::Bus), Err(Signal::Bus)]);
    assert_eq!(file.sys_write(at(2), 1, 0), Err(Errno::Fault));
    file.truncate(4 * PAGE_SIZE as u64);
    assert_eq!(load_page(2), Ok(0));
    finish([space], [file]);
}

/// Wherever another thread forks in the middle of a walk through the reverse map, no private copy
/// escapes it. (A truncation walks more than once, if it is not killed.)
#[test]
fn a_fork_in_the_middle_of_a_truncation_saves_no_private_copy() {
    for n in 0.. {
        let file = numbered(4);
        // The first places of the file's list are free again: a child must not stand there.
        let spaces = [(); 3].map(|()| new_space());
        spaces.iter().for_each(|space| map(space, 0..4, &file, Sharing::Private));
        let (parent, child) = (running(&file, Sharing::Private), new_space());
        (0..4).for_each(|n| store(at(n), &[50]).expect("mapped"));
        spaces.iter().for_each(Space::exit);
        let (from, to) = (Arc::clone(&parent), Arc::clone(&child));
        preempt_at(n, move || Space::fork(&from, &to).expect("room"));
        let (mapping, first) = (file.mapping(), PageIndex::new(1));
        mapping.user_mappings().unmap(mapping.id(), first, first.plus(9), Unmap::Truncate);
        let over = !was_preempted();
        for space in [&parent, &child] {
            let resident = [1, 2, 3].map(|n| entry(space, n).is_some());
            assert_eq!(resident, [false; 3], "unlock {n}");
        }
        finish([parent, child], [file]);
        if over {
            break;
        }
    }
}

/// A thread is preempted in a copy on write, by one that makes the copy; and again wherever it is,
/// by one that stores to what it sees.
#[test]
fn a_store_of_another_thread_beside_a_copy_on_write_is_not_lost() {
    for n in 0.. {
        let file = numbered(1);
        let (parent, child) = (running(&file, Sharing::Private), new_space());
        store(at(0), &[50]).expect("mapped");
        Space::fork(&parent, &child).expect("room");
        preempt_at(0, move || {
            store(at(0) + 1, &[61]).expect("mapped");
            preempt_at(n, || store(at(0) + 2, &[62]).expect("mapped"));
        });
        store(at(0), &[60]).expect("mapped");
        let over = !was_preempted();
        let mut bytes = [0; 3];
        load(at(0), &mut bytes).expect("mapped");
        assert_eq!(bytes, [60, 61, if over { 1 } else { 62 }], "unlock {n}");
        finish([parent, child], [file]);
        if over {
            break;
        }
    }
}

/// One CPU forks and has not flushed, a second one copies on write, and a third one has the old
/// entry, which allows stores. What it stores must be in what the parent has afterwards.
#[test]
fn a_store_by_an_old_entry_beside_a_fork_is_in_the_copy() {
    for n in 0.. {
        let file = numbered(1);
        let (parent, child) = (running(&file, Sharing::Private), new_space());
        store(at(0), &[50]).expect("mapped");
        let second = Arc::clone(&parent);
        preempt_at(0, move || {
            preempt_at(n, || store(at(0) + 1, &[61]).expect("mapped"));
            // SAFETY: the fault of a CPU that holds nothing.
            let mut token = unsafe { InFault::enter() };
            second.fault(&mut token, page(0), Access::Write, &NoTask).expect("mapped");
        });
        Space::fork(&parent, &child).expect("room");
        let over = !was_preempted();
        let mut bytes = [0; 2];
        load(at(0), &mut bytes).expect("mapped");
        assert_eq!(bytes, [50, if over { 1 } else { 61 }], "unlock {n}");
        finish([parent, child], [file]);
        if over {
            break;
        }
    }
}

/// By `munmap`, or by a fault in the middle of which another thread exits. That no lock is held is
/// for the handle to see.
#[test]
fn the_last_handle_of_a_file_is_dropped_without_a_lock() {
    let file = numbered(4);
    let space = running(&file, Sharing::Shared);
    assert_eq!(load_page(0), Ok(1));
    drop(file);
    unmap(&space, 0..4).expect("room");
    assert_eq!(frames_in_use(), 0);
    map(&space, 0..4, &numbered(4), Sharing::Shared);
    let other = Arc::clone(&space);
    preempt_at(0, move || Space::exit(&other));
    assert_eq!(load_page(0), Err(Signal::Segv));
    assert!(was_preempted());
    finish([space], []);
}

#[test]
fn a_page_is_write_protected_before_it_is_written_back_and_faults_again() {
    let file = numbered(4);
    let (space, second) = (running(&file, Sharing::Shared), new_space());
    map(&second, 0..4, &file, Sharing::Shared);
    for byte in 50..53 {
        for (of, n) in [(&space, 0), (&second, 1)] {
            switch_to(of);
            let before = faults();
            store(at(n), &[byte]).expect("mapped");
            store(at(n), &[byte]).expect("mapped");
            assert_eq!(faults() - before, 1, "the first store faults, the second does not");
        }
        file.sync();
        assert_eq!(disk_bytes(&file, 2)[PAGE_SIZE], byte);
        let protections = [(&space, 0), (&second, 1)].map(|(of, n)| entry(of, n));
        assert!(protections.iter().flatten().all(|e| e.protection == Protection::ReadOnly));
    }
    finish([space, second], [file]);
}

#[test]
fn a_hole_makes_two_mappings_of_one_and_a_full_table_refuses_it() {
    let file = numbered(40);
    let space = new_space();
    switch_to(&space);
    map(&space, 0..40, &file, Sharing::Private);
    (0..40).for_each(|n| store(at(n), &[50]).expect("mapped"));
    for hole in 1..faultless_example_kernel::VMAS {
        unmap(&space, 2 * hole..2 * hole + 1).expect("room");
    }
    assert_eq!(unmap(&space, 35..36), Err(Errno::NoMemory));
    assert_eq!([29, 30, 31, 35].map(load_page), [Ok(50), Err(Signal::Segv), Ok(50), Ok(50)]);
    assert_eq!(unmap(&space, 1..40), Ok(()));
    assert_eq!([0, 1, 39].map(load_page), [Ok(50), Err(Signal::Segv), Err(Signal::Segv)]);
    finish([space], [file]);
}

#[test]
fn a_mapping_over_another_or_outside_is_refused() {
    let file = numbered(1);
    let space = running(&file, Sharing::Shared);
    for pages in [3..5, 2..2, PAGES - 1..PAGES + 1] {
        let pages = page(pages.start)..page(pages.end);
        let (first, access, sharing) = (PageIndex::new(0), Access::Read, Sharing::Shared);
        let vma = Vma { pages, file: file.clone(), first, access, sharing };
        assert_eq!(Space::map(&space, vma), Err(Errno::Invalid));
    }
    finish([space], [file]);
}

#[test]
fn the_kernel_faults_where_it_must_not_and_that_is_a_bug() {
    let file = numbered(1);
    let space = running(&file, Sharing::Shared);
    let window = 1 << 18;
    // An instruction that is in no table; a kernel address; the window closed; a reserved bit.
    assert_eq!(trap(&space, 0, at(0), window, 0), Outcome::Bug);
    assert_eq!(trap(&space, registered(), 8, window, 0), Outcome::Bug);
    assert_eq!(trap(&space, registered(), at(0), 0, 0), Outcome::Bug);
    assert_eq!(trap(&space, registered(), at(0), window, 8), Outcome::Bug);
    assert_eq!(trap(&space, registered(), at(0), window, 0), Outcome::Return);
    // The user program at a kernel address.
    assert_eq!(trap(&space, 0, 8, 0, 4), Outcome::Signal(Signal::Segv));
    finish([space], [file]);
}
