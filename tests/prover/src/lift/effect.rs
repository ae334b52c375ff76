//! The words in which every instruction set says what an instruction does, and how operands are
//! read. The instruction sets themselves are the modules beside this one.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};

use crate::term::{Cond, Op, Term, mask};

/// A register that only this model has: holds an address between its load and the jump to it.
pub(crate) const SCRATCH: usize = 33;
/// Registers of every model.
pub(crate) const REGISTERS: usize = 34;

/// The values of all registers.
pub(crate) type Registers = Vec<Term>;

/// The condition flags, as far as they are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flags {
    /// x86: CF. AArch64: not C. After a comparison: below, unsigned.
    pub(super) below: Option<Cond>,
    pub(super) zero: Option<Cond>,
    pub(super) negative: Option<Cond>,
    /// N differs from V. After a comparison: less, signed.
    pub(super) less: Option<Cond>,
}

impl Flags {
    /// Flags of which nothing is known but that they are defined.
    pub(crate) fn any() -> Self {
        let flag = || Some(Cond::eq(&Term::var("flag"), &Term::of(0)));
        Self { below: flag(), zero: flag(), negative: flag(), less: flag() }
    }

    /// Those that are defined.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Cond> {
        [&self.below, &self.zero, &self.negative, &self.less].into_iter().flatten()
    }

    pub(super) fn difference(a: &Term, b: &Term, bytes: u64) -> Self {
        let (a, b) = (a.low(bytes), b.low(bytes));
        let top = |t: &Term| t.times(1 << (64 - 8 * bytes));
        Self {
            below: Some(Cond::below(&a, &b)),
            zero: Some(Cond::eq(&a, &b)),
            negative: Some(Cond::less(&top(&a.sub(&b)), &Term::of(0))),
            less: Some(Cond::less(&top(&a), &top(&b))),
        }
    }

    pub(super) fn result(value: &Term, bytes: u64) -> Self {
        Self { below: Some(Cond::never()), ..Self::difference(value, &Term::of(0), bytes) }
    }

    /// Of zero and sign only.
    pub(super) fn partial(value: &Term, bytes: u64, below: Option<Cond>) -> Self {
        Self { below, less: None, ..Self::result(value, bytes) }
    }

    /// Whether a condition holds, under its name in either assembly language.
    pub(super) fn test(&self, name: &str) -> Result<Cond> {
        let get = |flag: &Option<Cond>| flag.clone().context("a condition of undefined flags");
        let (name, holds) = match name {
            "ae" | "cs" | "hs" => ("b", false),
            "ne" => ("e", false),
            "a" | "hi" => ("be", false),
            "ns" | "pl" => ("s", false),
            "ge" => ("l", false),
            "g" | "gt" => ("le", false),
            "cc" | "lo" => ("b", true),
            "eq" => ("e", true),
            "ls" => ("be", true),
            "mi" => ("s", true),
            "lt" => ("l", true),
            other => (other, true),
        };
        let condition = match name {
            "b" => get(&self.below)?,
            "e" => get(&self.zero)?,
            "be" => Cond::either(&get(&self.below)?, &get(&self.zero)?),
            "s" => get(&self.negative)?,
            "l" => get(&self.less)?,
            "le" => Cond::either(&get(&self.less)?, &get(&self.zero)?),
            _ => bail!("unknown condition {name}"),
        };
        Ok(if holds { condition } else { condition.not() })
    }
}

/// How a loaded value fills a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Zeros,
    Sign,
    /// The rest of the register stays (x86, 8 and 16 bits).
    Keep,
}

/// An access to memory.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Consecutive values of `bytes` bytes each, into registers.
    Load { address: Term, bytes: u64, into: Vec<usize>, fill: Fill },
    /// Consecutive values of `bytes` bytes each.
    Store { address: Term, bytes: u64, values: Vec<Term> },
    /// `rep movsb` or, without a source, `rep stosb`.
    String { to: usize, from: Option<usize>, count: usize, value: Term },
}

/// Where execution goes on.
#[derive(Clone, Debug, Default)]
pub(crate) enum Flow {
    #[default]
    Next,
    Jump(Term),
    /// To the address in [`SCRATCH`].
    Scratch,
    Branch(Cond, u64),
}

/// What an instruction does: first the access, then the registers (computed before the access),
/// then the jump.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    pub(crate) access: Option<Access>,
    pub(crate) set: Vec<(usize, Term)>,
    pub(crate) flags: Option<Flags>,
    pub(crate) flow: Flow,
}

impl Effect {
    pub(super) fn set(register: usize, value: Term) -> Self {
        Self { set: vec![(register, value)], ..Self::default() }
    }

    pub(super) fn jump(flow: Flow) -> Self {
        Self { flow, ..Self::default() }
    }

    pub(super) fn access(access: Access) -> Self {
        Self { access: Some(access), ..Self::default() }
    }

    pub(super) fn flags(flags: Flags) -> Self {
        Self { flags: Some(flags), ..Self::default() }
    }

    pub(super) fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = Some(flags);
        self
    }
}

/// A number: decimal or hexadecimal, perhaps negative, perhaps with a hash.
pub(super) fn number(text: &str) -> Result<u64> {
    let text = text.trim().trim_start_matches('#');
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.with_context(|| format!("no number: {text}"))?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// A jump target, which disassemblers write without a prefix.
pub(super) fn target(text: &str) -> Result<u64> {
    let digits = text.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).with_context(|| format!("no address: {text}"))
}

/// A register whose low `bytes` bytes are replaced.
pub(crate) fn keep(old: &Term, value: &Term, bytes: u64) -> Term {
    let kept = Term::bits(Op::And, old, &Term::of(!mask(bytes)));
    Term::bits(Op::Or, &kept, &value.low(bytes))
}

/// The low `bytes` bytes of a register, sign-extended.
pub(crate) fn sign_extended(value: &Term, bytes: u64) -> Term {
    let by = Term::of(64 - 8 * bytes);
    Term::bits(Op::Sar, &Term::bits(Op::Shl, value, &by), &by)
}
