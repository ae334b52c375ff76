//! Random operations against a model of names and contents.

use faultless::prelude::*;
use faultless_ext2::Replace;

use crate::model::{Model, Thing};
use crate::rig::{CALLER, Cached, Rig, contents, evict, fsync, read, token, write};
use crate::rng::Rng;
use crate::tools::{Format, assert_sound, debugfs};

/// Names of one component.
const NAMES: [&str; 5] = ["a", "bee", "a-name-of-some-length", "d", "x.y"];

/// Where files end at most.
const LARGEST: usize = 400_000;

pub(crate) struct Player {
    pub(crate) rig: Rig,
    pub(crate) model: Model,
    pub(crate) rng: Rng,
}

impl Player {
    pub(crate) fn new(image: Vec<u8>, seed: u64) -> Self {
        let (rig, rng) = (Rig::mount(image, seed), Rng::new(seed));
        Self { rig, model: Model::default(), rng }
    }

    /// A path of up to three components, whose directory is there, most of the time.
    fn path(&mut self) -> String {
        let mut path = NAMES[self.rng.below(NAMES.len())].to_owned();
        while self.model.is_directory(&path)
            && path.matches('/').count() < 2
            && self.rng.below(3) > 0
        {
            path = format!("{path}/{}", NAMES[self.rng.below(NAMES.len())]);
        }
        path
    }

    fn a_file(&mut self) -> Option<(String, usize)> {
        let files = self.model.names.iter().filter_map(|(path, thing)| match thing {
            Thing::File(at) => Some((path.clone(), *at)),
            _ => None,
        });
        let files: Vec<_> = files.collect();
        if files.is_empty() { None } else { Some(files[self.rng.below(files.len())].clone()) }
    }

    /// One random operation.
    pub(crate) fn step(&mut self) {
        match self.rng.below(20) {
            0..3 => self.create(),
            3 => self.make_directory(),
            4 => self.symlink(),
            5 => self.link(),
            6 => self.unlink(),
            7 => self.remove_directory(),
            8..10 => self.rename(),
            _ => self.change_a_file(),
        }
    }

    fn create(&mut self) {
        let path = self.path();
        let made = self.rig.create(&path);
        let may = !self.model.names.contains_key(&path);
        assert_eq!(made.is_ok(), may, "create {path}: {made:?}");
        if may {
            self.model.names.insert(path, Thing::File(self.model.contents.len()));
            self.model.contents.push(Vec::new());
        }
    }

    fn make_directory(&mut self) {
        let path = self.path();
        let made = self.rig.make_directory(&path);
        let may = !self.model.names.contains_key(&path);
        assert_eq!(made.is_ok(), may, "mkdir {path}: {made:?}");
        self.model.names.entry(path).or_insert(Thing::Directory);
    }

    fn symlink(&mut self) {
        let (path, len) = (self.path(), 1 + self.rng.below(120));
        let target = self.rng.bytes(len);
        let (parent, name) = self.rig.parent(&path).expect("a directory");
        let made = self.rig.fs().make_link(&CALLER, &parent, name, &target);
        let may = !self.model.names.contains_key(&path);
        assert_eq!(made.is_ok(), may, "symlink {path}");
        self.model.names.entry(path).or_insert(Thing::Link(target));
    }

    fn link(&mut self) {
        let Some((old, at)) = self.a_file() else { return };
        let new = self.path();
        let node = self.rig.node(&old).expect("a node");
        let (parent, name) = self.rig.parent(&new).expect("a directory");
        let made = self.rig.fs().link(&CALLER, &node, &parent, name);
        let may = !self.model.names.contains_key(&new);
        assert_eq!(made.is_ok(), may, "link {old} {new}");
        self.model.names.entry(new).or_insert(Thing::File(at));
    }

    fn unlink(&mut self) {
        let path = self.path();
        let removed = self.rig.unlink(&path);
        let may = self.model.names.contains_key(&path) && !self.model.is_directory(&path);
        assert_eq!(removed.is_ok(), may, "unlink {path}: {removed:?}");
        if may {
            self.model.names.remove(&path);
        }
    }

    fn remove_directory(&mut self) {
        let path = self.path();
        let (parent, name) = self.rig.parent(&path).expect("a directory");
        let removed = self.rig.fs().remove_directory(&CALLER, &parent, name);
        let may = self.model.is_directory(&path) && !self.model.has_names(&path);
        assert_eq!(removed.is_ok(), may, "rmdir {path}: {removed:?}");
        if may {
            self.model.names.remove(&path);
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.path(), self.path());
        let (old, new) = (self.rig.parent(&from).expect("one"), self.rig.parent(&to).expect("one"));
        let fs = self.rig.fs();
        let renamed = fs.rename(&CALLER, (&old.0, old.1), (&new.0, new.1), Replace::Yes);
        let model = &self.model;
        let thing = model.names.get(&from);
        let is_directory = model.is_directory(&from);
        let may = match (thing, model.names.get(&to)) {
            (None, _) => false,
            _ if is_directory && format!("{to}/").starts_with(&format!("{from}/")) => from == to,
            (Some(_), None) => true,
            (Some(Thing::File(one)), Some(Thing::File(other))) if one == other => {
                assert_eq!(renamed, Ok(()), "rename of two names of a file");
                return;
            }
            (Some(_), Some(Thing::Directory)) => is_directory && !model.has_names(&to),
            (Some(_), Some(_)) => !is_directory,
        };
        let may = may || (from == to && thing.is_some() && !is_directory);
        // A directory onto itself is refused here; a path walk knows better.
        if from == to && is_directory {
            return;
        }
        assert_eq!(renamed.is_ok(), may, "rename {from} {to}: {renamed:?}");
        if may && from != to {
            self.model.rename(&from, &to);
        }
    }

