//! `mkdir`, `symlink`, `link`, `mknod`.

use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::world::{World, fails, same};

#[test]
fn a_name_that_is_there_is_not_made_again() {
    let world = World::new();
    let file = world.file("f").expect("made");
    world.symlink("nowhere", "l").expect("made");
    for path in ["f", "f/", "l", ".", "..", "/", "./."] {
        fails(world.mkdir(path), Errno::EXIST);
        fails(world.symlink("x", path), Errno::EXIST);
        fails(world.file(path), Errno::EXIST);
        fails(world.link(&file, path), Errno::EXIST);
    }
    assert_eq!(world.files.live(), 1, "no file was made for a name that is taken");
}

#[test]
fn only_a_directory_is_made_with_a_slash_behind() {
    let world = World::new();
    let file = world.file("f").expect("made");
    fails(world.symlink("x", "n/"), Errno::NOENT);
    fails(world.file("n/"), Errno::NOENT);
    fails(world.link(&file, "n/"), Errno::NOENT);
    world.mkdir("n//").expect("made");
}

#[test]
fn a_new_node_has_a_mode_an_owner_and_links() {
    let world = World::new();
    let mut caller = world.caller();
    (caller.uid, caller.gid) = (5, 6);
    let directory = world.tree.make_directory(&caller, world.root(), b"d", 0o7777).expect("made");
    let status = directory.status();
    assert_eq!(status.mode, linux::S_IFDIR | 0o1777);
    assert_eq!((status.uid, status.gid, status.links, status.device), (5, 6, 2, 7));
    let link = world.symlink("some/where", "l").expect("made").status();
    assert_eq!((link.mode, link.links, link.size), (linux::S_IFLNK | 0o777, 1, 10));
    let file = world.file("f").expect("made").status();
    assert_eq!((file.mode, file.links, file.size), (linux::S_IFREG | 0o644, 1, 0));
    assert_eq!(world.links(["/"]), [3]);
}

#[test]
fn a_set_group_id_directory_hands_its_group_on() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    directory.set_owner(&world.caller(), None, Some(9));
    directory.set_mode(&world.caller(), 0o2755).expect("set");
    let (inner, file) = (world.mkdir("d/d").expect("made"), world.file("d/f").expect("made"));
    assert_eq!((inner.status().gid, inner.status().mode & 0o7777), (9, 0o2755));
    assert_eq!((file.status().gid, file.status().mode & 0o7777), (9, 0o644));
}

#[test]
fn only_members_make_programs_that_run_as_the_group_of_a_directory() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    directory.set_owner(&world.caller(), None, Some(9));
    directory.set_mode(&world.caller(), 0o2777).expect("set");
    for (uid, gid, asked, got) in [
        (0, 6, 0o2755, 0o2755),
        (5, 9, 0o2755, 0o2755),
        (5, 6, 0o2755, 0o755),
        // Without the group's right to execute it is no set-id bit.
        (5, 6, 0o2745, 0o2745),
    ] {
        let mut caller = world.caller();
        (caller.uid, caller.gid) = (uid, gid);
        let name = format!("d/{uid}-{gid}-{asked:o}");
        let file = world.file_of(&caller, &name, asked).expect("made");
        assert_eq!((file.status().gid, file.status().mode & 0o7777), (9, got), "{name}");
    }
}

#[test]
fn a_link_is_one_more_name_of_the_node() {
    let world = World::new();
    let file = world.file("f").expect("made");
    world.link(&file, "g").expect("linked");
    same(world.at("g"), &file);
    assert_eq!(world.links(["f"]), [2]);
    world.unlink("f").expect("removed");
    assert_eq!(world.links(["g"]), [1]);
    let link = world.symlink("nowhere", "l").expect("made");
    world.link(&link, "m").expect("symbolic links have names, too");
    assert_eq!(world.at("m").map(|node| node.kind()), Ok(Kind::Link));
}

#[test]
fn a_directory_has_one_name() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    fails(world.link(&directory, "e"), Errno::PERM);
    fails(world.link(&directory, "d"), Errno::EXIST);
}

#[test]
fn a_node_whose_last_name_is_gone_gets_no_other() {
    let world = World::new();
    let file = world.file("f").expect("made");
    world.unlink("f").expect("removed");
    fails(world.link(&file, "g"), Errno::NOENT);
}

#[test]
fn nothing_is_made_in_a_directory_that_was_removed() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    let file = world.file("f").expect("made");
    world.rmdir("d").expect("removed");
    let (tree, caller) = (&world.tree, world.caller());
    fails(tree.make_directory(&caller, &directory, b"x", 0), Errno::NOENT);
    fails(tree.make_link(&caller, b"x", &directory, b"x"), Errno::NOENT);
    fails(tree.link(&caller, &file, &directory, b"x"), Errno::NOENT);
    let make = || world.files.make();
    let flags = linux::O_CREAT | linux::O_RDWR;
    fails(tree.open(&caller, &directory, b"x", flags, 0, make), Errno::NOENT);
    fails(tree.rename(&caller, (world.root(), b"f"), (&directory, b"x"), 0), Errno::NOENT);
    assert_eq!(world.links(["f"]), [1]);
}

#[test]
fn a_file_that_cannot_be_made_leaves_no_name() {
    let world = World::new();
    let make = || Err(Errno::NOSPC);
    let made = world.tree.make_file(&world.caller(), world.root(), b"f", 0o644, make);
    fails(made, Errno::NOSPC);
    fails(world.at("f"), Errno::NOENT);
}

#[test]
fn a_special_node_has_its_kind_its_device_and_no_contents() {
    let world = World::new();
    let caller = world.caller();
    let make = |path: &str, kind| {
        world.tree.make_special(&caller, world.root(), path.as_bytes(), 0o640, (kind, 0x105))
    };
    for (path, kind, bits) in [
        ("fifo", Kind::Fifo, linux::S_IFIFO),
        ("socket", Kind::Socket, linux::S_IFSOCK),
        ("characters", Kind::Characters, linux::S_IFCHR),
        ("blocks", Kind::Blocks, linux::S_IFBLK),
    ] {
        let node = make(path, kind).expect("made");
        let status = node.status();
        assert_eq!(
            (node.kind(), status.kind, Kind::of_mode(status.mode)),
            (kind, kind, Some(kind))
        );
        assert_eq!((status.mode, status.special), (bits | 0o640, 0x105));
        assert_eq!((status.size, status.links), (0, 1));
        assert!(node.file().is_none());
        fails(make(path, kind), Errno::EXIST);
        fails(world.mkdir(&format!("{path}/x")), Errno::NOTDIR);
        world.link(&node, &format!("{path}2")).expect("a second name");
        assert_eq!(node.status().links, 2);
    }
    for kind in [Kind::File, Kind::Directory, Kind::Link] {
        fails(make("other", kind), Errno::INVAL);
    }
    assert_eq!(world.file("file").expect("made").status().special, 0);
}
