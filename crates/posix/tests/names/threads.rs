//! Changes beside each other. The locks, the drops of files and the making of files are checked in
//! `kernel` all the time.

use std::sync::Barrier;
use std::thread;

use faultless_posix::{Errno, Follow};
use linux_raw_sys::general as linux;

use crate::kernel::{Node, nothing_held};
use crate::world::World;

const THREADS: u64 = 4;
const STEPS: usize = 4000;

fn step(world: &World, rng: &mut u64) {
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    let names = ["a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "b/b/b"];
    let path = |shift: u32| names[(*rng >> shift) as usize % names.len()].as_bytes();
    let (one, other) = (path(8), path(16));
    let (tree, caller) = (&world.tree, world.caller());
    let root = tree.root();
    let make = || world.files.make();
    // Any error may come: others are at work.
    let _done = match *rng % 9 {
        0 | 1 => tree.make_directory(&caller, root, one, 0o755).is_ok(),
        2 => tree.remove_directory(&caller, root, one).is_ok(),
        3 => tree.unlink(&caller, root, one).is_ok(),
        4 => tree.open(&caller, root, one, linux::O_CREAT, 0o644, make).is_ok(),
        5 => tree.rename(&caller, (root, one), (root, other), 0).is_ok(),
        6 => tree.rename(&caller, (root, one), (root, other), linux::RENAME_EXCHANGE).is_ok(),
        7 => {
            let found = tree.lookup(&caller, root, one, Follow::Last);
            found.and_then(|node| tree.link(&caller, &node, root, other)).is_ok()
        }
        _ => {
            let found = tree.lookup(&caller, root, one, Follow::Last);
            found.and_then(|node| tree.path(&node)).is_ok()
        }
    };
    nothing_held("the end of a call");
}

/// Checks link counts and parents of a directory and all in it; the files in it.
fn check(world: &World, directory: &Node, files: &mut Vec<Node>) {
    let mut inner = 0;
    let mut cookie = 2;
    while let Some(entry) = directory.entry(cookie, u64::MAX).expect("a directory") {
        cookie = entry.next;
        let lookup = |at: &Node, path: &[u8]| {
            world.tree.lookup(&world.caller(), at, path, Follow::NotLast).expect("listed")
        };
        let node = lookup(directory, entry.name());
        if node.file().is_some() {
            files.push(node);
        } else {
            inner += 1;
            assert_eq!(lookup(&node, b"..").number(), directory.number());
            check(world, &node, files);
        }
    }
    assert_eq!(directory.status().links, 2 + inner);
}

#[test]
fn threads_that_change_one_tree_leave_it_whole() {
    let world = World::new();
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (world, start) = (&world, &start);
            scope.spawn(move || {
                let mut rng = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                start.wait();
                for _ in 0..STEPS {
                    step(world, &mut rng);
                }
            });
        }
    });
    let mut files = Vec::new();
    check(&world, world.root(), &mut files);
    for file in &files {
        let names = files.iter().filter(|other| other.number() == file.number()).count();
        assert_eq!(file.status().links as usize, names);
    }
    files.sort_by_key(|file| file.number());
    files.dedup_by_key(|file| file.number());
    assert_eq!(world.files.live(), files.len(), "what has no name and no handle is gone");
}

#[test]
fn a_name_that_is_replaced_is_never_missing() {
    let world = World::new();
    world.mkdir("a").expect("made");
    world.file("a/f").expect("made");
    thread::scope(|scope| {
        let tree = &world.tree;
        let caller = world.caller();
        let files = &world.files;
        scope.spawn(move || {
            for _ in 0..STEPS {
                let root = tree.root();
                tree.make_file(&caller, root, b"g", 0o644, || files.make()).expect("made");
                tree.rename(&caller, (root, b"g"), (root, b"a/f"), 0).expect("renamed");
            }
        });
        scope.spawn(move || {
            for _ in 0..STEPS {
                let found = tree.lookup(&caller, tree.root(), b"a/f", Follow::Last);
                assert!(found.is_ok(), "{:?}", found.err().unwrap_or(Errno::NOENT));
            }
        });
    });
}
