//! Pages of zeros of a file that is nowhere but in the cache: a load through a mapping brings them
//! in, and they leave when memory is short, until they are written.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::vec;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, FrameNumber, Frames, LockId, PageCache, PageIndex, SyncKind, Unmap,
};
use faultless_parts::RamStore;
use faultless_usercopy::IovIter;

use super::PAGE;
use super::kernel::{self, Mappings, Memory, Patient, RmapCall, TestKernel, Tester, reclaim_by};
use super::rig::{File, in_fault, token, write_elsewhere};
use super::user::User;
use crate::{
    Access, DirtyVictims, FaultError, Files, Inode, NoTask, ReadAhead, Reclaimed, Reclaimer,
};

/// A file in memory, without a record of what its store is asked.
struct Sparse {
    cache: Arc<PageCache<TestKernel>>,
    maps: Mappings,
    file: Arc<File>,
}

/// The file, while it lives.
struct Only(Weak<File>);

impl Files<TestKernel> for Only {
    type Handle = Arc<File>;

    fn find(&self, mapping: u64) -> Option<Arc<File>> {
        self.0.upgrade().filter(|file| file.mapping().id() == mapping)
    }
}

impl Sparse {
    /// A hole of so many pages, in a cache of so many frames.
    fn new(pages: u64, frames: usize) -> Self {
        kernel::forget();
        let cache = Arc::new(PageCache::new(Memory::new(frames), Patient));
        let store: Arc<dyn AddressSpaceOperations> = Arc::new(RamStore::new());
        let maps = Mappings::default();
        let file = Inode::new(cache.clone(), store, maps.clone(), pages * PAGE as u64);
        Self { cache, maps, file: Arc::new(file) }
    }

    fn step(&self, wanted: u32) -> Reclaimed {
        let files = Only(Arc::downgrade(&self.file));
        Reclaimer::new(DirtyVictims::Send).step(&self.cache, &files, &mut token(), wanted, &NoTask)
    }

    fn fault(&self, index: u64, access: Access) -> Result<FrameNumber, FaultError> {
        let (page, task) = (PageIndex::new(index), Tester::new());
        self.file.fault(&mut in_fault(), page, access, &task, |mapped| mapped.frame.number())
    }

    fn load(&self, index: u64) -> u8 {
        let frame = self.fault(index, Access::Read).expect("a page of the file");
        let page = self.cache.frames().address(frame).as_ptr();
        // SAFETY: inside the page, which stays in the cache; this thread alone uses it.
        unsafe { page.read() }
    }

    fn store(&self, index: u64, byte: u8) {
        let frame = self.fault(index, Access::Write).expect("a page of the file");
        let page = self.cache.frames().address(frame).as_ptr();
        // SAFETY: as for a load.
        unsafe { page.write(byte) }
    }

    fn read(&self, index: u64) -> Vec<u8> {
        let user = User::new();
        let slice = user.slice(0, 3);
        let mut to = IovIter::from_slice(&user, &slice);
        let got = self.file.read(&mut token(), &mut to, index * PAGE as u64, &Tester::new());
        user.get(0, got.expect("memory"))
    }

    /// Pages that may leave, and pages in the cache.
    fn books(&self) -> (u64, u64) {
        (self.cache.reclaimable_pages(), self.file.mapping().cached_pages())
    }

    fn discard(self) {
        let Self { cache, file, .. } = self;
        Arc::into_inner(file).expect("the only handle").discard();
        assert_eq!(cache.reclaimable_pages(), 0);
    }
}

#[test]
fn loads_of_a_hole_that_is_larger_than_memory_end() {
    let sparse = Sparse::new(1 << 18, 80);
    let files = Only(Arc::downgrade(&sparse.file));
    reclaim_by(move |cache, mut locks, wanted| {
        let reclaimer = Reclaimer::new(DirtyVictims::Leave);
        reclaimer.step(cache, &files, &mut locks, wanted, &NoTask).dropped
    });
    for index in (0..1000).chain((1000..1 << 18).step_by(5000)) {
        assert_eq!(sparse.load(index), 0);
    }
    let (may_leave, cached) = sparse.books();
    assert!(may_leave == cached && cached <= 80, "{may_leave} of {cached}");
    sparse.discard();
}

#[test]
fn f5_a_page_of_zeros_that_was_written_stays() {
    let sparse = Sparse::new(8, 80);
    for index in 0..5 {
        assert_eq!(sparse.load(index), 0);
    }
    sparse.store(0, 7);
    write_elsewhere(&sparse.file, PAGE as u64, b"one");
    // Once more: a page that is reserved is written without a look at its other marks.
    write_elsewhere(&sparse.file, PAGE as u64 + 1, b"two");
    assert_eq!(sparse.books(), (3, 5));
    assert_eq!(sparse.file.fsync(&mut token(), SyncKind::All, &NoTask), Ok(()));
    assert_eq!((sparse.step(5).dropped, sparse.books()), (3, (0, 2)));
    assert_eq!(sparse.file.evict(&mut token(), 0..u64::MAX), 0);
    assert_eq!((sparse.load(0), sparse.read(1), sparse.load(2)), (7, b"otw".to_vec(), 0));
    sparse.discard();
}

