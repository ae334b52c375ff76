//! Walks all paths of a function: every access of user memory succeeds, or faults, whatever others
//! did.
//!
//! Pages may vanish or appear at any instant, so no access tells anything about the next one. A
//! copy is right if on every return of `n` bytes not done of `len`:
//! * the first `len - n` bytes of the destination were stored, each with a value that a load found
//!   in the same byte of the source (or zero), and no other byte was stored (U1);
//! * `n == len > 0` only if the last fault was that of an access that no first byte could have
//!   survived: of that byte alone, or of an aligned word around it, which lies in one page (U2);
//! * every access lay inside the regions, except aligned loads of words that hold at least one byte
//!   of the source;
//! * the stack pointer and the registers that belong to the caller are as they were.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::finding::Finding;
use super::heads::Head;
use super::image::{Image, Isa};
use super::lift::{self, Flow, REGISTERS, SCRATCH};
use super::live;
use super::solver::{Answer, Solver};
use super::state::{State, Symbols};
use super::term::{Atom, Cond, Term};

/// Paths of one run; more mean that the model is lost.
const PATHS: usize = 20_000;

/// Turns of a loop in which a counterexample is looked for.
const TURNS: usize = 2;

/// Paths on which a counterexample is looked for.
const SEARCH: usize = 2_000;

