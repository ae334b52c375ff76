//! The operations on a tree of this crate.

use std::collections::BTreeMap;

use faultless_posix::{Errno, Follow, Origin};

use crate::kernel::{Files, Node, Result, Tree, at_time};
use crate::ops::{Answer, Everything, HANDLES, Modified, Numbers, Op, Outcome, Path, Seen};

pub struct Ours {
    tree: Tree,
    files: Files,
    handles: Vec<Node>,
    kept: Option<Node>,
    numbers: Numbers,
    now: u64,
}

impl Ours {
    pub fn new() -> Self {
        let tree = Tree::new(1, &at_time(0), 0o755);
        let handles = vec![tree.root().clone(); HANDLES];
        let numbers = Numbers::default();
        Self { tree, files: Files::new(), handles, kept: None, numbers, now: 0 }
    }

    pub fn run(&mut self, op: &Op) -> Outcome {
        self.now += 1;
        self.numbers.forget();
        self.answer(op).map_err(|errno| errno.code())
    }

    /// Whether a path goes above the root, which is not the root of the other system.
    pub fn leaves(&self, path: &Path) -> bool {
        let mut at = self.handles[path.handle].clone();
        let mut rest = path.path.clone();
        for _ in 0..200 {
            if rest.starts_with('/') {
                at = self.tree.root().clone();
            }
            let trimmed = rest.trim_start_matches('/');
            let (name, left) = trimmed.split_once('/').unwrap_or((trimmed, ""));
            if name == ".." && at.number() == self.tree.root().number() {
                return true;
            }
            if name.is_empty() {
                return false;
            }
            let Ok(node) = self.lookup(&at, name, Follow::NotLast) else { return false };
            match node.target(&at_time(self.now)) {
                Ok(target) => rest = format!("{}/{left}", String::from_utf8_lossy(target)),
                Err(_) => {
                    rest = left.trim_start_matches('/').to_owned();
                    at = node;
                }
            }
        }
        false
    }

    pub fn everything(&mut self) -> Everything {
        let mut all = Everything::new();
        self.numbers.forget();
        let mut todo = vec![(String::new(), self.tree.root().clone())];
        while let Some((path, node)) = todo.pop() {
            let target = node.target(&at_time(self.now)).unwrap_or_default();
            let mut target = String::from_utf8_lossy(target).into_owned();
            if let (false, Ok(parent)) = (path.is_empty(), self.lookup(&node, "..", Follow::Last)) {
                target = format!("in {}", self.numbers.of(parent.number()));
            }
            let seen = self.seen(&node);
            node.set_times(&at_time(self.now), None, Some(0));
            for name in names(&node).unwrap_or_default().into_keys() {
                let child = self.lookup(&node, &name, Follow::NotLast).expect("it is listed");
                todo.push((format!("{path}/{name}"), child));
            }
            all.insert(path, (seen, target));
        }
        all
    }

