//! `stat`, `chmod`, `chown`, `utimensat`, `readlink`.

use faultless::prelude::{IovIter, KernelMemory, MayFault, NoTask, WriteOptions};
use faultless_posix::{Accessed, Errno, SetFlags};

use crate::kernel::{Node, at_time};
use crate::world::{World, fails};

fn mode(node: &Node) -> u32 {
    node.status().mode & 0o7777
}

#[test]
fn chmod_sets_the_mode_of_all_but_links() {
    let world = World::new();
    let (file, directory) = (world.file("f").expect("made"), world.mkdir("d").expect("made"));
    for node in [file, directory] {
        let changed = node.status().changed;
        node.set_mode(&world.caller(), 0o107_751).expect("set");
        assert_eq!(
            (mode(&node), node.status().mode >> 12),
            (0o7751, node.kind().mode_bits() >> 12)
        );
        assert!(node.status().changed > changed);
    }
    let link = world.symlink("x", "l").expect("made");
    fails(link.set_mode(&world.caller(), 0), Errno::OPNOTSUPP);
}

#[test]
fn chown_sets_what_it_is_given_and_clears_set_id() {
    let world = World::new();
    let file = world.file("f").expect("made");
    file.set_mode(&world.caller(), 0o6755).expect("set");
    file.set_owner(&world.caller(), Some(3), None);
    let status = file.status();
    assert_eq!((status.uid, status.gid, mode(&file)), (3, 0, 0o755));
    // Without the group's right to execute, set-group-id means something else.
    file.set_mode(&world.caller(), 0o6745).expect("set");
    file.set_owner(&world.caller(), None, Some(4));
    assert_eq!((file.status().gid, mode(&file)), (4, 0o2745));
    let directory = world.mkdir("d").expect("made");
    directory.set_mode(&world.caller(), 0o6755).expect("set");
    directory.set_owner(&world.caller(), Some(3), Some(3));
    assert_eq!(mode(&directory), 0o6755);
}

#[test]
fn w12_a_write_clears_set_id() {
    let world = World::new();
    let node = world.file("f").expect("made");
    node.set_mode(&world.caller(), 0o6755).expect("set");
    assert_eq!(mode(&node), 0o6755);
    let file = node.file().expect("a file");
    let memory = KernelMemory::<MayFault>::readable(b"text");
    let slice = memory.slice();
    let mut bytes = IovIter::from_slice(&memory, &slice);
    // SAFETY: the thread has no lock.
    let mut token = unsafe { MayFault::assert() };
    file.write(&mut token, &mut bytes, &WriteOptions::at(0), &NoTask).expect("written");
    assert_eq!((mode(&node), node.status().size), (0o755, 4));
    node.set_mode(&world.caller(), 0o4755).expect("set");
    assert_eq!(mode(&node), 0o4755);
}

#[test]
fn utimens_sets_the_times_that_it_is_given() {
    let world = World::new();
    let nodes = [
        world.file("f").expect("made"),
        world.mkdir("d").expect("made"),
        world.symlink("x", "l").expect("made"),
    ];
    for node in nodes {
        let made = node.status();
        node.set_times(&at_time(900), Some(300), None);
        let status = node.status();
        assert_eq!((status.accessed, status.modified, status.changed), (300, made.modified, 900));
        node.set_times(&at_time(901), None, Some(400));
        let status = node.status();
        assert_eq!((status.accessed, status.modified, status.changed), (300, 400, 901));
        node.set_times(&at_time(902), None, None);
        assert_eq!(node.status(), status);
    }
}

#[test]
fn a_new_node_has_the_time_of_the_call() {
    let world = World::new();
    let tree = &world.tree;
    let make = || world.files.make();
    let file = tree.make_file(&at_time(77), world.root(), b"f", 0, make).expect("made");
    let status = file.status();
    assert_eq!((status.accessed, status.modified, status.changed), (77, 77, 77));
    let parent = world.root().status();
    assert_eq!((parent.modified, parent.changed), (77, 77));
}

#[test]
fn names_that_come_and_go_stamp_the_directory_and_the_node() {
    let world = World::new();
    let file = world.file("f").expect("made");
    let before = file.status();
    world.link(&file, "g").expect("linked");
    let linked = file.status();
    assert!(linked.changed > before.changed && linked.modified == before.modified);
    assert_eq!(world.root().status().modified, linked.changed);
    world.unlink("g").expect("removed");
    assert!(file.status().changed > linked.changed);
    assert_eq!(world.root().status().changed, file.status().changed);
}

