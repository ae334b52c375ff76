//! Questions about words as questions about integers, which the solver answers much faster as long
//! as they are linear.
//!
//! A word is an integer from 0 to 2^64 - 1. A sum of words is a linear sum less a multiple of 2^64,
//! which is a symbol of its own; low bits are a remainder likewise. So nothing is lost, but for
//! operations that are not linear: these become arbitrary words, and the question is then no longer
//! exact: no case for it means no case for the original.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write;

use super::term::{Atom, Cond, Node, Op, Term};

/// 2^64.
const WRAP: i128 = 1 << 64;

/// A question in the making.
#[derive(Debug, Default)]
pub(super) struct Integers {
    /// Declarations and assertions.
    pub(super) text: String,
    /// An operation was replaced by an arbitrary word.
    pub(super) is_weaker: bool,
    symbols: usize,
    words: BTreeMap<Term, String>,
    atoms: BTreeMap<Atom, String>,
    remainders: BTreeMap<(Term, u32), String>,
}

impl Integers {
    /// Adds a condition.
    pub(super) fn assert(&mut self, condition: &Cond) {
        let condition = self.condition(condition);
        self.say(&format!("(assert {condition})"));
    }

    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A new symbol, below a bound.
    fn symbol(&mut self, below: i128) -> String {
        let name = format!("i{}", self.symbols);
        self.symbols += 1;
        self.say(&format!(
            "(declare-const {name} Int)(assert (and (<= 0 {name}) (< {name} {below})))"
        ));
        name
    }

    /// Any integer.
    fn multiple(&mut self) -> String {
        let name = format!("i{}", self.symbols);
        self.symbols += 1;
        self.say(&format!("(declare-const {name} Int)"));
        name
    }

    fn condition(&mut self, condition: &Cond) -> String {
        let mut list = |name: &str, conditions: &[&Cond]| {
            let parts: Vec<String> = conditions.iter().map(|c| self.condition(c)).collect();
            format!("({name} {})", parts.join(" "))
        };
        match condition.node() {
            Node::Const(value) => value.to_string(),
            Node::Not(inner) => list("not", &[inner]),
            Node::All(all) => list("and", &all.iter().collect::<Vec<_>>()),
            Node::Choice(c, a, b) => list("ite", &[c, a, b]),
            Node::Eq(a, b) => format!("(= {} {})", self.word(a), self.word(b)),
            Node::Below(a, b) => format!("(< {} {})", self.word(a), self.word(b)),
            Node::Less(a, b) => {
                let [a, b] = [a, b].map(|term| self.word(&term.add_to(1 << 63)));
                format!("(< {a} {b})")
            }
        }
    }

    /// A word's value.
    pub(super) fn word(&mut self, term: &Term) -> String {
        if let Some(value) = term.value() {
            return value.to_string();
        }
        if let Some(atom) = term.single() {
            return self.atom(atom);
        }
        if let Some(name) = self.words.get(term) {
            return name.clone();
        }
        let sum = self.sum(term);
        let (name, wraps) = (self.symbol(WRAP), self.multiple());
        self.say(&format!("(assert (= {sum} (+ {name} (* {WRAP} {wraps}))))"));
        if let Some((least, most)) = wraps_of(term) {
            let (least, most) = (number(least), number(most));
            self.say(&format!("(assert (and (<= {least} {wraps}) (<= {wraps} {most})))"));
        }
        self.words.insert(term.clone(), name.clone());
        name
    }

    /// The sum that a word is, before it wraps.
    fn sum(&mut self, term: &Term) -> String {
        let (parts, constant) = term.parts();
        let mut sum = format!("(+ {}", number(constant.cast_signed().into()));
        for (atom, factor) in parts {
            let (atom, factor) = (self.atom(atom), number(factor.cast_signed().into()));
            let _ = write!(sum, " (* {factor} {atom})");
        }
        sum + ")"
    }

    fn atom(&mut self, atom: &Atom) -> String {
        if let Some(name) = self.atoms.get(atom) {
            return name.clone();
        }
        let name = match atom {
            Atom::Var(_) => self.symbol(WRAP),
            Atom::Choice(condition, a, b) => {
                let (condition, a, b) = (self.condition(condition), self.word(a), self.word(b));
                let name = self.symbol(WRAP);
                self.say(&format!("(assert (= {name} (ite {condition} {a} {b})))"));
                name
            }
            Atom::Bits(op, a, b) => match (op, b.value()) {
                (Op::And, Some(mask)) => self.masked(a, mask),
                (Op::Shr, Some(by @ 1..64)) => {
                    let (word, rest, name) =
                        (self.word(a), self.symbol(1 << by), self.symbol(WRAP));
                    self.say(&format!(
                        "(assert (= {word} (+ {rest} (* {} {name}))))",
                        1_i128 << by
                    ));
                    name
                }
                _ => {
                    self.is_weaker = true;
                    self.symbol(WRAP)
                }
            },
        };
        self.atoms.insert(atom.clone(), name.clone());
        name
    }

    /// The bits of a mask: for each run of ones, what is below its end less what is below its
    /// beginning.
    fn masked(&mut self, term: &Term, mask: u64) -> String {
        let mut sum = "(+ 0".to_owned();
        let bit = |at: u32| at < 64 && mask >> at & 1 == 1;
        for at in 0..64 {
            if bit(at) && (at == 0 || !bit(at - 1)) {
                let low = self.remainder(term, at);
                let _ = write!(sum, " (- {low})");
            }
            if bit(at) && !bit(at + 1) {
                let high = self.remainder(term, at + 1);
                let _ = write!(sum, " {high}");
            }
        }
        sum + ")"
    }

    /// The low bits of a word.
    fn remainder(&mut self, term: &Term, bits: u32) -> String {
        match bits {
            0 => return "0".to_owned(),
            64 => return self.word(term),
            _ => {}
        }
        let key = (term.clone(), bits);
        if let Some(name) = self.remainders.get(&key) {
            return name.clone();
        }
        let sum = self.sum(term);
        let (name, multiple) = (self.symbol(1 << bits), self.multiple());
        self.say(&format!("(assert (= {sum} (+ {name} (* {} {multiple}))))", 1_i128 << bits));
        self.remainders.insert(key, name.clone());
        name
    }
}

/// How often a sum may wrap, at least and at most, if that is not too much to tell.
fn wraps_of(term: &Term) -> Option<(i128, i128)> {
    let (parts, constant) = term.parts();
    let constant = i128::from(constant.cast_signed());
    let (mut least, mut most) = (constant, constant);
    for (_, factor) in parts {
        let end = i128::from(factor.cast_signed()).checked_mul(WRAP - 1)?;
        least = least.checked_add(end.min(0))?;
        most = most.checked_add(end.max(0))?;
    }
    Some((least.div_euclid(WRAP), most.div_euclid(WRAP)))
}

fn number(value: i128) -> String {
    if value < 0 { format!("(- {})", value.unsigned_abs()) } else { value.to_string() }
}
