//! A search for pages to give up, against what uses, inserts and removes them, and against the end
//! of the last file. When nothing runs any more the books have the pages that are cached.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_page::{Mapping, PageIndex, PageRun, SlotMask, Usage};

use crate::kernel::ModelKernel;
use crate::on_loom::LoomWithBooks;
use crate::on_loom::explore::Run;
use crate::on_loom::world::{Machine, PAGE, cx};

type Kernel = ModelKernel<LoomWithBooks>;
type World = Machine<LoomWithBooks>;
type File = Arc<Mapping<Kernel>>;
type Thread = Box<dyn FnOnce() + Send>;

/// A step of a reclaimer: takes out what it is offered, if that is this file's, and free. How many
/// pages.
fn step(world: &World, file: &Mapping<Kernel>) -> u32 {
    let mut search = world.cache.search();
    let mut removals = world.cache.removals();
    let Some(mut victims) = search.next(1) else { return 0 };
    if victims.mapping() != file.id() {
        return 0;
    }
    let leaf = PageRun::leaf(victims.leaf_base());
    let Some(stretch) = PageRun::first_of(leaf.first(), victims.among(leaf)) else { return 0 };
    let Some(mut locked) = file.try_lock_free(cx(), stretch) else { return 0 };
    let clean = locked.clean();
    victims.take(&mut locked, clean, SlotMask::EMPTY, &mut removals)
}

fn reclaimer(world: &World, file: &File) -> Thread {
    let (world, file) = (world.clone(), Arc::clone(file));
    Box::new(move || {
        let _pages = step(&world, &file);
    })
}

/// The books have what the file has, and what has left gives its frame back.
fn balance(world: &World, file: &Mapping<Kernel>) {
    let cached = file.cached_pages();
    assert_eq!(world.cache.reclaimable_pages(), cached, "pages on the books, and cached");
    let nodes = world.cache.metadata_bytes() / faultless_page::PAGE_SIZE;
    assert_eq!(world.memory.in_use(), nodes + cached as usize, "frames");
}

/// A file with a page that is uptodate.
fn cached(world: &World) -> File {
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"old!");
    file
}

/// A page is used by a reader without locks while it is taken, and its frame goes to another page.
pub fn hit_and_take() -> Run {
    // Frames for the leaf, the anchor and one page.
    let world = World::new(3);
    let file = cached(&world);
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let reader = move || {
        let section = mapping.read_section(cx());
        if let Some((from, len, _)) = section.marked_span(0, 4, Usage::Again) {
            assert_eq!(machine.memory.peek(from.as_ptr(), len), b"old!");
        }
    };
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let taker = move || {
        if step(&machine, &mapping) == 1 {
            machine.fill(&mapping, PageIndex::new(1), b"next");
        }
    };
    let threads: Vec<Thread> = vec![Box::new(reader), Box::new(taker)];
    let end = move || balance(&world, &file);
    Run { threads, end: Box::new(end) }
}

/// A page comes into a leaf while the hand is there.
pub fn insertion_and_search() -> Run {
    let world = World::new(6);
    let file = cached(&world);
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let insert = move || machine.fill(&mapping, PageIndex::new(1), b"new!");
    let threads: Vec<Thread> = vec![Box::new(insert), reclaimer(&world, &file)];
    let end = move || {
        assert!((1..=2).contains(&file.cached_pages()), "one of two is taken at most");
        balance(&world, &file);
    };
    Run { threads, end: Box::new(end) }
}

/// A page is cut off, and comes back, while it is a victim.
pub fn removal_and_take() -> Run {
    let world = World::new(5);
    let file = cached(&world);
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let cut = move || {
        let removed = mapping.lock(cx(), PAGE).map(|mut locked| locked.remove(PAGE.mask()));
        if removed.is_some_and(|removed| !removed.is_empty()) {
            machine.fill(&mapping, PageIndex::ZERO, b"new!");
        }
    };
    let threads: Vec<Thread> = vec![Box::new(cut), reclaimer(&world, &file)];
    let end = move || balance(&world, &file);
    Run { threads, end: Box::new(end) }
}

/// Two steps at once, over two pages of a leaf.
pub fn two_steps() -> Run {
    let world = World::new(5);
    let file = cached(&world);
    world.fill(&file, PageIndex::new(1), b"two!");
    let threads = vec![reclaimer(&world, &file), reclaimer(&world, &file)];
    let end = move || balance(&world, &file);
    Run { threads, end: Box::new(end) }
}

/// The last file goes while a search looks at its page: the nodes stay until both are gone.
pub fn last_drop_and_search() -> Run {
    let world = World::new(5);
    let file = cached(&world);
    let id = file.id();
    let machine = world.clone();
    let search = move || {
        let mut search = machine.cache.search();
        if let Some(victims) = search.next(1) {
            assert!([0, id].contains(&victims.mapping()), "mapping {}", victims.mapping());
            assert_eq!(victims.leaf_base(), PageIndex::ZERO);
        }
    };
    let threads: Vec<Thread> = vec![Box::new(move || drop(file)), Box::new(search)];
    let end = move || {
        let cache = &world.cache;
        assert_eq!((cache.reclaimable_pages(), cache.metadata_bytes()), (0, 0), "pages, nodes");
        assert_eq!(world.memory.in_use(), 0, "frames");
    };
    Run { threads, end: Box::new(end) }
}

/// The same, while another file comes and takes nodes of its own.
pub fn last_drop_and_first_page() -> Run {
    let world = World::new(8);
    let file = cached(&world);
    let machine = world.clone();
    let next = move || {
        let other = machine.mapping(4);
        machine.fill(&other, PageIndex::ZERO, b"its!");
        let _taken = step(&machine, &other);
    };
    let threads: Vec<Thread> = vec![Box::new(move || drop(file)), Box::new(next)];
    let end = move || {
        let cache = &world.cache;
        assert_eq!((cache.reclaimable_pages(), cache.metadata_bytes()), (0, 0), "pages, nodes");
        assert_eq!(world.memory.in_use(), 0, "frames");
    };
    Run { threads, end: Box::new(end) }
}
