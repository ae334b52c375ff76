//! Lock-free lookup against insertion, removal and reuse of nodes and frames.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;

use faultless_page::{LEAF_SIZE, Mapping, Mark, PAGE_SIZE, PAGES_PER_LEAF, PageIndex, PageRun};

use crate::on_loom::explore::Run;
use crate::on_loom::world::{K, PAGE, World, cx};

type Thread = Box<dyn FnOnce() + Send>;

const END: PageIndex = PageIndex::new(1 << 20);

fn seen(world: &World, mapping: &Mapping<K>, allowed: &[&[u8]]) {
    if let Some(bytes) = world.read(mapping, 0, 4) {
        assert!(allowed.contains(&&bytes[..]), "a reader saw {bytes:02x?}");
    }
}

fn reader(world: &World, mapping: &Arc<Mapping<K>>, allowed: &'static [&'static [u8]]) -> Thread {
    let (world, mapping) = (world.clone(), Arc::clone(mapping));
    Box::new(move || seen(&world, &mapping, allowed))
}

/// Leaves and inner nodes made beforehand, so that threads find them on the free lists: while
/// `_user` lives, they are kept.
fn stock_nodes(world: &World, _user: &Mapping<K>, leaves: u64) {
    let mapping = world.mapping(0);
    for leaf in 0..leaves {
        let run = PageRun::single(PageIndex::new(leaf * PAGES_PER_LEAF as u64));
        drop(mapping.lock_or_create(cx(), run).expect("memory"));
    }
}

/// A page leaves its mapping and its frame goes to another file while a reader is inside.
pub fn recycled_frame() -> Run {
    let world = World::new(4);
    let (file, other) = (world.mapping(4), world.mapping(4));
    world.fill(&file, PageIndex::ZERO, b"old!");
    drop(other.lock_or_create(cx(), PAGE).expect("memory"));
    let (machine, from, to) = (world.clone(), Arc::clone(&file), Arc::clone(&other));
    let recycle = move || {
        let mut locked = from.lock(cx(), PAGE).expect("a leaf");
        let removed = locked.remove(PAGE.mask());
        drop(locked);
        drop(removed);
        machine.fill(&to, PageIndex::ZERO, b"priv");
    };
    let threads: Vec<Thread> = vec![reader(&world, &file, &[b"old!"]), Box::new(recycle)];
    Run { threads, end: Box::new(move || drop((world, file, other))) }
}

