//! A tree with a clock, for tests of single rules.

use std::sync::atomic::{AtomicU64, Ordering};

use faultless_posix::{Caller, Errno, Follow, Opened, Origin};

use crate::kernel::{Files, Machine, Node, Result, Tree, at_time};

/// Relative paths begin at the root.
#[derive(Debug)]
pub struct World {
    pub tree: Tree,
    pub files: Files,
    now: AtomicU64,
}

impl World {
    pub fn new() -> Self {
        Self { tree: Tree::new(7, &at_time(1), 0o755), files: Files::new(), now: AtomicU64::new(1) }
    }

    /// Each call comes later than the one before.
    pub fn caller(&self) -> Caller {
        at_time(self.now.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn root(&self) -> &Node {
        self.tree.root()
    }

    pub fn mkdir(&self, path: &str) -> Result<Node> {
        self.tree.make_directory(&self.caller(), self.root(), path.as_bytes(), 0o755)
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        self.tree.remove_directory(&self.caller(), self.root(), path.as_bytes())
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<Node> {
        self.tree.make_link(&self.caller(), target.as_bytes(), self.root(), path.as_bytes())
    }

    /// Makes an empty file.
    pub fn file(&self, path: &str) -> Result<Node> {
        self.file_of(&self.caller(), path, 0o644)
    }

    /// Makes an empty file of a caller's.
    pub fn file_of(&self, caller: &Caller, path: &str, mode: u32) -> Result<Node> {
        let make = || self.files.make();
        self.tree.make_file(caller, self.root(), path.as_bytes(), mode, make)
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        self.tree.unlink(&self.caller(), self.root(), path.as_bytes())
    }

    pub fn link(&self, node: &Node, path: &str) -> Result<()> {
        self.tree.link(&self.caller(), node, self.root(), path.as_bytes())
    }

    pub fn open(&self, path: &str, flags: u32) -> Result<Opened<Machine>> {
        let make = || self.files.make();
        self.tree.open(&self.caller(), self.root(), path.as_bytes(), flags, 0o644, make)
    }

    pub fn rename(&self, old: &str, new: &str, flags: u32) -> Result<()> {
        let (old, new) = ((self.root(), old.as_bytes()), (self.root(), new.as_bytes()));
        self.tree.rename(&self.caller(), old, new, flags)
    }

    /// `lstat`'s way.
    pub fn at(&self, path: &str) -> Result<Node> {
        self.tree.lookup(&self.caller(), self.root(), path.as_bytes(), Follow::NotLast)
    }

    /// `stat`'s way.
    pub fn followed(&self, path: &str) -> Result<Node> {
        self.tree.lookup(&self.caller(), self.root(), path.as_bytes(), Follow::Last)
    }

    /// Link counts of these paths.
    pub fn links<const N: usize>(&self, paths: [&str; N]) -> [u64; N] {
        paths.map(|path| self.at(path).map_or(0, |node| node.status().links))
    }
}

/// Checks that a call fails with this error.
#[track_caller]
pub fn fails<T>(result: Result<T>, errno: Errno) {
    assert_eq!(result.err(), Some(errno));
}

/// Checks that two results lead to one node.
#[track_caller]
pub fn same(one: Result<Node>, other: &Node) {
    assert_eq!(one.map(|node| node.number()), Ok(other.number()));
}

/// Checks that a call has found this node.
#[track_caller]
pub fn found(opened: Result<Opened<Machine>>, node: &Node) {
    let opened = opened.expect("it opens");
    assert_eq!((opened.node.number(), opened.origin), (node.number(), Origin::Found));
}

/// The names of a directory in the order of a walk, without `.` and `..`.
pub fn names(directory: &Node) -> Vec<String> {
    let mut names = Vec::new();
    let (mut cookie, end) = (2, directory.end_cookie());
    while let Some(entry) = directory.entry(cookie, end).expect("a directory") {
        cookie = entry.next;
        names.push(String::from_utf8_lossy(entry.name()).into_owned());
    }
    names
}
