//! Marks of a page: uptodate is published after the bytes, no store is lost to writeback, the size
//! moves after the bytes.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::sync::{Arc, Mutex};

use faultless_page::{Mark, PageIndex};

use crate::on_loom::explore::Run;
use crate::on_loom::world::{PAGE, Sent, World, cx};
use crate::plant::{self, Plant};

type Thread = Box<dyn FnOnce() + Send>;

/// A page is filled while a reader looks for it.
pub fn uptodate() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    drop(file.lock_or_create(cx(), PAGE).expect("memory"));
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let fill = move || machine.fill(&mapping, PageIndex::ZERO, b"page");
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let read = move || {
        if let Some(bytes) = machine.read(&mapping, 0, 4) {
            assert_eq!(bytes, b"page", "uptodate before its bytes");
        }
    };
    let threads: Vec<Thread> = vec![Box::new(fill), Box::new(read)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// A page is written while it is on its way to the store: it ends up dirty, or the store has the
/// new bytes.
pub fn write_during_writeback() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"old!");
    file.lock(cx(), PAGE).expect("a leaf").set_dirty(PAGE.mask());
    let store = Arc::new(Mutex::new(Vec::new()));
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let write = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        machine.poke(&locked, 0, b"new!");
        locked.set_dirty(PAGE.mask());
    };
    let (machine, mapping, device) = (world.clone(), Arc::clone(&file), Arc::clone(&store));
    let send = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        let writeback = locked.begin_writeback(PAGE, 4).expect("a dirty page");
        if plant::is(Plant::LateClean) {
            locked.set_dirty(PAGE.mask());
        }
        let (from, _) = locked.span(0, 4).expect("a page");
        drop(locked);
        let bytes = machine.memory.peek(from.as_ptr(), 4);
        *device.lock().expect("one at a time") = bytes;
        if plant::is(Plant::LateClean)
            && let Some(mut locked) = mapping.lock(cx(), PAGE)
        {
            locked.clear_dirty(PAGE.mask());
        }
        writeback.complete(Ok(()));
    };
    let end = move || {
        let stored = store.lock().expect("threads are done").clone();
        let dirty = file.find(PageIndex::ZERO, PageIndex::new(1), Mark::Dirty).is_some();
        assert!(dirty || stored == b"new!", "a clean page, and the store has {stored:02x?}");
        assert_eq!(world.read(&file, 0, 4).as_deref(), Some(&b"new!"[..]));
    };
    Run { threads: vec![Box::new(write), Box::new(send)], end: Box::new(end) }
}

/// One thread waits for the end of a writeback, one for the page's lock.
pub fn waiting_for_writeback() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"page");
    file.lock(cx(), PAGE).expect("a leaf").set_dirty(PAGE.mask());
    let sent = Sent::begin(&file, PAGE);
    let end_io = move || sent.complete(Ok(()));
    let mapping = Arc::clone(&file);
    let wait = move || {
        mapping.wait_writeback(PAGE);
        assert!(mapping.find(PageIndex::ZERO, PageIndex::new(1), Mark::Writeback).is_none());
    };
    let mapping = Arc::clone(&file);
    let lock = move || drop(mapping.lock(cx(), PAGE));
    let threads: Vec<Thread> = vec![Box::new(wait), Box::new(end_io), Box::new(lock)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// A second writeback of the page begins, and ends, while a thread waits for the first.
pub fn two_writebacks() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"page");
    file.lock(cx(), PAGE).expect("a leaf").set_dirty(PAGE.mask());
    let first = Sent::begin(&file, PAGE);
    let end_first = move || first.complete(Ok(()));
    let mapping = Arc::clone(&file);
    let second = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        locked.set_dirty(PAGE.mask());
        let writeback = locked.begin_writeback(PAGE, u64::MAX);
        drop(locked);
        // The first one may still be under way.
        writeback.into_iter().for_each(|writeback| writeback.complete(Ok(())));
    };
    let mapping = Arc::clone(&file);
    let wait = move || mapping.wait_writeback(PAGE);
    let threads: Vec<Thread> = vec![Box::new(wait), Box::new(end_first), Box::new(second)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}

/// The file grows inside a page that is uptodate already: only the size tells readers of the new
/// bytes.
pub fn growing_size() -> Run {
    let world = World::new(4);
    let file = world.mapping(4);
    world.fill(&file, PageIndex::ZERO, b"page");
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let grow = move || {
        let mut locked = mapping.lock(cx(), PAGE).expect("a leaf");
        machine.poke(&locked, 4, b"more");
        locked.grow_size(8);
    };
    let (machine, mapping) = (world.clone(), Arc::clone(&file));
    let read = move || {
        let size = mapping.size() as usize;
        let bytes = machine.read(&mapping, 0, size).expect("an uptodate page");
        assert_eq!(bytes, &b"pagemore"[..size], "the size before its bytes");
    };
    let threads: Vec<Thread> = vec![Box::new(grow), Box::new(read)];
    Run { threads, end: Box::new(move || drop((world, file))) }
}
