//! The whole way on a small workspace: a survivor, a mutant that hangs, one that is not reached,
//! one that does not compile.

use std::path::Path;

use super::list::{Extent, Genre, Spot};
use super::source::Source;
use super::*;

const LIB: &str = "pub fn count(n: u32) -> u64 {
    let mut left = n;
    let mut steps = 0;
    while left > 0 {
        left -= 1;
        steps += 1;
    }
    steps
}
pub fn is_small(n: u32) -> bool {
    n < 10
}
pub fn is_lonely(n: u32) -> bool {
    n == 0
}
#[test]
fn it_counts() {
    assert_eq!(count(3), 3);
    assert!(is_small(1) && !is_small(100));
}
";

/// The mutant that puts `replacement` in place of the only `text` of [`LIB`]'s line.
fn mutant(id: u32, line: usize, text: &str, replacement: &str) -> Mutant {
    let code = LIB.lines().nth(line - 1).expect("the line");
    let column = code.find(text).expect("the text") + 1;
    let start = Spot { line, column };
    let end = Spot { line, column: column + text.len() };
    Mutant {
        id,
        package: "victim".into(),
        file: "src/lib.rs".into(),
        genre: Genre::BinaryOperator,
        extent: Extent { start, end },
        replacement: replacement.into(),
        name: format!("replace {text} with {replacement}"),
        code: code.trim().into(),
        nth: 1,
    }
}

fn workspace_of_a_victim(base: &Path) -> Folders {
    let folders = Folders::new(base).expect("folders");
    let manifest = "[workspace]\n[package]\nname = \"victim\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
        [dependencies]\nfaultless_mutant = { path = \"switch\" }\n";
    folders.write("Cargo.toml", manifest.as_bytes()).expect("written");
    folders.write("switch/Cargo.toml", copy::SWITCH_MANIFEST.as_bytes()).expect("written");
    folders.write("switch/src/lib.rs", copy::SWITCH.as_bytes()).expect("written");
    folders
}

#[test]
fn survivors_hangs_unreached_and_unviable_mutants_are_reported_as_such() {
    let base = std::env::temp_dir().join(format!("xtask-mutants-{}", std::process::id()));
    let folders = workspace_of_a_victim(&base);
    let mutants = [
        mutant(1, 4, ">", "=="),
        mutant(2, 5, "-=", "*="),
        mutant(3, 11, "<", "<="),
        mutant(4, 14, "==", "!="),
        mutant(5, 11, "<", "+"),
    ];
    let sources = [("src/lib.rs".to_owned(), Source::new(LIB.to_owned()))];
    let mut loom = Loom::new(sources.into_iter().collect());
    let made = loom
        .settle(&mutants, &folders, &["test", "--no-run", "--offline"], &|_| {})
        .expect("it builds");
    assert_eq!(loom.unviable.keys().collect::<Vec<_>>(), [&5], "a number is no answer");
    assert!(loom.apart.is_empty());

    let hidden = ProgressBar::hidden();
    let setting = Setting { folders: &folders, seed: 1, jobs: 2, patience: f64::INFINITY };
    let tests = reach::reach(&made.programs, setting, &hidden).expect("the tests pass");
    assert_eq!(tests.len(), 1);
    let four: Vec<_> = mutants.iter().take(4).collect();
    let judged = run::judge(&four, &Known::default(), &tests, setting, &hidden);
    let judged = judged.expect("the programs run");
    let fates: Vec<Fate> = judged.values().map(|judged| judged.fate).collect();
    assert_eq!(fates, [Fate::Killed, Fate::TimedOut, Fate::Survived, Fate::NotReached]);

    let judged: Vec<_> = mutants.iter().filter_map(|m| Some((m, *judged.get(&m.id)?))).collect();
    let survivors = report::survivors(&judged, &Known::default());
    assert_eq!(survivors.len(), 2);
    assert_eq!(survivors[0], "src/lib.rs:11:7: replace < with <=\n    n < 10");
    assert!(survivors[1].contains("(not reached)"), "{survivors:?}");
    assert_eq!(report::sums(&judged, &Known::default()).survived, 2);
    std::fs::remove_dir_all(&base).expect("cleaned up");
}

#[test]
fn a_sample_leaves_out_what_is_listed() {
    let text = "[[equivalent]]\nfile = \"src/lib.rs\"\nmutant = \"replace < with <=\"\ncode = \"n < 10\"\nreason = \"-\"";
    let known = Known::parse(text).expect("a list");
    let mutants = [mutant(1, 4, ">", "=="), mutant(2, 11, "<", "<="), mutant(3, 14, "==", "!=")];
    for seed in 0..20 {
        let options = Options { sample: Some(2), ..Options::default() };
        let ids: Vec<u32> = choose(&options, &mutants, &known, seed).iter().map(|m| m.id).collect();
        assert_eq!(ids, [1, 3], "seed {seed}");
    }
    assert_eq!(choose(&Options::default(), &mutants, &known, 0).len(), 3);
}
