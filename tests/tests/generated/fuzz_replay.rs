//! The fuzz targets on stable Rust: every committed seed, a short random run, and each planted bug,
//! which must be found.

use std::fs;
use std::path::{Path, PathBuf};

use faultless_fuzzing::{Plant, TARGETS, Target, search};
use faultless_host::rng::{self, Rng};

/// Inputs of the random run of each target.
const RUNS: u64 = 2_000;
/// Inputs within which a planted bug must be found.
const PLANTED_RUNS: u64 = 100_000;
/// What may be committed for each target.
const MOST_SEEDS: usize = 40;
const LARGEST_SEED: usize = 1024;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name)
}

/// The committed seeds of a target: name and bytes, by name.
fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder(target)).expect("a folder of seeds") {
        let path = entry.expect("a seed").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        seeds.push((name, fs::read(&path).expect("a seed")));
    }
    seeds.sort();
    seeds
}

fn bytes(target: &Target) -> Vec<Vec<u8>> {
    seeds(target).into_iter().map(|(_, bytes)| bytes).collect()
}

fn target(name: &str) -> &'static Target {
    Target::find(name).expect("a target")
}

/// Plays every seed of a target, and inputs by chance.
fn replay(name: &str) {
    let target = target(name);
    for (name, seed) in seeds(target) {
        let played = search::attempt(target, &seed, Plant::None);
        assert_eq!(played, Ok(()), "seed {}/{name}", target.name);
    }
    let mut rng = Rng::new(rng::seed());
    let found = search(target, Plant::None, &bytes(target), &mut rng, RUNS);
    assert!(found.is_none(), "{}: {found:?}", target.name);
}

/// Finds each bug that can be planted in a target, and sees that it is that one.
fn find_planted(name: &str) {
    let target = target(name);
    let mut plants = 0;
    for plant in target.plants() {
        let mut rng = Rng::new(rng::seed());
        let found = search(target, plant, &bytes(target), &mut rng, PLANTED_RUNS);
        let found = found.unwrap_or_else(|| panic!("{} is not found", plant.name()));
        println!("{:<24} found by input {:>6}: {}", plant.name(), found.runs, found.what);
        assert!(plant.is_shown_by(&found.what), "{} by: {}", plant.name(), found.what);
        plants += 1;
    }
    assert!(plants > 0, "{name} has no planted bug");
}

macro_rules! targets {
    ($($target:ident),*) => {
        $(mod $target {
            #[test]
            fn agrees_with_its_model() {
                super::replay(stringify!($target));
            }

            #[test]
            fn finds_its_planted_bugs() {
                super::find_planted(stringify!($target));
            }
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            let missing = TARGETS.iter().find(|target| !replayed.contains(&target.name));
            assert!(missing.is_none(), "{missing:?}");
        }
    };
}

targets!(partial_copy, tail, ops, concurrency, index, extable);

#[test]
fn seeds_are_few_and_small() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!((1..=MOST_SEEDS).contains(&seeds.len()), "{}: {} seeds", target.name, seeds.len());
        let large = seeds.iter().find(|(_, bytes)| bytes.len() > LARGEST_SEED);
        assert!(large.is_none(), "{}: {large:?}", target.name);
    }
}
