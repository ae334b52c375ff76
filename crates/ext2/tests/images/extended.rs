//! Extended attributes and flags of inodes, and where blocks are.

use faultless::prelude::Errno;
use faultless_ext2::{Change, Error, Extent};

use crate::rig::{CALLER, Node, Rig, fsync, write};
use crate::tools::{Format, assert_sound, changed, debugfs};

fn set(rig: &Rig, node: &Node, name: &str, value: Option<&[u8]>) -> Result<(), Errno> {
    let (name, now) = (name.as_bytes(), CALLER.now);
    rig.fs().set_extended(node, name, value, |_| Ok(()), now)
}

fn get(rig: &Rig, node: &Node, name: &str) -> Option<Vec<u8>> {
    rig.fs().extended(node, name.as_bytes()).expect("a block that can be read")
}

fn names(rig: &Rig, node: &Node) -> Vec<String> {
    let names = rig.fs().extended_names(node).expect("a block that can be read");
    names.into_iter().map(|name| String::from_utf8(name).expect("text")).collect()
}

#[test]
fn attributes_of_all_kinds_of_nodes_are_there_after_a_mount() {
    for format in Format::ALL {
        let rig = Rig::mount(format.make(&[]), 1);
        let space = rig.fs().space();
        let nodes = ["file", "gone"].map(|name| rig.create(name).expect("a file"));
        let directory = rig.make_directory("directory").expect("a directory");
        for node in nodes.iter().chain([&directory]) {
            set(&rig, node, "user.mime", Some(b"text/plain")).expect("room");
            set(&rig, node, "trusted.a", Some(b"")).expect("room");
            set(&rig, node, "user.long-name", Some(&[7; 300])).expect("room");
            set(&rig, node, "user.mime", Some(b"text")).expect("room");
            set(&rig, node, "security.s", Some(&[1, 2, 3])).expect("room");
            set(&rig, node, "security.s", None).expect("removed");
        }
        let expected = ["user.mime", "user.long-name", "trusted.a"];
        assert_eq!(names(&rig, &directory), expected);
        let sectors = rig.fs().status(&nodes[0]).expect("a status").sectors;
        assert_eq!(sectors, (format.block_size / 512) as u64, "a block of the file's");
        drop((nodes, directory));
        rig.unlink("gone").expect("a removal");
        let image = rig.unmount();
        assert_sound(&image);
        let told = String::from_utf8_lossy(&debugfs(&image, "ea_get file user.mime")).into_owned();
        assert!(told.contains("text") && !told.contains("plain"), "{told}");
        let rig = Rig::mount(image, 2);
        let node = rig.node("file").expect("a node");
        assert_eq!(names(&rig, &node), expected);
        assert_eq!(get(&rig, &node, "user.long-name"), Some(vec![7; 300]));
        assert_eq!(get(&rig, &node, "trusted.a"), Some(Vec::new()));
        assert_eq!(get(&rig, &node, "user.none"), None);
        expected.iter().for_each(|name| set(&rig, &node, name, None).expect("removed"));
        assert_eq!(rig.fs().status(&node).expect("a status").sectors, 0);
        drop(node);
        for name in ["file", "directory"] {
            let (root, name) = rig.parent(name).expect("the root");
            let _is_a_directory = rig.fs().unlink(&CALLER, &root, name);
            let _is_a_file = rig.fs().remove_directory(&CALLER, &root, name);
        }
        rig.fs().sync().expect("a sync");
        assert_eq!(rig.fs().space().free_blocks, space.free_blocks);
        assert_sound(&rig.unmount());
    }
}

#[test]
fn more_attributes_than_fit_in_a_block_are_refused_and_change_nothing() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 3);
    let node = rig.create("file").expect("a file");
    set(&rig, &node, "user.first", Some(&[1; 600])).expect("room");
    assert_eq!(set(&rig, &node, "user.second", Some(&[2; 400])), Err(Errno::NoSpace));
    assert_eq!(set(&rig, &node, "user.first", Some(&[2; 1000])), Err(Errno::NoSpace));
    assert_eq!(set(&rig, &node, "system.x", Some(b"")), Err(Errno::NotSupported));
    let refused = |found: Option<&[u8]>| match found {
        Some([1, ..]) => Err(Errno::Busy),
        _ => Ok(()),
    };
    let now = CALLER.now;
    let refused = rig.fs().set_extended(&node, b"user.first", Some(b""), refused, now);
    assert_eq!(refused, Err(Errno::Busy));
    assert_eq!(get(&rig, &node, "user.first"), Some(vec![1; 600]));
    assert_eq!(names(&rig, &node), ["user.first"]);
    drop(node);
    assert_sound(&rig.unmount());
}

