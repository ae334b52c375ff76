//! What the checker says when it finds something: in words, and as a graph for `dot`.

#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

use super::graph::{Edge, Reach};
use super::instance::{Instance, Mode, Node};

/// What kind of inversion was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// DL1: a thread waits for a lock that it holds.
    Recursive,
    /// DL2: a cycle of the core's locks, no address-space lock in it.
    Abba,
    /// DL4: a cycle through a lock that is not the core's, such as a store's own, no address-space
    /// lock in it.
    ForeignLock,
    /// DL4: a cycle through a page under writeback: a thread that waits for its end holds what the
    /// store needs for it.
    UnderWriteback,
    /// DL3: a cycle through an address-space lock that is held for writing.
    PageAgainstSpace,
    /// DL3′: a cycle through an address-space lock that is only held for reading: it needs a queued
    /// writer.
    ReaderBehindQueuedWriter,
    /// DL4, P3: an access that may fault under a lock that the fault handler can reach.
    FaultUnderLock,
    /// P3: something that may sleep or reclaim under a page lock.
    SleepUnderPageLock,
    /// A lock taken against the order I → range → M → P, or pages out of ascending order (P4).
    Order,
    /// P3: a call returned with a lock held.
    Leaked,
    /// L1: a waiter was overtaken more often than the contract allows.
    Overtaken,
    /// A thread that works for no machine takes a lock: it goes unchecked.
    Unchecked,
}

/// A violation.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was found.
    pub kind: Kind,
    /// The whole story in words.
    pub text: String,
    /// The cycle (or the offending pair) as a graph in the language of `dot`.
    pub dot: String,
}

impl Report {
    pub(super) fn new(kind: Kind, what: &str, cycle: &[Edge]) -> Self {
        let mut text = format!("lock checker: {kind}: {what}");
        for edge in cycle {
            let _ = write!(text, "\n  {}", Sentence(edge));
        }
        if kind == Kind::ReaderBehindQueuedWriter {
            text.push_str(
                "\n  a third thread queued for writing makes the reader park behind it, \
                 and itself parks behind the one that reads",
            );
        }
        Self { kind, text, dot: dot(&Vec::from_iter(cycle)) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recursive => "recursive locking (DL1)",
            Self::Abba => "locks in both orders (DL2)",
            Self::ForeignLock => "locks in both orders, a foreign one among them (DL4)",
            Self::UnderWriteback => {
                "waits for a writeback whose end needs what the waiter holds (DL4)"
            }
            Self::PageAgainstSpace => "page lock against address-space lock (DL3)",
            Self::ReaderBehindQueuedWriter => "reader behind a queued writer (DL3')",
            Self::FaultUnderLock => {
                "access that may fault under a lock the fault handler takes (DL4)"
            }
            Self::SleepUnderPageLock => "sleep under a page lock (P3)",
            Self::Order => "lock order",
            Self::Leaked => "lock held at return (P3)",
            Self::Overtaken => "overtaken (L1)",
            Self::Unchecked => "a thread without a checker",
        })
    }
}

struct Sentence<'a>(&'a Edge);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edge { from, to, thread, reach } = self.0;
        let how = match reach {
            Reach::Asked => "waits for",
            Reach::ByFault => "may fault, and so wait for",
        };
        write!(f, "thread '{thread}' holds {from} and {how} {to}")
    }
}

/// A digraph of `edges`.
pub(super) fn dot(edges: &[&Edge]) -> String {
    let mut text = String::from("digraph locks {\n");
    for edge in edges {
        let style = match edge.reach {
            Reach::Asked => "solid",
            Reach::ByFault => "dashed",
        };
        let _ = writeln!(
            text,
            "  \"{}\" -> \"{}\" [style={style}, label=\"{}{}\"];",
            name(&edge.from),
            name(&edge.to),
            edge.thread,
            match (edge.from.mode, edge.to.mode) {
                (Mode::Exclusive, Mode::Exclusive) => "",
                (Mode::Write, _) | (_, Mode::Write) => " (w)",
                _ => " (r)",
            }
        );
    }
    text.push_str("}\n");
    text
}

/// The node's name, without the mode.
fn name(instance: &Instance) -> String {
    match instance.node {
        Node::Space(id) => format!("M({id})"),
        _ => instance.to_string(),
    }
}
