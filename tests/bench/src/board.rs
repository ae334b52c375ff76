//! What a row of the scoreboard says: a figure, what it is compared with, and the bars.
//!
//! Key types: [`Goal`], what a row asks for; [`Line`], what came out. Neighbours:
//! [`rows`](crate::rows) has the rows, [`report`](crate::report) prints the lines.

#![forbid(unsafe_code)]

use super::measure::{Measured, Role};
use super::stats::Spread;

/// On which side of a bar the good values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    AtMost,
    AtLeast,
}

impl Sense {
    /// Whether `found` reaches the bar.
    fn reaches(self, found: f64, bar: f64) -> bool {
        match self {
            Self::AtMost => found <= bar,
            Self::AtLeast => found >= bar,
        }
    }

    /// How it is written before a bar.
    pub(super) fn sign(self) -> char {
        match self {
            Self::AtMost => '≤',
            Self::AtLeast => '≥',
        }
    }
}

/// What is asked of a ratio.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// What the subject is compared with. The subject itself: the bars are its value's.
    against: Role,
    sense: Sense,
    /// What a release needs.
    must: Option<f64>,
    /// What we are here for.
    stretch: Option<f64>,
}

impl Goal {
    /// At most these times the other's.
    pub(super) const fn at_most(against: Role, must: f64, stretch: f64) -> Self {
        Self { against, sense: Sense::AtMost, must: Some(must), stretch: Some(stretch) }
    }

    /// At least this part of the other's.
    pub(super) const fn at_least(against: Role, must: f64, stretch: f64) -> Self {
        Self { sense: Sense::AtLeast, ..Self::at_most(against, must, stretch) }
    }

    /// The same without a bar for a release.
    pub(super) const fn only_stretch(self) -> Self {
        Self { must: None, ..self }
    }

    /// The same without another bar.
    pub(super) const fn only_must(self) -> Self {
        Self { stretch: None, ..self }
    }

    /// What became of it. `None` if the other has not run.
    fn judge(self, measured: &Measured) -> Option<Judged> {
        if self.against == Role::Subject {
            let found = measured.time(Role::Subject)?.median;
            let Self { sense, must, stretch, .. } = self;
            return Some(Judged {
                against: "",
                found,
                error: 0.0,
                sense,
                must,
                stretch,
                limit: None,
            });
        }
        let error = measured.error(self.against)?;
        let found = measured.ratio(self.against)?.median;
        // What a machine decides: how fast its copies and its system calls are.
        let foreign = matches!(self.against, Role::Memcpy | Role::Tmpfs | Role::HugeTmpfs);
        let limit = measured.ratio_of(Role::Limit, self.against).filter(|_| foreign);
        let Self { sense, must, stretch, .. } = self;
        let limit = limit.map(|spread| spread.median);
        Some(Judged { against: self.against.name(), found, error, sense, must, stretch, limit })
    }
}

/// A value beside its bars.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// What the value relates to, if anything.
    pub(super) against: &'static str,
    pub(super) found: f64,
    /// How far off it may be by chance.
    pub(super) error: f64,
    pub(super) sense: Sense,
    pub(super) must: Option<f64>,
    pub(super) stretch: Option<f64>,
    /// What the limit itself has in place of `found`. A bar that it does not reach, no cache can
    /// reach on this machine: it does not count.
    pub(super) limit: Option<f64>,
}

impl Judged {
    /// A value that relates to nothing.
    pub(super) const fn value(found: f64, sense: Sense, must: f64, stretch: f64) -> Self {
        let (must, stretch) = (Some(must), Some(stretch));
        Self { against: "", found, error: 0.0, sense, must, stretch, limit: None }
    }

    /// Whether the limit does not reach the bar.
    pub(super) fn is_beyond_the_limit(&self, bar: f64) -> bool {
        self.limit.is_some_and(|limit| !self.sense.reaches(limit, bar))
    }

    /// The bar, if it counts.
    fn counts(&self, bar: Option<f64>) -> Option<f64> {
        bar.filter(|bar| !self.is_beyond_the_limit(*bar))
    }

    /// Whether the bar for a release is missed by no more than chance may be off.
    fn is_missed_by_chance(&self) -> bool {
        let better = match self.sense {
            Sense::AtMost => self.found - self.error,
            Sense::AtLeast => self.found + self.error,
        };
        let by_chance =
            |bar| !self.sense.reaches(self.found, bar) && self.sense.reaches(better, bar);
        self.counts(self.must).is_some_and(by_chance)
    }

