//! What the deadlocks showed, as a table and in words.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use faultless_controls::deadlocks::{Algorithm, Destination, Ending, Scenario, Trial};

/// The trial of this scenario and algorithm whose page was uptodate: both beginnings have the same
/// cycle.
pub(super) fn find(trials: &[Trial], scenario: Scenario, algorithm: Algorithm) -> Option<&Trial> {
    let wanted = (scenario, algorithm, Destination::Uptodate);
    trials.iter().find(|trial| (trial.scenario, trial.algorithm, trial.destination) == wanted)
}

/// Scenario by algorithm.
pub(super) fn table(trials: &[Trial]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let names = Algorithm::ALL.iter().map(|algorithm| algorithm.name());
    table.set_header(["scene"].into_iter().chain(names));
    for scenario in Scenario::ALL {
        let cells = Algorithm::ALL.iter().map(|algorithm| cell(trials, scenario, *algorithm));
        table.add_row([scenario.name().to_owned()].into_iter().chain(cells));
    }
    table
}

/// How both beginnings ended, and who noticed.
fn cell(trials: &[Trial], scenario: Scenario, algorithm: Algorithm) -> String {
    let mut cells: Vec<String> = Vec::new();
    for trial in
        trials.iter().filter(|trial| (trial.scenario, trial.algorithm) == (scenario, algorithm))
    {
        let found = [(trial.cycle().is_some(), "checker"), (!trial.fires.is_empty(), "watchdog")];
        let found: Vec<&str> = found.iter().filter(|found| found.0).map(|found| found.1).collect();
        let cell = match trial.ending {
            Ending::Finishes => trial.ending.to_string(),
            Ending::Hangs => format!("{} ({})", trial.ending, found.join(", ")),
        };
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.join(" or ")
}

/// A scenario in words: what the lock checker found, and what the watchdog saw, on the first path
/// that hangs.
pub(super) fn story(scenario: Scenario, trials: &[Trial]) -> String {
    let mut text = format!("{scenario}: {}\n", scenario.story());
    let hung = Algorithm::ALL
        .iter()
        .filter_map(|algorithm| find(trials, scenario, *algorithm))
        .find(|trial| trial.ending == Ending::Hangs);
    let Some(trial) = hung else { return text };
    if let Some(cycle) = trial.cycle() {
        let _ = writeln!(text, "  {}", cycle.text.replace('\n', "\n  "));
    }
    if let Some(players) = trial.fires.iter().map(|fire| players(fire)).max_by_key(Vec::len) {
        let _ = writeln!(text, "  on {}, the watchdog saw:", trial.algorithm);
        for player in players {
            let _ = writeln!(text, "    {player}");
        }
    }
    text
}

/// The lines of a watchdog's story that are about threads of the scenario. A thread that was taken
/// down before is not in it any more.
fn players(fire: &str) -> Vec<&str> {
    fire.lines().map(str::trim_start).filter(|line| line.starts_with("thread 'T")).collect()
}

/// The last line.
pub(super) fn summary(trials: &[Trial], wrong: &[&Trial]) -> String {
    if wrong.is_empty() {
        let hung = trials.iter().filter(|trial| trial.ending == Ending::Hangs).count();
        return format!("{} acts, {hung} hung, all as expected", trials.len());
    }
    let wrong: Vec<String> = wrong.iter().map(|trial| format!("WRONG: {trial}")).collect();
    wrong.join("\n")
}