    fn change_a_file(&mut self) {
        let Some((path, at)) = self.a_file() else { return };
        let node = self.rig.node(&path).expect("a node");
        let file = self.rig.file(&node);
        let expected = &mut self.model.contents[at];
        let (from, len) = (self.rng.below(LARGEST), 1 + self.rng.below(60_000));
        let to = (from + len).min(LARGEST);
        let range = from as u64..to as u64;
        match self.rng.below(12) {
            0..5 => {
                let bytes = self.rng.bytes(to - from);
                assert_eq!(write(&file, from as u64, &bytes), Ok(bytes.len()));
                expected.resize(expected.len().max(to), 0);
                expected[from..to].copy_from_slice(&bytes);
            }
            5 => {
                file.set_size(&mut token(), from as u64, &NoTask).expect("a truncation");
                expected.resize(from, 0);
            }
            6 => {
                file.punch_hole(&mut token(), range, &NoTask).expect("a hole");
                zero(expected, from, to);
            }
            7 => {
                file.zero_range(&mut token(), range, FileSize::Grows, &NoTask).expect("zeros");
                expected.resize(expected.len().max(to), 0);
                zero(expected, from, to);
            }
            8 => {
                file.allocate(&mut token(), range, FileSize::Stays, &NoTask).expect("room");
            }
            9 => fsync(&file).expect("a sync"),
            10 => evict(&file).expect("an eviction"),
            _ => {
                assert_eq!(read(&file, from as u64, len).as_deref(), Ok(part(expected, from, len)))
            }
        }
        self.check_holes(&file, at, from);
    }

    /// What is no data reads as zeros.
    fn check_holes(&self, file: &Cached, at: usize, from: usize) {
        let expected = &self.model.contents[at];
        let data = file.seek_data(from as u64).expect("an answer");
        if from < expected.len() {
            let end = data.map_or(expected.len(), |data| data as usize);
            assert!(expected[from..end].iter().all(|byte| *byte == 0), "data in a hole");
        }
    }
}

fn zero(bytes: &mut [u8], from: usize, to: usize) {
    let len = bytes.len();
    bytes[from.min(len)..to.min(len)].fill(0);
}

fn part(bytes: &[u8], from: usize, len: usize) -> &[u8] {
    let from = from.min(bytes.len());
    &bytes[from..(from + len).min(bytes.len())]
}

#[test]
fn random_operations_leave_what_the_model_says() {
    for (nth, format) in Format::ALL.into_iter().enumerate() {
        for seed in 0..3 {
            let mut player = Player::new(format.make(&[]), 10 * nth as u64 + seed);
            for _ in 0..400 {
                player.step();
            }
            player.model.assert_is(&mut player.rig);
            let Player { rig, model, .. } = player;
            let image = rig.unmount();
            assert_sound(&image);
            // A file that the host's tools read.
            let file = model.names.iter().find_map(|(path, thing)| match thing {
                Thing::File(at) => Some((path, *at)),
                _ => None,
            });
            let (path, at) = file.expect("a file");
            assert!(debugfs(&image, &format!("cat \"/{path}\"")) == model.contents[at], "{path}");
            let mut rig = Rig::mount(image, seed);
            model.assert_is(&mut rig);
            assert_sound(&rig.unmount());
        }
    }
}

#[test]
fn threads_write_files_of_their_own_and_sync_them() {
    let mut rig = Rig::mount(Format::ALL[2].make(&[]), 77);
    let files: Vec<_> = (0..4).map(|at| rig.open(&format!("f{at}"))).collect();
    std::thread::scope(|scope| {
        for (seed, file) in files.iter().enumerate() {
            scope.spawn(move || {
                let mut rng = Rng::new(seed as u64);
                let mut expected = vec![0; 300_000];
                for _ in 0..40 {
                    let (from, len) = (rng.below(250_000), 1 + rng.below(50_000));
                    let bytes = rng.bytes(len);
                    assert_eq!(write(file, from as u64, &bytes), Ok(len));
                    expected[from..from + len].copy_from_slice(&bytes);
                    if rng.below(4) == 0 {
                        fsync(file).expect("a sync");
                        evict(file).expect("an eviction");
                    }
                }
                expected.truncate(file.size() as usize);
                assert!(contents(file) == Ok(expected), "the contents of file {seed}");
            });
        }
    });
    drop(files);
    assert_sound(&rig.unmount());
}