    fn answer(&mut self, op: &Op) -> Result<Answer> {
        let caller = &at_time(self.now);
        let tree = &self.tree;
        let start = |path: &Path| self.handles[path.handle].clone();
        let path = |path: &Path| -> (Node, Vec<u8>) { (start(path), path.path.clone().into()) };
        match op {
            Op::Mkdir(at) => {
                let (at, name) = path(at);
                tree.make_directory(caller, &at, &name, 0o755).map(|_| Answer::Done)
            }
            Op::Rmdir(at) => {
                let (at, name) = path(at);
                tree.remove_directory(caller, &at, &name).map(|()| Answer::Done)
            }
            Op::Unlink(at) => {
                let (at, name) = path(at);
                tree.unlink(caller, &at, &name).map(|()| Answer::Done)
            }
            Op::Open(at, flags) => {
                let (at, name) = path(at);
                let make = || self.files.make();
                let opened = tree.open(caller, &at, &name, *flags as u32, 0o644, make)?;
                if flags & libc::O_TRUNC != 0
                    && flags & libc::O_PATH == 0
                    && opened.origin == Origin::Found
                    && opened.node.file().is_some()
                {
                    // The caller's part; all files here are empty.
                    opened.node.set_times(caller, None, Some(caller.now));
                }
                let seen = self.seen(&opened.node);
                self.kept = Some(opened.node);
                Ok(Answer::Node(seen))
            }
            Op::Rename(old, new, flags) => {
                let ((old_at, old), (new_at, new)) = (path(old), path(new));
                tree.rename(caller, (&old_at, &old), (&new_at, &new), *flags)?;
                Ok(Answer::Done)
            }
            Op::Link(old, new, flags) => {
                let ((old_at, old), (new_at, new)) = (path(old), path(new));
                let follow = if *flags & libc::AT_SYMLINK_FOLLOW != 0 {
                    Follow::Last
                } else {
                    Follow::NotLast
                };
                let node = tree.lookup(caller, &old_at, &old, follow)?;
                tree.link(caller, &node, &new_at, &new).map(|()| Answer::Done)
            }
            Op::Symlink(target, at) => {
                let (at, name) = path(at);
                tree.make_link(caller, target.as_bytes(), &at, &name).map(|_| Answer::Done)
            }
            Op::Readlink(at) => {
                let node = self.lookup(&start(at), &at.path, Follow::NotLast)?;
                let target = node.target(caller)?;
                Ok(Answer::Text(String::from_utf8_lossy(target).into_owned()))
            }
            Op::Stat(at, flags) => {
                let follow = if *flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
                    Follow::NotLast
                } else {
                    Follow::Last
                };
                let node = self.lookup(&start(at), &at.path, follow)?;
                Ok(Answer::Node(self.seen(&node)))
            }
            Op::List(at) => {
                let node = self.directory(&start(at), &at.path)?;
                let listed = names(&node)?.into_iter();
                let numbers = &mut self.numbers;
                let listed = listed.map(|(name, (kind, node))| (name, (kind, numbers.of(node))));
                Ok(Answer::Names(listed.collect()))
            }
            Op::Handle(which, at) => {
                self.handles[*which] = self.directory(&start(at), &at.path)?;
                Ok(Answer::Done)
            }
            Op::Cwd(which) => {
                let path = tree.path(&self.handles[*which])?;
                Ok(Answer::Text(String::from_utf8_lossy(&path).into_owned()))
            }
            Op::Kept => {
                let kept = self.kept.clone().ok_or(Errno::BADF)?;
                Ok(Answer::Node(self.seen(&kept)))
            }
            Op::LinkKept(at) => {
                let kept = self.kept.clone().ok_or(Errno::BADF)?;
                let (at, name) = path(at);
                tree.link(caller, &kept, &at, &name)?;
                Ok(Answer::Node(self.seen(&kept)))
            }
        }
    }

    fn directory(&self, at: &Node, path: &str) -> Result<Node> {
        let flags = (libc::O_DIRECTORY | libc::O_RDONLY) as u32;
        let make = || self.files.make();
        let path = path.as_bytes();
        Ok(self.tree.open(&at_time(self.now), at, path, flags, 0, make)?.node)
    }

    fn lookup(&self, at: &Node, path: &str, follow: Follow) -> Result<Node> {
        self.tree.lookup(&at_time(self.now), at, path.as_bytes(), follow)
    }

    fn seen(&mut self, node: &Node) -> Seen {
        let status = node.status();
        let node = self.numbers.of(status.number);
        let modified = Modified::at(status.modified.cast_signed());
        Seen { kind: status.mode & libc::S_IFMT, links: status.links, node, modified }
    }
}

/// All names of a directory but `.` and `..`, with type and number.
fn names(node: &Node) -> Result<BTreeMap<String, (u8, u64)>> {
    let mut names = BTreeMap::new();
    let mut cookie = 0;
    let end = node.end_cookie();
    while let Some(entry) = node.entry(cookie, end)? {
        cookie = entry.next;
        let name = String::from_utf8_lossy(entry.name()).into_owned();
        if cookie > 2 {
            let new = names.insert(name, (entry.kind.entry_type(), entry.number)).is_none();
            assert!(new, "a name twice");
        }
    }
    Ok(names)
}
