//! `cargo xtask fuzz TARGET --search N`: inputs by chance, on stable Rust. No coverage guides them.

#![forbid(unsafe_code)]

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use faultless_fuzzing::{Plant, Target};
use faultless_host::rng::{self, Rng};

use super::input::replay;
use faultless_tools::workspace;

/// Plays the committed seeds of each target, and inputs made from them: `runs` in all.
pub(super) fn search(targets: &[&Target], runs: u64, seed: Option<u32>) -> Result<ExitCode> {
    let plant = match std::env::var("FAULTLESS_PLANT") {
        Ok(name) => Plant::find(&name).context("FAULTLESS_PLANT names a bug")?,
        Err(_) => Plant::None,
    };
    let seed = seed.map_or_else(rng::seed, u64::from);
    let mut finds = 0;
    for target in targets {
        let planted = if plant.target() == target.name { plant } else { Plant::None };
        let seeds = seeds(target)?;
        match faultless_fuzzing::search(target, planted, &seeds, &mut Rng::new(seed), runs) {
            None => println!("{}: nothing is wrong with {runs} inputs", target.name),
            Some(find) => {
                finds += 1;
                println!("Found by {}, with input {}: {}", target.name, find.runs, find.what);
                println!("Again: {}", replay(target, &find.input, planted));
            }
        }
    }
    Ok(if finds == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The committed seeds, by name.
fn seeds(target: &Target) -> Result<Vec<Vec<u8>>> {
    let folder = workspace::root().join("fuzz/seeds").join(target.name);
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}
