//! The order graph: which lock was held while which was waited for, over the whole life of a
//! machine.
//!
//! A cycle is a deadlock that some schedule reaches, whether this run reached it or not. Every mode
//! of M counts as exclusive, because a reader blocks behind a queued writer (DL3′).

#![forbid(unsafe_code)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use faultless_page::SlotMask;

use super::instance::{Instance, Mode, Node};

/// Edges kept before the graph starts anew: runs of millions of cases make new files for ever.
const LIMIT: usize = 1 << 14;

/// "The holder of `from` waited for `to`."
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: Instance,
    pub(super) to: Instance,
    /// Name of the thread that did.
    pub(super) thread: String,
    /// Whether `to` was only *reachable* from a fault, not asked for.
    pub(super) reach: Reach,
}

/// How a lock came to be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// By asking for it.
    Asked,
    /// By the fault handler of an access that may fault.
    ByFault,
}

/// The two ends of an edge, without what edges are merged over.
type Ends = (Instance, Instance);

#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Edges by the node they leave. Sorted, so that the same run finds the same cycle first.
    edges: BTreeMap<Node, BTreeMap<Ends, Edge>>,
    len: usize,
}

/// Which nodes a search may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// Locks other than M.
    NoSpace,
    /// M only where it is held for writing.
    Writers,
    /// M only where it is held for reading.
    Readers,
    /// Anything.
    All,
}

impl Graph {
    /// Adds an edge. Returns whether it tells anything new.
    pub(super) fn insert(&mut self, edge: &Edge) -> bool {
        let known = self.edges.entry(edge.from.node).or_default().entry(ends(edge));
        match known {
            Entry::Vacant(place) => {
                place.insert(edge.clone());
                self.len += 1;
                true
            }
            Entry::Occupied(mut known) => known.get_mut().merge(edge),
        }
    }

    /// Whether it is time to start anew.
    pub(super) fn is_full(&self) -> bool {
        self.len >= LIMIT
    }

    pub(super) fn clear(&mut self) {
        self.edges.clear();
        self.len = 0;
    }

    /// All edges, for drawing.
    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.edges.values().flat_map(BTreeMap::values)
    }

    /// A shortest way of edges from the wanted side of `edge` back to its held side, `edge` first.
    pub(super) fn cycle(&self, edge: &Edge, through: Through) -> Option<Vec<Edge>> {
        if !allowed(edge, through) {
            return None;
        }
        let mut ways: Vec<Vec<&Edge>> = vec![vec![edge]];
        let mut seen: BTreeSet<Ends> = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let Some(last) = way.last() else { continue };
                if meets(&last.to, &edge.from) {
                    return Some(way.into_iter().cloned().collect());
                }
                for next in self.edges.get(&last.to.node).into_iter().flat_map(BTreeMap::values) {
                    let new = meets(&last.to, &next.from) && allowed(next, through);
                    if new && seen.insert(ends(next)) {
                        let mut way = way.clone();
                        way.push(next);
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

impl Edge {
    /// Takes in the slots of an edge with the same ends. Returns whether some were new.
    fn merge(&mut self, other: &Self) -> bool {
        let old = (self.from.slots, self.to.slots);
        self.from.slots |= other.from.slots;
        self.to.slots |= other.to.slots;
        old != (self.from.slots, self.to.slots)
    }
}

/// What tells an edge from others. Edges with a leaf at one end are merged over its slots; with
/// leaves at both ends they are not, because the slots belong together.
fn ends(edge: &Edge) -> Ends {
    // The position of a range only matters for its order among the file's ranges.
    let mut from = Instance { pos: 0, ..edge.from };
    let mut to = Instance { pos: 0, ..edge.to };
    let has_slots = |end: &Instance| end.is_pages() || end.is_writeback();
    match (has_slots(&from), has_slots(&to)) {
        (true, false) => from.slots = SlotMask::EMPTY,
        (false, true) => to.slots = SlotMask::EMPTY,
        _ => {}
    }
    (from, to)
}

/// Whether waiting for `wanted` may be waiting for a holder of `held`.
fn meets(wanted: &Instance, held: &Instance) -> bool {
    wanted.node == held.node && wanted.slots.intersects(held.slots)
}

fn allowed(edge: &Edge, through: Through) -> bool {
    let spaces = |i: &Instance| matches!(i.node, Node::Space(_));
    match through {
        Through::NoSpace => !spaces(&edge.from) && !spaces(&edge.to),
        Through::Writers => !spaces(&edge.from) || edge.from.mode == Mode::Write,
        Through::Readers => !spaces(&edge.from) || edge.from.mode == Mode::Read,
        Through::All => true,
    }
}
