//! Terms over 64-bit words, kept in a normal form, and written as SMT-LIB.
//!
//! A [`Term`] is a sum of atoms with constant factors, modulo 2^64: so the difference of two
//! addresses is a constant as soon as it is one. What is not a sum (a mask, a shift, a choice) is
//! an atom.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::rc::Rc;

pub(crate) use super::cond::{Cond, Node};

/// A 64-bit word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term(Rc<Sum>);

/// Atoms in ascending order, none twice, no factor 0.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    parts: Vec<(Atom, u64)>,
    constant: u64,
}

/// What a sum is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// A symbol that the solver may choose.
    Var(Rc<str>),
    /// An operation that is no sum.
    Bits(Op, Term, Term),
    /// The first term if the condition holds, else the second.
    Choice(Cond, Term, Term),
}

/// Operations that are no sum; shifts by 64 and more give 0, as in SMT-LIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Sar,
    Mul,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::And => "bvand",
            Self::Or => "bvor",
            Self::Xor => "bvxor",
            Self::Shl => "bvshl",
            Self::Shr => "bvlshr",
            Self::Sar => "bvashr",
            Self::Mul => "bvmul",
        }
    }

    fn of(self, a: u64, b: u64) -> u64 {
        let by = u32::try_from(b).unwrap_or(u32::MAX);
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::Shl => a.checked_shl(by).unwrap_or(0),
            Self::Shr => a.checked_shr(by).unwrap_or(0),
            Self::Sar => (a.cast_signed() >> by.min(63)).cast_unsigned(),
            Self::Mul => a.wrapping_mul(b),
        }
    }
}

/// All bits of the low `bytes` bytes.
pub(crate) fn mask(bytes: u64) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

impl Term {
    /// A constant.
    pub(crate) fn of(constant: u64) -> Self {
        Self(Rc::new(Sum { parts: Vec::new(), constant }))
    }

    /// A symbol.
    pub(crate) fn var(name: &str) -> Self {
        Self::atom(Atom::Var(name.into()))
    }

    /// An atom alone.
    pub(crate) fn atom(atom: Atom) -> Self {
        Self(Rc::new(Sum { parts: vec![(atom, 1)], constant: 0 }))
    }

    /// Its value if it is constant.
    pub(crate) fn value(&self) -> Option<u64> {
        self.0.parts.is_empty().then_some(self.0.constant)
    }

    /// The atom that the term is, if it is one.
    pub(crate) fn single(&self) -> Option<&Atom> {
        match self.0.parts.as_slice() {
            [(atom, 1)] if self.0.constant == 0 => Some(atom),
            _ => None,
        }
    }

    /// `self - base` if the difference is constant.
    pub(crate) fn offset_from(&self, base: &Self) -> Option<u64> {
        self.sub(base).value()
    }

