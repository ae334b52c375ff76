//! Scripts: what goes wrong, and when. "The third atomic copy stops after 17 bytes", "the pages are
//! stolen between fault-in and copy", "unmapped while asleep", "fault-in is switched off".
//!
//! Key types: [`Rule`] = [`Event`] + [`When`] + [`Action`]; [`Script`], the rules of one address
//! space and its counts of events. Works on both MMUs. A script that is empty costs one load.
//! Neighbour: [`crate::space`] asks the script before each event and carries the actions out.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arbitrary::{Arbitrary, Unstructured};

use crate::mmu::Protection;
use crate::rng::Rng;

/// What can be interfered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub enum Event {
    /// An atomic copy, just before it.
    AtomicCopy,
    /// A copy that may fault (temporary page, iovec import, probes excluded), just before it.
    FaultingCopy,
    /// A fault-in of a range, just before it.
    FaultIn,
    /// A fault, before the handler takes M: the thread "sleeps".
    Fault,
    /// A fault of an atomic copy, before the copy goes on with what it can still reach.
    #[arbitrary(skip)]
    AtomicFault,
}

const EVENTS: usize = 5;

/// Which of the events, counted from 1 since the script was last [cleared](Script::clear).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub enum When {
    /// This one only.
    Nth(u64),
    /// This one and all after it.
    From(u64),
    /// Each one whose number is a multiple of this (0 counts as 1).
    Every(u64),
}

/// What happens.
#[derive(Clone)]
pub enum Action {
    /// The copy ends after at most so many bytes: a short copy. For [`Event::AtomicCopy`] and
    /// [`Event::FaultingCopy`]. (0 bytes of a readable source is against U2 unless it is taken for
    /// a theft.)
    Short(usize),
    /// The pages of the range are stolen: not resident any more, contents kept.
    Steal,
    /// All pages of the address space are stolen.
    StealAll,
    /// The pages of the range are unmapped, as by another thread.
    Unmap,
    /// The page before the range is unmapped, as by another thread.
    UnmapBefore,
    /// The pages of the range get this protection, as by another thread.
    Protect(Protection),
    /// The fault-in does nothing and says that all is well (5fe17237). For [`Event::FaultIn`].
    Lie,
    /// The fault-in does nothing and says that nothing can be reached. For [`Event::FaultIn`].
    Refuse,
    /// This is called, on the thread of the event. For an atomic copy pages may be locked: it must
    /// not lock any.
    Call(Arc<dyn Fn(Moment) + Send + Sync>),
}

/// Where in the run an action happens.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Number of the event, from 1.
    pub number: u64,
    /// User address of the range.
    pub addr: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// One line of a script.
#[derive(Clone, Debug, Arbitrary)]
pub struct Rule {
    /// What it is about.
    pub event: Event,
    /// Which one of them.
    pub when: When,
    /// What happens.
    pub action: Action,
}

/// The rules of one address space.
#[derive(Debug, Default)]
pub struct Script {
    rules: Mutex<Vec<Rule>>,
    counts: [AtomicU64; EVENTS],
    armed: AtomicBool,
}

impl Script {
    /// Adds a rule. Rules for the same moment are carried out in the order in which they were
    /// added.
    pub fn add(&self, event: Event, when: When, action: Action) {
        self.add_rule(Rule { event, when, action });
    }

    /// Adds a rule.
    pub fn add_rule(&self, rule: Rule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
        self.armed.store(true, Ordering::Release);
    }

    /// Forgets all rules and counts from 1 again.
    pub fn clear(&self) {
        self.armed.store(false, Ordering::Release);
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Events of this kind so far.
    #[must_use]
    pub fn count(&self, event: Event) -> u64 {
        self.counts[event as usize].load(Ordering::Relaxed)
    }

    /// Counts an event, and says what is to happen at it and which number it has.
    pub(crate) fn at(&self, event: Event) -> (u64, Vec<Action>) {
        let number = self.counts[event as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if !self.armed.load(Ordering::Acquire) {
            return (number, Vec::new());
        }
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |rule: &&Rule| rule.event == event && rule.when.is(number);
        (number, rules.iter().filter(due).map(|rule| rule.action.clone()).collect())
    }
}

impl When {
    pub(crate) fn is(self, number: u64) -> bool {
        match self {
            Self::Nth(n) => number == n,
            Self::From(n) => number >= n,
            Self::Every(n) => number.is_multiple_of(n.max(1)),
        }
    }
}

impl Rule {
    /// A rule by chance, for the first few events, that a correct kernel survives with the right
    /// result: it steals, shortens and lies once, but takes nothing away for good.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let when = When::Nth(1 + rng.below(6));
        let (event, action) = match rng.below(6) {
            0 => (Event::AtomicCopy, Action::Short(1 + rng.below(4096) as usize)),
            1 => (Event::AtomicCopy, Action::Short(1 + rng.below(8) as usize)),
            2 => (Event::AtomicCopy, Action::Steal),
            3 => (Event::AtomicCopy, Action::StealAll),
            4 => (Event::FaultIn, Action::Lie),
            _ => (Event::Fault, Action::StealAll),
        };
        Self { event, when, action }
    }
}

/// Everything but [`Action::UnmapBefore`] and [`Action::Call`].
impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match u.int_in_range(0..=6)? {
            0 => Self::Short(usize::from(u.arbitrary::<u16>()?)),
            1 => Self::Steal,
            2 => Self::StealAll,
            3 => Self::Unmap,
            4 => Self::Protect(u.arbitrary()?),
            5 => Self::Lie,
            _ => Self::Refuse,
        })
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(bytes) => write!(f, "Short({bytes})"),
            Self::Steal => f.write_str("Steal"),
            Self::StealAll => f.write_str("StealAll"),
            Self::Unmap => f.write_str("Unmap"),
            Self::UnmapBefore => f.write_str("UnmapBefore"),
            Self::Protect(protection) => write!(f, "Protect({protection:?})"),
            Self::Lie => f.write_str("Lie"),
            Self::Refuse => f.write_str("Refuse"),
            Self::Call(_) => f.write_str("Call(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_due_at_its_events_only() {
        let script = Script::default();
        script.add(Event::AtomicCopy, When::Nth(2), Action::Steal);
        script.add(Event::AtomicCopy, When::From(3), Action::Lie);
        let due: Vec<usize> = (0..4).map(|_| script.at(Event::AtomicCopy).1.len()).collect();
        assert_eq!(due, [0, 1, 1, 1]);
        assert!(script.at(Event::Fault).1.is_empty());
        script.clear();
        assert_eq!(script.at(Event::AtomicCopy).0, 1);
    }
}