#[test]
fn a_call_that_fails_stamps_nothing() {
    let world = World::new();
    world.mkdir("d").expect("made");
    world.file("d/f").expect("made");
    let all = || ["/", "d", "d/f"].map(|path| world.at(path).expect("found").status());
    let before = all();
    fails(world.rmdir("d"), Errno::NOTEMPTY);
    fails(world.mkdir("d"), Errno::EXIST);
    fails(world.unlink("d"), Errno::ISDIR);
    fails(world.rename("d", "d/x", 0), Errno::INVAL);
    fails(world.rename("d/f", "d", 0), Errno::NOTEMPTY);
    assert_eq!(all(), before);
}

#[test]
fn an_access_is_recorded_once_after_a_change_and_once_a_day() {
    let world = World::new();
    let day = 24 * 60 * 60 * 1_000_000_000;
    let node = world.mkdir("d").expect("made");
    node.accessed_at(Accessed::Now(100));
    assert_eq!(node.status().accessed, 100);
    node.accessed_at(Accessed::Now(200));
    assert_eq!(node.status().accessed, 100);
    node.accessed_at(Accessed::Now(100 + day));
    assert_eq!(node.status().accessed, 100 + day);
    node.set_mode(&at_time(101 + day), 0o700).expect("set");
    node.accessed_at(Accessed::Now(102 + day));
    assert_eq!(node.status().accessed, 102 + day);
    node.accessed_at(Accessed::Exactly(5));
    assert_eq!(node.status().accessed, 5);
    let early = (-7_i64).cast_unsigned();
    node.accessed_at(Accessed::Exactly(early));
    assert_eq!(node.status().accessed, early);
    node.accessed_at(Accessed::Now(103 + day));
    assert_eq!(node.status().accessed, 103 + day, "before 1970 is before the change");
}

#[test]
fn a_link_says_what_it_stands_for() {
    let world = World::new();
    let link = world.symlink("some/where/", "l").expect("made");
    assert_eq!(link.target(&at_time(500)), Ok(&b"some/where/"[..]));
    assert_eq!(link.status().accessed, 500);
    fails(world.root().target(&world.caller()), Errno::INVAL);
    fails(world.file("f").expect("made").target(&world.caller()), Errno::INVAL);
}

#[test]
fn extended_attributes_are_set_replaced_and_removed_and_bounded() {
    let world = World::new();
    let node = world.file("f").expect("made");
    let any = SetFlags::empty();
    let set = |name: &[u8], len: usize, flags| {
        node.set_extended(&world.caller(), name, &vec![5; len], flags)
    };
    fails(node.extended(b"user.a"), Errno::NODATA);
    fails(set(b"user.a", 1, SetFlags::REPLACE), Errno::NODATA);
    let changed = node.status().changed;
    assert_eq!(set(b"user.a", 3, SetFlags::CREATE), Ok(()));
    assert!(node.status().changed > changed);
    fails(set(b"user.a", 1, SetFlags::CREATE), Errno::EXIST);
    fails(set(b"user.a", 1, SetFlags::CREATE | SetFlags::REPLACE), Errno::EXIST);
    fails(set(b"user.b", (1 << 16) - 14, any), Errno::NOSPC);
    assert_eq!(set(b"user.b", (1 << 16) - 15, any), Ok(()));
    assert_eq!(set(b"user.a", 2, SetFlags::REPLACE), Ok(()), "less than before");
    fails(set(b"user.c", 0, any), Errno::NOSPC);
    assert_eq!(&*node.extended(b"user.a").expect("there"), [5, 5]);
    let names: Vec<_> = node.extended_names().iter().map(|name| name.to_vec()).collect();
    assert_eq!(names, [b"user.a", b"user.b"]);
    assert_eq!(node.remove_extended(&world.caller(), b"user.b"), Ok(()));
    fails(node.remove_extended(&world.caller(), b"user.b"), Errno::NODATA);
    assert_eq!(set(b"user.c", 0, any), Ok(()));
}

#[test]
fn flags_are_kept_and_two_of_them_handed_on() {
    let world = World::new();
    let directory = world.mkdir("d").expect("made");
    directory.set_flags(&world.caller(), 0xf0);
    assert_eq!(directory.flags(), 0xf0);
    let made = [world.file("d/f").expect("made"), world.mkdir("d/e").expect("made")];
    assert_eq!(made.map(|node| node.flags()), [0xc0; 2]);
}
