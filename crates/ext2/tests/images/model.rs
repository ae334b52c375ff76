//! What a tree of names should be: paths, and the contents of files.

use std::collections::BTreeMap;

use crate::rig::{Rig, contents};

/// A node by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A file, with its place in `contents`: it may have several names.
    File(usize),
    Directory,
    Link(Vec<u8>),
}

/// All names, and all contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) names: BTreeMap<String, Thing>,
    pub(crate) contents: Vec<Vec<u8>>,
}

impl Model {
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path) == Some(&Thing::Directory)
    }

    /// Whether a path has names below it.
    pub(crate) fn has_names(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.names.keys().any(|name| name.starts_with(&below))
    }

    /// Moves a path and all that is below it.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        self.names.remove(to);
        let names = std::mem::take(&mut self.names);
        for (name, thing) in names {
            let name = if name == from {
                to.to_owned()
            } else if let Some(rest) = name.strip_prefix(&below) {
                format!("{to}/{rest}")
            } else {
                name
            };
            self.names.insert(name, thing);
        }
    }

    /// The names and contents of the file system are these.
    pub(crate) fn assert_is(&self, rig: &mut Rig) {
        let mut found = BTreeMap::new();
        list(rig, "", &mut found);
        found.remove("lost+found");
        let named: Vec<_> = self.names.keys().collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), named);
        for (path, thing) in &self.names {
            let node = rig.node(path).expect("a node");
            match thing {
                Thing::Directory => {}
                Thing::Link(target) => {
                    assert_eq!(rig.fs().target(&node).as_deref(), Ok(&target[..]), "{path}");
                }
                Thing::File(at) => {
                    let same = contents(&rig.file(&node)).as_ref() == Ok(&self.contents[*at]);
                    assert!(same, "the contents of {path}");
                }
            }
        }
    }
}

/// All paths below one.
fn list(rig: &Rig, path: &str, found: &mut BTreeMap<String, ()>) {
    let node = rig.node(path).expect("a directory");
    if rig.fs().status(&node).expect("a status").kind != faultless_ext2::Kind::Directory {
        return;
    }
    let mut cookie = 0;
    while let Some(entry) = rig.fs().entry(&node, cookie).expect("an entry") {
        cookie = entry.next;
        let name = String::from_utf8(entry.name).expect("a name of the test");
        if name != "." && name != ".." {
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            found.insert(below.clone(), ());
            list(rig, &below, found);
        }
    }
}
