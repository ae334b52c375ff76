//! Loops: an invariant is guessed from one turn, and then shown for every turn.
//!
//! The guess: every register is what it was at the first arrival, or has moved by the bytes done since, up or down,
//! or holds some value that was loaded from a place that moves so, or anything at all. The bytes done, as one register
//! tells them, are stored and good; the others are as they were at the first arrival. Only what is shown for the
//! first arrival and for every way round counts; a guess that fails is weakened, and with no guess left the loop is
//! not proven. More bytes are done on every way round, and never more than there are: so the loop ends.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};

use super::explore::Prover;
use super::lift::{Flags, REGISTERS};
use super::report::Finding;
use super::state::{Event, Loaded, State, Symbols};
use super::term::{Atom, Cond, Op, Term};

/// How a register changes from turn to turn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// Not at all.
    Fixed,
    /// By so many times what is done since the first arrival.
    Moves(u64),
    /// It holds a loaded value, whose place moves by so many times that.
    Loaded(u64),
    /// By no rule.
    Any,
}

/// How a register tells the number of bytes done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// It points behind them, in the destination.
    Behind(usize),
    /// The same in the source.
    BehindSource(usize),
    /// It is the number of the rest.
    Rest(usize),
    /// It is their number.
    Number(usize),
}

impl Count {
    fn of(self, regs: &[Term], s: &Symbols) -> Term {
        match self {
            Self::Behind(register) => regs[register].sub(&s.dst),
            Self::BehindSource(register) => regs[register].sub(&s.src),
            Self::Rest(register) => s.len.sub(&regs[register]),
            Self::Number(register) => regs[register].clone(),
        }
    }
}

impl Count {
    /// Whether the count rises by the bytes done.
    fn rises(self, template: &Template) -> bool {
        let (register, factor) = match self {
            Self::Behind(register) | Self::BehindSource(register) | Self::Number(register) => {
                (register, 1)
            }
            Self::Rest(register) => (register, u64::MAX),
        };
        template.shapes[register] == Shape::Moves(factor)
    }
}

/// What may hold at the head, beyond the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    /// The register has not passed zero on its way down.
    NotAbove(usize),
    /// The register is at least so much.
    AtLeast(usize, u64),
    /// The first register is below the second.
    Below(usize, usize),
    /// The bytes done since the first arrival are a multiple of this power of two.
    Multiple(u64),
}

impl Fact {
    /// The fact for registers, given those at the first arrival and the bytes done since.
    fn of(self, regs: &[Term], first: &[Term], since: &Term) -> Cond {
        match self {
            Self::NotAbove(register) => Cond::at_most(&regs[register], &first[register]),
            Self::AtLeast(register, least) => Cond::at_most(&Term::of(least), &regs[register]),
            Self::Below(a, b) => Cond::below(&regs[a], &regs[b]),
            Self::Multiple(of) => {
                let rest = Term::bits(Op::And, since, &Term::of(of - 1));
                Cond::eq(&rest, &Term::of(0))
            }
        }
    }
}

/// An invariant, but for the values at the first arrival.
#[derive(Clone, Debug)]
pub(super) struct Template {
    shapes: Vec<Shape>,
    /// The register that tells what is done since the first arrival, and its factor, 1 or -1.
    pivot: (usize, u64),
    counts: Vec<Count>,
    facts: Vec<Fact>,
}

/// The least values that [`Fact::AtLeast`] is tried with.
const LEAST: [u64; 7] = [1, 2, 8, 16, 32, 64, 128];

/// Turns that are walked one by one where no invariant is found.
const TURNS: usize = 2;

/// Attempts to weaken one guess.
const ROUNDS: usize = 100;

