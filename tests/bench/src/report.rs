//! The scoreboard as a table and as JSON.

#![forbid(unsafe_code)]

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::counts::Count;
use super::measure::{Measured, Role};
use super::rows::{Bar, Row};
use super::stats::Spread;

/// A row with its result.
pub(super) struct Line {
    pub(super) row: &'static Row,
    pub(super) measured: Measured,
}

/// How far the control may be off before a row is void.
const TOLERANCE: f64 = 0.03;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stretch,
    Must,
    Missed,
    Void,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Must => "must",
            Self::Missed => "MISSED",
            Self::Void => "void",
        }
    }

    fn of(row: &Row, measured: &Measured) -> Self {
        let reached =
            |bar: Bar| measured.ratio(bar.role).is_some_and(|spread| spread.median <= bar.most);
        let alike = |spread: Spread| (spread.median - 1.0).abs() <= TOLERANCE;
        if !measured.ratio(Role::Control).is_some_and(alike) {
            Self::Void
        } else if reached(row.stretch) && reached(row.must) {
            Self::Stretch
        } else if reached(row.must) {
            Self::Must
        } else {
            Self::Missed
        }
    }

    fn of_count(count: &Count) -> Self {
        if count.found <= count.stretch {
            Self::Stretch
        } else if count.found <= count.must {
            Self::Must
        } else {
            Self::Missed
        }
    }
}

/// Prints the scoreboard for people.
pub(super) fn table(lines: &[Line], counts: &[Count]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "#",
        "row",
        "ns",
        "vs copy",
        "p10–p90",
        "BTreeMap",
        "+bounce",
        "tmpfs",
        "A/A",
        "must",
        "stretch",
        "verdict",
    ]);
    for Line { row, measured } in lines {
        let plain = measured.ratio(Role::Memcpy).or_else(|| measured.ratio(Role::Twin));
        table.add_row([
            row.number.to_string(),
            row.title.to_owned(),
            measured.time(Role::Subject).map_or_else(String::new, |s| format!("{:.1}", s.median)),
            median(plain),
            plain.map_or_else(String::new, |s| format!("{:.2}–{:.2}", s.p10, s.p90)),
            median(measured.ratio(Role::Tree)),
            median(measured.ratio(Role::TreeWithBounce)),
            median(measured.ratio(Role::Tmpfs)),
            median(measured.ratio(Role::Control)),
            bar(row.must),
            bar(row.stretch),
            Verdict::of(row, measured).word().to_owned(),
        ]);
    }
    println!("{table}");
    for count in counts {
        let verdict = Verdict::of_count(count).word();
        println!("{:>3}  {}: {:.1} ({verdict})", count.number, count.title, count.found);
    }
    println!(
        "\nTimes relative to the column's contestant in the same round: below 1 is faster. The copy is the \
         better of memcpy and rep movsb.\nTmpfs is what pwrite takes beyond a null system call. Linux \
         also pays for security hooks, timestamps and SMAP, which are not measured here:\nof its \
         1,333 instructions for 1 B about 750 are page cache and copy."
    );
}

fn median(spread: Option<Spread>) -> String {
    match spread {
        Some(spread) if spread.median < 0.1 => format!("{:.3}", spread.median),
        Some(spread) => format!("{:.2}", spread.median),
        None => "–".to_owned(),
    }
}

fn bar(bar: Bar) -> String {
    let whom = match bar.role {
        Role::Tmpfs => " tmpfs",
        Role::Tree => " BTreeMap",
        _ => "",
    };
    if bar.most < 0.1 {
        format!("≤ {:.3}{whom}", bar.most)
    } else {
        format!("≤ {:.2}{whom}", bar.most)
    }
}

/// The scoreboard for programs.
pub(super) fn json(lines: &[Line], counts: &[Count]) -> Value {
    let rows: Vec<Value> = lines
        .iter()
        .map(|Line { row, measured }| {
            json!({
                "row": row.number,
                "title": row.title,
                "nanoseconds": measured.time(Role::Subject).map(|s| s.median),
                "memcpy": spread(measured.ratio(Role::Memcpy)),
                "twin": spread(measured.ratio(Role::Twin)),
                "btreemap": spread(measured.ratio(Role::Tree)),
                "btreemap_bounce": spread(measured.ratio(Role::TreeWithBounce)),
                "tmpfs": spread(measured.ratio(Role::Tmpfs)),
                "control": spread(measured.ratio(Role::Control)),
                "must": row.must.most,
                "stretch": row.stretch.most,
                "verdict": Verdict::of(row, measured).word(),
                "dropped_rounds": measured.dropped,
            })
        })
        .collect();
    let counts: Vec<Value> = counts
        .iter()
        .map(|count| {
            json!({
                "row": count.number,
                "title": count.title,
                "found": count.found,
                "must": count.must,
                "stretch": count.stretch,
                "verdict": Verdict::of_count(count).word(),
            })
        })
        .collect();
    json!({ "rows": rows, "counts": counts })
}

fn spread(spread: Option<Spread>) -> Value {
    spread.map_or(Value::Null, |s| json!({ "p10": s.p10, "median": s.median, "p90": s.p90 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_judged_by_both_bars() {
        let count = |found| Count { number: 19, title: "x", found, must: 32.0, stretch: 10.0 };
        assert_eq!(Verdict::of_count(&count(9.5)), Verdict::Stretch);
        assert_eq!(Verdict::of_count(&count(31.0)), Verdict::Must);
        assert_eq!(Verdict::of_count(&count(33.0)), Verdict::Missed);
    }
}
