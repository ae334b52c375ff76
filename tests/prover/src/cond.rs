//! Conditions on [`Term`]s, and how they are written as SMT-LIB.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::rc::Rc;

use super::term::Term;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cond(Rc<Node>);

/// What a condition is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Const(bool),
    Eq(Term, Term),
    Below(Term, Term),
    Less(Term, Term),
    Not(Cond),
    All(Vec<Cond>),
    Choice(Cond, Cond, Cond),
}

impl Cond {
    fn new(node: Node) -> Self {
        Self(Rc::new(node))
    }

    /// True.
    pub(crate) fn always() -> Self {
        Self::new(Node::Const(true))
    }

    /// False.
    pub(crate) fn never() -> Self {
        Self::new(Node::Const(false))
    }

    /// What it is.
    pub(crate) fn node(&self) -> &Node {
        &self.0
    }

    /// Adds the symbols in it.
    pub(crate) fn symbols(&self, symbols: &mut BTreeSet<Rc<str>>) {
        match &*self.0 {
            Node::Const(_) => {}
            Node::Eq(a, b) | Node::Below(a, b) | Node::Less(a, b) => {
                [a, b].iter().for_each(|term| term.symbols(symbols));
            }
            Node::Not(inner) => inner.symbols(symbols),
            Node::All(all) => all.iter().for_each(|condition| condition.symbols(symbols)),
            Node::Choice(c, a, b) => [c, a, b].iter().for_each(|c| c.symbols(symbols)),
        }
    }

    /// Its value if it is constant.
    pub(crate) fn value(&self) -> Option<bool> {
        if let Node::Const(value) = *self.0 { Some(value) } else { None }
    }

    /// `a == b`.
    pub(crate) fn eq(a: &Term, b: &Term) -> Self {
        match a.offset_from(b) {
            Some(offset) => {
                if offset == 0 {
                    Self::always()
                } else {
                    Self::never()
                }
            }
            None => Self::new(Node::Eq(a.clone(), b.clone())),
        }
    }

    /// `a < b`, unsigned.
    pub(crate) fn below(a: &Term, b: &Term) -> Self {
        match (a.value(), b.value()) {
            (Some(a), Some(b)) => {
                if a < b {
                    Self::always()
                } else {
                    Self::never()
                }
            }
            (_, Some(0)) => Self::never(),
            // Equalities, which are seen as such.
            (Some(0), _) => Self::eq(b, a).not(),
            (_, Some(1)) => Self::eq(a, &Term::of(0)),
            _ if a == b => Self::never(),
            _ => Self::new(Node::Below(a.clone(), b.clone())),
        }
    }

    /// `a <= b`, unsigned.
    pub(crate) fn at_most(a: &Term, b: &Term) -> Self {
        Self::below(b, a).not()
    }

    /// `a < b`, signed.
    pub(crate) fn less(a: &Term, b: &Term) -> Self {
        match (a.value(), b.value()) {
            (Some(a), Some(b)) => {
                if a.cast_signed() < b.cast_signed() {
                    Self::always()
                } else {
                    Self::never()
                }
            }
            _ => Self::new(Node::Less(a.clone(), b.clone())),
        }
    }

    /// The opposite.
    pub(crate) fn not(&self) -> Self {
        match &*self.0 {
            Node::Const(value) => {
                if !value {
                    Self::always()
                } else {
                    Self::never()
                }
            }
            Node::Not(inner) => inner.clone(),
            _ => Self::new(Node::Not(self.clone())),
        }
    }

    /// All of them.
    pub(crate) fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut list: Vec<Self> =
            conditions.into_iter().filter(|c| c.value() != Some(true)).collect();
        let contradicts = |c: &Self| list.contains(&c.not());
        if list.iter().any(|c| c.value() == Some(false) || contradicts(c)) {
            return Self::never();
        }
        match (list.pop(), list.is_empty()) {
            (None, _) => Self::always(),
            (Some(last), true) => last,
            (Some(last), false) => {
                list.push(last);
                Self::new(Node::All(list))
            }
        }
    }

    /// Either of them.
    pub(crate) fn either(a: &Self, b: &Self) -> Self {
        Self::all([a.not(), b.not()]).not()
    }

    /// `yes` if `condition` holds, else `no`.
    pub(crate) fn choice(condition: &Self, yes: &Self, no: &Self) -> Self {
        match condition.value() {
            Some(true) => yes.clone(),
            Some(false) => no.clone(),
            None if yes == no => yes.clone(),
            None => Self::new(Node::Choice(condition.clone(), yes.clone(), no.clone())),
        }
    }
}

impl fmt::Display for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Node::Const(value) => write!(f, "{value}"),
            Node::Eq(a, b) => write!(f, "(= {a} {b})"),
            Node::Below(a, b) => write!(f, "(bvult {a} {b})"),
            Node::Less(a, b) => write!(f, "(bvslt {a} {b})"),
            Node::Not(inner) => write!(f, "(not {inner})"),
            Node::All(list) => {
                f.write_str("(and")?;
                list.iter().try_for_each(|condition| write!(f, " {condition}"))?;
                f.write_char(')')
            }
            Node::Choice(c, a, b) => write!(f, "(ite {c} {a} {b})"),
        }
    }
}
