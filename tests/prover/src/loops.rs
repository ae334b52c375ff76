//! Loops: an invariant of each head is learnt, and then shown for every way to it.
//!
//! At a head, the first bytes of the destination are done: these are stored, and good, and no
//! others are. How many they are, and what the registers hold, is any case that the facts learnt
//! ([`Head`]) allow. A run ends at each head that it reaches and another begins there; so a
//! function is a set of runs without loops. If on every one of them the facts hold again at its
//! end, they hold always. On no run less bytes are done at the end than at the beginning, never
//! more than there are, and in every cycle of runs there is one on which more are done: so every
//! loop ends.
//!
//! What cannot be shown may be false or beyond the prover. So it is looked for in runs from the
//! entry, with a few turns of every loop and nothing forgotten: what goes wrong there does so in
//! reality.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::explore::{Mode, Prover};
use super::finding::Finding;
use super::heads::{self, Head, Place, name_of};
use super::lift::REGISTERS;
use super::solver::Answer;
use super::state::{Loaded, State};
use super::term::{Cond, Term};

/// Runs until the facts are stable; more mean that the prover is lost.
const ROUNDS: usize = 1000;

impl Prover<'_> {
    /// Learns what holds at the heads and shows it, together with everything that is claimed on the
    /// way.
    pub(super) fn prove_from(&mut self, entry: &State) -> Result<()> {
        let mut open: BTreeSet<Option<u64>> = BTreeSet::from([None]);
        for _ in 0..ROUNDS {
            self.mode = Mode::Learn;
            if let Some(from) = open.pop_first() {
                for arrival in self.run_from(entry, from)? {
                    if self.absorb(&arrival)? != Some(false) {
                        open.insert(Some(arrival.at));
                    }
                }
            } else {
                open = self.check(entry)?;
                if open.is_empty() {
                    return Ok(());
                }
            }
            if self.again {
                return Ok(());
            }
        }
        bail!("the facts at the heads of loops are not stable after {ROUNDS} runs")
    }

    /// Shows everything; gives back the heads at which a fact did not hold.
    fn check(&mut self, entry: &State) -> Result<BTreeSet<Option<u64>>> {
        self.mode = Mode::Check;
        self.paths = 0;
        self.findings.clear();
        self.idle.clear();
        let mut open = BTreeSet::new();
        let heads: Vec<Option<u64>> = self.heads.keys().copied().map(Some).collect();
        for from in std::iter::once(None).chain(heads) {
            for arrival in self.run_from(entry, from)? {
                match self.absorb(&arrival)? {
                    Some(true) => _ = open.insert(Some(arrival.at)),
                    Some(false) => self.goes_on(&arrival)?,
                    None => {
                        self.unproven(&arrival, "what holds at the head of a loop was not shown")
                    }
                }
            }
        }
        self.ends();
        Ok(open)
    }

    fn run_from(&mut self, entry: &State, from: Option<u64>) -> Result<Vec<State>> {
        let start = match from {
            None => entry.clone(),
            Some(at) => self.any(at)?,
        };
        self.run(start)
    }

    /// Makes the facts at a head hold for a state that arrives there. Whether they had to be
    /// changed; `None`: the solver gave up.
    fn absorb(&mut self, state: &State) -> Result<Option<bool>> {
        let len = self.symbols.len.clone();
        let mut head = match self.heads.remove(&state.at) {
            Some(head) => head,
            None => self.first(state),
        };
        let mut changed = head.fit(state, &len);
        let values = head.values(state, &len);
        changed |= self.relate(&mut head, state, values.clone())?;
        let answer = loop {
            let facts: BTreeSet<Cond> = head.facts().iter().map(|fact| fact.of(&values)).collect();
            let broken = if head.is_reached() { Cond::all(facts).not() } else { Cond::always() };
            let (answer, sample) = self.solver.example(&state.path, &[&broken], &values)?;
            let Some(sample) = sample else { break answer };
            head.learn(sample);
            changed = true;
        };
        if head.is_reached() {
            self.heads.insert(state.at, head);
        }
        Ok((answer == Answer::Unsat).then_some(changed))
    }

    /// Drops relations that do not hold on a path; whether there were any.
    fn relate(&mut self, head: &mut Head, state: &State, mut values: Vec<Term>) -> Result<bool> {
        heads::simplify(&mut values, &state.path);
        let relations = head.differences(&values).len();
        let mut broken = !head.is_reached();
        for relation in 0..relations {
            let zero = head.differences(&values).swap_remove(relation);
            if zero.value() == Some(0) {
                continue;
            }
            let holds = self.holds(state, &Cond::eq(&zero, &Term::of(0)))?;
            broken |= !holds || !heads::put(&mut values, &zero);
        }
        if broken {
            head.relate(&values);
        }
        Ok(broken)
    }

    fn first(&self, state: &State) -> Head {
        let s = &self.symbols;
        let live = self.live.get(&state.at).copied().unwrap_or(u64::MAX);
        let mut pointers = vec![s.dst.clone(), s.src.clone(), s.stack.clone(), s.caller.clone()];
        pointers.extend(self.kept().map(|register| self.before[register].clone()));
        Head::new(state, live, &pointers, std::slice::from_ref(&s.len))
    }

    /// Any state at a head that the facts allow.
    fn any(&mut self, at: u64) -> Result<State> {
        let head = self.heads.get(&at).context("no such head")?.clone();
        let len = self.symbols.len.clone();
        let solver = &mut self.solver;
        let values = head.any_values(&len, |place| {
            solver.symbol(match place {
                Place::Done => "done",
                Place::Source(..) => "place",
                _ => "any",
            })
        });
        let mut regs = Vec::new();
        for _ in 0..REGISTERS {
            regs.push(self.solver.symbol("any"));
        }
        let (mut stack, mut loads, mut done) = (BTreeMap::new(), BTreeMap::new(), Term::of(0));
        for (place, value) in head.places.iter().zip(&values) {
            match place {
                Place::Register(register) => regs[*register] = value.clone(),
                Place::Slot(slot) => _ = stack.insert(*slot, value.clone()),
                Place::Source(register, bytes) => {
                    let loaded = Loaded { offset: value.clone(), bytes: *bytes };
                    loads.insert(name_of(&regs[*register]), loaded);
                }
                Place::Done => done = value.clone(),
                Place::Rest | Place::Same(_) | Place::Size(_) => {}
            }
        }
        let mut path = self.assumptions();
        let facts: BTreeSet<Cond> = head.facts().iter().map(|fact| fact.of(&values)).collect();
        path.extend(facts.into_iter().filter(|fact| fact.value() != Some(true)));
        let mut state = State { stack, loads, begins: true, ..State::new(at, regs, path) };
        state.store(&self.symbols, &Term::of(0), &done, &Cond::always());
        state.from = Some((at, done));
        Ok(state)
    }

    /// Claims what the facts do not say: what is stored is what counts as done, and every way back
    /// does more.
    fn goes_on(&mut self, state: &State) -> Result<()> {
        let s = &self.symbols;
        let below = Cond::below(&s.byte, &state.done);
        let stored = Cond::all([state.touched.clone(), state.good.clone()]);
        let prefix = Cond::all([
            Cond::at_most(&state.done, &s.len),
            Cond::either(&below.not(), &stored),
            Cond::either(&below, &state.touched.not()),
        ]);
        if !self.holds(state, &prefix)? {
            self.unproven(
                state,
                "what is stored at the head of a loop is not the count of bytes done",
            );
        }
        if let Some((from, before)) = &state.from
            && !self.holds(state, &Cond::below(before, &state.done))?
        {
            self.idle.insert((*from, state.at));
            if !self.holds(state, &Cond::at_most(before, &state.done))? {
                self.unproven(state, "less bytes are done than before");
            }
        }
        Ok(())
    }

    /// Shows that no cycle consists of runs on which perhaps no byte is done.
    fn ends(&mut self) {
        let mut idle = std::mem::take(&mut self.idle);
        loop {
            let begins: BTreeSet<u64> = idle.iter().map(|(from, _)| *from).collect();
            let before = idle.len();
            idle.retain(|(_, to)| begins.contains(to));
            if idle.len() == before {
                break;
            }
        }
        if let Some((from, _)) = idle.first() {
            self.findings.push(Finding::unproven(self.image, *from, "a loop may not end"));
        }
    }

    fn unproven(&mut self, state: &State, why: &str) {
        self.findings.push(Finding::unproven(self.image, state.at, why));
    }
}
