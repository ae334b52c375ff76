//! `renameat2`.

use faultless_posix::{Errno, Follow};
use linux_raw_sys::general::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

use crate::world::{World, fails, names, same};

#[test]
fn a_node_moves_with_all_that_is_in_it() {
    let world = World::new();
    for path in ["a", "a/b", "c"] {
        world.mkdir(path).expect("made");
    }
    let file = world.file("a/b/f").expect("made");
    world.rename("a/b", "c/d", 0).expect("renamed");
    same(world.at("c/d/f"), &file);
    fails(world.at("a/b"), Errno::NOENT);
    same(world.at("c/d/.."), &world.at("c").expect("found"));
    assert_eq!(world.links(["/", "a", "c", "c/d"]), [4, 2, 3, 2]);
}

#[test]
fn a_file_that_is_replaced_lives_on_with_its_handle() {
    let world = World::new();
    let (new, old) = (world.file("new").expect("made"), world.file("old").expect("made"));
    world.rename("new", "old", 0).expect("renamed");
    same(world.at("old"), &new);
    assert_eq!((old.status().links, world.files.live()), (0, 2));
    drop(old);
    assert_eq!(world.files.live(), 1);
    assert_eq!(names(world.root()), ["old"]);
}

#[test]
fn a_directory_replaces_an_empty_one() {
    let world = World::new();
    for path in ["a", "a/x", "b", "b/y", "b/y/z"] {
        world.mkdir(path).expect("made");
    }
    let gone = world.at("b/y/z").expect("found");
    fails(world.rename("a/x", "b/y", 0), Errno::NOTEMPTY);
    world.rename("a/x", "b/y/z", 0).expect("renamed");
    assert_eq!(world.links(["a", "b", "b/y", "b/y/z"]), [2, 3, 3, 2]);
    assert_eq!(gone.status().links, 0);
    fails(gone.entry(0, u64::MAX), Errno::NOENT);
    let parent = world.tree.lookup(&world.caller(), &gone, b"..", Follow::Last);
    same(parent, &world.at("b/y").expect("found"));
    // In one directory.
    world.mkdir("c").expect("made");
    world.rename("a", "c", 0).expect("renamed");
    assert_eq!(world.links(["/", "c"]), [4, 2]);
}

#[test]
fn a_directory_and_something_else_do_not_replace_each_other() {
    let world = World::new();
    world.mkdir("d").expect("made");
    world.file("f").expect("made");
    fails(world.rename("d", "f", 0), Errno::NOTDIR);
    fails(world.rename("f", "d", 0), Errno::ISDIR);
    fails(world.rename("f/", "g", 0), Errno::NOTDIR);
    fails(world.rename("f", "g/", 0), Errno::NOTDIR);
    world.rename("d/", "e/", 0).expect("renamed");
}

#[test]
fn no_directory_comes_into_itself() {
    let world = World::new();
    for path in ["a", "a/b", "a/b/c"] {
        world.mkdir(path).expect("made");
    }
    fails(world.rename("a", "a/x", 0), Errno::INVAL);
    fails(world.rename("a", "a/b/x", 0), Errno::INVAL);
    fails(world.rename("a", "a/b/c", RENAME_EXCHANGE), Errno::INVAL);
    fails(world.rename("a/b/c", "a", RENAME_EXCHANGE), Errno::INVAL);
    fails(world.rename("a/b/c", "a", 0), Errno::NOTEMPTY);
    fails(world.rename("a/b", "a", 0), Errno::NOTEMPTY);
    world.rename("a/b/c", "a/c", 0).expect("upwards is well");
    assert_eq!(world.links(["/", "a", "a/b", "a/c"]), [3, 4, 2, 2]);
}

#[test]
fn noreplace_takes_no_name_that_is_there() {
    let world = World::new();
    let [f, g] = ["f", "g"].map(|path| world.file(path).expect("made"));
    fails(world.rename("f", "g", RENAME_NOREPLACE), Errno::EXIST);
    fails(world.rename("f", "f", RENAME_NOREPLACE), Errno::EXIST);
    fails(world.rename("f", ".", RENAME_NOREPLACE), Errno::EXIST);
    same(world.at("g"), &g);
    world.rename("f", "h", RENAME_NOREPLACE).expect("renamed");
    same(world.at("h"), &f);
}

#[test]
fn exchange_changes_any_two_names() {
    let world = World::new();
    for path in ["a", "a/d", "b"] {
        world.mkdir(path).expect("made");
    }
    let (directory, file) = (world.at("a/d").expect("found"), world.file("b/f").expect("made"));
    fails(world.rename("a/d", "b/none", RENAME_EXCHANGE), Errno::NOENT);
    fails(world.rename("a/d", "b/f/", RENAME_EXCHANGE), Errno::NOTDIR);
    world.rename("a/d", "b/f", RENAME_EXCHANGE).expect("renamed");
    same(world.at("b/f"), &directory);
    same(world.at("a/d"), &file);
    same(world.at("b/f/.."), &world.at("b").expect("found"));
    assert_eq!(world.links(["a", "b", "b/f", "a/d"]), [2, 3, 2, 1]);
    world.rename("a", "b", RENAME_EXCHANGE).expect("renamed");
    same(world.at("a/f"), &directory);
    assert_eq!(world.tree.path(&directory), Ok(b"/a/f".to_vec()));
}

#[test]
fn names_of_one_node_stay() {
    let world = World::new();
    let file = world.file("f").expect("made");
    world.link(&file, "g").expect("linked");
    world.rename("f", "g", 0).expect("nothing to do");
    world.rename("f", "g", RENAME_EXCHANGE).expect("nothing to do");
    world.rename("f", "f", 0).expect("nothing to do");
    assert_eq!((names(world.root()).len(), file.status().links), (2, 2));
}

#[test]
fn dots_and_the_root_are_not_renamed() {
    let world = World::new();
    world.mkdir("d").expect("made");
    for path in [".", "..", "/", "d/.", "d/.."] {
        fails(world.rename(path, "x", 0), Errno::BUSY);
        fails(world.rename("d", path, 0), Errno::BUSY);
    }
    fails(world.rename("none", "d", 0), Errno::NOENT);
}

#[test]
fn flags_that_are_not_known_are_refused() {
    let world = World::new();
    world.file("f").expect("made");
    for flags in [RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_WHITEOUT, 8, 1 << 31] {
        fails(world.rename("f", "g", flags), Errno::INVAL);
    }
}

#[test]
fn a_rename_stamps_both_directories_and_the_node() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|path| world.mkdir(path).expect("made"));
    let file = world.file("a/f").expect("made");
    let modified = file.status().modified;
    world.rename("a/f", "b/f", 0).expect("renamed");
    let [a, b, file] = [a, b, file].map(|node| node.status());
    assert!(a.modified > modified && a.modified == b.modified && a.changed == b.changed);
    assert_eq!((file.changed, file.modified), (a.changed, modified));
}
