//! The five scenarios. Each returns what the watchdog said: nothing, if all threads came to their
//! end, with the right bytes.

#![forbid(unsafe_code)]

use faultless_page::{PAGE_SIZE, PageIndex};

use super::flavor::at_page_lock;
use super::gate::{Gate, OpenAtEnd};
use super::setup::{File, Setup, Space, at_first_copy, enter, leave, page_of};
use super::store::{VolumeLock, on_volume};
use faultless_host::Protection;
use faultless_host::lockcheck;
use faultless_host::script::Event;

/// The first `LEN` bytes of a page are written from byte `FROM` on of a page: they never overlap.
const LEN: usize = 100;
const FROM: usize = 2048;

/// User page at which sources lie, and one at which another thread maps the written file.
const SOURCE: usize = 0;
const OTHER: usize = 4;

/// A page after its first bytes were written from `FROM` on of `source`.
fn written(old: &[u8], source: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    new[..LEN].copy_from_slice(&source[FROM..FROM + LEN]);
    new
}

fn map(space: &Space, page: usize, file: &File) {
    space.map_file(page, 1, file, PageIndex::ZERO, Protection::Read);
}

/// After the players have left: the scripts have been played and go, and with them what they hold;
/// then the bytes are looked at.
fn finish(setup: &Setup, spaces: &[&Space], fires: &[String], files: &[(&File, &[u8])]) {
    for space in spaces {
        let script = space.script();
        let copies = script.count(Event::AtomicCopy) + script.count(Event::FaultingCopy);
        assert!(copies > 0, "staging: the source was never stolen");
        script.clear();
    }
    for (file, expected) in files {
        if fires.is_empty() {
            assert!(setup.contents(file) == *expected, "the file holds other bytes");
        }
        setup.still_works(file);
    }
}

/// P(p) → fault: M(r) → P(p).
pub(super) fn dl1(setup: &Setup) -> Vec<String> {
    let old = page_of(3);
    let file = setup.file(&old);
    let space = setup.machine().space();
    map(&space, SOURCE, &file);
    at_first_copy(&space, || ());
    let fires = std::thread::scope(|scope| {
        leave(vec![enter(setup, scope, "T1", || {
            setup.write(&file, &space, space.slice(SOURCE, FROM, LEN));
        })])
    });
    finish(setup, &[&space], &fires, &[(&file, &written(&old, &old))]);
    fires
}

/// P(a) → P(b) / P(b) → P(a).
pub(super) fn dl2(setup: &Setup) -> Vec<String> {
    let (old_f, old_g) = (page_of(3), page_of(5));
    let (f, g) = (setup.file(&old_f), setup.file(&old_g));
    let (one, two) = (setup.machine().space(), setup.machine().space());
    map(&one, SOURCE, &g);
    map(&two, SOURCE, &f);
    // They meet when each has probed its source, if it does, and when each holds its page.
    let (before, inside) = ([Gate::default(), Gate::default()], [Gate::default(), Gate::default()]);
    for (me, space) in [&one, &two].into_iter().enumerate() {
        let inside = inside.clone();
        at_first_copy(space, move || {
            if lockcheck::holds_pages() {
                meet(&inside, me);
            }
        });
    }
    let play = |me: usize, file: &File, space: &Space| {
        let _end = [OpenAtEnd(before[me].clone()), OpenAtEnd(inside[me].clone())];
        let before = before.clone();
        at_page_lock(file.mapping().id(), move || meet(&before, me));
        setup.write(file, space, space.slice(SOURCE, FROM, LEN));
    };
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(setup, scope, "T1", || play(0, &f, &one)),
            enter(setup, scope, "T2", || play(1, &g, &two)),
        ])
    });
    let (new_f, new_g) = (written(&old_f, &old_g), written(&old_g, &old_f));
    finish(setup, &[&one, &two], &fires, &[(&f, &new_f), (&g, &new_g)]);
    fires
}

/// Both players have come here, or the other one has left.
fn meet(gates: &[Gate; 2], me: usize) {
    gates[me].open();
    gates[1 - me].pass();
}

/// The first copy in this address space says that it has come by `here`, and waits for `go_on`.
fn wait_at_first_copy(space: &Space, here: &Gate, go_on: &Gate) {
    let (here, go_on) = (here.clone(), go_on.clone());
    at_first_copy(space, move || {
        here.open();
        go_on.pass();
    });
}