/// A page is replaced under its lock by one that is filled later; the old frame waits for its grace
/// period meanwhile.
pub fn replaced_page() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"old!");
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let replace = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        let removed = locked.remove(PAGE.mask());
        machine.insert(&mut locked, PageIndex::ZERO, b"junk");
        machine.poke(&locked, 0, b"new!");
        locked.set_uptodate(PAGE.mask());
        drop(locked);
        drop(removed);
    };
    let threads: Vec<Thread> = vec![reader(&world, &file, &[b"old!", b"new!"]), Box::new(replace)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// A page moves to another frame under its lock, and the old frame goes to another file.
pub fn migrated_page() -> Run {
    let world = World::new(5);
    let (file, other) = (world.mapping(4), world.mapping(4));
    world.fill(&file, PageIndex::ZERO, b"page");
    drop(other.lock_or_create(cx(), PAGE).expect("memory"));
    let (machine, from, to) = (world.clone(), Arc::clone(&file), Arc::clone(&other));
    let migrate = move || {
        let frame = machine.frame();
        let mut locked = from.lock(cx(), PAGE).expect("a leaf");
        let replaced = locked.replace(PageIndex::ZERO, frame).expect("an idle page");
        drop(locked);
        drop(replaced);
        machine.fill(&to, PageIndex::ZERO, b"priv");
    };
    let threads: Vec<Thread> = vec![reader(&world, &file, &[b"page"]), Box::new(migrate)];
    Run { threads, end: Box::new(move || drop((world, file, other))) }
}

/// As `replaced_page`, but the new page never becomes uptodate.
pub fn page_without_bytes() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"old!");
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let replace = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        let removed = locked.remove(PAGE.mask());
        machine.insert(&mut locked, PageIndex::ZERO, b"junk");
        drop(locked);
        drop(removed);
    };
    let threads: Vec<Thread> = vec![reader(&world, &file, &[b"old!"]), Box::new(replace)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// Two pages in consecutive frames, read in one go, while the second is replaced.
pub fn merged_pages() -> Run {
    let world = World::new(6);
    let file = world.mapping(2 * PAGE_SIZE as u64);
    world.fill(&file, PageIndex::ZERO, b"one!");
    world.fill(&file, PageIndex::new(1), b"two!");
    let both = PageRun::new(PageIndex::ZERO, 2);
    let locked = file.lock(cx(), both).expect("a leaf");
    let (_, merged) = locked.span(0, 2 * PAGE_SIZE).expect("pages");
    assert_eq!(merged, 2 * PAGE_SIZE, "the model's frames are consecutive");
    drop(locked);
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let read = move || {
        let section = mapping.read_section(cx());
        if let Some((from, len)) = section.span(0, 2 * PAGE_SIZE) {
            assert_eq!(machine.memory.peek(from.as_ptr(), 4), b"one!");
            if len > PAGE_SIZE {
                let second = machine.memory.peek(from.as_ptr().wrapping_add(PAGE_SIZE), 4);
                assert!(second == b"two!" || second == b"new!", "a reader saw {second:02x?}");
            }
        }
    };
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let replace = move || {
        let run = PageRun::single(PageIndex::new(1));
        let mut locked = mapping.lock(cx(), run).expect("a leaf");
        let removed = locked.remove(run.mask());
        machine.insert(&mut locked, run.first(), b"junk");
        machine.poke(&locked, run.start(), b"new!");
        locked.set_uptodate(run.mask());
        drop(locked);
        drop(removed);
    };
    let threads: Vec<Thread> = vec![Box::new(read), Box::new(replace)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// Two threads put pages into a file without a leaf, in the same leaf; a third looks.
pub fn insertion_into_one_leaf() -> Run {
    insertion([PageIndex::ZERO, PageIndex::new(1)])
}

/// As before, in two leaves: the tree grows a level while it is being walked.
pub fn insertion_into_two_leaves() -> Run {
    insertion([PageIndex::ZERO, PageIndex::containing(LEAF_SIZE as u64)])
}

fn insertion(at: [PageIndex; 2]) -> Run {
    let world = World::new(6);
    let file = world.mapping(4);
    stock_nodes(&world, &file, 2);
    let mut threads: Vec<Thread> = vec![reader(&world, &file, &[b"page"])];
    for index in at {
        let (world, file) = (world.clone(), Arc::clone(&file));
        threads.push(Box::new(move || world.fill(&file, index, b"page")));
    }
    let end = move || {
        assert_eq!(file.cached_pages(), 2, "a page was lost");
        for index in at {
            assert_eq!(world.read(&file, index.start(), 4).as_deref(), Some(&b"page"[..]));
        }
    };
    Run { threads, end: Box::new(end) }
}

/// An empty leaf is pruned and becomes another file's, while a locker is on its way to it.
pub fn stale_locker() -> Run {
    leaf_and_locker(|world, file| world.fill(file, PageIndex::ZERO, b"mine"))
}

/// As `stale_locker`, by a thread whose CPU has locked pages of the leaf last.
pub fn recent_locker() -> Run {
    leaf_and_locker(|world, file| {
        let Ok(Some(mut locked)) = file.try_lock_recent(cx(), PAGE) else {
            return world.fill(file, PageIndex::ZERO, b"mine");
        };
        world.insert(&mut locked, PageIndex::ZERO, b"mine");
        locked.set_uptodate(locked.mask());
    })
}

/// A file's empty leaf, of which pages were locked, becomes another one's while a thread puts a
/// page into the first file.
fn leaf_and_locker(insert: fn(&World, &Mapping<K>)) -> Run {
    let world = World::new(6);
    let (file, other) = (world.mapping(4), world.mapping(4));
    stock_nodes(&world, &file, 2);
    drop(file.lock_or_create(cx(), PAGE).expect("memory"));
    drop(file.try_lock(cx(), PAGE).expect("it is free"));
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let insert = move || insert(&machine, &mapping);
    let (machine, from, to) = (world.clone(), Arc::clone(&file), Arc::clone(&other));
    let reuse = move || {
        from.prune(PageIndex::ZERO, END);
        machine.fill(&to, PageIndex::ZERO, b"its!");
    };
    let end = move || {
        assert_eq!(file.find(PageIndex::ZERO, END, Mark::Present), Some(PAGE), "a page was lost");
        assert_eq!(world.read(&file, 0, 4).as_deref(), Some(&b"mine"[..]));
        assert_eq!(world.read(&other, 0, 4).as_deref(), Some(&b"its!"[..]));
    };
    Run { threads: vec![Box::new(insert), Box::new(reuse)], end: Box::new(end) }
}

/// A reader is inside while the page goes, its leaf is pruned, and both are another file's.
pub fn stale_reader() -> Run {
    let world = World::new(6);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"mine");
    let look = reader(&world, &file, &[b"mine"]);
    leaf_and_reader(world, file, look)
}

/// As `stale_reader`, by a thread whose CPU has read the leaf last.
pub fn recent_reader() -> Run {
    let world = World::new(6);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"mine");
    let read = |world: &World, file: &Mapping<K>| {
        let section = file.read_section(cx());
        section.whole_span(0, 4).map(|from| world.memory.peek(from, 4))
    };
    assert_eq!(read(&world, &file).as_deref(), Some(&b"mine"[..]));
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let look = move || {
        let seen = read(&machine, &mapping);
        assert!(seen.as_deref().is_none_or(|seen| seen == b"mine"), "a reader saw {seen:02x?}");
    };
    leaf_and_reader(world, file, Box::new(look))
}

/// The only page of `file` goes, its leaf is pruned, and both are another file's, while a thread
/// looks.
fn leaf_and_reader(world: World, file: Arc<Mapping<K>>, look: Thread) -> Run {
    let other = world.mapping(4);
    let (machine, from, to) = (world.clone(), Arc::clone(&file), Arc::clone(&other));
    let reuse = move || {
        let mut locked = from.lock(cx(), PAGE).expect("a leaf");
        let removed = locked.remove(PAGE.mask());
        drop(locked);
        drop(removed);
        from.prune(PageIndex::ZERO, END);
        machine.fill(&to, PageIndex::ZERO, b"its!");
    };
    let threads: Vec<Thread> = vec![look, Box::new(reuse)];
    Run { threads, end: Box::new(move || drop((world, file, other))) }
}
