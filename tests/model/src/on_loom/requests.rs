//! Requests of a store that end on a thread of their own, against what waits for their pages, what
//! is done to the other pages of their leaf, and the drop of their mapping.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_page::{
    Errno, FileEnd, Mapping, Mark, NoUserMappings, PAGE_SIZE, PageIndex, PageRun, ReadRequest,
    Strategy, WritebackRequest,
};

use crate::memory::Memory;
use crate::on_loom::Loom;
use crate::on_loom::explore::Run;
use crate::on_loom::world::{K, PAGE, World, cx};
use crate::store::ModelStore;

type Thread = Box<dyn FnOnce() + Send>;

const SECOND: PageRun = PageRun::single(PageIndex::new(1));
const LEAF_END: PageIndex = PageIndex::new(64);

/// A file of `pages` pages, and the read of all of them, which is under way.
fn reading(world: &World, pages: u64) -> (Arc<Mapping<K>>, ReadRequest) {
    let store = Arc::new(ModelStore::new(&[], Strategy::BeginEnd));
    store.keep_reads();
    let size = pages * PAGE_SIZE as u64;
    let cache = Arc::clone(&world.cache);
    let file = Arc::new(Mapping::new(cache, Arc::clone(&store), NoUserMappings, size));
    let run = PageRun::new(PageIndex::ZERO, pages);
    let mut locked = file.lock_or_create(cx(), run).expect("memory");
    for page in 0..pages {
        world.insert(&mut locked, PageIndex::new(page), b"junk");
    }
    locked.submit_read(run.mask(), FileEnd { visible: size, on_store: size });
    let request = store.take_reads().pop().expect("it was kept");
    (file, request)
}

/// A file whose first page is under writeback.
fn writing(world: &World) -> (Arc<Mapping<K>>, WritebackRequest) {
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"page");
    let mut locked = file.lock(cx(), PAGE).expect("a leaf");
    locked.set_dirty(PAGE.mask());
    let writeback = locked.begin_writeback(PAGE, 4).expect("a dirty page");
    drop(locked);
    (file, writeback)
}

/// What a device does: the data arrive, then the read ends.
fn arrives(memory: &Memory<Loom>, mut request: ReadRequest) {
    let filled = request.padded_len();
    for segment in request.segments() {
        memory.poke(segment.address.as_ptr(), b"page");
    }
    // SAFETY: in these models the bytes that anyone looks at were just written.
    unsafe { request.complete(filled) };
}

fn device(world: &World, request: ReadRequest) -> Thread {
    let memory = Arc::clone(&world.memory);
    Box::new(move || arrives(&memory, request))
}

/// Wants the first page: waits for its lock, and finds its bytes.
fn waiter(world: &World, file: &Arc<Mapping<K>>) -> Thread {
    let (world, file) = (world.clone(), Arc::clone(file));
    Box::new(move || {
        let locked = file.lock(cx(), PAGE).expect("the page stays");
        assert_eq!(locked.uptodate(), PAGE.mask());
        let (from, _) = locked.span(0, 4).expect("a page");
        assert_eq!(world.memory.peek(from.as_ptr(), 4), b"page", "uptodate before its bytes");
    })
}

