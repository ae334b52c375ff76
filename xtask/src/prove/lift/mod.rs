//! What an instruction does, for each instruction set. An instruction that is not known is an
//! error.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};

use super::image::{Insn, Isa};
use super::term::{Cond, Op, Term, mask};

mod aarch64;
mod riscv64;
mod x86_64;

/// A register that only this model has: holds an address between its load and the jump to it.
pub(super) const SCRATCH: usize = 33;
/// Registers of every model.
pub(super) const REGISTERS: usize = 34;

/// The values of all registers.
pub(super) type Registers = Vec<Term>;

/// The condition flags, as far as they are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flags {
    /// x86: CF. AArch64: not C. After a comparison: below, unsigned.
    below: Option<Cond>,
    zero: Option<Cond>,
    negative: Option<Cond>,
    /// N differs from V. After a comparison: less, signed.
    less: Option<Cond>,
}

impl Flags {
    /// Flags of which nothing is known but that they are defined.
    pub(super) fn any() -> Self {
        let flag = || Some(Cond::eq(&Term::var("flag"), &Term::of(0)));
        Self { below: flag(), zero: flag(), negative: flag(), less: flag() }
    }

    /// Those that are defined.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Cond> {
        [&self.below, &self.zero, &self.negative, &self.less].into_iter().flatten()
    }

    fn difference(a: &Term, b: &Term, bytes: u64) -> Self {
        let (a, b) = (a.low(bytes), b.low(bytes));
        let top = |t: &Term| t.times(1 << (64 - 8 * bytes));
        Self {
            below: Some(Cond::below(&a, &b)),
            zero: Some(Cond::eq(&a, &b)),
            negative: Some(Cond::less(&top(&a.sub(&b)), &Term::of(0))),
            less: Some(Cond::less(&top(&a), &top(&b))),
        }
    }

    fn result(value: &Term, bytes: u64) -> Self {
        Self { below: Some(Cond::never()), ..Self::difference(value, &Term::of(0), bytes) }
    }

    /// Of zero and sign only.
    fn partial(value: &Term, bytes: u64, below: Option<Cond>) -> Self {
        Self { below, less: None, ..Self::result(value, bytes) }
    }

    /// Whether a condition holds, under its name in either assembly language.
    fn test(&self, name: &str) -> Result<Cond> {
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
pub(super) enum Fill {
    Zeros,
    Sign,
    /// The rest of the register stays (x86, 8 and 16 bits).
    Keep,
}

/// An access to memory.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// Consecutive values of `bytes` bytes each, into registers.
    Load { address: Term, bytes: u64, into: Vec<usize>, fill: Fill },
    /// Consecutive values of `bytes` bytes each.
    Store { address: Term, bytes: u64, values: Vec<Term> },
    /// `rep movsb` or, without a source, `rep stosb`.
    String { to: usize, from: Option<usize>, count: usize, value: Term },
}

/// Where execution goes on.
#[derive(Clone, Debug, Default)]
pub(super) enum Flow {
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
pub(super) struct Effect {
    pub(super) access: Option<Access>,
    pub(super) set: Vec<(usize, Term)>,
    pub(super) flags: Option<Flags>,
    pub(super) flow: Flow,
}

impl Effect {
    fn set(register: usize, value: Term) -> Self {
        Self { set: vec![(register, value)], ..Self::default() }
    }

    fn jump(flow: Flow) -> Self {
        Self { flow, ..Self::default() }
    }

    fn access(access: Access) -> Self {
        Self { access: Some(access), ..Self::default() }
    }

    fn flags(flags: Flags) -> Self {
        Self { flags: Some(flags), ..Self::default() }
    }

    fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = Some(flags);
        self
    }
}

/// What an instruction does, given the registers and flags before it.
pub(super) fn lift(
    isa: Isa,
    insn: &Insn,
    at: u64,
    regs: &Registers,
    flags: &Flags,
) -> Result<Effect> {
    let effect = match isa {
        Isa::X86_64 => x86_64::lift(insn, regs, flags),
        Isa::Aarch64 => aarch64::lift(insn, regs, flags),
        Isa::Riscv64 => riscv64::lift(insn, at, regs),
    };
    effect.with_context(|| format!("the model does not know `{}`", insn.text))
}

/// The stack pointer, the register of the return address if there is one, the first three
/// arguments, the result.
pub(super) fn convention(isa: Isa) -> (usize, Option<usize>, [usize; 3], usize) {
    match isa {
        Isa::X86_64 => (4, None, [7, 6, 2], 0),
        Isa::Aarch64 => (31, Some(30), [0, 1, 2], 0),
        Isa::Riscv64 => (2, Some(1), [10, 11, 12], 10),
    }
}

