//! Lock instances and modes, as the checker tells them apart.

#![forbid(unsafe_code)]

use std::fmt;

use faultless_page::{LockId, SlotMask};

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// No other thread may hold it.
    Exclusive,
    /// The address-space lock for reading: blocks behind a holder for writing *and behind one that
    /// waits for it* (DL3′).
    Read,
    /// The address-space lock for writing.
    Write,
}

/// A lock, with its class and instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// A lock of the core: I, a range, or P.
    Core(LockId),
    /// M of the address space with this number.
    Space(u64, Mode),
    /// Any other lock, by name and number: a lock of a store, for example (DL4).
    Other(&'static str, u64),
}

/// A node of the order graph: a lock, or the 64 page locks of a leaf, told apart by masks on the
/// edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    Inode(u64),
    /// All ranges of a file: among themselves they are ordered by position.
    Ranges(u64),
    /// The lock under which a store is told the size.
    Size(u64),
    /// The lock that keeps moving pages out of the cache.
    Shift(u64),
    OpenFile(u64),
    Space(u64),
    Leaf(u64, u64),
    /// Pages of a leaf that are under writeback.
    Writeback(u64, u64),
    /// A lock of a store.
    Store(u64),
    Other(&'static str, u64),
}

/// A lock as it is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Instance {
    pub(super) node: Node,
    /// Slots of a leaf; all of them for the other nodes.
    pub(super) slots: SlotMask,
    /// First byte of a range; 0 for the other nodes.
    pub(super) pos: u64,
    pub(super) mode: Mode,
}

impl From<Lock> for Instance {
    fn from(lock: Lock) -> Self {
        let whole = |node| Self { node, slots: SlotMask::ALL, pos: 0, mode: Mode::Exclusive };
        match lock {
            Lock::Core(LockId::OpenFile(id)) => whole(Node::OpenFile(id)),
            Lock::Core(LockId::Inode(id)) => whole(Node::Inode(id)),
            Lock::Core(LockId::Range(id, pos)) => Self { pos, ..whole(Node::Ranges(id)) },
            Lock::Core(LockId::Size(id)) => whole(Node::Size(id)),
            Lock::Core(LockId::Shift(id)) => whole(Node::Shift(id)),
            Lock::Core(LockId::Pages { mapping, base, slots }) => {
                Self { slots, ..whole(Node::Leaf(mapping, base)) }
            }
            Lock::Core(LockId::Store(id)) => whole(Node::Store(id)),
            Lock::Core(LockId::Writeback { mapping, base, slots }) => {
                Self { slots, ..whole(Node::Writeback(mapping, base)) }
            }
            Lock::Space(id, mode) => Self { mode, ..whole(Node::Space(id)) },
            Lock::Other(name, id) => whole(Node::Other(name, id)),
        }
    }
}

impl Instance {
    /// Whether this is a page lock.
    pub(super) fn is_pages(&self) -> bool {
        matches!(self.node, Node::Leaf(..))
    }

    /// Whether this is a writeback: not a lock, but waited for like one.
    pub(super) fn is_writeback(&self) -> bool {
        matches!(self.node, Node::Writeback(..))
    }

    /// Whether holding the one while waiting for the other is waiting for oneself.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        self.node == other.node && self.slots.intersects(other.slots) && self.pos == other.pos
    }

    /// Place of the class in the lock order F → I → range → size → M → shift → P → store; the
    /// others have none.
    pub(super) fn rank(&self) -> Option<u8> {
        match self.node {
            Node::OpenFile(_) => Some(0),
            Node::Inode(_) => Some(1),
            Node::Ranges(_) => Some(2),
            Node::Size(_) => Some(3),
            Node::Space(_) => Some(4),
            Node::Shift(_) => Some(5),
            Node::Leaf(..) => Some(6),
            Node::Store(_) => Some(7),
            // A writeback may be waited for under page locks, and a store that is stacked on
            // another file takes all of that file's locks inside one. Cycles say what is wrong.
            Node::Writeback(..) | Node::Other(..) => None,
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Node::OpenFile(id) => LockId::OpenFile(id).fmt(f),
            Node::Inode(id) => write!(f, "I({id})"),
            Node::Ranges(id) => write!(f, "R({id},{})", self.pos),
            Node::Size(id) => LockId::Size(id).fmt(f),
            Node::Shift(id) => LockId::Shift(id).fmt(f),
            Node::Store(id) => LockId::Store(id).fmt(f),
            Node::Space(id) => match self.mode {
                Mode::Read => write!(f, "M({id}) for reading"),
                Mode::Write => write!(f, "M({id}) for writing"),
                Mode::Exclusive => write!(f, "M({id})"),
            },
            Node::Leaf(mapping, base) => LockId::Pages { mapping, base, slots: self.slots }.fmt(f),
            Node::Writeback(mapping, base) => {
                LockId::Writeback { mapping, base, slots: self.slots }.fmt(f)
            }
            Node::Other(name, id) => write!(f, "{name}({id})"),
        }
    }
}
