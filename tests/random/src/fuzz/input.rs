//! An input as it is printed and read again, and the command that plays it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use faultless_fuzzing::{Plant, Target};

/// The command that plays an input again.
pub(crate) fn replay(target: &Target, input: &[u8], plant: Plant) -> String {
    let planted = match plant {
        Plant::None => String::new(),
        plant => format!("FAULTLESS_PLANT={} ", plant.name()),
    };
    format!("{planted}cargo xtask fuzz {} --replay {}", target.name, to_hex(input))
}

/// The bytes as they are given to `--replay`.
fn to_hex(bytes: &[u8]) -> String {
    // An input may be empty; an argument should not be.
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

pub(super) fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let byte = |pair: &[u8]| {
        let whole = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        let pair = str::from_utf8(pair).ok().filter(|_| whole);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).context("not pairs of hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_replayed_as_it_is_printed() {
        for bytes in [&[][..], &[0], &[0, 0xff, 0x5a]] {
            assert_eq!(from_hex(&to_hex(bytes)).expect("hex"), bytes);
        }
        for bad in ["0", "0x123", "xy", "+1"] {
            assert!(from_hex(bad).is_err(), "{bad}");
        }
    }
}
