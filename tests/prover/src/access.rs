//! What an access of memory does to a state, and what has to hold for it.

#![forbid(unsafe_code)]

use anyhow::{Result, bail, ensure};

use super::explore::{Kind, Prover};
use super::image::Isa;
use super::lift::{self, Access, Fill};
use super::state::{Fault, Loaded, State};
use super::term::{Cond, Op, Term};

impl Prover<'_> {
    /// Whether a side is the user's, so that its accesses may fault.
    fn faults(&self, access: &Access) -> bool {
        match access {
            Access::Load { .. } => self.kind == Kind::FromUser,
            Access::Store { .. } => self.kind != Kind::FromUser,
            Access::String { .. } => true,
        }
    }

    /// Performs an access, and pushes the state after its fault; whether the path goes on.
    pub(super) fn access(
        &mut self,
        state: &mut State,
        access: Access,
        work: &mut Vec<State>,
    ) -> Result<bool> {
        if let Access::Load { address, bytes, .. } | Access::Store { address, bytes, .. } = &access
            && let Some(slot) = address.offset_from(&self.symbols.stack)
        {
            return self.stack(state, slot, *bytes, access).map(|()| true);
        }
        match access {
            Access::String { to, from, count, value } => {
                self.string(state, (to, from, count), &value, work)
            }
            Access::Load { ref address, bytes, ref into, fill } => {
                ensure!(self.kind != Kind::Clear, "a load at {:#x}", state.at);
                let offset = address.sub(&self.symbols.src);
                let whole = bytes * into.len() as u64;
                let begins = Cond::below(&self.symbols.src.sub(address), &Term::of(bytes));
                let empty = Cond::eq(&self.symbols.len, &Term::of(0));
                let overlap = Cond::either(
                    &Cond::below(&offset, &self.symbols.len),
                    &Cond::all([begins, empty.not()]),
                );
                let harmless = Cond::all([is_aligned(address, bytes), overlap]);
                let harmless = if into.len() == 1 { harmless } else { Cond::never() };
                let inside = Cond::either(&self.inside(&offset, &Term::of(whole)), &harmless);
                if !self.claim(state, "loads outside the source", &inside)? {
                    return Ok(false);
                }
                if self.faults(&access) && !self.fault(state, &offset, address, whole, work)? {
                    return Ok(false);
                }
                for (at, register) in into.iter().enumerate() {
                    let offset = offset.add_to(bytes * at as u64);
                    let symbol = self.solver.symbol("loaded");
                    state
                        .loads
                        .insert(symbol.to_string().trim().to_owned(), Loaded { offset, bytes });
                    state.regs[*register] = fill_in(&state.regs[*register], &symbol, bytes, fill);
                }
                Ok(true)
            }
            Access::Store { ref address, bytes, ref values } => {
                let offset = address.sub(&self.symbols.dst);
                let whole = bytes * values.len() as u64;
                let inside = self.inside(&offset, &Term::of(whole));
                if !self.claim(state, "stores outside the destination", &inside)? {
                    return Ok(false);
                }
                if self.faults(&access) {
                    // Only x86-64 promises that any store that faults has changed nothing.
                    let whole_or_not = match self.image.isa {
                        Isa::X86_64 => Cond::always(),
                        _ if values.len() > 1 => Cond::never(),
                        _ => is_aligned(address, bytes),
                    };
                    let what = "a store to user memory may be done in part when it faults";
                    self.claim(state, what, &whole_or_not)?;
                    if !self.fault(state, &offset, address, whole, work)? {
                        return Ok(false);
                    }
                }
                for (at, value) in values.iter().enumerate() {
                    let offset = offset.add_to(bytes * at as u64);
                    let good = match self.kind {
                        Kind::Clear => Cond::eq(&value.low(bytes), &Term::of(0)),
                        _ => state.is_good(&self.symbols, &offset, bytes, value),
                    };
                    state.store(&self.symbols, &offset, &Term::of(bytes), &good);
                }
                Ok(true)
            }
        }
    }

    /// Whether `count` bytes from an offset on lie in a region.
    fn inside(&self, offset: &Term, count: &Term) -> Cond {
        let len = &self.symbols.len;
        Cond::all([Cond::at_most(offset, len), Cond::at_most(count, &len.sub(offset))])
    }

    /// A word of the stack, which is the kernel's own and no part of the regions.
    fn stack(&mut self, state: &mut State, slot: u64, bytes: u64, access: Access) -> Result<()> {
        ensure!(bytes == 8 && slot.is_multiple_of(8), "a part of a word of the stack");
        match access {
            Access::Load { into, .. } => {
                for (at, register) in into.into_iter().enumerate() {
                    let slot = slot.wrapping_add(8 * at as u64);
                    let Some(word) = state.stack.get(&slot) else {
                        bail!("an unknown word of the stack")
                    };
                    state.regs[register] = word.clone();
                }
            }
            Access::Store { values, .. } => {
                for (at, value) in values.into_iter().enumerate() {
                    let slot = slot.wrapping_add(8 * at as u64);
                    ensure!(slot.cast_signed() < 0, "a store to the caller's stack");
                    state.stack.insert(slot, value);
                }
            }
            Access::String { .. } => bail!("a string instruction on the stack"),
        }
        Ok(())
    }

    /// Pushes the state after a fault of the access; whether the instruction has a fix-up.
    fn fault(
        &mut self,
        state: &State,
        offset: &Term,
        address: &Term,
        bytes: u64,
        work: &mut Vec<State>,
    ) -> Result<bool> {
        let Some(fixup) = self.image.fixup(state.at) else {
            self.claim(state, "accesses user memory without a fix-up", &Cond::never())?;
            return Ok(false);
        };
        let mut after = state.clone();
        // A fault that does not touch the first byte says nothing about it; one of a word, only if
        // it lies in one page.
        let covers = Cond::below(&Term::of(0).sub(offset), &Term::of(bytes));
        let hopeless = Cond::all([covers, is_aligned(address, bytes)]);
        let never = bytes > 1 && self.holds(state, &hopeless.not())?;
        after.hopeless = if never { Cond::never() } else { hopeless };
        after.trace.push(Fault { at: state.at, offset: offset.clone(), bytes });
        after.at = fixup;
        work.push(after);
        Ok(true)
    }

    /// `rep movsb` and `rep stosb`: byte by byte, and at a fault the registers tell how far it
    /// went.
    fn string(
        &mut self,
        state: &mut State,
        (to, from, count): (usize, Option<usize>, usize),
        value: &Term,
        work: &mut Vec<State>,
    ) -> Result<bool> {
        let s = self.symbols.clone();
        let offset = state.regs[to].sub(&s.dst);
        let total = state.regs[count].clone();
        let mut inside = self.inside(&offset, &total);
        let mut good = Cond::eq(&value.low(1), &Term::of(0));
        if let Some(from) = from {
            ensure!(self.kind != Kind::Clear, "a load at {:#x}", state.at);
            let source = state.regs[from].sub(&s.src);
            inside = Cond::all([inside, self.inside(&source, &total)]);
            good = Cond::eq(&source, &offset);
        }
        if !self.claim(state, "moves bytes outside the regions", &inside)? {
            return Ok(false);
        }
        let advance = |state: &mut State, by: &Term| {
            for register in [Some(to), from].into_iter().flatten() {
                state.regs[register] = state.regs[register].add(by);
            }
            state.regs[count] = state.regs[count].sub(by);
            state.store(&s, &offset, by, &good);
        };
        let done = self.solver.symbol("moved");
        let mut stopped = state.clone();
        stopped.path.push(Cond::below(&done, &total));
        advance(&mut stopped, &done);
        if self.possible(&stopped, &Cond::always())? {
            let user = if self.kind == Kind::FromUser { from.unwrap_or(to) } else { to };
            let address = stopped.regs[user].clone();
            if !self.fault(&stopped, &offset.add(&done), &address, 1, work)? {
                return Ok(false);
            }
        }
        advance(state, &total);
        Ok(true)
    }
}

/// Whether an address is a multiple of the access's bytes, so that the access lies in one page.
fn is_aligned(address: &Term, bytes: u64) -> Cond {
    if !bytes.is_power_of_two() {
        return Cond::never();
    }
    let low = Term::bits(Op::And, address, &Term::of(bytes - 1));
    Cond::eq(&low, &Term::of(0))
}

/// A register after a load.
fn fill_in(old: &Term, loaded: &Term, bytes: u64, fill: Fill) -> Term {
    match fill {
        Fill::Zeros => loaded.low(bytes),
        Fill::Sign => lift::sign_extended(loaded, bytes),
        Fill::Keep => lift::keep(old, loaded, bytes),
    }
}
