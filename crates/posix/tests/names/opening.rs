//! `open`.

use faultless_posix::{Errno, Kind, Origin};
use linux_raw_sys::general::{
    __O_TMPFILE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE,
    O_TRUNC, O_WRONLY,
};

use crate::world::{World, fails, found, same};

#[test]
fn a_file_that_is_there_is_found_and_one_that_is_not_is_made() {
    let world = World::new();
    fails(world.open("f", O_RDWR), Errno::NOENT);
    let made = world.open("f", O_CREAT).expect("made");
    assert_eq!((made.origin, made.node.kind()), (Origin::Made, Kind::File));
    found(world.open("f", O_CREAT | O_TRUNC | O_WRONLY), &made.node);
    found(world.open("f", O_RDONLY), &made.node);
    assert_eq!(world.files.live(), 1);
}

#[test]
fn o_excl_takes_nothing_that_is_there() {
    let world = World::new();
    world.symlink("nowhere", "l").expect("made");
    world.mkdir("d").expect("made");
    for path in ["l", "d", ".", "/"] {
        fails(world.open(path, O_CREAT | O_EXCL), Errno::EXIST);
    }
    world.open("f", O_CREAT | O_EXCL).expect("made");
    fails(world.open("f", O_CREAT | O_EXCL), Errno::EXIST);
}

#[test]
fn o_creat_makes_what_a_link_stands_for() {
    let world = World::new();
    world.mkdir("d").expect("made");
    world.symlink("d/f", "l").expect("made");
    world.symlink("l", "m").expect("made");
    let made = world.open("m", O_CREAT).expect("made");
    same(world.at("d/f"), &made.node);
    found(world.open("m", O_CREAT), &made.node);
    world.symlink("n/", "slash").expect("made");
    fails(world.open("slash", O_CREAT), Errno::ISDIR);
    world.symlink("circle", "circle").expect("made");
    fails(world.open("circle", O_CREAT), Errno::LOOP);
    fails(world.open("new/", O_CREAT), Errno::ISDIR);
}

#[test]
fn a_directory_is_opened_for_reading_only() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    found(world.open("d", O_RDONLY), &directory);
    found(world.open("d", O_DIRECTORY), &directory);
    for flags in [O_WRONLY, O_RDWR, O_TRUNC, O_CREAT] {
        for path in ["d", "d/.", "d/..", "/"] {
            fails(world.open(path, flags), Errno::ISDIR);
        }
    }
}

#[test]
fn o_directory_takes_nothing_else() {
    let world = World::new();
    world.file("f").expect("made");
    world.symlink("f", "l").expect("made");
    for (path, flags) in [("f", 0), ("l", 0), ("l", O_NOFOLLOW), ("l", O_NOFOLLOW | O_PATH)] {
        fails(world.open(path, flags | O_DIRECTORY), Errno::NOTDIR);
    }
    fails(world.open("f/", O_RDONLY), Errno::NOTDIR);
}

#[test]
fn o_nofollow_takes_no_link_but_with_o_path() {
    let world = World::new();
    let file = world.file("f").expect("made");
    let link = world.symlink("f", "l").expect("made");
    found(world.open("l", O_RDONLY), &file);
    fails(world.open("l", O_NOFOLLOW), Errno::LOOP);
    fails(world.open("l", O_NOFOLLOW | O_CREAT), Errno::LOOP);
    found(world.open("l", O_NOFOLLOW | O_PATH), &link);
    found(world.open("l", O_PATH | O_RDWR | O_CREAT), &file);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let world = World::new();
    for flags in
        [O_CREAT | O_DIRECTORY, O_TMPFILE, O_TMPFILE | O_RDWR | O_CREAT, __O_TMPFILE | O_RDWR]
    {
        fails(world.open("d", flags), Errno::INVAL);
    }
}

#[test]
fn o_tmpfile_makes_a_file_without_a_name_that_can_be_linked_once() {
    let world = World::new();
    let file = world.open(".", O_TMPFILE | O_RDWR).expect("made");
    assert_eq!((file.node.status().links, file.origin), (0, Origin::Made));
    world.link(&file.node, "f").expect("linked");
    assert_eq!(world.links(["f"]), [1]);
    world.unlink("f").expect("removed");
    fails(world.link(&file.node, "f"), Errno::NOENT);
    let never = world.open(".", O_TMPFILE | O_RDWR | O_EXCL).expect("made");
    fails(world.link(&never.node, "f"), Errno::NOENT);
    world.file("g").expect("made");
    fails(world.open("g", O_TMPFILE | O_RDWR), Errno::NOTDIR);
}

#[test]
fn o_tmpfile_takes_a_directory_that_was_removed() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    world.rmdir("d").expect("removed");
    let make = || world.files.make();
    let flags = O_TMPFILE | O_RDWR;
    let opened = world.tree.open(&world.caller(), &directory, b".", flags, 0o600, make);
    // As on tmpfs; ext4 refuses.
    world.link(&opened.expect("made").node, "f").expect("linked");
}

#[test]
fn a_name_that_appears_while_its_file_is_made_is_found() {
    let world = World::new();
    let open = |flags| {
        let make = || {
            // Another task is faster.
            world.file("f").expect("made");
            world.files.make()
        };
        world.tree.open(&world.caller(), world.root(), b"f", flags, 0o644, make)
    };
    let opened = open(O_CREAT).expect("it opens");
    assert_eq!(opened.origin, Origin::Found);
    same(world.at("f"), &opened.node);
    assert_eq!(world.files.live(), 1, "what was made is dropped");
    drop(opened);
    world.unlink("f").expect("removed");
    fails(open(O_CREAT | O_EXCL), Errno::EXIST);
}

#[test]
fn a_file_that_cannot_be_made_is_not_opened() {
    let world = World::new();
    let make = || Err(Errno::NOMEM);
    let opened = world.tree.open(&world.caller(), world.root(), b"f", O_CREAT, 0o644, make);
    fails(opened, Errno::NOMEM);
    fails(world.at("f"), Errno::NOENT);
}
