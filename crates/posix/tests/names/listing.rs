//! `getdents`: cookies.

use std::collections::BTreeSet;

use faultless_posix::{Errno, Kind};

use crate::world::{World, fails, names};

#[test]
fn dots_come_first_with_their_numbers() {
    let world = World::new();
    let a = world.mkdir("a").expect("made");
    for (directory, parent) in [(&a, world.root()), (world.root(), world.root())] {
        let entry = |cookie| directory.entry(cookie, u64::MAX).expect("read").expect("there");
        let (dot, up) = (entry(0), entry(1));
        assert_eq!((dot.name(), dot.number, dot.next), (&b"."[..], directory.number(), 1));
        assert_eq!((up.name(), up.number, up.next), (&b".."[..], parent.number(), 2));
        assert_eq!(up.kind, Kind::Directory);
    }
}

#[test]
fn entries_say_what_they_are() {
    let world = World::new();
    let nodes = [
        world.mkdir("d").expect("made"),
        world.file("f").expect("made"),
        world.symlink("x", "l").expect("made"),
    ];
    let types = [4, 8, 10];
    let mut cookie = 2;
    for (node, entry_type) in nodes.iter().zip(types) {
        let entry = world.root().entry(cookie, u64::MAX).expect("read").expect("there");
        assert_eq!((entry.number, entry.kind), (node.number(), node.kind()));
        assert_eq!(entry.kind.entry_type(), entry_type);
        cookie = entry.next;
    }
    assert!(world.root().entry(cookie, u64::MAX).expect("read").is_none());
    fails(nodes[1].entry(0, u64::MAX), Errno::NOTDIR);
}

#[test]
fn names_that_are_there_all_the_time_are_returned_once_whatever_comes_and_goes() {
    let world = World::new();
    let stay: Vec<String> = (0..50).map(|at| format!("stay{at}")).collect();
    for (at, name) in stay.iter().enumerate() {
        world.file(name).expect("made");
        world.file(&format!("go{at}")).expect("made");
    }
    let (mut cookie, mut seen, mut step) = (0, Vec::new(), 0);
    while let Some(entry) = world.root().entry(cookie, u64::MAX).expect("read") {
        cookie = entry.next;
        seen.push(String::from_utf8_lossy(entry.name()).into_owned());
        // One that was returned and one that was not go, a name is used again, a node with a name
        // that stays is replaced, and 50 times something new comes.
        for at in [step, 49 - step.min(49)] {
            let _gone = world.unlink(&format!("go{at}"));
        }
        if step < 50 {
            world.file(&format!("new{step}")).expect("made");
            world.file("again").expect("made");
            world.rename("again", &stay[step], 0).expect("renamed");
        }
        step += 1;
        assert!(step < 1000, "the walk ends");
    }
    for name in &stay {
        assert_eq!(seen.iter().filter(|other| *other == name).count(), 1, "{name}");
    }
    let all: BTreeSet<_> = seen.iter().collect();
    assert_eq!(all.len(), seen.len(), "no name twice");
}

#[test]
fn a_cookie_of_a_name_that_is_gone_leads_to_the_next_one() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.file(name).expect("made");
    }
    let a = world.root().entry(2, u64::MAX).expect("read").expect("there");
    world.unlink("b").expect("removed");
    world.file("b").expect("a new one, behind the others");
    let next = world.root().entry(a.next, u64::MAX).expect("read").expect("there");
    assert_eq!(next.name(), b"c");
    assert_eq!(names(world.root()), ["a", "c", "b"]);
}

#[test]
fn a_name_that_comes_while_the_last_one_goes_is_behind_the_walk() {
    let world = World::new();
    world.file("a").expect("made");
    let a = world.root().entry(2, u64::MAX).expect("read").expect("there");
    world.unlink("a").expect("removed");
    world.file("b").expect("made");
    let next = world.root().entry(a.next, u64::MAX).expect("read").expect("there");
    assert_eq!(next.name(), b"b");
}

#[test]
fn a_walk_that_renames_each_name_ends() {
    let world = World::new();
    for at in 0..20 {
        world.file(&format!("old{at}")).expect("made");
    }
    let end = world.root().end_cookie();
    let (mut cookie, mut renamed) = (2, 0);
    while let Some(entry) = world.root().entry(cookie, end).expect("read") {
        cookie = entry.next;
        let old = String::from_utf8_lossy(entry.name()).into_owned();
        world.rename(&old, &format!("{old}.new"), 0).expect("renamed");
        renamed += 1;
    }
    assert_eq!(renamed, 20);
}

#[test]
fn an_exchange_leaves_both_names_where_they_are() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.file(name).expect("made");
    }
    let exchange = linux_raw_sys::general::RENAME_EXCHANGE;
    world.rename("a", "c", exchange).expect("renamed");
    assert_eq!(names(world.root()), ["a", "b", "c"]);
}
