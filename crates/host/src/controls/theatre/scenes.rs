//! The five scenes. Each returns what the watchdog said: nothing, if all threads came to their end,
//! with the right bytes.

#![forbid(unsafe_code)]

use faultless_page::{PAGE_SIZE, PageIndex};

use super::flavor::at_page_lock;
use super::gate::{Gate, OpenAtEnd};
use super::stage::{File, Space, Stage, at_first_copy, enter, leave, page_of};
use super::store::{VolumeLock, VolumeStore};
use crate::Protection;
use crate::lockcheck;
use crate::script::Event;

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
fn curtain(stage: &Stage, spaces: &[&Space], fires: &[String], files: &[(&File, &[u8])]) {
    for space in spaces {
        let script = space.script();
        let copies = script.count(Event::AtomicCopy) + script.count(Event::FaultingCopy);
        assert!(copies > 0, "staging: the source was never stolen");
        script.clear();
    }
    for (file, expected) in files {
        if fires.is_empty() {
            assert!(stage.contents(file) == *expected, "the file holds other bytes");
        }
        stage.still_works(file);
    }
}

/// P(p) → fault: M(r) → P(p).
pub(super) fn dl1(stage: &Stage) -> Vec<String> {
    let old = page_of(3);
    let file = stage.file(&old);
    let space = stage.machine().space();
    map(&space, SOURCE, &file);
    at_first_copy(&space, || ());
    let fires = std::thread::scope(|scope| {
        leave(vec![enter(stage, scope, "T1", || {
            stage.write(&file, &space, space.slice(SOURCE, FROM, LEN));
        })])
    });
    curtain(stage, &[&space], &fires, &[(&file, &written(&old, &old))]);
    fires
}

/// P(a) → P(b) / P(b) → P(a).
pub(super) fn dl2(stage: &Stage) -> Vec<String> {
    let (old_f, old_g) = (page_of(3), page_of(5));
    let (f, g) = (stage.file(&old_f), stage.file(&old_g));
    let (one, two) = (stage.machine().space(), stage.machine().space());
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
        stage.write(file, space, space.slice(SOURCE, FROM, LEN));
    };
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(stage, scope, "T1", || play(0, &f, &one)),
            enter(stage, scope, "T2", || play(1, &g, &two)),
        ])
    });
    let (new_f, new_g) = (written(&old_f, &old_g), written(&old_g, &old_f));
    curtain(stage, &[&one, &two], &fires, &[(&f, &new_f), (&g, &new_g)]);
    fires
}

/// Both players have come here, or the other one has left.
fn meet(gates: &[Gate; 2], me: usize) {
    gates[me].open();
    gates[1 - me].pass();
}

/// P(p) → M(r) / M(w) → P(p).
pub(super) fn dl3(stage: &Stage) -> Vec<String> {
    let old = page_of(3);
    let file = stage.file(&old);
    let (space, source) = anonymous_source(stage, &file);
    let (go, in_place) = (Gate::default(), Gate::default());
    let cues = (go.clone(), in_place.clone());
    at_first_copy(&space, move || {
        cues.0.open();
        cues.1.pass();
    });
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(stage, scope, "T1", || {
                let _end = OpenAtEnd(go.clone());
                stage.write(&file, &space, space.slice(SOURCE, FROM, LEN));
            }),
            enter(stage, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // By then M is held for writing.
                let here = in_place.clone();
                at_page_lock(file.mapping().id(), move || here.open());
                space.populate(OTHER, 1).expect("a page of a file");
            }),
        ])
    });
    curtain(stage, &[&space], &fires, &[(&file, &written(&old, &source))]);
    fires
}

/// P(p) → M(r), which is queued behind M(w), which waits for M(r) → P(p).
pub(super) fn dl3_prime(stage: &Stage) -> Vec<String> {
    let old = page_of(3);
    let file = stage.file(&old);
    let (space, source) = anonymous_source(stage, &file);
    let (go, in_place) = (Gate::default(), Gate::default());
    let (go_third, third_done) = (Gate::default(), Gate::default());
    let cues = (go.clone(), in_place.clone(), go_third.clone(), third_done.clone());
    let watched = space.clone();
    at_first_copy(&space, move || {
        cues.0.open();
        cues.1.pass();
        cues.2.open();
        cues.3.pass_or(|| watched.lock().queued_writers() > 0);
    });
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(stage, scope, "T1", || {
                let _end = [OpenAtEnd(go.clone()), OpenAtEnd(go_third.clone())];
                stage.write(&file, &space, space.slice(SOURCE, FROM, LEN));
            }),
            enter(stage, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // By then M is held for reading.
                let here = in_place.clone();
                at_page_lock(file.mapping().id(), move || here.open());
                space.read_vec(space.at(OTHER, FROM), 1).expect("a page of a file");
            }),
            enter(stage, scope, "T3", || {
                let _end = OpenAtEnd(third_done.clone());
                go_third.pass();
                space.unmap(OTHER + 1, 1);
            }),
        ])
    });
    curtain(stage, &[&space], &fires, &[(&file, &written(&old, &source))]);
    fires
}

/// An address space with a source in private memory, what is in it, and the file mapped beside it.
fn anonymous_source(stage: &Stage, file: &File) -> (Space, Vec<u8>) {
    let space = stage.machine().space();
    let source = page_of(7);
    space.map_anonymous(SOURCE, 1, Protection::ReadWrite);
    space.store(space.at(SOURCE, 0), &source).expect("memory of a program");
    map(&space, OTHER, file);
    (space, source)
}

/// S → P(q) / P(q) → S, where S is the lock of the store: in the one direction by a fault, in the
/// other by the fault handler.
pub(super) fn dl4(stage: &Stage) -> Vec<String> {
    let (old_f, old_g) = (page_of(3), page_of(5));
    let lock = VolumeLock::new(stage.machine().cache());
    let (go, in_place) = (Gate::default(), Gate::default());
    let f = stage.file_over(&VolumeStore::new(&old_f, &lock, || ()), PAGE_SIZE);
    let (here, gone) = (in_place.clone(), go.clone());
    let at_read = move || {
        if gone.is_open() {
            here.open();
        }
    };
    let g = stage.file_over(&VolumeStore::new(&old_g, &lock, at_read), PAGE_SIZE);
    let (one, two) = (stage.machine().space(), stage.machine().space());
    map(&one, SOURCE, &g);
    map(&two, SOURCE, &g);
    let cues = (go.clone(), in_place.clone());
    at_first_copy(&one, move || {
        cues.0.open();
        cues.1.pass();
    });
    let fires = std::thread::scope(|scope| {
        leave(vec![
            enter(stage, scope, "T1", || {
                let _end = OpenAtEnd(go.clone());
                stage.write(&f, &one, one.slice(SOURCE, 0, PAGE_SIZE));
            }),
            enter(stage, scope, "T2", || {
                let _end = OpenAtEnd(in_place.clone());
                go.pass();
                // The page is reclaimed and wanted again.
                let evict = |token: &mut _| g.evict(token, 0..PAGE_SIZE as u64);
                let _pages = stage.machine().syscall(evict);
                let read = two.read_vec(two.at(SOURCE, 0), PAGE_SIZE).expect("a page of a file");
                assert!(read == old_g, "the page was read in with other bytes");
            }),
        ])
    });
    curtain(stage, &[&one], &fires, &[(&f, &old_g), (&g, &old_g)]);
    fires
}