impl Prover<'_> {
    /// Goes on from a state at the head of a loop, for any number of turns; gives back those paths that arrive at
    /// one of `stops`.
    pub(super) fn around(&mut self, first: State, stops: &[u64]) -> Result<Vec<State>> {
        let head = first.at;
        let mark = (self.findings.len(), self.paths);
        // What was found for other first arrivals may do here too. If it does not, or is too weak, that says nothing.
        for template in self.templates.get(&head).cloned().unwrap_or_default() {
            if self.starts(&first, &template)? {
                let base = self.base(&first, &template)?;
                if let Some(out) = self.turn(&base, &template, stops)?
                    && self.findings.len() == mark.0
                {
                    return Ok(out);
                }
            }
            self.rewind(mark);
        }
        let mut begin = first.clone();
        begin.begins = Some(head);
        begin.seen.clear();
        let within: Vec<u64> = stops.iter().copied().chain([head]).collect();
        let (around, out): (Vec<_>, Vec<_>) =
            self.run(begin, &within)?.into_iter().partition(|state| state.at == head);
        if around.is_empty() || self.again {
            return Ok(out);
        }
        self.rewind(mark);
        let Some(mut template) = self.guess(&first, &around)? else {
            return self.give_up(&first, "no register tells how many bytes are done");
        };
        for _ in 0..ROUNDS {
            let base = self.base(&first, &template)?;
            if let Some(out) = self.turn(&base, &template, stops)? {
                self.templates.entry(head).or_default().push(template);
                return Ok(out);
            }
            self.rewind(mark);
            if self.again {
                return Ok(Vec::new());
            }
            if !self.weaken(&base, &mut template)? {
                return self.give_up(&first, "no invariant of the loop was found");
            }
        }
        self.give_up(&first, "no invariant of the loop was found in time")
    }

    fn rewind(&mut self, (findings, paths): (usize, usize)) {
        self.findings.truncate(findings);
        self.paths = paths;
    }

    /// Without an invariant: some turns one by one, which may show what is wrong.
    fn give_up(&mut self, first: &State, why: &str) -> Result<Vec<State>> {
        let before = self.findings.len();
        let mut states = vec![first.clone()];
        for _ in 0..TURNS {
            let mut around = Vec::new();
            for mut state in std::mem::take(&mut states) {
                state.begins = Some(first.at);
                state.seen.clear();
                around.extend(self.run(state, &[first.at])?);
            }
            states = around.into_iter().filter(|state| state.at == first.at).collect();
        }
        if self.findings.len() == before {
            self.findings.push(Finding::unproven(self.image, first.at, why));
        }
        Ok(Vec::new())
    }

    /// A guess, from the first arrival and what came round from there.
    fn guess(&mut self, first: &State, around: &[State]) -> Result<Option<Template>> {
        let by = |register: usize| -> Vec<Term> {
            around.iter().map(|state| state.regs[register].sub(&first.regs[register])).collect()
        };
        let loaded = |state: &State, register: usize| -> Option<Loaded> {
            let Some(Atom::Var(name)) = state.regs[register].single() else { return None };
            state.loads.get(&**name).cloned()
        };
        let is_data =
            |term: &Term| around.iter().any(|state| state.loads.keys().any(|n| term.mentions(n)));
        let size =
            |steps: &[Term]| steps.iter().map(|s| s.value().map_or(u64::MAX, distance)).max();
        let pivot = (0..REGISTERS)
            .filter(|register| {
                by(*register).iter().all(|step| step.value() != Some(0) && !is_data(step))
            })
            .min_by_key(|register| size(&by(*register)));
        let Some(pivot) = pivot else { return Ok(None) };
        let steps = by(pivot);
        let down = steps.iter().all(|step| step.value().is_some_and(|step| step.cast_signed() < 0));
        let sign = if down { u64::MAX } else { 1 };
        let steps: Vec<Term> = steps.iter().map(|step| step.times(sign)).collect();
        let rule = |by: &[Term]| -> Option<u64> {
            let factor = match (by[0].value(), steps[0].value()) {
                (Some(by), Some(step)) => {
                    by.cast_signed().checked_div(step.cast_signed())?.cast_unsigned()
                }
                _ if by[0] == steps[0] => 1,
                _ => u64::MAX,
            };
            by.iter().zip(&steps).all(|(by, step)| *by == step.times(factor)).then_some(factor)
        };
        let mut shapes = Vec::new();
        for register in 0..REGISTERS {
            let steps = by(register);
            let place = loaded(first, register);
            let places: Option<Vec<Term>> = around
                .iter()
                .map(|state| {
                    let (now, then) = (loaded(state, register)?, place.as_ref()?);
                    (now.bytes == then.bytes).then(|| now.offset.sub(&then.offset))
                })
                .collect();
            shapes.push(if steps.iter().all(|step| step.value() == Some(0)) {
                Shape::Fixed
            } else if let Some(factor) = places.and_then(|places| rule(&places)) {
                Shape::Loaded(factor)
            } else {
                rule(&steps).map_or(Shape::Any, Shape::Moves)
            });
        }
        let counts = self.counts(first, &shapes)?;
        let Some(count) = counts.first() else { return Ok(None) };
        let left = self.symbols.len.sub(&count.of(&first.regs, &self.symbols));
        let facts = self.facts(first, &shapes, &steps, &left)?;
        Ok(Some(Template { shapes, pivot: (pivot, sign), counts, facts }))
    }

    /// The registers that may tell the number of bytes done: at the first arrival they do.
    fn counts(&mut self, first: &State, shapes: &[Shape]) -> Result<Vec<Count>> {
        let mut counts = Vec::new();
        // The simplest terms first.
        for kind in [Count::Behind, Count::BehindSource, Count::Number, Count::Rest] {
            for register in (0..REGISTERS).filter(|at| matches!(shapes[*at], Shape::Moves(_))) {
                let count = kind(register);
                let done = count.of(&first.regs, &self.symbols);
                if self.holds(first, &self.done(first, &done))? {
                    counts.push(count);
                }
            }
        }
        Ok(counts)
    }

    /// That the first `count` bytes are done.
    fn done(&self, state: &State, count: &Term) -> Cond {
        let right = Cond::all([state.touched.clone(), state.good.clone()]);
        let below = Cond::below(&self.symbols.byte, count);
        Cond::all([Cond::at_most(count, &self.symbols.len), Cond::either(&below.not(), &right)])
    }

    fn facts(
        &mut self,
        first: &State,
        shapes: &[Shape],
        steps: &[Term],
        left: &Term,
    ) -> Result<Vec<Fact>> {
        let lowest =
            |step: &Term| step.value().map_or(1, |step| 1 << step.trailing_zeros().min(12));
        let mut facts = vec![Fact::Multiple(steps.iter().map(lowest).min().unwrap_or(1))];
        let len = name_of(&self.symbols.len);
        for (a, shape) in shapes.iter().enumerate() {
            let Shape::Moves(factor) = *shape else { continue };
            if factor.cast_signed() < 0 {
                // What is left of the whole is bounded by the count, which is always part of the invariant.
                facts.extend((first.regs[a] != *left).then_some(Fact::NotAbove(a)));
                facts.extend(LEAST.map(|least| Fact::AtLeast(a, least)));
                continue;
            }
            for b in (0..REGISTERS).filter(|b| shapes[*b] == Shape::Fixed) {
                if first.regs[b].mentions(&len) {
                    facts.push(Fact::Below(a, b));
                }
            }
        }
        let mut hold = Vec::new();
        for fact in facts {
            if self.holds(first, &fact.of(&first.regs, &first.regs, &Term::of(0)))? {
                hold.push(fact);
            }
        }
        Ok(hold)
    }

    /// Whether a template found for another first arrival also fits this one.
    fn starts(&mut self, first: &State, template: &Template) -> Result<bool> {
        let loaded = |register: usize| match first.regs[register].single() {
            Some(Atom::Var(name)) => first.loads.contains_key(&**name),
            _ => false,
        };
        let shapes = template.shapes.iter().enumerate();
        if shapes.filter(|(_, shape)| matches!(shape, Shape::Loaded(_))).any(|(at, _)| !loaded(at))
        {
            return Ok(false);
        }
        let zero = Term::of(0);
        let facts = template.facts.iter().map(|fact| fact.of(&first.regs, &first.regs, &zero));
        let Some(count) = template.counts.first() else { return Ok(false) };
        let done = self.done(first, &count.of(&first.regs, &self.symbols));
        self.holds(first, &Cond::all(facts.chain([done])))
    }

    /// The first arrival without its stores, if those are just the bytes that count as done: the invariant speaks of
    /// them already.
    fn base(&mut self, first: &State, template: &Template) -> Result<State> {
        let count = template.counts.first().context("no count")?;
        let done = count.of(&first.regs, &self.symbols);
        let below = Cond::below(&self.symbols.byte, &done);
        let mut base = first.clone();
        if self.holds(first, &Cond::either(&first.touched.not(), &below))? {
            (base.touched, base.good) = (Cond::never(), Cond::always());
        }
        Ok(base)
    }

    /// One turn from any number of turns: the paths that leave, if the invariant holds again on all that come round.
    fn turn(
        &mut self,
        first: &State,
        template: &Template,
        stops: &[u64],
    ) -> Result<Option<Vec<State>>> {
        let (head, _) = self.head(first, template)?;
        let within: Vec<u64> = stops.iter().copied().chain([first.at]).collect();
        let (around, out): (Vec<_>, Vec<_>) =
            self.run(head.clone(), &within)?.into_iter().partition(|state| state.at == first.at);
        for state in &around {
            let claims = self.claims(first, template, &head, state);
            let Some(claims) = claims else { return Ok(None) };
            for claim in claims {
                if !self.holds(state, &claim)? {
                    return Ok(None);
                }
            }
        }
        Ok((!self.again).then_some(out))
    }

    /// Any state at the head that the invariant allows, and the bytes done since the first arrival.
    fn head(&mut self, first: &State, template: &Template) -> Result<(State, Term)> {
        let count = *template.counts.first().context("no count")?;
        let then = count.of(&first.regs, &self.symbols);
        // The bytes done, as a symbol, keep the terms short where loops follow one another.
        let symbol = self.solver.symbol("done")?;
        let since = if count.rises(template) { symbol.sub(&then) } else { symbol };
        let mut head = first.clone();
        head.begins = Some(first.at);
        head.seen.clear();
        head.flags = Flags::default();
        for (register, shape) in template.shapes.iter().enumerate() {
            head.regs[register] = match shape {
                Shape::Fixed => continue,
                Shape::Moves(factor) => first.regs[register].add(&since.times(*factor)),
                Shape::Any => self.solver.symbol("any")?,
                Shape::Loaded(factor) => {
                    let Some(Atom::Var(name)) = first.regs[register].single() else { continue };
                    let then = first.loads.get(&**name).context("not loaded")?.clone();
                    let symbol = self.solver.symbol("loaded")?;
                    let offset = then.offset.add(&since.times(*factor));
                    head.loads.insert(name_of(&symbol), Loaded { offset, ..then });
                    symbol
                }
            };
        }
        let done = count.of(&head.regs, &self.symbols);
        head.path.push(Cond::at_most(&done, &self.symbols.len));
        head.path.push(Cond::at_most(&then, &done));
        let facts = template.facts.iter().map(|fact| fact.of(&head.regs, &first.regs, &since));
        head.path.extend(facts.filter(|fact| fact.value().is_none()));
        (head.touched, head.good, head.range) = (first.touched.clone(), first.good.clone(), None);
        head.store(&self.symbols, &Term::of(0), &done, &Cond::always());
        head.trace.push(Event::Loop(first.at, done));
        Ok((head, since))
    }

    /// What has to hold when a path comes round, for the invariant to hold again; `None` if it cannot.
    fn claims(
        &self,
        first: &State,
        template: &Template,
        head: &State,
        state: &State,
    ) -> Option<Vec<Cond>> {
        if state.stack != first.stack || state.hopeless != first.hopeless {
            return None;
        }
        let since = self.since(first, template, state);
        let mut claims = Vec::new();
        for register in 0..REGISTERS {
            claims.extend(self.shape_claim(first, template, state, register, &since)?);
        }
        claims.extend(template.facts.iter().map(|fact| fact.of(&state.regs, &first.regs, &since)));
        claims.extend(self.count_claims(first, *template.counts.first()?, head, state));
        Some(claims)
    }

    fn since(&self, first: &State, template: &Template, state: &State) -> Term {
        let (pivot, sign) = template.pivot;
        state.regs[pivot].sub(&first.regs[pivot]).times(sign)
    }

    fn shape_claim(
        &self,
        first: &State,
        template: &Template,
        state: &State,
        register: usize,
        since: &Term,
    ) -> Option<Option<Cond>> {
        let (was, is) = (&first.regs[register], &state.regs[register]);
        Some(match template.shapes[register] {
            Shape::Any => None,
            Shape::Fixed => Some(Cond::eq(is, was)),
            Shape::Moves(factor) => Some(Cond::eq(is, &was.add(&since.times(factor)))),
            Shape::Loaded(factor) => {
                let find = |state: &State, term: &Term| match term.single() {
                    Some(Atom::Var(name)) => state.loads.get(&**name).cloned(),
                    _ => None,
                };
                let (was, is) = (find(first, was)?, find(state, is)?);
                let place = was.offset.add(&since.times(factor));
                Some(Cond::all([
                    (if was.bytes == is.bytes { Cond::always() } else { Cond::never() }),
                    Cond::eq(&is.offset, &place),
                ]))
            }
        })
    }

    /// More bytes are done, and they alone are stored since the first arrival.
    fn count_claims(&self, first: &State, count: Count, head: &State, state: &State) -> [Cond; 5] {
        let s = &self.symbols;
        let (before, now) = (count.of(&head.regs, s), count.of(&state.regs, s));
        let below = Cond::below(&s.byte, &now);
        let no_more = Cond::either(&state.touched.not(), &Cond::either(&below, &first.touched));
        let as_good = Cond::either(&Cond::either(&below, &first.good).not(), &state.good);
        let all = Cond::either(&first.touched.not(), &state.touched);
        [Cond::below(&before, &now), self.done(state, &now), no_more, as_good, all]
    }

    /// Takes away from the guess what did not hold after one turn; whether anything was.
    fn weaken(&mut self, first: &State, template: &mut Template) -> Result<bool> {
        let (head, _) = self.head(first, template)?;
        let mark = (self.findings.len(), self.paths);
        let around: Vec<State> = self
            .run(head.clone(), &[first.at])?
            .into_iter()
            .filter(|state| state.at == first.at)
            .collect();
        self.rewind(mark);
        let mut weaker = false;
        for state in &around {
            let since = self.since(first, template, state);
            for register in 0..REGISTERS {
                let claim = self.shape_claim(first, template, state, register, &since);
                let holds = match claim {
                    None => false,
                    Some(None) => true,
                    Some(Some(claim)) => self.holds(state, &claim)?,
                };
                if !holds {
                    template.shapes[register] = Shape::Any;
                    weaker = true;
                }
            }
            let mut kept = Vec::new();
            for fact in std::mem::take(&mut template.facts) {
                if self.holds(state, &fact.of(&state.regs, &first.regs, &since))? {
                    kept.push(fact);
                } else {
                    weaker = true;
                }
            }
            template.facts = kept;
        }
        template.counts.retain(|count| match count {
            Count::Behind(r) | Count::BehindSource(r) | Count::Rest(r) | Count::Number(r) => {
                matches!(template.shapes[*r], Shape::Moves(_))
            }
        });
        if !weaker && template.counts.len() > 1 {
            template.counts.remove(0);
            weaker = true;
        }
        let pivot = matches!(template.shapes[template.pivot.0], Shape::Moves(_));
        Ok(weaker && pivot && !template.counts.is_empty())
    }
}

/// The name of a symbol.
fn name_of(symbol: &Term) -> String {
    symbol.to_string().trim().to_owned()
}

/// How far a difference is from 0.
fn distance(difference: u64) -> u64 {
    difference.cast_signed().unsigned_abs()
}
