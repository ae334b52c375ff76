//! RISC-V 64, as `objdump -M numeric` writes it: with aliases, and compressed instructions under
//! the names of the ones that they stand for.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};

use super::effect::{
    Access, Effect, Fill, Flow, Registers, SCRATCH, number, sign_extended, target,
};
use crate::image::Insn;
use crate::term::{Cond, Op, Term};

fn register(text: &str) -> Result<usize> {
    let number = text.strip_prefix('x').and_then(|digits| digits.parse().ok());
    number.filter(|number| *number < 32).with_context(|| format!("no register: {text}"))
}

pub(super) fn lift(insn: &Insn, at: u64, regs: &Registers) -> Result<Effect> {
    let text = |at: usize| insn.operands.get(at).map(String::as_str).context("no operand");
    let value = |at: usize| -> Result<Term> {
        match register(text(at)?) {
            Ok(0) => Ok(Term::of(0)),
            Ok(register) => Ok(regs[register].clone()),
            Err(_) => Ok(Term::of(number(text(at)?)?)),
        }
    };
    // `offset(base)`
    let address = |text: &str| -> Result<Term> {
        let (offset, base) = text.trim_end_matches(')').split_once('(').context("no address")?;
        let base = match register(base)? {
            0 => Term::of(0),
            base => regs[base].clone(),
        };
        Ok(base.add_to(number(offset)?))
    };
    let zero = Term::of(0);
    let name = insn.name.as_str();
    if let Some(condition) = branch(name, &value, &zero)? {
        let target = target(text(insn.operands.len() - 1)?)?;
        return Ok(Effect::jump(Flow::Branch(condition, target)));
    }
    match name {
        "nop" => return Ok(Effect::default()),
        "j" => return Ok(Effect::jump(Flow::Jump(Term::of(target(text(0)?)?)))),
        "jal" => {
            let (to, place) = if insn.operands.len() == 1 {
                (1, text(0)?)
            } else {
                (register(text(0)?)?, text(1)?)
            };
            let flow = Flow::Jump(Term::of(target(place)?));
            return Ok(Effect { flow, ..set(to, Term::of(insn.next)) });
        }
        "ret" => return Ok(scratch(regs[1].clone())),
        "jr" if text(0)?.contains('(') => return Ok(scratch(address(text(0)?)?)),
        "jr" => return Ok(scratch(value(0)?)),
        "jalr" => {
            let place = text(insn.operands.len() - 1)?;
            let to = if insn.operands.len() == 1 { 1 } else { register(text(0)?)? };
            let place =
                if place.contains('(') { address(place)? } else { regs[register(place)?].clone() };
            let mut effect = scratch(place);
            effect.set.extend(set(to, Term::of(insn.next)).set);
            return Ok(effect);
        }
        "ld" | "lwu" | "lhu" | "lbu" | "lw" | "lh" | "lb" => {
            let fill = if name == "ld" || name.ends_with('u') { Fill::Zeros } else { Fill::Sign };
            let into = vec![register(text(0)?)?];
            let address = address(text(1)?)?;
            return Ok(Effect::access(Access::Load { address, bytes: width(name), into, fill }));
        }
        "sd" | "sw" | "sh" | "sb" => {
            let values = vec![value(0)?];
            let address = address(text(1)?)?;
            return Ok(Effect::access(Access::Store { address, bytes: width(name), values }));
        }
        _ => {}
    }
    let shifted = |op: Op| -> Result<Term> {
        Ok(Term::bits(op, &value(1)?, &Term::bits(Op::And, &value(2)?, &Term::of(63))))
    };
    let flag = |condition: Cond| Term::choice(condition, &Term::of(1), &Term::of(0));
    let result = match name {
        "mv" | "li" => value(1)?,
        "lui" => sign_extended(&value(1)?.times(1 << 12), 4),
        "auipc" => sign_extended(&value(1)?.times(1 << 12), 4).add_to(at),
        "add" | "addi" => value(1)?.add(&value(2)?),
        "sub" => value(1)?.sub(&value(2)?),
        "mul" => Term::bits(Op::Mul, &value(1)?, &value(2)?),
        "neg" => zero.sub(&value(1)?),
        "not" => Term::of(u64::MAX).sub(&value(1)?),
        "and" | "andi" => Term::bits(Op::And, &value(1)?, &value(2)?),
        "or" | "ori" => Term::bits(Op::Or, &value(1)?, &value(2)?),
        "xor" | "xori" => Term::bits(Op::Xor, &value(1)?, &value(2)?),
        "sll" | "slli" => shifted(Op::Shl)?,
        "srl" | "srli" => shifted(Op::Shr)?,
        "sra" | "srai" => shifted(Op::Sar)?,
        "sltu" | "sltiu" => flag(Cond::below(&value(1)?, &value(2)?)),
        "slt" | "slti" => flag(Cond::less(&value(1)?, &value(2)?)),
        "seqz" => flag(Cond::eq(&value(1)?, &zero)),
        "snez" => flag(Cond::eq(&value(1)?, &zero).not()),
        "zext.b" => value(1)?.low(1),
        _ => bail!("unknown"),
    };
    Ok(set(register(text(0)?)?, result))
}

/// The condition of a branch; `None` for anything else.
fn branch(name: &str, value: &impl Fn(usize) -> Result<Term>, zero: &Term) -> Result<Option<Cond>> {
    Ok(Some(match name {
        "beq" => Cond::eq(&value(0)?, &value(1)?),
        "bne" => Cond::eq(&value(0)?, &value(1)?).not(),
        "bltu" => Cond::below(&value(0)?, &value(1)?),
        "bgeu" => Cond::below(&value(0)?, &value(1)?).not(),
        "blt" => Cond::less(&value(0)?, &value(1)?),
        "bge" => Cond::less(&value(0)?, &value(1)?).not(),
        "beqz" => Cond::eq(&value(0)?, zero),
        "bnez" => Cond::eq(&value(0)?, zero).not(),
        "bltz" => Cond::less(&value(0)?, zero),
        "bgez" => Cond::less(&value(0)?, zero).not(),
        "bgtz" => Cond::less(zero, &value(0)?),
        "blez" => Cond::less(zero, &value(0)?).not(),
        _ => return Ok(None),
    }))
}

/// Bytes of an access: the second letter of its name.
fn width(name: &str) -> u64 {
    match name.as_bytes().get(1) {
        Some(b'b') => 1,
        Some(b'h') => 2,
        Some(b'w') => 4,
        _ => 8,
    }
}

fn set(to: usize, value: Term) -> Effect {
    if to == 0 { Effect::default() } else { Effect::set(to, value) }
}

fn scratch(address: Term) -> Effect {
    Effect { flow: Flow::Scratch, ..Effect::set(SCRATCH, address) }
}
