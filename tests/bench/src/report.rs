//! The scoreboard for people, as Markdown, and as JSON.

#![forbid(unsafe_code)]

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

use super::board::{Judged, Line, Sense};
use super::measure::Role;
use super::stats::Spread;

/// What the columns mean.
pub(super) const NOTES: &str = "\
Columns from limit to twin: the row's value relative to that contestant's in the same round, median. \
For times below 1 is faster; for threads above 1 scales better.\n\
limit: leaf lookup, one compare-and-swap, copy, one fetch_and (reads: lookup and copy). limit + 2: a \
read with two locked operations more. copy: the better of memcpy and rep movsb.\n\
twin: the same without what the row is about (near offset, all off, strategy B, a kernel for each \
thread, contiguous pages). A/A: the row against itself; more than 3 % off voids it.\n\
Bars that the limit itself does not reach here are in brackets and do not count.\n\
Tmpfs is what pwrite takes beyond a null system call, huge tmpfs the same on a mount with \
huge=always. Linux also pays for security hooks, timestamps \
and SMAP, which are not measured here: of its 1,333 instructions for 1 B about 750 are page cache \
and copy.";

const BESIDE: [Role; 9] = Role::COMPARED;

/// How the table is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Terminal,
    Markdown,
}

/// The table of all lines.
pub(super) fn table(lines: &[Line], style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => presets::UTF8_BORDERS_ONLY,
        Style::Markdown => presets::ASCII_MARKDOWN,
    });
    table.set_content_arrangement(ContentArrangement::Disabled);
    let shown: Vec<Role> = BESIDE
        .into_iter()
        .filter(|role| lines.iter().any(|line| line.ratio(*role).is_some()))
        .collect();
    let head = ["#", "row", "figure", "must", "stretch"].into_iter();
    let roles = shown.iter().map(|role| role.name());
    table.set_header(head.chain(roles).chain(["p10–p90", "verdict"]));
    for line in lines {
        let goals = |bar: fn(&Judged) -> Option<f64>| {
            let shown = line.goals.iter().filter_map(|goal| Some(written(goal, bar(goal)?)));
            shown.collect::<Vec<_>>().join(", ")
        };
        let mut row = vec![
            line.number.to_string(),
            line.title.clone(),
            line.figure.clone(),
            goals(|goal| goal.must),
            goals(|goal| goal.stretch),
        ];
        row.extend(shown.iter().map(|role| median(line.ratio(*role))));
        row.push(first_spread(line));
        row.push(verdict(line));
        table.add_row(row);
    }
    table
}

/// A bar with its comparison; in brackets if the limit does not reach it.
fn written(goal: &Judged, bar: f64) -> String {
    let whom = if goal.against.is_empty() { String::new() } else { format!(" {}", goal.against) };
    let text = format!("{} {}{whom}", goal.sense.sign(), number(bar));
    if goal.is_beyond_the_limit(bar) { format!("({text})") } else { text }
}

/// Three digits at least, and no more than are needed.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.1 {
        format!("{value:.3}")
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn median(spread: Option<Spread>) -> String {
    match spread {
        Some(spread) if spread.median < 0.1 => format!("{:.3}", spread.median),
        Some(spread) => format!("{:.2}", spread.median),
        None => String::new(),
    }
}

/// The spread of the ratio that the row's last bar is about.
fn first_spread(line: &Line) -> String {
    let last = line.goals.last().map_or("", |goal| goal.against);
    let spread = line.ratios.iter().find(|(role, _)| role.name() == last);
    spread.map_or_else(String::new, |(_, s)| format!("{:.2}–{:.2}", s.p10, s.p90))
}

fn verdict(line: &Line) -> String {
    let word = line.verdict().word();
    match &line.void {
        Some(why) => format!("{word}: {why}"),
        None => word.to_owned(),
    }
}

/// All lines for programs.
pub(super) fn json(lines: &[Line]) -> Value {
    let rows: Vec<Value> = lines.iter().map(object).collect();
    json!({ "rows": rows })
}

fn object(line: &Line) -> Value {
    let values: Map<String, Value> =
        line.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let ratios: Map<String, Value> = line
        .ratios
        .iter()
        .map(|(role, s)| {
            let spread = json!({ "p10": s.p10, "median": s.median, "p90": s.p90 });
            (role.name().to_owned(), spread)
        })
        .collect();
    let goals: Vec<Value> = line
        .goals
        .iter()
        .map(|goal| {
            json!({
                "against": goal.against,
                "sense": match goal.sense {
                    Sense::AtMost => "at most",
                    Sense::AtLeast => "at least",
                },
                "found": goal.found,
                "must": goal.must,
                "stretch": goal.stretch,
                "limit": goal.limit,
            })
        })
        .collect();
    json!({
        "row": line.number,
        "title": line.title,
        "figure": line.figure,
        "values": values,
        "ratios": ratios,
        "goals": goals,
        "verdict": line.verdict().word(),
        "void": line.void,
        "dropped_rounds": line.dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(limit: Option<f64>) -> Line {
        let goal = Judged { against: "copy", ..Judged::value(1.7, Sense::AtMost, 1.8, 1.5) };
        let mut line = Line::exact(2, "x", "40.0 ns".into(), Judged { limit, ..goal });
        line.ratios = vec![(Role::Memcpy, Spread { p10: 1.6, median: 1.7, p90: 1.9 })];
        line
    }

    #[test]
    fn a_line_of_the_table_has_goal_figure_ratio_and_verdict() {
        let text = table(&[line(Some(1.6))], Style::Markdown).to_string();
        let cells: Vec<&str> =
            text.lines().last().unwrap_or("").split('|').map(str::trim).collect();
        let expected = [
            "",
            "2",
            "x",
            "40.0 ns",
            "≤ 1.80 copy",
            "(≤ 1.50 copy)",
            "1.70",
            "1.60–1.90",
            "stretch",
            "",
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn programs_get_the_same() {
        let object = object(&line(None));
        assert_eq!(object["ratios"]["copy"]["median"], 1.7);
        assert_eq!(object["goals"][0]["stretch"], 1.5);
        assert_eq!(object["verdict"], "must");
    }
}