/// A read ends while a thread waits for its page.
pub fn read_and_waiter() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    let threads = vec![device(&world, request), waiter(&world, &file)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// A read ends while readers look, which do not lock.
pub fn read_and_readers() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let look = move || {
        if let Some(bytes) = machine.read(&mapping, 0, 4) {
            assert_eq!(bytes, b"page", "uptodate before its bytes");
        }
    };
    let threads: Vec<Thread> = vec![device(&world, request), Box::new(look)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// A read ends while a thread waits for its page, and a third takes another page of the same leaf
/// out.
pub fn read_waiter_and_neighbour() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    world.fill(&file, SECOND.first(), b"next");
    let mapping = Arc::clone(&file);
    let neighbour = move || {
        let mut locked = mapping.lock(cx(), SECOND).expect("a leaf");
        let removed = locked.remove(SECOND.mask());
        drop(locked);
        drop(removed);
    };
    let threads: Vec<Thread> =
        vec![device(&world, request), waiter(&world, &file), Box::new(neighbour)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// The page is taken out as soon as its read lets it, and its leaf becomes another file's, which
/// has a page locked: the read does not unlock that.
pub fn read_and_prune() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    let other = world.mapping(4);
    let (old, new) = (Arc::clone(&file), Arc::clone(&other));
    let reuse = move || {
        old.prune(PageIndex::ZERO, LEAF_END);
        let mut locked = old.lock(cx(), PAGE).expect("a leaf with a request is not pruned");
        let removed = locked.remove(PAGE.mask());
        drop(locked);
        drop(removed);
        old.prune(PageIndex::ZERO, LEAF_END);
        std::mem::forget(new.lock_or_create(cx(), PAGE).expect("memory"));
    };
    let threads: Vec<Thread> = vec![device(&world, request), Box::new(reuse)];
    let end = move || {
        assert!(other.try_lock(cx(), PAGE).is_none(), "a lock of another file was given back");
        drop((world, file, other));
    };
    Run { threads, end: Box::new(end) }
}

/// Drops the last handle of the file and of its cache: whatever uses them afterwards uses memory
/// that was given back.
fn dropper(world: World, file: Arc<Mapping<K>>) -> (Thread, Arc<Memory<Loom>>) {
    let World { memory, cache } = world;
    let (seen, drops) = (Arc::clone(&memory), move || {
        drop(cache);
        drop(Arc::into_inner(file).expect("the last handle"));
        assert_eq!(memory.in_use(), 0, "all memory has come back");
    });
    (Box::new(drops), seen)
}

/// The last read of a file ends while the file and the cache are dropped.
pub fn read_and_drop() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    let device = device(&world, request);
    let (dropper, memory) = dropper(world, file);
    Run { threads: vec![device, dropper], end: Box::new(move || drop(memory)) }
}

/// As before, by a thread that waited for the read: it has its page while the other one is still
/// waking it.
pub fn read_and_waiter_that_drops() -> Run {
    let world = World::new(6);
    let (file, request) = reading(&world, 1);
    let device = device(&world, request);
    let mapping = Arc::clone(&file);
    let (dropper, memory) = dropper(world, file);
    let waits = Box::new(move || {
        drop(mapping.lock(cx(), PAGE).expect("a leaf"));
        drop(mapping);
        dropper();
    });
    Run { threads: vec![device, waits], end: Box::new(move || drop(memory)) }
}

/// The last writeback of a file fails while the file and the cache are dropped.
pub fn writeback_and_drop() -> Run {
    let world = World::new(6);
    let (file, writeback) = writing(&world);
    let device = Box::new(move || writeback.complete(Err(Errno::Io)));
    let (dropper, memory) = dropper(world, file);
    Run { threads: vec![device, dropper], end: Box::new(move || drop(memory)) }
}

/// Two parts of a read end on two threads while the file and the cache are dropped.
pub fn parts_and_drop() -> Run {
    let world = World::new(6);
    let (file, mut request) = reading(&world, 2);
    let rest = request.split_off(1).expect("two pages");
    let (first, second) = (device(&world, request), device(&world, rest));
    let (dropper, memory) = dropper(world, file);
    Run { threads: vec![first, second, dropper], end: Box::new(move || drop(memory)) }
}

fn is_under_writeback(file: &Mapping<K>) -> bool {
    file.find(PageIndex::ZERO, LEAF_END, Mark::Writeback).is_some()
}

/// F2: a writeback fails while a sync looks: it finds it under way, or its failure and the dirty
/// page.
pub fn failure_and_sync() -> Run {
    let world = World::new(6);
    let (file, writeback) = writing(&world);
    let fails = move || writeback.complete(Err(Errno::Io));
    let mapping = Arc::clone(&file);
    let sync = move || {
        if !is_under_writeback(&mapping) {
            assert_eq!(mapping.failures().count(), 1, "F2: the failure is not to be found");
        }
    };
    let mapping = Arc::clone(&file);
    let evict = move || {
        if let Some(locked) = mapping.try_lock(cx(), PAGE) {
            assert!(locked.clean().is_empty(), "F5: a page that is not on the store is clean");
        }
    };
    let threads: Vec<Thread> = vec![Box::new(fails), Box::new(sync), Box::new(evict)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// F2: a sync waits, with the page locked, for the writeback that fails.
pub fn failure_and_waiter() -> Run {
    let world = World::new(6);
    let (file, writeback) = writing(&world);
    let fails = move || writeback.complete(Err(Errno::Io));
    let mapping = Arc::clone(&file);
    let sync = move || {
        let locked = mapping.lock(cx(), PAGE).expect("a leaf");
        assert_eq!(locked.wait_writeback(PAGE.mask(), &|| false), Ok(()));
        assert_eq!(locked.dirty(), PAGE.mask());
        assert_eq!(mapping.failures().count(), 1, "F2: the failure is not to be found");
    };
    let threads: Vec<Thread> = vec![Box::new(fails), Box::new(sync)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}
