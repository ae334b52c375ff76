//! z3 as a child process that is asked over a pipe, in SMT-LIB.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::term::{Cond, Term};
use crate::process::on_path;

/// Steps of the solver for one question. Not a time, so that the answers are the same on every machine.
const LIMIT: u32 = 1_000_000_000;

/// Why the proofs cannot be run, or `None`.
pub(crate) fn missing() -> Option<String> {
    (!on_path("z3")).then(|| "z3: apt-get install z3".to_owned())
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Some values of the symbols satisfy all conditions.
    Sat,
    /// None do.
    Unsat,
    /// The solver gave up.
    Unknown,
}

/// A running solver.
#[derive(Debug)]
pub(crate) struct Solver {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    symbols: usize,
    /// The conditions that are asserted, each on a level of its own.
    path: Vec<Cond>,
    /// Questions asked so far.
    pub(crate) questions: usize,
}

impl Solver {
    /// Starts z3.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new("z3");
        command.args(["-in", "-smt2"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run z3")?;
        let input = child.stdin.take().context("z3 has no input")?;
        let output = BufReader::new(child.stdout.take().context("z3 has no output")?);
        let mut solver = Self { child, input, output, symbols: 0, path: Vec::new(), questions: 0 };
        solver.say("(set-option :global-declarations true)")?;
        solver.say(&format!("(set-option :rlimit {LIMIT})"))?;
        solver.say("(set-logic QF_BV)")?;
        Ok(solver)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("z3 is gone")
    }

    fn hear(&mut self) -> Result<String> {
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line).context("z3 is gone")?;
        let line = line.trim();
        if line.is_empty() || line.contains("error") {
            bail!("z3 says: {line}");
        }
        Ok(line.to_owned())
    }

    /// A new symbol, whose name begins with `name`.
    pub(crate) fn symbol(&mut self, name: &str) -> Result<Term> {
        let name = format!("{name}!{}", self.symbols);
        self.symbols += 1;
        self.say(&format!("(declare-const {name} (_ BitVec 64))"))?;
        Ok(Term::var(&name))
    }

    /// Makes the solver's assumptions those of a path. It keeps what two paths have in common, and what it learnt there.
    fn assume(&mut self, path: &[Cond]) -> Result<()> {
        let common = self.path.iter().zip(path).take_while(|(a, b)| a == b).count();
        let superfluous = self.path.len() - common;
        if superfluous > 0 {
            self.say(&format!("(pop {superfluous})"))?;
            self.path.truncate(common);
        }
        for condition in &path[common..] {
            self.say(&format!("(push)(assert {condition})"))?;
            self.path.push(condition.clone());
        }
        Ok(())
    }

    /// Whether a path's conditions and another can hold at once.
    pub(crate) fn ask(&mut self, path: &[Cond], condition: &Cond) -> Result<Answer> {
        self.assume(path)?;
        self.say("(push)")?;
        let answer = self.check(&[condition]);
        self.say("(pop)")?;
        answer
    }

    fn check(&mut self, conditions: &[&Cond]) -> Result<Answer> {
        self.questions += 1;
        for condition in conditions {
            self.say(&format!("(assert {condition})"))?;
        }
        self.say("(check-sat)")?;
        Ok(match self.hear()?.as_str() {
            "sat" => Answer::Sat,
            "unsat" => Answer::Unsat,
            _ => Answer::Unknown,
        })
    }

    /// The values of some terms in a case in which all conditions hold, if there is one.
    pub(crate) fn example(
        &mut self,
        path: &[Cond],
        conditions: &[&Cond],
        terms: &[Term],
    ) -> Result<Option<Vec<u64>>> {
        self.assume(path)?;
        self.say("(push)")?;
        let mut values = None;
        if self.check(conditions)? == Answer::Sat {
            let mut all = Vec::new();
            for term in terms {
                self.say(&format!("(get-value ({term}))"))?;
                all.push(self.value()?);
            }
            values = Some(all);
        }
        self.say("(pop)")?;
        Ok(values)
    }

    /// The hexadecimal number at the end of an answer, which may have several lines.
    fn value(&mut self) -> Result<u64> {
        let mut text = self.hear()?;
        while !text.ends_with("))") {
            text.push_str(&self.hear()?);
        }
        let digits = text.trim_end_matches(')').rsplit("#x").next().unwrap_or("");
        u64::from_str_radix(digits, 16).with_context(|| format!("z3 says: {text}"))
    }
}

impl Drop for Solver {
    fn drop(&mut self) {
        // The child may be gone already; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_wrap_and_an_example_is_given() {
        if missing().is_some() {
            return;
        }
        let mut solver = Solver::start().expect("z3 runs");
        let a = solver.symbol("a").expect("z3 listens");
        let wraps = Cond::below(&a.add_to(2), &a);
        let top = Cond::eq(&a.add_to(1), &Term::of(0));
        assert_eq!(solver.ask(std::slice::from_ref(&wraps), &top).expect("an answer"), Answer::Sat);
        let other = Cond::below(&a, &Term::of(100));
        assert_eq!(solver.ask(&[wraps], &other).expect("an answer"), Answer::Unsat);
        let example = solver.example(&[], &[&top], &[a.clone(), a.add_to(3)]).expect("an answer");
        assert_eq!(example, Some(vec![u64::MAX, 2]));
    }
}
