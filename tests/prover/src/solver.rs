//! z3 as a child process that is asked over a pipe, in SMT-LIB.
//!
//! A question is put about integers first ([`Integers`]), and about bits only if that does not
//! settle it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::integers::Integers;
use super::term::{Cond, Term};
use faultless_tools::process::on_path;

/// Steps of the solver for one question. Not a time, so that the answers are the same on every
/// machine.
const LIMIT: u32 = 100_000_000;

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

/// A running z3.
#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start() -> Result<Self> {
        let mut command = Command::new("z3");
        command.args(["-in", "-smt2"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run z3")?;
        let input = child.stdin.take().context("z3 has no input")?;
        let output = BufReader::new(child.stdout.take().context("z3 has no output")?);
        let mut process = Self { child, input, output };
        process.say(&format!("(set-option :rlimit {LIMIT})"))?;
        Ok(process)
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

    fn check(&mut self, command: &str) -> Result<Answer> {
        self.say(command)?;
        Ok(match self.hear()?.as_str() {
            "sat" => Answer::Sat,
            "unsat" => Answer::Unsat,
            _ => Answer::Unknown,
        })
    }

    /// A term's value: the number at the end of an answer, which may have several lines.
    fn value(&mut self, term: &str) -> Result<u64> {
        self.say(&format!("(get-value ({term}))"))?;
        let mut text = self.hear()?;
        while !text.ends_with("))") {
            text.push_str(&self.hear()?);
        }
        let word = text.trim_end_matches(')').rsplit([' ', '(']).next().unwrap_or("");
        let number = match word.strip_prefix("#x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.with_context(|| format!("z3 says: {text}"))
    }

    fn values(&mut self, terms: &[String]) -> Result<Vec<u64>> {
        terms.iter().map(|term| self.value(term)).collect()
    }
}

/// A solver to which questions are put.
#[derive(Debug)]
pub(crate) struct Solver {
    process: Process,
    symbols: usize,
    /// Questions asked so far.
    pub(crate) questions: usize,
}

impl Solver {
    /// Starts z3.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { process: Process::start()?, symbols: 0, questions: 0 })
    }

    /// A new symbol, whose name begins with `name`.
    pub(crate) fn symbol(&mut self, name: &str) -> Term {
        let name = format!("{name}!{}", self.symbols);
        self.symbols += 1;
        Term::var(&name)
    }

    /// Whether a path's conditions and another can hold at once.
    pub(crate) fn ask(&mut self, path: &[Cond], condition: &Cond) -> Result<Answer> {
        Ok(self.example(path, &[condition], &[])?.0)
    }

    /// The values of some terms in a case in which all conditions hold, if the answer is that there
    /// is one.
    pub(crate) fn example(
        &mut self,
        path: &[Cond],
        conditions: &[&Cond],
        terms: &[Term],
    ) -> Result<Example> {
        self.questions += 1;
        let conditions: Vec<&Cond> = path.iter().chain(conditions.iter().copied()).collect();
        let (example, is_weaker) = self.about_integers(&conditions, terms)?;
        match example.0 {
            Answer::Unsat => Ok(example),
            Answer::Sat if !is_weaker => Ok(example),
            Answer::Sat | Answer::Unknown => self.about_words(&conditions, terms),
        }
    }

    /// The question as one of integers, and whether that has cases which the original has not.
    fn about_integers(&mut self, conditions: &[&Cond], terms: &[Term]) -> Result<(Example, bool)> {
        let mut integers = Integers::default();
        conditions.iter().for_each(|condition| integers.assert(condition));
        let terms: Vec<String> = terms.iter().map(|term| integers.word(term)).collect();
        let example = self.scoped(&integers.text, "(check-sat)", &terms)?;
        Ok((example, integers.is_weaker))
    }

    /// The question as one of bits.
    fn about_words(&mut self, conditions: &[&Cond], terms: &[Term]) -> Result<Example> {
        let mut symbols = BTreeSet::new();
        conditions.iter().for_each(|condition| condition.symbols(&mut symbols));
        terms.iter().for_each(|term| term.symbols(&mut symbols));
        let mut text = String::new();
        for name in symbols {
            text.push_str(&format!("(declare-const {name} (_ BitVec 64))\n"));
        }
        for condition in conditions {
            text.push_str(&format!("(assert {condition})\n"));
        }
        let terms: Vec<String> = terms.iter().map(ToString::to_string).collect();
        self.scoped(&text, "(check-sat-using qfbv)", &terms)
    }

    fn scoped(&mut self, text: &str, check: &str, terms: &[String]) -> Result<Example> {
        self.process.say("(push)")?;
        self.process.say(text)?;
        let answer = self.process.check(check)?;
        if answer == Answer::Unknown {
            // One that has given up once may do so too early later.
            self.process = Process::start()?;
            return Ok((answer, None));
        }
        let values = (answer == Answer::Sat).then(|| self.process.values(terms)).transpose()?;
        self.process.say("(pop)")?;
        Ok((answer, values))
    }
}

/// An answer, and values if it is [`Answer::Sat`].
pub(crate) type Example = (Answer, Option<Vec<u64>>);

impl Drop for Process {
    fn drop(&mut self) {
        // The child may be gone already; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::super::term::Op;
    use super::*;

    #[test]
    fn sums_wrap_and_an_example_is_given() {
        if missing().is_some() {
            return;
        }
        let mut solver = Solver::start().expect("z3 runs");
        let a = solver.symbol("a");
        let wraps = Cond::below(&a.add_to(2), &a);
        let top = Cond::eq(&a.add_to(1), &Term::of(0));
        assert_eq!(solver.ask(std::slice::from_ref(&wraps), &top).expect("an answer"), Answer::Sat);
        let other = Cond::below(&a, &Term::of(100));
        assert_eq!(solver.ask(&[wraps], &other).expect("an answer"), Answer::Unsat);
        let example = solver.example(&[], &[&top], &[a.clone(), a.add_to(3)]).expect("an answer");
        assert_eq!(example, (Answer::Sat, Some(vec![u64::MAX, 2])));
    }

    #[test]
    fn integers_and_bits_give_the_same_answers() {
        if missing().is_some() {
            return;
        }
        let mut solver = Solver::start().expect("z3 runs");
        let (a, b) = (solver.symbol("a"), solver.symbol("b"));
        let masked = |mask: u64| Term::bits(Op::And, &a, &Term::of(mask));
        let conditions = [
            Cond::below(&a.sub(&b), &a),
            Cond::below(&a.times(3).add_to(5), &b),
            Cond::eq(&masked(0x1c), &Term::of(8)),
            Cond::below(&masked(!0xf), &masked(u64::MAX - 1)),
            Cond::eq(&masked(0x8000_0000_0000_0001), &Term::of(1 << 63)),
            Cond::less(&a, &b.add_to(1)),
            Cond::eq(&Term::bits(Op::Shr, &a, &Term::of(60)), &Term::of(15)),
            Cond::below(&Term::choice(Cond::below(&a, &b), &a, &b), &Term::of(9)),
        ];
        for one in &conditions {
            for other in conditions.iter().flat_map(|other| [other.clone(), other.not()]) {
                let both = [one, &other];
                let (integers, is_weaker) = solver.about_integers(&both, &[]).expect("an answer");
                let bits = solver.about_words(&both, &[]).expect("an answer");
                assert!(!is_weaker);
                assert_eq!(integers.0, bits.0, "{one} and {other}");
            }
        }
        // What is not linear is asked about bits.
        let square = Term::bits(Op::Mul, &a, &a);
        let conditions = [Cond::eq(&square, &Term::of(5)), Cond::below(&a, &Term::of(64))];
        assert_eq!(solver.ask(&conditions[..1], &conditions[1]).expect("an answer"), Answer::Unsat);
    }
}
