//! What holds at the head of a loop, learnt from samples.
//!
//! Affine relations between registers, words of the stack, symbols and the number of bytes done are
//! those that the terms in the states that arrive have. Bounds, low bits that are zero and orders
//! are those of samples: cases in which the head is reached. A case that breaks something is one
//! more sample, so that what is kept gets weaker until it survives every way to the head.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::hull::{self, Relation};
use super::state::{Loaded, State};
use super::term::{Atom, Cond, Node, Op, Term};

/// Something that has a value at the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A pointer, or whatever the caller passed: the same in the whole run.
    Same(Term),
    /// A size that is the same in the whole run.
    Size(Term),
    /// The bytes done.
    Done,
    /// The bytes not done.
    Rest,
    Register(usize),
    /// A word of the stack.
    Slot(u64),
    /// Where in the source the value in a register, of so many bytes, came from.
    Source(usize, u64),
}

/// A claim about the values of the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Equal(Relation),
    AtLeast(usize, u64),
    AtMost(usize, u64),
    /// A multiple of a power of two.
    Multiple(usize, u64),
    /// The same unless the second, the bytes not done, is 0.
    MultipleOrNone(usize, usize, u64),
    /// The first is the second or the third, as a minimum is.
    Either(usize, usize, usize),
    /// The first is at most the second.
    Ordered(usize, usize),
}

/// Lower bounds that are tried, the greatest first.
const LEAST: [u64; 9] = [64, 33, 32, 17, 16, 8, 4, 2, 1];
/// Upper bounds that are tried, the least first.
const MOST: [u64; 10] = [1, 3, 7, 8, 15, 16, 31, 32, 63, 64];
/// The greatest multiple that is tried.
const MULTIPLE: u64 = 64;

impl Fact {
    pub(super) fn of(&self, values: &[Term]) -> Cond {
        match self {
            Self::Equal(relation) => Cond::eq(&values[relation.column], &sum(relation, values)),
            Self::AtLeast(place, least) => Cond::at_most(&Term::of(*least), &values[*place]),
            Self::AtMost(place, most) => Cond::at_most(&values[*place], &Term::of(*most)),
            Self::Multiple(place, of) => is_multiple(&values[*place], *of),
            Self::MultipleOrNone(place, rest, of) => {
                let none = Cond::eq(&values[*rest], &Term::of(0));
                Cond::either(&none, &is_multiple(&values[*place], *of))
            }
            Self::Either(place, a, b) => {
                let [a, b] = [a, b].map(|other| Cond::eq(&values[*place], &values[*other]));
                Cond::either(&a, &b)
            }
            Self::Ordered(a, b) => Cond::at_most(&values[*a], &values[*b]),
        }
    }
}

fn is_multiple(value: &Term, of: u64) -> Cond {
    let rest = Term::bits(Op::And, value, &Term::of(of - 1));
    Cond::eq(&rest, &Term::of(0))
}

/// What a relation says that its column is.
fn sum(relation: &Relation, values: &[Term]) -> Term {
    relation.factors.iter().fold(Term::of(relation.constant), |sum, (column, factor)| {
        sum.add(&values[*column].times(*factor))
    })
}

/// The head of a loop.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) places: Vec<Place>,
    samples: Vec<Vec<u64>>,
    /// States that arrived, with all symbols 0.
    points: Vec<Vec<u64>>,
    /// What one more of a symbol changed in them.
    directions: Vec<Vec<u64>>,
}

impl Head {
    /// A head at which a first state arrives.
    ///
    /// `pointers` and `sizes` are the same in the whole run; so are terms of them, which become
    /// places of their own.
    pub(super) fn new(state: &State, live: u64, pointers: &[Term], sizes: &[Term]) -> Self {
        let closed: BTreeSet<String> = pointers.iter().chain(sizes).map(name_of).collect();
        let registers = (0..state.regs.len()).filter(|register| live >> register & 1 == 1);
        let mut changing = Vec::new();
        let mut atoms = BTreeSet::new();
        for register in registers {
            let value = &state.regs[register];
            let is_data = state.loads.keys().any(|name| value.mentions(name));
            match source(state, register) {
                Some(loaded) => changing.push(Place::Source(register, loaded.bytes)),
                None if is_data => {}
                None => {
                    atoms.extend(value.operations(&closed));
                    changing.push(Place::Register(register));
                }
            }
        }
        changing.extend(state.stack.keys().map(|slot| Place::Slot(*slot)));
        let mut places: Vec<Place> = pointers.iter().cloned().map(Place::Same).collect();
        places.extend(sizes.iter().cloned().map(Place::Size));
        places.extend(atoms.into_iter().map(Place::Size));
        places.extend([Place::Done, Place::Rest]);
        places.extend(changing);
        Self { places, samples: Vec::new(), points: Vec::new(), directions: Vec::new() }
    }

