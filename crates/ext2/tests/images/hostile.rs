//! Images with random bytes changed: errors, and never a panic or a loop without end.

use faultless::prelude::*;
use faultless_ext2::{Access, Kind};

use crate::random::Player;
use crate::rig::{CALLER, Node, Rig, contents, evict, token, write};
use crate::rng::Rng;
use crate::tools::Format;

/// Everything that can be asked of a tree, with errors ignored.
fn exercise(rig: &mut Rig) {
    let Ok(root) = rig.fs().root() else { return };
    let mut nodes = vec![root];
    let mut at = 0;
    // An image may have a circle.
    while at < nodes.len() && nodes.len() < 60 {
        let node = Node::clone(&nodes[at]);
        at += 1;
        let Ok(status) = rig.fs().status(&node) else { continue };
        match status.kind {
            Kind::Link => drop(rig.fs().target(&node)),
            Kind::Directory => {
                let mut cookie = 0;
                while let Ok(Some(entry)) = rig.fs().entry(&node, cookie) {
                    assert!(entry.next > cookie, "a walk goes on");
                    cookie = entry.next;
                    if nodes.len() < 60 && !entry.name.starts_with(b".") {
                        nodes.extend(rig.fs().lookup(&node, &entry.name));
                    }
                }
                let _any = rig.fs().create(&CALLER, &node, b"new", 0o600);
            }
            Kind::File if status.size < 1 << 20 => {
                let file = rig.file(&node);
                let _any = contents(&file);
                let _any = write(&file, 5000, &[1; 3000]);
                let _any = evict(&file);
                let _any = file.punch_hole(&mut token(), 1000..9000, &NoTask);
                let _any = file.set_size(&mut token(), 100, &NoTask);
            }
            Kind::File | Kind::Fifo | Kind::Socket | Kind::Characters | Kind::Blocks => {}
        }
    }
    let names: Vec<_> = ["a", "bee", "d", "x.y", "a-name-of-some-length"].into();
    for name in names {
        let _any = rig.unlink(name);
        let Ok((root, _)) = rig.parent(name) else { continue };
        let _any = rig.fs().remove_directory(&CALLER, &root, name.as_bytes());
    }
    let _any = rig.fs().sync();
}

#[test]
fn changed_bytes_give_errors_and_nothing_worse() {
    let format = Format::SMALL;
    let mut player = Player::new(format.make(&[]), 1);
    for _ in 0..40 {
        player.step();
    }
    let base = player.rig.unmount();
    let mut rng = Rng::new(2);
    // Where metadata is.
    let used: Vec<usize> =
        (1024..base.len()).filter(|at| base[*at] != 0 && *at < 300_000).collect();
    let mut mounted = 0;
    for round in 0..200 {
        let mut image = base.clone();
        for _ in 0..1 + rng.below(8) {
            let at = match round % 3 {
                0 => 1024 + rng.below(3 * 1024),
                _ => used[rng.below(used.len())],
            };
            image[at] = rng.next() as u8;
        }
        if let Ok(mut rig) = Rig::with_frames(128, image, round, Access::ReadWrite) {
            mounted += 1;
            exercise(&mut rig);
            rig.abandon();
        }
    }
    assert!(mounted > 80, "{mounted} were mounted");
}

#[test]
fn what_is_no_image_is_refused() {
    for image in [Vec::new(), vec![0; 2047], vec![0; 1 << 20], vec![0xff; 1 << 20]] {
        assert!(Rig::try_mount(image, 1, Access::ReadWrite).is_err());
    }
    // Larger than its device.
    let mut image = Format::SMALL.make(&[]);
    image.truncate(1 << 20);
    assert_eq!(Rig::try_mount(image, 1, Access::ReadWrite).err(), Some(Errno::Io));
}
