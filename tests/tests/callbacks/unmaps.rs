//! The calls of the reverse map, and what becomes of private copies by each.

use std::sync::{Arc, Mutex};

use faultless::page::{PAGE_SIZE, PageIndex, Unmap};
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, Mmu, Protection, RmapCall, UserFault};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, pattern, set_size, writeback,
};

/// A file of two pages and a process with a private mapping of it.
fn two_pages<M: Mmu>(machine: &Machine<M>) -> (Arc<MemoryStore>, File, Process<M>) {
    let store = MemoryStore::with_contents(&pattern(1, 2 * PAGE_SIZE));
    let (file, process) = (machine.inode(&store, 2 * PAGE), Process::new(machine));
    process.space.map_file_private(FREE, 2, &file, PageIndex::ZERO, Protection::ReadWrite);
    (store, file, process)
}

balanced_on_both_mmus! {
    fn p6_truncation_takes_private_copies_too_and_a_load_past_the_end_is_sigbus(machine) {
        let (_store, file, process) = two_pages(machine);
        let (zero, one) = (process.space.at(FREE, 0), process.space.at(FREE + 1, 0));
        process.space.store(zero, b"zero").unwrap();
        process.space.store(one, b"one").unwrap();
        set_size(&file, PAGE).unwrap();
        assert_eq!(process.byte(one), Err(UserFault::Bus), "the copy of the page is gone");
        assert_eq!(process.space.store(one, b"again"), Err(UserFault::Bus));
        assert_eq!(process.byte(zero), Ok(b'z'), "a copy inside the file stays");
        // What comes back with the file is the file's, and not the copy.
        set_size(&file, 2 * PAGE).unwrap();
        assert_eq!(process.byte(one), Ok(0));
    }

    fn p6_truncation_takes_private_copies_that_are_swapped_out(machine) {
        let (_store, file, process) = two_pages(machine);
        let one = process.space.at(FREE + 1, 0);
        process.space.store(one, b"one").unwrap();
        process.space.evict(FREE, 2);
        assert_eq!(process.byte(one), Ok(b'o'), "a swapped copy comes back");
        process.space.evict(FREE, 2);
        set_size(&file, PAGE).unwrap();
        assert_eq!(process.byte(one), Err(UserFault::Bus));
    }

    fn f5_eviction_of_the_files_page_leaves_the_private_copy(machine) {
        let (_store, file, process) = two_pages(machine);
        let (zero, one) = (process.space.at(FREE, 0), process.space.at(FREE + 1, 0));
        process.space.store(one, b"one").unwrap();
        assert_eq!(process.byte(zero), Ok(pattern(1, 1)[0]), "page 0 is mapped, and not copied");
        assert_eq!(file.mapping().cached_pages(), 2);
        assert_eq!(evict(&file), 2, "copies do not pin the file's pages");
        assert!(process.space.is_resident(FREE + 1), "the copy stays where it is");
        assert!(!process.space.is_resident(FREE), "the file's own page does not");
        assert_eq!(process.space.read_vec(one, 3).unwrap(), b"one");
        assert_eq!(process.byte(zero), Ok(pattern(1, 1)[0]), "and comes back from the store");
    }

    fn p1_a_private_copy_is_never_sent_and_writeback_leaves_it_writable(machine) {
        let (store, file, process) = two_pages(machine);
        let one = process.space.at(FREE + 1, 0);
        process.space.store(one, b"mine").unwrap();
        assert_eq!(process.write(&file, PAGE + 8, b"theirs"), Ok(6));
        writeback(&file, 0..u64::MAX).unwrap();
        fsync(&file).unwrap();
        process.space.store(one.wrapping_add(4), b" too").unwrap();
        let mut want = pattern(1, 2 * PAGE_SIZE);
        want[PAGE_SIZE + 8..PAGE_SIZE + 14].copy_from_slice(b"theirs");
        assert_bytes(&store.contents(), &want, "the store");
        assert_bytes(&process.contents(&file), &want, "the file");
        let copy = process.space.read_vec(one, 16).unwrap();
        assert_eq!(&copy[..8], b"mine too");
        assert_bytes(&copy[8..], &pattern(1, 2 * PAGE_SIZE)[PAGE_SIZE + 8..PAGE_SIZE + 16], "as when it was made");
    }

    /// A private copy is made of the file as it is at the first store.
    fn w5_a_private_page_that_was_not_stored_to_shows_the_file(machine) {
        let (_store, file, process) = two_pages(machine);
        let zero = process.space.at(FREE, 0);
        assert_eq!(process.byte(zero), Ok(pattern(1, 1)[0]));
        assert_eq!(process.write(&file, 0, b"new"), Ok(3));
        assert_eq!(process.byte(zero), Ok(b'n'), "still the file's page");
        process.space.store(zero.wrapping_add(1), b"E").unwrap();
        assert_eq!(process.write(&file, 0, b"old"), Ok(3));
        assert_eq!(process.space.read_vec(zero, 3).unwrap(), b"nEw");
        assert_eq!(process.read(&file, 0, 3).unwrap(), b"old");
    }

    /// Each reason reaches the reverse map under its own name.
    fn the_reasons_are_told_apart(machine) {
        let (_store, file, process) = two_pages(machine);
        let seen: Arc<Mutex<Vec<RmapCall>>> = Arc::default();
        let note = Arc::clone(&seen);
        machine.user_mappings().watch(Arc::new(move |_, _, _, how| note.lock().unwrap().push(how)));
        let take = || std::mem::take(&mut *seen.lock().unwrap());
        let addr = process.map(FREE + 4, 2, &file, 0, Protection::ReadWrite);
        process.space.store(addr, b"shared").unwrap();
        assert_eq!(take(), []);
        writeback(&file, 0..u64::MAX).unwrap();
        assert_eq!(take(), [RmapCall::WriteProtect]);
        assert_eq!(evict(&file), 1);
        assert_eq!(take(), [RmapCall::Unmap(Unmap::Evict)]);
        set_size(&file, PAGE).unwrap();
        assert!(take().iter().all(|how| *how == RmapCall::Unmap(Unmap::Truncate)));
        machine.user_mappings().unwatch();
    }
}
