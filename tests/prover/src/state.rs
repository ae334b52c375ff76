//! A state of the machine on a symbolic path, and what is known of one byte of the destination.
//!
//! The byte `i` is arbitrary but fixed: what is shown for it holds for every byte of the region.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::lift::{Flags, Registers};
use super::term::{Atom, Cond, Op, Term};

/// The symbols that a proof speaks about.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    pub(super) dst: Term,
    pub(super) src: Term,
    pub(super) len: Term,
    /// The byte of the regions that is watched; below `len`.
    pub(super) byte: Term,
    pub(super) stack: Term,
    /// The address to which the function returns.
    pub(super) caller: Term,
}

/// A value that came from the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Its place in the source, from the beginning of the region; what hangs over an edge is
    /// arbitrary.
    pub(super) offset: Term,
    pub(super) bytes: u64,
}

/// An access of user memory that faulted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: u64,
    /// Its place from the beginning of the region.
    pub(super) offset: Term,
    pub(super) bytes: u64,
}

/// Consecutive good stores, and what was known of the watched byte before them.
#[derive(Clone, Debug)]
pub(super) struct Range {
    touched: Cond,
    good: Cond,
    offset: Term,
    count: Term,
}

/// What tells states at one address apart, for what is still to come.
pub(super) type Key = (u64, Vec<Term>, Flags, BTreeMap<u64, Term>, Vec<Cond>, [Cond; 3]);

/// A state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) at: u64,
    pub(super) regs: Registers,
    pub(super) flags: Flags,
    /// Words by their distance from the stack pointer at the entry.
    pub(super) stack: BTreeMap<u64, Term>,
    /// What holds on this path.
    pub(super) path: Vec<Cond>,
    /// Whether the byte was stored to.
    pub(super) touched: Cond,
    /// Whether what was stored last is a value that a load found in the source's byte. Says nothing
    /// if not touched.
    pub(super) good: Cond,
    /// The last stores, as far as they follow one another.
    pub(super) range: Option<Range>,
    /// Symbols that came from the source.
    pub(super) loads: BTreeMap<String, Loaded>,
    /// How many bytes are done, if the first ones are and no others. A count to be shown, not a
    /// fact.
    pub(super) done: Term,
    /// Whether the last fault was one that the first byte cannot have survived.
    pub(super) hopeless: Cond,
    /// The faults so far.
    pub(super) trace: Vec<Fault>,
    /// Instructions since the entry or the last head of a loop.
    pub(super) seen: BTreeSet<u64>,
    /// The head of a loop at which the run began, and the bytes that were done there.
    pub(super) from: Option<(u64, Term)>,
    /// Whether the run begins here.
    pub(super) begins: bool,
    /// How often heads of loops were passed, if the run goes on there.
    pub(super) turns: BTreeMap<u64, usize>,
}

impl State {
    /// A state in which nothing is stored.
    pub(super) fn new(at: u64, regs: Registers, path: Vec<Cond>) -> Self {
        Self {
            at,
            regs,
            flags: Flags::default(),
            stack: BTreeMap::new(),
            path,
            touched: Cond::never(),
            good: Cond::always(),
            range: None,
            loads: BTreeMap::new(),
            done: Term::of(0),
            hopeless: Cond::never(),
            trace: Vec::new(),
            seen: BTreeSet::new(),
            from: None,
            begins: false,
            turns: BTreeMap::new(),
        }
    }

    /// The state's key, given the registers that are still read.
    pub(super) fn key(&self, live: u64) -> Key {
        let is_live = |(register, _): &(usize, &Term)| live >> register & 1 == 1;
        let regs = self.regs.iter().enumerate().filter(is_live);
        let regs = regs.map(|(_, value)| value.clone()).collect();
        let facts = [&self.touched, &self.good, &self.hopeless].map(Clone::clone);
        (self.at, regs, self.flags.clone(), self.stack.clone(), self.path.clone(), facts)
    }

    /// The watched byte after `count` bytes from `offset` on were stored, each good if `good`
    /// holds.
    ///
    /// A store right behind the last one makes one longer range of the two: shorter questions. No
    /// range wraps, since all stores lie in the region.
    pub(super) fn store(&mut self, symbols: &Symbols, offset: &Term, count: &Term, good: &Cond) {
        let simple = good.value() == Some(true);
        let last =
            self.range.take().filter(|range| simple && offset.sub(&range.offset) == range.count);
        let range = last.unwrap_or_else(|| Range {
            touched: self.touched.clone(),
            good: self.good.clone(),
            offset: offset.clone(),
            count: Term::of(0),
        });
        let range = Range { count: range.count.add(count), ..range };
        let hit = Cond::below(&symbols.byte.sub(&range.offset), &range.count);
        self.touched = Cond::either(&hit, &range.touched);
        self.good = Cond::choice(&hit, good, &range.good);
        self.range = simple.then_some(range);
        self.done = self.done_after(offset, &offset.add(count));
    }

    fn done_after(&self, offset: &Term, end: &Term) -> Term {
        if *offset == self.done {
            return end.clone();
        }
        let more = Cond::all([Cond::at_most(offset, &self.done), Cond::below(&self.done, end)]);
        Term::choice(more, end, &self.done)
    }

    /// Whether a stored value has the right byte at the watched place, if it covers it.
    pub(super) fn is_good(
        &self,
        symbols: &Symbols,
        offset: &Term,
        bytes: u64,
        value: &Term,
    ) -> Cond {
        let value = value.peel(bytes);
        if let Some(Atom::Var(name)) = value.single()
            && let Some(load) = self.loads.get(&**name)
            && bytes <= load.bytes
        {
            return Cond::eq(offset, &load.offset);
        }
        let byte = |value: &Term, offset: &Term| {
            let by = symbols.byte.sub(offset).times(8);
            Term::bits(Op::And, &Term::bits(Op::Shr, value, &by), &Term::of(0xff))
        };
        let stored = byte(&value, offset);
        let mut good = Cond::never();
        for (name, load) in &self.loads {
            if value.mentions(name) {
                let covers = Cond::below(&symbols.byte.sub(&load.offset), &Term::of(load.bytes));
                let loaded = byte(&Term::var(name), &load.offset);
                good = Cond::either(&good, &Cond::all([covers, Cond::eq(&stored, &loaded)]));
            }
        }
        good
    }
}