    /// Whether the head was reached in any case.
    pub(super) fn is_reached(&self) -> bool {
        !self.samples.is_empty()
    }

    /// A case in which a fact does not hold.
    pub(super) fn learn(&mut self, sample: Vec<u64>) {
        self.samples.push(sample);
    }

    /// Leaves out the places that have no value in a state; whether there were any.
    pub(super) fn fit(&mut self, state: &State, len: &Term) -> bool {
        let values: Vec<_> = self.places.iter().map(|place| place.value(state, len)).collect();
        let has_value = |at: usize| values[at].is_some();
        if (0..values.len()).all(has_value) {
            return false;
        }
        let kept: Vec<usize> = (0..values.len()).filter(|at| has_value(*at)).collect();
        self.places = kept.iter().map(|at| self.places[*at].clone()).collect();
        let rows = [&mut self.samples, &mut self.points, &mut self.directions];
        for row in rows.into_iter().flatten() {
            *row = kept.iter().map(|at| row[*at]).collect();
        }
        true
    }

    /// What is 0 by each of the relations.
    pub(super) fn differences(&self, values: &[Term]) -> Vec<Term> {
        let difference = |r: &Relation| values[r.column].sub(&sum(r, values));
        self.relations().iter().map(difference).collect()
    }

    /// Keeps only the relations that the values of the places have too.
    pub(super) fn relate(&mut self, values: &[Term]) {
        self.points.push(values.iter().map(|value| value.parts().1).collect());
        let atoms: BTreeSet<&Atom> =
            values.iter().flat_map(|value| value.parts().0).map(|(atom, _)| atom).collect();
        for atom in atoms {
            self.directions.push(values.iter().map(|value| value.factor(atom)).collect());
        }
    }

    fn relations(&self) -> Vec<Relation> {
        let points: Vec<_> = self.points.iter().chain(&self.samples).cloned().collect();
        hull::relations(&points, &self.directions)
    }

    /// The values of the places, which the state fits.
    pub(super) fn values(&self, state: &State, len: &Term) -> Vec<Term> {
        self.places.iter().filter_map(|place| place.value(state, len)).collect()
    }

    /// The values of the places in any case that the relations allow; `fresh` makes symbols.
    pub(super) fn any_values(
        &self,
        len: &Term,
        mut fresh: impl FnMut(&Place) -> Term,
    ) -> Vec<Term> {
        let relations = self.relations();
        let mut values: Vec<Term> = Vec::new();
        let mut done = Term::of(0);
        for (column, place) in self.places.iter().enumerate() {
            let relation = relations.iter().find(|relation| relation.column == column);
            let value = match (place, relation) {
                (Place::Same(term) | Place::Size(term), _) => term.clone(),
                (Place::Rest, _) => len.sub(&done),
                (_, Some(relation)) => sum(relation, &values),
                (_, None) => fresh(place),
            };
            if *place == Place::Done {
                done = value.clone();
            }
            values.push(value);
        }
        values
    }

