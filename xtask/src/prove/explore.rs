//! Walks all paths of a function: every access of user memory succeeds, or faults, whatever others did.
//!
//! Pages may vanish or appear at any instant, so no access tells anything about the next one. A copy is right if on
//! every return of `n` bytes not done of `len`:
//! * the first `len - n` bytes of the destination were stored, each with a value that a load found in the same byte of
//!   the source (or zero), and no other byte was stored (U1);
//! * `n == len > 0` only if the last fault was that of an access that no first byte could have survived: of that byte
//!   alone, or of an aligned word around it, which lies in one page (U2);
//! * every access lay inside the regions, except aligned loads of words that hold at least one byte of the source;
//! * the stack pointer and the registers that belong to the caller are as they were.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::image::{Image, Isa};
use super::lift::{self, Access, Fill, Flags, Flow, REGISTERS, SCRATCH};
use super::live;
use super::loops::Template;
use super::report::Finding;
use super::solver::{Answer, Solver};
use super::state::{Event, Fault, Loaded, State, Symbols};
use super::term::{Atom, Cond, Op, Term};

/// Paths of one function; more mean that the model is lost.
const PATHS: usize = 20_000;

/// What a function does, and so which side is the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    FromUser,
    ToUser,
    Clear,
}

/// A proof in progress.
#[derive(Debug)]
pub(crate) struct Prover<'i> {
    pub(super) image: &'i Image,
    pub(super) solver: Solver,
    pub(super) symbols: Symbols,
    pub(super) kind: Kind,
    /// The registers at the entry.
    before: lift::Registers,
    live: BTreeMap<u64, live::Set>,
    /// Heads of loops.
    cuts: BTreeSet<u64>,
    /// Invariants that were found, by the heads of their loops.
    pub(super) templates: BTreeMap<u64, Vec<Template>>,
    /// A new head was found; everything begins again.
    pub(super) again: bool,
    /// Paths that ended.
    pub(crate) paths: usize,
    /// What was refuted or could not be shown.
    pub(crate) findings: Vec<Finding>,
}

impl<'i> Prover<'i> {
    /// A proof of a function of the image.
    pub(crate) fn new(image: &'i Image, kind: Kind) -> Result<Self> {
        let mut solver = Solver::start()?;
        let mut symbol = |name: &str| solver.symbol(name);
        let symbols = Symbols {
            dst: symbol("dst")?,
            src: symbol("src")?,
            len: symbol("len")?,
            byte: symbol("byte")?,
            stack: symbol("stack")?,
            caller: symbol("caller")?,
        };
        Ok(Self {
            image,
            solver,
            symbols,
            kind,
            before: Vec::new(),
            live: live::live(image),
            cuts: BTreeSet::new(),
            templates: BTreeMap::new(),
            again: false,
            paths: 0,
            findings: Vec::new(),
        })
    }

    /// Proves the function, or finds out why not.
    pub(crate) fn prove(&mut self, function: &str) -> Result<()> {
        loop {
            let entry = self.entry(self.image.symbol(function)?)?;
            self.run(entry, &[])?;
            if !self.again {
                return Ok(());
            }
            self.again = false;
            self.paths = 0;
            self.findings.clear();
            self.templates.clear();
        }
    }

    fn entry(&mut self, at: u64) -> Result<State> {
        let (stack, link, arguments, _) = lift::convention(self.image.isa);
        let mut regs = Vec::new();
        for register in 0..REGISTERS {
            regs.push(self.solver.symbol(&format!("r{register}"))?);
        }
        let s = self.symbols.clone();
        let values = match self.kind {
            Kind::FromUser | Kind::ToUser => vec![&s.dst, &s.src, &s.len],
            Kind::Clear => vec![&s.dst, &s.len],
        };
        for (register, value) in arguments.into_iter().zip(values) {
            regs[register] = value.clone();
        }
        regs[stack] = s.stack.clone();
        let mut words = BTreeMap::new();
        match link {
            Some(link) => regs[link] = s.caller.clone(),
            None => _ = words.insert(0, s.caller.clone()),
        }
        let all = Term::of(u64::MAX);
        let path = vec![
            Cond::at_most(&s.len, &Term::of(u64::MAX >> 1)),
            Cond::at_most(&s.dst, &all.sub(&s.len)),
            Cond::at_most(&s.src, &all.sub(&s.len)),
        ];
        self.before.clone_from(&regs);
        Ok(State {
            at,
            regs,
            flags: Flags::default(),
            stack: words,
            path,
            touched: Cond::never(),
            good: Cond::always(),
            range: None,
            loads: BTreeMap::new(),
            hopeless: Cond::never(),
            trace: Vec::new(),
            seen: BTreeSet::new(),
            begins: None,
        })
    }

