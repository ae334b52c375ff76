//! Names: what comes, goes and moves.

use std::collections::BTreeSet;

use faultless::prelude::Errno;
use faultless_ext2::{Change, Error, Kind, Linking, Replace};

use crate::rig::{CALLER, Rig, contents, evict, fsync, write};
use crate::rng::Rng;
use crate::tools::{Format, assert_sound, changed, debugfs, repaired};

#[test]
fn a_directory_of_many_names_lists_each_once() {
    for format in Format::ALL {
        let rig = Rig::mount(format.make(&[]), 1);
        let directory = rig.make_directory("d").expect("a directory");
        for at in 0..300 {
            rig.create(&format!("d/a-rather-long-name-{at}")).expect("a file");
        }
        for at in (0..300).step_by(3) {
            rig.unlink(&format!("d/a-rather-long-name-{at}")).expect("a removal");
        }
        let (mut cookie, mut names) = (0, Vec::new());
        while let Some(entry) = rig.fs().entry(&directory, cookie).expect("an entry") {
            cookie = entry.next;
            names.push(entry);
        }
        assert_eq!(names.len(), 202);
        assert_eq!(names[0].name, b".");
        assert_eq!((names[0].number, names[0].kind), (directory.number(), Some(Kind::Directory)));
        drop(directory);
        assert_sound(&rig.unmount());
    }
}

#[test]
fn names_of_a_large_directory_come_and_go_and_each_is_found() {
    let rig = Rig::mount(Format::ALL[0].make(&["-N", "2000"]), 6);
    let directory = rig.make_directory("d").expect("a directory");
    let mut rng = Rng::new(7);
    let mut names = BTreeSet::new();
    // Of many lengths, so that an entry that has gone has no room for each that comes.
    let name = |at: usize| format!("{at}{}", "-".repeat(at * 7 % 90));
    for step in 0..4000 {
        let (one, other) = (rng.below(1200), rng.below(1200));
        let path = |at: usize| format!("d/{}", name(at));
        match (names.contains(&one), names.contains(&other)) {
            (false, _) => {
                rig.create(&path(one)).expect("a file");
                names.insert(one);
            }
            (true, false) if step % 2 == 0 => {
                let (from, to) = (name(one), name(other));
                let [from, to] = [&from, &to].map(|name| (&*directory, name.as_bytes()));
                rig.fs().rename(&CALLER, from, to, Replace::No).expect("a rename");
                names.remove(&one);
                names.insert(other);
            }
            (true, _) => {
                rig.unlink(&path(one)).expect("a removal");
                names.remove(&one);
            }
        }
    }
    let found = |rig: &Rig| -> BTreeSet<usize> {
        (0..1200).filter(|at| rig.node(&format!("d/{}", name(*at))).is_ok()).collect()
    };
    assert!(found(&rig) == names);
    drop(directory);
    let image = rig.unmount();
    assert_sound(&image);
    let rig = Rig::mount(image, 8);
    assert!(found(&rig) == names);
}

#[test]
fn links_have_their_targets_short_and_long() {
    let rig = Rig::mount(Format::ALL[0].make(&[]), 2);
    let (root, long) = (rig.fs().root().expect("the root"), vec![b'x'; 1000]);
    for (name, target) in
        [("short", &b"to/somewhere"[..]), ("59", &[b'y'; 59]), ("60", &[b'y'; 60]), ("long", &long)]
    {
        let link = rig.fs().make_link(&CALLER, &root, name.as_bytes(), target).expect("a link");
        assert_eq!(rig.fs().target(&link).as_deref(), Ok(target));
    }
    let too_long = rig.fs().make_link(&CALLER, &root, b"l", &[b'z'; 1024]);
    assert_eq!(too_long.err(), Some(Error::NameTooLong));
    drop(root);
    rig.unlink("59").expect("a removal");
    let image = rig.unmount();
    assert_sound(&image);
    let told = String::from_utf8(debugfs(&image, "stat short")).expect("text");
    assert!(told.contains("to/somewhere"), "{told}");
}

