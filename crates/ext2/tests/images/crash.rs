//! The power is cut at any instant: the disk has all that came before the last flush, and any part
//! of what came after it. `e2fsck` repairs it, and what was synced is there.

use std::collections::BTreeMap;

use faultless::prelude::NoTask;

use crate::disk::Event;
use crate::model::Thing;
use crate::random::Player;
use crate::rig::{Rig, contents, evict, fsync, read, token, write};
use crate::rng::Rng;
use crate::tools::{Format, repaired};

/// An image as a cut behind the first `end` events may leave it.
fn cut(base: &[u8], events: &[Event], end: usize, rng: &mut Rng) -> Vec<u8> {
    let mut image = base.to_vec();
    let flushed = events[..end].iter().rposition(|event| matches!(event, Event::Flush));
    for (at, event) in events[..end].iter().enumerate() {
        let Event::Write { position, bytes } = event else { continue };
        let from = *position as usize;
        if flushed.is_some_and(|flushed| at < flushed) {
            image[from..from + bytes.len()].copy_from_slice(bytes);
            continue;
        }
        // Sector by sector, or not at all.
        for (nth, sector) in bytes.chunks(512).enumerate() {
            if rng.below(2) == 0 {
                let from = from + nth * 512;
                image[from..from + sector.len()].copy_from_slice(sector);
            }
        }
    }
    image
}

/// A file that is left alone once it was synced.
struct Synced {
    /// The events before.
    since: usize,
    /// The first event at which a call could have changed it.
    until: usize,
    path: String,
    contents: Vec<u8>,
}

#[test]
fn f1_what_was_synced_is_there_after_a_power_cut() {
    for (nth, format) in [Format::SMALL, Format::ALL[2]].into_iter().enumerate() {
        let base = format.make(&[]);
        let mut player = Player::new(base.clone(), 500 + nth as u64);
        player.rig.disk.remember();
        let mut synced: Vec<Synced> = Vec::new();
        for round in 0..12 {
            // A file that no other operation touches.
            let path = format!("kept-{round}");
            let len = 1 + player.rng.below(40_000);
            let bytes = player.rng.bytes(len);
            let file = player.rig.open(&path);
            write(&file, 0, &bytes).expect("a write");
            fsync(&file).expect("a sync");
            let since = player.rig.disk.now();
            synced.push(Synced { since, until: usize::MAX, path, contents: bytes });
            for _ in 0..12 {
                player.small_step();
            }
            if round % 3 == 2 {
                // Its blocks are used again.
                let gone = &mut synced[round - 2];
                gone.until = player.rig.disk.now();
                player.rig.unlink(&gone.path).expect("a removal");
            }
        }
        let events = player.rig.disk.events();
        player.rig.abandon();
        assert!(events.len() > 100, "{} events", events.len());
        let mut rng = Rng::new(9);
        for _ in 0..20 {
            let end = 1 + rng.below(events.len());
            let image = repaired(&cut(&base, &events, end, &mut rng));
            let mut rig = Rig::look_at(image);
            for file in synced.iter().filter(|file| file.since <= end && end < file.until) {
                let node = rig.node(&file.path);
                let node = node.unwrap_or_else(|error| panic!("{} at {end}: {error}", file.path));
                let found = contents(&rig.file(&node)).expect("contents");
                assert!(found == file.contents, "{} at {end}", file.path);
            }
        }
    }
}

impl Player {
    /// An operation that leaves little on the disk.
    fn small_step(&mut self) {
        let before = self.model.names.len();
        self.step();
        // A small disk is not to be full.
        if self.model.names.len() > before.max(12) {
            let first = self.model.names.iter().find(|(_, thing)| **thing != Thing::Directory);
            if let Some(path) = first.map(|(path, _)| path.clone()) {
                self.rig.unlink(&path).expect("a removal");
                self.model.names.remove(&path);
            }
        }
    }
}

#[test]
fn f1_a_cut_that_was_not_synced_takes_nothing_of_what_was() {
    let mut rig = Rig::mount(Format::SMALL.make(&[]), 5);
    let (kept, other) = (rig.open("kept"), rig.open("other"));
    write(&kept, 0, &[7; 100_000]).expect("a write");
    fsync(&kept).expect("a sync");
    kept.set_size(&mut token(), 0, &NoTask).expect("a truncation");
    // Its blocks are free, and the disk still leads to them.
    write(&other, 0, &[8; 200_000]).expect("a write");
    evict(&other).expect("an eviction");
    let image = repaired(&rig.disk.image());
    drop((kept, other));
    rig.abandon();
    let mut rig = Rig::look_at(image);
    let node = rig.node("kept").expect("a node");
    assert!(contents(&rig.file(&node)) == Ok(vec![7; 100_000]), "what was synced");
}

#[test]
fn w5_no_file_shows_what_another_one_has_left() {
    let format = Format::SMALL;
    let mut rig = Rig::mount(format.make(&[]), 3);
    // Secrets all over the disk.
    let old = rig.open("old");
    write(&old, 0, &[0x5e; 1_500_000]).expect("a write");
    fsync(&old).expect("a sync");
    drop(old);
    rig.unlink("old").expect("a removal");
    let base = rig.unmount();
    let mut rig = Rig::mount(base.clone(), 4);
    rig.disk.remember();
    let mut files = BTreeMap::new();
    let mut rng = Rng::new(4);
    for round in 0..40 {
        let name = format!("f{}", rng.below(5));
        let file = rig.open(&name);
        let (from, len) = (rng.below(100_000), 1 + rng.below(20_000));
        write(&file, from as u64, &vec![0x11; len]).expect("a write");
        match round % 4 {
            0 => evict(&file).expect("an eviction"),
            1 => fsync(&file).expect("a sync"),
            _ => {}
        }
        files.insert(name, file);
    }
    let events = rig.disk.events();
    drop(files);
    rig.abandon();
    for _ in 0..60 {
        let end = 1 + rng.below(events.len());
        let mut rig = Rig::look_at(repaired(&cut(&base, &events, end, &mut rng)));
        for name in ["f0", "f1", "f2", "f3", "f4"] {
            let Ok(node) = rig.node(name) else { continue };
            let file = rig.file(&node);
            let found = read(&file, 0, 200_000).expect("contents");
            assert!(!found.contains(&0x5e), "{name} at {end}");
        }
    }
}