    /// What holds on all samples.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let relations = self.relations();
        let sizes = self.sizes(&relations);
        let mut facts = Vec::new();
        for column in 0..self.places.len() {
            if relations.iter().any(|r| r.column == column && r.factors.is_empty()) {
                continue;
            }
            facts.extend(self.multiples(column));
            if sizes.contains(&column) {
                facts.extend(self.bounds(column, &sizes));
                facts.extend(self.choices(column));
            }
        }
        facts.extend(relations.into_iter().map(Fact::Equal));
        facts
    }

    /// What low bits are 0.
    fn multiples(&self, column: usize) -> Vec<Fact> {
        let of = |samples: &mut dyn Iterator<Item = &Vec<u64>>| {
            1 << samples.fold(MULTIPLE, |bits, sample| bits | sample[column]).trailing_zeros()
        };
        let mut facts = Vec::new();
        let always = of(&mut self.samples.iter());
        facts.extend((always > 1).then_some(Fact::Multiple(column, always)));
        if let Some(rest) = self.places.iter().position(|place| *place == Place::Rest) {
            let some = of(&mut self.samples.iter().filter(|sample| sample[rest] != 0));
            facts.extend((some > always).then_some(Fact::MultipleOrNone(column, rest, some)));
        }
        facts
    }

    /// What it is at least and at most, and which sizes are not less.
    fn bounds(&self, column: usize, sizes: &BTreeSet<usize>) -> Vec<Fact> {
        let low = self.samples.iter().map(|sample| sample[column]).min().unwrap_or(0);
        let high = self.samples.iter().map(|sample| sample[column]).max().unwrap_or(0);
        let least = LEAST.into_iter().find(|least| *least <= low);
        let most = MOST.into_iter().find(|most| high <= *most);
        let above = sizes.iter().copied().filter(|other| {
            *other != column && self.samples.iter().all(|sample| sample[column] <= sample[*other])
        });
        let bounds = [
            least.map(|least| Fact::AtLeast(column, least)),
            most.map(|most| Fact::AtMost(column, most)),
        ];
        let above = above.map(|other| Fact::Ordered(column, other));
        bounds.into_iter().flatten().chain(above).collect()
    }

    /// Which two of the sizes that never change it is.
    fn choices(&self, column: usize) -> Vec<Fact> {
        let is_size = |at: &usize| *at != column && matches!(self.places[*at], Place::Size(_));
        let sizes: Vec<usize> = (0..self.places.len()).filter(is_size).collect();
        let is_either = |a: usize, b: usize| {
            let mut samples = self.samples.iter();
            samples.all(|sample| sample[column] == sample[a] || sample[column] == sample[b])
        };
        let pairs = sizes.iter().flat_map(|a| sizes.iter().map(move |b| (*a, *b)));
        let fitting = pairs.filter(|(a, b)| a < b && is_either(*a, *b));
        fitting.map(|(a, b)| Fact::Either(column, a, b)).collect()
    }

    /// Columns that are sizes: no pointer, as far as the relations tell, and no constant.
    fn sizes(&self, relations: &[Relation]) -> BTreeSet<usize> {
        let mut sizes = BTreeSet::new();
        for (column, place) in self.places.iter().enumerate() {
            let relation = relations.iter().find(|relation| relation.column == column);
            let is_size = match (place, relation) {
                (Place::Same(_) | Place::Source(..), _) => false,
                (_, None) => true,
                (_, Some(relation)) => {
                    !relation.factors.is_empty()
                        && relation.factors.iter().all(|(other, _)| sizes.contains(other))
                }
            };
            if is_size {
                sizes.insert(column);
            }
        }
        sizes
    }
}

impl Place {
    fn value(&self, state: &State, len: &Term) -> Option<Term> {
        match self {
            Self::Same(term) | Self::Size(term) => Some(term.clone()),
            Self::Done => Some(state.done.clone()),
            Self::Rest => Some(len.sub(&state.done)),
            Self::Register(register) => Some(state.regs[*register].clone()),
            Self::Slot(slot) => state.stack.get(slot).cloned(),
            Self::Source(register, bytes) => {
                source(state, *register).filter(|l| l.bytes == *bytes).map(|l| l.offset.clone())
            }
        }
    }
}

/// Puts what is 0 on a path into the values of places.
pub(super) fn simplify(values: &mut [Term], path: &[Cond]) {
    let mut found: Vec<(Atom, Term)> = Vec::new();
    for condition in path {
        let Node::Eq(a, b) = condition.node() else { continue };
        let zero = found.iter().fold(a.sub(b), |term, (atom, by)| term.replaced(atom, by));
        found.extend(solved(&zero));
    }
    for value in values {
        *value = found.iter().fold(value.clone(), |term, (atom, by)| term.replaced(atom, by));
    }
}

/// Puts a sum that is 0 into the values of places, if it can be solved for an atom; whether it can.
pub(super) fn put(values: &mut [Term], zero: &Term) -> bool {
    let Some((atom, by)) = solved(zero) else { return false };
    values.iter_mut().for_each(|value| *value = value.replaced(&atom, &by));
    true
}

/// A sum that is 0 as the value of one of its atoms: the latest symbol, since the others were there
/// before it.
fn solved(zero: &Term) -> Option<(Atom, Term)> {
    let parts = zero.parts().0.iter();
    let single = parts.filter(|(_, factor)| *factor == 1 || *factor == u64::MAX);
    let (atom, factor) = single.max_by_key(|(atom, _)| age(atom))?;
    Some((atom.clone(), Term::atom(atom.clone()).sub(&zero.times(*factor))))
}

/// The number at the end of a symbol's name.
fn age(atom: &Atom) -> usize {
    let Atom::Var(name) = atom else { return 0 };
    name.rsplit('!').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Where the value of a register was loaded, if it was and is as loaded.
fn source(state: &State, register: usize) -> Option<&Loaded> {
    let Some(Atom::Var(name)) = state.regs[register].single() else { return None };
    state.loads.get(&**name)
}

/// The name of a symbol.
pub(super) fn name_of(symbol: &Term) -> String {
    symbol.to_string().trim().to_owned()
}
