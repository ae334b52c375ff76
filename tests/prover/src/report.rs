//! The shortest story of how a function goes wrong, which is a [`Finding`].

#![forbid(unsafe_code)]

use anyhow::Result;

use super::explore::{Kind, Prover};
use super::finding::{Finding, place};
use super::lift;
use super::state::State;
use super::term::{Cond, Term};

/// Lengths that a counterexample is looked for with, the smallest first.
const LENGTHS: [u64; 8] = [4, 8, 16, 32, 64, 96, 160, 4096];

impl Prover<'_> {
    /// The shortest case found in which a claim does not hold.
    pub(super) fn counterexample(
        &mut self,
        state: &State,
        what: &str,
        claim: &Cond,
    ) -> Result<Finding> {
        let s = self.symbols.clone();
        let (.., result) = lift::convention(self.image.isa);
        let mut terms = vec![s.len.clone(), state.regs[result].clone(), s.byte.clone()];
        terms.extend(state.trace.iter().map(|fault| fault.offset.clone()));
        let not = claim.not();
        let mut values = None;
        let byte = Cond::below(&s.byte, &s.len);
        let any = Cond::always();
        let short = LENGTHS.map(|most| Cond::at_most(&s.len, &Term::of(most)));
        for (short, byte) in
            short.iter().map(|short| (short, &byte)).chain([(&any, &byte), (&any, &any)])
        {
            values = self.solver.example(&state.path, &[&not, short, byte], &terms)?.1;
            if values.is_some() {
                break;
            }
        }
        let what = format!("{what}, at {}", place(self.image, state.at));
        let Some(values) = values else {
            return Ok(Finding {
                refuted: false,
                what,
                story: vec!["no example was found".into()],
            });
        };
        let mut story = vec![format!("len {}, byte {} of it", values[0], values[2])];
        let side = if self.kind == Kind::FromUser { "source" } else { "destination" };
        for (fault, value) in state.trace.iter().zip(&values[3..]) {
            let (value, place) = (value.cast_signed(), place(self.image, fault.at));
            story.push(format!("fault at {side} byte {value} ({} bytes): {place}", fault.bytes));
        }
        if self.image.at(state.at)?.name == "ret" {
            let copied = values[0].wrapping_sub(values[1]);
            story.push(format!("result {} (copied {copied})", values[1]));
        }
        Ok(Finding { refuted: true, what, story })
    }
}
