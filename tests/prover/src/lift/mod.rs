//! What an instruction does, for each instruction set. An instruction that is not known is an
//! error.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};

use super::image::{Insn, Isa};

pub(super) use effect::{
    Access, Effect, Fill, Flags, Flow, REGISTERS, Registers, SCRATCH, keep, sign_extended,
};

mod aarch64;
mod effect;
mod riscv64;
mod x86_64;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Term;

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