#[test]
fn a_read_or_another_load_leaves_a_page_of_zeros_what_it_is() {
    let sparse = Sparse::new(8, 80);
    assert_eq!((sparse.load(3), sparse.load(3)), (0, 0));
    assert_eq!(sparse.read(3), [0; 3]);
    assert_eq!(sparse.books(), (1, 1));
    sparse.maps.take();
    assert_eq!((sparse.step(1).dropped, sparse.books()), (1, (0, 0)));
    let unmapped = sparse.maps.take();
    assert_eq!(unmapped, [(3, 4, RmapCall::Unmap(Unmap::Evict))], "with its mappings");
    sparse.discard();
}

#[test]
fn a_page_of_zeros_that_is_in_use_stays_longer() {
    let sparse = Sparse::new(8, 80);
    assert_eq!((sparse.load(0), sparse.load(1)), (0, 0));
    sparse.maps.accessed.store(0b10, Relaxed);
    assert_eq!((sparse.step(1).dropped, sparse.books()), (1, (1, 1)));
    assert!(sparse.file.is_resident(PageIndex::new(1)), "which was accessed");
    sparse.discard();
}

/// Pages of zeros leave by truncation, with a hole, and by name; each is taken off the books.
#[test]
fn the_books_have_the_zeros() {
    let sparse = Sparse::new(64, 160);
    for index in 0..60 {
        assert_eq!(sparse.load(index), 0);
    }
    sparse.store(50, 1);
    sparse.store(20, 1);
    assert_eq!(sparse.books(), (58, 60));
    let (task, page) = (Tester::new(), PAGE as u64);
    assert_eq!(sparse.file.punch_hole(&mut token(), 10 * page..30 * page, &task), Ok(()));
    assert_eq!(sparse.books(), (39, 40));
    assert_eq!(sparse.file.set_size(&mut token(), 40 * page, &task), Ok(()));
    assert_eq!(sparse.books(), (20, 20));
    assert_eq!(sparse.file.evict(&mut token(), 0..5 * page), 5);
    assert_eq!(sparse.books(), (15, 15));
    sparse.discard();
}

#[test]
fn nothing_is_guessed_around_a_load_of_a_hole() {
    let sparse = Sparse::new(64, 160);
    let (ahead, page) = (ReadAhead::new(), PageIndex::new(9));
    let area = PageIndex::new(0)..PageIndex::new(64);
    let (task, mut calls) = (Tester::new(), vec![]);
    let resolved = sparse.file.fault_around(
        &mut in_fault(),
        page,
        Access::Read,
        area,
        &ahead,
        &task,
        |index, _| calls.push(index),
    );
    assert_eq!((resolved, sparse.books()), (Ok(()), (1, 1)));
    assert_eq!(calls, [page]);
    sparse.discard();
}

#[test]
fn a_private_copy_of_a_hole_is_zeros_and_brings_no_page_in() {
    let sparse = Sparse::new(8, 80);
    let own = || sparse.cache.allocate(1).expect("memory").take_first().expect("a frame");
    let copy = |index| {
        let (page, task) = (PageIndex::new(index), Tester::new());
        sparse.file.fault_copy(&mut in_fault(), page, own(), &task, |copy| {
            assert!(matches!(kernel::held()[..], [LockId::Pages { .. }]), "the absent page");
            copy
        })
    };
    let copied = copy(1).expect("inside the file");
    assert_eq!((copied.bytes(), sparse.books()), (&[0; PAGE], (0, 0)));
    write_elsewhere(&sparse.file, 2 * PAGE as u64, b"new");
    assert_eq!(copy(2).expect("inside the file").bytes()[..3], *b"new");
    assert_eq!(sparse.load(3), 0);
    assert_eq!(copy(3).expect("inside the file").bytes()[..], [0; PAGE]);
    assert_eq!((sparse.books(), copied.bytes()[0]), ((1, 2), 0));
    assert!(matches!(copy(8), Err(FaultError::PastEnd)));
    drop(copied);
    sparse.discard();
}

/// The size is cut between the look at it and the entry.
#[test]
fn p6_a_copy_of_a_hole_that_is_cut_off_meanwhile_is_unmapped() {
    let sparse = Sparse::new(8, 80);
    let own = sparse.cache.allocate(1).expect("memory").take_first().expect("a frame");
    let (page, task) = (PageIndex::new(5), Tester::new());
    sparse.maps.take();
    let copied = sparse.file.fault_copy(&mut in_fault(), page, own, &task, |copy| {
        sparse.file.mapping().truncate_size(5 * PAGE as u64);
        copy
    });
    assert!(copied.is_ok());
    assert_eq!(sparse.maps.take(), [(5, 6, RmapCall::Unmap(Unmap::Truncate))]);
    drop(copied);
    sparse.discard();
}

#[test]
fn zeros_need_no_wait() {
    let sparse = Sparse::new(8, 80);
    write_elsewhere(&sparse.file, 2 * PAGE as u64, b"page");
    let user = User::new();
    user.put(0, &[7; 3 * PAGE]);
    let slice = user.slice(0, 3 * PAGE);
    let mut to = IovIter::from_slice(&user, &slice);
    let got = sparse.file.try_read(&mut token(), &mut to, 10, &NoTask);
    assert_eq!((got, sparse.books()), (Ok(3 * PAGE), (0, 1)));
    let mut expected = vec![0; 3 * PAGE];
    expected[2 * PAGE - 10..2 * PAGE - 6].copy_from_slice(b"page");
    assert!(user.get(0, 3 * PAGE) == expected);
    sparse.discard();
}
