//! How nodes end. The stacks are too small for a drop that calls itself for each node.

use std::thread;

use crate::kernel::Node;
use crate::world::World;

const DEPTH: usize = 20_000;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(64 * 1024).spawn(work).expect("a thread");
    thread.join().expect("it ends");
}

/// Directories inside each other, from the root on.
fn deep(world: &World) -> Vec<Node> {
    let mut all = vec![world.root().clone()];
    for at in 0..DEPTH {
        let new = world.tree.make_directory(&world.caller(), &all[at], b"d", 0o755);
        all.push(new.expect("made"));
    }
    all
}

#[test]
fn a_deep_tree_is_dropped() {
    on_a_small_stack(|| {
        let world = World::new();
        let all = deep(&world);
        let make = || world.files.make();
        let last = &all[DEPTH];
        world.tree.make_file(&world.caller(), last, b"f", 0o644, make).expect("made");
        let files = world.files.clone();
        drop(all);
        assert_eq!(files.live(), 1);
        drop(world);
        assert_eq!(files.live(), 0);
    });
}

#[test]
fn the_last_handle_of_many_removed_directories_drops_them() {
    on_a_small_stack(|| {
        let world = World::new();
        let mut all = deep(&world);
        for at in (0..DEPTH).rev() {
            world.tree.remove_directory(&world.caller(), &all[at], b"d").expect("removed");
        }
        let last = all.pop();
        drop(all);
        assert!(last.as_ref().is_some_and(|last| last.status().links == 0));
        drop(last);
    });
}

#[test]
fn a_handle_outlives_its_tree() {
    let world = World::new();
    let outer = world.mkdir("a").expect("made");
    let inner = world.mkdir("a/b").expect("made");
    let files = world.files.clone();
    world.file("a/b/f").expect("made");
    drop((world, outer));
    assert_eq!((inner.status().links, files.live()), (2, 1));
    let up = inner.entry(1, u64::MAX).expect("read").expect("there");
    assert_eq!(up.number, inner.number(), "there is no parent any more");
    drop(inner);
    assert_eq!(files.live(), 0);
}
