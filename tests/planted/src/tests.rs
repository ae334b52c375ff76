//! The whole way on a small workspace: a bug that is found, one that hangs, and one that no test
//! finds.

use std::path::Path;

use super::list::Change;
use super::trial::Verdict;
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
#[test]
fn w1_it_counts() {
    assert_eq!(count(3), 3);
}
#[test]
fn w2_it_tells_small_from_large() {
    assert!(is_small(1) && !is_small(100));
}
";

fn plant(name: &str, old: &str, new: &str, tests: &[&str]) -> Plant {
    let change = Change { file: "src/lib.rs".into(), old: old.into(), new: new.into() };
    Plant {
        name: name.into(),
        why: "W1".into(),
        tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        change: vec![change],
    }
}

fn workspace_of_a_victim(base: &Path) -> Folders {
    let folders = Folders::new(base).expect("folders");
    let manifest = "[workspace]\n[package]\nname = \"victim\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
        [dependencies]\nfaultless_switch = { path = \"switch\" }\n";
    folders.write("Cargo.toml", manifest.as_bytes()).expect("written");
    folders.write("switch/Cargo.toml", copy::SWITCH_MANIFEST.as_bytes()).expect("written");
    folders.write("switch/src/lib.rs", copy::SWITCH.as_bytes()).expect("written");
    folders
}

fn try_all_of(name: &str, plants: &[Plant]) -> Result<Vec<Verdict>> {
    let base = std::env::temp_dir().join(format!("xtask-planted-{name}-{}", std::process::id()));
    let folders = workspace_of_a_victim(&base);
    let sources = [("src/lib.rs".to_owned(), LIB.to_owned())].into_iter().collect();
    let packages = [("victim".to_owned(), String::new())].into_iter().collect();
    let verdicts = try_all(plants, &sources, &folders, &packages, 2);
    std::fs::remove_dir_all(&base).expect("cleaned up");
    verdicts
}

#[test]
fn a_bug_is_found_by_every_named_test_or_is_not_found() {
    let plants = [
        plant("counts-by-two", "steps += 1;", "steps += 2;", &["-p victim --lib w1_"]),
        plant("no-bug", "n < 10", "n < 11", &["-p victim --lib w2_"]),
        plant("by-one", "n < 10", "n > 10", &["-p victim --lib w2_", "-p victim --lib w1_"]),
    ];
    let verdicts = try_all_of("found", &plants).expect("it builds");
    let found: Vec<bool> = verdicts.iter().map(Verdict::is_found).collect();
    assert_eq!(found, [true, false, false]);
    let told = table(&plants, &verdicts);
    assert!(told.contains("NOT FOUND by -p victim --lib w1_"), "{told}");
    assert!(told.contains("-p victim --lib w1_: assertion `left == right` failed"), "{told}");
}

#[test]
fn what_cannot_be_tried_is_an_error_that_says_why() {
    let refused = |name, plant| format!("{:#}", try_all_of(name, &[plant]).expect_err("refused"));
    let stale = refused("stale", plant("a", "steps += 3;", "", &["-p victim --lib w1_"]));
    assert!(stale.contains("steps += 3;") && stale.contains("does not occur"), "{stale}");
    let unmet = refused("unmet", plant("a", "steps += 1;", "", &["-p victim --lib w9_"]));
    assert!(unmet.contains("no test is meant by -p victim --lib w9_"), "{unmet}");
    let broken =
        refused("broken", plant("a", "steps += 1;", "left = \"x\";", &["-p victim --lib"]));
    assert!(broken.contains("does not build") && broken.contains("mismatched types"), "{broken}");
}