#[test]
fn attributes_that_another_program_has_made_are_read_and_changed() {
    // With no room in the inode they go to a block.
    let image = Format { inode_size: 128, ..Format::SMALL }.make(&[]);
    let image = changed(&image, "mkdir d");
    let image = changed(&image, "ea_set d user.theirs value");
    let rig = Rig::mount(image, 4);
    let node = rig.node("d").expect("a node");
    assert_eq!(get(&rig, &node, "user.theirs").as_deref(), Some(&b"value"[..]));
    set(&rig, &node, "user.ours", Some(b"too")).expect("room");
    drop(node);
    let image = rig.unmount();
    assert_sound(&image);
    let told = debugfs(&image, "ea_list d");
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("user.theirs") && told.contains("user.ours"), "{told}");
}

#[test]
fn flags_are_kept_and_handed_on_to_what_is_made() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 5);
    let directory = rig.make_directory("d").expect("a directory");
    // Synchronous, append-only, not dumped, synchronous names, and one that nobody can set.
    let change = Change { flags: Some(0x1_1068), ..Change::default() };
    rig.fs().change(&directory, &change, CALLER.now).expect("a change");
    let flags = |node: &Node| rig.fs().status(node).expect("a status").flags;
    assert_eq!(flags(&directory), 0x1_0068);
    assert_eq!(flags(&rig.create("d/file").expect("a file")), 0x48);
    assert_eq!(flags(&rig.make_directory("d/below").expect("a directory")), 0x1_0048);
    let link = rig.fs().make_link(&CALLER, &directory, b"link", b"target").expect("a link");
    assert_eq!(flags(&link), 0x40);
    drop((directory, link));
    assert_sound(&rig.unmount());
}

#[test]
fn extents_say_where_blocks_are() {
    let mut rig = Rig::mount(Format::ALL[2].make(&[]), 6);
    let file = rig.open("file");
    for (pos, len) in [(0, 8192), (5 * 4096, 4096)] {
        write(&file, pos, &vec![9; len]).expect("a write");
    }
    let node = rig.node("file").expect("a node");
    assert_eq!(rig.fs().extent_from(&node, 0), Ok(None), "not written back yet");
    fsync(&file).expect("a sync");
    let extent = |block| rig.fs().extent_from(&node, block).expect("readable");
    let first = extent(0).expect("an extent");
    assert_eq!((first.first, first.count), (0, 2));
    assert_eq!(extent(1), Some(Extent { first: 1, place: first.place + 1, count: 1 }));
    let second = extent(2).expect("an extent");
    assert_eq!((second.first, second.count), (5, 1));
    assert_eq!(extent(6), None);
    drop((file, node));
    let image = rig.unmount();
    let start = first.place as usize * 4096;
    assert!(image[start..start + 8192].iter().all(|byte| *byte == 9));
    assert_sound(&image);
}

#[test]
fn a_removed_directory_leads_up_as_long_as_it_is_open() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 7);
    let before = rig.fs().space();
    let mut path = String::new();
    let mut chain = Vec::new();
    for depth in 0..40 {
        path += &format!("/d{depth}");
        chain.push(rig.make_directory(&path).expect("a directory"));
    }
    let numbers: Vec<u32> = chain.iter().map(|node| node.number()).collect();
    let deepest = chain.pop().expect("the deepest");
    drop(chain);
    for depth in (0..40).rev() {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let parent = rig.node(parent).expect("a directory");
        rig.fs().remove_directory(&CALLER, &parent, name.as_bytes()).expect("empty");
        path.truncate(path.len() - format!("/d{depth}").len());
    }
    let mut at = deepest.clone();
    for number in numbers[..39].iter().rev() {
        assert_eq!(rig.fs().lookup(&at, b".").err(), Some(Error::NotFound));
        at = rig.fs().lookup(&at, b"..").expect("the one above");
        assert_eq!(at.number(), *number);
    }
    drop((at, deepest));
    assert_eq!(rig.fs().space(), before);
    assert_sound(&rig.unmount());
}
