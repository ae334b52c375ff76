//! Operations on names, and what of their results is compared.

use std::collections::BTreeMap;
use std::fmt;

/// Directories that a case has open. The first is the root.
pub const HANDLES: usize = 3;

/// A path, and the open directory that it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub handle: usize,
    pub path: String,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Mkdir(Path),
    Rmdir(Path),
    Unlink(Path),
    /// With flags of `open`.
    Open(Path, i32),
    Rename(Path, Path, u32),
    /// With flags of `linkat`.
    Link(Path, Path, i32),
    Symlink(String, Path),
    Readlink(Path),
    /// With flags of `fstatat`.
    Stat(Path, i32),
    List(Path),
    /// The open directory of that number is another one from here on.
    Handle(usize, Path),
    /// The path of an open directory.
    Cwd(usize),
    /// `fstat` of what was opened last.
    Kept,
    /// Gives a name to what was opened last.
    LinkKept(Path),
}

impl Op {
    /// The paths of the operation.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Mkdir(path)
            | Self::Rmdir(path)
            | Self::Unlink(path)
            | Self::Open(path, _)
            | Self::Symlink(_, path)
            | Self::Readlink(path)
            | Self::Stat(path, _)
            | Self::List(path)
            | Self::LinkKept(path)
            | Self::Handle(_, path) => vec![path],
            Self::Rename(one, other, _) | Self::Link(one, other, _) => vec![one, other],
            Self::Cwd(_) | Self::Kept => vec![],
        }
    }
}

/// What is seen of a node. Numbers differ between the systems, so nodes are numbered anew as they
/// are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: u32,
    pub links: u64,
    pub node: usize,
    /// When the contents changed, but for what a clock says: each look at everything sets it to 0.
    pub modified: Modified,
}

/// Whether contents have changed since everything was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modified {
    Since,
    Before,
}

impl Modified {
    pub fn at(nanoseconds: i64) -> Self {
        if nanoseconds == 0 { Self::Before } else { Self::Since }
    }
}

/// What an operation returns, if it succeeds.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Node(Seen),
    Text(String),
    /// Names with type, and number of their nodes.
    Names(BTreeMap<String, (u8, usize)>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Node(seen) => write!(f, "{seen:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Names(names) => write!(f, "{names:?}"),
        }
    }
}

/// An answer, or an error number.
pub type Outcome = Result<Answer, i32>;

/// Everything in a tree: what is seen of each path, and what a link stands for, or the number of a
/// directory's parent.
pub type Everything = BTreeMap<String, (Seen, String)>;

/// Small numbers for the numbers of nodes, in order of appearance.
#[derive(Debug, Default)]
pub struct Numbers(BTreeMap<u64, usize>);

impl Numbers {
    pub fn of(&mut self, number: u64) -> usize {
        let next = self.0.len();
        *self.0.entry(number).or_insert(next)
    }

    /// Forgets all: a file system may use numbers again.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
