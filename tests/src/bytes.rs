//! Test data, and how it is compared.

use faultless_host::POISON;
use faultless_host::rng::Rng;

/// `len` bytes for this seed: never 0 and never [`POISON`], so that zeros and recycled memory stand
/// out.
#[must_use]
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Rng::new(seed).bytes(len);
    for byte in &mut bytes {
        *byte = 1 + *byte % (POISON - 1);
    }
    bytes
}

/// Both are the same.
///
/// # Panics
/// If they differ: the message names the first byte that does, and what is there instead.
#[track_caller]
pub fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    if let Some(at) = differs {
        let (is, ought) = (got[at], expected[at]);
        let wrong = got.iter().zip(expected).filter(|(got, expected)| got != expected).count();
        let poison = if is == POISON { " (recycled memory)" } else { "" };
        panic!(
            "{what}: byte {at} is {is:#04x}{poison} instead of {ought:#04x}, and {wrong} differ"
        );
    }
    assert_eq!(got.len(), expected.len(), "{what}: length");
}

/// `bytes` written over `file` at `pos`, with zeros in between if that lies past its end: what a
/// write has to do (W2).
pub fn overlay(file: &mut Vec<u8>, pos: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = pos + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[pos..end].copy_from_slice(bytes);
}