#[test]
fn a_file_without_names_lives_as_long_as_its_handle() {
    let mut rig = Rig::mount(Format::SMALL.make(&[]), 3);
    let before = rig.fs().space();
    let file = rig.open("gone");
    write(&file, 0, &[5; 50_000]).expect("a write");
    rig.unlink("gone").expect("a removal");
    assert_eq!(rig.node("gone").err(), Some(Error::NotFound));
    evict(&file).expect("an eviction");
    assert_eq!(contents(&file), Ok(vec![5; 50_000]));
    let number = file.mapping().store().number();
    drop(file);
    rig.close(number);
    assert_eq!(rig.fs().space(), before);
    assert_sound(&rig.unmount());
}

#[test]
fn a_file_that_is_made_without_a_name_gets_one_or_goes() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 9);
    let before = rig.fs().space();
    let root = rig.fs().root().expect("the root");
    let make = |linking| rig.fs().create_unnamed(&CALLER, &root, 0o600, linking).expect("a file");
    let link = |file: &_, name: &[u8]| rig.fs().link(&CALLER, file, &root, name);
    let (once, never) = (make(Linking::Once), make(Linking::Never));
    assert_eq!(rig.fs().status(&once).expect("its status").links, 0);
    assert_eq!(link(&never, b"never"), Err(Error::NotFound));
    assert_eq!(link(&once, b"once"), Ok(()));
    assert_eq!(rig.fs().status(&once).expect("its status").links, 1);
    // As any other file from here on.
    rig.unlink("once").expect("a removal");
    assert_eq!(link(&once, b"again"), Err(Error::NotFound));
    drop((once, never));
    assert_eq!(rig.fs().space(), before);
    let kept = make(Linking::Once);
    assert_eq!(link(&kept, b"kept"), Ok(()));
    drop((kept, root));
    let image = rig.unmount();
    assert_sound(&image);
    assert!(Rig::mount(image, 10).node("kept").is_ok());
}

#[test]
fn after_a_power_cut_a_file_without_names_is_freed() {
    let mut rig = Rig::mount(Format::SMALL.make(&[]), 11);
    let before = rig.fs().space();
    let file = rig.open("gone");
    write(&file, 0, &[5; 50_000]).expect("a write");
    rig.unlink("gone").expect("a removal");
    let root = rig.fs().root().expect("the root");
    let made = rig.fs().create_unnamed(&CALLER, &root, 0o600, Linking::Once).expect("a file");
    fsync(&file).expect("a sync");
    let image = repaired(&rig.disk.image());
    assert_eq!(Rig::mount(image, 12).fs().space(), before);
    drop((root, made, file));
    rig.abandon();
}

#[test]
fn a_directory_that_was_removed_takes_no_names() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 4);
    let directory = rig.make_directory("d").expect("a directory");
    rig.create("d/x").expect("a file");
    let root = rig.fs().root().expect("the root");
    let removed = |name: &[u8]| rig.fs().remove_directory(&CALLER, &root, name);
    assert_eq!(removed(b"d"), Err(Error::NotEmpty));
    rig.unlink("d/x").expect("a removal");
    assert_eq!(removed(b"d"), Ok(()));
    let made = rig.fs().create(&CALLER, &directory, b"y", 0o600);
    assert_eq!(made.err(), Some(Error::NotFound));
    drop((root, directory));
    assert_sound(&rig.unmount());
}

#[test]
fn a_directory_moves_with_all_that_is_in_it_and_not_below_itself() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 5);
    for path in ["a", "a/b", "a/b/c", "e"] {
        rig.make_directory(path).expect("a directory");
    }
    let rename = |from: &str, to: &str, replace| {
        let (from, to) = (rig.parent(from)?, rig.parent(to)?);
        rig.fs().rename(&CALLER, (&from.0, from.1), (&to.0, to.1), replace)
    };
    assert_eq!(rename("a", "a/b/c/d", Replace::Yes).map_err(Error::code), Err(22));
    assert_eq!(rename("a/b", "e", Replace::No), Err(Error::Exists));
    assert_eq!(rename("a/b", "e", Replace::Yes), Ok(()));
    assert!(rig.node("e/c").is_ok());
    assert_eq!(rename("e/c", "a", Replace::Exchange), Ok(()));
    assert_eq!(rename("e/c", "e/c/x", Replace::Yes).map_err(Error::code), Err(22));
    assert_eq!(rig.fs().lookup(&rig.node("a").expect("a"), b"..").expect("..").number(), 2);
    let status = |path: &str| rig.fs().status(&rig.node(path).expect("a node")).expect("a status");
    assert_eq!(status("").links, 5, "lost+found, a and e");
    assert_eq!(status("e").links, 3);
    assert_sound(&rig.unmount());
}

