//! x86-64, as `objdump -M intel` writes it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};

use super::effect::{Access, Effect, Fill, Flags, Flow, Registers, SCRATCH, number, target};
use crate::image::Insn;
use crate::term::{Cond, Op, Term};

const NAMES: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const RSP: usize = 4;

/// A register by name: its number and its bytes. The second byte of a register (`ah`) is not known.
fn register(name: &str) -> Option<(usize, u64)> {
    if let Some(rest) = name.strip_prefix('r')
        && let Ok(n) = rest.trim_end_matches(['d', 'w', 'b']).parse::<usize>()
    {
        let bytes = match rest.chars().last()? {
            'd' => 4,
            'w' => 2,
            'b' => 1,
            _ => 8,
        };
        return (8..16).contains(&n).then_some((n, bytes));
    }
    let by_name = |name: &str| NAMES.iter().position(|known| *known == name);
    match (name.as_bytes().first()?, name.len()) {
        (b'r', 3) => Some((by_name(&name[1..])?, 8)),
        (b'e', 3) => Some((by_name(&name[1..])?, 4)),
        (_, 2) if name.ends_with('l') => Some((by_name(&format!("{}x", &name[..1]))?, 1)),
        (_, 2) => Some((by_name(name)?, 2)),
        (_, 3) if name.ends_with('l') => Some((by_name(&name[..2])?, 1)),
        _ => None,
    }
}

enum Operand {
    Register(usize, u64),
    Number(u64),
    Memory(Term, u64),
}

fn operand(text: &str, regs: &Registers) -> Result<Operand> {
    if let Some((register, bytes)) = register(text) {
        return Ok(Operand::Register(register, bytes));
    }
    let Some((kind, rest)) = text.split_once('[') else {
        return Ok(Operand::Number(number(text)?));
    };
    let bytes = match kind.trim().trim_end_matches(" ds:").trim_end_matches(" es:") {
        "QWORD PTR" => 8,
        "DWORD PTR" => 4,
        "WORD PTR" => 2,
        "BYTE PTR" => 1,
        "" => 0,
        other => bail!("unknown width {other}"),
    };
    Ok(Operand::Memory(address(rest.trim_end_matches(']'), regs)?, bytes))
}

/// A sum such as `rsi+rax*1-0x10`.
fn address(text: &str, regs: &Registers) -> Result<Term> {
    let mut sum = Term::of(0);
    for part in text.replace('-', "+-").split('+').filter(|part| !part.is_empty()) {
        let (name, factor) = part.split_once('*').unwrap_or((part, "1"));
        sum = match register(name) {
            Some((register, 8)) => sum.add(&regs[register].times(number(factor)?)),
            _ => sum.add_to(number(part)?),
        };
    }
    Ok(sum)
}

/// A register after a write to its low bytes: 32 bits clear the rest, 8 and 16 keep it.
fn merged(old: &Term, value: &Term, bytes: u64) -> Term {
    if bytes >= 4 {
        return value.low(bytes);
    }
    super::keep(old, value, bytes)
}

pub(super) fn lift(insn: &Insn, regs: &Registers, flags: &Flags) -> Result<Effect> {
    let name = insn.name.as_str();
    let text = |at: usize| insn.operands.get(at).map(String::as_str).context("no operand");
    if name.split(' ').next_back() == Some("nop") || insn.text == "xchg ax,ax" || name == "endbr64"
    {
        return Ok(Effect::default());
    }
    match name {
        "jmp" => return Ok(Effect::jump(Flow::Jump(Term::of(target(text(0)?)?)))),
        "ret" => return Ok(pop(SCRATCH, regs, Flow::Scratch)),
        "call" => {
            let flow = Flow::Jump(Term::of(target(text(0)?)?));
            return Ok(push(Term::of(insn.next), regs, flow));
        }
        "rep movs" | "rep stos" => return string(insn, regs),
        _ => {}
    }
    if let Some(condition) = name.strip_prefix('j') {
        return Ok(Effect::jump(Flow::Branch(flags.test(condition)?, target(text(0)?)?)));
    }
    let first = operand(text(0)?, regs)?;
    let second = text(1).ok().map(|text| operand(text, regs)).transpose()?;
    if let (Some(condition), Operand::Register(to, bytes)) = (name.strip_prefix("cmov"), &first)
        && let Some(Operand::Register(from, _)) = second
    {
        let value = Term::choice(flags.test(condition)?, &regs[from], &regs[*to]);
        return Ok(Effect::set(*to, value.low(*bytes)));
    }
    if let (Some(condition), Operand::Register(to, 1)) = (name.strip_prefix("set"), &first) {
        let value = Term::choice(flags.test(condition)?, &Term::of(1), &Term::of(0));
        return Ok(Effect::set(*to, merged(&regs[*to], &value, 1)));
    }
    match (name, first, second) {
        ("push", Operand::Register(from, 8), None) => {
            Ok(push(regs[from].clone(), regs, Flow::Next))
        }
        ("pop", Operand::Register(to, 8), None) => Ok(pop(to, regs, Flow::Next)),
        ("lea", Operand::Register(to, bytes), Some(Operand::Memory(address, _))) => {
            Ok(Effect::set(to, merged(&regs[to], &address, bytes)))
        }
        ("movzx", Operand::Register(to, 4 | 8), Some(Operand::Register(from, bytes))) => {
            Ok(Effect::set(to, regs[from].low(bytes)))
        }
        ("movzx", Operand::Register(to, 4 | 8), Some(Operand::Memory(address, bytes))) => {
            Ok(Effect::access(Access::Load { address, bytes, into: vec![to], fill: Fill::Zeros }))
        }
        ("mov", Operand::Register(to, bytes), Some(Operand::Memory(address, _))) => {
            let fill = if bytes < 4 { Fill::Keep } else { Fill::Zeros };
            Ok(Effect::access(Access::Load { address, bytes, into: vec![to], fill }))
        }
        ("mov", Operand::Memory(address, bytes), Some(source)) => {
            let values = vec![value(&source, regs)?.0];
            Ok(Effect::access(Access::Store { address, bytes, values }))
        }
        ("mov" | "movabs", Operand::Register(to, bytes), Some(source)) => {
            let (value, _) = value(&source, regs)?;
            Ok(Effect::set(to, merged(&regs[to], &value, bytes)))
        }
        (_, Operand::Register(to, bytes), source) => {
            let source = source.map(|source| value(&source, regs)).transpose()?;
            arithmetic(name, to, bytes, source.map(|(value, _)| value), regs, flags)
        }
        _ => bail!("unknown"),
    }
}

