//! AArch64, as `objdump` writes it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};

use super::effect::{Access, Effect, Fill, Flags, Flow, Registers, SCRATCH, number, target};
use crate::image::Insn;
use crate::term::{Cond, Op, Term};

const ZERO: usize = 32;

/// A register by name: its number and its bytes. 31 is the stack pointer, 32 the zero register.
fn register(name: &str) -> Option<(usize, u64)> {
    match name {
        "sp" => return Some((31, 8)),
        "xzr" => return Some((ZERO, 8)),
        "wzr" => return Some((ZERO, 4)),
        _ => {}
    }
    let bytes = match name.as_bytes().first()? {
        b'x' => 8,
        b'w' => 4,
        _ => return None,
    };
    let number = name[1..].parse().ok()?;
    (number < 31).then_some((number, bytes))
}

struct Operands<'i> {
    list: &'i [String],
    regs: &'i Registers,
}

impl Operands<'_> {
    fn text(&self, at: usize) -> Result<&str> {
        self.list.get(at).map(String::as_str).context("no operand")
    }

    fn register(&self, at: usize) -> Result<(usize, u64)> {
        register(self.text(at)?).context("no register")
    }

    /// A register's value, or a number, with the shift that may follow.
    fn value(&self, at: usize) -> Result<Term> {
        let value = match register(self.text(at)?) {
            Some((ZERO, _)) => Term::of(0),
            Some((register, 8)) => self.regs[register].clone(),
            Some((register, bytes)) => self.regs[register].low(bytes),
            None => Term::of(number(self.text(at)?)?),
        };
        let after = self.list.get(at + 1).map_or("", String::as_str);
        let (kind, by) = after.split_once(' ').unwrap_or((after, ""));
        match kind {
            "lsl" => Ok(Term::bits(Op::Shl, &value, &Term::of(number(by)?))),
            "lsr" => Ok(Term::bits(Op::Shr, &value, &Term::of(number(by)?))),
            // Also where nothing follows them.
            _ if ["uxt", "sxt", "asr", "ror", "msl"]
                .iter()
                .any(|other| kind.starts_with(other)) =>
            {
                bail!("unknown extension")
            }
            _ => Ok(value),
        }
    }

    /// The address of an access, and what its base register becomes.
    fn address(&self, at: usize) -> Result<(Term, Option<(usize, Term)>)> {
        let text = self.text(at)?;
        let inside = text.trim_end_matches('!').trim_start_matches('[').trim_end_matches(']');
        let mut parts = inside.split(',').map(str::trim);
        let (base, _) = register(parts.next().unwrap_or("")).context("no base register")?;
        let mut sum = self.regs[base].clone();
        if let Some(part) = parts.next() {
            let by = match parts.next().map(|shift| shift.strip_prefix("lsl ")) {
                None => 0,
                Some(shift) => number(shift.context("unknown extension")?)?,
            };
            sum = match register(part) {
                Some((register, 8)) => sum.add(&self.regs[register].times(1 << by)),
                Some(_) => bail!("unknown extension"),
                None => sum.add_to(number(part)?),
            };
        }
        if text.ends_with('!') {
            return Ok((sum.clone(), Some((base, sum))));
        }
        let after = match self.list.get(at + 1) {
            Some(by) => Some((base, sum.add_to(number(by)?))),
            None => None,
        };
        Ok((sum, after))
    }
}

/// Writes a result; 32 bits clear the rest, the zero register takes nothing.
fn set((to, bytes): (usize, u64), value: &Term) -> Effect {
    if to == ZERO { Effect::default() } else { Effect::set(to, value.low(bytes)) }
}

pub(super) fn lift(insn: &Insn, regs: &Registers, flags: &Flags) -> Result<Effect> {
    let ops = Operands { list: &insn.operands, regs };
    let name = insn.name.as_str();
    if let Some(condition) = name.strip_prefix("b.") {
        return Ok(Effect::jump(Flow::Branch(flags.test(condition)?, target(ops.text(0)?)?)));
    }
    match name {
        "nop" | "bti" => Ok(Effect::default()),
        "b" => Ok(Effect::jump(Flow::Jump(Term::of(target(ops.text(0)?)?)))),
        "bl" => {
            let flow = Flow::Jump(Term::of(target(ops.text(0)?)?));
            Ok(Effect { flow, ..Effect::set(30, Term::of(insn.next)) })
        }
        "ret" => Ok(Effect { flow: Flow::Scratch, ..Effect::set(SCRATCH, regs[30].clone()) }),
        "cbz" | "cbnz" => {
            let zero = Cond::eq(&ops.value(0)?, &Term::of(0));
            let condition = if name == "cbz" { zero } else { zero.not() };
            Ok(Effect::jump(Flow::Branch(condition, target(ops.text(1)?)?)))
        }
        "tbz" | "tbnz" => {
            let bit = Term::of(1 << number(ops.text(1)?)?);
            let (register, _) = ops.register(0)?;
            let zero = Cond::eq(&Term::bits(Op::And, &regs[register], &bit), &Term::of(0));
            let condition = if name == "tbz" { zero } else { zero.not() };
            Ok(Effect::jump(Flow::Branch(condition, target(ops.text(2)?)?)))
        }
        "cmp" | "tst" | "cmn" => {
            let ((_, bytes), a, b) = (ops.register(0)?, ops.value(0)?, ops.value(1)?);
            Ok(Effect::flags(match name {
                "cmp" => Flags::difference(&a, &b, bytes),
                "tst" => Flags::result(&Term::bits(Op::And, &a, &b), bytes),
                _ => carry(&a, &b, bytes),
            }))
        }
        "csel" | "csinc" | "cset" | "cinc" => choose(name, &ops, flags),
        "ldr" | "ldrb" | "ldrh" | "ldp" | "str" | "strb" | "strh" | "stp" => access(name, &ops),
        _ => arithmetic(name, &ops),
    }
}