#[test]
fn attributes_are_kept_to_the_nanosecond() {
    for format in [Format::ALL[0], Format::ALL[1]] {
        let rig = Rig::mount(format.make(&[]), 6);
        let node = rig.create("a").expect("a file");
        let times = [1_234_567_890_987_654_321, 5_000_000_000_000_000_001];
        let change = Change {
            mode: Some(0o4711),
            uid: Some(70_000),
            gid: Some(3),
            accessed: Some(times[0]),
            modified: Some(times[1]),
            flags: Some(0xd0),
        };
        rig.fs().change(&node, &change, CALLER.now).expect("a change");
        drop(node);
        let rig = Rig::mount(rig.unmount(), 6);
        let status = rig.fs().status(&rig.node("a").expect("a node")).expect("a status");
        assert_eq!((status.mode, status.uid, status.gid), (0o104_711, 70_000, 3));
        assert_eq!(status.flags, 0xd0);
        let expected = match format.inode_size {
            // No room for more than 32 bits of seconds, with a sign.
            128 => times.map(|time| (time / 1_000_000_000).min(0x7fff_ffff) * 1_000_000_000),
            _ => times,
        };
        assert_eq!([status.accessed, status.modified], expected);
        assert_sound(&rig.unmount());
    }
}

#[test]
fn a_device_node_that_another_program_has_made_is_one_and_can_be_removed() {
    let image = changed(&Format::SMALL.make(&[]), "mknod tty c 4 64");
    let rig = Rig::mount(image, 7);
    let status = rig.fs().status(&rig.node("tty").expect("a node")).expect("a status");
    assert_eq!((status.kind, status.device), (Kind::Characters, 4 << 8 | 64));
    rig.unlink("tty").expect("a removal");
    assert_sound(&rig.unmount());
}

#[test]
fn special_nodes_keep_their_kinds_and_numbers_and_have_no_blocks() {
    // The last one has a number that the oldest ext2 cannot keep.
    let nodes = [
        (Kind::Fifo, "fifo", 0),
        (Kind::Socket, "socket", 0),
        (Kind::Characters, "tty", 4 << 8 | 64),
        (Kind::Blocks, "disk", 8 << 8 | 1 << 20 | 3),
    ];
    let rig = Rig::mount(Format::SMALL.make(&[]), 8);
    for (kind, name, number) in nodes {
        let root = rig.fs().root().expect("the root");
        let made = rig.fs().make_special(&CALLER, &root, name.as_bytes(), (kind, number), 0o640);
        assert!(made.is_ok(), "{name}");
    }
    let rig = Rig::mount(rig.unmount(), 8);
    for (kind, name, number) in nodes {
        let node = rig.node(name).expect("a node");
        let status = rig.fs().status(&node).expect("a status");
        assert_eq!((status.kind, status.device, status.sectors), (kind, number, 0), "{name}");
        assert_eq!(status.mode, kind.mode_bits() | 0o640);
    }
    let image = rig.unmount();
    assert_sound(&image);
    let mut rig = Rig::mount(image, 8);
    // The first number is that of a block in use, too.
    rig.create("file of most blocks").expect("room");
    let file = rig.open("file of most blocks");
    assert_eq!(write(&file, 0, &[1; 1500 << 10]), Ok(1500 << 10));
    fsync(&file).expect("a sync");
    let free = rig.fs().space().free_blocks;
    nodes.iter().for_each(|(_, name, _)| rig.unlink(name).expect("a removal"));
    assert_eq!(rig.fs().space().free_blocks, free);
    drop(file);
    let root = rig.fs().root().expect("the root");
    let made = rig.fs().make_special(&CALLER, &root, b"file", (Kind::File, 0), 0o640);
    assert_eq!(made.err(), Some(Error::Other(Errno::Invalid)));
    drop(root);
    assert_sound(&rig.unmount());
}