    /// `self + factor * other`.
    fn plus(&self, other: &Self, factor: u64) -> Self {
        let mut parts = Vec::new();
        let (mut a, mut b) = (self.0.parts.iter().peekable(), other.0.parts.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some(a), Some(b)) => a.0.cmp(&b.0),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            let left = if order.is_le() { a.next() } else { None };
            let right = if order.is_ge() { b.next() } else { None };
            let sum = left
                .map_or(0, |part| part.1)
                .wrapping_add(right.map_or(0, |part| part.1.wrapping_mul(factor)));
            if let Some((atom, _)) = left.or(right)
                && sum != 0
            {
                parts.push((atom.clone(), sum));
            }
        }
        let constant = self.0.constant.wrapping_add(other.0.constant.wrapping_mul(factor));
        Self(Rc::new(Sum { parts, constant }))
    }

    /// Sum.
    pub(crate) fn add(&self, other: &Self) -> Self {
        self.plus(other, 1)
    }

    /// Sum with a constant.
    pub(crate) fn add_to(&self, constant: u64) -> Self {
        self.plus(&Self::of(constant), 1)
    }

    /// Difference.
    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.plus(other, u64::MAX)
    }

    /// Product with a constant.
    pub(crate) fn times(&self, factor: u64) -> Self {
        Self::of(0).plus(self, factor)
    }

    /// An operation that is no sum.
    pub(crate) fn bits(op: Op, a: &Self, b: &Self) -> Self {
        match (op, a.value(), b.value()) {
            (_, Some(a), Some(b)) => Self::of(op.of(a, b)),
            (Op::And, _, Some(0)) | (Op::And | Op::Shl | Op::Shr, Some(0), _) => Self::of(0),
            (Op::Or | Op::Xor | Op::Shl | Op::Shr | Op::Sar, _, Some(0))
            | (Op::And, _, Some(u64::MAX)) => a.clone(),
            (Op::Or | Op::Xor, Some(0), _) => b.clone(),
            (Op::Shl, _, Some(by)) if by < 64 => a.times(1 << by),
            (Op::Mul, _, Some(by)) => a.times(by),
            (Op::Mul, Some(by), _) => b.times(by),
            (Op::And, Some(_), None) => Self::bits(op, b, a),
            (Op::And, None, Some(mask)) => match a.single() {
                Some(Atom::Bits(Op::And, inner, first)) if first.value().is_some() => {
                    Self::bits(Op::And, inner, &Self::of(mask & first.value().unwrap_or(0)))
                }
                _ => Self::atom(Atom::Bits(op, a.clone(), b.clone())),
            },
            _ if op == Op::Xor && a == b => Self::of(0),
            _ if matches!(op, Op::And | Op::Or) && a == b => a.clone(),
            _ => Self::atom(Atom::Bits(op, a.clone(), b.clone())),
        }
    }

    /// The low `bytes` bytes, the others 0.
    pub(crate) fn low(&self, bytes: u64) -> Self {
        Self::bits(Op::And, self, &Self::of(mask(bytes)))
    }

    /// A term with the same low `bytes` bytes, as simple as possible; the others are arbitrary.
    pub(crate) fn peel(&self, bytes: u64) -> Self {
        let wanted = mask(bytes);
        match self.single() {
            Some(Atom::Bits(Op::And, a, b)) if b.value().is_some_and(|m| m & wanted == wanted) => {
                a.peel(bytes)
            }
            Some(Atom::Bits(Op::Or, a, b)) => {
                let is_zero =
                    |t: &Self| Self::bits(Op::And, t, &Self::of(wanted)).value() == Some(0);
                if is_zero(a) {
                    b.peel(bytes)
                } else if is_zero(b) {
                    a.peel(bytes)
                } else {
                    self.clone()
                }
            }
            _ => self.clone(),
        }
    }

    /// A choice.
    pub(crate) fn choice(condition: Cond, yes: &Self, no: &Self) -> Self {
        match condition.value() {
            Some(true) => yes.clone(),
            Some(false) => no.clone(),
            None if yes == no => yes.clone(),
            None => Self::atom(Atom::Choice(condition, yes.clone(), no.clone())),
        }
    }

    /// Its atoms with their factors, and the constant.
    pub(crate) fn parts(&self) -> (&[(Atom, u64)], u64) {
        (&self.0.parts, self.0.constant)
    }

    /// The factor of an atom.
    pub(crate) fn factor(&self, atom: &Atom) -> u64 {
        self.0.parts.iter().find(|(other, _)| other == atom).map_or(0, |(_, factor)| *factor)
    }

    /// The sum with another in place of an atom.
    pub(crate) fn replaced(&self, atom: &Atom, by: &Self) -> Self {
        let difference = by.sub(&Self::atom(atom.clone()));
        self.plus(&difference, self.factor(atom))
    }

    /// Adds the symbols in it.
    pub(crate) fn symbols(&self, symbols: &mut BTreeSet<Rc<str>>) {
        for (atom, _) in &self.0.parts {
            match atom {
                Atom::Var(name) => _ = symbols.insert(Rc::clone(name)),
                Atom::Bits(_, a, b) => [a, b].iter().for_each(|term| term.symbols(symbols)),
                Atom::Choice(condition, a, b) => {
                    condition.symbols(symbols);
                    [a, b].iter().for_each(|term| term.symbols(symbols));
                }
            }
        }
    }

    /// The operations among its atoms that are over the given symbols only.
    pub(crate) fn operations(&self, symbols: &BTreeSet<String>) -> Vec<Self> {
        let atoms = self.0.parts.iter().map(|(atom, _)| atom);
        let operations =
            atoms.filter(|atom| !matches!(atom, Atom::Var(_)) && atom.is_over(symbols));
        operations.cloned().map(Self::atom).collect()
    }

    fn is_over(&self, symbols: &BTreeSet<String>) -> bool {
        self.0.parts.iter().all(|(atom, _)| atom.is_over(symbols))
    }

    /// Whether the symbol occurs in it.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.0.parts.iter().any(|(atom, _)| match atom {
            Atom::Var(var) => &**var == name,
            Atom::Bits(_, a, b) => a.mentions(name) || b.mentions(name),
            Atom::Choice(_, a, b) => a.mentions(name) || b.mentions(name),
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { parts, constant } = &*self.0;
        let lone = parts.len() + usize::from(*constant != 0) < 2;
        f.write_str(if lone { "" } else { "(bvadd" })?;
        if *constant != 0 || parts.is_empty() {
            write!(f, " #x{constant:016x}")?;
        }
        for (atom, factor) in parts {
            match factor {
                1 => write!(f, " {atom}")?,
                &u64::MAX => write!(f, " (bvneg {atom})")?,
                _ => write!(f, " (bvmul #x{factor:016x} {atom})")?,
            }
        }
        if lone { Ok(()) } else { f.write_char(')') }
    }
}

impl Atom {
    fn is_over(&self, symbols: &BTreeSet<String>) -> bool {
        match self {
            Self::Var(name) => symbols.contains(&**name),
            Self::Bits(_, a, b) => a.is_over(symbols) && b.is_over(symbols),
            Self::Choice(..) => false,
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(name) => f.write_str(name),
            Self::Bits(op, a, b) => write!(f, "({} {a} {b})", op.name()),
            Self::Choice(condition, a, b) => write!(f, "(ite {condition} {a} {b})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_sums_is_a_constant_as_soon_as_it_is_one() {
        let (a, b) = (Term::var("a"), Term::var("b"));
        let far = a.add(&b).add_to(64);
        assert_eq!(far.offset_from(&b.add(&a)), Some(64));
        assert_eq!(far.offset_from(&a), None);
        assert_eq!(far.sub(&b).to_string(), "(bvadd #x0000000000000040 a)");
    }

    #[test]
    fn a_part_of_a_register_that_was_written_is_found_again() {
        let (old, new) = (Term::var("old"), Term::var("new"));
        let kept = Term::bits(Op::And, &old, &Term::of(!0xffff));
        let merged = Term::bits(Op::Or, &kept, &new.low(2));
        assert_eq!(merged.peel(2), new);
        assert_ne!(merged.peel(4), new);
    }
}