/// The value of a register or a number.
fn value(operand: &Operand, regs: &Registers) -> Result<(Term, u64)> {
    match operand {
        Operand::Register(from, bytes) => Ok((regs[*from].clone(), *bytes)),
        Operand::Number(number) => Ok((Term::of(*number), 8)),
        Operand::Memory(..) => bail!("a memory operand of arithmetic"),
    }
}

fn arithmetic(
    name: &str,
    to: usize,
    bytes: u64,
    source: Option<Term>,
    regs: &Registers,
    flags: &Flags,
) -> Result<Effect> {
    let old = &regs[to];
    let one = Term::of(1);
    let done = |value: Term, flags: Flags| {
        Ok(Effect::set(to, merged(old, &value, bytes)).with_flags(flags))
    };
    let bits = |op: Op, by: &Term| {
        let value = Term::bits(op, &old.low(bytes), &by.low(bytes));
        done(value.clone(), Flags::result(&value, bytes))
    };
    match (name, source) {
        ("inc", None) => {
            let value = old.add(&one);
            done(value.clone(), Flags::partial(&value, bytes, flags.below.clone()))
        }
        ("dec", None) => {
            let value = old.sub(&one);
            done(value.clone(), Flags::partial(&value, bytes, flags.below.clone()))
        }
        ("neg", None) => {
            let zero = Term::of(0);
            done(zero.sub(old), Flags::difference(&zero, old, bytes))
        }
        ("not", None) => Ok(Effect::set(to, merged(old, &Term::of(u64::MAX).sub(old), bytes))),
        ("add", Some(by)) => {
            let value = old.add(&by);
            let carry = Cond::below(&value.low(bytes), &old.low(bytes));
            done(value.clone(), Flags::partial(&value, bytes, Some(carry)))
        }
        ("sub", Some(by)) => done(old.sub(&by), Flags::difference(old, &by, bytes)),
        ("cmp", Some(by)) => Ok(Effect::flags(Flags::difference(old, &by, bytes))),
        ("test", Some(by)) => {
            let value = Term::bits(Op::And, &old.low(bytes), &by.low(bytes));
            Ok(Effect::flags(Flags::result(&value, bytes)))
        }
        ("imul", Some(by)) if bytes == 8 => done(Term::bits(Op::Mul, old, &by), Flags::default()),
        ("and", Some(by)) => bits(Op::And, &by),
        ("or", Some(by)) => bits(Op::Or, &by),
        ("xor", Some(by)) => bits(Op::Xor, &by),
        ("shl" | "shr" | "sar", by) => {
            let by = by.unwrap_or(one).value().context("a shift by a register")?;
            ensure!(bytes >= 4 && by < 8 * bytes, "a shift that the CPU would reduce");
            let value = match name {
                "shl" => old.times(1 << by),
                "shr" => Term::bits(Op::Shr, &old.low(bytes), &Term::of(by)),
                _ => Term::bits(Op::Sar, &super::sign_extended(old, bytes), &Term::of(by)),
            };
            done(value.clone(), Flags::partial(&value, bytes, None))
        }
        _ => bail!("unknown"),
    }
}

fn push(value: Term, regs: &Registers, flow: Flow) -> Effect {
    let top = regs[RSP].add_to(8_u64.wrapping_neg());
    let store = Access::Store { address: top.clone(), bytes: 8, values: vec![value] };
    Effect { access: Some(store), set: vec![(RSP, top)], flow, ..Effect::default() }
}

fn pop(to: usize, regs: &Registers, flow: Flow) -> Effect {
    let address = regs[RSP].clone();
    let set = vec![(RSP, address.add_to(8))];
    let load = Access::Load { address, bytes: 8, into: vec![to], fill: Fill::Zeros };
    Effect { access: Some(load), set, flow, ..Effect::default() }
}

/// `rep movsb` and `rep stosb`; the direction flag is clear by the ABI.
fn string(insn: &Insn, regs: &Registers) -> Result<Effect> {
    let (from, value) = match insn.text.as_str() {
        "rep movs BYTE PTR es:[rdi],BYTE PTR ds:[rsi]" => (Some(6), Term::of(0)),
        "rep stos BYTE PTR es:[rdi],al" => (None, regs[0].clone()),
        _ => bail!("unknown"),
    };
    Ok(Effect::access(Access::String { to: 7, from, count: 1, value }))
}
