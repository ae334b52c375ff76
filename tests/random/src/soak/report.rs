//! What is printed at the end, and what is kept.

#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::Result;
use comfy_table::{Table, presets};

use super::checker::Find;
use super::programs;
use super::rounds::Outcome;

/// Prints the table, the finds once more, and the sum.
pub(super) fn print(outcome: &Outcome) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["checker", "rounds", "inputs", "finds"]);
    for row in &outcome.rows {
        let numbers = [row.rounds, row.inputs, row.finds].map(|number| number.to_string());
        table.add_row(std::iter::once(row.name.clone()).chain(numbers));
    }
    println!("{table}");
    for Find { what, replay } in &outcome.finds {
        println!("{what}\n    replay: {replay}");
    }
    println!("{}", line(outcome));
}

fn line(outcome: &Outcome) -> String {
    let sum = |of: fn(&super::rounds::Row) -> u64| outcome.rows.iter().map(of).sum::<u64>();
    let idle = outcome.rows.iter().filter(|row| row.rounds == 0).count();
    let mut line = format!(
        "{} finds in {} rounds, {} inputs, {:.0} s",
        outcome.finds.len(),
        sum(|row| row.rounds),
        sum(|row| row.inputs),
        outcome.took.as_secs_f64()
    );
    if idle > 0 {
        line.push_str(&format!("; no time for {idle} checkers"));
    }
    if !outcome.errors.is_empty() {
        line.push_str(&format!("; {} checkers could not go on", outcome.errors.len()));
    }
    line
}

/// Adds the finds to `target/soak/finds.txt`, which no run empties.
pub(super) fn keep(finds: &[Find]) -> Result<()> {
    if finds.is_empty() {
        return Ok(());
    }
    let path = programs::folder()?.join("finds.txt");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    for Find { what, replay } in finds {
        writeln!(file, "# {what}\n{replay}")?;
    }
    println!("kept in {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::soak::rounds::Row;

    #[test]
    fn the_last_line_says_what_there_was_no_time_for() {
        let row = |rounds| Row { name: "x".into(), rounds, inputs: 10 * rounds, finds: 0 };
        let mut outcome = Outcome {
            rows: vec![row(2), row(0)],
            took: Duration::from_secs(60),
            ..Outcome::default()
        };
        let all = "0 finds in 2 rounds, 20 inputs, 60 s; no time for 1 checkers";
        assert_eq!(line(&outcome), all);
        outcome.errors.push("planted".into());
        assert!(line(&outcome).ends_with("1 checkers could not go on"));
    }
}
