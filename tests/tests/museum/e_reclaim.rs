//! E19, E23: what memory that is short takes away, and what is left when all files have gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use faultless::filemap::{
    Access, DirtyVictims, Files, InFault, Inode, NoTask, Reclaimer, Task, WriteOptions,
};
use faultless::page::{Frames, PAGES_PER_LEAF, PageCache, PageIndex};
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, Mmu, lockcheck, syscall};
use faultless_tests::waiting::until;
use faultless_tests::{PAGE, balanced_on_both_mmus, pattern};

use crate::kernels::{Bookkeeper, booked, booked_in, books};
use crate::planted;
use crate::threads::{read_as, write_as};

type File = Arc<Inode<Bookkeeper>>;

/// Which reclaim an exhibit is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Faultless,
    Planted,
}

/// One file, and what happens before it is found.
struct One<'f> {
    file: &'f File,
    found: &'f dyn Fn(),
}

impl Files<Bookkeeper> for One<'_> {
    type Handle = File;

    fn find(&self, mapping: u64) -> Option<File> {
        (self.found)();
        (self.file.mapping().id() == mapping).then(|| Arc::clone(self.file))
    }
}

impl Core {
    /// Reclaims a page of the file; how many it got.
    fn reclaim(self, file: &File, found: &dyn Fn()) -> u64 {
        let files = One { file, found };
        syscall(|token| match self {
            Self::Faultless => {
                let step = Reclaimer::new(DirtyVictims::Leave);
                u64::from(step.step(file.mapping().cache(), &files, token, 1, &NoTask).dropped)
            }
            Self::Planted => planted::evict_what_was_clean(file, token),
        })
    }
}

/// A task that notes that it waits.
#[derive(Debug, Default)]
struct Waits(AtomicBool);

impl Task for Waits {
    fn fatal_signal_pending(&self) -> bool {
        self.0.store(true, Ordering::SeqCst);
        false
    }
}

/// Bytes that a program stores through its mapping.
const STORED: [u8; 100] = [0xdd; 100];

/// A program's store to the first page: the fault that maps it, and the bytes.
fn store(file: &File, task: &impl Task) {
    // SAFETY: at the entry of a fault nothing is locked.
    let mut token = unsafe { InFault::enter() };
    let frames = file.mapping().cache().frames();
    let mapped = file.fault(&mut token, PageIndex::ZERO, Access::Write, task, |mapped| {
        let page = frames.address(mapped.frame.number());
        // SAFETY: the frame is in the file while the page is being mapped, and a page long.
        unsafe { page.write_bytes(STORED[0], STORED.len()) };
    });
    assert!(mapped.is_ok(), "{mapped:?}");
}

/// A file of one page, which is cached and clean.
fn cached<M: Mmu>(machine: &Machine<M>) -> File {
    let store = MemoryStore::with_contents(&pattern(1, PAGE));
    let file = Arc::new(booked(machine, &store, PAGE as u64, u64::MAX));
    assert_eq!(read_as(&file, 0, PAGE, &NoTask), Ok(pattern(1, PAGE)));
    file
}

/// tgoskits PR 2449: a program maps a page and stores to it after reclaim has looked at it, and
/// before it is removed. What the file holds there.
fn e19<M: Mmu>(machine: &Machine<M>, core: Core) -> Vec<u8> {
    let file = cached(machine);
    let thread = Arc::new(Mutex::new(None));
    let (mapped, started) = (Arc::downgrade(&file), Arc::clone(&thread));
    file.mapping().cache().frames().at_next_look(move || {
        let file = mapped.upgrade().expect("open");
        let task = Arc::new(Waits::default());
        let other = Arc::clone(&task);
        let program = lockcheck::on_same_machine(move || store(&file, &*other));
        let program = std::thread::spawn(program);
        until("it has stored, or waits", || program.is_finished() || task.0.load(Ordering::SeqCst));
        *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
    });
    assert_eq!(core.reclaim(&file, &|| {}), 1);
    let program = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    program.expect("somebody looked").join().expect("the program");
    let got = read_as(&file, 0, STORED.len(), &NoTask).expect("a read");
    Arc::into_inner(file).expect("the only handle").discard();
    got
}

/// 449dd6984d0e: bytes of the index that are left when all files have gone.
fn e23<M: Mmu>(machine: &Machine<M>, keep: impl FnOnce(&PageCache<Bookkeeper>)) -> usize {
    let cache = books(machine, u64::MAX);
    let stores = [1, 2, 3].map(|_| MemoryStore::new());
    let files = stores.each_ref().map(|store| booked_in(&cache, store, 0));
    for file in &files {
        for leaf in [0, 1, 70, 5000] {
            let at = WriteOptions::at((leaf * PAGES_PER_LEAF * PAGE) as u64);
            assert_eq!(write_as(file, b"page", &at, &NoTask), Ok(4));
        }
    }
    keep(&cache);
    assert!(cache.metadata_bytes() > 0);
    files.into_iter().for_each(Inode::discard);
    cache.metadata_bytes()
}

balanced_on_both_mmus! {
    /// F5.
    fn e19_a_store_between_the_look_and_the_removal_is_kept(machine) {
        assert_eq!(e19(machine, Core::Faultless), STORED);
    }

    /// F5.
    fn e19_a_page_that_was_stored_to_before_it_was_locked_is_not_removed(machine) {
        let file = cached(machine);
        assert_eq!(Core::Faultless.reclaim(&file, &|| store(&file, &NoTask)), 0);
        assert_eq!(read_as(&file, 0, STORED.len(), &NoTask), Ok(STORED.to_vec()));
        Arc::into_inner(file).expect("the only handle").discard();
    }

    fn e19_a_removal_of_what_was_clean_is_caught(machine) {
        assert_eq!(e19(machine, Core::Planted), pattern(1, PAGE)[..STORED.len()], "the store is lost");
    }

    fn e23_the_nodes_go_back_with_the_last_file(machine) {
        assert_eq!(e23(machine, |_| {}), 0);
    }

    fn e23_a_user_of_the_index_that_never_ends_is_caught(machine) {
        assert!(e23(machine, |cache| std::mem::forget(cache.search())) > 0, "they are kept");
    }
}