/// What runs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// To learn what holds at heads of loops; nothing is claimed.
    Learn,
    /// To show all claims.
    Check,
    /// To find counterexamples: runs go on at heads.
    Search,
}

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
    pub(super) mode: Mode,
    /// The registers at the entry.
    pub(super) before: lift::Registers,
    pub(super) live: BTreeMap<u64, live::Set>,
    /// Heads of loops.
    cuts: BTreeSet<u64>,
    /// What holds at them.
    pub(super) heads: BTreeMap<u64, Head>,
    /// Runs from head to head on which perhaps no byte is done.
    pub(super) idle: BTreeSet<(u64, u64)>,
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
            dst: symbol("dst"),
            src: symbol("src"),
            len: symbol("len"),
            byte: symbol("byte"),
            stack: symbol("stack"),
            caller: symbol("caller"),
        };
        Ok(Self {
            image,
            solver,
            symbols,
            kind,
            mode: Mode::Learn,
            before: Vec::new(),
            live: live::live(image),
            cuts: BTreeSet::new(),
            heads: BTreeMap::new(),
            idle: BTreeSet::new(),
            again: false,
            paths: 0,
            findings: Vec::new(),
        })
    }

    /// Proves the function, or finds out why not.
    pub(crate) fn prove(&mut self, function: &str) -> Result<()> {
        let entry = self.entry(self.image.symbol(function)?)?;
        loop {
            self.prove_from(&entry)?;
            if !self.again {
                break;
            }
            self.again = false;
            self.heads.clear();
        }
        if self.findings.is_empty() {
            return Ok(());
        }
        let unproven = std::mem::take(&mut self.findings);
        (self.mode, self.paths) = (Mode::Search, 0);
        self.run(entry)?;
        if !self.findings.iter().any(|finding| finding.refuted) {
            self.findings = unproven;
        }
        Ok(())
    }

    fn entry(&mut self, at: u64) -> Result<State> {
        let (stack, link, arguments, _) = lift::convention(self.image.isa);
        let mut regs = Vec::new();
        for register in 0..REGISTERS {
            regs.push(self.solver.symbol(&format!("r{register}")));
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
        self.before.clone_from(&regs);
        Ok(State { stack: words, ..State::new(at, regs, self.assumptions()) })
    }

    /// What the caller promises.
    pub(super) fn assumptions(&self) -> Vec<Cond> {
        let (s, all) = (&self.symbols, Term::of(u64::MAX));
        vec![
            Cond::at_most(&s.len, &Term::of(u64::MAX >> 1)),
            Cond::at_most(&s.dst, &all.sub(&s.len)),
            Cond::at_most(&s.src, &all.sub(&s.len)),
        ]
    }

    /// The registers that a function must leave as they were, but for the stack pointer.
    pub(super) fn kept(&self) -> impl Iterator<Item = usize> + use<> {
        let (stack, ..) = lift::convention(self.image.isa);
        lift::preserved(self.image.isa).into_iter().filter(move |register| *register != stack)
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
    pub(super) fn possible(&mut self, state: &State, condition: &Cond) -> Result<bool> {
        if condition.value() == Some(false) {
            return Ok(false);
        }
        Ok(self.solver.ask(&state.path, condition)? != Answer::Unsat)
    }

    /// Shows a claim or makes a finding; whether it was shown.
    pub(super) fn claim(&mut self, state: &State, what: &str, claim: &Cond) -> Result<bool> {
        if self.mode == Mode::Learn || self.holds(state, claim)? {
            return Ok(true);
        }
        let finding = match self.mode {
            Mode::Search => self.counterexample(state, what, claim)?,
            Mode::Learn | Mode::Check => Finding::unproven(self.image, state.at, what),
        };
        self.findings.push(finding);
        Ok(false)
    }

    /// Walks all paths from a state up to heads of loops; gives back the states there.
    pub(super) fn run(&mut self, from: State) -> Result<Vec<State>> {
        let (mut work, mut arrived) = (vec![from], Vec::new());
        let mut known = BTreeSet::new();
        while let Some(mut state) = work.pop() {
            if self.again || (self.mode == Mode::Search && self.paths > SEARCH) {
                return Ok(arrived);
            }
            ensure!(self.paths < PATHS, "more than {PATHS} paths");
            if self.image.is_fixup(state.at) {
                let live = self.live.get(&state.at).copied().unwrap_or(u64::MAX);
                for register in (0..REGISTERS).filter(|register| live >> register & 1 == 0) {
                    state.regs[register] = self.solver.symbol("dead");
                }
                if !known.insert(state.key(live)) {
                    continue;
                }
            }
            let begins = std::mem::take(&mut state.begins);
            if !begins && self.cuts.contains(&state.at) {
                if self.mode != Mode::Search {
                    arrived.extend(self.settle(state)?);
                    continue;
                }
                let turns = state.turns.entry(state.at).or_default();
                *turns += 1;
                if *turns > TURNS {
                    continue;
                }
                state.seen.clear();
            }
            if state.seen.insert(state.at) {
                self.step(state, &mut work)?;
            } else {
                self.cuts.insert(state.at);
                self.again = true;
            }
        }
        Ok(arrived)
    }

    /// The states with each choice in the number of bytes done made.
    fn settle(&mut self, state: State) -> Result<Vec<State>> {
        let choice = state.done.parts().0.iter().map(|(atom, _)| atom);
        let mut choice = choice;
        let choice = choice.find(|atom| matches!(atom, Atom::Choice(..))).cloned();
        let Some(Atom::Choice(condition, yes, no)) = &choice else { return Ok(vec![state]) };
        let mut settled = Vec::new();
        for mut branch in self.fork(&state, condition, (state.at, state.at))? {
            let chosen = if branch.path.last() == Some(condition) { yes } else { no };
            branch.done = branch
                .done
                .replaced(&Atom::Choice(condition.clone(), yes.clone(), no.clone()), chosen);
            settled.extend(self.settle(branch)?);
        }
        Ok(settled)
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

    /// What has to hold when the function returns.
    fn returned(&mut self, state: &State) -> Result<()> {
        let (stack, _, _, result) = lift::convention(self.image.isa);
        if self.mode == Mode::Learn {
            return Ok(());
        }
        let s = self.symbols.clone();
        let left = state.regs[result].clone();
        let copied = s.len.sub(&left);
        let popped = if self.image.isa == Isa::X86_64 { 8 } else { 0 };
        let mut kept = vec![Cond::eq(&state.regs[stack], &s.stack.add_to(popped))];
        for register in self.kept() {
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