    /// Whether a condition holds in every case of a state.
    pub(super) fn holds(&mut self, state: &State, claim: &Cond) -> Result<bool> {
        if let Some(value) = claim.value() {
            return Ok(value || !self.possible(state, &Cond::always())?);
        }
        let not = claim.not();
        Ok(self.solver.ask(&state.path, &not)? == Answer::Unsat)
    }

    /// Whether a condition holds in some case of a state.
    fn possible(&mut self, state: &State, condition: &Cond) -> Result<bool> {
        if condition.value() == Some(false) {
            return Ok(false);
        }
        Ok(self.solver.ask(&state.path, condition)? != Answer::Unsat)
    }

    /// Shows a claim or makes a finding; whether it was shown.
    fn claim(&mut self, state: &State, what: &str, claim: &Cond) -> Result<bool> {
        if self.holds(state, claim)? {
            return Ok(true);
        }
        let finding = self.counterexample(state, what, claim)?;
        self.findings.push(finding);
        Ok(false)
    }

    /// Walks all paths from a state; gives back those that arrive at one of `stops`.
    pub(super) fn run(&mut self, from: State, stops: &[u64]) -> Result<Vec<State>> {
        let (mut work, mut arrived) = (vec![from], Vec::new());
        let mut known = BTreeSet::new();
        while let Some(mut state) = work.pop() {
            if self.again {
                return Ok(arrived);
            }
            ensure!(self.paths < PATHS, "more than {PATHS} paths");
            if self.image.is_fixup(state.at) {
                let live = self.live.get(&state.at).copied().unwrap_or(u64::MAX);
                for register in (0..REGISTERS).filter(|register| live >> register & 1 == 0) {
                    state.regs[register] = self.solver.symbol("dead")?;
                }
                if !known.insert(state.key(live)) {
                    continue;
                }
            }
            let begins = state.begins.take() == Some(state.at);
            if !begins && stops.contains(&state.at) {
                arrived.push(state);
            } else if !begins && self.cuts.contains(&state.at) {
                arrived.extend(self.around(state, stops)?);
            } else if !state.seen.insert(state.at) {
                self.cuts.insert(state.at);
                self.again = true;
            } else {
                self.step(state, &mut work)?;
            }
        }
        Ok(arrived)
    }

    /// One instruction; pushes what may come next.
    fn step(&mut self, mut state: State, work: &mut Vec<State>) -> Result<()> {
        let insn = self.image.at(state.at)?;
        let next = insn.next;
        let effect = lift::lift(self.image.isa, insn, state.at, &state.regs, &state.flags)?;
        if let Some(access) = effect.access
            && !self.access(&mut state, access, work)?
        {
            self.paths += 1;
            return Ok(());
        }
        for (register, value) in &effect.set {
            if let Some(Atom::Choice(condition, yes, no)) = value.single() {
                // Each choice is a path of its own, which keeps the terms simple.
                for mut branch in self.fork(&state, condition, (next, next))? {
                    let chosen = if branch.path.last() == Some(condition) { yes } else { no };
                    branch.regs[*register] = chosen.clone();
                    work.push(branch);
                }
                ensure!(effect.set.len() == 1 && effect.flags.is_none(), "a choice with flags");
                return Ok(());
            }
            state.regs[*register] = value.clone();
        }
        if let Some(flags) = effect.flags {
            state.flags = flags;
        }
        let target = match effect.flow {
            Flow::Next => Term::of(next),
            Flow::Jump(target) => target,
            Flow::Scratch => state.regs[SCRATCH].clone(),
            Flow::Branch(condition, target) => {
                work.extend(self.fork(&state, &condition, (target, next))?);
                return Ok(());
            }
        };
        if target == self.symbols.caller {
            self.paths += 1;
            return self.returned(&state);
        }
        let Some(at) = target.value() else { bail!("a jump to {target} at {:#x}", state.at) };
        state.at = at;
        work.push(state);
        Ok(())
    }