    /// Whether the bars are reached, as far as they count.
    fn reached(&self) -> (bool, bool) {
        let reaches = |bar| self.counts(bar).is_none_or(|bar| self.sense.reaches(self.found, bar));
        (reaches(self.must), reaches(self.stretch))
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) title: String,
    /// The figure as it is printed.
    pub(super) figure: String,
    /// The figures with their names, for programs.
    pub(super) values: Vec<(&'static str, f64)>,
    pub(super) goals: Vec<Judged>,
    /// The subject relative to each competitor.
    pub(super) ratios: Vec<(Role, Spread)>,
    /// Why the line says nothing, if so.
    pub(super) void: Option<String>,
    /// Rounds that were dropped for a switch of threads.
    pub(super) dropped: usize,
}

/// How far the control may be off before a line is void.
const TOLERANCE: f64 = 0.03;

/// Whether the control is as fast as the subject.
fn is_controlled(measured: &Measured) -> bool {
    let control = measured.ratio(Role::Control);
    control.is_some_and(|spread| (spread.median - 1.0).abs() <= TOLERANCE)
}

/// Whether it is known if the goals are reached, as far as rounds can tell.
pub(super) fn is_clear(goals: &[Goal], measured: &Measured) -> bool {
    let mut judged = goals.iter().filter_map(|goal| goal.judge(measured));
    is_controlled(measured) && !judged.any(|judged| judged.is_missed_by_chance())
}

impl Line {
    /// A line with one value.
    pub(super) fn exact(number: u32, title: &str, figure: String, goal: Judged) -> Self {
        Self {
            number,
            title: title.to_owned(),
            figure,
            values: vec![("found", goal.found)],
            goals: vec![goal],
            ratios: Vec::new(),
            void: None,
            dropped: 0,
        }
    }

    /// A line that could not be measured.
    pub(super) fn void(number: u32, title: &str, why: &str) -> Self {
        Self {
            number,
            title: title.to_owned(),
            figure: String::new(),
            values: Vec::new(),
            goals: Vec::new(),
            ratios: Vec::new(),
            void: Some(why.to_owned()),
            dropped: 0,
        }
    }

    /// What rounds came to: the figure is the subject's.
    pub(super) fn measured(
        number: u32,
        title: &str,
        unit: Unit,
        goals: &[Goal],
        measured: &Measured,
    ) -> Self {
        let subject = measured.time(Role::Subject).map(|spread| spread.median);
        let goals: Vec<Judged> = goals.iter().filter_map(|goal| goal.judge(measured)).collect();
        let twin = measured.time(Role::Twin).map(|spread| spread.median);
        let void = if !is_controlled(measured) {
            Some("the control is off".to_owned())
        } else if unit == Unit::Threads && twin.is_some_and(|scaling| scaling < 1.0) {
            Some("two threads had no two CPUs".to_owned())
        } else if goals.iter().any(Judged::is_missed_by_chance) {
            Some("the bar is within the error".to_owned())
        } else {
            None
        };
        let ratio = |role: Role| measured.ratio(role).map(|spread| (role, spread));
        Self {
            number,
            title: title.to_owned(),
            figure: subject.map_or_else(String::new, |figure| unit.print(figure)),
            values: subject.map(|figure| (unit.name(), figure)).into_iter().collect(),
            goals,
            ratios: Role::COMPARED.into_iter().filter_map(ratio).collect(),
            void,
            dropped: measured.dropped,
        }
    }

    /// The ratio to a competitor.
    pub(super) fn ratio(&self, role: Role) -> Option<Spread> {
        self.ratios.iter().find(|(other, _)| *other == role).map(|(_, spread)| *spread)
    }

    /// What became of the line.
    pub(super) fn verdict(&self) -> Verdict {
        let (musts, stretches): (Vec<bool>, Vec<bool>) =
            self.goals.iter().map(Judged::reached).unzip();
        if self.void.is_some() {
            Verdict::Void
        } else if !musts.into_iter().all(|reached| reached) {
            Verdict::Missed
        } else if stretches.into_iter().all(|reached| reached) {
            Verdict::Stretch
        } else {
            Verdict::Must
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Of one operation.
    Nanoseconds,
    /// What two threads do, of what one does.
    Threads,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Threads => "scaling",
        }
    }

