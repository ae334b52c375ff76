//! What a checker is: it plays rounds, each from one seed.

#![forbid(unsafe_code)]

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Error, Result, bail};

/// A random checker of the repository.
pub(super) trait Checker: Send {
    /// Its name in the table, and for `--only`.
    fn name(&self) -> &str;

    /// Plays what this seed brings, for about `slice`.
    ///
    /// # Errors
    /// If a round cannot be played at all. What a round finds is no error.
    fn round(&mut self, seed: u32, slice: Duration) -> Result<Round>;
}

/// What a round was.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Inputs, cases, schedules or tests that were played.
    pub(super) inputs: u64,
    /// What was found, if anything: a round ends with the first find.
    pub(super) find: Option<Find>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Find {
    /// What was seen, in one line.
    pub(super) what: String,
    /// The command that plays it again, in one line.
    pub(super) replay: String,
}

/// A bug that is planted: to see that it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bug {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// The kinds of checkers that a bug can be planted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fuzz,
    Oracle,
    Model,
}

impl Bug {
    /// Its name, if it is of this kind.
    pub(super) fn of(bug: Option<&Self>, kind: Kind) -> Option<&str> {
        bug.filter(|bug| bug.kind == kind).map(|bug| bug.name.as_str())
    }
}

impl FromStr for Bug {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((kind, name)) = text.split_once('=') else { bail!("a bug is KIND=BUG") };
        let kind = match kind {
            "fuzz" => Kind::Fuzz,
            "oracle" => Kind::Oracle,
            "model" => Kind::Model,
            other => bail!("there is no kind {other}; there are fuzz, oracle and model"),
        };
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// How many inputs fit into a slice of time, learnt from round to round.
#[derive(Debug)]
pub(super) struct Pace {
    inputs: u64,
}

impl Pace {
    /// Begins with so many.
    pub(super) const fn new(inputs: u64) -> Self {
        Self { inputs }
    }

    pub(super) const fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Takes in what a whole round took.
    pub(super) fn learn(&mut self, took: Duration, slice: Duration) {
        let factor = slice.as_secs_f64() / took.as_secs_f64().max(0.001);
        self.inputs = ((self.inputs as f64 * factor.clamp(0.25, 4.0)) as u64).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_the_time_and_never_stops() {
        let mut pace = Pace::new(100);
        pace.learn(Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(pace.inputs(), 200);
        pace.learn(Duration::ZERO, Duration::from_secs(2));
        assert_eq!(pace.inputs(), 800);
        for _ in 0..20 {
            pace.learn(Duration::from_secs(100), Duration::from_secs(1));
        }
        assert_eq!(pace.inputs(), 1);
    }

    #[test]
    fn a_bug_has_a_kind_and_a_name() {
        let bug = Bug::from_str("oracle=s2").expect("a bug");
        assert_eq!(Bug::of(Some(&bug), Kind::Oracle), Some("s2"));
        assert_eq!(Bug::of(Some(&bug), Kind::Fuzz), None);
        assert!(Bug::from_str("s2").is_err() && Bug::from_str("x=s2").is_err());
    }
}
