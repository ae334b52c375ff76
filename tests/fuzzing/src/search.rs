//! A fuzzer for machines without one: changes seeds by chance, and looks whether a run panics.
//!
//! No coverage guides it: it is for showing that a planted bug is found and for a short run in the
//! tests.

#![forbid(unsafe_code)]

use super::plant::Plant;
use super::quiet::quietly;
use super::target::Target;
use faultless_host::rng::Rng;

/// An input that broke the contract.
#[derive(Clone, Debug)]
pub struct Find {
    /// The input.
    pub input: Vec<u8>,
    /// What was seen.
    pub what: String,
    /// Inputs played, this one included.
    pub runs: u64,
}

/// Plays each of `seeds`, then inputs made from them, until one breaks the contract or `runs` were
/// played.
#[must_use]
pub fn search(
    target: &Target,
    plant: Plant,
    seeds: &[Vec<u8>],
    rng: &mut Rng,
    runs: u64,
) -> Option<Find> {
    for run in 0..runs {
        let input = match seeds.get(run as usize) {
            Some(seed) => seed.clone(),
            None => mutated(seeds, rng, target.max_len),
        };
        if let Err(what) = attempt(target, &input, plant) {
            return Some(Find { input, what, runs: run + 1 });
        }
    }
    None
}

/// Plays one input.
///
/// # Errors
/// What was seen where the contract was broken.
pub fn attempt(target: &Target, input: &[u8], plant: Plant) -> Result<(), String> {
    quietly(|| target.play(input, plant))
}

/// Bytes by chance, or a seed with a few changes.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng, max_len: usize) -> Vec<u8> {
    let any = |rng: &mut Rng| seeds.get(rng.below(seeds.len() as u64) as usize).cloned();
    let mut input = match rng.below(4) {
        0 => None,
        _ => any(rng),
    }
    .unwrap_or_else(|| {
        let len = 1 + rng.below(max_len as u64) as usize;
        rng.bytes(len)
    });
    for _ in 0..rng.below(6) {
        change(&mut input, rng);
    }
    if rng.below(8) == 0
        && let Some(other) = any(rng)
    {
        let at = rng.below(input.len() as u64 + 1) as usize;
        input.splice(at.., other.into_iter().skip(at));
    }
    input.truncate(max_len);
    input
}

fn change(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(input.len() as u64 + 1) as usize;
    let byte = match rng.below(3) {
        0 => rng.below(8) as u8,
        _ => rng.next() as u8,
    };
    match rng.below(5) {
        0 => input.insert(at, byte),
        1 if at < input.len() => drop(input.remove(at)),
        2 => {
            let end = input.len().min(at + 8);
            input.extend_from_within(at..end);
        }
        _ if at < input.len() => input[at] = byte,
        _ => input.push(byte),
    }
}