/// Registers that a function gives back as it got them.
pub(super) fn preserved(isa: Isa) -> Vec<usize> {
    match isa {
        Isa::X86_64 => vec![3, 5, 12, 13, 14, 15],
        Isa::Aarch64 => (18..=29).chain([31]).collect(),
        Isa::Riscv64 => [2, 3, 4, 8, 9].into_iter().chain(18..=27).collect(),
    }
}

/// A number: decimal or hexadecimal, perhaps negative, perhaps with a hash.
fn number(text: &str) -> Result<u64> {
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
fn target(text: &str) -> Result<u64> {
    let digits = text.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).with_context(|| format!("no address: {text}"))
}

/// A register whose low `bytes` bytes are replaced.
pub(super) fn keep(old: &Term, value: &Term, bytes: u64) -> Term {
    let kept = Term::bits(Op::And, old, &Term::of(!mask(bytes)));
    Term::bits(Op::Or, &kept, &value.low(bytes))
}

/// The low `bytes` bytes of a register, sign-extended.
pub(super) fn sign_extended(value: &Term, bytes: u64) -> Term {
    let by = Term::of(64 - 8 * bytes);
    Term::bits(Op::Sar, &Term::bits(Op::Shl, value, &by), &by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(name: &str, operands: &[&str]) -> Insn {
        let operands: Vec<String> = operands.iter().map(|text| (*text).to_owned()).collect();
        Insn {
            next: 4,
            text: format!("{name} {}", operands.join(",")),
            name: name.into(),
            operands,
        }
    }

    fn registers() -> Registers {
        (0..REGISTERS as u64).map(|n| Term::of(100 * n)).collect()
    }

    fn after(isa: Isa, name: &str, operands: &[&str]) -> Result<Effect> {
        lift(isa, &insn(name, operands), 0, &registers(), &Flags::any())
    }

    #[test]
    fn the_same_sum_is_understood_in_every_instruction_set() {
        let cases = [
            (Isa::X86_64, "add", vec!["rcx", "rdx"], (1, 300)),
            (Isa::Aarch64, "add", vec!["x1", "x2", "x3", "lsl #1"], (1, 800)),
            (Isa::Riscv64, "addi", vec!["x1", "x2", "-1"], (1, 199)),
        ];
        for (isa, name, operands, (register, value)) in cases {
            let effect = after(isa, name, &operands).expect("known");
            assert_eq!(effect.set, [(register, Term::of(value))], "{isa:?}");
        }
    }

    #[test]
    fn an_instruction_that_is_not_known_is_an_error() {
        for isa in Isa::ALL {
            let error = after(isa, "frobnicate", &["x1", "x2"]).expect_err("unknown");
            assert!(format!("{error:#}").contains("frobnicate"), "{error:#}");
        }
        assert!(after(Isa::X86_64, "add", &["rax", "QWORD PTR [rsi]"]).is_err());
        assert!(after(Isa::Aarch64, "add", &["x1", "x2", "w3", "uxtw"]).is_err());
    }

    #[test]
    fn writing_32_bits_clears_the_rest_and_writing_fewer_keeps_it() {
        let mut regs = registers();
        regs[0] = Term::of(u64::MAX);
        let set = |operands: [&str; 2]| {
            let effect = lift(Isa::X86_64, &insn("mov", &operands), 0, &regs, &Flags::any());
            effect.expect("known").set[0].1.value()
        };
        assert_eq!(set(["eax", "0x5"]), Some(5));
        assert_eq!(set(["ax", "0x5"]), Some(0xffff_ffff_ffff_0005));
        assert_eq!(set(["al", "0x5"]), Some(0xffff_ffff_ffff_ff05));
    }

    #[test]
    fn conditions_after_a_comparison_compare_its_operands() {
        let minus_one = Term::of(u64::MAX);
        let flags = Flags::difference(&Term::of(1), &minus_one, 8);
        let holds = |name: &str| flags.test(name).expect("defined").value();
        for name in ["b", "cc", "be", "ls", "ne", "g", "gt", "ge"] {
            assert_eq!(holds(name), Some(true), "{name}");
        }
        for name in ["ae", "cs", "hi", "a", "eq", "e", "l", "le"] {
            assert_eq!(holds(name), Some(false), "{name}");
        }
    }
}
