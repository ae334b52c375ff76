//! What the theatre showed, as a table and in words.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use faultless_host::controls::theatre::{Act, Algorithm, Destination, Ending, Scene};

/// The act of this scene and algorithm whose page was uptodate: both beginnings have the same
/// cycle.
pub(super) fn find(acts: &[Act], scene: Scene, algorithm: Algorithm) -> Option<&Act> {
    let wanted = (scene, algorithm, Destination::Uptodate);
    acts.iter().find(|act| (act.scene, act.algorithm, act.destination) == wanted)
}

/// Scene by algorithm.
pub(super) fn table(acts: &[Act]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let names = Algorithm::ALL.iter().map(|algorithm| algorithm.name());
    table.set_header(["scene"].into_iter().chain(names));
    for scene in Scene::ALL {
        let cells = Algorithm::ALL.iter().map(|algorithm| cell(acts, scene, *algorithm));
        table.add_row([scene.name().to_owned()].into_iter().chain(cells));
    }
    table
}

/// How both beginnings ended, and who noticed.
fn cell(acts: &[Act], scene: Scene, algorithm: Algorithm) -> String {
    let mut cells: Vec<String> = Vec::new();
    for act in acts.iter().filter(|act| (act.scene, act.algorithm) == (scene, algorithm)) {
        let found = [(act.cycle().is_some(), "checker"), (!act.fires.is_empty(), "watchdog")];
        let found: Vec<&str> = found.iter().filter(|found| found.0).map(|found| found.1).collect();
        let cell = match act.ending {
            Ending::Finishes => act.ending.to_string(),
            Ending::Hangs => format!("{} ({})", act.ending, found.join(", ")),
        };
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.join(" or ")
}

/// A scene in words: what the lock checker found, and what the watchdog saw, on the first path that
/// hangs.
pub(super) fn story(scene: Scene, acts: &[Act]) -> String {
    let mut text = format!("{scene}: {}\n", scene.story());
    let hung = Algorithm::ALL
        .iter()
        .filter_map(|algorithm| find(acts, scene, *algorithm))
        .find(|act| act.ending == Ending::Hangs);
    let Some(act) = hung else { return text };
    if let Some(cycle) = act.cycle() {
        let _ = writeln!(text, "  {}", cycle.text.replace('\n', "\n  "));
    }
    if let Some(players) = act.fires.iter().map(|fire| players(fire)).max_by_key(Vec::len) {
        let _ = writeln!(text, "  on {}, the watchdog saw:", act.algorithm);
        for player in players {
            let _ = writeln!(text, "    {player}");
        }
    }
    text
}

/// The lines of a watchdog's story that are about threads of the scene. Whoever was taken down
/// before is not in it any more.
fn players(fire: &str) -> Vec<&str> {
    fire.lines().map(str::trim_start).filter(|line| line.starts_with("thread 'T")).collect()
}

/// The last line.
pub(super) fn summary(acts: &[Act], wrong: &[&Act]) -> String {
    if wrong.is_empty() {
        let hung = acts.iter().filter(|act| act.ending == Ending::Hangs).count();
        return format!("{} acts, {hung} hung, all as expected", acts.len());
    }
    let wrong: Vec<String> = wrong.iter().map(|act| format!("WRONG: {act}")).collect();
    wrong.join("\n")
}