    fn print(self, figure: f64) -> String {
        match self {
            Self::Nanoseconds if figure < 1e4 => format!("{figure:.1} ns"),
            Self::Nanoseconds => format!("{:.1} µs", figure / 1e3),
            Self::Threads => format!("{figure:.2} of 2"),
        }
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All bars are reached.
    Stretch,
    /// Those for a release.
    Must,
    /// One of those is not.
    Missed,
    /// The measurement says nothing.
    Void,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Must => "must",
            Self::Missed => "MISSED",
            Self::Void => "void",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(goals: &[Judged]) -> Verdict {
        let mut line = Line::void(1, "x", "");
        line.void = None;
        line.goals = goals.to_vec();
        line.verdict()
    }

    #[test]
    fn a_value_is_judged_by_both_bars() {
        let bytes = |found| verdict(&[Judged::value(found, Sense::AtMost, 32.0, 10.0)]);
        assert_eq!(bytes(9.5), Verdict::Stretch);
        assert_eq!(bytes(31.0), Verdict::Must);
        assert_eq!(bytes(33.0), Verdict::Missed);
        let share = |found| verdict(&[Judged::value(found, Sense::AtLeast, 0.9, 0.97)]);
        assert_eq!((share(0.98), share(0.95), share(0.8)), {
            (Verdict::Stretch, Verdict::Must, Verdict::Missed)
        });
    }

    #[test]
    fn every_goal_of_a_line_counts() {
        let good = Judged::value(1.0, Sense::AtMost, 2.0, 1.5);
        let fair = Judged::value(1.8, Sense::AtMost, 2.0, 1.5);
        let bad = Judged::value(3.0, Sense::AtMost, 2.0, 1.5);
        assert_eq!(verdict(&[good.clone(), fair.clone()]), Verdict::Must);
        assert_eq!(verdict(&[good, fair, bad]), Verdict::Missed);
    }

    #[test]
    fn a_bar_that_the_limit_itself_does_not_reach_does_not_count() {
        let beyond = Judged::value(1.7, Sense::AtMost, 1.8, 1.5);
        let limited = |limit| Judged { limit: Some(limit), ..beyond.clone() };
        assert_eq!(verdict(std::slice::from_ref(&beyond)), Verdict::Must);
        assert_eq!(verdict(&[limited(1.6)]), Verdict::Stretch, "nothing reaches 1.5");
        assert_eq!(verdict(&[limited(1.4)]), Verdict::Must);
    }

    #[test]
    fn a_line_whose_bar_is_missed_by_chance_is_void() {
        const GOAL: &[Goal] = &[Goal::at_most(Role::Memcpy, 1.0, 0.9)];
        let roles = [Role::Subject, Role::Control, Role::Memcpy];
        let line = |subjects: &[f64]| {
            let rounds: Vec<Vec<f64>> =
                subjects.iter().map(|&took| vec![took, took, 1.0]).collect();
            let rounds: Vec<&[f64]> = rounds.iter().map(Vec::as_slice).collect();
            let measured = Measured::of(&roles, &rounds);
            let line = Line::measured(1, "x", Unit::Nanoseconds, GOAL, &measured);
            (line.verdict(), is_clear(GOAL, &measured))
        };
        let around = |median: f64, spread: f64| {
            (-10..=10).map(|step| median + spread * f64::from(step)).collect::<Vec<f64>>()
        };
        assert_eq!(line(&around(1.01, 0.01)), (Verdict::Void, false));
        assert_eq!(line(&around(1.01, 0.0001)), (Verdict::Missed, true));
        assert_eq!(line(&around(1.2, 0.01)), (Verdict::Missed, true));
        assert_eq!(line(&around(0.99, 0.01)), (Verdict::Must, true), "reached is reached");
    }

    #[test]
    fn rounds_go_on_while_the_control_is_off() {
        let roles = [Role::Subject, Role::Control];
        assert!(!is_clear(&[], &Measured::of(&roles, &[&[1.0, 1.04]])));
        assert!(is_clear(&[], &Measured::of(&roles, &[&[1.0, 1.02]])));
    }

    #[test]
    fn a_void_line_has_no_other_verdict() {
        let mut line =
            Line::exact(1, "x", String::new(), Judged::value(3.0, Sense::AtMost, 2.0, 1.0));
        assert_eq!(line.verdict(), Verdict::Missed);
        line.void = Some("noise".into());
        assert_eq!(line.verdict(), Verdict::Void);
    }
}