    /// The states in which a condition holds and does not, as far as there are any.
    fn fork(&mut self, state: &State, condition: &Cond, to: (u64, u64)) -> Result<Vec<State>> {
        let branch = |condition: &Cond, at: u64| {
            let mut branch = state.clone();
            branch.path.extend(condition.value().is_none().then(|| condition.clone()));
            branch.at = at;
            branch
        };
        let not = condition.not();
        if !self.possible(state, condition)? {
            return Ok(vec![branch(&not, to.1)]);
        }
        let mut branches = vec![branch(condition, to.0)];
        if self.possible(state, &not)? {
            branches.push(branch(&not, to.1));
        }
        Ok(branches)
    }

    /// Whether a side is the user's, so that its accesses may fault.
    fn faults(&self, access: &Access) -> bool {
        match access {
            Access::Load { .. } => self.kind == Kind::FromUser,
            Access::Store { .. } => self.kind != Kind::FromUser,
            Access::String { .. } => true,
        }
    }

    /// Performs an access, and pushes the state after its fault; whether the path goes on.
    fn access(&mut self, state: &mut State, access: Access, work: &mut Vec<State>) -> Result<bool> {
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
                    let symbol = self.solver.symbol("loaded")?;
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
        // A fault that does not touch the first byte says nothing about it; one of a word, only if it lies in one page.
        let covers = Cond::below(&Term::of(0).sub(offset), &Term::of(bytes));
        let hopeless = Cond::all([covers, is_aligned(address, bytes)]);
        let never = bytes > 1 && self.holds(state, &hopeless.not())?;
        after.hopeless = if never { Cond::never() } else { hopeless };
        after.trace.push(Event::Fault(Fault { at: state.at, offset: offset.clone(), bytes }));
        after.at = fixup;
        work.push(after);
        Ok(true)
    }

    /// `rep movsb` and `rep stosb`: byte by byte, and at a fault the registers tell how far it went.
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
        let done = self.solver.symbol("moved")?;
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

    /// What has to hold when the function returns.
    fn returned(&mut self, state: &State) -> Result<()> {
        let (stack, _, _, result) = lift::convention(self.image.isa);
        let s = self.symbols.clone();
        let left = state.regs[result].clone();
        let copied = s.len.sub(&left);
        let popped = if self.image.isa == Isa::X86_64 { 8 } else { 0 };
        let mut kept = vec![Cond::eq(&state.regs[stack], &s.stack.add_to(popped))];
        for register in lift::preserved(self.image.isa).into_iter().filter(|r| *r != stack) {
            kept.push(Cond::eq(&state.regs[register], &self.before[register]));
        }
        let counted = Cond::below(&s.byte, &copied);
        let right = Cond::all([state.touched.clone(), state.good.clone()]);
        let all_left = Cond::all([Cond::eq(&left, &s.len), Cond::eq(&s.len, &Term::of(0)).not()]);
        let claims = [
            ("more bytes are not copied than there are", Cond::at_most(&left, &s.len)),
            ("a counted byte is missing or wrong (U1)", Cond::either(&counted.not(), &right)),
            ("a byte past the count is changed (U1)", Cond::either(&counted, &state.touched.not())),
            (
                "nothing is copied, but the first byte may be there (U2)",
                Cond::either(&all_left.not(), &state.hopeless),
            ),
            ("a register of the caller is changed", Cond::all(kept)),
        ];
        let all = Cond::all(claims.iter().map(|(_, claim)| claim.clone()));
        if !self.holds(state, &all)? {
            for (what, claim) in claims {
                if !self.claim(state, what, &claim)? {
                    break;
                }
            }
        }
        Ok(())
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