fn carry(a: &Term, b: &Term, bytes: u64) -> Flags {
    let sum = a.add(b);
    let carry = Cond::below(&sum.low(bytes), &a.low(bytes));
    Flags::partial(&sum, bytes, Some(carry.not()))
}

fn choose(name: &str, ops: &Operands<'_>, flags: &Flags) -> Result<Effect> {
    let to = ops.register(0)?;
    let last = ops.text(ops.list.len() - 1)?;
    let condition = flags.test(last)?;
    let (yes, no) = match name {
        "csel" => (value_of(ops, 1)?, value_of(ops, 2)?),
        "csinc" => (value_of(ops, 1)?, value_of(ops, 2)?.add_to(1)),
        "cinc" => (value_of(ops, 1)?.add_to(1), value_of(ops, 1)?),
        _ => (Term::of(1), Term::of(0)),
    };
    Ok(set(to, &Term::choice(condition, &yes, &no)))
}

/// A register's value without a shift.
fn value_of(ops: &Operands<'_>, at: usize) -> Result<Term> {
    let alone = Operands { list: &ops.list[at..=at], regs: ops.regs };
    alone.value(0)
}

fn access(name: &str, ops: &Operands<'_>) -> Result<Effect> {
    let count = if name.ends_with('p') { 2 } else { 1 };
    let (_, wide) = ops.register(0)?;
    let bytes = match name.as_bytes().last() {
        Some(b'b') => 1,
        Some(b'h') => 2,
        _ => wide,
    };
    let (address, after) = ops.address(count)?;
    let access = if name.starts_with("ld") {
        let into = (0..count).map(|at| Ok(ops.register(at)?.0)).collect::<Result<_>>()?;
        Access::Load { address, bytes, into, fill: Fill::Zeros }
    } else {
        let values = (0..count).map(|at| value_of(ops, at)).collect::<Result<_>>()?;
        Access::Store { address, bytes, values }
    };
    Ok(Effect { access: Some(access), set: after.into_iter().collect(), ..Effect::default() })
}

fn arithmetic(name: &str, ops: &Operands<'_>) -> Result<Effect> {
    let to = ops.register(0)?;
    let bytes = to.1;
    let (plain, sets_flags) = match name {
        "adds" | "subs" | "ands" | "negs" => (&name[..3], true),
        _ => (name, false),
    };
    let (value, flags) = match plain {
        "mov" | "movz" => (ops.value(1)?, None),
        "mvn" => (Term::of(u64::MAX).sub(&ops.value(1)?), None),
        "neg" => {
            let by = ops.value(1)?;
            (Term::of(0).sub(&by), Some(Flags::difference(&Term::of(0), &by, bytes)))
        }
        _ => {
            let (a, b) = (value_of(ops, 1)?, ops.value(2)?);
            match plain {
                "add" => (a.add(&b), Some(carry(&a, &b, bytes))),
                "sub" => (a.sub(&b), Some(Flags::difference(&a, &b, bytes))),
                "and" => {
                    let value = Term::bits(Op::And, &a, &b);
                    (value.clone(), Some(Flags::result(&value, bytes)))
                }
                "mul" => (Term::bits(Op::Mul, &a, &b), None),
                "madd" => (Term::bits(Op::Mul, &a, &b).add(&value_of(ops, 3)?), None),
                "orr" => (Term::bits(Op::Or, &a, &b), None),
                "eor" => (Term::bits(Op::Xor, &a, &b), None),
                "bic" => (Term::bits(Op::And, &a, &Term::of(u64::MAX).sub(&b)), None),
                "lsl" | "lsr" => {
                    let by = b.value().context("a shift by a register")?;
                    let op = if plain == "lsl" { Op::Shl } else { Op::Shr };
                    (Term::bits(op, &a, &Term::of(by)), None)
                }
                _ => bail!("unknown"),
            }
        }
    };
    let effect = set(to, &value);
    match (sets_flags, flags) {
        (false, _) => Ok(effect),
        (true, Some(flags)) => Ok(effect.with_flags(flags)),
        (true, None) => bail!("unknown"),
    }
}
