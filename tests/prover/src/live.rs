//! Which registers an instruction or what follows it may still read.
//!
//! Only a means to walk fewer paths: a register that is said to be dead gets an arbitrary value, so
//! a mistake here can make a proof fail but not succeed.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::image::{Image, Insn};
use super::lift::{self, Access, Effect, Fill, Flags, Flow, REGISTERS};
use super::term::Term;

/// A set of registers, one bit each.
pub(super) type Set = u64;

/// The live registers before each instruction.
pub(super) fn live(image: &Image) -> BTreeMap<u64, Set> {
    let (stack, _, _, result) = lift::convention(image.isa);
    let kept = lift::preserved(image.isa).into_iter().chain([stack, result]);
    let at_return = kept.fold(0, |set, register| set | 1 << register);
    let regs: Vec<Term> = (0..REGISTERS).map(|n| Term::var(&format!("q{n}"))).collect();
    let uses: Vec<(u64, Use)> = image
        .insns()
        .map(|(at, insn)| {
            let effect = lift::lift(image.isa, insn, at, &regs, &Flags::any());
            (at, effect.map_or(Use::ALL, |effect| Use::of(image, at, insn, &effect, at_return)))
        })
        .collect();
    let mut live = BTreeMap::new();
    loop {
        let mut changed = false;
        for (at, insn) in uses.iter().rev() {
            let at_any = |places: &[u64], set| {
                places.iter().fold(set, |set, place| set | live.get(place).unwrap_or(&0))
            };
            let after = at_any(&insn.next, insn.after);
            let before = at_any(&insn.fault, insn.reads | (after & !insn.writes));
            changed |= live.insert(*at, before) != Some(before);
        }
        if !changed {
            return live;
        }
    }
}

/// What an instruction reads and writes, and what follows it.
struct Use {
    reads: Set,
    writes: Set,
    /// Live behind it, beside what its successors say.
    after: Set,
    next: Vec<u64>,
    /// Where it goes on after a fault, which writes nothing.
    fault: Vec<u64>,
}

impl Use {
    const ALL: Self =
        Self { reads: Set::MAX, writes: 0, after: 0, next: Vec::new(), fault: Vec::new() };

    fn of(image: &Image, at: u64, insn: &Insn, effect: &Effect, at_return: Set) -> Self {
        let mut used = Self { reads: 0, writes: 0, after: 0, next: Vec::new(), fault: Vec::new() };
        let mut text = String::new();
        let mut read = |term: &dyn std::fmt::Display| text.push_str(&format!("{term} "));
        match &effect.access {
            Some(Access::Load { address, into, fill, .. }) => {
                read(address);
                let set = into.iter().fold(0, |set, register| set | 1 << register);
                if *fill == Fill::Keep { used.reads |= set } else { used.writes |= set }
            }
            Some(Access::Store { address, values, .. }) => {
                read(address);
                values.iter().for_each(|value| read(value));
            }
            Some(Access::String { to, from, count, value }) => {
                read(value);
                used.reads |= 1 << to | 1 << count | from.map_or(0, |from| 1 << from);
            }
            None => {}
        }
        for (register, value) in &effect.set {
            read(value);
            used.writes |= 1 << register;
        }
        match &effect.flow {
            Flow::Next => used.next.push(insn.next),
            Flow::Jump(target) => used.next.extend(target.value()),
            Flow::Scratch => used.after = at_return,
            Flow::Branch(condition, target) => {
                read(condition);
                used.next.extend([insn.next, *target]);
            }
        }
        if let Some(flags) = &effect.flags {
            flags.conditions().for_each(|condition| read(condition));
        }
        used.fault.extend(image.fixup(at));
        for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            if let Some(register) = word.strip_prefix('q').and_then(|n| n.parse::<u32>().ok()) {
                used.reads |= 1 << register;
            }
        }
        used
    }
}
