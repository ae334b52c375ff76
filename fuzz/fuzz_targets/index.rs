//! Runs the body of the target `index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| faultless_fuzzing::play("index", input));