/// P(p) → M(r) / M(w) → P(p).
pub(super) fn dl3(setup: &Setup) -> Vec<String> {
    let old = page_of(3);
    let file = setup.file(&old);
    let (space, source) = anonymous_source(setup, &file);
    let (go, in_place) = (Gate::default(), Gate::default());
    wait_at_first_copy(&space, &go, &in_place);
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(setup, scope, "T1", || {
                let _end = OpenAtEnd(go.clone());
                setup.write(&file, &space, space.slice(SOURCE, FROM, LEN));
            }),
            enter(setup, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // By then M is held for writing.
                let here = in_place.clone();
                at_page_lock(file.mapping().id(), move || here.open());
                space.populate(OTHER, 1).expect("a page of a file");
            }),
        ])
    });
    finish(setup, &[&space], &fires, &[(&file, &written(&old, &source))]);
    fires
}

/// P(p) → M(r), which is queued behind M(w), which waits for M(r) → P(p).
pub(super) fn dl3_prime(setup: &Setup) -> Vec<String> {
    let old = page_of(3);
    let file = setup.file(&old);
    let (space, source) = anonymous_source(setup, &file);
    let (go, in_place) = (Gate::default(), Gate::default());
    let (go_third, third_done) = (Gate::default(), Gate::default());
    let hooks = (go.clone(), in_place.clone(), go_third.clone(), third_done.clone());
    let watched = space.clone();
    at_first_copy(&space, move || {
        hooks.0.open();
        hooks.1.pass();
        hooks.2.open();
        hooks.3.pass_or(|| watched.lock().queued_writers() > 0);
    });
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(setup, scope, "T1", || {
                let _end = [OpenAtEnd(go.clone()), OpenAtEnd(go_third.clone())];
                setup.write(&file, &space, space.slice(SOURCE, FROM, LEN));
            }),
            enter(setup, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // By then M is held for reading.
                let here = in_place.clone();
                at_page_lock(file.mapping().id(), move || here.open());
                space.read_vec(space.at(OTHER, FROM), 1).expect("a page of a file");
            }),
            enter(setup, scope, "T3", || {
                let _end = OpenAtEnd(third_done.clone());
                go_third.pass();
                space.unmap(OTHER + 1, 1);
            }),
        ])
    });
    finish(setup, &[&space], &fires, &[(&file, &written(&old, &source))]);
    fires
}

/// An address space with a source in private memory, what is in it, and the file mapped beside it.
fn anonymous_source(setup: &Setup, file: &File) -> (Space, Vec<u8>) {
    let space = setup.machine().space();
    let source = page_of(7);
    space.map_anonymous(SOURCE, 1, Protection::ReadWrite);
    space.store(space.at(SOURCE, 0), &source).expect("memory of a program");
    map(&space, OTHER, file);
    (space, source)
}

/// S → P(q) / P(q) → S, where S is the lock of the store: in the one direction by a fault, in the
/// other by the fault handler.
pub(super) fn dl4(setup: &Setup) -> Vec<String> {
    let (old_f, old_g) = (page_of(3), page_of(5));
    let lock = VolumeLock::new(setup.machine().cache());
    let (go, in_place) = (Gate::default(), Gate::default());
    let f = setup.file_over(&on_volume(&old_f, &lock, || ()), PAGE_SIZE);
    let (here, gone) = (in_place.clone(), go.clone());
    let at_read = move || {
        if gone.is_open() {
            here.open();
        }
    };
    let g = setup.file_over(&on_volume(&old_g, &lock, at_read), PAGE_SIZE);
    let (one, two) = (setup.machine().space(), setup.machine().space());
    map(&one, SOURCE, &g);
    map(&two, SOURCE, &g);
    wait_at_first_copy(&one, &go, &in_place);
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(setup, scope, "T1", || {
                let _end = OpenAtEnd(go.clone());
                setup.write(&f, &one, one.slice(SOURCE, 0, PAGE_SIZE));
            }),
            enter(setup, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // The page is reclaimed and wanted again.
                let evict = |token: &mut _| g.evict(token, 0..PAGE_SIZE as u64);
                let _pages = setup.machine().syscall(evict);
                let read = two.read_vec(two.at(SOURCE, 0), PAGE_SIZE).expect("a page of a file");
                assert!(read == old_g, "the page was read in with other bytes");
            }),
        ])
    });
    finish(setup, &[&one], &fires, &[(&f, &old_g), (&g, &old_g)]);
    fires
}
