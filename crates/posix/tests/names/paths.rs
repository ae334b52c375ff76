//! `path_resolution(7)`, and the way back: `getcwd`.

use faultless_posix::{Errno, Follow};

use crate::kernel::{Tree, at_time};
use crate::world::{World, fails, same};

#[test]
fn the_parent_of_the_root_is_the_root() {
    let world = World::new();
    let a = world.mkdir("a").expect("made");
    same(world.at("/.."), world.root());
    same(world.at("../../a/../../a"), &a);
}

#[test]
fn slashes_count_once_and_dots_stay() {
    let world = World::new();
    world.mkdir("a").expect("made");
    let b = world.mkdir("a/b").expect("made");
    for path in ["a/b", "//a///b", "a/b/", "a/b//", "./a/./b/.", "a/b/../b", "/a/../a/b/."] {
        same(world.at(path), &b);
    }
    same(world.at("///"), world.root());
}

#[test]
fn a_relative_path_begins_at_its_directory_and_an_absolute_one_at_the_root() {
    let world = World::new();
    let a = world.mkdir("a").expect("made");
    let b = world.mkdir("a/b").expect("made");
    let from = |path: &[u8]| world.tree.lookup(&world.caller(), &a, path, Follow::Last);
    same(from(b"b"), &b);
    same(from(b"/a/b"), &b);
    fails(from(b"/b"), Errno::NOENT);
}

#[test]
fn a_path_through_anything_but_a_directory_fails() {
    let world = World::new();
    let file = world.file("f").expect("made");
    world.symlink("f", "l").expect("made");
    for path in ["f/x", "f/..", "f/.", "f/", "l/x", "l/"] {
        fails(world.at(path), Errno::NOTDIR);
    }
    fails(world.at("x/.."), Errno::NOENT);
    let from_file = world.tree.lookup(&world.caller(), &file, b"x", Follow::Last);
    fails(from_file, Errno::NOTDIR);
}

#[test]
fn an_empty_path_leads_nowhere() {
    let world = World::new();
    fails(world.at(""), Errno::NOENT);
    fails(world.mkdir(""), Errno::NOENT);
    fails(world.symlink("", "l"), Errno::NOENT);
}

#[test]
fn a_name_has_255_bytes_at_most() {
    let world = World::new();
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    world.mkdir(&longest).expect("made");
    fails(world.mkdir(&longer), Errno::NAMETOOLONG);
    fails(world.at(&format!("{longer}/a")), Errno::NAMETOOLONG);
    fails(world.at(&format!("missing/{longer}")), Errno::NOENT);
    fails(world.rename(&longest, &longer, 0), Errno::NAMETOOLONG);
}

#[test]
fn a_path_has_4095_bytes_at_most() {
    let world = World::new();
    world.mkdir("a").expect("made");
    let dots = |len: usize| format!("{}a", "./".repeat(2047))[..len].to_owned();
    assert_eq!(dots(4095).len(), 4095);
    world.at(&dots(4095)).expect("found");
    fails(world.at(&format!("{}/", dots(4095))), Errno::NAMETOOLONG);
    world.symlink(&dots(4095), "l").expect("made");
    world.followed("l").expect("found");
    fails(world.symlink(&format!("{}/", dots(4095)), "m"), Errno::NAMETOOLONG);
}

#[test]
fn a_path_follows_40_links_and_not_41() {
    let world = World::new();
    let end = world.mkdir("0").expect("made");
    for link in 1..=41 {
        world.symlink(&(link - 1).to_string(), &link.to_string()).expect("made");
    }
    same(world.followed("40"), &end);
    same(world.at("40/."), &end);
    fails(world.followed("41"), Errno::LOOP);
    fails(world.at("41/x"), Errno::LOOP);
    // Links in the middle count as well.
    world.symlink(".", "here").expect("made");
    same(world.at(&format!("{}0", "here/".repeat(40))), &end);
    fails(world.at(&format!("{}0", "here/".repeat(41))), Errno::LOOP);
}

#[test]
fn a_link_is_followed_from_its_own_directory() {
    let world = World::new();
    world.mkdir("a").expect("made");
    let inner = world.mkdir("a/b").expect("made");
    world.symlink("b", "a/relative").expect("made");
    world.symlink("/a/b", "a/absolute").expect("made");
    world.symlink("../a/relative/", "a/both").expect("made");
    for path in ["a/relative", "a/absolute", "a/both"] {
        same(world.followed(path), &inner);
    }
}

#[test]
fn a_link_at_the_end_stays_unless_a_slash_stands_behind_it() {
    let world = World::new();
    let directory = world.mkdir("a").expect("made");
    let link = world.symlink("a", "l").expect("made");
    same(world.at("l"), &link);
    same(world.at("l/"), &directory);
    same(world.at("l/."), &directory);
}

#[test]
fn the_path_of_a_directory_leads_to_it() {
    let world = World::new();
    let path = |node| world.tree.path(node).map(|path| String::from_utf8_lossy(&path).into_owned());
    assert_eq!(path(world.root()), Ok("/".to_owned()));
    world.mkdir("a").expect("made");
    let inner = world.mkdir("a/b").expect("made");
    assert_eq!(path(&inner), Ok("/a/b".to_owned()));
    world.rename("a", "c", 0).expect("renamed");
    world.rename("c/b", "d", 0).expect("renamed");
    assert_eq!(path(&inner), Ok("/d".to_owned()));
    fails(world.tree.path(&world.file("f").expect("made")), Errno::NOTDIR);
}

#[test]
fn a_directory_that_was_removed_has_no_path() {
    let world = World::new();
    world.mkdir("a").expect("made");
    let [one, other] = ["a/b", "a/c"].map(|path| world.mkdir(path).expect("made"));
    world.rmdir("a/b").expect("removed");
    world.mkdir("d").expect("made");
    world.rename("d", "a/c", 0).expect("renamed");
    fails(world.tree.path(&one), Errno::NOENT);
    fails(world.tree.path(&other), Errno::NOENT);
}

#[test]
fn a_path_that_no_call_could_take_is_not_returned() {
    let world = World::new();
    let mut at = world.root().clone();
    for _ in 0..16 {
        assert!(world.tree.path(&at).is_ok());
        let name = [b'x'; 255];
        at = world.tree.make_directory(&world.caller(), &at, &name, 0o755).expect("made");
    }
    fails(world.tree.path(&at), Errno::NAMETOOLONG);
}

#[test]
fn a_directory_of_another_tree_is_refused() {
    let world = World::new();
    let other = Tree::new(8, &at_time(1), 0o755);
    fails(world.tree.lookup(&world.caller(), other.root(), b".", Follow::Last), Errno::XDEV);
    fails(world.tree.path(other.root()), Errno::XDEV);
    world.mkdir("a").expect("made");
    let (old, new) = ((world.root(), &b"a"[..]), (other.root(), &b"a"[..]));
    fails(world.tree.rename(&world.caller(), old, new, 0), Errno::XDEV);
    let file = world.file("f").expect("made");
    fails(other.link(&world.caller(), &file, other.root(), b"f"), Errno::XDEV);
}
