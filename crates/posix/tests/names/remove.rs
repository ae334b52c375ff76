//! `unlink`, `rmdir`.

use faultless_posix::{Errno, Follow};

use crate::world::{World, fails, same};

#[test]
fn an_open_file_outlives_its_name() {
    let world = World::new();
    let open = world.open("f", linux_raw_sys::general::O_CREAT).expect("made");
    world.unlink("f").expect("removed");
    fails(world.at("f"), Errno::NOENT);
    assert_eq!((open.node.status().links, world.files.live()), (0, 1));
    drop(open);
    assert_eq!(world.files.live(), 0);
}

#[test]
fn the_handle_of_the_file_is_enough() {
    let world = World::new();
    let file = world.file("f").expect("made").file().cloned().expect("a file");
    world.unlink("f").expect("removed");
    assert_eq!((world.files.live(), file.size()), (1, 0));
    drop(file);
    assert_eq!(world.files.live(), 0);
}

#[test]
fn unlink_takes_no_directory() {
    let world = World::new();
    world.mkdir("d").expect("made");
    world.file("f").expect("made");
    world.symlink("d", "l").expect("made");
    for path in ["d", "d/", ".", "d/..", "/"] {
        fails(world.unlink(path), Errno::ISDIR);
    }
    fails(world.unlink("f/"), Errno::NOTDIR);
    fails(world.unlink("l/"), Errno::NOTDIR);
    world.unlink("l").expect("the link itself");
    world.at("d").expect("it stays");
}

#[test]
fn rmdir_takes_empty_directories_only() {
    let world = World::new();
    world.mkdir("d").expect("made");
    world.file("d/f").expect("made");
    world.symlink("d", "l").expect("made");
    fails(world.rmdir("d"), Errno::NOTEMPTY);
    fails(world.rmdir("d/.."), Errno::NOTEMPTY);
    fails(world.rmdir("d/."), Errno::INVAL);
    fails(world.rmdir("/"), Errno::BUSY);
    fails(world.rmdir("d/f"), Errno::NOTDIR);
    fails(world.rmdir("l"), Errno::NOTDIR);
    fails(world.rmdir("l/"), Errno::NOTDIR);
    world.unlink("d/f").expect("removed");
    world.rmdir("d/").expect("removed");
    assert_eq!(world.links(["/"]), [2]);
}

#[test]
fn a_directory_that_was_removed_keeps_its_parent() {
    let world = World::new();
    let outer = world.mkdir("a").expect("made");
    let inner = world.mkdir("a/b").expect("made");
    world.rmdir("a/b").expect("removed");
    world.rmdir("a").expect("removed");
    let from = |path: &[u8]| world.tree.lookup(&world.caller(), &inner, path, Follow::Last);
    same(from(b"."), &inner);
    same(from(b".."), &outer);
    same(from(b"../.."), world.root());
    fails(from(b"x"), Errno::NOENT);
    fails(inner.entry(0, u64::MAX), Errno::NOENT);
    assert_eq!((outer.status().links, inner.status().links), (0, 0));
}
